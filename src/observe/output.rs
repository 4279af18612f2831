//! Lines on their way out. Who writes one never waits: lines are kept in memory, within a bound, and a thread of its own
//! writes them. What does not fit is counted, and said when there is room again.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::json;
use super::push_time;

/// Bytes that may wait in one channel.
const ROOM: usize = 1 << 20;
/// How long lines are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(2);

/// Where lines go. A clone is the same output.
#[derive(Clone)]
pub struct Output {
    shared: Arc<Shared>,
}

/// One writer's own way to the output, so that writers do not wait for each other.
pub struct Channel {
    lines: Arc<Lines>,
    shared: Arc<Shared>,
}

struct Shared {
    channels: Mutex<Vec<Arc<Lines>>>,
    asleep: AtomicBool,
    thread: Mutex<Option<thread::Thread>>,
    flushes: Mutex<Flushes>,
    flushed: Condvar,
}

#[derive(Default)]
struct Flushes {
    asked: u64,
    done: u64,
}

#[derive(Default)]
struct Lines {
    waiting: Mutex<Vec<u8>>,
    lost: AtomicU64,
}

impl Output {
    /// Standard output; that it blocks or is gone stops nobody.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn stdout() -> io::Result<Self> {
        Self::to(Stdout)
    }

    /// Any other sink.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn to(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            channels: Mutex::default(),
            asleep: AtomicBool::new(false),
            thread: Mutex::default(),
            flushes: Mutex::default(),
            flushed: Condvar::new(),
        });
        let writer = Writer { sink, shared: shared.clone(), lost: 0, broken: false };
        let handle = thread::Builder::new().name("log".into()).spawn(move || writer.run())?;
        *lock(&shared.thread) = Some(handle.thread().clone());
        Ok(Self { shared })
    }

    /// A further channel.
    #[must_use]
    pub fn channel(&self) -> Channel {
        let lines = Arc::new(Lines::default());
        lock(&self.shared.channels).push(lines.clone());
        Channel { lines, shared: self.shared.clone() }
    }

    /// Waits until what was said before is written, or the time is over.
    pub fn flush(&self, within: Duration) {
        let mut flushes = lock(&self.shared.flushes);
        flushes.asked += 1;
        let mine = flushes.asked;
        self.shared.asleep.store(false, Ordering::SeqCst);
        self.shared.wake();
        let waited = self.shared.flushed.wait_timeout_while(flushes, within, |f| f.done < mine);
        drop(waited);
    }
}

impl Shared {
    fn wake(&self) {
        if let Some(thread) = lock(&self.thread).as_ref() {
            thread.unpark();
        }
    }
}

impl Channel {
    /// Adds what `write` appends: whole lines. Never waits for the sink; where there is no room the line is lost.
    pub fn say(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut waiting = lock(&self.lines.waiting);
        if waiting.len() >= ROOM {
            self.lines.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        write(&mut waiting);
        drop(waiting);
        if self.shared.asleep.load(Ordering::SeqCst) && self.shared.asleep.swap(false, Ordering::SeqCst) {
            self.shared.wake();
        }
    }
}

struct Writer<W> {
    sink: W,
    shared: Arc<Shared>,
    lost: u64,
    broken: bool,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(ROOM);
        loop {
            let asked = lock(&self.shared.flushes).asked;
            if self.gather(&mut batch) {
                self.write(&batch);
                self.tell(asked);
                thread::sleep(GATHER);
                continue;
            }
            self.tell(asked);
            self.shared.asleep.store(true, Ordering::SeqCst);
            // What was said before the store is found here, what is said after it wakes.
            if self.gather(&mut batch) {
                self.shared.asleep.store(false, Ordering::SeqCst);
                self.write(&batch);
            } else if Arc::strong_count(&self.shared) == 1 {
                return;
            } else {
                thread::park_timeout(Duration::from_secs(1));
            }
        }
    }

