//! The proxy: the machine itself and following itself, with a driver that does in the model what the real one does.

use std::time::Duration;

use lockgate::handoff::budget::Limits;
use lockgate::handoff::follow::{Decision, Seen, decide};
use lockgate::handoff::machine::{
    Action, Aim, Event, Next, Outcome, Plan, Preflight, Shut, Side, Stage, State, Then, Timer, Word, step,
};
use lockgate::spec::{Handoff, OnDrainTimeout};
use lockgate::wire::{self, Facts, Saying, Status, Verb};

use crate::world::{Answer, Heir, Kamal, Line, Link, Name, Report, Role, Run, Talk, World, Wrong};
use crate::{Model, Rules};

pub(crate) const SETTLED: u8 = 1;
pub(crate) const DRAINED: u8 = 2;
pub(crate) const IN_FLIGHT: u8 = 4;
pub(crate) const RELEASED: u8 = 8;

/// All plans that runs of the model have, by number.
pub(crate) fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    let plan = |aim: &Aim, keeper_expected, old_keeper, old_revision, unkept| Plan {
        aim: aim.clone(),
        service: "shop".into(),
        handoff: "1".into(),
        old_keeper,
        old_revision,
        unkept,
        keeper_expected,
        must_name_service: false,
        sole_target: true,
        force: false,
        on_drain_timeout: OnDrainTimeout::Abort,
        limits: Limits::default(),
    };
    for unkept in [false, true] {
        for aim in [Aim::Deploy(Handoff::Auto), Aim::Adopt, Aim::Recover("not healthy".into())] {
            for keeper_expected in [false, true] {
                for (old_keeper, old_revision) in [(false, false), (false, true), (true, false), (true, true)] {
                    plans.push(plan(&aim, keeper_expected, old_keeper, old_revision, unkept));
                }
            }
        }
    }
    plans
}

/// How many plans there are of one who has, or has not, an active app without a keeper.
const PLANS: u8 = 24;

/// Which kind of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Deploy = 0,
    Adopt = 8,
    Recover = 16,
}

/// Whether the machine is past preflight and on its way forward to the new side.
pub(crate) fn leads(state: &State) -> bool {
    match state {
        State::Settle(Next::Yield(_))
        | State::Drain(_)
        | State::Yield(_)
        | State::Acquire(_)
        | State::Boot(_)
        | State::Confirm(_) => true,
        State::Start
        | State::Preflight(_)
        | State::Settle(Next::Flip)
        | State::Retire
        | State::Release(_)
        | State::Rollback(_)
        | State::Done(_) => false,
    }
}

fn index(side: Side) -> usize {
    match side {
        Side::Old => 0,
        Side::New => 1,
    }
}

pub(crate) fn bit(timer: Timer) -> u8 {
    match timer {
        Timer::Deadline => 1,
        Timer::Patience => 2,
        Timer::Unhealthy => 4,
        Timer::Again => 8,
    }
}

impl Run {
    pub(crate) fn link(&self, side: Side) -> Link {
        self.links[index(side)]
    }

    pub(crate) fn name(&self, side: Side) -> Option<Name> {
        match side {
            Side::Old => self.old,
            Side::New => Some(self.new),
        }
    }
}

impl World {
    /// Begins a handoff and takes its first step.
    pub(crate) fn begin_run(&mut self, model: &Model, kind: Kind, new: Name, old: Option<Name>) {
        let active = self.proxy.active;
        let other = if kind == Kind::Adopt { None } else { old.or(active).filter(|old| *old != new) };
        let revision = kind != Kind::Adopt && (active.is_some() || self.proxy.unkept);
        let known = self.proxy.known & (1 << new) != 0;
        let plan = kind as u8 + 4 * u8::from(known) + 2 * u8::from(other.is_some()) + u8::from(revision);
        let plan = plan + PLANS * u8::from(self.proxy.unkept);
        self.proxy.known |= 1 << new;
        self.proxy.run = Some(Run {
            plan,
            state: State::Start,
            new,
            old: other,
            links: [Link::None; 2],
            probing: None,
            timers: 0,
            watches: 0,
        });
        self.event(model, Event::Begin);
    }

    /// The machine takes a step and the driver does what it says.
    pub(crate) fn event(&mut self, model: &Model, event: Event) {
        let Some(run) = &mut self.proxy.run else { return };
        let before = std::mem::replace(&mut run.state, State::Start);
        let confirms_what_held = matches!(&before, State::Confirm(confirm) if confirm.then == Then::Go);
        let (state, actions) = step(&model.plans[usize::from(run.plan)], before, Duration::ZERO, event);
        let closes = matches!(state.outcome(), Some(Outcome::Unavailable { .. }));
        run.state = forget(state);
        if confirms_what_held && closes && self.proxy.unkept && !self.proxy.unavailable {
            self.blame(Wrong::Closed);
        }
        for action in actions {
            self.perform(&model.rules, action);
        }
    }

