//! What can happen next, and what happens then.

use lockgate::handoff::machine::{Event, InFlight, Side, State, Timer, Verdict};

use crate::Model;
use crate::proxy::{self, Kind};
use crate::world::{Heir, Kamal, Keeper, Link, Name, Role, Step as Acquiring, Stop, World};

/// The most writes that are acknowledged: one more than a snapshot has is enough to tell.
const WRITES: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    // The proxy.
    Hear(Side),
    NoticeBreak(Side),
    Expire(Timer),
    /// While an answer is on its way: a race of milliseconds against seconds, counted as a fault.
    ExpireEarly(Timer),
    Settled,
    Drained,
    InFlight {
        safe: bool,
    },
    Released,
    ProbeIsGood(Side),
    NoticeAway,
    Follow,
    ProxyEnds,
    ProxyStarts,
    // Keepers and apps.
    ReadLine {
        of: Name,
        late: bool,
    },
    ReadEnd(Name),
    TakeUnasked(Name),
    /// While lines are on their way: counted as a fault.
    TakeUnaskedEarly(Name),
    Acquire(Name),
    BudgetOver(Name),
    AppStops(Name),
    HeirExits(Name),
    Write,
    // Docker, Kamal, people.
    DockerStarts(Name),
    Thaw(Name),
    ForeignCloses,
    KamalRuns(Name),
    KamalDeploys,
    KamalStops(Name),
    KamalIsDone,
    OperatorDeploys(Name),
    // Faults.
    Kill(Name),
    KillKeeper {
        of: Name,
        heir: Heir,
    },
    Freeze(Name),
    AppCrashes(Name),
    Break {
        side: Side,
        lines_lost: bool,
    },
    ProxyDies {
        old_state: bool,
    },
    Reboot,
    ForeignOpens,
    KamalImagines,
    Stale(Name),
    /// An operator gives up the handoff that runs.
    Abort,
    /// SIGTERM to the proxy.
    Shutdown,
}

impl Step {
    pub(crate) fn is_fault(self) -> bool {
        match self {
            Self::ExpireEarly(_)
            | Self::TakeUnaskedEarly(_)
            | Self::Kill(_)
            | Self::KillKeeper { .. }
            | Self::Freeze(_)
            | Self::AppCrashes(_)
            | Self::Break { .. }
            | Self::ProxyDies { .. }
            | Self::Reboot
            | Self::ForeignOpens
            | Self::KamalImagines
            | Self::Stale(_)
            | Self::Abort
            | Self::Shutdown => true,
            Self::Hear(_)
            | Self::NoticeBreak(_)
            | Self::Expire(_)
            | Self::Settled
            | Self::Drained
            | Self::InFlight { .. }
            | Self::Released
            | Self::ProbeIsGood(_)
            | Self::NoticeAway
            | Self::Follow
            | Self::ProxyEnds
            | Self::ProxyStarts
            | Self::ReadLine { .. }
            | Self::ReadEnd(_)
            | Self::TakeUnasked(_)
            | Self::Acquire(_)
            | Self::BudgetOver(_)
            | Self::AppStops(_)
            | Self::HeirExits(_)
            | Self::Write
            | Self::DockerStarts(_)
            | Self::Thaw(_)
            | Self::ForeignCloses
            | Self::KamalRuns(_)
            | Self::KamalDeploys
            | Self::KamalStops(_)
            | Self::KamalIsDone
            | Self::OperatorDeploys(_) => false,
        }
    }
}

impl Model {
    pub(crate) fn steps(&self, world: &World, steps: &mut Vec<Step>) {
        let quiet = is_quiet(world);
        Self::proxy_steps(world, quiet, steps);
        for name in world.names() {
            self.keeper_steps(world, name, quiet, steps);
        }
        if world.acknowledged < WRITES && writes_reach(world) {
            steps.push(Step::Write);
        }
        if world.foreign {
            steps.push(Step::ForeignCloses);
        }
        if quiet {
            kamal_steps(world, steps);
        }
        if world.faults > 0 {
            faults(world, steps);
        }
        if self.heirs_stay {
            steps.retain(|step| !closes_for_good(world, *step));
        }
    }

