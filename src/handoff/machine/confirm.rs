//! Confirm: the new app is healthy, its keeper writes so. An answer that is lost is never guessed: the status is asked.

use std::time::Duration;

use super::lead::{Hold, Link};
use super::preflight::last_words;
use super::{Action, Event, Phase, Reason, Side, Standing, State, Timer, Turn, preflight, rollback, standing};
use crate::wire::{Saying, Status, Verb};

/// How long to go on asking before following takes over.
const CONFIRM: Duration = Duration::from_secs(10);

/// A confirmation under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Confirm {
    /// The epoch.
    pub epoch: u64,
    /// What follows.
    pub then: Then,
    /// What is waited for.
    pub asking: Asking,
    /// Why it fails, if it does.
    pub why: Reason,
}

/// What follows the confirmation, or its failure.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// The target's keeper held before this handoff: on by the kind; nothing to roll back here.
    Go,
    /// The flip; a rollback where it fails.
    Hold(Hold),
}

/// What a confirmation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asking {
    /// The answer to `confirm`.
    Answer,
    /// The new keeper's status, asked or as its greeting.
    Status,
    /// The new keeper cannot be reached: the old one's status, which says what the record says.
    OldStatus,
    /// Connect again in a moment.
    Again,
}

pub(super) fn begin(turn: &mut Turn<'_>, epoch: u64, then: Then) -> State {
    turn.phase(Phase::Confirm);
    turn.act(Action::StopProbe);
    turn.deadline(CONFIRM);
    say(turn, epoch, then)
}

fn say(turn: &mut Turn<'_>, epoch: u64, then: Then) -> State {
    turn.act(Action::Say(Side::New, Verb::Confirm { epoch }));
    State::Confirm(Confirm { epoch, then, asking: Asking::Answer, why: Reason::Lost(Side::New) })
}

pub(super) fn step(turn: &mut Turn<'_>, mut confirm: Confirm, event: Event) -> State {
    match event {
        Event::Said(Side::New, Saying::Confirmed { epoch }) if epoch == confirm.epoch => go_on(turn, &confirm.then),
        Event::Said(Side::New, Saying::Exited { code, lines }) if confirm.asking == Asking::Answer => {
            turn.act(Action::Say(Side::New, Verb::Status {}));
            let why = Reason::Exited(Side::New, last_words(code, &lines));
            State::Confirm(Confirm { asking: Asking::Status, why, ..confirm })
        }
        // What it refuses now it may refuse again: not at once.
        Event::Said(Side::New, Saying::Refused { .. }) if confirm.asking == Asking::Answer => {
            turn.again();
            State::Confirm(Confirm { asking: Asking::Status, ..confirm })
        }
        Event::Said(Side::New, Saying::Status(status)) if confirm.asking == Asking::Status => {
            judge(turn, confirm, &status)
        }
        Event::Said(Side::Old, Saying::Status(status)) if confirm.asking == Asking::OldStatus => {
            judge_by_record(turn, confirm, &status)
        }
        Event::Broken(Side::New) => unreachable_new(turn, confirm),
        Event::Broken(Side::Old) => {
            if let Then::Hold(hold) = &mut confirm.then {
                hold.lead.old = Link::Down;
            }
            if confirm.asking == Asking::OldStatus { again(turn, confirm) } else { State::Confirm(confirm) }
        }
        Event::Expired(Timer::Again) if confirm.asking == Asking::Again => {
            turn.act(Action::Connect { side: Side::New, at: None });
            State::Confirm(Confirm { asking: Asking::Status, ..confirm })
        }
        Event::Expired(Timer::Again) if confirm.asking == Asking::Status => {
            turn.act(Action::Say(Side::New, Verb::Status {}));
            State::Confirm(confirm)
        }
        Event::Expired(Timer::Deadline) => leave(turn, &confirm.then, Reason::Slow(Side::New, "confirm its epoch")),
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
        | Event::Shutdown => State::Confirm(confirm),
    }
}

fn go_on(turn: &mut Turn<'_>, then: &Then) -> State {
    match then {
        Then::Go => preflight::go(turn),
        Then::Hold(_) => turn.go_live(),
    }
}

/// The first loss is answered by connecting; a connect that fails by asking who else can read the record.
fn unreachable_new(turn: &mut Turn<'_>, confirm: Confirm) -> State {
    if confirm.asking == Asking::Answer {
        turn.act(Action::Connect { side: Side::New, at: None });
        return State::Confirm(Confirm { asking: Asking::Status, ..confirm });
    }
    match &confirm.then {
        Then::Hold(hold) if hold.lead.old == Link::Up => {
            turn.act(Action::Say(Side::Old, Verb::Status {}));
            State::Confirm(Confirm { asking: Asking::OldStatus, ..confirm })
        }
        Then::Hold(_) | Then::Go => again(turn, confirm),
    }
}

fn again(turn: &mut Turn<'_>, confirm: Confirm) -> State {
    turn.again();
    State::Confirm(Confirm { asking: Asking::Again, ..confirm })
}

/// What the new keeper says of itself.
fn judge(turn: &mut Turn<'_>, confirm: Confirm, status: &Status) -> State {
    match standing(status) {
        Standing::Confirmed => go_on(turn, &confirm.then),
        Standing::Unconfirmed if status.epoch == confirm.epoch => say(turn, confirm.epoch, confirm.then),
        Standing::Acquiring => {
            turn.again();
            State::Confirm(confirm)
        }
        Standing::Standby if status.epoch == confirm.epoch && status.confirmed => {
            leave(turn, &confirm.then, confirm.why)
        }
        Standing::Unconfirmed | Standing::Standby => fail(turn, confirm, Link::Up),
    }
}

/// What the record says, by the old keeper: where nobody holds the lease, nobody can confirm any more.
fn judge_by_record(turn: &mut Turn<'_>, confirm: Confirm, status: &Status) -> State {
    if status.holder.is_none() && !status.confirmed {
        return fail(turn, confirm, Link::Down);
    }
    again(turn, confirm)
}

fn fail(turn: &mut Turn<'_>, confirm: Confirm, new: Link) -> State {
    match confirm.then {
        Then::Go => leave(turn, &Then::Go, confirm.why),
        Then::Hold(hold) => rollback::begin(turn, &hold, new, confirm.why),
    }
}

/// Nobody can say whether the epoch is, or will be, confirmed. An app without a keeper serves on whatever comes of that;
/// any other is not live while the target holds.
fn leave(turn: &mut Turn<'_>, then: &Then, why: Reason) -> State {
    if *then == Then::Go && turn.plan.unkept { turn.give_up(why) } else { turn.unavailable(why, None) }
}
