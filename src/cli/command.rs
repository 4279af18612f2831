//! The commands: what each takes and what it calls.

use super::flags::{Flag, Kind, Parsed, flag, parse};
use super::{Failed, ask, deploy, handoffs, help, list, print, run, status};

/// How many names a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// None; extra ones are an unknown command.
    None,
    /// Exactly one.
    One,
    /// One or more, or `--all`.
    SomeOrAll,
    /// Any number.
    Any,
    /// At most one.
    AtMostOne,
    /// Any number, and none counts (contract: `run`).
    Ignored,
}

/// A command of the program.
pub(super) struct Command {
    pub(super) name: &'static str,
    pub(super) aliases: &'static [&'static str],
    /// After the program's name.
    pub(super) usage: &'static str,
    pub(super) summary: &'static str,
    /// Paragraphs of help, between usage and flags.
    pub(super) about: &'static str,
    pub(super) names: Names,
    pub(super) flags: fn() -> Vec<Flag>,
    pub(super) action: fn(Parsed) -> Result<(), Failed>,
}

impl Command {
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        COMMANDS.iter().find(|command| command.name == name || command.aliases.contains(&name))
    }

    pub(super) fn call(&self, program: &str, args: &[String]) -> Result<(), Failed> {
        let parsed = parse(&(self.flags)(), args)?;
        if parsed.help {
            print(&help::of_command(program, self));
            return Ok(());
        }
        self.check_names(program, &parsed)?;
        (self.action)(parsed)
    }

    fn check_names(&self, program: &str, parsed: &Parsed) -> Result<(), Failed> {
        let count = parsed.names.len();
        let all = parsed.bool("all") == Some(true);
        match (self.names, parsed.names.first()) {
            (Names::None, Some(name)) => {
                Err(format!("unknown command {name:?} for \"{program} {}\"", self.name).into())
            }
            (Names::One, _) if count != 1 => Err(format!("accepts 1 arg(s), received {count}").into()),
            (Names::AtMostOne, _) if count > 1 => Err(format!("accepts at most 1 arg(s), received {count}").into()),
            (Names::SomeOrAll, None) if !all => Err("accepts 1 arg(s), received 0".into()),
            (Names::SomeOrAll, Some(_)) if all => Err("either name services or give --all, not both".into()),
            _ => Ok(()),
        }
    }
}

/// All of them, by name.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "abort",
        aliases: &[],
        usage: "abort <service>",
        summary: "Give up a handoff that has not yielded yet",
        about: "",
        names: Names::One,
        flags: Vec::new,
        action: ask::abort,
    },
    Command {
        name: "check",
        aliases: &[],
        usage: "check [file]",
        summary: "Check a settings file, or what `run` would use",
        about: "Says nothing where all is well. Without a file: flags aside, exactly what `run` would read here.",
        names: Names::AtMostOne,
        flags: Vec::new,
        action: run::check,
    },
    Command {
        name: "demo",
        aliases: &[],
        usage: "demo",
        summary: "Show a shop on SQLite being deployed under load",
        about: "See `demo --help`.",
        names: Names::Ignored,
        flags: Vec::new,
        action: without_it,
    },
    Command {
        name: "deploy",
        aliases: &[],
        usage: "deploy <service>",
        summary: "Create a service, or replace its targets",
        about: deploy::ABOUT,
        names: Names::One,
        flags: deploy::flags,
        action: deploy::deploy,
    },
    Command {
        name: "handoffs",
        aliases: &[],
        usage: "handoffs [service]...",
        summary: "Show past handoffs, newest first",
        about: "",
        names: Names::Any,
        flags: handoffs::flags,
        action: handoffs::handoffs,
    },
    Command {
        name: "keep",
        aliases: &[],
        usage: "keep [flags] -- <command>...",
        summary: "Run an app only while it holds the lease on its database",
        about: "See `keep --help`.",
        names: Names::Ignored,
        flags: Vec::new,
        action: without_it,
    },
    Command {
        name: "list",
        aliases: &["ls"],
        usage: "list",
        summary: "List the services",
        about: "",
        names: Names::None,
        flags: json_flag,
        action: list::list,
    },
    Command {
        name: "pause",
        aliases: &[],
        usage: "pause <service>...",
        summary: "Hold requests",
        about: "With several names or --all every gate is closed before any is drained.",
        names: Names::SomeOrAll,
        flags: ask::pause_flags,
        action: ask::pause,
    },
    Command {
        name: "remove",
        aliases: &["rm"],
        usage: "remove <service>",
        summary: "Forget a service",
        about: "",
        names: Names::One,
        flags: Vec::new,
        action: ask::remove,
    },
    Command {
        name: "resume",
        aliases: &[],
        usage: "resume <service>...",
        summary: "End a pause or stop",
        about: "",
        names: Names::SomeOrAll,
        flags: ask::resume_flags,
        action: ask::resume,
    },
    Command {
        name: "run",
        aliases: &[],
        usage: "run",
        summary: "Run the proxy",
        about: run::ABOUT,
        names: Names::Ignored,
        flags: run::flags,
        action: run::run,
    },
    Command {
        name: "status",
        aliases: &[],
        usage: "status [service]...",
        summary: "Show gates, queues and handoffs under way",
        about: "",
        names: Names::Any,
        flags: json_flag,
        action: status::status,
    },
    Command {
        name: "stop",
        aliases: &[],
        usage: "stop <service>...",
        summary: "Answer 503",
        about: "With several names or --all every gate is closed before any is drained.",
        names: Names::SomeOrAll,
        flags: ask::stop_flags,
        action: ask::stop,
    },
];

pub(super) fn json_flag() -> Vec<Flag> {
    vec![flag("json", Kind::Bool, "", "print JSON")]
}

/// `keep` and `demo` read their own arguments; this is met only where flags stand before their name, or in a build
/// without the demo.
fn without_it(_: Parsed) -> Result<(), Failed> {
    Err("this command takes no flags before its name, or was left out of this build".into())
}
