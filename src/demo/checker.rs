//! The verdict. It knows only what the clients logged, what is in the database, and what the apps stamped themselves:
//! nothing of the proxy's.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde::Serialize;

use super::lives::{Life, lives};
use super::load::{self, Entry, Kind};
use super::stamps::{self, Plan, Stamp};

/// An order as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Made by the client.
    pub key: String,
    /// The shop's version that wrote it.
    pub version: u32,
    /// The version of the schema at that moment.
    pub schema: u32,
}

/// What one check looks at.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The clients' log.
    pub log: Vec<Entry>,
    /// The orders in the database.
    pub rows: Vec<Row>,
    /// The last write of each boot's background writer, as the database has it.
    pub ticks: BTreeMap<String, u64>,
    /// The apps' stamps.
    pub stamps: Vec<Stamp>,
    /// What SQLite says of the file; `ok`, or what is wrong with it.
    pub integrity: String,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// A file that can't be read.
    #[error("{0}: {1}")]
    File(&'static str, #[source] io::Error),
    /// The database.
    #[error("the database: {0}")]
    Database(#[from] rusqlite::Error),
}

impl Evidence {
    /// Gathers it when all has ended.
    ///
    /// # Errors
    /// Where one of the three can't be read.
    pub fn gather(log: &Path, database: &Path, stamps: &Path) -> Result<Self, EvidenceError> {
        let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut select = connection.prepare("SELECT key, version, schema FROM orders")?;
        let rows =
            select.query_map([], |row| Ok(Row { key: row.get(0)?, version: row.get(1)?, schema: row.get(2)? }))?;
        let mut latest = connection.prepare("SELECT boot, max(at_us) FROM ticks GROUP BY boot")?;
        let ticks = latest.query_map([], |row| Ok((row.get(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0))))?;
        Ok(Self {
            log: load::read(log).map_err(|error| EvidenceError::File("the clients' log", error))?,
            rows: rows.collect::<Result<_, _>>()?,
            ticks: ticks.collect::<Result<_, _>>()?,
            stamps: stamps::read(stamps).map_err(|error| EvidenceError::File("the apps' stamps", error))?,
            integrity: connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?,
        })
    }
}

/// How long orders waited in front of an app that did not listen yet when they were sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Holds {
    /// How many did.
    pub held: usize,
    /// Milliseconds, half of them less.
    pub median_ms: f64,
    /// 99 of 100 less.
    pub p99_ms: f64,
    /// The longest.
    pub worst_ms: f64,
}

/// What became of the data of one bad version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// The bad version.
    pub version: u32,
    /// What was bad about it.
    pub plan: Plan,
    /// The version that came after it, if any did.
    pub brought_back: Option<u32>,
    /// Whether that is the version before it and found, to the byte, the files that the bad one had found.
    pub equal: bool,
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Findings {
    /// Orders sent.
    pub orders: usize,
    /// Those that got their 2xx.
    pub acknowledged: usize,
    /// Those that did not.
    pub failed: usize,
    /// Acknowledged, but not in the database.
    pub lost: usize,
    /// Not acknowledged, but in the database.
    pub refused_but_committed: usize,
    /// In the database more than once.
    pub duplicates: usize,
    /// Written by a version that did not know the schema it wrote into.
    pub across_versions: usize,
    /// Readings sent.
    pub readings: usize,
    /// Readings without a 2xx.
    pub readings_failed: usize,
    /// Milliseconds in which more than one app was live.
    pub overlap_ms: f64,
    /// Apps that lived.
    pub lives: usize,
    /// Hold times.
    pub holds: Holds,
    /// One for each bad version.
    pub undone: Vec<Undone>,
    /// SQLite's own word.
    pub integrity: String,
    /// The first few failures, as the clients saw them.
    pub failures: Vec<String>,
}

/// Looks at the evidence.
#[must_use]
pub fn check(evidence: &Evidence) -> Findings {
    let lives = lives_with_ticks(evidence);
    let (orders, readings): (Vec<&Entry>, Vec<&Entry>) =
        evidence.log.iter().partition(|entry| entry.kind == Kind::Order);
    let committed: BTreeSet<&str> = evidence.rows.iter().map(|row| row.key.as_str()).collect();
    let is_committed = |entry: &&&Entry| committed.contains(entry.key.as_str());
    let (acknowledged, refused): (Vec<&Entry>, Vec<&Entry>) = orders.iter().partition(|entry| entry.acknowledged());
    Findings {
        orders: orders.len(),
        acknowledged: acknowledged.len(),
        failed: refused.len(),
        lost: acknowledged.len() - acknowledged.iter().filter(is_committed).count(),
        refused_but_committed: refused.iter().filter(is_committed).count(),
        duplicates: evidence.rows.len() - committed.len(),
        across_versions: evidence.rows.iter().filter(|row| row.version != row.schema).count(),
        readings: readings.len(),
        readings_failed: readings.iter().filter(|entry| !entry.acknowledged()).count(),
        overlap_ms: millis(overlap_us(&lives)),
        lives: lives.len(),
        holds: holds(&orders, &lives),
        undone: undone(&lives),
        integrity: evidence.integrity.clone(),
        failures: evidence.log.iter().filter(|entry| !entry.acknowledged()).take(5).map(describe).collect(),
    }
}

