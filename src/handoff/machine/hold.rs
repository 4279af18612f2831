//! Settle, hold and drain: the old revision's requests end, first with the gate open, then with it closed.

use std::time::Duration;

use super::lead::{self, Hold, Lead, Link};
use super::preflight::last_words;
use super::rollback;
use super::{Action, Cut, Event, InFlight, Phase, Reason, Shut, Side, State, Timer, Turn};
use crate::spec::OnDrainTimeout;
use crate::wire::Saying;

/// After the gate closed: how long the drain waits for clients that send slowly, and for safe methods.
const PATIENCE: Duration = Duration::from_secs(2);

/// What follows the drain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// `drain`: the flip.
    Flip,
    /// `exclusive`: the old app stops.
    Yield(Lead),
}

/// A drain under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Draining {
    /// What follows.
    pub next: Next,
    /// When the gate was closed.
    pub since: Duration,
    /// Its time is over, and what is in flight is being found out.
    pub over: bool,
}

pub(super) fn begin_settle(turn: &mut Turn<'_>, next: Next) -> State {
    turn.phase(Phase::Settle);
    turn.act(Action::StopProbe);
    turn.act(Action::Settle);
    turn.deadline(turn.plan.limits.drain_timeout);
    State::Settle(next)
}

pub(super) fn settle(turn: &mut Turn<'_>, next: Next, event: Event) -> State {
    match event {
        Event::Settled | Event::Expired(Timer::Deadline) => begin_drain(turn, next),
        event => match lost(turn, &next, event) {
            Some(state) => state,
            None => State::Settle(next),
        },
    }
}

fn begin_drain(turn: &mut Turn<'_>, next: Next) -> State {
    turn.phase(Phase::Hold);
    turn.act(Action::Close(Shut::Handoff));
    turn.phase(Phase::Drain);
    turn.act(Action::Cut(Cut::LongLived));
    turn.act(Action::Drain);
    turn.act(Action::Wake(Timer::Patience, PATIENCE));
    turn.deadline(match &next {
        Next::Flip => turn.plan.limits.plain_drain(),
        Next::Yield(lead) => lead.shares.drain,
    });
    State::Drain(Draining { next, since: turn.now, over: false })
}

pub(super) fn drain(turn: &mut Turn<'_>, mut draining: Draining, event: Event) -> State {
    let abort = turn.plan.on_drain_timeout == OnDrainTimeout::Abort;
    match event {
        Event::Drained => drained(turn, draining),
        Event::Expired(Timer::Patience) => {
            turn.act(Action::Cut(Cut::AwaitingClient));
            if abort {
                turn.act(Action::Cut(Cut::Safe));
            }
            State::Drain(draining)
        }
        Event::Expired(Timer::Deadline) if abort => {
            turn.act(Action::Survey);
            draining.over = true;
            State::Drain(draining)
        }
        Event::Expired(Timer::Deadline) => drained(turn, draining),
        Event::InFlight(InFlight::SafeOnly) if draining.over => {
            turn.act(Action::Cut(Cut::Safe));
            drained(turn, draining)
        }
        Event::InFlight(InFlight::Unsafe(which)) if draining.over => turn.give_up(Reason::Busy(which.into())),
        event => match lost(turn, &draining.next, event) {
            Some(state) => state,
            None => State::Drain(draining),
        },
    }
}

/// Nothing is in flight, or what is may be cut or is answered within the app's grace.
fn drained(turn: &mut Turn<'_>, draining: Draining) -> State {
    match draining.next {
        Next::Flip => {
            turn.act(Action::Cut(Cut::All));
            turn.go_live()
        }
        Next::Yield(lead) => lead::begin(turn, Hold { lead, since: draining.since }),
    }
}

/// Before `yield` the loss of either side ends the handoff. Where it is the old keeper, its app may live on.
fn lost(turn: &mut Turn<'_>, next: &Next, event: Event) -> Option<State> {
    let Next::Yield(lead) = next else { return None };
    match event {
        Event::Broken(Side::New) => Some(turn.give_up(Reason::Lost(Side::New))),
        Event::Broken(Side::Old) => Some(rollback::begin_alone(turn, Reason::Lost(Side::Old))),
        Event::Said(Side::Old, Saying::Exited { code, lines }) if lead.old == Link::Up => {
            Some(turn.unavailable(Reason::Exited(Side::Old, last_words(code, &lines)), None))
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
        | Event::Shutdown => None,
    }
}
