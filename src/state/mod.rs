//! The saved state: which services there are and how they stand, in kamal-proxy's own file format (contract 2.3).
//!
//! A plain type of its own. What this program does not know is kept as it was read; what is ours stands under one key
//! `lockgate` of a service, and only where it differs from the default, so that kamal-proxy can read the file again.

mod file;
mod lock;
mod saved;

pub use file::{Loaded, StateError, load, save};
pub use lock::{DataLock, LockError};
pub use saved::{
    KnownKeeper, Ours, PauseController, PauseState, SavedHealthCheck, SavedOptions, SavedService, SavedTargetOptions,
    duration, meet, nanos,
};
