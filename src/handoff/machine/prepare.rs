//! The end of preflight for an exclusive handoff: who holds, is the new keeper prepared, is its ticket good.

use std::time::Duration;

use super::hold::{self, Next};
use super::lead::{Lead, Link};
use super::preflight::{self, Preflight};
use super::{Action, Aim, Event, Reason, Side, Standing, State, Timer, Turn, Word, standing};
use crate::spec::Handoff;
use crate::wire::{DIFFERENT_IDS, Saying, Status, Verb};

/// How long a keeper may take to answer in preflight; a frozen one does not.
const ANSWER: Duration = Duration::from_secs(5);

/// What is known of the old side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Known {
    /// Its conversation.
    pub link: Link,
    /// Whether it holds the lease.
    pub holds: bool,
}

/// The new side stands by: only the exclusive kind can start its app.
pub(super) fn begin(turn: &mut Turn<'_>, status: &Status) -> State {
    turn.act(Action::StopProbe);
    let unfit = match turn.plan.aim {
        Aim::Adopt | Aim::Recover(_) => Some("the keeper holds no more"),
        Aim::Deploy(_) if !turn.plan.sole_target => {
            Some("a target whose keeper stands by may be only the sole target of a deploy, readers counted")
        }
        Aim::Deploy(Handoff::Overlap | Handoff::Drain) => {
            Some("the target's keeper stands by: only an exclusive handoff starts its app")
        }
        Aim::Deploy(Handoff::Auto | Handoff::Exclusive) => None,
    };
    if let Some(text) = unfit {
        return turn.give_up(Reason::Unfit(text.into()));
    }
    if let Some(holder) = status.holder.as_ref().filter(|holder| holder.id == status.id) {
        let (id, at) = (&holder.id, &holder.control);
        let text =
            format!("the lease is held by another keeper with the same id, {id} (control {at}): {DIFFERENT_IDS}");
        return turn.give_up(Reason::Unfit(text.into()));
    }
    let held = status.holder.is_some();
    if !held && !turn.plan.old_keeper {
        return prepare(turn, Known { link: Link::Absent, holds: false });
    }
    turn.act(Action::Connect { side: Side::Old, at: status.holder.clone() });
    turn.deadline(ANSWER);
    State::Preflight(Preflight::Meeting { held, lease: status.lease.as_str().into() })
}

pub(super) fn meeting(turn: &mut Turn<'_>, held: bool, lease: Word, event: Event) -> State {
    match event {
        Event::Said(Side::Old, Saying::Status(status)) => met(turn, held, lease, &status),
        Event::Broken(Side::Old) if held => turn.give_up(Reason::Lost(Side::Old)),
        Event::Broken(Side::Old) => prepare(turn, Known { link: Link::Down, holds: false }),
        Event::Expired(Timer::Again) => {
            turn.act(Action::Say(Side::Old, Verb::Status {}));
            State::Preflight(Preflight::Meeting { held, lease })
        }
        Event::Expired(Timer::Deadline) if held => turn.give_up(Reason::Slow(Side::Old, "answer")),
        Event::Expired(Timer::Deadline) => {
            turn.act(Action::HangUp(Side::Old));
            prepare(turn, Known { link: Link::Down, holds: false })
        }
        Event::Broken(Side::New) => turn.give_up(Reason::Lost(Side::New)),
        Event::Said(..)
        | Event::Begin
        | Event::Expired(Timer::Patience | Timer::Unhealthy)
        | Event::Settled
        | Event::Drained
        | Event::InFlight(_)
        | Event::Absent(_)
        | Event::Probed(..)
        | Event::Released
        | Event::Abort
        | Event::Shutdown => State::Preflight(Preflight::Meeting { held, lease }),
    }
}

/// The old side has greeted. It may hold, stand by, or know who does.
fn met(turn: &mut Turn<'_>, held: bool, lease: Word, status: &Status) -> State {
    if let Some(why) = preflight::foreign_version(status) {
        return turn.give_up(Reason::Refused(Side::Old, why));
    }
    if *status.lease != *lease {
        return turn.give_up(preflight::other_lease());
    }
    match (standing(status), &status.holder) {
        (Standing::Confirmed | Standing::Unconfirmed, _) => prepare(turn, Known { link: Link::Up, holds: true }),
        (Standing::Acquiring, _) => {
            turn.again();
            State::Preflight(Preflight::Meeting { held, lease })
        }
        (Standing::Standby, Some(holder)) if holder.id != status.id => {
            turn.act(Action::HangUp(Side::Old));
            turn.act(Action::Connect { side: Side::Old, at: Some(holder.clone()) });
            State::Preflight(Preflight::Meeting { held: true, lease })
        }
        (Standing::Standby, _) => prepare(turn, Known { link: Link::Up, holds: false }),
    }
}

