//! Preflight: what the new side is, which kind of handoff it asks for, and every refusal that can come before the hold.

use std::time::Duration;

use super::confirm::{self, Then};
use super::hold::{self, Next};
use super::lead::Lead;
use super::prepare::{self, Known};
use super::rollback;
use super::{
    Action, Aim, Cut, Event, Pace, Phase, Reason, Side, Standing, State, Timer, Turn, Verdict, Word, standing,
};
use crate::spec::Handoff;
use crate::wire::{self, Saying, Status, Verb};

/// How long a greeting is waited for beside the first probes.
const GREETING: Duration = Duration::from_secs(1);
/// Between two attempts to find a keeper that did not greet in time.
const LATE: Duration = Duration::from_millis(500);

/// What preflight waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Preflight {
    /// The new side's greeting; probing beside it.
    Greeting(Signs),
    /// The new side's first good probe.
    Probing {
        /// What its keeper holds, if it has one.
        keeper: Option<Epoch>,
        /// What was met by probes.
        met: Met,
    },
    /// The new side's keeper is acquiring: what becomes of it?
    Acquiring,
    /// The new side holds: the old side's greeting. Has it the same lease?
    Comparing(Epoch, Word),
    /// The old side's greeting.
    Meeting {
        /// The new side says that somebody holds the lease.
        held: bool,
        /// The lease of the new side.
        lease: Word,
    },
    /// The new side's answer to `prepare`.
    Preparing(Known),
    /// It refused: is it still a standby?
    Refused(Known, Word),
    /// The old side's answer to `show`.
    Showing(Lead),
}

/// What is known of a new side whose keeper has not greeted yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Signs {
    /// A probe was good already.
    pub healthy: bool,
    /// And the keeper was looked for after that.
    pub looked: bool,
}

/// What probes met that were not good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Met {
    /// It has answered.
    pub answers: bool,
    /// What the last one met.
    pub last: Option<Word>,
}

/// What the new side's keeper holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// Its number.
    pub epoch: u64,
    /// Whether it needs no `confirm`.
    pub confirmed: bool,
}

pub(super) fn begin(turn: &mut Turn<'_>) -> State {
    if let Aim::Recover(why) = &turn.plan.aim {
        return rollback::recover(turn, why.clone());
    }
    turn.phase(Phase::Preflight);
    turn.act(Action::Connect { side: Side::New, at: None });
    if turn.plan.aim != Aim::Adopt {
        turn.act(Action::Probe(Side::New, Pace::Contract));
    }
    turn.deadline(GREETING);
    State::Preflight(Preflight::Greeting(Signs::default()))
}

pub(super) fn step(turn: &mut Turn<'_>, state: Preflight, event: Event) -> State {
    match state {
        Preflight::Greeting(signs) => greeting(turn, signs, event),
        Preflight::Probing { keeper, met } => probing(turn, keeper, met, event),
        Preflight::Acquiring => acquiring(turn, event),
        Preflight::Comparing(keeper, lease) => comparing(turn, keeper, lease, event),
        Preflight::Meeting { held, lease } => prepare::meeting(turn, held, lease, event),
        Preflight::Preparing(old) => prepare::preparing(turn, old, event),
        Preflight::Refused(old, why) => prepare::refused(turn, old, why, event),
        Preflight::Showing(lead) => prepare::showing(turn, lead, event),
    }
}