    fn run(&mut self) -> &mut Run {
        self.proxy.run.as_mut().expect("actions belong to a run")
    }

    fn perform(&mut self, rules: &Rules, action: Action) {
        match action {
            Action::Connect { side, at } => self.connect(side, at.map(|holder| name_of(&holder.id))),
            Action::Say(side, verb) => self.say(rules, side, &verb),
            Action::HangUp(side) => self.hang_up(side),
            Action::Close(Shut::Handoff) => self.proxy.handoff = true,
            Action::Close(Shut::Unavailable) => self.proxy.unavailable = true,
            Action::Open(Shut::Handoff) => self.proxy.handoff = false,
            Action::Open(Shut::Unavailable) => self.proxy.unavailable = false,
            Action::Settle => self.run().watches |= SETTLED,
            Action::Drain => self.run().watches |= DRAINED,
            Action::Survey => self.run().watches |= IN_FLIGHT,
            Action::Release => self.run().watches |= RELEASED,
            Action::Flip(side) => {
                self.proxy.active = self.run().name(side);
                self.proxy.unkept = false;
                self.proxy.failed = None;
            }
            Action::Probe(side, _) => self.run().probing = Some(side),
            Action::StopProbe => self.run().probing = None,
            // It only cuts requests.
            Action::Wake(Timer::Patience, _) => {}
            Action::Wake(timer, _) => self.run().timers |= bit(timer),
            Action::ClearTimers => self.run().timers = 0,
            Action::Phase(_) => self.run().watches = 0,
            Action::Save => self.proxy.saved = (self.proxy.active, self.proxy.known),
            Action::Finish(outcome) => self.finish(&outcome),
            Action::Cut(_) | Action::Warn(_) | Action::Epoch(_) | Action::Took(..) | Action::Restored(_) => {}
        }
    }

    fn connect(&mut self, side: Side, at: Option<Name>) {
        self.hang_up(side);
        let run = self.run();
        if side == Side::Old && at.is_some() {
            run.old = at;
        }
        let Some(name) = run.name(side) else {
            run.links[index(side)] = Link::Broken;
            return;
        };
        self.proxy.known |= 1 << name;
        let keeper = self.keeper_mut(name);
        let reached = keeper.runs() && keeper.talk.is_none();
        if reached {
            keeper.talk = Some(Talk { to_keeper: vec![Line::Status], ..Talk::default() });
        }
        self.run().links[index(side)] = if reached { Link::Up } else { Link::Broken };
    }

    fn say(&mut self, rules: &Rules, side: Side, verb: &Verb) {
        let run = self.run();
        let new = run.new;
        let line = match verb {
            Verb::Status {} => Line::Status,
            Verb::Prepare { .. } => Line::Prepare,
            Verb::Show { ticket } => Line::Show(number(ticket)),
            Verb::Yield { ticket } => Line::Yield(number(ticket)),
            Verb::Take { .. } => Line::Take,
            Verb::Confirm { epoch } => Line::Confirm(u8::try_from(*epoch).unwrap()),
        };
        if !rules.confirm_first && side == Side::New && matches!(line, Line::Confirm(_)) {
            // Flips first, confirms after.
            self.proxy.active = Some(new);
            self.proxy.handoff = false;
            self.proxy.unavailable = false;
        }
        let run = self.run();
        if run.link(side) == Link::Up
            && let Some(name) = run.name(side)
            && let Some(talk) = &mut self.keeper_mut(name).talk
        {
            talk.to_keeper.push(line);
        }
    }

    fn hang_up(&mut self, side: Side) {
        let run = self.run();
        let link = std::mem::replace(&mut run.links[index(side)], Link::None);
        if let (Link::Up, Some(name)) = (link, run.name(side)) {
            self.end_talk(name, false);
        }
    }

    fn finish(&mut self, outcome: &Outcome) {
        let Some(run) = self.proxy.run.take() else { return };
        let well = *outcome == Outcome::Done;
        let kind = run.plan % PLANS;
        if kind >= Kind::Adopt as u8 {
            if kind < Kind::Recover as u8 && matches!(outcome, Outcome::GivenUp(_)) {
                self.proxy.failed = Some(self.directory.epoch);
            }
            return;
        }
        if self.kamal == Kamal::Deploying(run.new) {
            self.kamal = if well { Kamal::Succeeded(run.new) } else { Kamal::Failed(run.new) };
        }
    }

