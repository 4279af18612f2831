//! Preflight: what the new side is, which kind of handoff it asks for, and every refusal that can come before the hold.

use std::time::Duration;

use super::confirm::{self, Then};
use super::hold::{self, Next};
use super::lead::{Lead, Link};
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
/// How long a keeper may take to answer in preflight; a frozen one does not.
const ANSWER: Duration = Duration::from_secs(5);

/// What preflight waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Preflight {
    /// The new side's greeting; probing beside it.
    Greeting {
        /// A probe was good already.
        healthy: bool,
    },
    /// The new side's first good probe.
    Probing {
        /// What its keeper holds, if it has one.
        keeper: Option<Epoch>,
        /// What the last probe met.
        last: Option<Word>,
    },
    /// The new side's keeper is acquiring: what becomes of it?
    Acquiring,
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

/// What the new side's keeper holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// Its number.
    pub epoch: u64,
    /// Whether it needs no `confirm`.
    pub confirmed: bool,
}

/// What is known of the old side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Known {
    /// Its conversation.
    pub link: Link,
    /// Whether it holds the lease.
    pub holds: bool,
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
    State::Preflight(Preflight::Greeting { healthy: false })
}

pub(super) fn step(turn: &mut Turn<'_>, state: Preflight, event: Event) -> State {
    match state {
        Preflight::Greeting { healthy } => greeting(turn, healthy, event),
        Preflight::Probing { keeper, last } => probing(turn, keeper, last, event),
        Preflight::Acquiring => acquiring(turn, event),
        Preflight::Meeting { held, lease } => meeting(turn, held, lease, event),
        Preflight::Preparing(old) => preparing(turn, old, event),
        Preflight::Refused(old, why) => refused(turn, old, why, event),
        Preflight::Showing(lead) => showing(turn, lead, event),
    }
}

