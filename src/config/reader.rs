//! Finds each setting in the highest layer that has it, and remembers where.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, KEYS, variable};
use super::value::{Raw, Value};

/// A settings file, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it is, for errors.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// Where a value was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file: path, line, column (both from 1, columns in characters).
    File(PathBuf, usize, usize),
    /// In this variable.
    Environment(String),
    /// In this flag of the command line, without dashes.
    Flag(String),
    /// Nowhere: the default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line, column) => write!(f, "{}:{line}:{column}: ", path.display()),
            Self::Environment(name) => write!(f, "{name}: "),
            // The sentence names the setting, and the flag has its name.
            Self::Flag(_) | Self::Default => Ok(()),
        }
    }
}

/// A setting that makes no sense, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}{text}")]
pub struct ConfigError {
    /// Where.
    pub place: Place,
    /// What is wrong, in one sentence.
    pub text: String,
}

/// The layers above the file: `flags > environment`.
#[derive(Clone, Copy)]
pub(super) struct Over<'a> {
    pub(super) flags: &'a BTreeMap<String, String>,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
}

/// One table of settings: the whole file's top with what overrides it, or one `[service.NAME]`.
pub(super) struct Reader<'a> {
    file: Option<&'a File>,
    table: Option<&'a DeTable<'a>>,
    over: Option<Over<'a>>,
    prefix: String,
    found: BTreeMap<&'static str, Place>,
}

impl<'a> Reader<'a> {
    /// The top of the file and the layers above it.
    pub(super) fn top(file: Option<&'a File>, table: Option<&'a DeTable<'a>>, over: Over<'a>) -> Self {
        Self { file, table, over: Some(over), prefix: String::new(), found: BTreeMap::new() }
    }

    /// The table of one service.
    pub(super) fn service(file: &'a File, table: &'a DeTable<'a>, name: &str) -> Self {
        Self { file: Some(file), table: Some(table), over: None, prefix: name.to_owned(), found: BTreeMap::new() }
    }

    /// The setting's value, or the default given.
    pub(super) fn take<T: Value>(&mut self, key: &'static str, default: T) -> Result<T, ConfigError> {
        debug_assert!(keys::find(key).is_some(), "{key} is not listed");
        let Some((raw, place)) = self.find(key) else {
            self.found.insert(key, Place::Default);
            return Ok(default);
        };
        let value =
            T::read(&raw).map_err(|text| ConfigError { text: self.sentence(key, text), place: place.clone() })?;
        self.found.insert(key, place);
        Ok(value)
    }

    /// An error about this setting, at its place; where it is the default, at the place of `or`.
    pub(super) fn complain(&self, key: &'static str, or: &'static str, text: &str) -> ConfigError {
        let given = |key| self.found.get(key).filter(|place| **place != Place::Default);
        let place = given(key).or_else(|| given(or)).cloned().unwrap_or(Place::Default);
        ConfigError { place, text: self.sentence(key, text.to_owned()) }
    }

    /// Refuses keys that nobody asked for; `also` are keys that are no settings.
    pub(super) fn finish(self, also: &[&str]) -> Result<(), ConfigError> {
        let unknown = |name: &str| !self.found.contains_key(name) && !also.contains(&name);
        let keys = self.table.into_iter().flat_map(|table| table.keys());
        let first = keys.filter(|key| unknown(key.get_ref())).min_by_key(|key| key.span().start);
        let Some(key) = first else { return Ok(()) };
        let place = self.file.map_or(Place::Default, |file| place_in(file, key.span()));
        Err(ConfigError { place, text: self.unknown(key.get_ref()) })
    }

    /// The names asked for so far.
    #[cfg(test)]
    pub(super) fn asked(&self) -> Vec<&'static str> {
        self.found.keys().copied().collect()
    }

    fn find(&self, key: &'static str) -> Option<(Raw, Place)> {
        if let Some(over) = self.over {
            if let Some(text) = over.flags.get(key) {
                return Some((Raw::Text(text.clone()), Place::Flag(key.to_owned())));
            }
            if let Some((text, name)) = from_environment(over.env, key) {
                return Some((Raw::Text(text), Place::Environment(name)));
            }
        }
        let value = self.table?.get(key)?;
        Some((raw(value.get_ref()), place_in(self.file?, value.span())))
    }

    fn sentence(&self, key: &str, text: String) -> String {
        if text.starts_with("listen tcp: ") {
            return text;
        }
        match self.prefix.as_str() {
            "" => format!("{key}: {text}"),
            name => format!("service.{name}.{key}: {text}"),
        }
    }

    fn unknown(&self, name: &str) -> String {
        let known = KEYS.iter().filter(|key| self.over.is_some() || key.per_service).map(|key| key.name);
        let near = crate::spec::nearest(name, known);
        let hint = near.map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
        match (self.prefix.as_str(), keys::find(name)) {
            ("", _) => format!("unknown setting `{name}`{hint}"),
            (_, Some(_)) => format!("`{name}` is a setting of the proxy, not of a service"),
            (_, None) => format!("unknown setting `{name}` of a service{hint}"),
        }
    }
}

/// Ours is binding; kamal-proxy's own names count only where they can be read (contract 1.3).
fn from_environment(env: &dyn Fn(&str) -> Option<String>, key: &str) -> Option<(String, String)> {
    let ours = variable(key);
    if let Some(text) = env(&ours).filter(|text| !text.is_empty()) {
        return Some((text, ours));
    }
    let plain = match key {
        "debug" | "http-port" | "https-port" | "metrics-port" => variable(key).replace("LOCKGATE_", ""),
        _ => return None,
    };
    let name = [format!("KAMAL_PROXY_{plain}"), plain].into_iter().find(|name| env(name).is_some())?;
    let text = env(&name)?;
    let readable = if key == "debug" { crate::spec::parse_bool(&text).is_some() } else { text.parse::<i64>().is_ok() };
    readable.then_some((text, name))
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Str(text.clone().into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Int(number),
            Err(_) => Raw::Other("integer beyond 64 bits"),
        },
        DeValue::Boolean(value) => Raw::Bool(*value),
        other @ (DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_)) => {
            Raw::Other(other.type_str())
        }
    }
}

/// Parses the file.
pub(super) fn parse(file: &File) -> Result<DeTable<'_>, ConfigError> {
    DeTable::parse(&file.text).map(Spanned::into_inner).map_err(|error| ConfigError {
        place: place_in(file, error.span().unwrap_or_default()),
        text: error.message().trim_end().replace('\n', ", "),
    })
}

/// Line and column of a span's begin.
pub(super) fn place_in(file: &File, span: Range<usize>) -> Place {
    let before = file.text.get(..span.start).unwrap_or(&file.text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place::File(file.path.clone(), line, column)
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<File, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(File { path: path.to_owned(), text }),
        Err(error) => Err(ConfigError { place: Place::Default, text: format!("{}: {error}", path.display()) }),
    }
}
