//! The clients' log: one JSON object for each request, written when it has ended.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `POST /orders`.
    Order,
    /// `GET /orders`.
    Reading,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What was asked.
    pub kind: Kind,
    /// The order's key.
    pub key: String,
    /// How long the shop was asked to take.
    pub slow_ms: u64,
    /// Whether it had a connection of its own.
    pub fresh: bool,
    /// When it was sent, microseconds of `CLOCK_BOOTTIME`.
    pub sent_us: u64,
    /// When it ended.
    pub ended_us: u64,
    /// The answer's status; none where there was no answer.
    pub status: Option<u16>,
    /// Which start of the shop answered, as the receipt says.
    pub boot: Option<String>,
    /// When the request reached the shop, as the receipt says: before that it was held, or on its way.
    pub received_us: Option<u64>,
    /// What went wrong, empty where nothing did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

impl Entry {
    /// Whether the client may rely on it: a 2xx.
    #[must_use]
    pub fn acknowledged(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Where entries go.
#[derive(Debug)]
pub(super) struct Log {
    file: BufWriter<File>,
    broken: Option<io::Error>,
}

impl Log {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(File::create(path)?), broken: None })
    }

    /// Writes one entry; the first failure is kept for [`Log::close`].
    pub(super) fn write(&mut self, entry: &Entry) {
        let mut line = serde_json::to_vec(entry).unwrap_or_default();
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            self.broken.get_or_insert(error);
        }
    }

    /// All that was written is in the file, or the first reason why not.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.broken.take().map_or(Ok(()), Err)
    }
}

/// Reads the whole log.
///
/// # Errors
/// Where it can't be read or a line is no entry.
pub fn read(path: &Path) -> io::Result<Vec<Entry>> {
    fs::read_to_string(path)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
