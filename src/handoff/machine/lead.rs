//! Yield, acquire, boot: the old app stops, the new one starts. From here the way back is a rollback.

use std::time::Duration;

use super::confirm::{self, Then};
use super::preflight::last_words;
use super::rollback;
use super::{Action, Cut, Event, Pace, Phase, Reason, Side, Standing, State, Timer, Turn, Verdict, Word, standing};
use crate::handoff::budget::{self, Shares};
use crate::wire::{Saying, Status, Verb};

/// A conversation with a keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// There is no such keeper, or none that we know of.
    Absent,
    /// It stands.
    Up,
    /// It broke, or could not be opened.
    Down,
}

/// What leading an exclusive handoff needs to know, from preflight on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lead {
    /// What the old keeper wants to be shown.
    pub ticket: Word,
    /// The conversation with the old keeper.
    pub old: Link,
    /// The shares of the hold.
    pub shares: Shares,
}

/// A lead whose gate is closed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hold {
    /// As prepared.
    pub lead: Lead,
    /// When the gate was closed.
    pub since: Duration,
}

/// The epoch the new keeper was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Leased {
    /// Its number.
    pub epoch: u64,
    /// Whether it needs no `confirm`; it is never rolled back then.
    pub confirmed: bool,
}

/// The new keeper takes the lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acquire {
    /// The hold it is part of.
    pub hold: Hold,
    /// Its epoch, once it has one.
    pub leased: Option<Leased>,
    /// Why it would not take, until its status says what it is.
    pub refused: Option<Word>,
}

/// The new app boots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Boot {
    /// The hold it is part of.
    pub hold: Hold,
    /// Its epoch.
    pub leased: Leased,
    /// Whether it answered already, though not healthy.
    pub answers: bool,
    /// What the last probe met.
    pub last: Option<Word>,
}

/// The drain is over: the old app stops, if there is one to tell.
pub(super) fn begin(turn: &mut Turn<'_>, hold: Hold) -> State {
    if hold.lead.old != Link::Up {
        return take(turn, hold);
    }
    turn.phase(Phase::Yield);
    turn.act(Action::Say(Side::Old, Verb::Yield { ticket: hold.lead.ticket.to_string() }));
    turn.deadline(hold.lead.shares.stop);
    State::Yield(hold)
}

pub(super) fn yielding(turn: &mut Turn<'_>, mut hold: Hold, event: Event) -> State {
    match event {
        Event::Said(Side::Old, Saying::Free { .. }) => {
            turn.act(Action::Cut(Cut::All));
            take(turn, hold)
        }
        Event::Said(Side::Old, Saying::Stopping { grace_ms: Some(grace_ms) }) => {
            turn.deadline(budget::stop(Duration::from_millis(grace_ms)));
            State::Yield(hold)
        }
        // It compares before it acts: a refusal has changed nothing.
        Event::Said(Side::Old, Saying::Refused { why }) => turn.give_up(Reason::Refused(Side::Old, why.into())),
        // The lease tells.
        Event::Broken(Side::Old) => {
            hold.lead.old = Link::Down;
            take(turn, hold)
        }
        Event::Broken(Side::New) => turn.unavailable(Reason::Lost(Side::New), None),
        Event::Expired(Timer::Deadline) => turn.unavailable(Reason::Slow(Side::Old, "free the lease"), None),
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
        | Event::Shutdown => State::Yield(hold),
    }
}

fn take(turn: &mut Turn<'_>, hold: Hold) -> State {
    turn.phase(Phase::Acquire);
    let budget = turn.plan.limits.take(turn.held(hold.since), &hold.lead.shares);
    turn.act(Action::Say(Side::New, Verb::Take { budget_ms: u64::try_from(budget.as_millis()).unwrap_or(u64::MAX) }));
    // It says `held` by itself at the end of the budget; this is for one that says nothing.
    turn.deadline(budget + Duration::from_millis(500));
    State::Acquire(Acquire { hold, leased: None, refused: None })
}

pub(super) fn acquire(turn: &mut Turn<'_>, mut acquire: Acquire, event: Event) -> State {
    match event {
        Event::Said(Side::New, Saying::Leased { epoch, confirmed, .. }) => {
            turn.act(Action::Epoch(epoch));
            // Now the old app has exited for sure: what it has not answered, it never will.
            turn.act(Action::Cut(Cut::All));
            State::Acquire(Acquire { leased: Some(Leased { epoch, confirmed }), ..acquire })
        }
        Event::Said(Side::New, Saying::Snapshot { us, why, .. }) => {
            turn.act(Action::Took(Phase::Snapshot, Duration::from_micros(us)));
            if let Some(why) = why {
                turn.act(Action::Warn(format!("no snapshot was taken: {why}")));
            }
            State::Acquire(acquire)
        }
        Event::Said(Side::New, Saying::Started {}) => match acquire.leased {
            Some(leased) => begin_boot(turn, acquire.hold, leased),
            None => State::Acquire(acquire),
        },
        Event::Said(Side::New, Saying::Held { by }) => {
            fail_to_take(turn, &acquire, Link::Up, Reason::Held(Side::New, by.into()))
        }
        Event::Said(Side::New, Saying::Refused { why }) => {
            turn.act(Action::Say(Side::New, Verb::Status {}));
            State::Acquire(Acquire { refused: Some(why.into()), ..acquire })
        }
        Event::Said(Side::New, Saying::Status(status)) => by_standing(turn, acquire, &status),
        Event::Expired(Timer::Again) => {
            turn.act(Action::Say(Side::New, Verb::Status {}));
            State::Acquire(acquire)
        }
        Event::Expired(Timer::Deadline) => {
            fail_to_take(turn, &acquire, Link::Up, Reason::Slow(Side::New, "take the lease"))
        }
        event => match lost(event) {
            Lost::Old => {
                acquire.hold.lead.old = Link::Down;
                State::Acquire(acquire)
            }
            Lost::New(link, reason) => fail_to_take(turn, &acquire, link, reason),
            Lost::None => State::Acquire(acquire),
        },
    }
}

