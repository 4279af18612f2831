//! What an operator asked for, parsed and valid: the same types for the command line and the admin API.

mod duration;
pub mod glob;
mod target;
mod text;
mod url;
mod validate;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use duration::{DurationError, format_duration, go_duration, parse_duration};
pub use target::{Target, TargetError};
pub use text::{canonical_header, distance, nearest, nearest_all, parse_bool, unescape_name, word};
pub use url::UrlError;
pub use validate::{OptionsError, normalise_hosts, normalise_prefixes};

/// How a deploy moves a service to its new revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handoff {
    /// `exclusive` where the new target's keeper stands by, else `overlap`.
    #[default]
    Auto,
    /// Flip, then drain the old one; no hold.
    Overlap,
    /// Hold, drain, flip: no two revisions ever serve at once.
    Drain,
    /// Hold, drain, the old app exits, the new one starts: no two revisions are ever live at once.
    Exclusive,
}

/// What a deploy does when the service is busy with another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBusy {
    /// Wait for its turn, first in, first out.
    #[default]
    Wait,
    /// Fail at once.
    Fail,
}

/// What happens to requests that are still with the old revision when the drain is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDrainTimeout {
    /// Safe methods are cut early; any other gives the handoff up before `yield`.
    #[default]
    Abort,
    /// Go on all the same; what the app does not answer in its grace gets 504.
    Cut,
}

/// `deploy`: make these targets the service's revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deploy {
    /// The service's name; any text.
    pub service: String,
    /// Where requests go.
    pub targets: Vec<Target>,
    /// Where reads are to go; kept, but nothing goes there yet.
    pub readers: Vec<Target>,
    /// What the routes and redirects need.
    pub options: Options,
    /// What the way to the target needs.
    pub target_options: TargetOptions,
    /// How long the new revision may take to become healthy.
    pub deploy_timeout: Duration,
    /// How long requests of the old revision may take to end.
    pub drain_timeout: Duration,
    /// Do not wait for health.
    pub force: bool,
    /// Which kind of handoff; the door has already put the service's setting here where nobody asked for one.
    pub handoff: Handoff,
    /// Where the new target's keeper listens, `host:port`; none = the target's host at its default port.
    pub keeper: Option<Target>,
    /// What to do when the service is busy; the setting likewise.
    pub on_busy: OnBusy,
    /// Overrides the setting.
    pub on_drain_timeout: Option<OnDrainTimeout>,
    /// Overrides the setting.
    pub max_hold: Option<Duration>,
    /// Who asked, for the journal.
    pub asked_by: String,
}

/// A service's own options (contract 1.4, `options` of the state file).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the contract")]
pub struct Options {
    /// Hosts; one empty string = any.
    pub hosts: Vec<String>,
    /// Normalised prefixes; `/` = all.
    pub path_prefixes: Vec<String>,
    /// Whether the target sees the path without the prefix.
    pub strip_prefix: bool,
    /// TLS for this service.
    pub tls_enabled: bool,
    /// Custom certificate.
    pub tls_certificate_path: String,
    /// Its key.
    pub tls_private_key_path: String,
    /// On-demand policy.
    pub tls_on_demand_url: String,
    /// Plain HTTP is redirected.
    pub tls_redirect: bool,
    /// Every other host is redirected here.
    pub canonical_host: String,
    /// Empty = production.
    pub acme_directory: String,
    /// Where certificates are kept.
    pub acme_cache_path: String,
    /// Custom error pages.
    pub error_page_path: String,
    /// How long a writer cookie lasts.
    pub writer_affinity_timeout: Duration,
    /// Readers take WebSockets.
    pub read_targets_accept_websockets: bool,
    /// Paths not counted.
    pub exclude_metrics_paths: Option<Vec<String>>,
    /// Header that holds the client's address.
    pub client_ip_header: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hosts: vec![String::new()],
            path_prefixes: vec!["/".into()],
            strip_prefix: true,
            tls_enabled: false,
            tls_certificate_path: String::new(),
            tls_private_key_path: String::new(),
            tls_on_demand_url: String::new(),
            tls_redirect: true,
            canonical_host: String::new(),
            acme_directory: String::new(),
            acme_cache_path: String::new(),
            error_page_path: String::new(),
            writer_affinity_timeout: Duration::from_secs(1),
            read_targets_accept_websockets: false,
            exclude_metrics_paths: None,
            client_ip_header: String::new(),
        }
    }
}

/// How to talk to a target (contract 1.4, `target_options` of the state file).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the contract")]
pub struct TargetOptions {
    /// How to probe it.
    pub health_check: HealthCheck,
    /// From the end of the request to the first response byte; zero = none.
    pub response_timeout: Duration,
    /// Read the whole request first.
    pub buffer_requests: bool,
    /// Read the whole response first.
    pub buffer_responses: bool,
    /// Bytes of a buffer in memory; the rest spills to disk.
    pub max_memory_buffer_size: i64,
    /// Bytes; 0 = no limit.
    pub max_request_body_size: i64,
    /// Bytes; 0 = no limit.
    pub max_response_body_size: i64,
    /// Logged request headers.
    pub log_request_headers: Option<Vec<String>>,
    /// Logged response headers.
    pub log_response_headers: Option<Vec<String>>,
    /// Whether the client's X-Forwarded-* are trusted.
    pub forward_headers: bool,
    /// Whether cookie paths get the prefix.
    pub scope_cookie_paths: bool,
}

impl Default for TargetOptions {
    fn default() -> Self {
        Self {
            health_check: HealthCheck::default(),
            response_timeout: Duration::from_secs(30),
            buffer_requests: false,
            buffer_responses: false,
            max_memory_buffer_size: 1 << 20,
            max_request_body_size: 0,
            max_response_body_size: 0,
            log_request_headers: None,
            log_response_headers: None,
            forward_headers: true,
            scope_cookie_paths: false,
        }
    }
}

/// How a target is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path, as given.
    pub path: String,
    /// 0 = the target's.
    pub port: u16,
    /// Between probes.
    pub interval: Duration,
    /// Of one probe, connect to body.
    pub timeout: Duration,
    /// Host header; empty = the target's `host:port`.
    pub host: String,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: "/up".into(),
            port: 0,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            host: String::new(),
        }
    }
}

/// Which services a command is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These; if any is unknown nothing happens.
    Named(Vec<String>),
    /// Every service.
    All,
}

/// `pause`: hold requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// For which.
    pub services: Selection,
    /// How long requests in flight may take to end before they are cut.
    pub drain_timeout: Duration,
    /// How long a request is held, from its arrival.
    pub max_pause: Duration,
}

/// `stop`: answer 503.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// For which.
    pub services: Selection,
    /// How long requests in flight may take to end before they are cut.
    pub drain_timeout: Duration,
    /// Shown on the page.
    pub message: String,
}

/// A service's name as a file name or a part of a URL: all but `[A-Za-z0-9_-]` as `%XX`.
#[must_use]
pub fn escape_name(name: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
