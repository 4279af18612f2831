//! Following: while the gate is closed because nobody is known to be live, the keepers are asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Control;
use super::deploy::keeper_token;
use super::entry::Entry;
use crate::gate;
use crate::handoff::budget::{self, Measured};
use crate::handoff::conversation::ask;
use crate::handoff::driver::{Job, Party, Sides, Watcher};
use crate::handoff::follow::{Decision, Ours, Seen, decide};
use crate::handoff::machine::{Aim, Outcome, Phase, Plan, Reason, Word};
use crate::service::Revision;
use crate::spec::{OnBusy, Target, TargetOptions};
use crate::state::{KnownKeeper, meet};
use crate::wire::{self, Status};

/// How long between two looks of a follower, growing.
const FOLLOW: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long a keeper may take to greet.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a keeper that holds may take to have a healthy app before it is asked again who holds.
const ADOPT: Duration = Duration::from_secs(30);

impl Control {
    /// Begins to follow a service, if nobody is known to be live and nobody follows yet. One whose first deploy failed
    /// is not in charge: no request could come to it.
    pub(super) fn follow(self: &Arc<Self>, entry: &Arc<Entry>) {
        if is_unavailable(entry) {
            self.begin_to_follow(entry);
        }
    }

    /// After a handoff that was given up: is it still the active revision's keeper that holds? One that was killed may
    /// have left its app, and when that ends another keeper takes the lease.
    pub(super) fn watch(self: &Arc<Self>, entry: &Arc<Entry>) {
        if entry.now().keeper.is_some() {
            self.begin_to_follow(entry);
        }
    }

    fn begin_to_follow(self: &Arc<Self>, entry: &Arc<Entry>) {
        if !self.entry(&entry.service.name).is_some_and(|ours| Arc::ptr_eq(&ours, entry)) {
            return;
        }
        {
            let mut now = entry.now();
            if now.followed || now.removed {
                return;
            }
            now.followed = true;
        }
        let (control, entry) = (Arc::clone(self), Arc::clone(entry));
        self.spawn(async move { control.follow_to_the_end(&entry).await });
    }

    async fn follow_to_the_end(self: &Arc<Self>, entry: &Arc<Entry>) {
        let mut pause = FOLLOW.0;
        let mut failed = None;
        let mut stopping = self.stopping.subscribe();
        while !self.is_stopping() {
            let ended = entry.now().ended;
            // Asked before the turn: a deploy need not wait for that.
            let holder = if is_unavailable(entry) { Holder::Nobody } else { who_holds(entry).await };
            let turn = self.turns.take(&entry.service.name, OnBusy::Wait).await;
            if !is_unavailable(entry) && holder == Holder::Another && who_holds(entry).await == holder {
                entry.service.gate.close(gate::Reason::Unavailable);
            }
            // What was heard before a handoff ended meanwhile says nothing of after it.
            let is_as_it_should = holder == Holder::Active && entry.now().ended == ended;
            if entry.now().removed || (!is_unavailable(entry) && is_as_it_should) {
                // Said while the turn is ours: whoever makes it unavailable next finds nobody at work.
                entry.now().followed = false;
                return;
            }
            if is_unavailable(entry) && self.look(entry, &mut failed).await {
                pause = FOLLOW.0;
            }
            drop(turn);
            let _ = timeout(pause, stopping.wait_for(|stopping| *stopping)).await;
            pause = (pause * 2).min(FOLLOW.1);
        }
        entry.now().followed = false;
    }

    /// Asks all keepers once and does what follows from it. Says whether that came to anything.
    async fn look(self: &Arc<Self>, entry: &Arc<Entry>, failed: &mut Option<u64>) -> bool {
        let known = entry.keepers();
        let statuses = ask_all(entry, &known).await;
        entry.meet_strangers(&statuses);
        let decision = decide(&seen(&statuses), *failed);
        let sides = |to: usize, from: Option<usize>| entry.sides(&known, to, from);
        let (aim, sides, epoch) = match decision {
            Decision::Wait => {
                entry.now().note = waiting_for(&known, &statuses);
                return false;
            }
            Decision::Adopt(keeper) => {
                (Aim::Adopt, sides(keeper, None), statuses.get(keeper).and_then(|status| status.as_ref()))
            }
            Decision::RollBack { from, to } => {
                let why: Word = "its epoch could not be confirmed".into();
                // The machine brings the old side back.
                (Aim::Recover(why), sides(from, Some(to)), None)
            }
        };
        let (Some(sides), epoch) = (sides, epoch.map(|status| status.epoch)) else { return false };
        let token = match keeper_token(self.settings.for_service(&entry.service.name)).await {
            Ok(token) => token,
            Err(failure) => {
                entry.now().note = failure.error;
                return false;
            }
        };
        let measured = self.measured(&entry.service.name).await;
        let mut job = self.follow_job(entry, aim, Sides { token, ..sides }, measured);
        let mut watcher = Following { control: self, entry };
        let report = self.lead(&mut job, &mut watcher, entry).await;
        if let Outcome::GivenUp(reason) = report.outcome {
            entry.now().note = reason.to_string();
            if matches!(reason, Reason::NotHealthy(_) | Reason::Unhealthy(_) | Reason::Exited(..)) {
                *failed = epoch;
            }
            return false;
        }
        true
    }

