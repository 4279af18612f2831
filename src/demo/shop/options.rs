//! The shop's command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::demo::stamps::Plan;

const USAGE: &str = "usage: shop --version=N --listen=IP:PORT --database=FILE --stamps=FILE [--plan=good]";

/// All there is to say to a shop.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Which version it is.
    pub(super) version: u32,
    /// What it does when it is started.
    pub(super) plan: Plan,
    /// Where it listens.
    pub(super) listen: SocketAddr,
    /// Its SQLite file.
    pub(super) database: PathBuf,
    /// Where it stamps.
    pub(super) stamps: PathBuf,
}

impl Options {
    /// Reads `--name=value` words.
    ///
    /// # Errors
    /// One sentence, and the usage.
    pub(super) fn parse(args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mut version, mut plan, mut listen, mut database, mut stamps) = (None, Some(Plan::Good), None, None, None);
        for arg in args {
            let arg = arg.to_string_lossy().into_owned();
            let (name, value) = arg.split_once('=').ok_or_else(|| wrong(&arg))?;
            match name {
                "--version" => version = value.parse().ok(),
                "--plan" => plan = Plan::named(value),
                "--listen" => listen = value.parse().ok(),
                "--database" => database = Some(PathBuf::from(value)),
                "--stamps" => stamps = Some(PathBuf::from(value)),
                _ => return Err(wrong(&arg)),
            }
        }
        match (version, plan, listen, database, stamps) {
            (Some(version), Some(plan), Some(listen), Some(database), Some(stamps)) => {
                Ok(Self { version, plan, listen, database, stamps })
            }
            _ => Err(USAGE.to_owned()),
        }
    }
}

fn wrong(arg: &str) -> String {
    format!("{arg:?} is not understood; {USAGE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, String> {
        Options::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn a_whole_command_line_is_understood() {
        let words = ["--version=3", "--plan=never-healthy", "--listen=127.0.0.1:9", "--database=a", "--stamps=b"];
        let options = parse(&words).unwrap();
        assert_eq!((options.version, options.plan), (3, Plan::NeverHealthy));
    }

    #[test]
    fn what_is_missing_or_unknown_is_an_error() {
        assert!(parse(&["--version=3"]).unwrap_err().starts_with("usage"));
        assert!(parse(&["--colour=red"]).unwrap_err().contains("not understood"));
    }
}