    /// Takes what waits; says whether there was any.
    fn gather(&mut self, batch: &mut Vec<u8>) -> bool {
        batch.clear();
        lock(&self.shared.channels).retain(|lines| {
            // Looked at first: what its owner said last is taken below.
            let has_owner = Arc::strong_count(lines) > 1;
            let mut waiting = lock(&lines.waiting);
            if batch.is_empty() {
                std::mem::swap(&mut *waiting, batch);
            } else {
                batch.append(&mut waiting);
            }
            self.lost += lines.lost.swap(0, Ordering::Relaxed);
            has_owner
        });
        if self.lost > 0 && !self.broken {
            push_lost(batch, self.lost);
        }
        !batch.is_empty()
    }

    fn write(&mut self, batch: &[u8]) {
        let result = self.sink.write_all(batch).and_then(|()| self.sink.flush());
        match result {
            // What was lost while it was broken is said with the next batch.
            Ok(()) if self.broken => self.broken = false,
            Ok(()) => self.lost = 0,
            Err(error) => {
                let lines = batch.iter().filter(|byte| **byte == b'\n').count();
                self.lost += lines as u64;
                if !self.broken {
                    // Standard error may be gone too.
                    let _ = writeln!(io::stderr(), "lockgate: standard output is lost: {error}");
                }
                self.broken = true;
            }
        }
    }

    fn tell(&self, done: u64) {
        let mut flushes = lock(&self.shared.flushes);
        if flushes.done < done {
            flushes.done = done;
            self.shared.flushed.notify_all();
        }
    }
}

fn push_lost(out: &mut Vec<u8>, lost: u64) {
    out.extend_from_slice(b"{\"time\":\"");
    push_time(out);
    out.extend_from_slice(b"\",\"level\":\"WARN\",\"msg\":\"Log lines lost\",\"lines\":");
    json::push_number(out, lost);
    out.extend_from_slice(b"}\n");
}

/// Standard output without the library's lock and buffer, which a child or a panic could hold.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(io::stdout(), bytes) {
                Ok(written) => return Ok(written),
                Err(rustix::io::Errno::INTR) => {}
                // Somebody who shares it has made it non-blocking.
                Err(rustix::io::Errno::AGAIN) => thread::sleep(GATHER),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A sink that takes each batch only when it is told to, or fails.
    struct Slow {
        turns: mpsc::Receiver<io::Result<()>>,
        written: mpsc::Sender<String>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.turns.recv().unwrap_or(Ok(()))?;
            self.written.send(String::from_utf8_lossy(bytes).into_owned()).ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Output, mpsc::Sender<io::Result<()>>, mpsc::Receiver<String>) {
        let ((turn, turns), (written, seen)) = (mpsc::channel(), mpsc::channel());
        (Output::to(Slow { turns, written }).unwrap(), turn, seen)
    }

    #[test]
    fn a_sink_that_blocks_stops_nobody_and_lost_lines_are_counted_and_said() {
        let (output, turn, seen) = slow();
        let channel = output.channel();
        let line = [b'x'; 1023].iter().chain(b"\n").copied().collect::<Vec<u8>>();
        let said = 4 * ROOM / line.len();
        for _ in 0..said {
            channel.say(|out| out.extend_from_slice(&line));
        }
        drop(turn);
        let mut kept = 0;
        let lost = loop {
            let batch = seen.recv().unwrap();
            kept += batch.lines().filter(|line| line.starts_with('x')).count();
            if let Some(said) = batch.lines().find(|line| line.contains("Log lines lost")) {
                break serde_json::from_str::<serde_json::Value>(said).unwrap()["lines"].as_u64().unwrap();
            }
        };
        assert_eq!(kept as u64 + lost, said as u64);
        assert!(lost > 0);
    }

    #[test]
    fn a_sink_that_failed_is_tried_again_and_the_loss_is_said() {
        let (output, turn, seen) = slow();
        let channel = output.channel();
        channel.say(|out| out.extend_from_slice(b"first\n"));
        turn.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        output.flush(Duration::from_secs(5));
        drop(turn);
        channel.say(|out| out.extend_from_slice(b"second\n"));
        assert_eq!(seen.recv().unwrap(), "second\n");
        channel.say(|out| out.extend_from_slice(b"third\n"));
        assert!(seen.iter().any(|batch| batch.contains("\"lines\":1")));
    }
}