    fn follow_job(&self, entry: &Entry, aim: Aim, sides: Sides, measured: Measured) -> Job {
        let name = &entry.service.name;
        let settings = self.settings.for_service(name);
        let old_revision = entry.service.gate.revision().is_some();
        let plan = Plan {
            aim,
            service: Arc::clone(name),
            handoff: format!("{:08x}", fastrand::u32(..)).into(),
            old_keeper: sides.old.keeper.is_some(),
            old_revision,
            unkept: old_revision && entry.now().keeper.is_none(),
            keeper_expected: true,
            must_name_service: false,
            sole_target: true,
            force: false,
            on_drain_timeout: settings.on_drain_timeout,
            limits: budget::Limits {
                deploy_timeout: ADOPT,
                drain_timeout: Duration::ZERO,
                handoff_timeout: settings.handoff_timeout,
                unhealthy_after: settings.unhealthy_after,
                measured,
            },
        };
        let (service, flights) = (Arc::clone(&entry.service), self.flights.clone());
        Job { plan, service, flights, sides, asked_by: "following".into() }
    }
}

/// Who has the lease of a service whose gate is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// The active revision's keeper, as it should be.
    Active,
    /// Another keeper: the active revision is live no more.
    Another,
    /// Nobody who answers. What was active may live on, its keeper gone.
    Nobody,
}

async fn who_holds(entry: &Entry) -> Holder {
    let known = entry.keepers();
    let statuses = ask_all(entry, &known).await;
    let active = entry.now().keeper.clone();
    match decide(&seen(&statuses), None) {
        Decision::Wait => Holder::Nobody,
        Decision::Adopt(keeper) | Decision::RollBack { from: keeper, .. } => {
            let is_active = known.get(keeper).is_some_and(|known| Some(&known.control) == active.as_ref());
            if is_active { Holder::Active } else { Holder::Another }
        }
    }
}

fn is_unavailable(entry: &Entry) -> bool {
    entry.service.gate.view().reasons.unavailable
}

fn seen(statuses: &[Option<Status>]) -> Vec<Seen<'_, usize>> {
    statuses.iter().enumerate().map(|(keeper, status)| Seen { keeper, status: status.as_ref() }).collect()
}

/// The greetings of those who answer and are this service's.
async fn ask_all(entry: &Entry, known: &[KnownKeeper]) -> Vec<Option<Status>> {
    let mut asking = JoinSet::new();
    for (number, keeper) in known.iter().enumerate() {
        let control = keeper.control.clone();
        asking.spawn(async move { (number, ask(&control, PATIENCE).await.ok()) });
    }
    let mut statuses = vec![None; known.len()];
    while let Some(answer) = asking.join_next().await {
        let Ok((number, status)) = answer else { continue };
        if let Some(place) = statuses.get_mut(number) {
            *place = status;
        }
    }
    entry.learn_lease(known, &statuses);
    let lease = entry.now().lease.clone();
    let ours = Ours { service: &entry.service.name, lease: lease.as_deref() };
    let check = |(keeper, status): (&KnownKeeper, Option<Status>)| status.filter(|status| ours.has(&keeper.id, status));
    known.iter().zip(statuses).map(check).collect()
}

fn waiting_for(known: &[KnownKeeper], statuses: &[Option<Status>]) -> String {
    let answered: Vec<_> = statuses.iter().flatten().collect();
    if answered.is_empty() {
        let all: Vec<_> = known.iter().map(|keeper| keeper.control.as_str()).collect();
        return format!("no keeper answers ({})", all.join(", "));
    }
    let is_stranger = |holder: &&wire::Holder| known.iter().all(|known| known.id != holder.id && !known.id.is_empty());
    if let Some(holder) = answered.iter().filter_map(|status| status.holder.as_ref()).find(is_stranger) {
        return format!(
            "the keeper at {} holds the lease, and its app was never deployed here: deploy it",
            holder.control
        );
    }
    let notes: Vec<_> = answered.iter().map(|status| status.note.as_str()).filter(|note| !note.is_empty()).collect();
    format!("no keeper holds the lease{}{}", if notes.is_empty() { "" } else { ": " }, notes.join("; "))
}