fn greeting(turn: &mut Turn<'_>, signs: Signs, event: Event) -> State {
    match event {
        Event::Said(Side::New, Saying::Status(status)) => greeted(turn, signs.healthy, &status),
        // A keeper listens before it starts its app: an app that answers beside a port that refuses after that has none.
        Event::Absent(Side::New) if signs.looked && !turn.plan.keeper_expected => {
            turn.act(Action::HangUp(Side::New));
            no_keeper(turn, signs.healthy)
        }
        // It may be about to listen: the container was started a moment ago.
        Event::Broken(Side::New) => {
            turn.again();
            State::Preflight(Preflight::Greeting(signs))
        }
        Event::Expired(Timer::Again) => {
            turn.act(Action::Connect { side: Side::New, at: None });
            State::Preflight(Preflight::Greeting(Signs { looked: signs.healthy, ..signs }))
        }
        Event::Expired(Timer::Deadline) => {
            turn.act(Action::ClearTimers);
            turn.act(Action::HangUp(Side::New));
            turn.act(Action::Wake(Timer::Again, LATE));
            no_keeper(turn, signs.healthy)
        }
        Event::Probed(Side::New, Verdict::Good) => {
            State::Preflight(Preflight::Greeting(Signs { healthy: true, ..signs }))
        }
        Event::Said(..)
        | Event::Begin
        | Event::Broken(Side::Old)
        | Event::Absent(_)
        | Event::Expired(Timer::Patience | Timer::Unhealthy)
        | Event::Settled
        | Event::Drained
        | Event::InFlight(_)
        | Event::Probed(..)
        | Event::Released
        | Event::Abort
        | Event::Shutdown => State::Preflight(Preflight::Greeting(signs)),
    }
}

/// The new side has a keeper. Does it count, and what does it ask for?
fn greeted(turn: &mut Turn<'_>, healthy: bool, status: &Status) -> State {
    turn.act(Action::ClearTimers);
    if let Some(why) = foreign_version(status) {
        return turn.give_up(Reason::Refused(Side::New, why));
    }
    match &status.service {
        Some(other) if **other != *turn.plan.service => {
            let text = format!("the target's keeper serves {other}, not {}", turn.plan.service);
            turn.give_up(Reason::Unfit(text.into()))
        }
        None if turn.plan.must_name_service => {
            turn.act(Action::HangUp(Side::New));
            no_keeper(turn, healthy)
        }
        Some(_) | None => by_standing(turn, status),
    }
}

pub(super) fn foreign_version(status: &Status) -> Option<Word> {
    let (theirs, ours) = (status.wire.major, wire::VERSION.major);
    (theirs != ours).then(|| format!("it speaks version {theirs}, this proxy {ours}").into())
}

fn no_keeper(turn: &mut Turn<'_>, healthy: bool) -> State {
    let kind = match &turn.plan.aim {
        Aim::Adopt | Aim::Recover(_) => return turn.give_up(Reason::Lost(Side::New)),
        Aim::Deploy(kind) => *kind,
    };
    if kind == Handoff::Exclusive {
        let text = "an exclusive handoff needs a keeper at the target, and none answers";
        return turn.give_up(Reason::Unfit(text.into()));
    }
    if turn.plan.keeper_expected {
        return turn.give_up(Reason::Slow(Side::New, "greet"));
    }
    if turn.plan.old_keeper {
        turn.act(Action::Warn("the new app has no keeper: this deploy overlaps, as without lockgate".into()));
    }
    if healthy || turn.plan.force {
        turn.act(Action::ClearTimers);
        return go(turn);
    }
    turn.deadline(turn.plan.limits.deploy_timeout);
    State::Preflight(Preflight::Probing { keeper: None, met: Met::default() })
}

pub(super) fn by_standing(turn: &mut Turn<'_>, status: &Status) -> State {
    match standing(status) {
        Standing::Confirmed => holds(turn, Epoch { epoch: status.epoch, confirmed: true }, &status.lease),
        Standing::Unconfirmed => holds(turn, Epoch { epoch: status.epoch, confirmed: false }, &status.lease),
        Standing::Acquiring => {
            turn.act(Action::StopProbe);
            turn.deadline(turn.plan.limits.deploy_timeout);
            turn.again();
            State::Preflight(Preflight::Acquiring)
        }
        Standing::Standby => prepare::begin(turn, status),
    }
}

