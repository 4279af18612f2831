//! The demo's command line.

use std::ffi::OsString;

/// What `demo --help` prints.
pub(super) const HELP: &str = "\
Deploys an example shop on SQLite eleven times under load, and three bad versions of it, and proves what happened.

Usage:
  lockgate demo [flags]

It starts a proxy, the shop under keepers, and a load of orders with unique keys, all from this one executable, in a
temporary directory and on free ports. At the end a checker reads the clients' log, the database and the apps' own
stamps. The exit status is 0 only if every promise was held; a demo that fails keeps its directory and says where.

Flags:
  --baseline   the same pushes blue-green, without keepers, to see what goes wrong then
  --json       print one JSON object as the last line
  --keep       keep the directory in any case
  --rate=N     orders a second (default 230)
  --seed=N     make the same choices again
";

/// What is asked of the demo.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct Options {
    /// Without keepers.
    pub(super) baseline: bool,
    /// One object as the last line.
    pub(super) json: bool,
    /// Keep the directory.
    pub(super) keep: bool,
    /// Only the help.
    pub(super) help: bool,
    /// Orders a second.
    pub(super) rate: u32,
    /// Of the load's choices.
    pub(super) seed: u64,
}

impl Options {
    /// Reads the words after `demo`.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn parse(args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut options =
            Self { baseline: false, json: false, keep: false, help: false, rate: 230, seed: fastrand::u64(..) };
        for arg in args {
            let arg = arg.to_string_lossy().into_owned();
            let (name, value) = arg.split_once('=').map_or((arg.as_str(), None), |(name, value)| (name, Some(value)));
            match (name, value) {
                ("--baseline", None) => options.baseline = true,
                ("--json", None) => options.json = true,
                ("--keep", None) => options.keep = true,
                ("--help" | "-h", None) => options.help = true,
                ("--rate", Some(value)) => options.rate = number(name, value)?,
                ("--seed", Some(value)) => options.seed = number(name, value)?,
                _ => return Err(format!("unknown flag: {arg} (see lockgate demo --help)")),
            }
        }
        match options.rate {
            1..=5_000 => Ok(options),
            _ => Err("--rate must be from 1 to 5000".to_owned()),
        }
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("invalid argument {value:?} for {name}: not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_and_mistakes_are_said() {
        let parse = |words: &[&str]| Options::parse(words.iter().map(OsString::from));
        let options = parse(&["--baseline", "--rate=300"]).unwrap();
        assert!(options.baseline && !options.json && options.rate == 300);
        assert!(parse(&["--rate=x"]).unwrap_err().contains("not a number"));
        assert!(parse(&["--rate=0"]).is_err());
        assert!(parse(&["--colour"]).unwrap_err().contains("unknown flag"));
    }
}
