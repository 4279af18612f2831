//! A service in control's charge: what is known of it besides what requests need.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::words::ServiceStatus;
use crate::gate::Limits;
use crate::handoff::driver::{Job, Report};
use crate::handoff::machine::{Event, Phase};
use crate::service::Service;
use crate::state::KnownKeeper;

/// A service in control's charge.
pub(super) struct Entry {
    pub(super) service: Arc<Service>,
    now: Mutex<Now>,
}

/// What changes while it is in charge.
#[derive(Default)]
pub(super) struct Now {
    /// The phase of the handoff that runs.
    pub(super) phase: Option<Phase>,
    /// Why it is unavailable.
    pub(super) note: String,
    /// The active revision's keeper.
    pub(super) keeper: Option<String>,
    /// The lease that it names, once it was heard.
    pub(super) lease: Option<String>,
    /// The epoch it holds.
    pub(super) epoch: Option<u64>,
    /// Every keeper ever met.
    pub(super) known: Vec<KnownKeeper>,
    /// It is in charge no more.
    pub(super) removed: bool,
    /// The proxy stops: nobody is held any more.
    turned_away: bool,
    /// A follower is at work.
    pub(super) followed: bool,
    /// How many handoffs have ended.
    pub(super) ended: u64,
    /// The handoff that runs.
    running: Option<Running>,
}

struct Running {
    /// It is a deploy's, not a follower's.
    deploys: bool,
    /// The way to it.
    signals: UnboundedSender<Event>,
}

impl Entry {
    pub(super) fn new(service: Arc<Service>) -> Arc<Self> {
        Arc::new(Self { service, now: Mutex::default() })
    }

    pub(super) fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The receiving end for the handoff that begins now.
    pub(super) fn listen(&self, deploys: bool) -> UnboundedReceiver<Event> {
        let (signals, receiver) = unbounded_channel();
        self.now().running = Some(Running { deploys, signals });
        receiver
    }

    /// Tells the handoff that runs, if one does.
    pub(super) fn signal(&self, event: Event) -> bool {
        self.now().running.as_ref().is_some_and(|running| running.signals.send(event).is_ok())
    }

    /// What the end of a handoff teaches.
    pub(super) fn learn(&self, job: &Job, report: &Report) {
        let mut now = self.now();
        now.phase = None;
        now.running = None;
        now.ended += 1;
        now.known.clone_from(&job.sides.known);
        if let Some(side) = job.sides.active {
            let party = job.sides.party(side);
            now.keeper = party.id.is_some().then(|| party.keeper.clone()).flatten();
            now.lease.clone_from(&party.lease);
            now.epoch = report.record.epoch;
        }
        now.note.clone_from(&report.record.reason);
    }

    /// The proxy stops: what is held is answered 503 with Retry-After, and so is what would be held from now on.
    pub(super) fn turn_away(&self) {
        let gate = &self.service.gate;
        self.now().turned_away = true;
        // In this order: nobody takes a place between the two.
        gate.set_limits(Limits { max_held: 0, ..Limits::default() });
        gate.turn_away();
    }

    /// New bounds for who is held, unless all are turned away. Gives back those before.
    pub(super) fn set_limits(&self, limits: Limits) -> Limits {
        let now = self.now();
        if now.turned_away { limits } else { self.service.gate.set_limits(limits) }
    }

    /// Ends what a follower is doing, unless it has changed something already. Says whether one is at work.
    pub(super) fn stop_following(&self) -> bool {
        let follows = {
            let now = self.now();
            now.followed && !now.running.as_ref().is_some_and(|running| running.deploys)
        };
        if follows {
            self.signal(Event::Abort);
        }
        follows
    }

    pub(super) fn status(&self) -> ServiceStatus {
        let (service, view, now) = (&self.service, self.service.gate.view(), self.now());
        let options = service.options.load();
        let targets = service
            .gate
            .revision()
            .map(|revision| revision.targets.iter().map(|target| target.address().to_string()).collect::<Vec<_>>());
        ServiceStatus {
            service: service.name.to_string(),
            hosts: options.hosts.clone(),
            path_prefixes: options.path_prefixes.clone(),
            targets: targets.unwrap_or_default(),
            state: view.reasons.operator.name().into(),
            tls: options.tls_enabled,
            closed: view.reasons.names().into_iter().map(str::to_owned).collect(),
            held: view.held,
            longest_wait_ms: u64::try_from(view.longest_wait.as_millis()).unwrap_or(u64::MAX),
            in_flight: view.in_flight,
            phase: now.phase.map(|phase| phase.word().to_owned()),
            epoch: now.epoch,
            keeper: now.keeper.clone(),
            note: if view.reasons.unavailable { now.note.clone() } else { String::new() },
        }
    }
}
