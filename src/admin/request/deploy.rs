//! The body of a deploy.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DEFAULT_TIMEOUT, go};
use crate::config::ServiceSettings;
use crate::control::{Failure, FailureKind};
use crate::spec::{
    self, Deploy, Handoff, HealthCheck, OnBusy, OnDrainTimeout, Options, Target, TargetError, TargetOptions,
    format_duration,
};

/// Where certificates for trials come from (contract 11.3).
const STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// The body of `POST /v1/services/NAME/deploy`: the flags of `deploy`, `-` as `_`. What is left out is as there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, missing_docs, reason = "each is a flag of the contract, described there")]
pub struct DeployRequest {
    pub target: Vec<String>,
    pub read_target: Vec<String>,
    pub host: Vec<String>,
    pub path_prefix: Vec<String>,
    pub strip_path_prefix: bool,
    pub tls: bool,
    pub tls_on_demand_url: String,
    pub tls_staging: bool,
    pub tls_certificate_path: String,
    pub tls_private_key_path: String,
    pub tls_acme_cache_path: String,
    pub tls_redirect: bool,
    pub canonical_host: String,
    #[serde(with = "go")]
    pub deploy_timeout: Duration,
    #[serde(with = "go")]
    pub drain_timeout: Duration,
    pub force: bool,
    #[serde(with = "go")]
    pub health_check_interval: Duration,
    #[serde(with = "go")]
    pub health_check_timeout: Duration,
    pub health_check_path: String,
    pub health_check_port: i64,
    pub health_check_host: String,
    #[serde(with = "go")]
    pub writer_affinity_timeout: Duration,
    pub read_target_websockets: bool,
    #[serde(with = "go")]
    pub target_timeout: Duration,
    pub buffer_requests: bool,
    pub buffer_responses: bool,
    pub buffer_memory: i64,
    pub max_request_body: i64,
    pub max_response_body: i64,
    pub error_pages: String,
    pub log_request_header: Vec<String>,
    pub log_response_header: Vec<String>,
    pub exclude_metrics_path: Vec<String>,
    pub forward_headers: Option<bool>,
    pub client_ip_header: String,
    pub scope_cookie_paths: bool,
    pub handoff: Option<Handoff>,
    pub keeper: Option<String>,
    pub on_busy: Option<OnBusy>,
    pub on_drain_timeout: Option<OnDrainTimeout>,
    #[serde(with = "go::option")]
    pub max_hold: Option<Duration>,
}

impl Default for DeployRequest {
    fn default() -> Self {
        let (options, target, health) = (Options::default(), TargetOptions::default(), HealthCheck::default());
        Self {
            target: Vec::new(),
            read_target: Vec::new(),
            host: Vec::new(),
            path_prefix: Vec::new(),
            strip_path_prefix: options.strip_prefix,
            tls: options.tls_enabled,
            tls_on_demand_url: String::new(),
            tls_staging: false,
            tls_certificate_path: String::new(),
            tls_private_key_path: String::new(),
            tls_acme_cache_path: String::new(),
            tls_redirect: options.tls_redirect,
            canonical_host: String::new(),
            deploy_timeout: DEFAULT_TIMEOUT,
            drain_timeout: DEFAULT_TIMEOUT,
            force: false,
            health_check_interval: health.interval,
            health_check_timeout: health.timeout,
            health_check_path: health.path,
            health_check_port: 0,
            health_check_host: String::new(),
            writer_affinity_timeout: options.writer_affinity_timeout,
            read_target_websockets: false,
            target_timeout: target.response_timeout,
            buffer_requests: false,
            buffer_responses: false,
            buffer_memory: target.max_memory_buffer_size,
            max_request_body: 0,
            max_response_body: 0,
            error_pages: String::new(),
            log_request_header: Vec::new(),
            log_response_header: Vec::new(),
            exclude_metrics_path: Vec::new(),
            forward_headers: None,
            client_ip_header: String::new(),
            scope_cookie_paths: false,
            handoff: None,
            keeper: None,
            on_busy: None,
            on_drain_timeout: None,
            max_hold: None,
        }
    }
}

