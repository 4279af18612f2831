//! The record: two slots of fixed size, written in turn, in place, so that a full disk stops no one and a torn write
//! costs only the slot that was being written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::wire::{Holder, VERSION, Version};

/// Bytes of one slot: a block of any file system, so that two slots never share one.
pub(super) const SLOT: usize = 4096;
const SLOTS: u64 = 2;
/// Bytes of both.
pub(super) const SIZE: usize = 2 * SLOT;
const MAGIC: &str = "lockgate-lease";

/// What the volume remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the record.
    pub version: Version,
    /// The service the lease belongs to, if a holder was told.
    #[serde(default)]
    pub service: Option<String>,
    /// The last acquisition's number; 0 before the first.
    pub epoch: u64,
    /// Who acquired it.
    #[serde(default)]
    pub holder: Option<Holder>,
    /// Whether the last epoch is unconfirmed.
    #[serde(default)]
    pub unconfirmed: bool,
    /// The keeper whose epoch was last confirmed.
    #[serde(default)]
    pub last_confirmed: Option<String>,
    /// The holder was told to stop, and did.
    #[serde(default)]
    pub left: bool,
    /// Milliseconds from the start of an app to its confirmation, as last measured.
    #[serde(default)]
    pub boot_ms: Option<u64>,
    /// Fields of a newer version, kept.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

impl Record {
    /// The record of a lease that nobody ever had.
    #[must_use]
    pub fn blank() -> Self {
        Self {
            version: crate::wire::VERSION,
            service: None,
            epoch: 0,
            holder: None,
            unconfirmed: false,
            last_confirmed: None,
            left: false,
            boot_ms: None,
            unknown: BTreeMap::new(),
        }
    }
}

/// What the two slots say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Nothing was ever written.
    Blank,
    /// The newer of the good slots.
    Good(Box<Record>),
    /// The newer of the good slots is of a major version that this program does not know.
    Newer(Version),
    /// Something was written, and neither slot is good; or nothing is written any more.
    Corrupt,
}

/// A reading, and where the next write goes.
pub(super) struct Slots {
    pub(super) reading: Reading,
    /// The number of the newest good slot.
    number: u64,
}

impl Slots {
    /// Reads both slots.
    pub(super) fn read(file: &File) -> io::Result<Self> {
        let mut best: Option<(u64, Reading)> = None;
        let mut written = false;
        for slot in 0..SLOTS {
            let mut bytes = Vec::with_capacity(SLOT);
            read_slot(file, slot, &mut bytes)?;
            written |= bytes.iter().any(|byte| *byte != 0);
            if let Some((number, reading)) = decode(&bytes)
                && best.as_ref().is_none_or(|(newest, _)| number > *newest)
            {
                best = Some((number, reading));
            }
        }
        Ok(match best {
            Some((number, reading)) => Self { reading, number },
            None => Self { reading: if written { Reading::Corrupt } else { Reading::Blank }, number: 0 },
        })
    }

    /// Writes into the older slot and syncs; the newer one stays as it is until that is done.
    pub(super) fn write(&mut self, file: &File, record: &Record) -> io::Result<()> {
        let number = self.number + 1;
        let bytes = encode(number, record)?;
        file.write_all_at(&bytes, (number % SLOTS) * SLOT as u64)?;
        file.sync_data()?;
        self.number = number;
        self.reading = Reading::Good(Box::new(record.clone()));
        Ok(())
    }
}

fn read_slot(file: &File, slot: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    use std::io::Read;
    bytes.clear();
    let reader = At { file, at: slot * SLOT as u64 };
    reader.take(SLOT as u64).read_to_end(bytes)?;
    Ok(())
}