/// A target whose keeper holds already. Where that is another lease than the old side's, both are live on data of their
/// own: only who asks for `overlap` wants that.
fn holds(turn: &mut Turn<'_>, keeper: Epoch, lease: &str) -> State {
    match turn.plan.aim {
        Aim::Deploy(Handoff::Auto | Handoff::Exclusive | Handoff::Drain) if turn.plan.old_keeper => {
            turn.act(Action::StopProbe);
            turn.act(Action::Connect { side: Side::Old, at: None });
            turn.deadline(GREETING);
            State::Preflight(Preflight::Comparing(keeper, lease.into()))
        }
        Aim::Deploy(_) | Aim::Adopt | Aim::Recover(_) => probe_holder(turn, keeper),
    }
}

fn comparing(turn: &mut Turn<'_>, keeper: Epoch, lease: Word, event: Event) -> State {
    match event {
        Event::Said(Side::Old, Saying::Status(old)) => {
            turn.act(Action::HangUp(Side::Old));
            let is_ours = old.service.as_deref().is_none_or(|service| *service == *turn.plan.service);
            if is_ours && *old.lease != *lease { turn.give_up(other_lease()) } else { probe_holder(turn, keeper) }
        }
        Event::Broken(Side::Old) | Event::Expired(Timer::Deadline) => {
            turn.act(Action::HangUp(Side::Old));
            let text = "the old app's keeper does not answer: whether the new one's has the same lease is not known";
            turn.act(Action::Warn(text.into()));
            probe_holder(turn, keeper)
        }
        Event::Broken(Side::New) => turn.give_up(Reason::Lost(Side::New)),
        Event::Said(Side::New, Saying::Exited { code, lines }) => {
            turn.give_up(Reason::Exited(Side::New, last_words(code, &lines)))
        }
        Event::Said(..)
        | Event::Begin
        | Event::Expired(Timer::Patience | Timer::Unhealthy | Timer::Again)
        | Event::Settled
        | Event::Drained
        | Event::InFlight(_)
        | Event::Absent(_)
        | Event::Probed(..)
        | Event::Released
        | Event::Abort
        | Event::Shutdown => State::Preflight(Preflight::Comparing(keeper, lease)),
    }
}

pub(super) fn other_lease() -> Reason {
    Reason::Unfit("the two apps' keepers have different leases: is the same volume mounted in both?".into())
}

/// Only a probe made after the keeper's word counts.
fn probe_holder(turn: &mut Turn<'_>, keeper: Epoch) -> State {
    turn.act(Action::Epoch(keeper.epoch));
    turn.act(Action::StopProbe);
    turn.act(Action::Probe(Side::New, if turn.plan.aim == Aim::Adopt { Pace::Eager } else { Pace::Contract }));
    turn.deadline(turn.plan.limits.deploy_timeout);
    State::Preflight(Preflight::Probing { keeper: Some(keeper), met: Met::default() })
}

