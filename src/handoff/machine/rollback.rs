//! Rollback: the old keeper is prepared, the new one yields, the old one takes and finds an unconfirmed epoch to undo.

use std::time::Duration;

use super::lead::{Hold, Leased, Link};
use super::preflight::last_words;
use super::prepare::prepare_line;
use super::{
    Action, Event, Outcome, Pace, Phase, Reason, Shut, Side, Standing, State, Timer, Turn, Verdict, Word, standing,
};
use crate::wire::{Saying, Status, Verb};

/// The old side is being brought back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rollback {
    /// Why the new one failed.
    pub why: Reason,
    /// When the gate was closed.
    pub since: Duration,
    /// The conversation with the new keeper.
    pub new: Link,
    /// Whether the old app may have been live all along.
    pub lives: Lives,
    /// Why the old keeper could not bring its app back so far.
    pub back: Option<Reason>,
    /// How far it is.
    pub stage: Stage,
}

/// Whether the old app may have been live all along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lives {
    /// The new keeper had the lease, so the old app was gone: what answers at its address proves nothing.
    No,
    /// An old app that answers is of the confirmed epoch, and while it lives nobody else is given the lease.
    Perhaps,
    /// The same, and it is being probed, since its keeper is of no help.
    Probed,
}

/// How far a rollback is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The old keeper is gone before anything was asked of it: does its app live on?
    Alone,
    /// Waits for the old keeper's status: asked, or its greeting.
    MeetOld,
    /// Waits to connect to the old keeper again.
    ReconnectOld,
    /// Waits for the old keeper's ticket.
    PrepareOld,
    /// Waits for the new keeper's status, asked or its greeting: only who holds an unconfirmed epoch is told to yield.
    MeetNew(Word),
    /// Waits for the new app to exit.
    YieldNew,
    /// Waits for the old keeper to have the lease and its app started.
    Take(Option<Leased>),
    /// Waits for the old app's first good probe.
    Boot(Leased),
    /// Waits for the old keeper's confirmation: it was not the last confirmed one.
    Confirm(Leased),
    /// The new keeper turned out to hold a confirmed epoch: it is active once a probe is good.
    AdoptNew,
}

/// How long an app that has lost its keeper may take to answer.
const ALONE: Duration = Duration::from_secs(2);

/// The new side failed within a hold, and has had the lease.
pub(super) fn begin(turn: &mut Turn<'_>, hold: &Hold, new: Link, why: Reason) -> State {
    bring_back(turn, hold, Rollback { new, ..Rollback::new(why, hold.since) })
}

/// The same of one that never said that it had it.
pub(super) fn begin_without_lease(turn: &mut Turn<'_>, hold: &Hold, new: Link, why: Reason) -> State {
    bring_back(turn, hold, Rollback { new, lives: Lives::Perhaps, ..Rollback::new(why, hold.since) })
}

/// The old keeper is gone before `yield`, its app perhaps not: nobody has told it to stop.
pub(super) fn begin_alone(turn: &mut Turn<'_>, why: Reason) -> State {
    turn.act(Action::Close(Shut::Handoff));
    turn.phase(Phase::Rollback);
    let since = turn.now;
    alone(turn, Rollback::new(why, since))
}

/// Following found an unconfirmed holder that does not get healthy.
pub(super) fn recover(turn: &mut Turn<'_>, why: Word) -> State {
    turn.phase(Phase::Rollback);
    let rollback = Rollback::new(Reason::NotHealthy(Some(why)), turn.now);
    back(turn, &rollback);
    meet_old(turn, rollback)
}

fn bring_back(turn: &mut Turn<'_>, hold: &Hold, rollback: Rollback) -> State {
    turn.act(Action::StopProbe);
    turn.phase(Phase::Rollback);
    back(turn, &rollback);
    match hold.lead.old {
        Link::Absent if rollback.lives == Lives::Perhaps => alone(turn, rollback),
        Link::Absent => turn.unavailable(rollback.why, None),
        Link::Up => prepare_old(turn, rollback),
        Link::Down => meet_old(turn, rollback),
    }
}

impl Rollback {
    fn new(why: Reason, since: Duration) -> Self {
        Self { why, since, new: Link::Down, lives: Lives::No, back: None, stage: Stage::MeetOld }
    }
}

