//! Starting the app.
#![expect(unsafe_code, reason = "what is done between fork and exec has no safe wrapper")]

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::signals;
use super::tail::Tail;

/// The descriptor that an heir of the lock has, at least: low ones are closed by too many programs.
const HEIR: RawFd = 900;
/// How long to wait for the last lines of an app that has exited.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What an app is given.
pub struct Heritage<'a> {
    /// The number of the acquisition, told to it as `LOCKGATE_EPOCH`.
    pub epoch: u64,
    /// The lock that it inherits.
    pub live: BorrowedFd<'a>,
}

/// A running app: its main process.
pub struct App {
    pid: i32,
    started: Instant,
    tail: Option<Tail>,
}

/// Starts the app in a process group of its own, with signals as at a login and the lock inherited.
///
/// stdin and stdout are passed on untouched. stderr is copied through a pipe, unless it is a terminal, so that the last
/// lines can be told: that is where programs say why they die, and it is unbuffered anyway, where a pipe for stdout
/// would change when a program writes. The copy never waits for anybody but our own stderr, so an app blocks no sooner
/// than it would without it.
///
/// # Errors
/// Where the command cannot be executed.
pub fn start(command: &[OsString], heritage: &Heritage<'_>) -> io::Result<App> {
    let (name, arguments) = command.split_first().ok_or_else(|| io::Error::other("no command"))?;
    let copied = !io::stderr().is_terminal();
    let live = heritage.live.as_raw_fd();
    let foreground = io::stdin().is_terminal();
    let mut start = Command::new(name);
    start.args(arguments).env("LOCKGATE_EPOCH", heritage.epoch.to_string()).process_group(0);
    if copied {
        start.stderr(Stdio::piped());
    }
    // SAFETY: only async-signal-safe calls, on values copied beforehand.
    unsafe {
        start.pre_exec(move || {
            if foreground {
                take_foreground();
            }
            signals::reset()?;
            inherit(live)
        })
    };
    let started = Instant::now();
    let mut child = start.spawn()?;
    match child.stderr.take().map(Tail::follow).transpose() {
        Ok(tail) => Ok(App { pid: i32::try_from(child.id()).map_err(io::Error::other)?, started, tail }),
        Err(error) => {
            // Nobody would know of it, and the lease would be freed beside it.
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

/// Runs a command by the shell beside the app, which it outlives no more than any other process would.
///
/// # Errors
/// Where there is no shell.
pub fn run_hook(command: &str, snapshot: &std::path::Path, epoch: u64) -> io::Result<()> {
    let mut hook = Command::new("/bin/sh");
    hook.arg("-c").arg(command).env("LOCKGATE_SNAPSHOT", snapshot).env("LOCKGATE_EPOCH", epoch.to_string());
    hook.stdin(Stdio::null()).process_group(0);
    // SAFETY: only async-signal-safe calls.
    unsafe { hook.pre_exec(signals::reset) };
    hook.spawn().map(drop)
}

/// Becomes the command: no lease, no keeper.
///
/// # Errors
/// Only returns if the command cannot be executed; says why.
pub fn run_in_place(command: &[OsString]) -> io::Error {
    let Some((name, arguments)) = command.split_first() else { return io::Error::other("no command") };
    let mut start = Command::new(name);
    start.args(arguments);
    // SAFETY: only async-signal-safe calls.
    unsafe { start.pre_exec(signals::reset) };
    start.exec()
}

impl App {
    /// Its main process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// When it was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Sends a signal to the main process, which must not have been reaped yet. One that has exited is no error.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the process is our child and unreaped, so the number is still its own.
        unsafe { libc::kill(self.pid, signal) };
    }

    /// The last lines it wrote to stderr, oldest first, after its exit.
    #[must_use]
    pub fn last_lines(&self) -> Vec<String> {
        self.tail.as_ref().map(|tail| tail.lines(LAST_WORDS)).unwrap_or_default()
    }
}

/// Leaves a copy of `live` open across exec, at [`HEIR`] or above, else at the highest place that is free.
fn inherit(live: RawFd) -> io::Result<()> {
    let highest = soft_limit();
    for at in std::iter::once(HEIR).chain((3..HEIR.min(highest)).rev()) {
        // SAFETY: duplicates an open descriptor; without FD_CLOEXEC, that is the purpose.
        if unsafe { libc::fcntl(live, libc::F_DUPFD, at) } >= 0 {
            return Ok(());
        }
    }
    Err(io::Error::last_os_error())
}

fn soft_limit() -> RawFd {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills in a struct of ours.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    RawFd::try_from(limit.rlim_cur).unwrap_or(RawFd::MAX)
}

/// With a terminal the app's group must be the foreground one, or it could not read.
fn take_foreground() {
    // SAFETY: SIGTTOU is ignored meanwhile, so the call cannot stop us; a failure leaves things as they are.
    unsafe {
        libc::signal(libc::SIGTTOU, libc::SIG_IGN);
        libc::tcsetpgrp(0, libc::getpid());
    }
}
