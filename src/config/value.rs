//! How one setting's value is read: typed in the file, as text in the environment and in flags.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::spec::{self, Handoff, OnBusy, OnDrainTimeout, Target, parse_duration};

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    /// From the environment or a flag, where all is text.
    Text(String),
    /// From the file.
    Str(String),
    /// From the file.
    Int(i64),
    /// From the file.
    Bool(bool),
    /// From the file, and what it is called.
    Other(&'static str),
}

impl Raw {
    fn wrong(&self, wanted: &str) -> String {
        match self {
            Self::Text(text) | Self::Str(text) => format!("expected {wanted}, not {text:?}"),
            Self::Int(number) => format!("expected {wanted}, not the integer {number}"),
            Self::Bool(value) => format!("expected {wanted}, not the boolean {value}"),
            Self::Other(kind) => format!("expected {wanted}, not a value of the type {kind}"),
        }
    }

    fn text(&self, wanted: &str) -> Result<&str, String> {
        match self {
            Self::Text(text) | Self::Str(text) => Ok(text),
            Self::Int(_) | Self::Bool(_) | Self::Other(_) => Err(self.wrong(wanted)),
        }
    }

    fn int(&self, wanted: &str) -> Result<i64, String> {
        match self {
            Self::Int(number) => Ok(*number),
            Self::Text(text) => text.parse().map_err(|_| self.wrong(wanted)),
            Self::Str(_) | Self::Bool(_) | Self::Other(_) => Err(self.wrong(wanted)),
        }
    }
}

/// A type that a setting may have.
pub(super) trait Value: Sized {
    /// Reads it; the error is one clause without the setting's name.
    fn read(raw: &Raw) -> Result<Self, String>;
}

impl Value for bool {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Bool(value) => Ok(*value),
            Raw::Text(text) => switch(text).ok_or_else(|| raw.wrong("on or off")),
            Raw::Str(_) | Raw::Int(_) | Raw::Other(_) => Err(raw.wrong("true or false")),
        }
    }
}

/// `on` and `off`, and what Go's ParseBool takes.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" => Some(false),
        other => spec::parse_bool(other),
    }
}

/// A port, refused in the words of a listener (contract 1.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port(pub(super) u16);

impl Value for Port {
    fn read(raw: &Raw) -> Result<Self, String> {
        let number = raw.int("a port")?;
        u16::try_from(number).map(Self).map_err(|_| format!("listen tcp: address {number}: invalid port"))
    }
}

impl Value for usize {
    fn read(raw: &Raw) -> Result<Self, String> {
        let wanted = "a whole number, 0 or more";
        Self::try_from(raw.int(wanted)?).map_err(|_| raw.wrong(wanted))
    }
}

/// Bytes: a number, or a text with a unit (`64KiB`, `8MiB`, `1GiB`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) usize);

impl Value for Size {
    fn read(raw: &Raw) -> Result<Self, String> {
        let wanted = "a number of bytes or a text such as \"64KiB\"";
        if let Raw::Int(_) = raw {
            return usize::read(raw).map(Self).map_err(|_| raw.wrong(wanted));
        }
        size(raw.text(wanted)?).map(Self).ok_or_else(|| raw.wrong(wanted))
    }
}

fn size(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: usize = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(scale)
}

impl Value for Duration {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text("a duration such as \"25s\"")?;
        parse_duration(text).map_err(|error| error.to_string())
    }
}

impl Value for String {
    fn read(raw: &Raw) -> Result<Self, String> {
        raw.text("a text").map(str::to_owned)
    }
}

impl Value for IpAddr {
    fn read(raw: &Raw) -> Result<Self, String> {
        let wanted = "an IP address";
        raw.text(wanted)?.parse().map_err(|_| raw.wrong(wanted))
    }
}

impl Value for Option<Target> {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text("host:port")?;
        if text.is_empty() {
            return Ok(None);
        }
        let target = Target::parse(text).ok().filter(|target| target.port().is_some());
        target.map(Some).ok_or_else(|| raw.wrong("host:port"))
    }
}

impl Value for Option<PathBuf> {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text("a path")?;
        Ok((!text.is_empty()).then(|| text.into()))
    }
}

impl Value for Handoff {
    fn read(raw: &Raw) -> Result<Self, String> {
        word(raw, "auto, overlap, drain or exclusive")
    }
}

impl Value for OnBusy {
    fn read(raw: &Raw) -> Result<Self, String> {
        word(raw, "wait or fail")
    }
}

impl Value for OnDrainTimeout {
    fn read(raw: &Raw) -> Result<Self, String> {
        word(raw, "abort or cut")
    }
}

fn word<T: serde::de::DeserializeOwned>(raw: &Raw, wanted: &str) -> Result<T, String> {
    spec::word(raw.text(wanted)?).ok_or_else(|| raw.wrong(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        for (text, bytes) in [("0", 0), ("64KiB", 65_536), ("8 MiB", 8 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(Size::read(&Raw::Str(text.into())), Ok(Size(bytes)));
        }
        assert!(Size::read(&Raw::Str("64kb".into())).is_err());
        assert!(Size::read(&Raw::Int(-1)).is_err());
    }

    #[test]
    fn the_file_is_typed_and_the_environment_is_text() {
        assert_eq!(bool::read(&Raw::Text("off".into())), Ok(false));
        assert_eq!(bool::read(&Raw::Str("off".into())).unwrap_err(), "expected true or false, not \"off\"");
        assert_eq!(usize::read(&Raw::Text("8".into())), Ok(8));
        assert_eq!(usize::read(&Raw::Str("8".into())).unwrap_err(), "expected a whole number, 0 or more, not \"8\"");
        assert_eq!(
            Duration::read(&Raw::Int(25)).unwrap_err(),
            "expected a duration such as \"25s\", not the integer 25"
        );
    }

    #[test]
    fn words_are_checked() {
        assert_eq!(Handoff::read(&Raw::Str("drain".into())), Ok(Handoff::Drain));
        assert_eq!(OnBusy::read(&Raw::Text("later".into())).unwrap_err(), "expected wait or fail, not \"later\"");
    }
}
