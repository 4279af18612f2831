//! What the apps say of themselves: one JSON object a line, each appended in one write, so that the stamps of many
//! processes share one file. Times are `CLOCK_BOOTTIME`, the same clock in all of them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a version of the shop does when it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plan {
    /// Migrates, listens, serves.
    Good,
    /// Opens the database and exits.
    ExitsBooting,
    /// Its migration deletes orders, commits, and fails.
    SpoilsData,
    /// Migrates and serves, but `/up` never says 200.
    NeverHealthy,
}

impl Plan {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Good, Self::ExitsBooting, Self::SpoilsData, Self::NeverHealthy];

    /// As on the command line and in the stamps.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::ExitsBooting => "exits-booting",
            Self::SpoilsData => "spoils-data",
            Self::NeverHealthy => "never-healthy",
        }
    }

    /// The plan of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plan| plan.name() == name)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The first line of main.
    Main {
        /// The process.
        pid: i32,
        /// What this version is going to do.
        plan: Plan,
    },
    /// Before the database is opened: each file of its set, with its SHA-256.
    Set {
        /// File name -> hash.
        files: BTreeMap<String, String>,
    },
    /// Connections are accepted from here on.
    Listening,
    /// The first order arrived.
    FirstOrder,
    /// Told to stop.
    Sigterm,
    /// The last answer to an order or a reading (not to a health probe) was given.
    LastAnswer,
    /// The last line of main; the database is closed.
    Exit,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Names one start of one process: its process id and the time of its first line.
    pub boot: String,
    /// The shop's version.
    pub version: u32,
    /// Microseconds of `CLOCK_BOOTTIME`.
    pub at_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Where one process writes its stamps.
#[derive(Debug)]
pub struct Stamps {
    file: File,
    boot: String,
    version: u32,
}

impl Stamps {
    /// Opens the file for appending; `born` is the time of the first line of main.
    ///
    /// # Errors
    /// Where it can't be opened.
    pub fn open(path: &Path, version: u32, born: Duration) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let boot = format!("{}-{}", std::process::id(), micros(born));
        Ok(Self { file, boot, version })
    }

    /// Names this start of this process.
    #[must_use]
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Writes one stamp. A stamp that can't be written is said on stderr: the checker will miss it.
    pub fn stamp(&self, at: Duration, event: Event) {
        let stamp = Stamp { boot: self.boot.clone(), version: self.version, at_us: micros(at), event };
        let mut line = serde_json::to_vec(&stamp).unwrap_or_default();
        line.push(b'\n');
        if let Err(error) = (&self.file).write_all(&line) {
            eprintln!("shop: a stamp could not be written: {error}");
        }
    }
}

/// Reads all whole lines; one that is not a stamp is an error.
///
/// # Errors
/// Where the file can't be read or holds anything else.
pub fn read(path: &Path) -> io::Result<Vec<Stamp>> {
    fs::read_to_string(path)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The SHA-256 of each file of the database's set: itself, `-wal`, `-journal` and `-mj*`.
///
/// # Errors
/// Where the directory or a file can't be read.
pub fn hash_set(database: &Path) -> io::Result<BTreeMap<String, String>> {
    let name = database.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let directory = database.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        if file.strip_prefix(&name).is_some_and(of_the_set) {
            files.insert(file, hash(&entry.path())?);
        }
    }
    Ok(files)
}

fn of_the_set(suffix: &str) -> bool {
    matches!(suffix, "" | "-wal" | "-journal") || suffix.starts_with("-mj")
}

fn hash(path: &Path) -> io::Result<String> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut block = vec![0; 64 * 1024];
    loop {
        match file.read(&mut block)? {
            0 => break,
            count => hasher.update(block.get(..count).unwrap_or_default()),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whole microseconds.
#[must_use]
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stamps");
        let stamps = Stamps::open(&path, 7, Duration::from_micros(5)).unwrap();
        stamps.stamp(Duration::from_micros(5), Event::Main { pid: 9, plan: Plan::SpoilsData });
        stamps.stamp(Duration::from_micros(8), Event::Exit);
        let seen = read(&path).unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!((seen[0].version, seen[0].at_us), (7, 5));
        assert_eq!(seen[0].event, Event::Main { pid: 9, plan: Plan::SpoilsData });
        assert_eq!(seen[1].event, Event::Exit);
        assert!(seen.iter().all(|stamp| stamp.boot == stamps.boot()));
    }

    #[test]
    fn the_set_leaves_out_shared_memory_and_strangers() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.db", "a.db-wal", "a.db-shm", "a.db-mj12", "a.db.lockgate", "b.db"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let set = hash_set(&directory.path().join("a.db")).unwrap();
        assert_eq!(set.keys().collect::<Vec<_>>(), ["a.db", "a.db-mj12", "a.db-wal"]);
    }
}
