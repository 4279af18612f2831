//! One proxy at a time for a data directory.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The right to write in a data directory. The kernel takes it back when this is dropped or the process ends.
#[derive(Debug)]
#[must_use]
pub struct DataLock {
    _directory: File,
}

/// No right to write there.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another proxy has it.
    #[error("the data directory {} is in use by {}", path.display(), owner(*.process))]
    Taken {
        /// Which directory.
        path: PathBuf,
        /// Who, where the kernel tells: not across PID namespaces.
        process: Option<u32>,
    },
    /// The directory cannot be opened, or its file system has no locks.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DataLock {
    /// Locks the directory itself: there is no file to leave behind, and one that is read-only can be locked too.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { path: path.to_owned(), source };
        let directory = File::open(path).map_err(failed)?;
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _directory: directory }),
            Err(Errno::WOULDBLOCK) => {
                let inode = directory.metadata().map_err(failed)?.ino();
                Err(LockError::Taken { path: path.to_owned(), process: holder(inode) })
            }
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// From the kernel's list: `1: FLOCK  ADVISORY  WRITE 4711 fe:00:753934 0 EOF`.
fn holder(inode: u64) -> Option<u32> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let place = format!(":{inode}");
    let held = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    held.into_iter().find_map(|words| match words.as_slice() {
        [_, "FLOCK", _, _, process, file, ..] if file.ends_with(&place) => process.parse().ok().filter(|pid| *pid > 0),
        _ => None,
    })
}

fn owner(process: Option<u32>) -> String {
    process.map_or_else(|| "another process".into(), |process| format!("process {process}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once_and_whoever_has_it_is_named() {
        let data = tempfile::tempdir().unwrap();
        let first = DataLock::take(data.path()).unwrap();
        let error = DataLock::take(data.path()).unwrap_err().to_string();
        let (path, own) = (data.path().display(), std::process::id());
        assert_eq!(error, format!("the data directory {path} is in use by process {own}"));
        drop(first);
        let _again = DataLock::take(data.path()).unwrap();
    }
}
