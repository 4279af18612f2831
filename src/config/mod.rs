//! The proxy's own settings: flags over environment over file over default. What is wrong is said with its place.

mod glob;
pub mod keys;
pub mod paths;
mod reader;
mod value;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::spec::{Handoff, OnBusy, OnDrainTimeout, Target};
use glob::Glob;
use reader::{Over, Reader, place_in};
use value::{Port, Size};

pub use reader::{ConfigError, File, Place};

/// More would be a slip of the finger.
const MAX_WORKERS: usize = 1024;

/// All settings, valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// HTTP; 0 = any free port.
    pub http_port: u16,
    /// HTTPS.
    pub https_port: u16,
    /// Metrics; 0 = off.
    pub metrics_port: u16,
    /// The address the ports are bound on; `::` takes IPv4 too, and falls back to 0.0.0.0 where there is no IPv6.
    pub bind: IpAddr,
    /// Directory of the contract's state file; ours lies in `lockgate/` below it.
    pub data: PathBuf,
    /// The unix socket of the admin API.
    pub admin_socket: PathBuf,
    /// Threads that serve requests; 0 = one per processor this process may use.
    pub workers: usize,
    /// A line of JSON per request.
    pub access_log: bool,
    /// DEBUG lines too.
    pub debug: bool,
    /// How long requests in flight may take when the proxy stops.
    pub stop_timeout: Duration,
    /// How long a request's head may take from its first byte to its last.
    pub head_timeout: Duration,
    /// How long a client's connection may lie idle; at least `head_timeout`.
    pub idle_timeout: Duration,
    /// Bytes read ahead of one held request's body.
    pub held_body_each: usize,
    /// Bytes read ahead of all held requests' bodies.
    pub held_body_all: usize,
    /// What holds for a service that no `[service.NAME]` names.
    pub service: ServiceSettings,
    services: Vec<(Glob, ServiceSettings)>,
}

/// Settings that may differ from service to service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// No request waits longer for a handoff.
    pub max_hold: Duration,
    /// From closing the gate to release; at least `max_hold`.
    pub handoff_timeout: Duration,
    /// Requests waiting at one gate.
    pub max_held: usize,
    /// Held requests in flight at once while the queue empties; at most `max_held`.
    pub release_concurrency: usize,
    /// What happens when a handoff's drain is over.
    pub on_drain_timeout: OnDrainTimeout,
    /// How long a new app may answer, but not healthy, in an exclusive handoff.
    pub unhealthy_after: Duration,
    /// What a deploy does while another runs.
    pub on_busy: OnBusy,
    /// Which kind of handoff.
    pub handoff: Handoff,
    /// Where the new target's keeper listens; none = the target's host at the default port.
    pub keeper: Option<Target>,
    /// A file with the token that keepers require on every line; none = they require none.
    pub keeper_token_file: Option<PathBuf>,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            max_hold: Duration::from_secs(25),
            handoff_timeout: Duration::from_secs(25),
            max_held: 10_000,
            release_concurrency: 64,
            on_drain_timeout: OnDrainTimeout::Abort,
            unhealthy_after: Duration::from_secs(5),
            on_busy: OnBusy::Wait,
            handoff: Handoff::Auto,
            keeper: None,
            keeper_token_file: None,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::load(&BTreeMap::new(), &|_| None, None).expect("the defaults hold all relations: a test loads them")
    }
}

impl Settings {
    /// Flags (setting name to text), environment and file, the first that has a setting wins.
    ///
    /// # Errors
    /// The first [`ConfigError`]: syntax, type, unknown key, or a relation that cannot hold.
    pub fn load(
        flags: &BTreeMap<String, String>,
        env: paths::Env<'_>,
        file: Option<&File>,
    ) -> Result<Self, ConfigError> {
        let table = file.map(reader::parse).transpose()?;
        let mut reader = Reader::top(file, table.as_ref(), Over { flags, env });
        let mut settings = Self::read(&mut reader, env)?;
        reader.finish(&["service"])?;
        if let (Some(file), Some(table)) = (file, &table) {
            settings.services = services(file, table, &settings.service)?;
        }
        Ok(settings)
    }

    /// The settings of a service: those of the `[service.NAME]` that matches most exactly, whole, else the general
    /// ones. What a section does not set is as in general.
    #[must_use]
    pub fn for_service(&self, name: &str) -> &ServiceSettings {
        let ranked = self.services.iter().filter_map(|(glob, service)| Some((glob.rank(name)?, service)));
        ranked.max_by_key(|(rank, _)| *rank).map_or(&self.service, |(_, service)| service)
    }

    fn read(reader: &mut Reader<'_>, env: paths::Env<'_>) -> Result<Self, ConfigError> {
        let settings = Self {
            http_port: reader.take("http-port", Port(80))?.0,
            https_port: reader.take("https-port", Port(443))?.0,
            metrics_port: reader.take("metrics-port", Port(0))?.0,
            bind: reader.take("bind", IpAddr::V6(Ipv6Addr::UNSPECIFIED))?,
            data: path_or(reader.take("data", String::new())?, || paths::data_dir(env)),
            admin_socket: path_or(reader.take("admin-socket", String::new())?, || paths::admin_socket(env)),
            workers: reader.take("workers", 0)?,
            access_log: reader.take("access-log", true)?,
            debug: reader.take("debug", false)?,
            stop_timeout: reader.take("stop-timeout", Duration::from_millis(9_500))?,
            head_timeout: reader.take("head-timeout", Duration::from_secs(30))?,
            idle_timeout: reader.take("idle-timeout", Duration::from_secs(75))?,
            held_body_each: reader.take("held-body-each", Size(64 << 10))?.0,
            held_body_all: reader.take("held-body-all", Size(64 << 20))?.0,
            service: ServiceSettings::read(reader, &ServiceSettings::default())?,
            services: Vec::new(),
        };
        match settings.fault() {
            Some((key, or, text)) => Err(reader.complain(key, or, text)),
            None => Ok(settings),
        }
    }