pub(super) fn step(turn: &mut Turn<'_>, mut rollback: Rollback, event: Event) -> State {
    if event == Event::Broken(Side::New) {
        rollback.new = Link::Down;
    }
    match (rollback.stage.clone(), event) {
        (Stage::Alone, Event::Probed(Side::Old, Verdict::Good)) => turn.give_up(rollback.why),
        (Stage::Alone, Event::Expired(Timer::Deadline)) => turn.unavailable(rollback.why, rollback.back),
        (Stage::Alone, _) => State::Rollback(rollback),
        (Stage::MeetOld | Stage::ReconnectOld | Stage::PrepareOld, Event::Probed(Side::Old, Verdict::Good))
            if rollback.lives == Lives::Probed =>
        {
            turn.give_up(rollback.why)
        }
        (Stage::MeetOld, event) => meeting_old(turn, rollback, event),
        (Stage::ReconnectOld, Event::Expired(Timer::Again)) => meet_old(turn, rollback),
        (Stage::ReconnectOld, event) => waiting(turn, rollback, &event, (Side::Old, "be reached")),
        (Stage::PrepareOld, event) => preparing_old(turn, rollback, event),
        (Stage::MeetNew(ticket), event) => meeting_new(turn, rollback, &ticket, event),
        (Stage::YieldNew, event) => yielding_new(turn, rollback, event),
        (Stage::Take(leased), event) => taking(turn, rollback, leased, event),
        (Stage::Boot(leased), event) => booting(turn, rollback, leased, event),
        (Stage::Confirm(leased), event) => confirming(turn, rollback, leased, &event),
        (Stage::AdoptNew, Event::Probed(Side::New, Verdict::Good)) => turn.go_live(),
        (Stage::AdoptNew, event) => waiting(turn, rollback, &event, (Side::New, "have a healthy app")),
    }
}

fn at(rollback: Rollback, stage: Stage) -> State {
    State::Rollback(Rollback { stage, ..rollback })
}

fn back(turn: &mut Turn<'_>, rollback: &Rollback) {
    turn.deadline(turn.plan.limits.back(turn.held(rollback.since)));
}

fn fail(turn: &mut Turn<'_>, rollback: Rollback, back: Reason) -> State {
    turn.unavailable(rollback.why, Some(back))
}

