//! The commands that ask one thing and print only warnings.

use http::Method;

use super::client::{Client, block_on};
use super::flags::{Flag, Kind, Parsed, flag};
use super::{Failed, warn};
use crate::admin::request::DEFAULT_TIMEOUT;
use crate::admin::{PauseRequest, ResumeRequest, StopRequest};
use crate::control::Outcome;
use crate::spec::{escape_name, format_duration};

pub(super) fn pause_flags() -> Vec<Flag> {
    let mut flags = stop_flags();
    flags.retain(|flag| flag.name != "message");
    flags.push(flag("max-pause", Kind::Duration, default_timeout(), "how long a request is held, from its arrival"));
    flags
}

pub(super) fn stop_flags() -> Vec<Flag> {
    let mut flags = resume_flags();
    flags.push(flag("drain-timeout", Kind::Duration, default_timeout(), "how long requests in flight may take to end"));
    flags.push(flag("message", Kind::Text, "", "text for the 503 page"));
    flags
}

pub(super) fn resume_flags() -> Vec<Flag> {
    vec![flag("all", Kind::Bool, "", "every service")]
}

fn default_timeout() -> String {
    format_duration(DEFAULT_TIMEOUT)
}

pub(super) fn pause(parsed: Parsed) -> Result<(), Failed> {
    let request = PauseRequest {
        all: parsed.bool("all").unwrap_or(false),
        drain_timeout: parsed.duration("drain-timeout").unwrap_or(DEFAULT_TIMEOUT),
        max_pause: parsed.duration("max-pause").unwrap_or(DEFAULT_TIMEOUT),
        services: parsed.names,
    };
    command(Method::POST, "/v1/pause", &request)
}

pub(super) fn stop(parsed: Parsed) -> Result<(), Failed> {
    let request = StopRequest {
        all: parsed.bool("all").unwrap_or(false),
        drain_timeout: parsed.duration("drain-timeout").unwrap_or(DEFAULT_TIMEOUT),
        message: parsed.text("message").unwrap_or_default().to_owned(),
        services: parsed.names,
    };
    command(Method::POST, "/v1/stop", &request)
}

pub(super) fn resume(parsed: Parsed) -> Result<(), Failed> {
    let request = ResumeRequest { all: parsed.bool("all").unwrap_or(false), services: parsed.names };
    command(Method::POST, "/v1/resume", &request)
}

pub(super) fn remove(parsed: Parsed) -> Result<(), Failed> {
    command(Method::DELETE, &service_path(&parsed), &Nothing {})
}

pub(super) fn abort(parsed: Parsed) -> Result<(), Failed> {
    command(Method::POST, &format!("{}/abort", service_path(&parsed)), &Nothing {})
}

#[derive(serde::Serialize)]
struct Nothing {}

/// The URL of the one service named.
pub(super) fn service_path(parsed: &Parsed) -> String {
    let name = parsed.names.first().map(String::as_str).unwrap_or_default();
    format!("/v1/services/{}", escape_name(name))
}

fn command<T: serde::Serialize>(method: Method, path: &str, body: &T) -> Result<(), Failed> {
    say_warnings(&block_on(Client::new().command(method, path, body))?);
    Ok(())
}

/// What a success hides.
pub(super) fn say_warnings(outcome: &Outcome) {
    outcome.warnings.iter().for_each(|warning| warn(warning));
}
