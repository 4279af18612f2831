//! `rollout`: its flags are checked as the contract says; the function comes with a later version.

use super::client::block_on;
use super::flags::{Flag, Kind, Parsed, flag, parse};
use super::list::services;
use super::{Failed, help, print};

pub(super) fn main(program: &str, args: &[String]) -> Result<(), Failed> {
    let place = args.iter().position(|arg| !arg.starts_with('-'));
    let name = place.and_then(|place| args.get(place)).map(String::as_str).unwrap_or_default();
    let Some(flags) = flags(name) else {
        print(&help::rollout(program));
        return Ok(());
    };
    let rest: Vec<String> =
        args.iter().enumerate().filter(|(at, _)| Some(*at) != place).map(|(_, a)| a.clone()).collect();
    let parsed = parse(&flags, &rest)?;
    if parsed.help {
        print(&help::rollout(program));
        return Ok(());
    }
    check(name, &parsed)?;
    let known = block_on(services())?.iter().any(|service| parsed.names.contains(&service.service));
    match known {
        false => Err("service not found".into()),
        true => Err("rollouts are not supported yet".into()),
    }
}

fn flags(name: &str) -> Option<Vec<Flag>> {
    match name {
        "deploy" => Some(vec![
            flag("target", Kind::Strings, "", "host:port that serves the rollout"),
            flag("read-target", Kind::Strings, "", "host:port that serves its reads"),
            flag("deploy-timeout", Kind::Duration, "30s", "how long the targets may take to become healthy"),
            flag("drain-timeout", Kind::Duration, "30s", "how long requests of the old targets may take to end"),
        ]),
        "set" => Some(vec![
            flag("percent", Kind::Int, "0", "share of clients"),
            flag("list", Kind::Strings, "", "clients by cookie"),
        ]),
        "stop" => Some(Vec::new()),
        _ => None,
    }
}

fn check(name: &str, parsed: &Parsed) -> Result<(), Failed> {
    let count = parsed.names.len();
    if count != 1 {
        return Err(format!("accepts 1 arg(s), received {count}").into());
    }
    if name == "deploy" && !parsed.given("target") {
        return Err("required flag(s) \"target\" not set".into());
    }
    if name == "set" && !parsed.given("percent") && !parsed.given("list") {
        return Err("at least one of the flags in the group [percent list] is required".into());
    }
    Ok(())
}
