//! `lockgate demo`: the whole promise at one command. It starts the proxy, the example shop under keepers, and a load of
//! orders; pushes eleven good versions and three bad ones; and lets a checker say what the clients, the database and the
//! apps' own stamps tell.

pub mod bystander;
pub mod checker;
pub mod lives;
pub mod load;
mod options;
pub mod ports;
pub mod process;
mod progress;
mod report;
mod run;
mod script;
pub mod shop;
mod stage;
pub mod stamps;
pub mod timing;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use options::Options;
use progress::Progress;
use report::Report;
use stage::{Stage, Way};

/// `lockgate demo ...`; `args` are those after `demo`. `demo shop ...` is the shop itself.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let first = args.next();
    if first.as_deref() == Some("shop".as_ref()) {
        return shop::main(args);
    }
    match Options::parse(first.into_iter().chain(args)) {
        Ok(options) if options.help => say(options::HELP),
        Ok(options) => demonstrate(&options),
        Err(error) => fail(&error),
    }
}

fn demonstrate(options: &Options) -> ExitCode {
    let way = if options.baseline { Way::BlueGreen } else { Way::Keepers };
    let (mut stage, mut progress) = match (Stage::set(way), Progress::begin()) {
        (Ok(stage), Ok(progress)) => (stage, progress),
        (Err(error), _) | (_, Err(error)) => return fail(&error.to_string()),
    };
    let played = run::play(&mut stage, way, options, &mut progress);
    let ended = match played {
        Ok(outcome) => tell(&Report::make(way, &outcome), options, &stage),
        Err(error) => fail(&format!("{error}\n  Everything is in {}", stage.directory().display())),
    };
    if ended == ExitCode::SUCCESS && !options.keep {
        // What can't be removed does not change the verdict.
        let _left = fs::remove_dir_all(stage.directory());
    }
    ended
}

/// The table, and as the last line the object where it was asked for.
fn tell(report: &Report, options: &Options, stage: &Stage) -> ExitCode {
    let place = match report.held && !options.keep {
        true => String::new(),
        false => format!("Everything is in {}\n", stage.directory().display()),
    };
    let object = match options.json {
        true => format!("{}\n", serde_json::to_string(report).unwrap_or_default()),
        false => String::new(),
    };
    say(&format!("\n{report}{place}{object}"));
    if report.held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(text: &str) -> ExitCode {
    // A stdout that is gone changes nothing.
    let _gone = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn fail(error: &str) -> ExitCode {
    let _gone = writeln!(io::stderr(), "Error: {error}");
    ExitCode::FAILURE
}
