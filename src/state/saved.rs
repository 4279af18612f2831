//! One service as the file has it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::spec::{Handoff, HealthCheck, OnDrainTimeout, Options, TargetOptions};

type Unknown = BTreeMap<String, Value>;

/// One service; keys and order as in the contract, what is not known kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedService {
    /// Any text.
    pub name: String,
    /// Routes, redirects, certificates.
    pub options: SavedOptions,
    /// How to talk to a target.
    pub target_options: SavedTargetOptions,
    /// `host:port` each.
    pub active_targets: Vec<String>,
    /// Kept.
    pub active_readers: Vec<String>,
    /// Kept.
    pub rollout_targets: Option<Vec<String>>,
    /// Kept.
    pub rollout_readers: Option<Vec<String>>,
    /// The operator's state.
    pub pause_controller: PauseController,
    /// Kept.
    pub rollout_controller: Value,
    /// What only this program has.
    #[serde(skip_serializing_if = "Ours::is_default")]
    pub lockgate: Ours,
    /// Keys of another version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `options` of the file; durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the file has them")]
#[expect(missing_docs, reason = "the names are the contract's, their meaning stands at `spec::Options`")]
pub struct SavedOptions {
    pub hosts: Vec<String>,
    pub path_prefixes: Vec<String>,
    pub tls_enabled: bool,
    pub tls_certificate_path: String,
    pub tls_private_key_path: String,
    pub tls_on_demand_url: String,
    pub tls_redirect: bool,
    pub canonical_host: String,
    pub acme_directory: String,
    pub acme_cache_path: String,
    pub error_page_path: String,
    pub strip_prefix: bool,
    pub writer_affinity_timeout: i64,
    pub read_targets_accept_websockets: bool,
    pub exclude_metrics_paths: Option<Vec<String>>,
    pub client_ip_header: String,
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `target_options` of the file; durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the file has them")]
#[expect(missing_docs, reason = "the names are the contract's, their meaning stands at `spec::TargetOptions`")]
pub struct SavedTargetOptions {
    pub health_check_config: SavedHealthCheck,
    pub response_timeout: i64,
    pub buffer_requests: bool,
    pub buffer_responses: bool,
    pub max_memory_buffer_size: i64,
    pub max_request_body_size: i64,
    pub max_response_body_size: i64,
    pub log_request_headers: Option<Vec<String>>,
    pub log_response_headers: Option<Vec<String>>,
    pub forward_headers: bool,
    pub scope_cookie_paths: bool,
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `health_check_config` of the file; durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the contract's, their meaning stands at `spec::HealthCheck`")]
pub struct SavedHealthCheck {
    pub path: String,
    pub port: u16,
    pub interval: i64,
    pub timeout: i64,
    pub host: String,
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `pause_controller` of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PauseController {
    /// 0, 1 or 2.
    pub state: PauseState,
    /// Shown while stopped.
    pub stop_message: String,
    /// The last `--max-pause` in nanoseconds; stays after a resume.
    pub fail_after: i64,
    /// Keys of another version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// What the operator last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum PauseState {
    /// `resume`, or nothing yet.
    #[default]
    Running,
    /// `pause`.
    Paused,
    /// `stop`.
    Stopped,
}

impl From<PauseState> for u8 {
    fn from(state: PauseState) -> Self {
        match state {
            PauseState::Running => 0,
            PauseState::Paused => 1,
            PauseState::Stopped => 2,
        }
    }
}

impl TryFrom<u8> for PauseState {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            0 => Ok(Self::Running),
            1 => Ok(Self::Paused),
            2 => Ok(Self::Stopped),
            other => Err(format!("pause_controller.state is {other}, not 0, 1 or 2")),
        }
    }
}

/// What kamal-proxy's format has no place for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ours {
    /// The keeper of the active revision, `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keeper: Option<String>,
    /// Every keeper of the lease that was ever met, newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keepers: Vec<KnownKeeper>,
    /// `--handoff` of the last deploy.
    #[serde(skip_serializing_if = "is_default")]
    pub handoff: Handoff,
    /// `--on-drain-timeout` of the last deploy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_drain_timeout: Option<OnDrainTimeout>,
    /// `--max-hold` of the last deploy, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_hold: Option<i64>,
    /// Keys of another version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A keeper that was met, so that the proxy can ask it again after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KnownKeeper {
    /// Its id: host name and control port.
    pub id: String,
    /// Where it was reached, `host:port`.
    pub control: String,
    /// Where its app serves, `host:port`.
    pub target: String,
}

impl SavedOptions {
    /// Changes them to these; keys of another version stay.
    pub fn set(&mut self, options: &Options) {
        let unknown = std::mem::take(&mut self.unknown);
        *self = Self { unknown, ..options.into() };
    }
}

