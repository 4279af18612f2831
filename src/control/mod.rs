//! What an operator may do to services: deploy, pause, stop, resume, remove, look. One handoff at a time per service.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use crate::journal::{Journal, Record};
use crate::spec::{Deploy, Pause, Selection, Stop};

/// What a success hides, one `Warning:` line each, and how many requests were cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// One sentence each: overlapped, n cut, stays stopped.
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

/// How long a caller lets a command take beyond its own time-outs.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// All that an operator may do. One for the process; its futures run on the control runtime.
///
/// Dropping the future of a command does not stop the command: a deploy whose caller has gone goes on to its end.
#[derive(Debug)]
pub struct Control {
    journal: Journal,
}

impl Control {
    /// Control over nothing yet; [`Control::restore`] brings the saved services back.
    #[must_use]
    pub fn new(data: &Path) -> Arc<Self> {
        Arc::new(Self { journal: Journal::new(data) })
    }

    /// Brings back the services of the saved state, each for itself. Logs what it found; called before listening.
    pub async fn restore(self: &Arc<Self>) {}

    /// Makes the targets the service's revision. Waits for its turn, then to the end of the handoff.
    ///
    /// # Errors
    /// [`Failure`]; the old revision then serves on, or the text says what is the matter.
    pub async fn deploy(
        self: &Arc<Self>,
        deploy: Deploy,
        progress: UnboundedSender<Progress>,
    ) -> Result<Outcome, Failure> {
        let _ = progress;
        Err(Failure::not_found(&deploy.service))
    }

    /// Closes the gates of all of these, then drains them.
    ///
    /// # Errors
    /// [`Failure`] where a name is unknown: then nothing was closed.
    pub async fn pause(self: &Arc<Self>, pause: Pause) -> Result<Outcome, Failure> {
        let _ = pause;
        Ok(Outcome::default())
    }

    /// As [`Control::pause`], and requests are answered 503 at once.
    ///
    /// # Errors
    /// [`Failure`] where a name is unknown: then nothing was closed.
    pub async fn stop(self: &Arc<Self>, stop: Stop) -> Result<Outcome, Failure> {
        let _ = stop;
        Ok(Outcome::default())
    }

    /// Ends a pause or stop. Never waits.
    ///
    /// # Errors
    /// [`Failure`] where a name is unknown: then nothing was opened.
    pub async fn resume(self: &Arc<Self>, services: Selection) -> Result<Outcome, Failure> {
        let _ = services;
        Ok(Outcome::default())
    }

    /// Forgets a service. Requests in flight go on, held ones are answered.
    ///
    /// # Errors
    /// [`Failure`] where the name is unknown.
    pub async fn remove(self: &Arc<Self>, service: String) -> Result<Outcome, Failure> {
        Err(Failure::not_found(&service))
    }

    /// Gives up a handoff that has not yielded yet.
    ///
    /// # Errors
    /// [`Failure`] where none runs, or it is past that point.
    pub async fn abort(self: &Arc<Self>, service: String) -> Result<Outcome, Failure> {
        Err(Failure::not_found(&service))
    }

    /// All services by name.
    #[must_use]
    pub fn list(&self) -> Vec<ServiceStatus> {
        Vec::new()
    }

    /// These services.
    ///
    /// # Errors
    /// [`Failure`] where a name is unknown.
    pub fn status(&self, services: &Selection) -> Result<Vec<ServiceStatus>, Failure> {
        match services {
            Selection::All => Ok(self.list()),
            Selection::Named(names) => {
                let all = self.list();
                let find = |name: &String| {
                    let found = all.iter().find(|status| status.service == *name);
                    found.cloned().ok_or_else(|| Failure::not_found(name))
                };
                names.iter().map(find).collect()
            }
        }
    }

    /// The newest records of a service's journal, newest first; also of one that was removed.
    ///
    /// # Errors
    /// [`Failure`] where the journal cannot be read.
    pub fn handoffs(&self, service: &str, limit: usize) -> Result<Vec<Record>, Failure> {
        self.journal.newest(service, limit).map_err(|error| Failure::internal(format!("reading the journal: {error}")))
    }

    /// SIGTERM: answers what is held, gives up handoffs before `yield`, drives those past it on. Returns when all is
    /// done or `until` has come.
    pub async fn shutdown(self: &Arc<Self>, until: Instant) {
        let _ = until;
    }
}

impl Failure {
    /// A failure of one line.
    #[must_use]
    pub fn new(kind: FailureKind, error: impl Into<String>) -> Self {
        Self { error: error.into(), hints: Vec::new(), kind }
    }

    /// The contract's text for an unknown service.
    #[must_use]
    pub fn not_found(service: &str) -> Self {
        let _ = service;
        Self::new(FailureKind::NotFound, "service not found")
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