impl Findings {
    /// The promises that were not held, one sentence each.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let counts = [
            (self.failed, "orders failed"),
            (self.lost, "acknowledged orders are lost"),
            (self.refused_but_committed, "refused orders were committed"),
            (self.duplicates, "orders were committed twice"),
            (self.across_versions, "orders were written by a version that did not know the schema"),
            (self.readings_failed, "readings failed"),
        ];
        let mut broken: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if self.overlap_ms > 0.0 {
            broken.push(format!("two versions were live together for {:.1} ms", self.overlap_ms));
        }
        for undone in self.undone.iter().filter(|undone| !undone.equal) {
            broken.push(format!("what version {} ({}) did was not undone", undone.version, undone.plan.name()));
        }
        if self.integrity != "ok" {
            broken.push(format!("the database is damaged: {}", self.integrity));
        }
        broken
    }
}

/// The background writer's last row tells that an app lived, even where it stamped nothing more.
fn lives_with_ticks(evidence: &Evidence) -> Vec<Life> {
    let mut lives = lives(&evidence.stamps);
    for life in &mut lives {
        life.last_us = life.last_us.max(evidence.ticks.get(&life.boot).copied().unwrap_or(0));
    }
    lives
}

/// The time in which at least two of the lives, each from its first stamp to its last, go on together.
fn overlap_us(lives: &[Life]) -> u64 {
    let (mut covered_until, mut overlap) = (0, 0);
    let mut counted_until = 0;
    for life in lives {
        // Lives are sorted by their beginnings: what lies before `covered_until` is some earlier life's.
        let (from, until) = (life.main_us.max(counted_until), life.last_us.min(covered_until));
        if until > from {
            overlap += until - from;
            counted_until = until;
        }
        covered_until = covered_until.max(life.last_us);
    }
    overlap
}

fn undone(lives: &[Life]) -> Vec<Undone> {
    let bad = lives.iter().enumerate().filter(|(_, life)| life.plan != Plan::Good);
    bad.map(|(place, life)| {
        let (before, after) = (place.checked_sub(1).and_then(|place| lives.get(place)), lives.get(place + 1));
        let same_version = before.map(|life| life.version) == after.map(|life| life.version);
        let same_data = after.is_some_and(|after| !after.set.is_empty() && after.set == life.set);
        Undone {
            version: life.version,
            plan: life.plan,
            brought_back: after.map(|life| life.version),
            equal: same_version && same_data,
        }
    })
    .collect()
}

fn holds(orders: &[&Entry], lives: &[Life]) -> Holds {
    let listening: BTreeMap<&str, u64> =
        lives.iter().filter_map(|life| Some((life.boot.as_str(), life.listening_us?))).collect();
    let hold = |order: &&Entry| {
        let listened = listening.get(order.boot.as_deref()?)?;
        (order.sent_us < *listened).then(|| order.received_us.map(|received| received.saturating_sub(order.sent_us)))?
    };
    let mut holds: Vec<u64> = orders.iter().filter_map(hold).collect();
    holds.sort_unstable();
    let at = |hundredths: usize| {
        millis(holds.get((holds.len().saturating_sub(1)) * hundredths / 100).copied().unwrap_or_default())
    };
    Holds { held: holds.len(), median_ms: at(50), p99_ms: at(99), worst_ms: at(100) }
}

fn describe(entry: &Entry) -> String {
    let status = entry.status.map_or("no answer".to_owned(), |status| status.to_string());
    let took = millis(entry.ended_us.saturating_sub(entry.sent_us));
    format!("{} (fresh: {}): {status} after {took:.0} ms: {}", entry.key, entry.fresh, entry.error.trim())
}

