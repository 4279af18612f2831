//! Processes that the demo starts: each with a log file of its own, none left behind.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// How long a process may take to end after SIGTERM; longer than any grace that the demo gives.
const PATIENCE: Duration = Duration::from_secs(12);

/// A running process. Dropped, it is told to stop, and killed if it does not.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it in a process group of its own (so that Ctrl-C reaches the demo alone, which then ends the others in
    /// order), with both outputs appended to `log`.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn start(command: &mut Command, log: &Path) -> io::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let log = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        Ok(Self { child: command.spawn()? })
    }

    /// Waits until it has ended, at most so long.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&mut self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        let Some(pid) = self.pid() else { return Ok(None) };
        if let Some(ended) = self.child.try_wait()? {
            return Ok(Some(ended));
        }
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
            match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Ok(None),
                Ok(_) => return self.child.try_wait(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// SIGTERM, and wait; an error if it does not end in time.
    ///
    /// # Errors
    /// The kernel's, or that it does not end.
    pub fn stop(mut self) -> io::Result<ExitStatus> {
        self.tell();
        self.wait(PATIENCE)?.ok_or_else(|| io::Error::other("a process did not end after SIGTERM"))
    }

    fn tell(&self) {
        if let Some(pid) = self.pid() {
            // An error means that it is gone.
            let _gone = kill_process(pid, Signal::TERM);
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.tell();
        if !matches!(self.wait(PATIENCE), Ok(Some(_))) {
            let _gone = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}