fn probing(turn: &mut Turn<'_>, keeper: Option<Epoch>, met: Met, event: Event) -> State {
    match event {
        Event::Probed(Side::New, Verdict::Good) => match keeper {
            Some(Epoch { epoch, confirmed: false }) => confirm::begin(turn, epoch, Then::Go),
            Some(Epoch { confirmed: true, .. }) | None => go(turn),
        },
        Event::Probed(Side::New, Verdict::Unhealthy(text)) => {
            if !met.answers && may_be_undone(turn, keeper) {
                turn.act(Action::Wake(Timer::Unhealthy, turn.plan.limits.unhealthy_after));
            }
            State::Preflight(Preflight::Probing { keeper, met: Met { answers: true, last: Some(text.into()) } })
        }
        Event::Probed(Side::New, Verdict::Silent(text) | Verdict::Nowhere(text)) => {
            State::Preflight(Preflight::Probing { keeper, met: Met { last: Some(text.into()), ..met } })
        }
        Event::Expired(Timer::Unhealthy) => turn.give_up(Reason::Unhealthy(met.last)),
        Event::Expired(Timer::Deadline) => turn.give_up(Reason::NotHealthy(met.last)),
        Event::Broken(Side::New) if keeper.is_some() => turn.give_up(Reason::Lost(Side::New)),
        Event::Said(Side::New, Saying::Exited { code, lines }) => {
            turn.give_up(Reason::Exited(Side::New, last_words(code, &lines)))
        }
        // A keeper that was late: nobody waits for it, but it is asked for as long as nobody answers.
        Event::Said(Side::New, Saying::Status(status)) if keeper.is_none() => greeted(turn, false, &status),
        Event::Broken(Side::New) => {
            turn.act(Action::Wake(Timer::Again, LATE));
            State::Preflight(Preflight::Probing { keeper, met })
        }
        Event::Expired(Timer::Again) => {
            turn.act(Action::Connect { side: Side::New, at: None });
            State::Preflight(Preflight::Probing { keeper, met })
        }
        Event::Said(..)
        | Event::Begin
        | Event::Broken(Side::Old)
        | Event::Expired(Timer::Patience)
        | Event::Settled
        | Event::Drained
        | Event::InFlight(_)
        | Event::Absent(_)
        | Event::Probed(Side::Old, _)
        | Event::Released
        | Event::Abort
        | Event::Shutdown => State::Preflight(Preflight::Probing { keeper, met }),
    }
}

/// Followed, an unconfirmed epoch is in the midst of its handoff: requests are held, and the old side can be back yet.
fn may_be_undone(turn: &Turn<'_>, keeper: Option<Epoch>) -> bool {
    turn.plan.aim == Aim::Adopt && keeper.is_some_and(|keeper| !keeper.confirmed)
}

/// The new side is healthy and, where it has a keeper, holds a confirmed epoch: on by the kind that was asked for.
pub(super) fn go(turn: &mut Turn<'_>) -> State {
    match &turn.plan.aim {
        Aim::Deploy(Handoff::Drain) if turn.plan.old_revision => hold::begin_settle(turn, Next::Flip),
        Aim::Deploy(_) if turn.plan.old_revision => {
            turn.flip(Side::New);
            turn.let_go();
            turn.act(Action::Cut(Cut::LongLived));
            turn.act(Action::Drain);
            turn.deadline(turn.plan.limits.drain_timeout);
            State::Retire
        }
        Aim::Deploy(_) | Aim::Adopt | Aim::Recover(_) => turn.go_live(),
    }
}

fn acquiring(turn: &mut Turn<'_>, event: Event) -> State {
    match event {
        Event::Said(Side::New, Saying::Status(status)) if standing(&status) == Standing::Acquiring => {
            turn.again();
            State::Preflight(Preflight::Acquiring)
        }
        Event::Said(Side::New, Saying::Status(status)) => by_standing(turn, &status),
        Event::Expired(Timer::Again) => {
            turn.act(Action::Say(Side::New, Verb::Status {}));
            State::Preflight(Preflight::Acquiring)
        }
        Event::Expired(Timer::Deadline) => turn.give_up(Reason::Slow(Side::New, "acquire the lease")),
        Event::Broken(Side::New) => turn.give_up(Reason::Lost(Side::New)),
        Event::Said(..)
        | Event::Begin
        | Event::Broken(Side::Old)
        | Event::Expired(Timer::Patience | Timer::Unhealthy)
        | Event::Settled
        | Event::Drained
        | Event::InFlight(_)
        | Event::Absent(_)
        | Event::Probed(..)
        | Event::Released
        | Event::Abort
        | Event::Shutdown => State::Preflight(Preflight::Acquiring),
    }
}

/// An app's exit, for people.
pub(super) fn last_words(code: i32, lines: &[String]) -> Word {
    match lines.last() {
        Some(line) => format!("status {code}, its last line: {line}").into(),
        None => format!("status {code}").into(),
    }
}