/// Milliseconds with their fraction.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "measured times are far below 2^52 microseconds")]
pub fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::super::stamps::Event;
    use super::*;

    /// A run without a fault: version 1, version 2 which spoils the data, version 1 again; two orders.
    fn clean() -> Evidence {
        let mut evidence = Evidence { integrity: "ok".to_owned(), ..Evidence::default() };
        live(&mut evidence, "a", 1, Plan::Good, 100, 200);
        live(&mut evidence, "b", 2, Plan::SpoilsData, 210, 250);
        live(&mut evidence, "c", 1, Plan::Good, 260, 400);
        order(&mut evidence, "one", 150, "a", 151);
        order(&mut evidence, "two", 205, "c", 275);
        evidence
    }

    fn live(evidence: &mut Evidence, boot: &str, version: u32, plan: Plan, from: u64, until: u64) {
        let files = BTreeMap::from([("shop.db".to_owned(), format!("as before {}", if from < 210 { 1 } else { 2 }))]);
        let mut stamp = |at_us, event| {
            evidence.stamps.push(Stamp { boot: boot.to_owned(), version, at_us, event });
        };
        stamp(from, Event::Main { pid: 1, plan });
        stamp(from + 1, Event::Set { files });
        stamp(from + 10, Event::Listening);
        stamp(until, Event::Exit);
    }

    fn order(evidence: &mut Evidence, key: &str, sent_us: u64, boot: &str, received_us: u64) {
        evidence.log.push(Entry {
            kind: Kind::Order,
            key: key.to_owned(),
            slow_ms: 0,
            fresh: false,
            sent_us,
            ended_us: received_us + 1,
            status: Some(201),
            boot: Some(boot.to_owned()),
            received_us: Some(received_us),
            error: String::new(),
        });
        evidence.rows.push(Row { key: key.to_owned(), version: 1, schema: 1 });
    }

    #[track_caller]
    fn finds(fault: impl FnOnce(&mut Evidence), sentence: &str) {
        let mut evidence = clean();
        fault(&mut evidence);
        let broken = check(&evidence).broken();
        assert!(broken.iter().any(|found| found.contains(sentence)), "{broken:?} does not say {sentence:?}");
    }

    #[test]
    fn a_run_without_a_fault_breaks_no_promise() {
        let findings = check(&clean());
        assert_eq!(findings.broken(), Vec::<String>::new());
        assert_eq!((findings.orders, findings.acknowledged, findings.lives), (2, 2, 3));
    }

    #[test]
    fn an_order_sent_before_its_app_listened_was_held() {
        let holds = check(&clean()).holds;
        assert_eq!(holds.held, 1);
        assert!((holds.worst_ms - 0.07).abs() < 1e-9);
    }

    #[test]
    fn an_acknowledged_order_that_is_not_in_the_database_is_lost() {
        finds(|evidence| drop(evidence.rows.remove(0)), "1 acknowledged orders are lost");
    }

    #[test]
    fn a_refused_order_must_not_be_in_the_database() {
        finds(|evidence| evidence.log[0].status = Some(503), "1 refused orders were committed");
    }

    #[test]
    fn an_order_without_an_answer_has_failed() {
        finds(|evidence| evidence.log[0].status = None, "1 orders failed");
    }

    #[test]
    fn an_order_that_is_there_twice_is_a_duplicate() {
        finds(|evidence| evidence.rows.push(evidence.rows[0].clone()), "1 orders were committed twice");
    }

    #[test]
    fn a_version_must_know_the_schema_that_it_writes_into() {
        finds(|evidence| evidence.rows[1].schema = 2, "did not know the schema");
    }

    #[test]
    fn a_reading_that_fails_counts() {
        finds(
            |evidence| {
                evidence.log[0].kind = Kind::Reading;
                evidence.log[0].status = Some(502);
            },
            "1 readings failed",
        );
    }

    #[test]
    fn two_lives_at_once_overlap() {
        finds(|evidence| live(evidence, "d", 3, Plan::Good, 399, 500), "live together for 0.0 ms");
        let mut evidence = clean();
        live(&mut evidence, "d", 3, Plan::Good, 390, 500);
        live(&mut evidence, "e", 4, Plan::Good, 395, 450);
        assert!((check(&evidence).overlap_ms - 0.060).abs() < 1e-9, "390 to 450, each moment once");
    }

    #[test]
    fn a_row_written_in_the_background_shows_that_its_app_lived_on() {
        let lives_on = |evidence: &mut Evidence| {
            evidence.ticks.insert("a".to_owned(), 230);
        };
        finds(lives_on, "two versions were live together");
    }

    #[test]
    fn the_version_brought_back_must_find_what_the_bad_one_found() {
        let other = BTreeMap::from([("shop.db".to_owned(), "spoiled".to_owned())]);
        finds(|evidence| evidence.stamps[9].event = Event::Set { files: other }, "version 2 (spoils-data)");
    }

    #[test]
    fn a_file_that_stayed_behind_is_not_undone() {
        finds(
            |evidence| {
                if let Event::Set { files } = &mut evidence.stamps[9].event {
                    files.insert("shop.db-wal".to_owned(), String::new());
                }
            },
            "was not undone",
        );
    }

    #[test]
    fn a_bad_version_after_which_none_came_back_is_not_undone() {
        finds(|evidence| evidence.stamps.truncate(8), "was not undone");
    }

    #[test]
    fn a_damaged_database_is_said() {
        finds(|evidence| evidence.integrity = "row 3 missing".to_owned(), "row 3 missing");
    }
}
