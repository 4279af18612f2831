//! Flags as kamal-proxy parses them (contract 1.1): long flags only, anywhere among the arguments, errors in the words
//! of Go's pflag and strconv.

mod csv;
mod int;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::spec::{go_duration, parse_bool, parse_duration};

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `--x` or `--x=V`.
    Bool,
    /// Base 0, 64 bits.
    Int,
    /// Go's syntax.
    Duration,
    /// CSV, more than once.
    Strings,
    /// Any text.
    Text,
}

/// One flag of a command.
#[derive(Clone, Debug)]
pub(super) struct Flag {
    /// Without dashes.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// As help shows it; empty = none worth showing.
    pub(super) default: String,
    pub(super) help: &'static str,
}

/// Describes a flag.
pub(super) fn flag(name: &'static str, kind: Kind, default: impl Into<String>, help: &'static str) -> Flag {
    Flag { name, kind, default: default.into(), help }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Given {
    Bool(bool),
    Int(i64),
    /// Nanoseconds, and as it was written.
    Duration(i64, String),
    Strings(Vec<String>),
    Text(String),
}

/// What was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    /// The positional arguments.
    pub(super) names: Vec<String>,
    /// `-h` or `--help`.
    pub(super) help: bool,
    values: BTreeMap<&'static str, Given>,
}

impl Parsed {
    /// Whether the flag was given at all.
    pub(super) fn given(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(super) fn bool(&self, name: &str) -> Option<bool> {
        match self.values.get(name) {
            Some(Given::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn int(&self, name: &str) -> Option<i64> {
        match self.values.get(name) {
            Some(Given::Int(value)) => Some(*value),
            _ => None,
        }
    }

    /// For the contract's flags: a negative duration counts as zero.
    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        match self.values.get(name) {
            Some(Given::Duration(nanos, _)) => Some(Duration::from_nanos(u64::try_from(*nanos).unwrap_or(0))),
            _ => None,
        }
    }

    /// For our own flags: a negative duration is an error.
    pub(super) fn own_duration(&self, name: &str) -> Result<Option<Duration>, String> {
        match self.values.get(name) {
            Some(Given::Duration(_, text)) => {
                parse_duration(text).map(Some).map_err(|why| invalid(name, text, &why.to_string()))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn strings(&self, name: &str) -> &[String] {
        match self.values.get(name) {
            Some(Given::Strings(values)) => values,
            _ => &[],
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some(Given::Text(value)) => Some(value),
            _ => None,
        }
    }

    /// As text that the settings read, whatever its kind; none where it is a list or not given.
    pub(super) fn setting(&self, name: &str) -> Option<String> {
        match self.values.get(name)? {
            Given::Bool(value) => Some(value.to_string()),
            Given::Int(value) => Some(value.to_string()),
            Given::Duration(_, text) | Given::Text(text) => Some(text.clone()),
            Given::Strings(_) => None,
        }
    }
}

/// Parses a command's arguments.
///
/// # Errors
/// The text after `Error: `.
pub(super) fn parse(flags: &[Flag], args: &[String]) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            parsed.names.extend(rest.cloned());
            return Ok(parsed);
        }
        if let Some(long) = arg.strip_prefix("--") {
            parsed.long(flags, arg, long, &mut rest)?;
        } else if arg.starts_with('-') && arg.len() > 1 {
            parsed.short(arg)?;
        } else {
            parsed.names.push(arg.clone());
        }
    }
    Ok(parsed)
}

impl Parsed {
    fn long<'a>(
        &mut self,
        flags: &[Flag],
        arg: &str,
        long: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), String> {
        if long.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {arg}"));
        }
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        if name == "help" {
            self.help = read_bool(name, value.unwrap_or("true"))?;
            return Ok(());
        }
        let flag = flags.iter().find(|flag| flag.name == name).ok_or_else(|| format!("unknown flag: --{name}"))?;
        let value = match (value, flag.kind) {
            (Some(value), _) => value,
            (None, Kind::Bool) => "true",
            (None, _) => rest.next().ok_or_else(|| format!("flag needs an argument: --{name}"))?,
        };
        self.set(flag, value)
    }

    fn short(&mut self, arg: &str) -> Result<(), String> {
        for letter in arg.chars().skip(1) {
            if letter != 'h' {
                return Err(format!("unknown shorthand flag: '{letter}' in {arg}"));
            }
            self.help = true;
        }
        Ok(())
    }

    fn set(&mut self, flag: &Flag, text: &str) -> Result<(), String> {
        let name = flag.name;
        let given = match flag.kind {
            Kind::Bool => Given::Bool(read_bool(name, text)?),
            Kind::Int => Given::Int(int::parse(text).map_err(|why| invalid(name, text, &why))?),
            Kind::Duration => {
                let nanos = go_duration(text).map_err(|why| invalid(name, text, &why.to_string()))?;
                Given::Duration(nanos, text.to_owned())
            }
            Kind::Text => Given::Text(text.to_owned()),
            Kind::Strings => {
                let mut values = self.strings(name).to_vec();
                values.extend(csv::parse(text).map_err(|why| invalid(name, text, &why))?);
                Given::Strings(values)
            }
        };
        self.values.insert(name, given);
        Ok(())
    }
}

fn read_bool(name: &str, text: &str) -> Result<bool, String> {
    let why = || format!("strconv.ParseBool: parsing {text:?}: invalid syntax");
    parse_bool(text).ok_or_else(|| invalid(name, text, &why()))
}

fn invalid(name: &str, text: &str, why: &str) -> String {
    format!("invalid argument {text:?} for \"--{name}\" flag: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Vec<Flag> {
        vec![
            flag("target", Kind::Strings, "", ""),
            flag("force", Kind::Bool, "", ""),
            flag("memory", Kind::Int, "", ""),
            flag("wait", Kind::Duration, "", ""),
            flag("name", Kind::Text, "", ""),
        ]
    }

    fn parsed(args: &[&str]) -> Result<Parsed, String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        parse(&flags(), &args)
    }

