//! The record of each handoff, phase by phase: one line of JSON in `<data>/lockgate/handoffs/<service>.jsonl`.
//!
//! For people and metrics only: safety does not rest on it, so nothing is synced, and nothing is written while requests
//! are held.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::spec::escape_name;

/// Records kept for each service; older ones are dropped.
pub const KEPT: usize = 1_000;

/// Bytes of a service's escaped name that stand in its file's name.
const LONGEST: usize = 200;

/// One handoff.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Its own word.
    pub id: String,
    /// Which service.
    pub service: String,
    /// `overlap`, `drain`, `exclusive` or `follow`.
    pub kind: String,
    /// The targets before, joined with `,`; empty on a first deploy.
    pub from: String,
    /// The targets meant to be active after.
    pub to: String,
    /// The epoch that serves at the end, where there are keepers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Who asked.
    pub asked_by: String,
    /// When it began, milliseconds since the Unix epoch.
    pub began_ms: u64,
    /// Each phase in order.
    pub phases: Vec<Phase>,
    /// The most requests held at once.
    pub held_peak: usize,
    /// Requests that were held.
    pub held_total: u64,
    /// The longest that one was held.
    pub longest_wait_ms: u64,
    /// Requests cut.
    pub cut: u64,
    /// How it ended.
    pub outcome: String,
    /// Why, where it did not end as asked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The copy of the data taken before the new app started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// The epoch whose snapshot was put back, where a failed revision was undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored: Option<u64>,
    /// How long that took.
    #[serde(skip_serializing_if = "is_zero")]
    pub restore_ms: u64,
    /// What a person should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Fields of another version.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A phase and how long it took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// In the words of the handoff.
    pub phase: String,
    /// Milliseconds.
    pub ms: f64,
}

/// What was copied, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Bytes.
    pub bytes: u64,
    /// Milliseconds, syncing included.
    pub ms: f64,
    /// `reflink`, `copy` or `none`.
    pub how: String,
    /// Why none was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The journal of all services.
#[derive(Clone, Debug)]
pub struct Journal {
    directory: PathBuf,
}

impl Journal {
    /// The journal of the data directory `data`; made when first written.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { directory: data.join("lockgate").join("handoffs") }
    }

    fn path(&self, service: &str) -> PathBuf {
        self.directory.join(file_name(service))
    }

    /// Appends one record. Now and then the file is written anew with the newest [`KEPT`].
    ///
    /// # Errors
    /// What the system says; the handoff's end does not depend on it.
    pub fn append(&self, record: &Record) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let path = self.path(&record.service);
        let before = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        if before.last().is_some_and(|byte| *byte != b'\n') {
            line.insert(0, b'\n'); // A torn last line stays a line of its own.
        }
        if before.split(|byte| *byte == b'\n').count() > KEPT + KEPT / 4 {
            return rewrite(&path, &before, &line);
        }
        OpenOptions::new().append(true).create(true).open(path)?.write_all(&line)
    }

    /// The newest `limit` records of a service, newest first. Lines that are no records are passed over.
    ///
    /// # Errors
    /// What the system says; a service without a journal has no records.
    pub fn newest(&self, service: &str, limit: usize) -> io::Result<Vec<Record>> {
        newest_in(&self.path(service), limit)
    }

    /// The newest `limit` records of all services that there ever were, newest first.
    ///
    /// # Errors
    /// What the system says.
    pub fn newest_of_all(&self, limit: usize) -> io::Result<Vec<Record>> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut records = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                // One that cannot be read costs the others nothing.
                match newest_in(&path, limit) {
                    Ok(newest) => records.extend(newest),
                    Err(error) => tracing::warn!(path = %path.display(), %error, "Unable to read a journal"),
                }
            }
        }
        records.sort_by_key(|record| std::cmp::Reverse(record.began_ms));
        records.truncate(limit);
        Ok(records)
    }
}

/// A file's name has at most 255 bytes: of a longer one the beginning stays, and a hash tells it from its like.
fn file_name(service: &str) -> String {
    let mut name = escape_name(service);
    if name.len() > LONGEST {
        let hash = Sha256::digest(service.as_bytes());
        name.truncate(LONGEST);
        hash.iter().take(8).for_each(|byte| name.push_str(&format!("{byte:02x}")));
    }
    name + ".jsonl"
}

fn newest_in(path: &Path, limit: usize) -> io::Result<Vec<Record>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let lines = bytes.rsplit(|byte| *byte == b'\n');
    let records = lines.filter_map(|line| serde_json::from_slice(line).ok());
    Ok(records.take(limit.min(KEPT)).collect())
}

fn rewrite(path: &Path, before: &[u8], line: &[u8]) -> io::Result<()> {
    let lines: Vec<_> = before.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let kept = lines.get(lines.len().saturating_sub(KEPT - 1)..).unwrap_or_default();
    let mut text = kept.join(&b'\n');
    text.push(b'\n');
    text.extend(line.strip_prefix(b"\n").unwrap_or(line));
    let beside = path.with_extension("jsonl.new");
    fs::write(&beside, text)?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64) -> Record {
        Record { id: number.to_string(), service: "a/b".into(), ..Record::default() }
    }

    fn ids(journal: &Journal, limit: usize) -> Vec<String> {
        journal.newest("a/b", limit).unwrap().into_iter().map(|record| record.id).collect()
    }

    #[test]
    fn a_service_of_any_name_has_a_journal_of_its_own() {
        let data = tempfile::tempdir().unwrap();
        let journal = Journal::new(data.path());
        let names = ["ü".repeat(300), "ü".repeat(301)];
        for name in &names {
            journal.append(&Record { service: name.clone(), ..Record::default() }).unwrap();
        }
        for name in &names {
            let services: Vec<_> = journal.newest(name, 9).unwrap().into_iter().map(|record| record.service).collect();
            assert_eq!(services, std::slice::from_ref(name));
        }
        fs::create_dir(data.path().join("lockgate/handoffs/unreadable.jsonl")).unwrap();
        assert_eq!(journal.newest_of_all(9).unwrap().len(), 2);
    }

    #[test]
    fn reads_newest_first_and_passes_over_a_torn_line() {
        let data = tempfile::tempdir().unwrap();
        let journal = Journal::new(data.path());
        assert!(ids(&journal, 9).is_empty());
        journal.append(&record(1)).unwrap();
        let path = data.path().join("lockgate/handoffs/a%2Fb.jsonl");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"id\":\"to").unwrap();
        assert_eq!(ids(&journal, 9), ["1"]);
        journal.append(&record(2)).unwrap();
        assert_eq!(ids(&journal, 9), ["2", "1"]);
        assert_eq!(ids(&journal, 1), ["2"]);
    }

    #[test]
    fn keeps_the_newest_thousand() {
        let data = tempfile::tempdir().unwrap();
        let journal = Journal::new(data.path());
        for number in 0..1_300 {
            journal.append(&record(number)).unwrap();
        }
        let ids = ids(&journal, usize::MAX);
        assert_eq!((ids.len(), ids[0].as_str(), ids[999].as_str()), (1_000, "1299", "300"));
    }

    #[test]
    fn keeps_fields_of_another_version() {
        let read: Record = serde_json::from_str(r#"{"id":"x","service":"s","weather":"fine"}"#).unwrap();
        assert_eq!(read.unknown.get("weather"), Some(&Value::from("fine")));
    }
}
