//! What the demo says at its end: the table, the promises, one JSON object.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::checker::{Findings, check};
use super::lives::lives;
use super::run::{BareCopy, Outcome};
use super::script::Pushed;
use super::stage::Way;
use super::stamps::Plan;
use super::timing::{OwnPart, median, own_parts, worst};
use crate::journal::Record;

/// What a snapshot may take beside half as much again as a bare copy, milliseconds.
const SNAPSHOT_EXTRA_MS: f64 = 3.0;
/// What lockgate's own part may take, milliseconds: half of the handoffs, and the worst beside the latest timer.
const OWN_MEDIAN_MS: f64 = 10.0;
const OWN_WORST_MS: f64 = 25.0;

/// One snapshot, beside a bare copy of the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct SnapshotTime {
    /// Before which version.
    pub(super) version: u32,
    /// How many bytes.
    pub(super) bytes: u64,
    /// What the keeper needed, milliseconds.
    pub(super) ms: f64,
    /// What a bare copy and sync needed.
    pub(super) bare_ms: f64,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether every promise was held.
    pub(super) held: bool,
    /// Those that were not.
    pub(super) broken: Vec<String>,
    /// Whether it ran without keepers.
    pub(super) baseline: bool,
    /// The checker's findings.
    #[serde(flatten)]
    pub(super) findings: Findings,
    /// Orders a second.
    pub(super) rate: f64,
    /// Good versions deployed after the first.
    pub(super) deployed: usize,
    /// Bad versions refused.
    pub(super) refused: usize,
    /// Of those, rolled back by the proxy's `take`, as the journal says.
    pub(super) rollbacks_led: usize,
    /// Bad versions whose data were found as they were before.
    pub(super) restored: usize,
    /// Lockgate's own part of each good handoff.
    pub(super) own_parts: Vec<OwnPart>,
    /// The middle one, milliseconds.
    pub(super) own_median_ms: f64,
    /// The worst one.
    pub(super) own_worst_ms: f64,
    /// The latest timer that the bystander saw.
    pub(super) timer_lateness_ms: f64,
    /// Each snapshot.
    pub(super) snapshots: Vec<SnapshotTime>,
}

impl Report {
    /// Checks the evidence and puts everything together.
    #[must_use]
    pub(super) fn make(way: Way, outcome: &Outcome) -> Self {
        let findings = check(&outcome.evidence);
        let after_the_first = outcome.pushed.get(1..).unwrap_or_default();
        let rollbacks_led = after_the_first.iter().filter(|pushed| led_back(pushed, &outcome.journal)).count();
        let snapshots = snapshots(&outcome.pushed, &outcome.journal, &outcome.bare_copies);
        let taken: BTreeMap<u32, f64> = snapshots.iter().map(|snapshot| (snapshot.version, snapshot.ms)).collect();
        let lives = lives(&outcome.evidence.stamps);
        let own_parts = match way {
            Way::Keepers => own_parts(&lives, &outcome.sightings.exits, &taken),
            Way::BlueGreen => Vec::new(),
        };
        let mut broken = findings.broken();
        broken.extend(after_the_first.iter().filter(|pushed| !pushed.as_expected()).map(unexpected));
        let refused = count(after_the_first, |pushed| !pushed.succeeded && pushed.push.plan != Plan::Good);
        if way == Way::Keepers && rollbacks_led < refused {
            broken.push(format!("{} rollbacks were not led by the proxy", refused - rollbacks_led));
        }
        let seconds = outcome.loaded.as_secs_f64().max(0.001);
        Self {
            held: broken.is_empty(),
            broken,
            baseline: way == Way::BlueGreen,
            rate: f64::from(u32::try_from(findings.orders).unwrap_or(u32::MAX)) / seconds,
            deployed: count(after_the_first, |pushed| pushed.succeeded && pushed.push.plan == Plan::Good),
            refused,
            rollbacks_led,
            restored: findings.undone.iter().filter(|undone| undone.equal).count(),
            own_median_ms: median(own_parts.iter().map(OwnPart::total_ms)),
            own_worst_ms: worst(own_parts.iter().map(OwnPart::total_ms)),
            own_parts,
            timer_lateness_ms: outcome.sightings.worst_lateness.as_secs_f64() * 1_000.0,
            snapshots,
            findings,
        }
    }
}

fn count(pushed: &[Pushed], which: impl Fn(&Pushed) -> bool) -> usize {
    pushed.iter().filter(|pushed| which(pushed)).count()
}

fn unexpected(pushed: &Pushed) -> String {
    let (version, plan) = (pushed.push.version, pushed.push.plan.name());
    let became = if pushed.succeeded { "was deployed" } else { "was not deployed" };
    format!("version {version} ({plan}) {became}")
}

/// The journal's record of a push: revisions are told apart by where their apps listen.
fn record<'a>(pushed: &Pushed, journal: &'a [Record]) -> Option<&'a Record> {
    journal.iter().find(|record| record.to == pushed.target)
}

