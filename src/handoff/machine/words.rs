//! What goes into the machine and what comes out.

use std::sync::Arc;
use std::time::Duration;

use crate::handoff::budget::Limits;
use crate::spec::{self, OnDrainTimeout};
use crate::wire::{Holder, Saying, Verb};

/// A short text that is cheap to clone.
pub type Word = Arc<str>;

/// What one handoff is to do; it does not change on the way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Plan {
    /// Why it runs.
    pub aim: Aim,
    /// The service's name.
    pub service: Word,
    /// The handoff's id, for the keepers' logs.
    pub handoff: Word,
    /// Whether the service's active revision has a keeper whose address is known, other than the target's own.
    pub old_keeper: bool,
    /// Whether the service has an active revision.
    pub old_revision: bool,
    /// Whether that has no keeper: nothing that a keeper says makes it less live.
    pub unkept: bool,
    /// Whether a keeper was met at the target before, or is named: an app that answers there without its keeper's word may
    /// be what a dead keeper left behind, unconfirmed.
    pub keeper_expected: bool,
    /// Whether a greeting counts only if it names this service (the keeper was found on a loopback host, nobody named
    /// it).
    pub must_name_service: bool,
    /// Whether the deploy names one target only, readers counted.
    pub sole_target: bool,
    /// Do not wait for health (`overlap` and `drain` only).
    pub force: bool,
    /// What ends the drain.
    pub on_drain_timeout: OnDrainTimeout,
    /// The clocks.
    pub limits: Limits,
}

/// Why a handoff runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Aim {
    /// A deploy or a switch: make the new side active, by this kind.
    Deploy(spec::Handoff),
    /// Following found the new side holding: probe it, confirm it if it is not yet, open the gate on it.
    Adopt,
    /// Following found the new side holding an epoch that cannot be confirmed: bring the old side back. Carries why.
    Recover(Word),
}

/// One of the two sides of a handoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// What is live before.
    Old,
    /// What shall be live after.
    New,
}

/// What happened. Each comes with the time since the handoff began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its turn has come; always the first.
    Begin,
    /// A line of a keeper; the first after [`Action::Connect`] is its greeting.
    Said(Side, Saying),
    /// A conversation could not be opened or has ended; all that was read before it has been told. Not told for one
    /// that [`Action::HangUp`] ended.
    Broken(Side),
    /// Every address refused the connection: nothing listens where the side's keeper would. `Broken` comes after it.
    Absent(Side),
    /// A timer has run out.
    Expired(Timer),
    /// No request older than 1 s is in flight.
    Settled,
    /// No permit of the old revision is outstanding.
    Drained,
    /// The answer to [`Action::Survey`].
    InFlight(InFlight),
    /// The verdict of one probe.
    Probed(Side, Verdict),
    /// The queue of held requests is empty.
    Released,
    /// An operator wants it given up.
    Abort,
    /// The proxy is told to stop.
    Shutdown,
}

/// What is still in flight at the end of a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InFlight {
    /// Only requests with safe methods, or none.
    SafeOnly,
    /// One with another method; named for people (`POST /orders, 12 s old`).
    Unsafe(String),
}

/// The verdict of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Healthy.
    Good,
    /// Nothing answered: refused, timed out. Says so.
    Silent(String),
    /// The app answered, but not healthy. Says how.
    Unhealthy(String),
    /// There is no address to probe. Says why.
    Nowhere(String),
}

/// The clocks a state may wait for. Setting one again replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// The state's deadline.
    Deadline,
    /// 2 s after the gate closed: who holds the drain up without need is cut.
    Patience,
    /// The app answers, but not healthy, for too long.
    Unhealthy,
    /// Ask or connect again.
    Again,
}

