//! The set (a database and what SQLite keeps beside it): which files it is, a copy of it, and putting the copy back.
//!
//! A plain copy is exact as long as nobody has the set open; who calls sees to that.

mod manifest;
mod restore;
mod set;
mod store;
mod take;

use std::io;
use std::path::{Path, PathBuf};

pub use restore::{Restore, Step};
pub use set::{Databases, SetError};
pub use store::{Plan, Store};
pub use take::Taken;

/// Why a snapshot cannot be taken or put back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system said no.
    #[error("cannot {what} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// A file is not what the manifest says.
    #[error("{path} {what}", path = .path.display())]
    Spoiled {
        /// Which.
        path: PathBuf,
        /// In which way.
        what: String,
    },
    /// The manifest cannot be understood.
    #[error("the manifest {path} makes no sense: {why}", path = .path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It took too long.
    #[error("the time for it is over")]
    Late,
}

impl Error {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error.to_string())
    }
}
