//! For people: parse, call, print, exit code. kamal-proxy's commands under its rules (contract 1), and our own.

mod ask;
mod client;
mod command;
mod deploy;
mod flags;
mod handoffs;
mod help;
mod list;
mod progress;
mod rollout;
mod run;
mod status;
mod table;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use crate::config::paths;
use crate::spec::nearest_all;
use command::{COMMANDS, Command};

/// What a command that failed says: the first line, and more, indented.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Failed {
    error: String,
    lines: Vec<String>,
    /// Printed as they are, without indent (contract: the words about an unknown command).
    tail: String,
}

impl From<String> for Failed {
    fn from(error: String) -> Self {
        Self { error, ..Self::default() }
    }
}

impl From<&str> for Failed {
    fn from(error: &str) -> Self {
        error.to_owned().into()
    }
}

impl From<crate::control::Failure> for Failed {
    fn from(failure: crate::control::Failure) -> Self {
        Self { error: failure.error, lines: failure.hints, tail: String::new() }
    }
}

/// Runs the command that the arguments name; the first is the program's own name, and what errors call it.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let program = args.next().map_or_else(|| "lockgate".into(), |name| base_name(&name));
    paths::create_data_dir(&paths::data_dir(&paths::process_env));
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    match dispatch(&program, &args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            complain(&failed);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(program: &str, args: &[String]) -> Result<(), Failed> {
    let place = args.iter().position(|arg| !arg.starts_with('-'));
    let Some((place, name)) = place.and_then(|place| Some((place, args.get(place)?))) else {
        flags::parse(&[], args)?;
        print(&help::overview(program));
        return Ok(());
    };
    let rest: Vec<String> = args.iter().take(place).chain(args.iter().skip(place + 1)).cloned().collect();
    match (name.as_str(), Command::find(name)) {
        ("help", _) => print(&help::for_topic(program, &rest)),
        ("rollout", _) => return rollout::main(program, &rest),
        (_, Some(command)) => return command.call(program, &rest),
        (_, None) => return Err(unknown_command(program, name)),
    }
    Ok(())
}

fn unknown_command(program: &str, name: &str) -> Failed {
    let near = nearest_all(name, COMMANDS.iter().map(|command| command.name).chain(["help", "rollout"]));
    let mut tail = String::new();
    if !near.is_empty() {
        tail.push_str("\nDid you mean this?\n");
        near.iter().for_each(|name| tail.push_str(&format!("\t{name}\n")));
        tail.push('\n');
    }
    tail.push_str(&format!("Run '{program} --help' for usage.\n"));
    Failed { error: format!("unknown command {name:?} for {program:?}"), tail, ..Failed::default() }
}

fn base_name(name: &OsString) -> String {
    let base = Path::new(name).file_name().map(|base| base.to_string_lossy().into_owned());
    base.unwrap_or_else(|| "lockgate".into())
}

fn complain(failed: &Failed) {
    let mut text = format!("Error: {}\n", failed.error);
    failed.lines.iter().flat_map(|line| line.lines()).for_each(|line| text.push_str(&format!("  {line}\n")));
    text.push_str(&failed.tail);
    say(&text);
}

/// One `Warning:` line.
fn warn(text: &str) {
    say(&format!("Warning: {text}\n"));
}

/// To stderr; nobody there to read it is no error.
fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// To stdout; nobody there to read it is no error.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests;