/// A follower's handoffs tell their phases and are saved like any other.
struct Following<'a> {
    control: &'a Arc<Control>,
    entry: &'a Arc<Entry>,
}

impl Watcher for Following<'_> {
    fn phase(&mut self, phase: Phase, _held: usize) {
        self.entry.now().phase = Some(phase);
    }

    async fn save(&mut self, sides: &Sides) {
        let Some(active) = sides.active else { return };
        let party = sides.party(active);
        let targets = party.revision.as_ref().map(|revision| revision.targets.iter());
        let targets: Vec<_> = targets.into_iter().flatten().map(|target| target.address().to_string()).collect();
        self.control.book.change(&self.entry.service.name, |page| {
            page.active_targets = targets;
            page.lockgate.keeper.clone_from(&party.keeper);
            page.lockgate.keepers.clone_from(&sides.known);
        });
        self.control.book.save().await;
    }
}

impl Entry {
    /// Every keeper to ask: those met, and the active revision's.
    fn keepers(&self) -> Vec<KnownKeeper> {
        let now = self.now();
        let mut known = now.known.clone();
        if let Some(keeper) = &now.keeper
            && !known.iter().any(|known| known.control == *keeper)
        {
            let revision = self.service.gate.revision();
            let target = revision.and_then(|revision| Some(revision.targets.first()?.address().to_string()));
            let (control, target) = (keeper.clone(), target.unwrap_or_default());
            known.push(KnownKeeper { id: String::new(), control, target });
        }
        known
    }

    /// After a start of the proxy the active revision's keeper is the one to name the lease.
    fn learn_lease(&self, known: &[KnownKeeper], statuses: &[Option<Status>]) {
        let mut now = self.now();
        if now.lease.is_some() {
            return;
        }
        let ours = Ours { service: &self.service.name, lease: None };
        let active = known.iter().zip(statuses).find(|(known, _)| Some(&known.control) == now.keeper.as_ref());
        if let Some((known, Some(status))) = active
            && ours.has(&known.id, status)
            && !status.lease.is_empty()
        {
            now.lease = Some(status.lease.clone());
        }
    }

    /// A holder that was never met is tried at its control's host, with the port of the target that we know. Where that is
    /// this very target, nobody knows where its app listens.
    fn meet_strangers(&self, statuses: &[Option<Status>]) {
        let active = self.service.gate.revision();
        let target = active.as_ref().and_then(|revision| Some(revision.targets.first()?.address()));
        let mut now = self.now();
        for holder in statuses.iter().flatten().filter_map(|status| status.holder.as_ref()) {
            let known = now.known.iter().any(|known| known.id == holder.id);
            let there = target.and_then(|target| target.at_host_of(&holder.control)).filter(|_| !known);
            if let Some(there) = there {
                let (id, control) = (holder.id.clone(), holder.control.clone());
                meet(&mut now.known, KnownKeeper { id, control, target: there.to_string() });
            }
        }
    }

    /// The sides of a following: `to` is adopted; or `to` holds unconfirmed and `back` is brought back.
    fn sides(&self, known: &[KnownKeeper], to: usize, back: Option<usize>) -> Option<Sides> {
        let active = self.service.gate.revision();
        let party = |keeper: &KnownKeeper| {
            let target = Target::parse(&keeper.target).ok()?;
            let is_active =
                |revision: &Arc<Revision>| matches!(revision.targets.as_slice(), [only] if *only.address() == target);
            let revision = match &active {
                Some(revision) if is_active(revision) => Arc::clone(revision),
                active => {
                    let options: TargetOptions = active.as_ref().map(|a| a.options.clone()).unwrap_or_default();
                    Revision::new(&[target], options, Target::parse(&keeper.control).ok())
                }
            };
            Some(Party { revision: Some(revision), keeper: Some(keeper.control.clone()), ..Party::default() })
        };
        let new = party(known.get(to)?)?;
        let old = match back {
            Some(back) => party(known.get(back)?)?,
            None => Party::default(),
        };
        Some(Sides { old, new, known: known.to_vec(), token: None, active: None })
    }
}
