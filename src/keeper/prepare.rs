//! Being prepared: all that could fail later is tried now.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Instant;

use super::acquire::{GaveUp, OPENERS, Place, TICK};
use super::control::Conversation;
use super::options::Snapshot;
use super::question;
use super::rules::{self, Asked};
use crate::lease::{self, Directory, Reading, Ticket};
use crate::snapshot::Plan;
use crate::wire::Facts;

/// A conversation has prepared this keeper. It counts as prepared until that ends; the ticket may be spent before.
pub(super) struct Preparation {
    conversation: Arc<Conversation>,
    ticket: Option<Ticket>,
    pub(super) service: String,
}

impl Preparation {
    pub(super) fn is_of(&self, conversation: &Conversation) -> bool {
        *self.conversation == *conversation
    }

    /// Whether its conversation is gone, though its end has not been read yet.
    pub(super) fn is_over(&self) -> bool {
        self.conversation.is_gone()
    }

    /// Whether this conversation prepared it and the ticket is not spent.
    pub(super) fn may_take(&self, conversation: &Conversation) -> bool {
        self.is_of(conversation) && self.ticket.is_some()
    }

    /// The word of its ticket, until that is spent.
    pub(super) fn ticket(&self) -> Option<&str> {
        self.ticket.as_ref().map(Ticket::word)
    }

    /// No lock, no ticket.
    pub(super) fn spend(&mut self) {
        self.ticket = None;
    }
}

/// Lays the ticket. One that the same conversation was given `before` stays, if it is not spent.
pub(super) fn lay(
    directory: &Directory,
    from: &Arc<Conversation>,
    service: &str,
    before: Option<Preparation>,
) -> Result<(Preparation, String), lease::Error> {
    let ticket = match before.and_then(|before| before.ticket) {
        Some(ticket) => ticket,
        None => directory.lay_ticket()?,
    };
    let word = ticket.word().to_owned();
    let conversation = Arc::clone(from);
    Ok((Preparation { conversation, ticket: Some(ticket), service: service.to_owned() }, word))
}

/// Tries everything, and tells what budgets are made from.
pub(super) fn facts(place: &Place<'_>, service: &str) -> Result<Facts, String> {
    if let Some(own) = place.options.service.as_deref().filter(|own| *own != service) {
        return Err(format!("this keeper is of the service {own}, not {service}"));
    }
    let look = place.directory.look().map_err(|error| error.to_string())?;
    if let Reading::Good(record) = &look.reading
        && let Some(theirs) = rules::foreign_service(Some(service), record)
    {
        return Err(format!("this lease belongs to the service {theirs}, not {service}"));
    }
    if let Reading::Newer(version) = look.reading {
        return Err(rules::newer(version));
    }
    if look.free {
        nobody_is_left(place, &look.reading)?;
    }
    place.directory.check_writable().map_err(|error| error.to_string())?;
    let mut warnings = Vec::new();
    if look.reading == Reading::Corrupt {
        warnings.push("the lease's record is corrupt in both slots: what is unconfirmed is not known".to_owned());
    }
    if let Err(why) = may_ask(place) {
        warnings.push(format!("the kernel cannot be asked who has the databases open ({why}): only locks are left"));
    }
    let mode = place.options.snapshot;
    let plan = place.store.plan(place.databases, mode == Snapshot::Always).map_err(unreadable)?;
    let snapshot = what_snapshot(mode, &plan)?;
    if let Err(why) = &snapshot {
        warnings.push(format!("no snapshot will be taken ({why}): what a failed revision writes stays"));
    }
    Ok(Facts {
        grace_ms: u64::try_from(place.options.grace.as_millis()).unwrap_or(u64::MAX),
        database_bytes: plan.bytes,
        snapshot_ms: if snapshot.is_ok() { plan.ms } else { 0 },
        restorable: snapshot.is_ok(),
        snapshot: Some(snapshot.unwrap_or_else(|why| format!("none: {why}"))),
        warnings,
    })
}

/// A free lease is of no use while the app of a keeper that was killed lives on: better said now than after a hold.
fn nobody_is_left(place: &Place<'_>, reading: &Reading) -> Result<(), String> {
    let until = Instant::now() + OPENERS;
    loop {
        let Some(who) = who_is_left(place, reading)? else { return Ok(()) };
        if Instant::now() >= until {
            // It may have been taken meanwhile, by a keeper whose app that is.
            if !place.directory.look().map_err(|error| error.to_string())?.free {
                return Ok(());
            }
            return Err(format!("nobody holds the lease, and yet {who}: end that process, then deploy again"));
        }
        std::thread::sleep(TICK);
    }
}

fn who_is_left(place: &Place<'_>, reading: &Reading) -> Result<Option<String>, String> {
    if place.directory.has_heirs().map_err(|error| error.to_string())? {
        return question::who_inherited(place.directory).map(Some).map_err(|error| error.to_string());
    }
    if place.overlooks(reading) || rules::comes_back(Asked::ByProxy, place.ended, reading) {
        return Ok(None);
    }
    let files = place.databases.files().map_err(unreadable)?;
    match question::ask(&files).map_err(unreadable)? {
        question::Attempt::Answered(_) => Ok(None),
        question::Attempt::Open(files) => Ok(Some(question::who_has(&files))),
    }
}

/// The words that a take would give up with.
fn unreadable(error: io::Error) -> String {
    GaveUp::from(error).to_string()
}

/// How a snapshot will be taken, else why none will; outside, why the handoff is refused.
fn what_snapshot(mode: Snapshot, plan: &Plan) -> Result<Result<String, String>, String> {
    match (mode, &plan.why_not) {
        (Snapshot::Never, _) => Ok(Err("--snapshot=never".to_owned())),
        (Snapshot::Auto | Snapshot::Always, None) => Ok(Ok(plan.how.to_owned())),
        (Snapshot::Auto, Some(why)) => Ok(Err(why.clone())),
        (Snapshot::Always, Some(why)) => Err(format!("no snapshot can be taken, and --snapshot=always: {why}")),
    }
}

/// Whether the kernel would answer, without touching the databases of a living app.
fn may_ask(place: &Place<'_>) -> Result<(), String> {
    let files = place.databases.existing().map_err(unreadable)?;
    let mut owners: Vec<u32> = files.iter().filter_map(|file| file.metadata().ok()).map(|file| file.uid()).collect();
    owners.sort_unstable();
    owners.dedup();
    lease::may_ask(&place.directory.path().join("lease"), &owners).map_err(|error| error.to_string())
}