fn greeting(turn: &mut Turn<'_>, healthy: bool, event: Event) -> State {
    match event {
        Event::Said(Side::New, Saying::Status(status)) => greeted(turn, healthy, &status),
        // It may be about to listen: the container was started a moment ago.
        Event::Broken(Side::New) => {
            turn.again();
            State::Preflight(Preflight::Greeting { healthy })
        }
        Event::Expired(Timer::Again) => {
            turn.act(Action::Connect { side: Side::New, at: None });
            State::Preflight(Preflight::Greeting { healthy })
        }
        Event::Expired(Timer::Deadline) => {
            turn.act(Action::ClearTimers);
            turn.act(Action::HangUp(Side::New));
            turn.act(Action::Wake(Timer::Again, LATE));
            no_keeper(turn, healthy)
        }
        Event::Probed(Side::New, verdict) => {
            State::Preflight(Preflight::Greeting { healthy: healthy || verdict == Verdict::Good })
        }
        Event::Said(..)
        | Event::Begin
        | Event::Broken(Side::Old)
        | Event::Expired(Timer::Patience | Timer::Unhealthy)
        | Event::Settled
        | Event::Drained
        | Event::InFlight(_)
        | Event::Probed(Side::Old, _)
        | Event::Released
        | Event::Abort
        | Event::Shutdown => State::Preflight(Preflight::Greeting { healthy }),
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

fn foreign_version(status: &Status) -> Option<Word> {
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
    State::Preflight(Preflight::Probing { keeper: None, last: None })
}

fn by_standing(turn: &mut Turn<'_>, status: &Status) -> State {
    match standing(status) {
        Standing::Confirmed => probe_holder(turn, Epoch { epoch: status.epoch, confirmed: true }),
        Standing::Unconfirmed => probe_holder(turn, Epoch { epoch: status.epoch, confirmed: false }),
        Standing::Acquiring => {
            turn.act(Action::StopProbe);
            turn.deadline(turn.plan.limits.deploy_timeout);
            turn.again();
            State::Preflight(Preflight::Acquiring)
        }
        Standing::Standby => exclusive(turn, status),
    }
}

/// A target whose keeper holds already. Only a probe made after its word counts.
fn probe_holder(turn: &mut Turn<'_>, keeper: Epoch) -> State {
    turn.act(Action::Epoch(keeper.epoch));
    turn.act(Action::StopProbe);
    turn.act(Action::Probe(Side::New, if turn.plan.aim == Aim::Adopt { Pace::Eager } else { Pace::Contract }));
    turn.deadline(turn.plan.limits.deploy_timeout);
    State::Preflight(Preflight::Probing { keeper: Some(keeper), last: None })
}

fn probing(turn: &mut Turn<'_>, keeper: Option<Epoch>, last: Option<Word>, event: Event) -> State {
    match event {
        Event::Probed(Side::New, Verdict::Good) => match keeper {
            Some(Epoch { epoch, confirmed: false }) => confirm::begin(turn, epoch, Then::Go),
            Some(Epoch { confirmed: true, .. }) | None => go(turn),
        },
        Event::Probed(Side::New, Verdict::Silent(text) | Verdict::Unhealthy(text)) => {
            State::Preflight(Preflight::Probing { keeper, last: Some(text.into()) })
        }
        Event::Expired(Timer::Deadline) => turn.give_up(Reason::NotHealthy(last)),
        Event::Broken(Side::New) if keeper.is_some() => turn.give_up(Reason::Lost(Side::New)),
        Event::Said(Side::New, Saying::Exited { code, lines }) => {
            turn.give_up(Reason::Exited(Side::New, last_words(code, &lines)))
        }
        // A keeper that was late: nobody waits for it, but it is asked for as long as nobody answers.
        Event::Said(Side::New, Saying::Status(status)) if keeper.is_none() => greeted(turn, false, &status),
        Event::Broken(Side::New) => {
            turn.act(Action::Wake(Timer::Again, LATE));
            State::Preflight(Preflight::Probing { keeper, last })
        }
        Event::Expired(Timer::Again) => {
            turn.act(Action::Connect { side: Side::New, at: None });
            State::Preflight(Preflight::Probing { keeper, last })
        }
        Event::Said(..)
        | Event::Begin
        | Event::Broken(Side::Old)
        | Event::Expired(Timer::Patience | Timer::Unhealthy)
        | Event::Settled
        | Event::Drained
        | Event::InFlight(_)
        | Event::Probed(Side::Old, _)
        | Event::Released
        | Event::Abort
        | Event::Shutdown => State::Preflight(Preflight::Probing { keeper, last }),
    }
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
        | Event::Probed(..)
        | Event::Released
        | Event::Abort
        | Event::Shutdown => State::Preflight(Preflight::Acquiring),
    }
}

/// The new side stands by: only the exclusive kind can start its app.
fn exclusive(turn: &mut Turn<'_>, status: &Status) -> State {
    turn.act(Action::StopProbe);
    let unfit = match turn.plan.aim {
        Aim::Adopt | Aim::Recover(_) => Some("the keeper holds no more"),
        Aim::Deploy(_) if !turn.plan.sole_target => {
            Some("a target whose keeper stands by may be only the sole target of a deploy")
        }
        Aim::Deploy(Handoff::Overlap | Handoff::Drain) => {
            Some("the target's keeper stands by: only an exclusive handoff starts its app")
        }
        Aim::Deploy(Handoff::Auto | Handoff::Exclusive) => None,
    };
    if let Some(text) = unfit {
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

fn meeting(turn: &mut Turn<'_>, held: bool, lease: Word, event: Event) -> State {
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
        | Event::Probed(..)
        | Event::Released
        | Event::Abort
        | Event::Shutdown => State::Preflight(Preflight::Meeting { held, lease }),
    }
}

/// The old side has greeted. It may hold, stand by, or know who does.
fn met(turn: &mut Turn<'_>, held: bool, lease: Word, status: &Status) -> State {
    if let Some(why) = foreign_version(status) {
        return turn.give_up(Reason::Refused(Side::Old, why));
    }
    if *status.lease != *lease {
        let text = "the two apps' keepers have different leases: is the same volume mounted in both?";
        return turn.give_up(Reason::Unfit(text.into()));
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

fn preparing(turn: &mut Turn<'_>, old: Known, event: Event) -> State {
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
fn refused(turn: &mut Turn<'_>, old: Known, why: Word, event: Event) -> State {
    match event {
        Event::Said(Side::New, Saying::Status(status)) => match standing(&status) {
            Standing::Standby => turn.give_up(Reason::Refused(Side::New, why)),
            Standing::Confirmed | Standing::Unconfirmed | Standing::Acquiring => by_standing(turn, &status),
        },
        event => waiting(turn, Preflight::Refused(old, why), event),
    }
}

fn showing(turn: &mut Turn<'_>, lead: Lead, event: Event) -> State {
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
        | Event::Probed(..)
        | Event::Released
        | Event::Abort
        | Event::Shutdown => State::Preflight(state),
    }
}

/// An app's exit, for people.
pub(super) fn last_words(code: i32, lines: &[String]) -> Word {
    match lines.last() {
        Some(line) => format!("status {code}, its last line: {line}").into(),
        None => format!("status {code}").into(),
    }
}
