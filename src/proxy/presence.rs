//! Whether the client of a held request is still there. A socket whose buffer is full takes no more, so a client's end may
//! lie behind what it has sent, and nothing tells of it. So at its turn such a body is read on, up to what the client's own
//! system can have kept when it left: its end comes before that, or it was there.

use std::time::{Duration, Instant};

/// A client's system that has something to send does so within this time: many times the way there and back.
const QUIET: Duration = Duration::from_secs(1);
/// Longer than any network takes for what a system keeps for it: that is made to last for two ways there and back.
const STEADY: Duration = Duration::from_secs(5);

/// What is known so far. Time is passed in.
pub(super) struct Presence {
    /// Bytes that may still come from a client that has left.
    hidden: usize,
    quiet: Instant,
    steady: Instant,
}

impl Presence {
    /// A client of which so many bytes may come though it has left.
    pub(super) fn doubt(hidden: usize, now: Instant) -> Self {
        Self { hidden, quiet: now + QUIET, steady: now + STEADY }
    }

    /// When the client is known to be there if nothing else comes before.
    pub(super) fn known_at(&self) -> Instant {
        self.quiet.min(self.steady)
    }

    /// So many more bytes have come; whether the client is known to be there now.
    pub(super) fn came(&mut self, bytes: usize, now: Instant) -> bool {
        self.quiet = now + QUIET;
        match self.hidden.checked_sub(bytes) {
            Some(left) => {
                self.hidden = left;
                self.known_at() <= now
            }
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_there_once_more_came_than_could_be_hidden() {
        let now = Instant::now();
        let mut presence = Presence::doubt(100, now);
        assert!(!presence.came(60, now));
        assert!(!presence.came(40, now));
        assert!(presence.came(1, now));
    }

    #[test]
    fn a_client_is_there_if_nothing_is_on_its_way() {
        let now = Instant::now();
        let mut presence = Presence::doubt(100, now);
        assert_eq!(presence.known_at(), now + QUIET);
        assert!(!presence.came(1, now + QUIET / 2));
        assert_eq!(presence.known_at(), now + QUIET + QUIET / 2);
    }

    #[test]
    fn a_client_is_there_if_it_sends_for_longer_than_a_network_has_in_store() {
        let now = Instant::now();
        let mut presence = Presence::doubt(100, now);
        for tenths in 1..50 {
            assert!(!presence.came(1, now + STEADY * tenths / 50), "{tenths}");
        }
        assert_eq!(presence.known_at(), now + STEADY);
        assert!(presence.came(1, now + STEADY));
    }
}
