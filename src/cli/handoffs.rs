//! `handoffs`: what happened, newest first.

use serde::Deserialize;

use super::client::{Client, block_on};
use super::flags::{Flag, Kind, Parsed, flag};
use super::list::json;
use super::table::{millis, or_dash, table};
use super::{Failed, print};
use crate::journal::Record;
use crate::spec::escape_name;

const DEFAULT_LIMIT: i64 = 20;

pub(super) fn flags() -> Vec<Flag> {
    let mut flags = super::command::json_flag();
    flags.push(flag("limit", Kind::Int, DEFAULT_LIMIT.to_string(), "at most this many"));
    flags.push(flag("phases", Kind::Bool, "", "each phase with its duration"));
    flags
}

#[derive(Deserialize)]
struct Handoffs {
    handoffs: Vec<Record>,
}

pub(super) fn handoffs(parsed: Parsed) -> Result<(), Failed> {
    let records = block_on(fetch(&parsed.names, limit(&parsed)?))?;
    if parsed.bool("json") == Some(true) {
        print(&json(&records)?);
        return Ok(());
    }
    let header = ["BEGAN", "SERVICE", "KIND", "FROM", "TO", "EPOCH", "TOOK", "HELD", "WAIT", "OUTCOME"];
    print(&table(&header, &records.iter().map(row).collect::<Vec<_>>()));
    let phases = parsed.bool("phases") == Some(true);
    records.iter().for_each(|record| print(&details(record, phases)));
    Ok(())
}

fn limit(parsed: &Parsed) -> Result<usize, Failed> {
    let limit = parsed.int("limit").unwrap_or(DEFAULT_LIMIT);
    let wrong = |_| format!("invalid argument \"{limit}\" for \"--limit\" flag: expected 0 or more");
    Ok(usize::try_from(limit).map_err(wrong)?)
}

/// Of the services named, or of all.
async fn fetch(names: &[String], limit: usize) -> Result<Vec<Record>, Failed> {
    let client = Client::new();
    if names.is_empty() {
        return Ok(client.get::<Handoffs>(&format!("/v1/handoffs?limit={limit}")).await?.handoffs);
    }
    let mut records = Vec::new();
    for name in names {
        let path = format!("/v1/services/{}/handoffs?limit={limit}", escape_name(name));
        records.extend(client.get::<Handoffs>(&path).await?.handoffs);
    }
    records.sort_by_key(|record| std::cmp::Reverse(record.began_ms));
    records.truncate(limit);
    Ok(records)
}

fn row(record: &Record) -> Vec<String> {
    let took: f64 = record.phases.iter().map(|phase| phase.ms).sum();
    vec![
        time(record.began_ms),
        record.service.clone(),
        record.kind.clone(),
        or_dash(record.from.clone()),
        record.to.clone(),
        or_dash(record.epoch.map(|epoch| epoch.to_string()).unwrap_or_default()),
        millis(took),
        record.held_total.to_string(),
        millis(record.longest_wait_ms as f64),
        record.outcome.clone(),
    ]
}

fn time(unix_ms: u64) -> String {
    let stamp = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let local = stamp.map(|stamp| stamp.to_zoned(jiff::tz::TimeZone::system()));
    local.map_or_else(|| "-".into(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

fn details(record: &Record, phases: bool) -> String {
    let mut text = String::new();
    if !record.reason.is_empty() {
        text.push_str(&format!("{} {}: {}\n", record.service, time(record.began_ms), record.reason));
    }
    if phases {
        let each = record.phases.iter().map(|phase| format!("{} {}", phase.phase, millis(phase.ms)));
        text.push_str(&format!("{} {}: {}\n", record.service, record.id, each.collect::<Vec<_>>().join(", ")));
    }
    text
}
