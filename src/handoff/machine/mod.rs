//! The handoff as a pure state machine: `step(plan, state, now, event) -> (state, actions)`.
//!
//! No I/O, no clock, no task: time comes with the events, as the duration since the handoff began. A driver performs
//! the actions and feeds back what happened; a model checker runs the same code (`tests/model`).
//!
//! What it promises, whatever the events: the gate is opened only on the old revision before `yield`, or where its app
//! was probed good and the new keeper never said that it has the lease, or on a side whose keeper said that it holds a
//! confirmed epoch and whose app was probed good after that or before the confirmation; `take` is said only after `yield`
//! was answered, or lost, or had nobody to be said to; a failed handoff ends with the old side live, or with the gate
//! closed as unavailable, which following then mends.

mod confirm;
mod hold;
mod lead;
mod preflight;
mod prepare;
mod rollback;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use crate::wire::{Role, Status};

pub use confirm::{Asking, Confirm, Then};
pub use hold::{Draining, Next};
pub use lead::{Acquire, Boot, Hold, Lead, Leased, Link};
pub use preflight::{Epoch, Preflight, Signs};
pub use prepare::Known;
pub use rollback::{Lives, Rollback, Stage};
pub use words::{
    Action, Aim, Cut, Event, InFlight, Outcome, Pace, Phase, Plan, Reason, Shut, Side, Timer, Verdict, Word,
};

/// Where a handoff stands. What a state knows lies in its variant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not begun.
    Start,
    /// Finding out what the new side is, and whether all can go well. Nothing has changed.
    Preflight(Preflight),
    /// Slow requests end while nobody is held.
    Settle(Next),
    /// The gate is closed; requests in flight end.
    Drain(Draining),
    /// The old app is told to stop.
    Yield(Hold),
    /// The new keeper is told to take the lease.
    Acquire(Acquire),
    /// The new app boots.
    Boot(Boot),
    /// The new app is healthy; its epoch is being confirmed.
    Confirm(Confirm),
    /// `overlap`: the new one is active, requests of the old one end.
    Retire,
    /// The gate is open, the queue empties; ends so.
    Release(Outcome),
    /// The new one failed: the old one is brought back.
    Rollback(Rollback),
    /// Over.
    Done(Outcome),
}

impl State {
    /// Whether nothing irreversible was said yet: an abort or a shutdown gives the handoff up.
    #[must_use]
    pub fn may_give_up(&self) -> bool {
        match self {
            Self::Start | Self::Preflight(_) | Self::Settle(_) | Self::Drain(_) => true,
            Self::Yield(_)
            | Self::Acquire(_)
            | Self::Boot(_)
            | Self::Confirm(_)
            | Self::Retire
            | Self::Release(_)
            | Self::Rollback(_)
            | Self::Done(_) => false,
        }
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        if let Self::Done(outcome) = self { Some(outcome) } else { None }
    }
}

/// One step: what the handoff becomes by this event, and what is to be done about it. An event that means nothing in
/// a state (a late timer, a line nobody waits for) changes nothing.
#[must_use]
pub fn step(plan: &Plan, state: State, now: Duration, event: Event) -> (State, Vec<Action>) {
    let mut turn = Turn { plan, now, actions: Vec::new() };
    let turn_of = &mut turn;
    let state = match (state, event) {
        (state, Event::Abort) if state.may_give_up() => turn_of.give_up(Reason::Aborted),
        (state, Event::Shutdown) if state.may_give_up() => turn_of.give_up(Reason::Shutdown),
        (State::Start, Event::Begin) => preflight::begin(turn_of),
        (State::Start, _) => State::Start,
        (State::Preflight(state), event) => preflight::step(turn_of, state, event),
        (State::Settle(next), event) => hold::settle(turn_of, next, event),
        (State::Drain(draining), event) => hold::drain(turn_of, draining, event),
        (State::Yield(hold), event) => lead::yielding(turn_of, hold, event),
        (State::Acquire(acquire), event) => lead::acquire(turn_of, acquire, event),
        (State::Boot(boot), event) => lead::boot(turn_of, boot, event),
        (State::Confirm(confirm), event) => confirm::step(turn_of, confirm, event),
        (State::Retire, event) => retire(turn_of, &event),
        (State::Release(outcome), event) => release(turn_of, outcome, &event),
        (State::Rollback(rollback), event) => rollback::step(turn_of, rollback, event),
        (State::Done(outcome), _) => State::Done(outcome),
    };
    (state, turn.actions)
}

