//! What the keeper was asked to do: flags over environment over defaults.

mod given;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use given::Given;

use crate::spec::{glob, parse_duration};
use crate::{child, wire};

/// How the keeper is called.
pub(super) const USAGE: &str = "\
Runs CMD, and lets it live only while no other keeper of the same database has it live.

Usage: lockgate keep [OPTIONS] -- CMD ARG...

Every option may also be given as LOCKGATE_KEEP_<OPTION> (several databases or patterns separated by `:`);
LOCKGATE_KEEP=off runs CMD at once, without a lease.

  --database PATH|GLOB   a database of the app, existing or not yet; may be repeated
  --lease DIR            the lease directory [<first database>.lockgate]
  --control ADDR         where to listen for the proxy [:8647 as PID 1, else 127.0.0.1:8647]
  --when GLOB            only command lines that match need the lease; may be repeated
  --grace DURATION       how long the app may take to stop [8s]
  --snapshot WHEN        auto, always or never [auto]
  --foreign WHAT         refuse or warn, where somebody else has a database open [refuse]
  --defer DURATION       how long the lease must be free before a keeper takes it unasked [5s]
  --service NAME         whose lease it is [KAMAL_CONTAINER_NAME without its version]
  --stop-signal SIGNAL   what tells the app to stop [TERM]
  --snapshot-hook CMD    run by sh after each snapshot, with LOCKGATE_SNAPSHOT and LOCKGATE_EPOCH
  --token-file FILE      a token that every line to this keeper must carry
";

/// All options, valid.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    pub(super) databases: Vec<String>,
    pub(super) lease: Option<PathBuf>,
    pub(super) control: Option<String>,
    pub(super) when: Vec<String>,
    pub(super) grace: Duration,
    pub(super) snapshot: Snapshot,
    pub(super) foreign: Foreign,
    pub(super) defer: Duration,
    pub(super) service: Option<String>,
    pub(super) stop_signal: i32,
    pub(super) snapshot_hook: Option<String>,
    pub(super) token_file: Option<PathBuf>,
    /// `LOCKGATE_KEEP_RESTORE=skip`: a person has decided to keep the data as they are.
    pub(super) skip_restore: bool,
    pub(super) wishes: BTreeMap<String, String>,
    pub(super) command: Vec<OsString>,
}

/// When a snapshot is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Snapshot {
    /// Where it is cheap enough.
    #[default]
    Auto,
    /// Or no handoff.
    Always,
    /// Never.
    Never,
}

/// What somebody else who has a database open means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Foreign {
    /// The app does not start.
    #[default]
    Refuse,
    /// It starts, with a warning.
    Warn,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Task {
    /// Keep the command.
    Keep(Box<Options>),
    /// Run it at once, for a reason.
    RunInPlace(Vec<OsString>, String),
    /// Print a text and end well.
    Print(String),
}

/// Why the command line makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OptionError {
    #[error("unknown option {0}; see --help")]
    Unknown(String),
    #[error("{0} needs a value")]
    NoValue(String),
    #[error("{name}: {value:?} is not valid: {why}")]
    Invalid { name: String, value: String, why: String },
    #[error("no command: lockgate keep [OPTIONS] -- CMD ARG...")]
    NoCommand,
    #[error("no --database given, nor a --lease directory: nothing to keep")]
    NoDatabase,
}

/// Reads command line and environment.
pub(super) fn parse(
    arguments: impl Iterator<Item = OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Task, OptionError> {
    let mut given = Given::default();
    let mut arguments = arguments;
    let mut command = Vec::new();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        match text.as_ref() {
            "--" => command.extend(arguments.by_ref()),
            "--help" | "-h" => return Ok(Task::Print(USAGE.to_owned())),
            "--version" => return Ok(Task::Print(format!("lockgate-keep {}\n", env!("CARGO_PKG_VERSION")))),
            option if option.starts_with('-') => given.take(option, &mut arguments)?,
            _ => {
                command.push(argument);
                command.extend(arguments.by_ref());
            }
        }
    }
    given.fill_from(environment);
    if command.is_empty() {
        return Err(OptionError::NoCommand);
    }
    if environment("LOCKGATE_KEEP").is_some_and(|value| value == "off") {
        return Ok(Task::RunInPlace(command, "LOCKGATE_KEEP=off".to_owned()));
    }
    let options = valid(&given, command, environment)?;
    let line = command_line(&options.command);
    if !options.when.is_empty() && !options.when.iter().any(|pattern| glob::matches(pattern, &line)) {
        let reason = format!("the command line does not match --when {}", options.when.join(" or "));
        return Ok(Task::RunInPlace(options.command, reason));
    }
    Ok(Task::Keep(Box::new(options)))
}