    fn proxy_steps(world: &World, quiet: bool, steps: &mut Vec<Step>) {
        if !world.proxy.up {
            return steps.push(Step::ProxyStarts);
        }
        let Some(run) = &world.proxy.run else {
            if world.proxy.stopping {
                return steps.push(Step::ProxyEnds);
            }
            if world.is_away() {
                steps.push(Step::NoticeAway);
            }
            if world.proxy.unavailable && quiet {
                steps.push(Step::Follow);
            }
            return;
        };
        for side in [Side::Old, Side::New] {
            match run.link(side) {
                Link::Up => {
                    let talk = run.name(side).and_then(|name| world.keeper(name).talk.as_ref());
                    if talk.is_some_and(|talk| !talk.to_proxy.is_empty()) {
                        steps.push(Step::Hear(side));
                    }
                }
                Link::Broken => steps.push(Step::NoticeBreak(side)),
                Link::None => {}
            }
        }
        for timer in [Timer::Deadline, Timer::Patience, Timer::Unhealthy, Timer::Again] {
            if run.timers & proxy::bit(timer) != 0 {
                match (quiet, world.faults) {
                    (true, _) => steps.push(Step::Expire(timer)),
                    (false, 0) => {}
                    (false, _) => steps.push(Step::ExpireEarly(timer)),
                }
            }
        }
        let watches = [
            (proxy::SETTLED, Step::Settled),
            (proxy::DRAINED, Step::Drained),
            (proxy::IN_FLIGHT, Step::InFlight { safe: true }),
            (proxy::IN_FLIGHT, Step::InFlight { safe: false }),
            (proxy::RELEASED, Step::Released),
        ];
        steps.extend(watches.into_iter().filter(|(bit, _)| run.watches & bit != 0).map(|(_, step)| step));
        if let Some(side) = world.probe_is_good() {
            steps.push(Step::ProbeIsGood(side));
        }
    }

    fn keeper_steps(&self, world: &World, name: Name, quiet: bool, steps: &mut Vec<Step>) {
        let keeper = world.keeper(name);
        if keeper.heir != Heir::None && !self.heirs_stay {
            steps.push(Step::HeirExits(name));
        }
        if keeper.frozen {
            return steps.push(Step::Thaw(name));
        }
        if keeper.role == Role::Down {
            return steps.push(Step::DockerStarts(name));
        }
        if keeper.talk.as_ref().is_some_and(|talk| !talk.to_keeper.is_empty()) {
            steps.push(Step::ReadLine { of: name, late: false });
        }
        if let Some(late) = &keeper.late {
            steps.push(if late.to_keeper.is_empty() {
                Step::ReadEnd(name)
            } else {
                Step::ReadLine { of: name, late: true }
            });
        }
        match keeper.role {
            Role::Standby if world.may_take_unasked(&self.rules, name) => match (quiet, world.faults) {
                (true, _) => steps.push(Step::TakeUnasked(name)),
                (false, 0) => {}
                (false, _) => steps.push(Step::TakeUnaskedEarly(name)),
            },
            Role::Acquiring { step: Acquiring::Lock, .. } if !world.lease_is_free() => {
                if quiet {
                    steps.push(Step::BudgetOver(name));
                }
            }
            Role::Acquiring { .. } => steps.push(Step::Acquire(name)),
            Role::Stopping(_) => steps.push(Step::AppStops(name)),
            Role::Gone | Role::Down | Role::Standby | Role::Holder => {}
        }
    }

