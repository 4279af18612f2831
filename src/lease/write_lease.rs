//! The question to the kernel: has anybody on this machine the file open?
//!
//! A write lease (`F_SETLEASE`, `F_WRLCK`) is granted only if no process has the file open, in any container and any
//! journal mode, and an open meanwhile waits. The kernel grants it to the file's owner, or with `CAP_LEASE`, which
//! root in a container lacks: so it is asked under the owner's uid, on this thread alone.
#![expect(unsafe_code, reason = "fcntl(F_SETLEASE) and setfsuid have no safe wrapper")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A write lease on a file. Given back by closing.
#[derive(Debug)]
pub struct WriteLease {
    file: File,
    path: PathBuf,
}

/// The kernel's answer.
#[derive(Debug)]
pub enum Answer {
    /// Nobody else has it open, and nobody can open it until the lease is dropped.
    Granted(WriteLease),
    /// Somebody has it open.
    Open,
    /// The question can't be asked here (file system, or rights).
    Impossible(io::Error),
    /// There is no such file.
    Missing,
}

impl WriteLease {
    /// The descriptor that has the lease: whatever is copied is copied through it.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file's path when the lease was asked for, or where it [was moved](Self::moved_to).
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same lease, if it is on the file that `path` names now: a lease follows its file.
    #[must_use]
    pub fn moved_to(self, path: &Path) -> Option<Self> {
        self.is_on(path).then(|| Self { path: path.to_owned(), ..self })
    }

    /// Whether `path` names the file that the lease is on.
    #[must_use]
    pub fn is_on(&self, path: &Path) -> bool {
        let identity = |file: &std::fs::Metadata| (file.dev(), file.ino());
        match (self.file.metadata(), std::fs::symlink_metadata(path)) {
            (Ok(own), Ok(named)) => identity(&own) == identity(&named),
            _ => false,
        }
    }

    /// Whether the lease is whole: nobody has tried to open the file since, nor has the kernel broken it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        // SAFETY: a plain query on a descriptor that is open.
        let kind = unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_GETLEASE) };
        kind == libc::F_WRLCK
    }
}

/// Asks for a write lease on `path`.
///
/// # Errors
/// Where the file cannot be opened for another reason than its absence.
pub fn ask(path: &Path) -> io::Result<Answer> {
    // Non-blocking: where another has a write lease, an open would wait for it.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Answer::Missing),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Answer::Open),
        Err(error) => return Err(error),
    };
    let owner = file.metadata()?.uid();
    Ok(match as_user(owner, || set_lease(&file)) {
        Ok(()) => Answer::Granted(WriteLease { file, path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Answer::Open,
        Err(error) => Answer::Impossible(error),
    })
}

/// Whether a write lease on files of this owner would be permitted, tried on `scratch`, a file of ours that may be
/// opened by others at any time.
///
/// # Errors
/// Why not, in the kernel's words.
pub fn may_ask(scratch: &Path, owners: &[u32]) -> io::Result<()> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(scratch)?;
    for owner in owners {
        as_user(*owner, || if fsuid() == *owner { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) })?;
    }
    match as_user(file.metadata()?.uid(), || set_lease(&file)) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

fn set_lease(file: &File) -> io::Result<()> {
    // SAFETY: a plain command on a descriptor that is open. SIGIO, which a broken lease sends, is ignored.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Runs `act` under the file-system uid `user`, on this thread alone. Whoever may not become that user and has
/// `CAP_LEASE` is let through by the kernel all the same.
fn as_user<T>(user: u32, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = fsuid();
    if before == user {
        return act();
    }
    // SAFETY: setfsuid changes this thread's file-system uid, or nothing.
    unsafe { libc::setfsuid(user) };
    let result = act();
    let changed = fsuid() == user;
    // SAFETY: as above; back to a uid that this thread had.
    unsafe { libc::setfsuid(before) };
    match result {
        Err(_) if !changed => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("user {before} may not ask under the uid of the file's owner, {user}"),
        )),
        other => other,
    }
}

fn fsuid() -> u32 {
    // SAFETY: an impossible uid changes nothing; the present one is returned.
    let present = unsafe { libc::setfsuid(u32::MAX) };
    // The kernel's number is unsigned, its C type is not.
    present.cast_unsigned()
}

/// Ignores SIGIO, whose default kills and which the kernel sends when a lease is broken.
pub fn ignore_sigio() {
    // SAFETY: sets a disposition that needs no handler.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(path: &Path) -> Option<WriteLease> {
        match ask(path).unwrap() {
            Answer::Granted(lease) => Some(lease),
            _ => None,
        }
    }

    #[test]
    fn a_lease_is_granted_only_while_nobody_has_the_file_open() {
        ignore_sigio();
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(ask(file.path()).unwrap(), Answer::Open));
        let path = file.into_temp_path();
        let lease = granted(&path).unwrap();
        assert!(lease.is_whole());
        assert!(matches!(ask(&path).unwrap(), Answer::Open), "the second asker is told of the first");
        assert!(!lease.is_whole(), "an attempt to open it is seen");
        drop(lease);
        assert!(granted(&path).is_some());
    }

    #[test]
    fn a_uid_of_more_than_31_bits_is_come_back_to() {
        const LARGE: u32 = 3_000_000_000;
        let seen = as_user(LARGE, || Ok((fsuid(), as_user(1000, || Ok(fsuid()))?, fsuid())));
        if fsuid() == 0 {
            assert_eq!(seen.unwrap(), (LARGE, 1000, LARGE)); // only root becomes another
        }
    }

    #[test]
    fn a_missing_file_is_missing() {
        let home = tempfile::tempdir().unwrap();
        assert!(matches!(ask(&home.path().join("none")).unwrap(), Answer::Missing));
    }

    #[test]
    fn a_lease_follows_the_file_through_a_rename() {
        ignore_sigio();
        let home = tempfile::tempdir().unwrap();
        let (from, to) = (home.path().join("a"), home.path().join("b"));
        std::fs::write(&from, b"x").unwrap();
        let lease = granted(&from).unwrap();
        std::fs::rename(&from, &to).unwrap();
        assert!(lease.is_whole());
        assert!(matches!(ask(&to).unwrap(), Answer::Open));
    }
}