impl SavedTargetOptions {
    /// Changes them to these; keys of another version stay.
    pub fn set(&mut self, options: &TargetOptions) {
        let (unknown, of_check) =
            (std::mem::take(&mut self.unknown), std::mem::take(&mut self.health_check_config.unknown));
        *self = Self { unknown, ..options.into() };
        self.health_check_config.unknown = of_check;
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Ours {
    /// More keepers than these are forgotten, oldest first.
    pub const KEEPERS: usize = 16;

    fn is_default(&self) -> bool {
        is_default(self)
    }
}

/// Remembers a keeper; the newest word on its id counts.
pub fn meet(known: &mut Vec<KnownKeeper>, keeper: KnownKeeper) {
    known.retain(|other| other.id != keeper.id && other.control != keeper.control);
    known.push(keeper);
    let surplus = known.len().saturating_sub(Ours::KEEPERS);
    known.drain(..surplus);
}

/// Nanoseconds as the file has them; a negative number counts as zero.
#[must_use]
pub fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// Nanoseconds for the file.
#[must_use]
pub fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl From<&Options> for SavedOptions {
    fn from(options: &Options) -> Self {
        let options = options.clone();
        Self {
            hosts: options.hosts,
            path_prefixes: options.path_prefixes,
            tls_enabled: options.tls_enabled,
            tls_certificate_path: options.tls_certificate_path,
            tls_private_key_path: options.tls_private_key_path,
            tls_on_demand_url: options.tls_on_demand_url,
            tls_redirect: options.tls_redirect,
            canonical_host: options.canonical_host,
            acme_directory: options.acme_directory,
            acme_cache_path: options.acme_cache_path,
            error_page_path: options.error_page_path,
            strip_prefix: options.strip_prefix,
            writer_affinity_timeout: nanos(options.writer_affinity_timeout),
            read_targets_accept_websockets: options.read_targets_accept_websockets,
            exclude_metrics_paths: options.exclude_metrics_paths,
            client_ip_header: options.client_ip_header,
            unknown: Unknown::new(),
        }
    }
}

impl From<&SavedOptions> for Options {
    fn from(saved: &SavedOptions) -> Self {
        let saved = saved.clone();
        Self {
            hosts: or_else(saved.hosts, ""),
            path_prefixes: or_else(saved.path_prefixes, "/"),
            strip_prefix: saved.strip_prefix,
            tls_enabled: saved.tls_enabled,
            tls_certificate_path: saved.tls_certificate_path,
            tls_private_key_path: saved.tls_private_key_path,
            tls_on_demand_url: saved.tls_on_demand_url,
            tls_redirect: saved.tls_redirect,
            canonical_host: saved.canonical_host,
            acme_directory: saved.acme_directory,
            acme_cache_path: saved.acme_cache_path,
            error_page_path: saved.error_page_path,
            writer_affinity_timeout: duration(saved.writer_affinity_timeout),
            read_targets_accept_websockets: saved.read_targets_accept_websockets,
            exclude_metrics_paths: saved.exclude_metrics_paths,
            client_ip_header: saved.client_ip_header,
        }
    }
}

fn or_else(list: Vec<String>, default: &str) -> Vec<String> {
    if list.is_empty() { vec![default.to_owned()] } else { list }
}

impl From<&TargetOptions> for SavedTargetOptions {
    fn from(options: &TargetOptions) -> Self {
        let check = &options.health_check;
        Self {
            health_check_config: SavedHealthCheck {
                path: check.path.clone(),
                port: check.port,
                interval: nanos(check.interval),
                timeout: nanos(check.timeout),
                host: check.host.clone(),
                unknown: Unknown::new(),
            },
            response_timeout: nanos(options.response_timeout),
            buffer_requests: options.buffer_requests,
            buffer_responses: options.buffer_responses,
            max_memory_buffer_size: options.max_memory_buffer_size,
            max_request_body_size: options.max_request_body_size,
            max_response_body_size: options.max_response_body_size,
            log_request_headers: options.log_request_headers.clone(),
            log_response_headers: options.log_response_headers.clone(),
            forward_headers: options.forward_headers,
            scope_cookie_paths: options.scope_cookie_paths,
            unknown: Unknown::new(),
        }
    }
}

impl From<&SavedTargetOptions> for TargetOptions {
    fn from(saved: &SavedTargetOptions) -> Self {
        let check = &saved.health_check_config;
        Self {
            health_check: HealthCheck {
                path: check.path.clone(),
                port: check.port,
                interval: duration(check.interval),
                timeout: duration(check.timeout),
                host: check.host.clone(),
            },
            response_timeout: duration(saved.response_timeout),
            buffer_requests: saved.buffer_requests,
            buffer_responses: saved.buffer_responses,
            max_memory_buffer_size: saved.max_memory_buffer_size,
            max_request_body_size: saved.max_request_body_size,
            max_response_body_size: saved.max_response_body_size,
            log_request_headers: saved.log_request_headers.clone(),
            log_response_headers: saved.log_response_headers.clone(),
            forward_headers: saved.forward_headers,
            scope_cookie_paths: saved.scope_cookie_paths,
        }
    }
}
