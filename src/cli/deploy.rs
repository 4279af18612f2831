//! `deploy`: kamal-proxy's flags and ours.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::IsTerminal as _;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::Failed;
use super::ask::{say_warnings, service_path};
use super::client::{Client, block_on};
use super::flags::{Flag, Kind, Parsed, flag};
use super::progress::Display;
use crate::admin::DeployRequest;
use crate::config::paths;
use crate::spec::{format_duration, word};

/// For help.
pub(super) const ABOUT: &str = "\
The new targets must answer their health check within --deploy-timeout; then they take the requests and the old ones
are drained. Where the new target's keeper stands by (`lockgate keep`), requests are held meanwhile, the old app exits
before the new one starts, and a new one that is not healthy in time is rolled back, its data too.";

/// How often a phase's elapsed time is redrawn.
const TICK: Duration = Duration::from_millis(100);

pub(super) fn flags() -> Vec<Flag> {
    let defaults = DeployRequest::default();
    let time = |name, value, help| flag(name, Kind::Duration, format_duration(value), help);
    let mut all = vec![
        flag("target", Kind::Strings, "", "host:port that serves requests (required)"),
        flag("read-target", Kind::Strings, "", "host:port that serves reads"),
        flag("host", Kind::Strings, "", "host to serve, none = any"),
        flag("path-prefix", Kind::Strings, "", "path to serve, none = all"),
        flag("strip-path-prefix", Kind::Bool, "true", "the target sees paths without the prefix"),
        flag("canonical-host", Kind::Text, "", "redirect all other hosts here"),
        time("deploy-timeout", defaults.deploy_timeout, "how long the targets may take to become healthy"),
        time("drain-timeout", defaults.drain_timeout, "how long requests of the old targets may take to end"),
        flag("force", Kind::Bool, "false", "do not wait for health"),
        time("health-check-interval", defaults.health_check_interval, "between health checks"),
        time("health-check-timeout", defaults.health_check_timeout, "of one health check"),
        flag("health-check-path", Kind::Text, defaults.health_check_path, "path that tells health"),
        flag("health-check-port", Kind::Int, "0", "port that tells health, 0 = the target's"),
        flag("health-check-host", Kind::Text, "", "Host of health checks"),
        time(
            "writer-affinity-timeout",
            defaults.writer_affinity_timeout,
            "reads go to a writer this long after a write",
        ),
        flag("read-target-websockets", Kind::Bool, "false", "readers take WebSockets"),
        time("target-timeout", defaults.target_timeout, "how long a target may take to answer"),
        flag("buffer-requests", Kind::Bool, "false", "read a request whole before it is sent"),
        flag("buffer-responses", Kind::Bool, "false", "read a response whole before it is sent"),
        flag("buffer-memory", Kind::Int, defaults.buffer_memory.to_string(), "bytes of a buffer that stay in memory"),
        flag("max-request-body", Kind::Int, "0", "bytes, 0 = no limit"),
        flag("max-response-body", Kind::Int, "0", "bytes, 0 = no limit"),
        flag("error-pages", Kind::Text, "", "directory of own error pages"),
        flag("log-request-header", Kind::Strings, "", "request header to log"),
        flag("log-response-header", Kind::Strings, "", "response header to log"),
        flag("exclude-metrics-path", Kind::Strings, "", "path that metrics leave out"),
        flag("forward-headers", Kind::Bool, "", "trust the client's X-Forwarded-*; on without --tls"),
        flag("client-ip-header", Kind::Text, "", "header that holds the client's address"),
        flag("scope-cookie-paths", Kind::Bool, "false", "put the prefix before cookies' paths"),
    ];
    all.extend(tls_flags());
    all.extend(own_flags());
    all
}

fn tls_flags() -> Vec<Flag> {
    vec![
        flag("tls", Kind::Bool, "false", "serve HTTPS"),
        flag("tls-on-demand-url", Kind::Text, "", "asked whether a host may have a certificate"),
        flag("tls-staging", Kind::Bool, "false", "certificates from Let's Encrypt's staging"),
        flag("tls-certificate-path", Kind::Text, "", "own certificate"),
        flag("tls-private-key-path", Kind::Text, "", "its key"),
        flag("tls-acme-cache-path", Kind::Text, acme_cache(), "where certificates are kept"),
        flag("tls-redirect", Kind::Bool, "true", "redirect HTTP to HTTPS"),
    ]
}

fn own_flags() -> Vec<Flag> {
    vec![
        flag("handoff", Kind::Text, "", "auto, overlap, drain or exclusive, none = by the settings"),
        flag("keeper", Kind::Text, "", "host:port of the new target's keeper, none = the target's host at port 8647"),
        flag(
            "on-busy",
            Kind::Text,
            "",
            "wait or fail while another deploy of the service runs, none = by the settings",
        ),
        flag("on-drain-timeout", Kind::Text, "", "abort or cut when a handoff's drain is over, none = by the settings"),
        flag("max-hold", Kind::Duration, "", "no request waits longer for the handoff, none = by the settings"),
        flag("progress", Kind::Text, "auto", "auto, plain or none: show the phases on stderr"),
    ]
}