    /// The next line of a side reaches the machine.
    pub(crate) fn hear(&mut self, model: &Model, side: Side) {
        let Some(name) = self.run().name(side) else { return };
        let Some(talk) = &mut self.keeper_mut(name).talk else { return };
        let answer = talk.to_proxy.remove(0);
        let saying = match answer {
            Answer::Status(report) => Saying::Status(Box::new(status_of(name, report))),
            Answer::Ready(word) => Saying::Ready { ticket: word.to_string(), facts: Facts::default() },
            Answer::Refused => Saying::Refused { why: String::new() },
            Answer::Ok => Saying::Ok {},
            Answer::Free => Saying::Free { ms: 0 },
            Answer::Leased { epoch, confirmed } => {
                Saying::Leased { epoch: u64::from(epoch), restored: None, confirmed, restore_ms: 0 }
            }
            Answer::Started => Saying::Started {},
            Answer::Exited => Saying::Exited { code: 1, lines: Vec::new() },
            Answer::Held => Saying::Held { by: String::new() },
            Answer::Confirmed(epoch) => Saying::Confirmed { epoch: u64::from(epoch) },
        };
        self.event(model, Event::Said(side, saying));
    }

    /// The proxy notices that a conversation broke.
    pub(crate) fn notice_break(&mut self, model: &Model, side: Side) {
        if self.run().name(side).is_some_and(|name| !self.keeper(name).runs()) {
            self.event(model, Event::Absent(side));
        }
        // It may have hung up, or have ended.
        if self.proxy.run.as_ref().is_none_or(|run| run.links[index(side)] != Link::Broken) {
            return;
        }
        self.run().links[index(side)] = Link::None;
        self.event(model, Event::Broken(side));
    }

    /// Asks every keeper it ever met, and whoever they say holds.
    pub(crate) fn follow(&mut self, model: &Model) {
        let mut asked: Vec<(Name, Status)> = Vec::new();
        let known: Vec<Name> = self.names().filter(|name| self.proxy.known & (1 << name) != 0).collect();
        for name in known {
            self.ask(name, &mut asked);
        }
        let named: Vec<Name> =
            asked.iter().filter_map(|(_, status)| status.holder.as_ref().map(|holder| name_of(&holder.id))).collect();
        for name in named {
            if !asked.iter().any(|(known, _)| *known == name) {
                self.proxy.known |= 1 << name;
                self.ask(name, &mut asked);
            }
        }
        let seen: Vec<Seen<'_, Name>> =
            asked.iter().map(|(name, status)| Seen { keeper: *name, status: Some(status) }).collect();
        match decide(&seen, self.proxy.failed.map(u64::from)) {
            Decision::Wait => {}
            Decision::Adopt(name) => self.begin_run(model, Kind::Adopt, name, None),
            Decision::RollBack { from, to } => self.begin_run(model, Kind::Recover, from, Some(to)),
        }
    }

    fn ask(&self, name: Name, asked: &mut Vec<(Name, Status)>) {
        if self.keeper(name).acts() {
            asked.push((name, status_of(name, self.report(name))));
        }
    }

    /// Any app of the probed side that answers.
    pub(crate) fn probe_is_good(&self) -> Option<Side> {
        let run = self.proxy.run.as_ref()?;
        let side = run.probing?;
        let name = run.name(side)?;
        (self.live(name) > 0 && !self.keeper(name).frozen).then_some(side)
    }

    /// The app behind the open gate is away.
    pub(crate) fn is_away(&self) -> bool {
        self.gate_open()
            && self.proxy.run.is_none()
            && self.proxy.active.map(|active| self.keeper(active)).is_some_and(|keeper| {
                // One whose keeper alone was killed serves on, and nobody notices.
                keeper.role != Role::Holder && keeper.heir == Heir::None
            })
    }

    /// A ticket's word that nothing refers to any more.
    pub(crate) fn unused_word(&self) -> u8 {
        let lines = self.lines();
        let used = |word: u8| {
            self.directory.ticket.is_some_and(|(laid, _)| laid == word)
                || lines.iter().any(|line| matches!(line, Line::Show(said) | Line::Yield(said) if *said == word))
                || self.answers().any(|answer| answer == Answer::Ready(word))
                || self.proxy.run.as_ref().is_some_and(|run| knows_word(&run.state, word))
        };
        (0..).find(|word| !used(*word)).unwrap()
    }

    /// An epoch that nothing refers to any more.
    pub(crate) fn unused_epoch(&self) -> u8 {
        let lines = self.lines();
        let used = |epoch: u8| {
            self.directory.epoch == epoch
                || self.proxy.failed == Some(epoch)
                || lines.contains(&Line::Confirm(epoch))
                || self.answers().any(|answer| match answer {
                    Answer::Status(report) => report.epoch == epoch,
                    Answer::Leased { epoch: said, .. } | Answer::Confirmed(said) => said == epoch,
                    Answer::Ready(_)
                    | Answer::Refused
                    | Answer::Ok
                    | Answer::Free
                    | Answer::Started
                    | Answer::Exited
                    | Answer::Held => false,
                })
                || self.proxy.run.as_ref().is_some_and(|run| epoch_of(&run.state) == Some(u64::from(epoch)))
        };
        (1..).find(|epoch| !used(*epoch)).unwrap()
    }