/// A keeper says what it restored in answer to `take`; one that took the lease unasked has nobody to say it to.
fn led_back(pushed: &Pushed, journal: &[Record]) -> bool {
    record(pushed, journal)
        .is_some_and(|record| record.restored.is_some() && record.phases.iter().any(|phase| phase.phase == "rollback"))
}

fn snapshots(pushed: &[Pushed], journal: &[Record], bare: &[BareCopy]) -> Vec<SnapshotTime> {
    let recorded = pushed.iter().filter_map(|pushed| Some((pushed, record(pushed, journal)?.snapshot.as_ref()?)));
    let taken = recorded.filter(|(_, snapshot)| snapshot.bytes > 0);
    taken
        .filter_map(|(pushed, snapshot)| {
            let version = pushed.push.version;
            let bare_ms = bare.iter().find(|bare| bare.version == version && bare.bytes == snapshot.bytes)?.ms;
            Some(SnapshotTime { version, bytes: snapshot.bytes, ms: snapshot.ms, bare_ms })
        })
        .collect()
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let found = &self.findings;
        let mut row = |what: &str, value: String| writeln!(f, "  {what:<28} {value}");
        row("orders placed", format!("{} ({:.0} a second)", found.orders, self.rate))?;
        row("failed", found.failed.to_string())?;
        row("acknowledged but lost", found.lost.to_string())?;
        row("refused but committed", found.refused_but_committed.to_string())?;
        row("committed twice", found.duplicates.to_string())?;
        row("written across versions", found.across_versions.to_string())?;
        row("readings, failed", format!("{}, {}", found.readings, found.readings_failed))?;
        row("good versions deployed", format!("{} of {}", self.deployed, super::script::GOOD))?;
        row("bad versions refused", format!("{} of {}", self.refused, found.undone.len()))?;
        row("overlap", format!("{:.3} s", found.overlap_ms / 1_000.0))?;
        if self.baseline {
            row("data restored", format!("{} of {}", self.restored, found.undone.len()))?;
        } else {
            row("rollbacks led by `take`", format!("{} of {}", self.rollbacks_led, self.refused))?;
            row("data restored to the byte", format!("{} of {}", self.restored, found.undone.len()))?;
            self.times(f)?;
        }
        for failure in &found.failures {
            writeln!(f, "    {failure}")?;
        }
        if self.held {
            return writeln!(f, "\nEvery promise was held.");
        }
        writeln!(f, "\nPromises that were not held:")?;
        self.broken.iter().try_for_each(|broken| writeln!(f, "  - {broken}"))
    }
}

impl Report {
    fn times(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let holds = &self.findings.holds;
        let mut row = |what: &str, value: String| writeln!(f, "  {what:<28} {value}");
        let held = (holds.held, holds.median_ms, holds.p99_ms, holds.worst_ms);
        row(
            "orders held",
            format!("{}: median {:.0} ms, p99 {:.0} ms, worst {:.0} ms", held.0, held.1, held.2, held.3),
        )?;
        let (middle, last) = (self.own_median_ms, self.own_worst_ms);
        let allowed = OWN_WORST_MS + self.timer_lateness_ms;
        let fits = verdict(middle <= OWN_MEDIAN_MS && last <= allowed);
        row("lockgate's own part", format!("median {middle:.1} ms, worst {last:.1} ms {fits}"))?;
        row("  aimed at", format!("{OWN_MEDIAN_MS} ms, {OWN_WORST_MS} ms + latest timer = {allowed:.1} ms"))?;
        for (name, part) in PARTS {
            let times = || self.own_parts.iter().map(part);
            row(name, format!("median {:.1} ms, worst {:.1} ms", median(times()), worst(times())))?;
        }
        row("latest timer", format!("{:.1} ms", self.timer_lateness_ms))?;
        let (ours, bare) = (|s: &SnapshotTime| s.ms, |s: &SnapshotTime| s.bare_ms);
        let (ms, bare_ms) = (median(self.snapshots.iter().map(ours)), median(self.snapshots.iter().map(bare)));
        let bytes = self.snapshots.iter().map(|snapshot| snapshot.bytes).max().unwrap_or_default();
        let fits = verdict(ms <= SNAPSHOT_EXTRA_MS + 1.5 * bare_ms);
        row("snapshot", format!("median {ms:.1} ms, a bare copy and sync {bare_ms:.1} ms, {bytes} bytes {fits}"))
    }
}

type Part = (&'static str, fn(&OwnPart) -> f64);

const PARTS: [Part; 3] = [
    ("  last answer -> SIGTERM", |part| part.until_sigterm_ms),
    ("  exit -> main, no snapshot", |part| part.until_main_ms),
    ("  listens -> first order", |part| part.until_order_ms),
];

fn verdict(fits: bool) -> &'static str {
    if fits { "(as aimed at)" } else { "(more than aimed at)" }
}
