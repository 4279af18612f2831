//! What commands answer with.

use serde::{Deserialize, Serialize};

/// What a success hides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// One sentence and `Warning:` line each: overlapped, n cut, stays stopped.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A command that failed: the contract's line first, reasons and hints after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{error}")]
pub struct Failure {
    /// The first line, the contract's where it has one, without `Error: `.
    pub error: String,
    /// More lines: reasons, then what to do.
    #[serde(default)]
    pub hints: Vec<String>,
    /// What kind, for the HTTP status.
    #[serde(skip)]
    pub kind: FailureKind,
}

/// Who is at fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailureKind {
    /// The request made no sense (400).
    Invalid,
    /// No such service (404).
    NotFound,
    /// Busy with another handoff, or taken by another service (409).
    Conflict,
    /// The app or its keeper (422).
    App,
    /// Us (500).
    #[default]
    Internal,
}

/// A step of a handoff, as it happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The phase that begins, in the journal's words.
    pub phase: String,
    /// Milliseconds since the command began.
    pub at_ms: u64,
    /// Requests held now.
    #[serde(default)]
    pub held: usize,
    /// One sentence, may be empty.
    #[serde(default)]
    pub note: String,
}

/// One service, as `list` and `status` show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub service: String,
    /// Hosts; one empty string = any.
    pub hosts: Vec<String>,
    /// Path prefixes.
    pub path_prefixes: Vec<String>,
    /// Active targets.
    pub targets: Vec<String>,
    /// `running`, `paused` or `stopped`: the operator's state.
    pub state: String,
    /// Whether TLS is on.
    pub tls: bool,
    /// Why the gate is closed, empty where it is open: `handoff`, `unavailable`, `paused`, `stopped`.
    pub closed: Vec<String>,
    /// Requests held now.
    pub held: usize,
    /// How long the oldest held request has waited.
    pub longest_wait_ms: u64,
    /// Requests in flight upstream.
    pub in_flight: usize,
    /// The phase of the handoff under way, if one is.
    pub phase: Option<String>,
    /// The confirmed holder's epoch, where there is a keeper.
    pub epoch: Option<u64>,
    /// Where the active revision's keeper listens, where there is one.
    pub keeper: Option<String>,
    /// Why it is unavailable, in one sentence; empty where it is not.
    pub note: String,
}

/// For people: `1 request was cut`.
pub(super) fn were_cut(count: u64) -> String {
    if count == 1 { "1 request was cut".into() } else { format!("{count} requests were cut") }
}

impl Failure {
    /// A failure of one line.
    #[must_use]
    pub fn new(kind: FailureKind, error: impl Into<String>) -> Self {
        Self { error: error.into(), hints: Vec::new(), kind }
    }

    /// The contract's text for an unknown service.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(FailureKind::NotFound, "service not found")
    }

    /// What was asked makes no sense.
    #[must_use]
    pub fn invalid(error: impl Into<String>) -> Self {
        Self::new(FailureKind::Invalid, error)
    }

    /// Our own fault.
    #[must_use]
    pub fn internal(error: impl Into<String>) -> Self {
        Self::new(FailureKind::Internal, error)
    }

    /// One more line.
    #[must_use]
    pub fn hint(mut self, line: impl Into<String>) -> Self {
        self.hints.push(line.into());
        self
    }
}