/// What the driver has to do, in this order; each is done before the next begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a conversation with a side's keeper, in place of the one that side had. `at`: the holder as another keeper names it; none = the address known
    /// for that side (for the old one also: where it was found before).
    Connect {
        /// Which side.
        side: Side,
        /// Where, if another keeper said so.
        at: Option<Holder>,
    },
    /// Write a line. On a conversation that broke meanwhile it does nothing: [`Event::Broken`] is on its way.
    Say(Side, Verb),
    /// End a conversation, if there is one; nothing more is heard of it.
    HangUp(Side),
    /// Add a reason.
    Close(Shut),
    /// Lift a reason.
    Open(Shut),
    /// Watch for [`Event::Settled`].
    Settle,
    /// Watch for [`Event::Drained`].
    Drain,
    /// Find out what is in flight: [`Event::InFlight`].
    Survey,
    /// Cut requests of the old revision that are in flight.
    Cut(Cut),
    /// Make this side's revision active, if it is not.
    Flip(Side),
    /// Probe a side until told to stop.
    Probe(Side, Pace),
    /// No more probes.
    StopProbe,
    /// Set a timer.
    Wake(Timer, Duration),
    /// Forget all timers.
    ClearTimers,
    /// A phase begins: journal and progress.
    Phase(Phase),
    /// Something a person should know, one sentence: a warning of the outcome.
    Warn(String),
    /// The epoch of whoever is to be active, for the journal.
    Epoch(u64),
    /// A phase that lay within another took this long, by the keeper's own clock.
    Took(Phase, Duration),
    /// A snapshot was put back, in this time.
    Restored(Duration),
    /// Write down who is active and every keeper met.
    Save,
    /// Watch for [`Event::Released`].
    Release,
    /// Over. Always the last.
    Finish(Outcome),
}

/// Why the machine closes a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shut {
    /// This handoff holds.
    Handoff,
    /// Nobody is known to be live and confirmed.
    Unavailable,
}

/// Which requests in flight are cut, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// WebSockets and other tunnels, event streams.
    LongLived,
    /// Those that still wait for their client's body: 408.
    AwaitingClient,
    /// Safe methods: 504 with Retry-After.
    Safe,
    /// All: 504 with Retry-After.
    All,
}

/// How a target is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pace {
    /// By the health check's interval, as the contract says.
    Contract,
    /// Every few milliseconds at first.
    Eager,
}

/// The phases, as journalled and measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is explained in the handoff's table of words")]
pub enum Phase {
    Preflight,
    Settle,
    Hold,
    Drain,
    Yield,
    Acquire,
    Snapshot,
    Boot,
    Probe,
    Confirm,
    Flip,
    Release,
    Rollback,
}

impl Phase {
    /// The journal's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Settle => "settle",
            Self::Hold => "hold",
            Self::Drain => "drain",
            Self::Yield => "yield",
            Self::Acquire => "acquire",
            Self::Snapshot => "snapshot",
            Self::Boot => "boot",
            Self::Probe => "probe",
            Self::Confirm => "confirm",
            Self::Flip => "flip",
            Self::Release => "release",
            Self::Rollback => "rollback",
        }
    }
}

/// How a handoff ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The new revision is active.
    Done,
    /// Given up before anything was changed: what was active still is.
    GivenUp(Reason),
    /// The new one failed, the old one is back.
    RolledBack(Reason),
    /// The gate is closed as unavailable, nobody is known to be live and confirmed: follow.
    Unavailable {
        /// Why it did not go forward.
        forward: Reason,
        /// Why it did not go back, where that was tried.
        back: Option<Reason>,
    },
}

/// Why a handoff did not succeed. Displayed as one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// The target never got healthy in time; says what the last probe met.
    #[error("the new app did not become healthy in time{}", colon(.0))]
    NotHealthy(Option<Word>),
    /// The app answered, but not healthy, for too long.
    #[error("the new app answers, but not healthy{}", colon(.0))]
    Unhealthy(Option<Word>),
    /// The app exited.
    #[error("the {} app exited: {}", .0.word(), .1)]
    Exited(Side, Word),
    /// A keeper said no.
    #[error("the {} app's keeper refused: {}", .0.word(), .1)]
    Refused(Side, Word),
    /// The lease could not be had.
    #[error("the {} app's keeper could not have the lease: {}", .0.word(), .1)]
    Held(Side, Word),
    /// A keeper cannot be reached, or its conversation broke.
    #[error("the conversation with the {} app's keeper broke", .0.word())]
    Lost(Side),
    /// A keeper did not answer in time.
    #[error("the {} app's keeper did not {} in time", .0.word(), .1)]
    Slow(Side, &'static str),
    /// Requests that must not be cut did not end.
    #[error("a request did not end in time and may not be cut: {0}")]
    Busy(Word),
    /// What was asked cannot be done so; says why and what to do.
    #[error("{0}")]
    Unfit(Word),
    /// An operator gave it up.
    #[error("aborted")]
    Aborted,
    /// The proxy is shutting down.
    #[error("the proxy is shutting down")]
    Shutdown,
}

fn colon(detail: &Option<Word>) -> String {
    detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default()
}

impl Side {
    /// For people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }
}