    pub(crate) fn take(&self, world: &mut World, step: Step) {
        if step.is_fault() {
            world.faults -= 1;
            return self.fail(world, step);
        }
        match step {
            Step::Hear(side) => world.hear(self, side),
            Step::NoticeBreak(side) => world.notice_break(self, side),
            Step::Expire(timer) => self.expire(world, timer),
            Step::Settled => self.seen(world, proxy::SETTLED, Event::Settled),
            Step::Drained => self.seen(world, proxy::DRAINED, Event::Drained),
            Step::InFlight { safe: true } => {
                self.seen(world, proxy::IN_FLIGHT, Event::InFlight(InFlight::SafeOnly));
            }
            Step::InFlight { safe: false } => {
                self.seen(world, proxy::IN_FLIGHT, Event::InFlight(InFlight::Unsafe(String::new())));
            }
            Step::Released => self.seen(world, proxy::RELEASED, Event::Released),
            Step::ProbeIsGood(side) => world.event(self, Event::Probed(side, Verdict::Good)),
            Step::NoticeAway => world.proxy.unavailable = true,
            Step::Follow => self.follow(world),
            Step::ProxyEnds => proxy_dies(world, None),
            Step::ProxyStarts => proxy_starts(world),
            Step::Write => world.acknowledge(),
            Step::ForeignCloses => world.foreign = false,
            _ => self.take_by_others(world, step),
        }
    }

    /// One who trusts a health probe alone opens the gate on whatever answers at the saved address.
    fn follow(&self, world: &mut World) {
        let answers = world.proxy.active.filter(|active| world.live(*active) > 0 && !world.keeper(*active).frozen);
        if !self.rules.keepers_word && answers.is_some() {
            world.proxy.unavailable = false;
        } else {
            world.follow(self);
        }
    }

    fn take_by_others(&self, world: &mut World, step: Step) {
        match step {
            Step::ReadLine { of, late } => world.read_line(&self.rules, of, late),
            Step::ReadEnd(name) => world.read_end(name),
            Step::TakeUnasked(name) => world.take_unasked(name),
            Step::Acquire(name) => world.acquire(&self.rules, name),
            Step::BudgetOver(name) => world.budget_over(name),
            Step::AppStops(name) => world.app_stopped(name),
            Step::HeirExits(name) => world.keeper_mut(name).heir = Heir::None,
            Step::DockerStarts(name) => world.keeper_mut(name).role = Role::Standby,
            Step::Thaw(name) => world.keeper_mut(name).frozen = false,
            Step::KamalRuns(name) => {
                world.deploys -= 1;
                world.kamal = Kamal::Asking(name);
                if world.keeper(name).role == Role::Gone {
                    world.keeper_mut(name).role = Role::Down;
                }
            }
            Step::KamalDeploys => {
                if let Kamal::Asking(name) = world.kamal {
                    if world.proxy.up {
                        world.kamal = Kamal::Deploying(name);
                        world.begin_run(self, Kind::Deploy, name, None);
                    } else {
                        world.kamal = Kamal::Failed(name);
                    }
                }
            }
            Step::KamalStops(name) => world.docker_stops(name),
            Step::KamalIsDone => world.kamal = Kamal::Idle,
            Step::OperatorDeploys(name) => world.begin_run(self, Kind::Deploy, name, None),
            _ => unreachable!("{step:?} is taken elsewhere"),
        }
    }

    fn expire(&self, world: &mut World, timer: Timer) {
        if let Some(run) = &mut world.proxy.run {
            run.timers &= !proxy::bit(timer);
        }
        world.event(self, Event::Expired(timer));
    }

    fn seen(&self, world: &mut World, watch: u8, event: Event) {
        if let Some(run) = &mut world.proxy.run {
            run.watches &= !watch;
        }
        world.event(self, event);
    }

