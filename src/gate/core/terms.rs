//! What a gate is told, and what it tells.

use std::time::Duration;

/// The bounds of a gate's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that wait at once; one more is refused ([`Refusal::Full`]).
    pub max_held: usize,
    /// How long a request waits, from its arrival, unless the gate is paused ([`Refusal::HeldTooLong`]).
    pub max_hold: Duration,
    /// Held requests in flight at once while the queue empties; 0 counts as 1.
    pub release_concurrency: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_held: 10_000, max_hold: Duration::from_secs(25), release_concurrency: 64 }
    }
}

/// Why the proxy itself has closed a gate. An operator's reasons are [`Operator`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A handoff holds the requests.
    Handoff,
    /// No live app is known.
    Unavailable,
}

/// What the operator last asked for; `pause`, `stop` and `resume` replace each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Operator {
    /// Requests may pass.
    #[default]
    Running,
    /// Requests wait, each for at most `max_pause` from its arrival.
    Paused {
        /// The bound for requests that arrive from now on.
        max_pause: Duration,
    },
    /// Requests are refused.
    Stopped {
        /// What clients are told.
        message: String,
    },
}

impl Operator {
    /// `running`, `paused` or `stopped`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused { .. } => "paused",
            Self::Stopped { .. } => "stopped",
        }
    }
}

/// The set of reasons a gate is closed for; it is open when the set is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    /// [`Reason::Handoff`] is in the set.
    pub handoff: bool,
    /// [`Reason::Unavailable`] is in the set.
    pub unavailable: bool,
    /// Anything but [`Operator::Running`] is in the set.
    pub operator: Operator,
}

impl Reasons {
    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        !self.handoff && !self.unavailable && self.operator == Operator::Running
    }

    pub(super) fn own(&mut self, reason: Reason) -> &mut bool {
        match reason {
            Reason::Handoff => &mut self.handoff,
            Reason::Unavailable => &mut self.unavailable,
        }
    }

    /// The names of those in the set: `handoff`, `unavailable`, `paused` or `stopped`.
    pub fn names(&self) -> Vec<&'static str> {
        let own = [(self.handoff, "handoff"), (self.unavailable, "unavailable")];
        let operator = (self.operator != Operator::Running, self.operator.name());
        own.into_iter().chain([operator]).filter(|(set, _)| *set).map(|(_, name)| name).collect()
    }
}

/// Why a request gets no permit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// [`Limits::max_held`] requests wait already: 503 with Retry-After.
    #[error("too many requests are held")]
    Full,
    /// It waited for [`Limits::max_hold`]: 503 with Retry-After.
    #[error("held for too long")]
    HeldTooLong,
    /// It waited for `max_pause`, the gate paused: 504.
    #[error("paused for too long")]
    PausedTooLong,
    /// An operator has stopped the service: 503 with this message.
    #[error("stopped: {message}")]
    Stopped {
        /// What the operator wants clients to read.
        message: String,
    },
    /// The service was removed.
    #[error("the service was removed")]
    Removed,
}

/// Which permits a [`Drain`](crate::gate::Drain) waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that the last closing found outstanding (`pause`).
    Closed,
    /// All that are outstanding for the active revision since any earlier closing (`stop`, a handoff).
    Revision,
}

/// What one hold did to requests, counted from the moment the gate closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldStats {
    /// The most that waited at once.
    pub held_peak: usize,
    /// How many ever waited.
    pub held_total: u64,
    /// The longest that one waited, those still waiting counted up to now.
    pub longest_wait: Duration,
}

/// A gate at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Why it is closed; empty: open.
    pub reasons: Reasons,
    /// How long it has been closed for a reason of the proxy's own; none: it is not.
    pub closed_for: Option<Duration>,
    /// Requests that wait.
    pub held: usize,
    /// How long the oldest of them has waited.
    pub longest_wait: Duration,
    /// Permits outstanding, of every revision.
    pub in_flight: usize,
    /// The current hold, or the last one.
    pub hold: HoldStats,
}