/// Who is waited for, and to do what.
type Wanted = (Side, &'static str);

/// What every stage has in common: who is lost, and the deadline.
fn waiting(turn: &mut Turn<'_>, rollback: Rollback, event: &Event, (side, what): Wanted) -> State {
    match event {
        Event::Broken(Side::Old) => fail(turn, rollback, Reason::Lost(Side::Old)),
        Event::Said(Side::Old, Saying::Exited { code, lines }) => {
            fail(turn, rollback, Reason::Exited(Side::Old, last_words(*code, lines)))
        }
        Event::Expired(Timer::Deadline) => {
            let back = rollback.back.clone().unwrap_or(Reason::Slow(side, what));
            fail(turn, rollback, back)
        }
        Event::Begin
        | Event::Said(..)
        | Event::Broken(Side::New)
        | Event::Expired(Timer::Patience | Timer::Unhealthy | Timer::Again)
        | Event::Settled
        | Event::Drained
        | Event::InFlight(_)
        | Event::Absent(_)
        | Event::Probed(..)
        | Event::Released
        | Event::Abort
        | Event::Shutdown => State::Rollback(rollback),
    }
}

fn alone(turn: &mut Turn<'_>, rollback: Rollback) -> State {
    turn.act(Action::Probe(Side::Old, Pace::Eager));
    turn.deadline(ALONE);
    at(rollback, Stage::Alone)
}

/// The old keeper is of no help now. Its app may need none.
fn helpless(turn: &mut Turn<'_>, rollback: Rollback, stage: Stage) -> State {
    turn.again();
    let lives = match rollback.lives {
        Lives::Perhaps => {
            turn.act(Action::Probe(Side::Old, Pace::Eager));
            Lives::Probed
        }
        lives @ (Lives::No | Lives::Probed) => lives,
    };
    at(Rollback { lives, ..rollback }, stage)
}

fn meet_old(turn: &mut Turn<'_>, rollback: Rollback) -> State {
    turn.act(Action::Connect { side: Side::Old, at: None });
    at(rollback, Stage::MeetOld)
}

fn meeting_old(turn: &mut Turn<'_>, rollback: Rollback, event: Event) -> State {
    match event {
        Event::Said(Side::Old, Saying::Status(status)) => old_met(turn, rollback, &status),
        Event::Broken(Side::Old) => helpless(turn, rollback, Stage::ReconnectOld),
        Event::Expired(Timer::Again) => {
            turn.act(Action::Say(Side::Old, Verb::Status {}));
            State::Rollback(rollback)
        }
        event => waiting(turn, rollback, &event, (Side::Old, "answer")),
    }
}

/// The old keeper may have taken the free lease by itself meanwhile.
fn old_met(turn: &mut Turn<'_>, rollback: Rollback, status: &Status) -> State {
    match standing(status) {
        Standing::Standby => prepare_old(turn, rollback),
        Standing::Acquiring => {
            turn.again();
            State::Rollback(rollback)
        }
        Standing::Confirmed => boot_old(turn, rollback, Leased { epoch: status.epoch, confirmed: true }),
        Standing::Unconfirmed => boot_old(turn, rollback, Leased { epoch: status.epoch, confirmed: false }),
    }
}

fn prepare_old(turn: &mut Turn<'_>, rollback: Rollback) -> State {
    turn.act(Action::Say(Side::Old, prepare_line(turn)));
    at(rollback, Stage::PrepareOld)
}

fn preparing_old(turn: &mut Turn<'_>, mut rollback: Rollback, event: Event) -> State {
    match event {
        Event::Said(Side::Old, Saying::Ready { ticket, .. }) => old_prepared(turn, rollback, &ticket),
        // It took the lease meanwhile, or cannot be prepared: its status tells, a little later.
        Event::Said(Side::Old, Saying::Refused { why }) => {
            rollback.back = Some(Reason::Refused(Side::Old, why.into()));
            helpless(turn, rollback, Stage::MeetOld)
        }
        Event::Broken(Side::Old) => helpless(turn, rollback, Stage::ReconnectOld),
        event => waiting(turn, rollback, &event, (Side::Old, "be prepared")),
    }
}

fn old_prepared(turn: &mut Turn<'_>, mut rollback: Rollback, ticket: &str) -> State {
    turn.act(Action::StopProbe);
    rollback.lives = match rollback.lives {
        Lives::No => Lives::No,
        Lives::Perhaps | Lives::Probed => Lives::Perhaps,
    };
    rollback.back = None;
    turn.act(match rollback.new {
        Link::Up => Action::Say(Side::New, Verb::Status {}),
        Link::Down | Link::Absent => Action::Connect { side: Side::New, at: None },
    });
    back(turn, &rollback);
    at(rollback, Stage::MeetNew(ticket.into()))
}

fn meeting_new(turn: &mut Turn<'_>, mut rollback: Rollback, ticket: &Word, event: Event) -> State {
    match event {
        Event::Said(Side::New, Saying::Status(status)) => {
            rollback.new = Link::Up;
            match standing(&status) {
                Standing::Confirmed => {
                    turn.act(Action::HangUp(Side::Old));
                    turn.act(Action::Probe(Side::New, Pace::Eager));
                    back(turn, &rollback);
                    at(rollback, Stage::AdoptNew)
                }
                // What it takes by itself is confirmed at birth.
                Standing::Acquiring => {
                    turn.again();
                    State::Rollback(rollback)
                }
                Standing::Unconfirmed => yield_new(turn, Rollback { lives: Lives::No, ..rollback }, ticket),
                // A yield might be read only after it has taken the lease by itself.
                Standing::Standby => take(turn, rollback),
            }
        }
        Event::Expired(Timer::Again) => {
            turn.act(Action::Say(Side::New, Verb::Status {}));
            State::Rollback(rollback)
        }
        Event::Broken(Side::New) => take(turn, rollback),
        event => waiting(turn, rollback, &event, (Side::New, "answer")),
    }
}

fn yield_new(turn: &mut Turn<'_>, rollback: Rollback, ticket: &str) -> State {
    turn.act(Action::Say(Side::New, Verb::Yield { ticket: ticket.to_owned() }));
    back(turn, &rollback);
    at(rollback, Stage::YieldNew)
}

fn yielding_new(turn: &mut Turn<'_>, rollback: Rollback, event: Event) -> State {
    match event {
        Event::Said(Side::New, Saying::Free { .. }) | Event::Broken(Side::New) => take(turn, rollback),
        Event::Said(Side::New, Saying::Refused { why }) => fail(turn, rollback, Reason::Refused(Side::New, why.into())),
        event => waiting(turn, rollback, &event, (Side::New, "free the lease")),
    }
}

fn take(turn: &mut Turn<'_>, rollback: Rollback) -> State {
    let budget = turn.plan.limits.back(turn.held(rollback.since));
    turn.act(Action::Say(Side::Old, Verb::Take { budget_ms: u64::try_from(budget.as_millis()).unwrap_or(u64::MAX) }));
    turn.deadline(budget + Duration::from_millis(500));
    at(rollback, Stage::Take(None))
}

fn taking(turn: &mut Turn<'_>, rollback: Rollback, leased: Option<Leased>, event: Event) -> State {
    match event {
        Event::Said(Side::Old, Saying::Leased { epoch, confirmed, restored, restore_ms }) => {
            turn.act(Action::Epoch(epoch));
            if restored.is_some() {
                turn.act(Action::Restored(Duration::from_millis(restore_ms)));
            }
            at(rollback, Stage::Take(Some(Leased { epoch, confirmed })))
        }
        Event::Said(Side::Old, Saying::Started {}) => match leased {
            Some(leased) => boot_old(turn, rollback, leased),
            None => State::Rollback(rollback),
        },
        Event::Said(Side::Old, Saying::Held { by }) => not_had(turn, rollback, Reason::Held(Side::Old, by.into())),
        // It may have taken it by itself meanwhile: its status tells.
        Event::Said(Side::Old, Saying::Refused { why }) => {
            turn.act(Action::Say(Side::Old, Verb::Status {}));
            let back = Some(Reason::Refused(Side::Old, why.into()));
            at(Rollback { back, ..rollback }, Stage::MeetOld)
        }
        event => waiting(turn, rollback, &event, (Side::Old, "take the lease")),
    }
}

/// The old keeper could not have the lease either: perhaps since the app that it had, or had before it was started anew,
/// is still there.
fn not_had(turn: &mut Turn<'_>, rollback: Rollback, back: Reason) -> State {
    match rollback.lives {
        Lives::No => fail(turn, rollback, back),
        Lives::Perhaps | Lives::Probed => alone(turn, Rollback { back: Some(back), ..rollback }),
    }
}

fn boot_old(turn: &mut Turn<'_>, rollback: Rollback, leased: Leased) -> State {
    turn.act(Action::Probe(Side::Old, Pace::Eager));
    turn.deadline(turn.plan.limits.deploy_timeout);
    at(rollback, Stage::Boot(leased))
}

fn booting(turn: &mut Turn<'_>, rollback: Rollback, leased: Leased, event: Event) -> State {
    match event {
        Event::Probed(Side::Old, Verdict::Good) if leased.confirmed => restored(turn, rollback),
        Event::Probed(Side::Old, Verdict::Good) => {
            turn.act(Action::StopProbe);
            turn.act(Action::Say(Side::Old, Verb::Confirm { epoch: leased.epoch }));
            back(turn, &rollback);
            at(rollback, Stage::Confirm(leased))
        }
        // It runs again, but requests cannot be sent there.
        Event::Probed(Side::Old, Verdict::Nowhere(why)) => fail(turn, rollback, Reason::Unfit(why.into())),
        event => waiting(turn, rollback, &event, (Side::Old, "have a healthy app")),
    }
}

fn confirming(turn: &mut Turn<'_>, rollback: Rollback, leased: Leased, event: &Event) -> State {
    match event {
        Event::Said(Side::Old, Saying::Confirmed { epoch }) if *epoch == leased.epoch => restored(turn, rollback),
        event => waiting(turn, rollback, event, (Side::Old, "confirm its epoch")),
    }
}

fn restored(turn: &mut Turn<'_>, rollback: Rollback) -> State {
    turn.flip(Side::Old);
    turn.release(Outcome::RolledBack(rollback.why))
}
