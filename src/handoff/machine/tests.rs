//! The machine's promises, one sentence each.

use std::time::Duration;

use super::*;
use crate::handoff::budget::{Limits, Measured};
use crate::spec::{Handoff, OnDrainTimeout};
use crate::wire::{self, Facts, Holder, Saying, Verb};

mod back;
mod forward;
mod preflight;

/// One handoff under test: tell it what happens, look at what it does.
struct Led {
    plan: Plan,
    state: State,
    now: Duration,
    /// What it did about the last event.
    did: Vec<Action>,
    /// What it ever did.
    all: Vec<Action>,
}

fn plan(aim: Aim) -> Plan {
    let secs = |secs| Some(Duration::from_secs(secs));
    Plan {
        aim,
        service: "shop".into(),
        handoff: "h1".into(),
        old_keeper: true,
        old_revision: true,
        unkept: false,
        keeper_expected: false,
        must_name_service: false,
        sole_target: true,
        force: false,
        on_drain_timeout: OnDrainTimeout::Abort,
        limits: Limits { measured: Measured { stop: secs(1), boot: secs(3), restore: None }, ..Limits::default() },
    }
}

impl Led {
    fn new(plan: Plan) -> Self {
        let mut led = Self { plan, state: State::Start, now: Duration::ZERO, did: Vec::new(), all: Vec::new() };
        led.on(Event::Begin);
        led
    }

    fn deploy(kind: Handoff) -> Self {
        Self::new(plan(Aim::Deploy(kind)))
    }

    /// An exclusive handoff from a confirmed holder, up to a phase.
    fn until(phase: Phase) -> Self {
        Self::deploy(Handoff::Auto).go_until(phase)
    }

    fn go_until(mut self, phase: Phase) -> Self {
        let way = [
            (Phase::Preflight, Vec::new()),
            (
                Phase::Settle,
                vec![
                    greets(Side::New, Role::Standby, true),
                    greets(Side::Old, Role::Holder, true),
                    ready(Side::New),
                    Event::Said(Side::Old, Saying::Ok {}),
                ],
            ),
            (Phase::Drain, vec![Event::Settled]),
            (Phase::Yield, vec![Event::Drained]),
            (Phase::Acquire, vec![free(Side::Old)]),
            (Phase::Boot, vec![leased(Side::New, false), started(Side::New)]),
            (Phase::Confirm, vec![good(Side::New)]),
        ];
        for (at, events) in way {
            for event in events {
                self.on(event);
            }
            if at == phase {
                return self;
            }
        }
        panic!("no way to {phase:?}");
    }

    fn on(&mut self, event: Event) -> &mut Self {
        let state = std::mem::replace(&mut self.state, State::Start);
        (self.state, self.did) = step(&self.plan, state, self.now, event);
        self.all.extend(self.did.iter().cloned());
        self
    }

    fn at(&mut self, ms: u64) -> &mut Self {
        self.now = Duration::from_millis(ms);
        self
    }

    fn says(&self, side: Side, verb: &Verb) -> bool {
        self.did.iter().any(|action| matches!(action, Action::Say(to, said) if *to == side && said == verb))
    }

    fn says_prepare(&self, side: Side) -> bool {
        self.did.iter().any(|action| matches!(action, Action::Say(to, Verb::Prepare { .. }) if *to == side))
    }

    fn says_take(&self, side: Side) -> bool {
        self.did.iter().any(|action| matches!(action, Action::Say(to, Verb::Take { .. }) if *to == side))
    }

    fn does(&self, action: &Action) -> bool {
        self.did.contains(action)
    }

    fn ever(&self, action: &Action) -> bool {
        self.all.contains(action)
    }

    fn deadline(&self) -> Option<Duration> {
        self.did.iter().rev().find_map(|action| match action {
            Action::Wake(Timer::Deadline, after) => Some(*after),
            _ => None,
        })
    }

    fn phases(&self) -> Vec<&'static str> {
        self.all
            .iter()
            .filter_map(|action| if let Action::Phase(phase) = action { Some(phase.word()) } else { None })
            .collect()
    }

    fn outcome(&self) -> &Outcome {
        self.state.outcome().expect("it is over")
    }

    fn gave_up(&self) -> &Reason {
        match self.outcome() {
            Outcome::GivenUp(reason) => reason,
            other => panic!("not given up: {other:?}"),
        }
    }

    /// The gate is open on the new side and the queue empties.
    fn is_live(&self) -> bool {
        self.does(&Action::Flip(Side::New)) && self.does(&Action::Open(Shut::Handoff))
    }

    fn is_closed(&self) -> bool {
        self.ever(&Action::Close(Shut::Handoff)) && !self.ever(&Action::Open(Shut::Handoff))
    }

    fn warned(&self, of: &str) -> bool {
        self.all.iter().any(|action| matches!(action, Action::Warn(text) if text.contains(of)))
    }
}

fn status(side: Side, role: Role, confirmed: bool) -> Status {
    let id = side.word();
    Status {
        wire: wire::VERSION,
        role,
        service: Some("shop".into()),
        id: id.into(),
        epoch: 7,
        confirmed,
        last_confirmed: None,
        holder: None,
        lease: "1:2".into(),
        prepared: false,
        stopping: false,
        wishes: std::collections::BTreeMap::new(),
        note: String::new(),
        unknown: std::collections::BTreeMap::new(),
    }
}

/// A greeting; a standby names the other side as the holder.
fn greets(side: Side, role: Role, confirmed: bool) -> Event {
    let mut status = status(side, role, confirmed);
    if role == Role::Standby {
        status.holder = Some(Holder { id: side.other().word().into(), control: "10.0.0.1:8647".into() });
    }
    Event::Said(side, Saying::Status(Box::new(status)))
}

/// A greeting of one that knows of no holder.
fn greets_alone(side: Side, confirmed: bool) -> Event {
    Event::Said(side, Saying::Status(Box::new(status(side, Role::Standby, confirmed))))
}

fn ready(side: Side) -> Event {
    let facts = Facts { grace_ms: 8000, ..Facts::default() };
    Event::Said(side, Saying::Ready { ticket: side.word().into(), facts })
}

fn refused(side: Side) -> Event {
    Event::Said(side, Saying::Refused { why: "no room".into() })
}

fn free(side: Side) -> Event {
    Event::Said(side, Saying::Free { ms: 12 })
}

fn leased(side: Side, confirmed: bool) -> Event {
    Event::Said(side, Saying::Leased { epoch: 8, restored: None, confirmed, restore_ms: 0 })
}

fn started(side: Side) -> Event {
    Event::Said(side, Saying::Started {})
}

fn exited(side: Side) -> Event {
    Event::Said(side, Saying::Exited { code: 3, lines: vec!["no such table".into()] })
}

fn good(side: Side) -> Event {
    Event::Probed(side, Verdict::Good)
}

fn expired(timer: Timer) -> Event {
    Event::Expired(timer)
}
