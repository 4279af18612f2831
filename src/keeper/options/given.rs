//! Options as a person gave them: by flag, else by environment.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::OptionError;

/// Options by name, with the name that a person used, as they were given.
#[derive(Default)]
pub(super) struct Given {
    values: BTreeMap<&'static str, Vec<(String, String)>>,
}

const NAMES: [&str; 12] = [
    "database",
    "lease",
    "control",
    "when",
    "grace",
    "snapshot",
    "foreign",
    "defer",
    "service",
    "stop-signal",
    "snapshot-hook",
    "token-file",
];
const REPEATED: [&str; 2] = ["database", "when"];

impl Given {
    /// One option, its value in the same word or the next.
    pub(super) fn take(&mut self, option: &str, rest: &mut dyn Iterator<Item = OsString>) -> Result<(), OptionError> {
        let (flag, value) = match option.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (option, None),
        };
        let name = flag.strip_prefix("--").and_then(|name| NAMES.iter().find(|known| **known == name));
        let name = name.ok_or_else(|| OptionError::Unknown(flag.to_owned()))?;
        let next = || rest.next().map(|value| value.to_string_lossy().into_owned());
        let value = value.or_else(next).ok_or_else(|| OptionError::NoValue(flag.to_owned()))?;
        let values = self.values.entry(name).or_default();
        if !REPEATED.contains(name) {
            values.clear();
        }
        values.push((flag.to_owned(), value));
        Ok(())
    }

    /// Adds whatever no flag gave.
    pub(super) fn fill_from(&mut self, environment: &dyn Fn(&str) -> Option<OsString>) {
        for name in NAMES {
            let variable = format!("LOCKGATE_KEEP_{}", name.to_ascii_uppercase().replace('-', "_"));
            let Some(value) = environment(&variable).filter(|value| !value.is_empty()) else { continue };
            if self.values.contains_key(name) {
                continue;
            }
            let value = value.to_string_lossy().into_owned();
            let values = if REPEATED.contains(&name) {
                value.split(':').filter(|part| !part.is_empty()).map(str::to_owned).collect()
            } else {
                vec![value]
            };
            self.values.insert(name, values.into_iter().map(|value| (variable.clone(), value)).collect());
        }
    }

    /// The last value of a name.
    pub(super) fn one(&self, name: &str) -> Option<String> {
        self.values.get(name)?.last().map(|(_, value)| value.clone())
    }

    /// All values of a name.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.values.get(name).into_iter().flatten().map(|(_, value)| value.clone()).collect()
    }

    /// Its value, understood by `parse`.
    pub(super) fn read<T>(
        &self,
        name: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, OptionError> {
        let Some((flag, value)) = self.values.get(name).and_then(|values| values.last()) else { return Ok(default) };
        parse(value).map_err(|why| OptionError::Invalid { name: flag.clone(), value: value.clone(), why })
    }
}
