//! The lease: the right to be live, a kernel lock in a directory beside the database, and what the volume remembers.
//!
//! Locks are released by closing only (`LOCK_UN` would free them for every heir), their files are never unlinked or
//! renamed. Who takes a lock asks with [`Directory::lock`]; who only looks uses a shared lock, which takes nothing from
//! others that look.

mod directory;
mod record;
mod ticket;
mod write_lease;

pub use directory::{Directory, Heirs, Lease, Look};
pub use record::{Reading, Record};
pub use ticket::Ticket;
pub use write_lease::{Answer, WriteLease, ask, ignore_sigio, may_ask};

/// Why something in the lease directory cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system said no.
    #[error("cannot {what} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file.
        path: std::path::PathBuf,
        /// The answer.
        source: std::io::Error,
    },
    /// The lock file is not the one that its path names any more.
    #[error("{path} was replaced by another file while it was in use", path = .path.display())]
    Replaced {
        /// The lock file.
        path: std::path::PathBuf,
    },
    /// Somebody else's ticket is locked.
    #[error("another standby is prepared at {path}", path = .path.display())]
    TicketTaken {
        /// The lease directory.
        path: std::path::PathBuf,
    },
}

impl Error {
    fn io(what: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