    fn fail(&self, world: &mut World, step: Step) {
        match step {
            Step::ExpireEarly(timer) => self.expire(world, timer),
            Step::TakeUnaskedEarly(name) => world.take_unasked(name),
            Step::Kill(name) => {
                world.keeper_mut(name).heir = Heir::None;
                world.keeper_dies(name, Role::Down);
            }
            Step::KillKeeper { of, heir } => {
                world.keeper_mut(of).heir = heir;
                world.keeper_dies(of, Role::Down);
            }
            Step::Freeze(name) => world.keeper_mut(name).frozen = true,
            Step::AppCrashes(name) => world.app_crashes(name),
            Step::Break { side, lines_lost } => {
                let name = world.proxy.run.as_ref().and_then(|run| run.name(side));
                if let Some(name) = name {
                    world.end_talk(name, lines_lost);
                    world.break_links(name);
                }
            }
            Step::ProxyDies { old_state } => proxy_dies(world, old_state.then(|| self.old_state())),
            Step::Reboot => reboot(world),
            Step::ForeignOpens => world.foreign = true,
            Step::KamalImagines => {
                if let Kamal::Asking(name) | Kamal::Deploying(name) | Kamal::Succeeded(name) = world.kamal {
                    world.kamal = Kamal::Failed(name);
                }
            }
            Step::Stale(name) => world.docker_stops(name),
            Step::Abort => world.event(self, Event::Abort),
            Step::Shutdown => {
                world.proxy.stopping = true;
                world.event(self, Event::Shutdown);
            }
            _ => unreachable!("{step:?} is no fault"),
        }
    }

    /// What a backup of the proxy's state says.
    fn old_state(&self) -> (Option<Name>, u8) {
        (Some(0), 1)
    }
}

/// Nothing is on its way that takes milliseconds: lines, ends of conversations, steps of acquiring. Only then do clocks
/// of seconds run out for nothing.
fn is_quiet(world: &World) -> bool {
    let keepers = world.names().all(|name| {
        let keeper = world.keeper(name);
        let waits = matches!(keeper.role, Role::Acquiring { step: Acquiring::Lock, .. }) && !world.lease_is_free();
        let heard = keeper.talk.as_ref().is_none_or(|talk| talk.to_proxy.is_empty());
        let read = keeper.talk.as_ref().is_none_or(|talk| talk.to_keeper.is_empty()) && keeper.late.is_none();
        let acquires = matches!(keeper.role, Role::Acquiring { .. }) && !waits;
        heard && (keeper.frozen || (read && !acquires))
    });
    keepers && world.proxy.run.as_ref().is_none_or(|run| !run.links.contains(&Link::Broken))
}

/// Where heirs stay: what leaves a gate closed on one that no handoff has closed, or on an app that it was never open on.
fn closes_for_good(world: &World, step: Step) -> bool {
    let rolls_back = world.proxy.run.as_ref().is_some_and(|run| matches!(run.state, State::Rollback(_)));
    match step {
        Step::ProxyDies { .. } | Step::Shutdown | Step::Reboot => true,
        // Docker ends what it has told to stop.
        Step::KillKeeper { of, .. } => {
            let served = world.proxy.active == Some(of) && !world.proxy.unavailable && !rolls_back;
            !served || world.keeper(of).role == Role::Stopping(Stop::Docker)
        }
        // The old app answers at once, or not at all.
        Step::Expire(Timer::Deadline) | Step::ExpireEarly(Timer::Deadline) => world.probe_is_good() == Some(Side::Old),
        _ => false,
    }
}

/// A request that was admitted, or still is in flight, is answered by a live app.
fn writes_reach(world: &World) -> bool {
    let Some(active) = world.proxy.active else { return false };
    let in_flight = world
        .proxy
        .run
        .as_ref()
        .is_some_and(|run| matches!(run.state, State::Settle(_) | State::Drain(_) | State::Yield(_)));
    world.live(active) > 0
        && !world.keeper(active).frozen
        && (world.gate_open() || (in_flight && !world.proxy.unavailable))
}

fn proxy_starts(world: &mut World) {
    let (active, known) = world.proxy.saved;
    world.proxy.up = true;
    world.proxy.active = active;
    world.proxy.unkept &= active.is_none();
    world.proxy.known = known;
    world.proxy.unavailable = active.is_some();
}

fn proxy_dies(world: &mut World, saved: Option<(Option<Name>, u8)>) {
    let run = world.proxy.run.take();
    if let Some(run) = &run {
        for side in [Side::Old, Side::New] {
            if let (Link::Up, Some(name)) = (run.link(side), run.name(side)) {
                world.end_talk(name, false);
            }
        }
    }
    world.proxy.up = false;
    world.proxy.stopping = false;
    world.proxy.handoff = false;
    world.proxy.unavailable = false;
    world.proxy.failed = None;
    world.proxy.active = None;
    world.proxy.known = 0;
    if let Some(saved) = saved {
        world.proxy.saved = saved;
    }
    if let Kamal::Asking(name) | Kamal::Deploying(name) = world.kamal {
        world.kamal = Kamal::Failed(name);
    }
}

