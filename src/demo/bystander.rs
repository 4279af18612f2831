//! A thread that stands by and watches: it sees the apps' processes exit, by pidfd, and how late timers are on this
//! machine meanwhile. It learns of the apps from their stamps.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::stamps::{Event, Stamp, micros};
use crate::clock;

/// How long it looks before it looks for new apps.
const GLANCE: Duration = Duration::from_millis(1);

/// What it saw.
#[derive(Clone, Debug, Default)]
pub struct Sightings {
    /// When each boot's process was gone, microseconds of `CLOCK_BOOTTIME`.
    pub exits: BTreeMap<String, u64>,
    /// How much later than asked the latest timer came.
    pub worst_lateness: Duration,
}

/// The thread.
#[derive(Debug)]
pub struct Bystander {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Sightings>>>,
}

impl Bystander {
    /// Begins to watch the apps that stamp into this file, which must exist.
    ///
    /// # Errors
    /// Where the file can't be opened.
    pub fn start(stamps: &Path) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stamps = File::open(stamps)?;
        let mut watch = Watch { stamps, unread: Vec::new(), alive: Vec::new(), sightings: Sightings::default() };
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("bystander".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                watch.look_for_apps()?;
                watch.glance()?;
            }
            watch.look_for_apps()?;
            watch.glance()?;
            Ok(watch.sightings)
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops and tells.
    ///
    /// # Errors
    /// Where it had to give up watching.
    pub fn finish(mut self) -> io::Result<Sightings> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(sightings)) => sightings,
            Some(Err(_)) | None => Err(io::Error::other("the bystander panicked")),
        }
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Watch {
    stamps: File,
    unread: Vec<u8>,
    alive: Vec<(String, OwnedFd)>,
    sightings: Sightings,
}

impl Watch {
    fn look_for_apps(&mut self) -> io::Result<()> {
        self.stamps.read_to_end(&mut self.unread)?;
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let stamp: Stamp = serde_json::from_slice(&line)?;
            if let Event::Main { pid, .. } = stamp.event {
                self.meet(stamp.boot, pid);
            }
        }
        Ok(())
    }

    fn meet(&mut self, boot: String, pid: i32) {
        match Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
            Some(Ok(process)) => self.alive.push((boot, process)),
            // Gone before it was met: this is the latest that it can have been.
            Some(Err(_)) | None => drop(self.sightings.exits.insert(boot, micros(clock::boottime()))),
        }
    }

    /// Waits for an exit, or a millisecond.
    fn glance(&mut self) -> io::Result<()> {
        let began = clock::boottime();
        let gone: Vec<bool> = {
            let mut watched: Vec<PollFd<'_>> =
                self.alive.iter().map(|(_, process)| PollFd::new(process, PollFlags::IN)).collect();
            let asked = Timespec { tv_sec: 0, tv_nsec: i64::from(GLANCE.subsec_nanos()) };
            poll(&mut watched, Some(&asked))?;
            watched.iter().map(|process| !process.revents().is_empty()).collect()
        };
        let now = clock::boottime();
        if !gone.contains(&true) {
            let late = now.saturating_sub(began).saturating_sub(GLANCE);
            self.sightings.worst_lateness = self.sightings.worst_lateness.max(late);
        }
        let mut gone = gone.into_iter();
        for (boot, _) in self.alive.extract_if(.., |_| gone.next().unwrap_or(false)) {
            self.sightings.exits.insert(boot, micros(now));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::stamps::{Plan, Stamps};
    use super::*;

    #[test]
    fn the_exit_of_an_app_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stamps");
        let stamps = Stamps::open(&path, 1, clock::boottime()).unwrap();
        let bystander = Bystander::start(&path).unwrap();
        let mut app = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(app.id()).unwrap();
        stamps.stamp(clock::boottime(), Event::Main { pid, plan: Plan::Good });
        let before = micros(clock::boottime());
        drop(app.stdin.take());
        app.wait().unwrap();
        let seen = bystander.finish().unwrap();
        let exit = seen.exits[stamps.boot()];
        assert!(exit >= before, "an exit is not seen before it happens");
    }
}
