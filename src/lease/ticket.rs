//! The ticket: proof that a living successor stands by at this very lease.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Error;
use super::directory::{exclusive, open_lock, shared};

/// Bytes of the file, fixed, so that a full disk stops no rollback.
pub(super) const SIZE: usize = 64;
/// Who only looks holds the lock for some microseconds: try again this long.
const LOOKERS: Duration = Duration::from_millis(20);

/// A ticket, locked until it is dropped: no lock, no ticket.
#[derive(Debug)]
pub struct Ticket {
    word: String,
    /// Kept for its lock.
    _file: File,
}

impl Ticket {
    pub(super) fn lay(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("ticket");
        let file = open_lock(&path, true)?;
        let until = Instant::now() + LOOKERS;
        while !exclusive(&file).map_err(Error::io("lock", &path))? {
            if Instant::now() >= until {
                return Err(Error::TicketTaken { path: directory.to_owned() });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let word = random_word().map_err(Error::io("make a word for", &path))?;
        let mut bytes = word.clone().into_bytes();
        bytes.resize(SIZE, b'\n');
        file.write_all_at(&bytes, 0).map_err(Error::io("write", &path))?;
        Ok(Self { word, _file: file })
    }

    /// The word, to be given to who prepared this standby.
    #[must_use]
    pub fn word(&self) -> &str {
        &self.word
    }
}

pub(super) fn is_good(directory: &Path, word: &str) -> Result<bool, Error> {
    let path = directory.join("ticket");
    let file = open_lock(&path, false)?;
    let mut laid = String::new();
    (&file).take(SIZE as u64).read_to_string(&mut laid).map_err(Error::io("read", &path))?;
    if word.is_empty() || laid.trim_end_matches('\n') != word {
        return Ok(false);
    }
    Ok(!shared(&file).map_err(Error::io("lock", &path))?)
}

fn random_word() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::super::Directory;
    use super::*;

    #[test]
    fn a_ticket_is_good_while_its_standby_lives_and_only_then() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(&home.path().join("d"), home.path()).unwrap();
        let ticket = directory.lay_ticket().unwrap();
        let word = ticket.word().to_owned();
        assert!(directory.ticket_is_good(&word).unwrap());
        assert!(!directory.ticket_is_good("forged").unwrap());
        assert!(!directory.ticket_is_good("").unwrap());
        assert!(matches!(directory.lay_ticket(), Err(Error::TicketTaken { .. })));
        drop(ticket);
        assert!(!directory.ticket_is_good(&word).unwrap());
        assert_ne!(directory.lay_ticket().unwrap().word(), word);
    }
}