pub(super) fn deploy(parsed: Parsed) -> Result<(), Failed> {
    let request = check(&parsed)?;
    let display = RefCell::new(Display::new(parsed.text("progress"), std::io::stderr().is_terminal())?);
    let path = format!("{}/deploy", service_path(&parsed));
    let client = Client::new();
    let ended = block_on(async {
        let watched = client.watch(&path, &request, |progress| display.borrow_mut().send(progress));
        tokio::select! {
            ended = watched => ended,
            never = tick(&display) => match never {},
        }
    });
    display.borrow_mut().finish();
    say_warnings(&ended?);
    Ok(())
}

async fn tick(display: &RefCell<Display>) -> Infallible {
    loop {
        tokio::time::sleep(TICK).await;
        display.borrow().tick();
    }
}

/// All that can be said before anybody is asked, in the contract's order.
fn check(parsed: &Parsed) -> Result<DeployRequest, Failed> {
    for body in ["request", "response"] {
        let needed = format!("buffer-{body}s");
        if parsed.given(&format!("max-{body}-body")) && !parsed.given(&needed) {
            return Err(format!("max-{body}-body can only be set when {body} buffering is enabled").into());
        }
    }
    let request = request(parsed)?;
    request.options()?;
    if !parsed.given("target") {
        return Err("required flag(s) \"target\" not set".into());
    }
    let pair = ["tls-certificate-path", "tls-private-key-path"];
    let missing: Vec<&str> = pair.into_iter().filter(|name| !parsed.given(name)).collect();
    if let [missing] = missing.as_slice() {
        let group =
            "if any flags in the group [tls-certificate-path tls-private-key-path] are set they must all be set";
        return Err(format!("{group}; missing [{missing}]").into());
    }
    Ok(request)
}

fn request(parsed: &Parsed) -> Result<DeployRequest, Failed> {
    let base = DeployRequest::default();
    let text = |name| parsed.text(name).unwrap_or_default().to_owned();
    let on = |name, default| parsed.bool(name).unwrap_or(default);
    let time = |name, default| parsed.duration(name).unwrap_or(default);
    Ok(DeployRequest {
        target: parsed.strings("target").to_vec(),
        read_target: parsed.strings("read-target").to_vec(),
        host: parsed.strings("host").to_vec(),
        path_prefix: parsed.strings("path-prefix").to_vec(),
        strip_path_prefix: on("strip-path-prefix", base.strip_path_prefix),
        tls: on("tls", false),
        tls_on_demand_url: text("tls-on-demand-url"),
        tls_staging: on("tls-staging", false),
        tls_certificate_path: text("tls-certificate-path"),
        tls_private_key_path: text("tls-private-key-path"),
        tls_acme_cache_path: parsed.text("tls-acme-cache-path").map_or_else(acme_cache, str::to_owned),
        tls_redirect: on("tls-redirect", base.tls_redirect),
        canonical_host: text("canonical-host"),
        deploy_timeout: time("deploy-timeout", base.deploy_timeout),
        drain_timeout: time("drain-timeout", base.drain_timeout),
        force: on("force", false),
        health_check_interval: time("health-check-interval", base.health_check_interval),
        health_check_timeout: time("health-check-timeout", base.health_check_timeout),
        health_check_path: parsed.text("health-check-path").map_or(base.health_check_path, str::to_owned),
        health_check_port: parsed.int("health-check-port").unwrap_or(0),
        health_check_host: text("health-check-host"),
        writer_affinity_timeout: time("writer-affinity-timeout", base.writer_affinity_timeout),
        read_target_websockets: on("read-target-websockets", false),
        target_timeout: time("target-timeout", base.target_timeout),
        buffer_requests: on("buffer-requests", false),
        buffer_responses: on("buffer-responses", false),
        buffer_memory: parsed.int("buffer-memory").unwrap_or(base.buffer_memory),
        max_request_body: parsed.int("max-request-body").unwrap_or(0),
        max_response_body: parsed.int("max-response-body").unwrap_or(0),
        error_pages: text("error-pages"),
        log_request_header: parsed.strings("log-request-header").to_vec(),
        log_response_header: parsed.strings("log-response-header").to_vec(),
        exclude_metrics_path: parsed.strings("exclude-metrics-path").to_vec(),
        forward_headers: parsed.bool("forward-headers"),
        client_ip_header: text("client-ip-header"),
        scope_cookie_paths: on("scope-cookie-paths", false),
        handoff: one_of(parsed, "handoff", "auto, overlap, drain or exclusive")?,
        keeper: parsed.text("keeper").map(str::to_owned),
        on_busy: one_of(parsed, "on-busy", "wait or fail")?,
        on_drain_timeout: one_of(parsed, "on-drain-timeout", "abort or cut")?,
        max_hold: parsed.own_duration("max-hold")?,
    })
}