/// What was given, if all of it makes sense.
fn valid(
    given: &Given,
    command: Vec<OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Options, OptionError> {
    let duration = |text: &str| parse_duration(text).map_err(|error| error.to_string());
    let text = |name: &str| environment(name).map(|value| value.to_string_lossy().into_owned());
    let databases = given.all("database");
    let lease = given.one("lease").map(PathBuf::from);
    if databases.is_empty() && lease.is_none() {
        return Err(OptionError::NoDatabase);
    }
    let container = || kamal_service(&text("KAMAL_CONTAINER_NAME")?, text("KAMAL_VERSION").as_deref());
    let skip_restore = match text("LOCKGATE_KEEP_RESTORE").as_deref() {
        None | Some("") => false,
        Some("skip") => true,
        Some(other) => {
            return Err(OptionError::Invalid {
                name: "LOCKGATE_KEEP_RESTORE".to_owned(),
                value: other.to_owned(),
                why: "only `skip` has a meaning".to_owned(),
            });
        }
    };
    Ok(Options {
        lease,
        databases,
        control: given.one("control"),
        when: given.all("when"),
        grace: given.read("grace", Duration::from_secs(8), duration)?,
        snapshot: given.read("snapshot", Snapshot::Auto, |value| match value {
            "auto" => Ok(Snapshot::Auto),
            "always" => Ok(Snapshot::Always),
            "never" => Ok(Snapshot::Never),
            _ => Err("say auto, always or never".to_owned()),
        })?,
        foreign: given.read("foreign", Foreign::Refuse, |value| match value {
            "refuse" => Ok(Foreign::Refuse),
            "warn" => Ok(Foreign::Warn),
            _ => Err("say refuse or warn".to_owned()),
        })?,
        defer: given.read("defer", Duration::from_secs(5), duration)?,
        service: given.one("service").or_else(container),
        stop_signal: given.read("stop-signal", libc::SIGTERM, |value| {
            child::named(value).ok_or_else(|| "no such signal".to_owned())
        })?,
        snapshot_hook: given.one("snapshot-hook"),
        token_file: given.one("token-file").map(PathBuf::from),
        skip_restore,
        wishes: wishes(&text),
        command,
    })
}

/// What an app may ask of the proxy by its own environment.
const WISHES: [&str; 7] = [
    "max-hold",
    "handoff-timeout",
    "max-held",
    "on-drain-timeout",
    "unhealthy-after",
    "release-concurrency",
    "drain-timeout",
];

fn wishes(text: &dyn Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let variable = |wish: &str| format!("LOCKGATE_{}", wish.to_ascii_uppercase().replace('-', "_"));
    let said = WISHES.iter().filter_map(|wish| Some(((*wish).to_owned(), text(&variable(wish))?)));
    said.filter(|(_, value)| !value.is_empty()).collect()
}

/// Kamal names a container `<service>-<role>-<version>`.
fn kamal_service(container: &str, version: Option<&str>) -> Option<String> {
    let known = version.and_then(|version| container.strip_suffix(version)?.strip_suffix('-'));
    let service = known.or_else(|| container.rsplit_once('-').map(|(service, _)| service))?;
    (!service.is_empty()).then(|| service.to_owned())
}

/// The command line as a person would read it.
pub(super) fn command_line(command: &[OsString]) -> String {
    command.iter().map(|word| OsStr::to_string_lossy(word)).collect::<Vec<_>>().join(" ")
}

/// Where to listen: the first of these that can be had.
pub(super) fn control_addresses(control: Option<&str>) -> Result<Vec<std::net::SocketAddr>, OptionError> {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
    let any = |port: u16| vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), (Ipv4Addr::UNSPECIFIED, port).into()];
    let invalid =
        |value: &str, why: String| OptionError::Invalid { name: "--control".to_owned(), value: value.to_owned(), why };
    match control {
        None if child::is_first() => Ok(any(wire::DEFAULT_PORT)),
        None => Ok(vec![(Ipv4Addr::LOCALHOST, wire::DEFAULT_PORT).into()]),
        Some(text) => {
            if let Some(port) = text.strip_prefix(':') {
                return Ok(any(port.parse().map_err(|_| invalid(text, "not a port".to_owned()))?));
            }
            let found: Vec<_> = text.to_socket_addrs().map_err(|error| invalid(text, error.to_string()))?.collect();
            if found.is_empty() {
                return Err(invalid(text, "no address of that name".to_owned()));
            }
            Ok(found)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(arguments: &str, environment: &[(&str, &str)]) -> Result<Task, OptionError> {
        let environment: BTreeMap<_, _> =
            environment.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect();
        parse(arguments.split_whitespace().map(OsString::from), &|name| environment.get(name).cloned())
    }

    fn options(arguments: &str, environment: &[(&str, &str)]) -> Options {
        match with(arguments, environment).unwrap() {
            Task::Keep(options) => *options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_defaults() {
        let environment =
            [("LOCKGATE_KEEP_GRACE", "3s"), ("LOCKGATE_KEEP_DATABASE", "/a.db:/b.db"), ("LOCKGATE_MAX_HOLD", "9s")];
        let seen = options("--grace=1s --defer 2s -- app --grace=9s", &environment);
        assert_eq!((seen.grace, seen.defer), (Duration::from_secs(1), Duration::from_secs(2)));
        assert_eq!(seen.databases, ["/a.db", "/b.db"]);
        assert_eq!(seen.command, ["app", "--grace=9s"]);
        assert_eq!(seen.wishes.get("max-hold").unwrap(), "9s");
        let seen = options("--database /c.db --database /d.db app", &environment);
        assert_eq!(
            (seen.databases, seen.grace),
            (vec!["/c.db".to_owned(), "/d.db".to_owned()], Duration::from_secs(3))
        );
        assert_eq!((seen.snapshot, seen.foreign, seen.stop_signal), (Snapshot::Auto, Foreign::Refuse, libc::SIGTERM));
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let error = |arguments: &str| with(arguments, &[]).unwrap_err().to_string();
        assert_eq!(error("--datebase x -- app"), "unknown option --datebase; see --help");
        assert_eq!(error("--database"), "--database needs a value");
        assert_eq!(error("--database /a"), "no command: lockgate keep [OPTIONS] -- CMD ARG...");
        assert_eq!(error("-- app"), "no --database given, nor a --lease directory: nothing to keep");
        let text = error("--database /a --grace 5 -- app");
        assert_eq!(text, "--grace: \"5\" is not valid: time: missing unit in duration \"5\"");
        assert!(error("--database /a --snapshot maybe -- app").contains("say auto, always or never"));
        assert!(error("--database /a --stop-signal NO -- app").contains("no such signal"));
        let text =
            with("app", &[("LOCKGATE_KEEP_DATABASE", "/a"), ("LOCKGATE_KEEP_DEFER", "x")]).unwrap_err().to_string();
        assert!(text.starts_with("LOCKGATE_KEEP_DEFER: \"x\""), "{text}");
    }

    #[test]
    fn only_the_server_needs_the_lease() {
        let run = |command: &str| with(&format!("--database /a --when *rails*server* -- {command}"), &[]).unwrap();
        assert!(matches!(run("bin/rails server -p 3000"), Task::Keep(_)));
        assert!(matches!(run("bin/rails console"), Task::RunInPlace(_, why) if why.contains("--when")));
        let off = with("--no -- x", &[("LOCKGATE_KEEP", "off")]);
        assert!(off.is_err());
        assert!(matches!(with("x", &[("LOCKGATE_KEEP", "off")]).unwrap(), Task::RunInPlace(_, _)));
    }

    #[test]
    fn the_service_is_the_containers_name_without_its_version() {
        let service = |environment: &[(&str, &str)]| options("--database /a -- x", environment).service;
        assert_eq!(service(&[("KAMAL_CONTAINER_NAME", "shop-web-3f2a")]).unwrap(), "shop-web");
        let version = [("KAMAL_CONTAINER_NAME", "shop-web-v1-rc2"), ("KAMAL_VERSION", "v1-rc2")];
        assert_eq!(service(&version).unwrap(), "shop-web");
        assert_eq!(service(&[]), None);
        assert_eq!(service(&[("LOCKGATE_KEEP_SERVICE", "a"), version[0]]).unwrap(), "a");
    }
}