impl DeployRequest {
    /// The options alone, checked: what the command line can say before it asks anybody.
    ///
    /// # Errors
    /// The contract's text.
    pub fn options(&self) -> Result<Options, Failure> {
        let options = Options {
            hosts: spec::normalise_hosts(self.host.clone()),
            path_prefixes: spec::normalise_prefixes(&self.path_prefix),
            strip_prefix: self.strip_path_prefix,
            tls_enabled: self.tls,
            tls_certificate_path: self.tls_certificate_path.clone(),
            tls_private_key_path: self.tls_private_key_path.clone(),
            tls_on_demand_url: self.tls_on_demand_url.clone(),
            tls_redirect: self.tls_redirect,
            canonical_host: self.canonical_host.clone(),
            acme_directory: if self.tls_staging { STAGING.into() } else { String::new() },
            acme_cache_path: self.tls_acme_cache_path.clone(),
            error_page_path: self.error_pages.clone(),
            writer_affinity_timeout: self.writer_affinity_timeout,
            read_targets_accept_websockets: self.read_target_websockets,
            exclude_metrics_paths: list(&self.exclude_metrics_path),
            client_ip_header: self.client_ip_header.clone(),
        };
        options.validate().map_err(|error| Failure::invalid(error.to_string()))?;
        Ok(options)
    }

    fn target_options(&self) -> Result<TargetOptions, Failure> {
        let names = |names: &[String]| list(names).map(|all| all.iter().map(|n| spec::canonical_header(n)).collect());
        let port = u16::try_from(self.health_check_port)
            .map_err(|_| Failure::invalid(format!("health-check-port {} is not a port", self.health_check_port)))?;
        if self.health_check_interval.is_zero() {
            return Err(Failure::invalid("health-check-interval must be above 0"));
        }
        Ok(TargetOptions {
            health_check: HealthCheck {
                path: self.health_check_path.clone(),
                port,
                interval: self.health_check_interval,
                timeout: self.health_check_timeout,
                host: self.health_check_host.clone(),
            },
            response_timeout: self.target_timeout,
            buffer_requests: self.buffer_requests,
            buffer_responses: self.buffer_responses,
            max_memory_buffer_size: self.buffer_memory,
            max_request_body_size: self.max_request_body,
            max_response_body_size: self.max_response_body,
            log_request_headers: names(&self.log_request_header),
            log_response_headers: names(&self.log_response_header),
            forward_headers: self.forward_headers.unwrap_or(!self.tls),
            scope_cookie_paths: self.scope_cookie_paths,
        })
    }

    /// One whose port cannot be dialled passes in the contract (1.4) and is never healthy: nobody need wait for that.
    fn target_of(&self, text: &str) -> Result<Target, Failure> {
        let target = Target::parse(text).map_err(|error| Failure::invalid(error.to_string()))?;
        if target.port().is_some() || self.force {
            return Ok(target);
        }
        let timeout = format_duration(self.deploy_timeout);
        let failure = format!("target failed to become healthy within configured timeout ({timeout})");
        Err(Failure::new(FailureKind::App, failure).hint(format!("{text}: {NO_PORT}")))
    }

    /// All of it, parsed and valid. What the request leaves open the service's settings decide.
    ///
    /// # Errors
    /// The contract's text for what is wrong first.
    pub fn into_spec(self, service: String, asked_by: String, settings: &ServiceSettings) -> Result<Deploy, Failure> {
        let options = self.options()?;
        if self.target.is_empty() {
            return Err(Failure::invalid("required flag(s) \"target\" not set"));
        }
        let parse = |texts: &[String]| texts.iter().map(|text| self.target_of(text)).collect::<Result<Vec<_>, _>>();
        let (targets, readers) = (parse(&self.target)?, parse(&self.read_target)?);
        let keeper = self.keeper.as_deref().map(keeper).transpose();
        let keeper = keeper.map_err(|error| error.hint("this is the keeper's address (--keeper)"))?;
        if self.max_hold.is_some_and(|hold| hold.is_zero()) {
            return Err(Failure::invalid("max-hold must be above 0, else no request could wait"));
        }
        Ok(Deploy {
            service,
            targets,
            readers,
            target_options: self.target_options()?,
            options,
            deploy_timeout: self.deploy_timeout,
            drain_timeout: self.drain_timeout,
            force: self.force,
            handoff: self.handoff.unwrap_or(settings.handoff),
            keeper: keeper.or_else(|| settings.keeper.clone()),
            on_busy: self.on_busy.unwrap_or(settings.on_busy),
            on_drain_timeout: self.on_drain_timeout,
            max_hold: self.max_hold,
            asked_by,
        })
    }
}

