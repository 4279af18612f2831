//! The app's processes: start, signal, reap, and the proof that nothing is left of them.
//!
//! Nothing here runs on a thread of its own but the copy of the app's stderr: the keeper calls [`reap`] when SIGCHLD
//! says so. All calls belong on the thread that started the app.

mod signals;
mod start;
mod sweep;
mod tail;

pub use signals::{Signals, block_all, ignore_sigpipe, named};
pub use start::{App, Heritage, run_hook, run_in_place, start};
pub use sweep::{Left, foreign_openers, sweep};

use rustix::process::{Pid, WaitOptions, WaitStatus};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its exit status, or 128 + the signal that ended it.
    pub code: i32,
}

/// Takes in every child that has ended: our own and the orphans that became ours. Gives back who ended and how.
#[must_use]
pub fn reap() -> Vec<(i32, Exit)> {
    let mut ended = Vec::new();
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if let Some(exit) = exit(status) {
            ended.push((Pid::as_raw(Some(pid)), exit));
        }
    }
    ended
}

fn exit(status: WaitStatus) -> Option<Exit> {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.map(|code| Exit { code })
}

/// Whether this process is the first of its namespace, as in a container.
#[must_use]
pub fn is_first() -> bool {
    std::process::id() == 1
}

/// Makes orphans of our descendants our children, as PID 1's are anyway.
///
/// # Errors
/// The kernel's.
pub fn adopt_orphans() -> std::io::Result<()> {
    if is_first() {
        return Ok(());
    }
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}
