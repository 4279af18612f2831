//! Help texts, made from the tables of commands and flags.

use super::command::{COMMANDS, Command};
use super::flags::{Flag, Kind};

/// `--help`, or no arguments.
pub(super) fn overview(program: &str) -> String {
    let mut text = format!(
        "A reverse proxy that holds requests while it hands an app, and the database, from one version to the next.\n\n\
         Usage:\n  {program} <command> [flags]\n\nCommands:\n"
    );
    let mut lines: Vec<(&str, &str)> = COMMANDS.iter().map(|command| (command.name, command.summary)).collect();
    lines.push(("help", "Show help for a command"));
    lines.push(("rollout", "Deploy to a part of the clients (not supported yet)"));
    lines.sort_unstable();
    for (name, summary) in lines {
        text.push_str(&format!("  {name:<10} {summary}\n"));
    }
    text.push_str(&format!("\n`{program} <command> --help` shows a command's flags.\n"));
    text
}

/// `help [command]`.
pub(super) fn for_topic(program: &str, topic: &[String]) -> String {
    match topic.first().map(String::as_str) {
        Some("rollout") => rollout(program),
        Some(name) => Command::find(name).map_or_else(|| overview(program), |command| of_command(program, command)),
        None => overview(program),
    }
}

/// `rollout` and what is below it.
pub(super) fn rollout(program: &str) -> String {
    format!(
        "Deploy to a part of the clients. Not supported yet: the commands check their arguments and say so.\n\n\
         Usage:\n  {program} rollout deploy <service> --target <host:port>\n  {program} rollout set <service> \
         [--percent N] [--list VALUE]\n  {program} rollout stop <service>\n"
    )
}

/// `<command> --help`.
pub(super) fn of_command(program: &str, command: &Command) -> String {
    let mut text = format!("{}.\n\nUsage:\n  {program} {} [flags]\n", command.summary, command.usage);
    if !command.aliases.is_empty() {
        text.push_str(&format!("\nAlso called: {}\n", command.aliases.join(", ")));
    }
    if !command.about.is_empty() {
        text.push_str(&format!("\n{}\n", command.about));
    }
    let mut flags = (command.flags)();
    flags.push(super::flags::flag("help", Kind::Bool, "", "show this"));
    flags.sort_by_key(|flag| flag.name);
    let left: Vec<String> = flags.iter().map(left).collect();
    let width = left.iter().map(String::len).max().unwrap_or(0);
    text.push_str("\nFlags:\n");
    for (flag, left) in flags.iter().zip(&left) {
        text.push_str(&format!("  {left:<width$}  {}{}\n", flag.help, default(flag)));
    }
    text
}

fn left(flag: &Flag) -> String {
    let short = if flag.name == "help" { "-h, " } else { "    " };
    let kind = match flag.kind {
        Kind::Bool => "",
        Kind::Int => " int",
        Kind::Duration => " duration",
        Kind::Strings => " strings",
        Kind::Text => " string",
    };
    format!("{short}--{}{kind}", flag.name)
}

fn default(flag: &Flag) -> String {
    match flag.default.as_str() {
        "" | "false" => String::new(),
        text => format!(" (default {text})"),
    }
}