    #[test]
    fn flags_and_names_may_be_interleaved() {
        let all = parsed(&["a", "--name", "x", "b", "--wait=1h2m3.5s", "--", "--force", "-"]).unwrap();
        assert_eq!(all.names, ["a", "b", "--force", "-"]);
        assert_eq!(all.text("name"), Some("x"));
        assert_eq!(all.duration("wait"), Some(Duration::from_millis(3_723_500)));
        assert!(!all.given("force"));
    }

    #[test]
    fn a_switch_takes_its_value_only_after_an_equals_sign() {
        assert_eq!(parsed(&["--force", "false"]).unwrap().bool("force"), Some(true));
        assert_eq!(parsed(&["--force", "false"]).unwrap().names, ["false"]);
        assert_eq!(parsed(&["--force", "--force=F"]).unwrap().bool("force"), Some(false), "the last one wins");
    }

    #[test]
    fn lists_are_csv_records_that_add_up() {
        let list = |args: &[&str]| parsed(args).map(|all| all.strings("target").to_vec());
        assert_eq!(list(&["--target", "a,b", "--target=c"]).unwrap(), ["a", "b", "c"]);
        assert_eq!(list(&["--target="]).unwrap(), Vec::<String>::new());
        assert_eq!(list(&["--target=,"]).unwrap(), ["", ""]);
        assert_eq!(list(&["--target", "x,,y"]).unwrap(), ["x", "", "y"]);
        assert_eq!(list(&["--target", "a,\"b,c\""]).unwrap(), ["a", "b,c"]);
        assert_eq!(list(&["--target", "\"a\"\"b\""]).unwrap(), ["a\"b"]);
        assert_eq!(list(&["--target", "é, x "]).unwrap(), ["é", " x "]);
        assert_eq!(list(&["--target", "a\nb"]).unwrap(), ["a"], "one record");
        assert!(parsed(&["--target="]).unwrap().given("target"));
        assert_eq!(
            list(&["--target", "a\"b"]).unwrap_err(),
            "invalid argument \"a\\\"b\" for \"--target\" flag: parse error on line 1, column 2: bare \" in \
             non-quoted-field"
        );
        assert!(list(&["--target", "\"a"]).unwrap_err().ends_with("extraneous or missing \" in quoted-field"));
    }

    #[test]
    fn numbers_are_read_in_base_zero() {
        for (text, number) in [
            ("10", 10),
            ("0x1F", 31),
            ("0o17", 15),
            ("017", 15),
            ("0b11", 3),
            ("1_000", 1000),
            ("0x_1", 1),
            ("-5", -5),
            ("+5", 5),
            ("0", 0),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(parsed(&["--memory", text]).unwrap().int("memory"), Some(number), "{text}");
        }
        for text in ["abc", "", "08", "_1", "1_", "1__0", "0x", "1.5", "-"] {
            let error = parsed(&["--memory", text]).unwrap_err();
            let tail = format!("flag: strconv.ParseInt: parsing {text:?}: invalid syntax");
            assert!(error.ends_with(&tail), "{error}");
        }
        assert!(parsed(&["--memory", "9223372036854775808"]).unwrap_err().ends_with("value out of range"));
    }

    #[test]
    fn errors_are_in_the_contracts_words() {
        for (args, error) in [
            (&["--bogus"][..], "unknown flag: --bogus"),
            (&["--bogus=1"], "unknown flag: --bogus"),
            (&["--target"], "flag needs an argument: --target"),
            (&["-v"], "unknown shorthand flag: 'v' in -v"),
            (&["-hv"], "unknown shorthand flag: 'v' in -hv"),
            (&["---x"], "bad flag syntax: ---x"),
            (&["--=x"], "bad flag syntax: --=x"),
            (&["--wait", "5"], "invalid argument \"5\" for \"--wait\" flag: time: missing unit in duration \"5\""),
            (&["--wait", "abc"], "invalid argument \"abc\" for \"--wait\" flag: time: invalid duration \"abc\""),
            (
                &["--force=maybe"],
                "invalid argument \"maybe\" for \"--force\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
        ] {
            assert_eq!(parsed(args).unwrap_err(), error, "{args:?}");
        }
    }

    #[test]
    fn help_may_stand_anywhere() {
        assert!(parsed(&["a", "-h"]).unwrap().help);
        assert!(parsed(&["--force", "--help"]).unwrap().help);
        assert!(!parsed(&["--help=false"]).unwrap().help);
    }
}