/// Reads from a place of a file without moving its position, which others share.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl io::Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// `lockgate-lease <number> <length> <sha-256>`, a line feed, the record as JSON, a line feed, zeros.
fn encode(number: u64, record: &Record) -> io::Result<Vec<u8>> {
    let body = serde_json::to_string(record)?;
    let sum = checksum(number, &body);
    let mut bytes = format!("{MAGIC} {number} {} {sum}\n{body}\n", body.len()).into_bytes();
    if bytes.len() > SLOT {
        return Err(io::Error::other("the record does not fit its slot"));
    }
    bytes.resize(SLOT, 0);
    Ok(bytes)
}

/// The number of a good slot, and what it says.
fn decode(bytes: &[u8]) -> Option<(u64, Reading)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, rest) = text.split_once('\n')?;
    let mut words = head.split(' ');
    if words.next() != Some(MAGIC) {
        return None;
    }
    let number = words.next()?.parse().ok()?;
    let length: usize = words.next()?.parse().ok()?;
    let sum = words.next()?;
    let body = rest.get(..length)?;
    (sum == checksum(number, body)).then_some(())?;
    // Nothing else of a newer version need be as it is known here.
    let Versioned { version } = serde_json::from_str(body).ok()?;
    if version.major > VERSION.major {
        return Some((number, Reading::Newer(version)));
    }
    Some((number, Reading::Good(serde_json::from_str(body).ok()?)))
}

#[derive(Deserialize)]
struct Versioned {
    version: Version,
}

fn checksum(number: u64, body: &str) -> String {
    let digest = Sha256::new().chain_update(number.to_le_bytes()).chain_update(body).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: u64) -> Record {
        Record { epoch, last_confirmed: Some("a:1".into()), ..Record::blank() }
    }

    fn slots() -> (File, Slots) {
        let file = tempfile::tempfile().unwrap();
        super::super::directory::preallocate(&file, SIZE).unwrap();
        let slots = Slots::read(&file).unwrap();
        assert_eq!(slots.reading, Reading::Blank);
        (file, slots)
    }

    #[test]
    fn a_torn_write_costs_only_the_newest_record() {
        let (file, mut slots) = slots();
        for epoch in 1..=5 {
            slots.write(&file, &record(epoch)).unwrap();
            assert_eq!(Slots::read(&file).unwrap().reading, Reading::Good(Box::new(record(epoch))));
        }
        file.write_all_at(b"#", SLOT as u64 + 200).unwrap();
        assert_eq!(Slots::read(&file).unwrap().reading, Reading::Good(Box::new(record(4))));
        file.write_all_at(b"#", 200).unwrap();
        assert_eq!(Slots::read(&file).unwrap().reading, Reading::Corrupt);
    }

    #[test]
    fn a_record_keeps_what_a_newer_version_wrote() {
        let (file, mut slots) = slots();
        let mut newer = record(1);
        newer.unknown.insert("later".into(), serde_json::json!({"a": 1}));
        slots.write(&file, &newer).unwrap();
        assert_eq!(Slots::read(&file).unwrap().reading, Reading::Good(Box::new(newer)));
    }

    #[test]
    fn a_record_of_a_newer_major_version_is_known_for_one_though_nothing_else_of_it_is() {
        let (file, mut slots) = slots();
        slots.write(&file, &record(1)).unwrap();
        let body = r#"{"version":{"major":7,"minor":2},"epoch":"two"}"#;
        let text = format!("{MAGIC} 2 {} {}\n{body}\n", body.len(), checksum(2, body));
        file.write_all_at(text.as_bytes(), 0).unwrap();
        assert_eq!(Slots::read(&file).unwrap().reading, Reading::Newer(Version { major: 7, minor: 2 }));
    }

    #[test]
    fn a_record_that_outgrew_its_slot_is_refused_and_the_old_one_stays() {
        let (file, mut slots) = slots();
        slots.write(&file, &record(1)).unwrap();
        let huge = Record { service: Some("x".repeat(SLOT)), ..record(2) };
        assert!(slots.write(&file, &huge).is_err());
        assert_eq!(Slots::read(&file).unwrap().reading, Reading::Good(Box::new(record(1))));
    }
}