    fn lines(&self) -> Vec<Line> {
        self.keepers
            .iter()
            .flat_map(|keeper| [&keeper.talk, &keeper.late].into_iter().flatten())
            .flat_map(|talk| talk.to_keeper.iter().copied())
            .collect()
    }

    fn answers(&self) -> impl Iterator<Item = Answer> + '_ {
        self.keepers.iter().filter_map(|keeper| keeper.talk.as_ref()).flat_map(|talk| talk.to_proxy.iter().copied())
    }
}

/// What only people read makes no difference: states that differ in it alone are one.
fn forget(state: State) -> State {
    use lockgate::handoff::machine::{Acquire, Boot, Confirm, Hold, Lead, Reason, Rollback};
    let spent = |hold: Hold| Hold { lead: Lead { ticket: "".into(), ..hold.lead }, ..hold };
    match state {
        State::Acquire(acquire) => State::Acquire(Acquire { hold: spent(acquire.hold), ..acquire }),
        State::Boot(boot) => State::Boot(Boot { hold: spent(boot.hold), ..boot }),
        State::Confirm(Confirm { then: Then::Hold(hold), why: _, epoch, asking }) => {
            State::Confirm(Confirm { then: Then::Hold(spent(hold)), why: Reason::Aborted, epoch, asking })
        }
        State::Confirm(confirm) => State::Confirm(Confirm { why: Reason::Aborted, ..confirm }),
        State::Rollback(rollback) => State::Rollback(Rollback { why: Reason::Aborted, back: None, ..rollback }),
        State::Release(Outcome::RolledBack(_)) => State::Release(Outcome::RolledBack(Reason::Aborted)),
        other => other,
    }
}

fn knows_word(state: &State, word: u8) -> bool {
    let word = word.to_string();
    let is = |ticket: &Word| **ticket == *word;
    match state {
        State::Preflight(Preflight::Showing(lead)) | State::Settle(Next::Yield(lead)) => is(&lead.ticket),
        State::Drain(draining) => matches!(&draining.next, Next::Yield(lead) if is(&lead.ticket)),
        State::Yield(hold) => is(&hold.lead.ticket),
        State::Rollback(rollback) => matches!(&rollback.stage, Stage::MeetNew(ticket) if is(ticket)),
        // Past `yield` nobody is shown it again.
        State::Start
        | State::Preflight(_)
        | State::Settle(Next::Flip)
        | State::Acquire(_)
        | State::Boot(_)
        | State::Confirm(_)
        | State::Retire
        | State::Release(_)
        | State::Done(_) => false,
    }
}

fn epoch_of(state: &State) -> Option<u64> {
    match state {
        State::Preflight(Preflight::Probing { keeper, .. }) => keeper.map(|keeper| keeper.epoch),
        State::Preflight(Preflight::Comparing(keeper, _)) => Some(keeper.epoch),
        State::Acquire(acquire) => acquire.leased.map(|leased| leased.epoch),
        State::Boot(boot) => Some(boot.leased.epoch),
        State::Confirm(confirm) => Some(confirm.epoch),
        State::Rollback(rollback) => match &rollback.stage {
            Stage::Take(leased) => leased.map(|leased| leased.epoch),
            Stage::Boot(leased) | Stage::Confirm(leased) => Some(leased.epoch),
            Stage::Alone
            | Stage::MeetOld
            | Stage::ReconnectOld
            | Stage::PrepareOld
            | Stage::MeetNew(_)
            | Stage::YieldNew
            | Stage::AdoptNew => None,
        },
        State::Start
        | State::Preflight(_)
        | State::Settle(_)
        | State::Drain(_)
        | State::Yield(_)
        | State::Retire
        | State::Release(_)
        | State::Done(_) => None,
    }
}

fn number(word: &str) -> u8 {
    word.parse().expect("the model's words are numbers")
}

fn name_of(id: &str) -> Name {
    number(id)
}

fn status_of(name: Name, report: Report) -> Status {
    let holder = report.holder.map(|holder| wire::Holder { id: holder.to_string(), control: String::new() });
    Status {
        wire: wire::VERSION,
        role: report.role,
        service: None,
        id: name.to_string(),
        epoch: u64::from(report.epoch),
        confirmed: report.confirmed,
        last_confirmed: report.last_confirmed.map(|name| name.to_string()),
        holder,
        lease: String::new(),
        prepared: false,
        stopping: report.stopping,
        wishes: std::collections::BTreeMap::new(),
        note: String::new(),
        unknown: std::collections::BTreeMap::new(),
    }
}
