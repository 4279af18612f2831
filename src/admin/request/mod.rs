//! What clients of the admin API send, field by field; the command line sends the same.

mod deploy;
mod go;
mod unheeded;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::Failure;
use crate::spec::{Pause, Selection, Stop};

pub use deploy::DeployRequest;

/// Of every time-out that the contract has: 30 s.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Which services: `{"services": [...]}` or `{"all": true}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResumeRequest {
    /// These.
    pub services: Vec<String>,
    /// Every one.
    pub all: bool,
}

/// The body of `POST /v1/pause`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PauseRequest {
    /// These.
    pub services: Vec<String>,
    /// Every one.
    pub all: bool,
    /// How long requests in flight may take to end.
    #[serde(with = "go")]
    pub drain_timeout: Duration,
    /// How long a request is held.
    #[serde(with = "go")]
    pub max_pause: Duration,
}

/// The body of `POST /v1/stop`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StopRequest {
    /// These.
    pub services: Vec<String>,
    /// Every one.
    pub all: bool,
    /// How long requests in flight may take to end.
    #[serde(with = "go")]
    pub drain_timeout: Duration,
    /// Shown on the page.
    pub message: String,
}

impl Default for PauseRequest {
    fn default() -> Self {
        Self { services: Vec::new(), all: false, drain_timeout: DEFAULT_TIMEOUT, max_pause: DEFAULT_TIMEOUT }
    }
}

impl Default for StopRequest {
    fn default() -> Self {
        Self { services: Vec::new(), all: false, drain_timeout: DEFAULT_TIMEOUT, message: String::new() }
    }
}

impl ResumeRequest {
    /// The services meant.
    ///
    /// # Errors
    /// Where it names none, or some and all.
    pub fn into_spec(self) -> Result<Selection, Failure> {
        selection(self.services, self.all)
    }
}

impl PauseRequest {
    /// The same, valid.
    ///
    /// # Errors
    /// Where it names no service, or some and all.
    pub fn into_spec(self) -> Result<Pause, Failure> {
        let services = selection(self.services, self.all)?;
        Ok(Pause { services, drain_timeout: self.drain_timeout, max_pause: self.max_pause })
    }
}

impl StopRequest {
    /// The same, valid.
    ///
    /// # Errors
    /// Where it names no service, or some and all.
    pub fn into_spec(self) -> Result<Stop, Failure> {
        let services = selection(self.services, self.all)?;
        Ok(Stop { services, drain_timeout: self.drain_timeout, message: self.message })
    }
}

fn selection(services: Vec<String>, all: bool) -> Result<Selection, Failure> {
    match (services.is_empty(), all) {
        (true, true) => Ok(Selection::All),
        (false, false) => Ok(Selection::Named(services)),
        (true, false) => Err(Failure::invalid("which services? name them or say all")),
        (false, true) => Err(Failure::invalid("either name services or say all, not both")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_or_all() {
        let parse = |json: &str| serde_json::from_str::<ResumeRequest>(json).unwrap().into_spec();
        assert_eq!(parse(r#"{"all":true}"#).unwrap(), Selection::All);
        assert_eq!(parse(r#"{"services":[""]}"#).unwrap(), Selection::Named(vec![String::new()]));
        assert!(parse("{}").is_err());
        assert!(parse(r#"{"services":["a"],"all":true}"#).is_err());
    }
}
