//! `run` and `check`: the settings from their layers.

use std::collections::BTreeMap;
use std::path::Path;

use super::flags::{Flag, Kind, Parsed, flag};
use super::{Failed, warn};
use crate::config::keys::{self, KEYS};
use crate::config::{self, ConfigError, Settings, paths};
use crate::server;

/// For help.
pub(super) const ABOUT: &str = "\
Each flag but --config is a setting: it beats LOCKGATE_<SETTING> in the environment, which beats the settings file
(--config, $LOCKGATE_CONFIG, <data>/lockgate.toml, /etc/lockgate/lockgate.toml, the first that exists).";

pub(super) fn flags() -> Vec<Flag> {
    let setting = |key: &keys::Key| flag(key.name, kind(key.kind), "", key.help);
    let mut all: Vec<Flag> = KEYS.iter().map(setting).collect();
    all.push(flag("config", Kind::Text, "", "settings file"));
    all.push(flag("http3", Kind::Bool, "false", "serve HTTP/3 (not served yet)"));
    all
}

fn kind(kind: keys::Kind) -> Kind {
    match kind {
        keys::Kind::Switch => Kind::Bool,
        keys::Kind::Int => Kind::Int,
        keys::Kind::Duration => Kind::Duration,
        keys::Kind::Size | keys::Kind::Text => Kind::Text,
    }
}

pub(super) fn run(parsed: Parsed) -> Result<(), Failed> {
    let settings = settings(&parsed)?;
    let unserved = ["https-port", "metrics-port", "http3"].into_iter().filter(|name| {
        let asked_for_none = parsed.int(name) == Some(0) || parsed.bool(name) == Some(false);
        parsed.given(name) && !asked_for_none
    });
    let unserved: Vec<String> = unserved.map(|name| format!("--{name}")).collect();
    if !unserved.is_empty() {
        warn(&format!("no effect yet: {}", unserved.join(", ")));
    }
    server::run(settings).map_err(|error| error.to_string().into())
}

fn settings(parsed: &Parsed) -> Result<Settings, ConfigError> {
    let given = KEYS.iter().filter_map(|key| Some((key.name.to_owned(), parsed.setting(key.name)?)));
    load(parsed.text("config"), &given.collect())
}

fn load(config: Option<&str>, flags: &BTreeMap<String, String>) -> Result<Settings, ConfigError> {
    let file = config::find_file(config, flags, &paths::process_env)?;
    Settings::load(flags, &paths::process_env, file.as_ref())
}

pub(super) fn check(parsed: Parsed) -> Result<(), Failed> {
    match parsed.names.first() {
        Some(path) => config::check(Path::new(path))?,
        None => load(None, &BTreeMap::new())?,
    };
    Ok(())
}

impl From<ConfigError> for Failed {
    fn from(error: ConfigError) -> Self {
        error.to_string().into()
    }
}