fn one_of<T: DeserializeOwned>(parsed: &Parsed, name: &str, words: &str) -> Result<Option<T>, Failed> {
    let Some(text) = parsed.text(name) else { return Ok(None) };
    let wrong = || format!("invalid argument {text:?} for \"--{name}\" flag: expected {words}");
    word(text).map(Some).ok_or_else(|| wrong().into())
}

/// Where the contract keeps certificates.
fn acme_cache() -> String {
    paths::data_dir(&paths::process_env).join("certs").display().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::flags::parse;
    use super::*;

    fn checked(args: &[&str]) -> Result<DeployRequest, String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        check(&parse(&flags(), &args)?).map_err(|failed| failed.error)
    }

    #[test]
    fn what_is_not_given_is_as_the_api_has_it() {
        let mut request = checked(&["s1", "--target", "ab"]).unwrap();
        assert_eq!(std::mem::take(&mut request.target), ["ab"]);
        assert!(std::mem::take(&mut request.tls_acme_cache_path).ends_with(".config/kamal-proxy/certs"));
        assert_eq!(request, DeployRequest::default());
    }

    #[test]
    fn every_flag_is_a_field_of_the_api_and_back() {
        let json = serde_json::to_value(DeployRequest::default()).unwrap();
        let mut fields: Vec<String> = json.as_object().unwrap().keys().map(|key| key.replace('_', "-")).collect();
        let mut names: Vec<String> = flags().iter().map(|flag| flag.name.to_owned()).collect();
        names.retain(|name| name != "progress");
        fields.sort();
        names.sort();
        assert_eq!(names, fields);
    }

    #[test]
    fn every_flag_reaches_its_field() {
        for flag in flags().into_iter().filter(|flag| flag.name != "progress") {
            let value = match (flag.name, flag.kind) {
                ("handoff", _) => "drain",
                ("on-busy", _) => "fail",
                ("on-drain-timeout", _) => "cut",
                (_, Kind::Bool) => {
                    if flag.default == "true" {
                        "false"
                    } else {
                        "true"
                    }
                }
                (_, Kind::Int) => "77",
                (_, Kind::Duration) => "77s",
                (_, Kind::Strings | Kind::Text) => "xy",
            };
            let args = [format!("--{}={value}", flag.name)];
            let request = request(&parse(&flags(), &args).unwrap()).unwrap();
            let json = |request: &DeployRequest| serde_json::to_value(request).unwrap();
            let field = flag.name.replace('-', "_");
            assert_ne!(json(&request).get(&field), json(&DeployRequest::default()).get(&field), "{}", flag.name);
        }
    }

    #[test]
    fn errors_come_in_the_contracts_order_and_words() {
        let group =
            "if any flags in the group [tls-certificate-path tls-private-key-path] are set they must all be set";
        for (args, error) in [
            (&["s1"][..], "required flag(s) \"target\" not set".to_owned()),
            (
                &["s1", "--max-request-body", "5"],
                "max-request-body can only be set when request buffering is enabled".into(),
            ),
            (
                &["s1", "--max-response-body", "5"],
                "max-response-body can only be set when response buffering is enabled".into(),
            ),
            (&["s1", "--tls"], "service options invalid: host must be set when using TLS".into()),
            (
                &["s1", "--target", "xx", "--tls-certificate-path", "a"],
                format!("{group}; missing [tls-private-key-path]"),
            ),
            (
                &["s1", "--target", "xx", "--tls-private-key-path", "a"],
                format!("{group}; missing [tls-certificate-path]"),
            ),
            (
                &["s1", "--handoff", "now"],
                "invalid argument \"now\" for \"--handoff\" flag: expected auto, overlap, drain or exclusive".into(),
            ),
            (
                &["s1", "--max-hold=-5s"],
                "invalid argument \"-5s\" for \"--max-hold\" flag: time: negative duration \"-5s\"".into(),
            ),
        ] {
            assert_eq!(checked(args).unwrap_err(), error, "{args:?}");
        }
        checked(&["s1", "--target", "xx", "--buffer-requests=false", "--max-request-body=5"]).unwrap();
        checked(&["--target", "xx", "--force=true", "--tls=false", "--drain-timeout=1h2m3.5s", "--", "s1"]).unwrap();
        assert_eq!(checked(&["s1", "--target=xx", "--drain-timeout=-5s"]).unwrap().drain_timeout, Duration::ZERO);
    }
}
