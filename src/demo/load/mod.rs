//! The load: orders with unique keys at an even rate, some slow, readings between them; over kept and fresh connections.
//! Each request is sent once and written to the clients' log when it has ended.

mod client;
mod log;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::shop::Ask;
use client::Client;
pub use log::{Entry, Kind, read};

/// What is sent.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The proxy.
    pub address: SocketAddr,
    /// Orders a second.
    pub rate: u32,
    /// Repeats the same choices.
    pub seed: u64,
    /// The clients' log.
    pub log: PathBuf,
}

/// Of a hundred requests beside each hundred orders, and of a hundred orders.
const READINGS: u32 = 20;
const SLOW: u32 = 5;
const FRESH: u32 = 20;
/// Orders that are later than this are not made up for.
const LATENESS: Duration = Duration::from_millis(50);
/// How long a slow order takes, milliseconds.
const SLOW_MS: std::ops::Range<u64> = 300..1_500;

/// Counted as it happens, for the eyes only: the verdict reads the log.
#[derive(Debug, Default)]
pub struct Counts {
    /// Orders sent.
    pub placed: AtomicU64,
    /// Orders and readings that failed.
    pub failed: AtomicU64,
    /// Requests that wait for an answer.
    pub waiting: AtomicU64,
}

/// A load that runs in a thread of its own.
#[derive(Debug)]
pub struct Load {
    counts: Arc<Counts>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Load {
    /// Starts it.
    ///
    /// # Errors
    /// Where the log can't be made.
    pub fn start(wish: Wish) -> io::Result<Self> {
        raise_open_files();
        let log = log::Log::create(&wish.log)?;
        let (counts, stop) = (Arc::new(Counts::default()), Arc::new(Notify::new()));
        let (counted, stopped) = (Arc::clone(&counts), Arc::clone(&stop));
        let thread = thread::Builder::new().name("load".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(run(&wish, log, counted, &stopped))
        })?;
        Ok(Self { counts, stop, thread: Some(thread) })
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Sends nothing more, waits for every answer, and closes the log.
    ///
    /// # Errors
    /// Where the log could not be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.stop.notify_one();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(io::Error::other("the load panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

/// Each request that waits is a connection. Where the soft limit may not rise, the machine's own holds.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    let _as_it_was = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
}

async fn run(wish: &Wish, log: log::Log, counts: Arc<Counts>, stop: &Notify) -> io::Result<()> {
    let client = Arc::new(Client::new(wish.address, log, Arc::clone(&counts)));
    let mut random = fastrand::Rng::with_seed(wish.seed);
    let mut requests = JoinSet::new();
    let (mut due, apart) = (Instant::now(), Duration::from_secs(1) / wish.rate.max(1));
    for number in 0_u64.. {
        due += apart;
        tokio::select! {
            biased;
            () = stop.notified() => break,
            () = tokio::time::sleep_until(due) => {}
        }
        // A machine that is too busy gets fewer orders, not a crowd of late ones.
        due = due.max(Instant::now() - LATENESS);
        while requests.try_join_next().is_some() {}
        let slow_ms = if random.u32(..100) < SLOW { random.u64(SLOW_MS) } else { 0 };
        let ask = Ask { key: format!("{:08x}-{number}", wish.seed & 0xffff_ffff), item: random.u32(1..600), slow_ms };
        let fresh = random.u32(..100) < FRESH;
        counts.placed.fetch_add(1, Ordering::Relaxed);
        requests.spawn(Arc::clone(&client).order(ask, fresh));
        if random.u32(..100) < READINGS {
            requests.spawn(Arc::clone(&client).reading(number, fresh));
        }
    }
    while requests.join_next().await.is_some() {}
    client.close_log()
}