fn prepare(turn: &mut Turn<'_>, old: Known) -> State {
    turn.act(Action::Say(Side::New, prepare_line(turn)));
    turn.deadline(ANSWER);
    State::Preflight(Preflight::Preparing(old))
}

/// `prepare` as this handoff says it.
pub(super) fn prepare_line(turn: &Turn<'_>) -> Verb {
    Verb::Prepare {
        handoff: turn.plan.handoff.to_string(),
        service: turn.plan.service.to_string(),
        idle_ms: u64::try_from(turn.plan.limits.idle().as_millis()).unwrap_or(u64::MAX),
    }
}

pub(super) fn preparing(turn: &mut Turn<'_>, old: Known, event: Event) -> State {
    match event {
        Event::Said(Side::New, Saying::Ready { ticket, facts }) => {
            let shares = turn.plan.limits.shares(&facts);
            if !shares.fits {
                let text = "stop, boot and a roll-back do not fit into the time of a hold, as last measured: a version \
                            that fails may cost held requests a 503";
                turn.act(Action::Warn(text.into()));
            }
            for warning in facts.warnings {
                turn.act(Action::Warn(warning));
            }
            let lead = Lead { ticket: ticket.into(), old: old.link, shares };
            prepared(turn, lead, old.holds)
        }
        Event::Said(Side::New, Saying::Refused { why }) => {
            turn.act(Action::Say(Side::New, Verb::Status {}));
            State::Preflight(Preflight::Refused(old, why.into()))
        }
        event => waiting(turn, Preflight::Preparing(old), event),
    }
}

fn prepared(turn: &mut Turn<'_>, lead: Lead, holds: bool) -> State {
    turn.act(Action::Save);
    if !holds {
        return hold::begin_settle(turn, Next::Yield(lead));
    }
    turn.act(Action::Say(Side::Old, Verb::Show { ticket: lead.ticket.to_string() }));
    turn.deadline(ANSWER);
    State::Preflight(Preflight::Showing(lead))
}

/// A refusal by one that is no standby any more (it took a free lease meanwhile) is none.
pub(super) fn refused(turn: &mut Turn<'_>, old: Known, why: Word, event: Event) -> State {
    match event {
        Event::Said(Side::New, Saying::Status(status)) => match standing(&status) {
            Standing::Standby => turn.give_up(Reason::Refused(Side::New, why)),
            Standing::Confirmed | Standing::Unconfirmed | Standing::Acquiring => preflight::by_standing(turn, &status),
        },
        event => waiting(turn, Preflight::Refused(old, why), event),
    }
}

pub(super) fn showing(turn: &mut Turn<'_>, lead: Lead, event: Event) -> State {
    match event {
        Event::Said(Side::Old, Saying::Ok {}) => hold::begin_settle(turn, Next::Yield(lead)),
        Event::Said(Side::Old, Saying::Refused { why }) => turn.give_up(Reason::Refused(Side::Old, why.into())),
        event => waiting(turn, Preflight::Showing(lead), event),
    }
}

/// What every wait for an answer has in common.
fn waiting(turn: &mut Turn<'_>, state: Preflight, event: Event) -> State {
    let asked = if matches!(state, Preflight::Showing(_)) { Side::Old } else { Side::New };
    match event {
        Event::Expired(Timer::Deadline) => turn.give_up(Reason::Slow(asked, "answer")),
        Event::Broken(side) => turn.give_up(Reason::Lost(side)),
        Event::Begin
        | Event::Said(..)
        | Event::Expired(Timer::Patience | Timer::Unhealthy | Timer::Again)
        | Event::Settled
        | Event::Drained
        | Event::InFlight(_)
        | Event::Absent(_)
        | Event::Probed(..)
        | Event::Released
        | Event::Abort
        | Event::Shutdown => State::Preflight(state),
    }
}