/// It refused to take: because it holds already, or will in a moment, or it stands by and something is wrong.
fn by_standing(turn: &mut Turn<'_>, acquire: Acquire, status: &Status) -> State {
    match standing(status) {
        Standing::Confirmed => begin_boot(turn, acquire.hold, Leased { epoch: status.epoch, confirmed: true }),
        Standing::Unconfirmed => begin_boot(turn, acquire.hold, Leased { epoch: status.epoch, confirmed: false }),
        // By itself: nobody is told when it is done.
        Standing::Acquiring => {
            turn.again();
            State::Acquire(acquire)
        }
        Standing::Standby => {
            let why = acquire.refused.clone().unwrap_or_else(|| "it stands by".into());
            fail_to_take(turn, &acquire, Link::Up, Reason::Refused(Side::New, why))
        }
    }
}

fn fail_to_take(turn: &mut Turn<'_>, acquire: &Acquire, new: Link, why: Reason) -> State {
    match acquire.leased {
        Some(_) => rollback::begin(turn, &acquire.hold, new, why),
        None => rollback::begin_without_lease(turn, &acquire.hold, new, why),
    }
}

fn begin_boot(turn: &mut Turn<'_>, hold: Hold, leased: Leased) -> State {
    turn.phase(Phase::Boot);
    turn.act(Action::Probe(Side::New, Pace::Eager));
    turn.deadline(turn.plan.limits.boot(turn.held(hold.since), &hold.lead.shares));
    State::Boot(Boot { hold, leased, answers: false, last: None })
}

pub(super) fn boot(turn: &mut Turn<'_>, mut boot: Boot, event: Event) -> State {
    match event {
        Event::Probed(Side::New, Verdict::Good) => {
            if !boot.answers {
                turn.phase(Phase::Probe);
            }
            if boot.leased.confirmed {
                return turn.go_live();
            }
            confirm::begin(turn, boot.leased.epoch, Then::Hold(boot.hold))
        }
        Event::Probed(Side::New, Verdict::Unhealthy(text)) => {
            if !boot.answers {
                turn.act(Action::Phase(Phase::Probe));
                turn.act(Action::Wake(Timer::Unhealthy, turn.plan.limits.unhealthy_after));
            }
            State::Boot(Boot { answers: true, last: Some(text.into()), ..boot })
        }
        Event::Probed(Side::New, Verdict::Silent(text) | Verdict::Nowhere(text)) => {
            State::Boot(Boot { last: Some(text.into()), ..boot })
        }
        Event::Expired(Timer::Deadline) => fail(turn, &boot, Link::Up, Reason::NotHealthy(boot.last.clone())),
        Event::Expired(Timer::Unhealthy) => fail(turn, &boot, Link::Up, Reason::Unhealthy(boot.last.clone())),
        event => match lost(event) {
            Lost::Old => {
                boot.hold.lead.old = Link::Down;
                State::Boot(boot)
            }
            Lost::New(link, reason) => fail(turn, &boot, link, reason),
            Lost::None => State::Boot(boot),
        },
    }
}

/// A confirmed epoch is never undone: following waits for its app. Any other is rolled back.
fn fail(turn: &mut Turn<'_>, boot: &Boot, new: Link, reason: Reason) -> State {
    if boot.leased.confirmed {
        return turn.unavailable(reason, None);
    }
    rollback::begin(turn, &boot.hold, new, reason)
}

/// Who was lost.
enum Lost {
    None,
    Old,
    New(Link, Reason),
}

/// What `acquire` and `boot` have in common.
fn lost(event: Event) -> Lost {
    match event {
        Event::Broken(Side::Old) => Lost::Old,
        Event::Broken(Side::New) => Lost::New(Link::Down, Reason::Lost(Side::New)),
        Event::Said(Side::New, Saying::Exited { code, lines }) => {
            Lost::New(Link::Up, Reason::Exited(Side::New, last_words(code, &lines)))
        }
        Event::Begin
        | Event::Said(..)
        | Event::Expired(_)
        | Event::Settled
        | Event::Drained
        | Event::InFlight(_)
        | Event::Absent(_)
        | Event::Probed(..)
        | Event::Released
        | Event::Abort
        | Event::Shutdown => Lost::None,
    }
}