/// One step under way: what is known from outside, and the actions so far.
struct Turn<'a> {
    plan: &'a Plan,
    now: Duration,
    actions: Vec<Action>,
}

impl Turn<'_> {
    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn phase(&mut self, phase: Phase) {
        self.act(Action::ClearTimers);
        self.act(Action::Phase(phase));
    }

    fn deadline(&mut self, after: Duration) {
        self.act(Action::Wake(Timer::Deadline, after));
    }

    /// Ask or connect again in a moment.
    fn again(&mut self) {
        self.act(Action::Wake(Timer::Again, AGAIN));
    }

    /// Time since the gate was closed.
    fn held(&self, since: Duration) -> Duration {
        self.now.saturating_sub(since)
    }

    /// Nothing irreversible was said: the gate opens on what was active.
    fn give_up(&mut self, reason: Reason) -> State {
        self.let_go();
        self.act(Action::Open(Shut::Handoff));
        self.finish(Outcome::GivenUp(reason))
    }

    /// Nobody is known to be live and confirmed: the gate stays closed and following begins.
    fn unavailable(&mut self, forward: Reason, back: Option<Reason>) -> State {
        self.let_go();
        self.act(Action::Close(Shut::Unavailable));
        self.act(Action::Open(Shut::Handoff));
        self.finish(Outcome::Unavailable { forward, back })
    }

    /// The side's keeper holds a confirmed epoch (or it has none), its app is healthy: requests go there.
    fn flip(&mut self, side: Side) {
        self.phase(Phase::Flip);
        self.act(Action::StopProbe);
        self.act(Action::Flip(side));
        self.act(Action::Open(Shut::Unavailable));
        self.act(Action::Open(Shut::Handoff));
        self.act(Action::Save);
    }

    /// After a flip: the queue empties.
    fn release(&mut self, outcome: Outcome) -> State {
        self.let_go();
        self.phase(Phase::Release);
        self.act(Action::Release);
        self.deadline(self.plan.limits.handoff_timeout);
        State::Release(outcome)
    }

    /// Flip to the new side and go on to the end.
    fn go_live(&mut self) -> State {
        self.flip(Side::New);
        self.release(Outcome::Done)
    }

    fn let_go(&mut self) {
        self.act(Action::StopProbe);
        self.act(Action::ClearTimers);
        self.act(Action::HangUp(Side::New));
        self.act(Action::HangUp(Side::Old));
    }

    fn finish(&mut self, outcome: Outcome) -> State {
        self.act(Action::Finish(outcome.clone()));
        State::Done(outcome)
    }
}

/// Between two questions to a keeper that is not ready yet.
const AGAIN: Duration = Duration::from_millis(50);

fn retire(turn: &mut Turn<'_>, event: &Event) -> State {
    match event {
        Event::Drained | Event::Shutdown => turn.finish(Outcome::Done),
        Event::Expired(Timer::Deadline) => {
            turn.act(Action::Cut(Cut::All));
            turn.finish(Outcome::Done)
        }
        Event::Begin
        | Event::Said(..)
        | Event::Broken(_)
        | Event::Expired(Timer::Patience | Timer::Unhealthy | Timer::Again)
        | Event::Settled
        | Event::InFlight(_)
        | Event::Absent(_)
        | Event::Probed(..)
        | Event::Released
        | Event::Abort => State::Retire,
    }
}

fn release(turn: &mut Turn<'_>, outcome: Outcome, event: &Event) -> State {
    match event {
        Event::Released | Event::Expired(Timer::Deadline) | Event::Shutdown => turn.finish(outcome),
        Event::Begin
        | Event::Said(..)
        | Event::Broken(_)
        | Event::Expired(Timer::Patience | Timer::Unhealthy | Timer::Again)
        | Event::Settled
        | Event::Drained
        | Event::InFlight(_)
        | Event::Absent(_)
        | Event::Probed(..)
        | Event::Abort => State::Release(outcome),
    }
}

/// What a status says about a keeper, as the machine decides by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Holds an epoch that is confirmed.
    Confirmed,
    /// Holds an epoch that is not confirmed yet.
    Unconfirmed,
    /// On its way to being a holder, or from being one: its status says more in a moment.
    Acquiring,
    /// Not live.
    Standby,
}

fn standing(status: &Status) -> Standing {
    match (status.role, status.confirmed) {
        (Role::Holder, _) if status.stopping => Standing::Acquiring,
        (Role::Holder, true) => Standing::Confirmed,
        (Role::Holder, false) => Standing::Unconfirmed,
        (Role::Acquiring, _) => Standing::Acquiring,
        (Role::Standby, _) => Standing::Standby,
    }
}
