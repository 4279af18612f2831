//! The journal's record of the handoff that runs.

use std::time::Duration;

use tokio::time::Instant;

use super::Job;
use crate::clock;
use crate::gate::View;
use crate::handoff::machine::{Aim, Outcome, Phase, Side};
use crate::journal::{self, Record, Snapshot};
use crate::service::Revision;
use crate::service::flight::Rule;
use crate::wire::Saying;

pub(super) struct Recorder {
    record: Record,
    phase: Option<(Phase, Instant)>,
    held: bool,
}

impl Recorder {
    pub(super) fn new(job: &Job) -> Self {
        let targets = |revision: Option<&std::sync::Arc<Revision>>| {
            let targets = revision.map(|revision| revision.targets.iter().map(|t| t.address().to_string()));
            targets.map(|targets| targets.collect::<Vec<_>>().join(",")).unwrap_or_default()
        };
        let record = Record {
            id: job.plan.handoff.to_string(),
            service: job.plan.service.to_string(),
            kind: if matches!(job.plan.aim, Aim::Deploy(_)) { "overlap" } else { "follow" }.into(),
            from: targets(job.sides.old.revision.as_ref()),
            to: targets(job.sides.new.revision.as_ref()),
            asked_by: job.asked_by.clone(),
            began_ms: clock::unix_ms(),
            ..Record::default()
        };
        Self { record, phase: None, held: false }
    }

    pub(super) fn phase(&mut self, phase: Phase) {
        self.end_phase();
        self.phase = Some((phase, Instant::now()));
        match phase {
            Phase::Hold => {
                self.held = true;
                self.kind("drain");
            }
            Phase::Yield | Phase::Acquire => self.kind("exclusive"),
            Phase::Preflight
            | Phase::Settle
            | Phase::Drain
            | Phase::Snapshot
            | Phase::Boot
            | Phase::Probe
            | Phase::Confirm
            | Phase::Flip
            | Phase::Release
            | Phase::Rollback => {}
        }
    }

    fn kind(&mut self, kind: &str) {
        if self.record.kind != "follow" {
            self.record.kind = kind.into();
        }
    }

    fn end_phase(&mut self) {
        if let Some((phase, began)) = self.phase.take() {
            self.took(phase, began.elapsed());
        }
    }

    pub(super) fn took(&mut self, phase: Phase, duration: Duration) {
        self.record.phases.push(journal::Phase { phase: phase.word().into(), ms: milliseconds(duration) });
    }

    /// What the rollback's own take says of a snapshot is of no interest: the one that counts came before.
    pub(super) fn said(&mut self, side: Side, saying: &Saying) {
        match saying {
            Saying::Snapshot { bytes, us, how, why } if side == Side::New => {
                let ms = milliseconds(Duration::from_micros(*us));
                self.record.snapshot = Some(Snapshot { bytes: *bytes, ms, how: how.clone(), why: why.clone() });
            }
            Saying::Leased { restored: Some(epoch), .. } => self.record.restored = Some(*epoch),
            Saying::Status(_)
            | Saying::Ready { .. }
            | Saying::Refused { .. }
            | Saying::Ok {}
            | Saying::Stopping { .. }
            | Saying::Free { .. }
            | Saying::Leased { restored: None, .. }
            | Saying::Snapshot { .. }
            | Saying::Started {}
            | Saying::Exited { .. }
            | Saying::Held { .. }
            | Saying::Confirmed { .. } => {}
        }
    }

    pub(super) fn restored(&mut self, duration: Duration) {
        self.record.restore_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    }

    pub(super) fn warn(&mut self, warning: String) {
        tracing::warn!(service = self.record.service, handoff = self.record.id, "{warning}");
        self.record.warnings.push(warning);
    }

    pub(super) fn epoch(&mut self, epoch: u64) {
        self.record.epoch = Some(epoch);
    }

    /// What lasts is always cut and is not counted.
    pub(super) fn cut(&mut self, rule: Rule, count: usize) {
        if rule != Rule::LongLived {
            self.record.cut += count as u64;
        }
    }

    pub(super) fn finish(mut self, outcome: &Outcome, view: &View) -> Record {
        self.end_phase();
        if self.held {
            self.record.held_peak = view.hold.held_peak;
            self.record.held_total = view.hold.held_total;
            self.record.longest_wait_ms = u64::try_from(view.hold.longest_wait.as_millis()).unwrap_or(u64::MAX);
        }
        let (word, reason) = match outcome {
            Outcome::Done => ("done", String::new()),
            Outcome::GivenUp(reason) => ("given up", reason.to_string()),
            Outcome::RolledBack(reason) => ("rolled back", reason.to_string()),
            Outcome::Unavailable { forward, back: None } => ("unavailable", forward.to_string()),
            Outcome::Unavailable { forward, back: Some(back) } => ("unavailable", format!("{forward}; then {back}")),
        };
        self.record.outcome = word.into();
        self.record.reason = reason;
        self.record
    }
}

/// Milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