    fn fault(&self) -> Option<Fault> {
        if self.head_timeout.is_zero() {
            return Some(("head-timeout", "head-timeout", "must be above 0, else no request could come"));
        }
        if self.head_timeout > self.idle_timeout {
            return Some(("head-timeout", "idle-timeout", "must not be above idle-timeout"));
        }
        if self.held_body_each > self.held_body_all {
            return Some(("held-body-each", "held-body-all", "must not be above held-body-all"));
        }
        if self.workers > MAX_WORKERS {
            return Some(("workers", "workers", "must not be above 1024: each is a thread"));
        }
        None
    }
}

/// A relation that does not hold: the setting to blame, the other one, and why.
type Fault = (&'static str, &'static str, &'static str);

impl ServiceSettings {
    fn read(reader: &mut Reader<'_>, base: &Self) -> Result<Self, ConfigError> {
        let max_hold = reader.take("max-hold", base.max_hold)?;
        // Unless it was set on its own, handoff-timeout follows max-hold.
        let follows = base.handoff_timeout == base.max_hold;
        let timeout = if follows { max_hold } else { base.handoff_timeout };
        let read = Self {
            max_hold,
            handoff_timeout: reader.take("handoff-timeout", timeout)?,
            max_held: reader.take("max-held", base.max_held)?,
            release_concurrency: reader.take("release-concurrency", base.release_concurrency)?,
            on_drain_timeout: reader.take("on-drain-timeout", base.on_drain_timeout)?,
            unhealthy_after: reader.take("unhealthy-after", base.unhealthy_after)?,
            on_busy: reader.take("on-busy", base.on_busy)?,
            handoff: reader.take("handoff", base.handoff)?,
            keeper: reader.take("keeper", base.keeper.clone())?,
            keeper_token_file: reader.take("keeper-token-file", base.keeper_token_file.clone())?,
        };
        match read.fault() {
            Some((key, or, text)) => Err(reader.complain(key, or, text)),
            None => Ok(read),
        }
    }

    fn fault(&self) -> Option<Fault> {
        if self.max_hold.is_zero() {
            return Some(("max-hold", "max-hold", "must be above 0, else no request could wait"));
        }
        if self.handoff_timeout < self.max_hold {
            return Some(("handoff-timeout", "max-hold", "must not be below max-hold"));
        }
        if self.max_held == 0 {
            return Some(("max-held", "max-held", "must be above 0, else no request could wait"));
        }
        if self.release_concurrency == 0 {
            return Some((
                "release-concurrency",
                "release-concurrency",
                "must be above 0, else no request would leave",
            ));
        }
        if self.release_concurrency > self.max_held {
            return Some(("release-concurrency", "max-held", "must not be above max-held"));
        }
        None
    }
}

/// The file that counts: `--config`, `$LOCKGATE_CONFIG`, `<data>/lockgate.toml`, `/etc/lockgate/lockgate.toml`, the
/// first that exists. One that was named must exist.
///
/// # Errors
/// [`ConfigError`] where it cannot be read.
pub fn find_file(
    named: Option<&str>,
    flags: &BTreeMap<String, String>,
    env: paths::Env<'_>,
) -> Result<Option<File>, ConfigError> {
    let named = named.map(str::to_owned).or_else(|| env("LOCKGATE_CONFIG").filter(|path| !path.is_empty()));
    if let Some(path) = named {
        return reader::read(Path::new(&path)).map(Some);
    }
    let data = flags.get("data").cloned().unwrap_or_default();
    let beside = path_or(data, || paths::data_dir(env)).join("lockgate.toml");
    let first = [beside, PathBuf::from("/etc/lockgate/lockgate.toml")].into_iter().find(|path| path.exists());
    first.map(|path| reader::read(&path)).transpose()
}

/// Reads and checks one file alone, without flags and environment.
///
/// # Errors
/// [`ConfigError`] with its place.
pub fn check(path: &Path) -> Result<Settings, ConfigError> {
    let file = reader::read(path)?;
    Settings::load(&BTreeMap::new(), &|_| None, Some(&file))
}

fn services(
    file: &File,
    table: &DeTable<'_>,
    base: &ServiceSettings,
) -> Result<Vec<(Glob, ServiceSettings)>, ConfigError> {
    let Some(services) = table.get("service") else { return Ok(Vec::new()) };
    let wrong = |span, text: String| ConfigError { place: place_in(file, span), text };
    let DeValue::Table(named) = services.get_ref() else {
        return Err(wrong(services.span(), "service: expected tables such as [service.shop]".into()));
    };
    let mut read = Vec::new();
    for (name, value) in named {
        let Some(glob) = Glob::parse(name.get_ref()) else {
            return Err(wrong(name.span(), format!("service.{}: a [ that nothing closes", name.get_ref())));
        };
        let DeValue::Table(keys) = value.get_ref() else {
            return Err(wrong(value.span(), format!("service.{}: expected a table", name.get_ref())));
        };
        let mut reader = Reader::service(file, keys, name.get_ref());
        let service = ServiceSettings::read(&mut reader, base)?;
        reader.finish(&[])?;
        read.push((glob, service));
    }
    Ok(read)
}

fn path_or(given: String, rule: impl FnOnce() -> PathBuf) -> PathBuf {
    if given.is_empty() { rule() } else { given.into() }
}

#[cfg(test)]
mod tests;
