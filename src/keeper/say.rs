//! Lines for people, on stderr. A log that blocks stops no handoff: the line is then lost.

use rustix::event::{PollFd, PollFlags, poll};

/// Writes one line.
pub(super) fn say(text: &str) {
    let stderr = std::io::stderr();
    let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
    let at_once = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut ready, Some(&at_once)).is_ok_and(|count| count == 1) {
        // A pipe that is writable takes this much (PIPE_BUF) without blocking.
        let line: String = format!("lockgate-keep: {text}").chars().take(1000).chain(['\n']).collect();
        let _gone = rustix::io::write(&stderr, line.as_bytes());
    }
}
