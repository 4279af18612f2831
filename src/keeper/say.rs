//! Lines for people, on stderr. A log that blocks stops no handoff: the line is then lost.

use rustix::event::{PollFd, PollFlags, poll};

/// A pipe that is writable takes this much without blocking.
const MOST: usize = libc::PIPE_BUF;

/// Writes one line.
pub(super) fn say(text: &str) {
    let stderr = std::io::stderr();
    let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
    let at_once = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut ready, Some(&at_once)).is_ok_and(|count| count == 1) {
        let _gone = rustix::io::write(&stderr, line(text).as_bytes());
    }
}

/// The line, of a size that fits. What is too long loses its middle: its end says what a person can do.
fn line(text: &str) -> String {
    let line = format!("lockgate-keep: {text}\n");
    if line.len() <= MOST {
        return line;
    }
    let (head, _) = line.split_at(line.floor_char_boundary(MOST / 2));
    let (_, tail) = line.split_at(line.ceil_char_boundary(line.len() - MOST / 2 + " ... ".len()));
    format!("{head} ... {tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_keeps_its_beginning_and_its_end() {
        assert_eq!(line("short"), "lockgate-keep: short\n");
        let long = line(&format!("begins {}ends", "ü".repeat(MOST)));
        assert!(long.len() <= MOST && long.len() > MOST - 10, "{}", long.len());
        assert!(long.starts_with("lockgate-keep: begins ü") && long.ends_with("üends\n"), "{long}");
    }
}
