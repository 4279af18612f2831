//! The app's stderr, passed on unchanged, its last lines kept.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::process::ChildStderr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How many lines are kept, and how much of each.
const LINES: usize = 20;
const WIDTH: usize = 1000;

/// What is kept of a stream.
pub(super) struct Tail {
    kept: Arc<(Mutex<Kept>, Condvar)>,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<String>,
    /// The line that has no end yet.
    open: Vec<u8>,
    ended: bool,
}

impl Tail {
    /// Copies `from` to our own stderr until its end, on a thread of its own.
    pub(super) fn follow(from: ChildStderr) -> io::Result<Self> {
        let kept = Arc::new((Mutex::new(Kept::default()), Condvar::new()));
        let writer = Arc::clone(&kept);
        std::thread::Builder::new().name("stderr".into()).stack_size(64 * 1024).spawn(move || copy(from, &writer))?;
        Ok(Self { kept })
    }

    /// The last lines, once the stream has ended, or as far as they came within `patience`.
    pub(super) fn lines(&self, patience: Duration) -> Vec<String> {
        let (kept, ended) = &*self.kept;
        let guard = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut kept, _) =
            ended.wait_timeout_while(guard, patience, |kept| !kept.ended).unwrap_or_else(PoisonError::into_inner);
        kept.end_line();
        kept.lines.iter().cloned().collect()
    }
}

fn copy(mut from: ChildStderr, kept: &(Mutex<Kept>, Condvar)) {
    let mut buffer = [0; 8192];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(count) if count > 0 => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            _ => break,
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        kept.0.lock().unwrap_or_else(PoisonError::into_inner).add(bytes);
        pass_on(bytes);
    }
    kept.0.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
    kept.1.notify_all();
}

/// Past the standard library's lock: whoever else writes lines must not wait for a log that blocks us. Our own stderr
/// may be gone: the app goes on all the same.
fn pass_on(bytes: &[u8]) {
    let mut left = bytes;
    while !left.is_empty() {
        match rustix::io::write(io::stderr(), left) {
            Ok(count) => left = left.get(count..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

impl Kept {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                _ if self.open.len() < WIDTH => self.open.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        if self.open.is_empty() {
            return;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(String::from_utf8_lossy(&self.open).trim_end().to_owned());
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_short_and_few() {
        let mut kept = Kept::default();
        for number in 0..50 {
            kept.add(format!("line {number}\r\n\n").as_bytes());
        }
        kept.add(&[b'x'; 5000]);
        kept.end_line();
        assert_eq!(kept.lines.len(), LINES);
        assert_eq!(kept.lines[0], "line 31");
        assert_eq!(kept.lines[LINES - 1].len(), WIDTH);
    }
}