fn reboot(world: &mut World) {
    for name in world.names() {
        let role = if world.keeper(name).role == Role::Gone { Role::Gone } else { Role::Down };
        *world.keeper_mut(name) = Keeper { role, ..Keeper::GONE };
    }
    world.foreign = false;
    world.proxy.run = None;
    if world.proxy.up {
        proxy_dies(world, None);
    }
    if let Kamal::Asking(name) | Kamal::Deploying(name) = world.kamal {
        world.kamal = Kamal::Failed(name);
    }
}

/// Kamal's order: run the new container, deploy, stop the old one; the new one after a failure.
fn kamal_steps(world: &World, steps: &mut Vec<Step>) {
    match world.kamal {
        Kamal::Idle => {
            if world.deploys > 0 && world.proxy.up {
                steps.extend(world.names().filter(|name| world.proxy.active != Some(*name)).map(Step::KamalRuns));
            }
            if let Some(name) = forgotten(world) {
                steps.push(Step::OperatorDeploys(name));
            }
        }
        Kamal::Asking(_) => {
            if world.proxy.run.is_none() && !world.proxy.stopping {
                steps.push(Step::KamalDeploys);
            }
        }
        Kamal::Deploying(_) => {}
        Kamal::Failed(name) => {
            steps.push(if world.keeper(name).role == Role::Gone { Step::KamalIsDone } else { Step::KamalStops(name) });
        }
        Kamal::Succeeded(name) => {
            let other = world.names().find(|other| *other != name && world.keeper(*other).role != Role::Gone);
            steps.push(other.map_or(Step::KamalIsDone, Step::KamalStops));
        }
    }
}

/// The proxy's state names nobody who could tell: the next deploy works from there.
fn forgotten(world: &World) -> Option<Name> {
    let known = world.names().any(|name| world.proxy.known & (1 << name) != 0 && world.keeper(name).role != Role::Gone);
    if known || !world.proxy.up || world.proxy.stopping || world.proxy.run.is_some() || world.serving() {
        return None;
    }
    world.names().find(|name| world.keeper(*name).acts())
}

fn faults(world: &World, steps: &mut Vec<Step>) {
    for name in world.names() {
        let keeper = world.keeper(name);
        if !keeper.runs() {
            continue;
        }
        steps.push(Step::Kill(name));
        if matches!(keeper.role, Role::Holder | Role::Stopping(_)) && keeper.heir == Heir::None {
            steps.push(Step::KillKeeper { of: name, heir: Heir::Locked });
            steps.push(Step::KillKeeper { of: name, heir: Heir::Unlocked });
        }
        if !keeper.frozen {
            steps.push(Step::Freeze(name));
            if keeper.role == Role::Holder {
                steps.push(Step::AppCrashes(name));
            }
        }
        steps.push(Step::Stale(name));
    }
    if let Some(run) = &world.proxy.run {
        if run.state.may_give_up() {
            steps.push(Step::Abort);
        }
        if !world.proxy.stopping {
            steps.push(Step::Shutdown);
        }
        for side in [Side::Old, Side::New] {
            if run.link(side) == Link::Up {
                steps.push(Step::Break { side, lines_lost: false });
                steps.push(Step::Break { side, lines_lost: true });
            }
        }
    }
    if world.proxy.up {
        steps.push(Step::ProxyDies { old_state: false });
        steps.push(Step::ProxyDies { old_state: true });
    }
    steps.push(Step::Reboot);
    if !world.foreign {
        steps.push(Step::ForeignOpens);
    }
    if matches!(world.kamal, Kamal::Asking(_) | Kamal::Deploying(_) | Kamal::Succeeded(_)) {
        steps.push(Step::KamalImagines);
    }
}