fn keeper(text: &str) -> Result<Target, Failure> {
    let keeper = Target::parse(text).map_err(|error| Failure::invalid(error.to_string()))?;
    match keeper.port() {
        Some(_) => Ok(keeper),
        None => Err(Failure::invalid(TargetError(text.to_owned()).to_string()).hint(NO_PORT)),
    }
}

const NO_PORT: &str = "its port must be 1 to 65535";

fn list(values: &[String]) -> Option<Vec<String>> {
    (!values.is_empty()).then(|| values.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deploy(json: &str) -> Result<Deploy, String> {
        let request: DeployRequest = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let spec = request.into_spec("s1".into(), "uid 0".into(), &ServiceSettings::default());
        spec.map_err(|failure| failure.error)
    }

    #[test]
    fn what_is_left_out_is_as_on_the_command_line() {
        let spec = deploy(r#"{"target":["ab"]}"#).unwrap();
        assert_eq!((spec.options, spec.target_options), (Options::default(), TargetOptions::default()));
        assert_eq!((spec.deploy_timeout, spec.drain_timeout), (DEFAULT_TIMEOUT, DEFAULT_TIMEOUT));
        assert_eq!((spec.handoff, spec.max_hold), (Handoff::Auto, None));
    }

    #[test]
    fn unknown_fields_are_refused_by_name() {
        let error = deploy(r#"{"target":["ab"],"hots":["x"]}"#).unwrap_err();
        assert!(error.starts_with("unknown field `hots`, expected one of `target`, `read_target`, `host`"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_in_the_contracts_words() {
        for (json, error) in [
            ("{}", "required flag(s) \"target\" not set"),
            (r#"{"target":["a:80"]}"#, "a:80 :invalid host pattern"),
            (r#"{"target":["ab:0"]}"#, "target failed to become healthy within configured timeout (30s)"),
            (
                r#"{"target":["ab"],"read_target":["ab:65536"],"deploy_timeout":"5s"}"#,
                "target failed to become healthy within configured timeout (5s)",
            ),
            (r#"{"target":["ab"],"keeper":"ab:99999"}"#, "ab:99999 :invalid host pattern"),
            (r#"{"target":["ab"],"tls":true}"#, "service options invalid: host must be set when using TLS"),
            (r#"{"target":["ab"],"health_check_port":70000}"#, "health-check-port 70000 is not a port"),
            (r#"{"target":["ab"],"max_hold":"0s"}"#, "max-hold must be above 0, else no request could wait"),
        ] {
            assert_eq!(deploy(json).unwrap_err(), error);
        }
        assert!(deploy(r#"{"target":["ab"],"drain_timeout":"5"}"#).unwrap_err().starts_with("time: missing unit"));
    }

    #[test]
    fn the_services_settings_decide_what_the_request_leaves_open() {
        let settings = ServiceSettings { handoff: Handoff::Drain, on_busy: OnBusy::Fail, ..ServiceSettings::default() };
        let request = |json: &str| -> DeployRequest { serde_json::from_str(json).unwrap() };
        let left = request(r#"{"target":["ab"]}"#).into_spec("s".into(), String::new(), &settings).unwrap();
        assert_eq!((left.handoff, left.on_busy), (Handoff::Drain, OnBusy::Fail));
        let said = request(r#"{"target":["ab"],"handoff":"auto"}"#).into_spec("s".into(), String::new(), &settings);
        assert_eq!(said.unwrap().handoff, Handoff::Auto);
    }

    #[test]
    fn headers_are_trusted_by_default_only_without_tls() {
        let forward = |json: &str| deploy(json).unwrap().target_options.forward_headers;
        assert!(forward(r#"{"target":["ab"]}"#));
        assert!(!forward(r#"{"target":["ab"],"tls":true,"host":["e.test"]}"#));
        assert!(forward(r#"{"target":["ab"],"tls":true,"host":["e.test"],"forward_headers":true}"#));
    }

    #[test]
    fn a_request_survives_the_wire() {
        let request = DeployRequest { max_hold: Some(Duration::from_millis(1_500)), ..DeployRequest::default() };
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<DeployRequest>(&json).unwrap(), request);
    }
}
