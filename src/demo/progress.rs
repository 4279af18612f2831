//! What people see while the demo runs: a line for each push, and on a terminal one that moves.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::load::Counts;

/// Lines on stdout, with the time since the start.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    terminal: bool,
    counts: Option<Arc<Counts>>,
    interrupted: Arc<AtomicBool>,
}

impl Progress {
    /// Begins; from here on Ctrl-C and SIGTERM end the demo in order.
    ///
    /// # Errors
    /// Where signals can't be had.
    pub(super) fn begin() -> io::Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        watch_signals(Arc::clone(&interrupted))?;
        Ok(Self { began: Instant::now(), terminal: io::stdout().is_terminal(), counts: None, interrupted })
    }

    /// Shows these from now on.
    pub(super) fn count(&mut self, counts: Arc<Counts>) {
        self.counts = Some(counts);
    }

    /// A line that stays.
    pub(super) fn say(&self, text: &str) {
        self.wipe();
        // A stdout that is gone must not end the demo.
        let _gone = writeln!(io::stdout(), "{:6.1}s  {text}", self.began.elapsed().as_secs_f64());
    }

    /// A line that the next one replaces; nothing where there is no terminal.
    pub(super) fn show(&self, text: &str) {
        if self.terminal {
            self.wipe();
            let counts = self.counts.as_ref().map_or(String::new(), |counts| summary(counts));
            let _gone = write!(io::stdout(), "{:6.1}s  {text}{counts}", self.began.elapsed().as_secs_f64());
            let _gone = io::stdout().flush();
        }
    }

    /// An error once somebody asked the demo to end.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`].
    pub(super) fn interrupted(&self) -> io::Result<()> {
        match self.interrupted.load(Ordering::Relaxed) {
            true => Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
            false => Ok(()),
        }
    }

    fn wipe(&self) {
        if self.terminal {
            let _gone = write!(io::stdout(), "\r\x1b[K");
        }
    }
}

fn summary(counts: &Counts) -> String {
    let [placed, waiting, failed] =
        [&counts.placed, &counts.waiting, &counts.failed].map(|count| count.load(Ordering::Relaxed));
    format!("   {placed} orders, {waiting} waiting, {failed} failed")
}

fn watch_signals(interrupted: Arc<AtomicBool>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        });
        interrupted.store(true, Ordering::Relaxed);
    })?;
    Ok(())
}
