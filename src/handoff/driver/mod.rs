//! Performs what the machine decides: closes and opens the gate, talks to keepers, probes, drains, cuts; and tells it
//! what happened.

mod inbox;
mod probing;
mod record;
mod sides;
mod voice;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::machine::{self, Action, Cut, Event, InFlight, Outcome, Phase, Plan, Shut, Side, State, Verdict};
use crate::gate::{self, Reason};
use crate::journal;
use crate::service::flight::{Flights, Rule, Scope};
use crate::service::{Revision, Service};
use crate::wire::Saying;
use inbox::{Inbox, Source};
use record::Recorder;
use voice::Voice;

pub use sides::{Party, Sides};

/// A request younger than this does not hold up `settle`.
const YOUNG: Duration = Duration::from_secs(1);
/// How often `settle` looks.
const SETTLE: Duration = Duration::from_millis(50);

/// One handoff, ready to begin.
pub struct Job {
    /// What it is to do.
    pub plan: Plan,
    /// Whose.
    pub service: Arc<Service>,
    /// The requests in flight.
    pub flights: Flights,
    /// Who is live before and who shall be after, and how to reach their keepers.
    pub sides: Sides,
    /// Who asked, for the journal.
    pub asked_by: String,
}

/// What a handoff tells while it runs. Floors above give the functions.
pub trait Watcher: Send {
    /// A phase began, with this many requests held.
    fn phase(&mut self, phase: Phase, held: usize);
    /// Write down who is active and every keeper met. Awaited before the next action.
    fn save(&mut self, sides: &Sides) -> impl Future<Output = ()> + Send;
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// For the journal; warnings included.
    pub record: journal::Record,
}

struct Driver<'a, W> {
    job: &'a mut Job,
    watcher: &'a mut W,
    inbox: Inbox,
    voices: HashMap<Side, Voice>,
    recorder: Recorder,
    pending: VecDeque<Event>,
    /// Active when the handoff began: whose requests are drained and cut.
    leaving: Option<Arc<Revision>>,
    retiring: Option<gate::Drain<Revision>>,
    cuts: JoinSet<(Rule, usize)>,
    finished: Option<Outcome>,
}

/// Drives a handoff to its end. `signals` may bring [`Event::Abort`] and [`Event::Shutdown`].
///
/// Not to be dropped midway: the gate would stay as it is at that moment. Whoever starts it lets it end.
pub async fn drive<W: Watcher>(job: &mut Job, watcher: &mut W, signals: UnboundedReceiver<Event>) -> Report {
    let plan = job.plan.clone();
    let began = Instant::now();
    let mut driver = Driver {
        recorder: Recorder::new(job),
        leaving: job.service.gate.revision(),
        job,
        watcher,
        inbox: Inbox::new(signals),
        voices: HashMap::new(),
        pending: VecDeque::from([Event::Begin]),
        retiring: None,
        cuts: JoinSet::new(),
        finished: None,
    };
    let mut state = State::Start;
    loop {
        let (event, why) = match driver.pending.pop_front() {
            Some(event) => (event, None),
            None => driver.inbox.next().await,
        };
        driver.hear(&event, why);
        let (next, actions) = machine::step(&plan, state, began.elapsed(), event);
        state = next;
        for action in actions {
            driver.perform(action).await;
        }
        if let Some(outcome) = driver.finished.take() {
            while let Some(cut) = driver.cuts.join_next().await {
                cut.into_iter().for_each(|(rule, count)| driver.recorder.cut(rule, count));
            }
            let record = driver.recorder.finish(&outcome, &driver.job.service.gate.view());
            return Report { outcome, record };
        }
    }
}

impl<W: Watcher> Driver<'_, W> {
    /// What the journal and the saved state want to know of an event, whatever the machine makes of it.
    fn hear(&mut self, event: &Event, why: Option<String>) {
        if let Event::Said(side, saying) = event {
            self.recorder.said(*side, saying);
            if self.counts(*side, saying) {
                self.job.sides.said(*side, saying);
            }
        }
        if let (Event::Broken(side), Some(why)) = (event, why) {
            self.job.sides.lost(*side, why);
        }
    }

    /// Whether a greeting is that of a keeper of this service, as the machine judges it: no other is remembered.
    fn counts(&self, side: Side, saying: &Saying) -> bool {
        let Saying::Status(status) = saying else { return true };
        match status.service.as_deref() {
            Some(service) => *service == *self.job.plan.service,
            None => side == Side::Old || !self.job.plan.must_name_service,
        }
    }

    async fn perform(&mut self, action: Action) {
        let gate = &self.job.service.gate;
        match action {
            Action::Connect { side, at } => self.connect(side, at),
            Action::Say(side, verb) => {
                if let Some(voice) = self.voices.get(&side) {
                    voice.say(verb);
                }
            }
            Action::HangUp(side) => {
                self.voices.remove(&side);
                self.inbox.dismiss(Source::Voice(side));
            }
            Action::Close(shut) => gate.close(reason(shut)),
            Action::Open(shut) => gate.open(reason(shut)),
            Action::Settle => self.settle(),
            Action::Drain => self.drain(),
            Action::Survey => self.survey().await,
            Action::Cut(cut) => self.cut(cut),
            Action::Flip(side) => self.flip(side),
            Action::Probe(side, pace) => self.probe(side, pace),
            Action::StopProbe => self.inbox.dismiss(Source::Probe),
            Action::Wake(timer, after) => self.inbox.wake(timer, after),
            Action::ClearTimers => self.inbox.clear_timers(),
            Action::Phase(phase) => {
                self.recorder.phase(phase);
                self.watcher.phase(phase, gate.view().held);
            }
            Action::Took(phase, duration) => self.recorder.took(phase, duration),
            Action::Restored(duration) => self.recorder.restored(duration),
            Action::Warn(warning) => self.recorder.warn(warning),
            Action::Epoch(epoch) => self.recorder.epoch(epoch),
            Action::Save => self.watcher.save(&self.job.sides).await,
            Action::Release => self.release(),
            Action::Finish(outcome) => self.finished = Some(outcome),
        }
    }

    fn connect(&mut self, side: Side, at: Option<crate::wire::Holder>) {
        let named = at.is_some();
        let (keeper, token) = (self.job.sides.locate(side, at), self.job.sides.token.clone());
        if named
            && let Some(keeper) = &keeper
            && self.job.sides.party(side).revision.is_none()
        {
            self.recorder.warn(format!("{}: should the new app fail, deploy the old one", nowhere(keeper)));
        }
        match keeper {
            Some(keeper) => {
                let voice = Voice::open(&mut self.inbox, side, keeper, token);
                self.voices.insert(side, voice);
            }
            None => self.pending.push_back(Event::Broken(side)),
        }
    }

    fn settle(&mut self) {
        let Some(leaving) = &self.leaving else { return self.pending.push_back(Event::Settled) };
        let (flights, scope) = (self.job.flights.clone(), Scope::revision(leaving.id));
        self.inbox.watch(Source::Settle, |pen| async move {
            loop {
                let flying = flights.survey(scope).await;
                if !flying.iter().any(|request| request.age >= YOUNG && !request.tunnel && !request.events) {
                    return pen.tell(Event::Settled).await;
                }
                sleep(SETTLE).await;
            }
        });
    }

    /// Its connections are closed meanwhile: an app may wait for the end of idle ones, and after the drain nobody is to
    /// wait for that.
    fn drain(&mut self) {
        let drain = self.retiring.take().unwrap_or_else(|| self.job.service.gate.drain(gate::Scope::Revision));
        let (flights, leaving) = (self.job.flights.clone(), self.leaving.clone());
        self.inbox.watch(Source::Drain, |pen| async move {
            let closed = async {
                if let Some(leaving) = leaving {
                    flights.close_connections(&leaving.targets).await;
                }
            };
            tokio::join!(drain.done(), closed);
            pen.tell(Event::Drained).await;
        });
    }

    async fn survey(&mut self) {
        let Some(leaving) = &self.leaving else { return };
        let flying = self.job.flights.survey(Scope::revision(leaving.id)).await;
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS];
        let kept = flying.iter().filter(|request| !request.tunnel && !safe.contains(&request.method));
        let found = match kept.max_by_key(|request| request.age) {
            Some(request) => {
                InFlight::Unsafe(format!("{} {}, {:.1} s old", request.method, request.path, request.age.as_secs_f64()))
            }
            None => InFlight::SafeOnly,
        };
        self.pending.push_back(Event::InFlight(found));
    }

    /// Nothing of the way waits for it: how many were cut is asked for at the end.
    fn cut(&mut self, cut: Cut) {
        let Some(leaving) = &self.leaving else { return };
        let rule = match cut {
            Cut::LongLived => Rule::LongLived,
            Cut::AwaitingClient => Rule::SlowClients,
            Cut::Safe => Rule::Safe,
            Cut::All => Rule::All,
        };
        let (flights, scope) = (self.job.flights.clone(), Scope::revision(leaving.id));
        self.cuts.spawn(async move { (rule, flights.cut(scope, rule).await) });
    }

    fn flip(&mut self, side: Side) {
        let gate = &self.job.service.gate;
        let Some(revision) = self.job.sides.activate(side) else { return };
        if gate.revision().is_none_or(|active| active.id != revision.id) {
            self.retiring = Some(gate.flip(revision));
        }
    }

    fn probe(&mut self, side: Side, pace: machine::Pace) {
        let Party { revision, keeper, .. } = self.job.sides.party(side);
        let Some(revision) = revision.clone() else {
            let why = nowhere(keeper.as_deref().unwrap_or_default());
            return self.pending.push_back(Event::Probed(side, Verdict::Nowhere(why)));
        };
        self.inbox.watch(Source::Probe, |pen| probing::probe(side, revision, pace, pen));
    }

    fn release(&mut self) {
        let gate = Arc::clone(&self.job.service.gate);
        self.inbox.watch(Source::Release, |pen| async move {
            gate.released().await;
            pen.tell(Event::Released).await;
        });
    }
}

fn nowhere(keeper: &str) -> String {
    format!("the app whose keeper is at {keeper} was never deployed here, its address is not known")
}

fn reason(shut: Shut) -> Reason {
    match shut {
        Shut::Handoff => Reason::Handoff,
        Shut::Unavailable => Reason::Unavailable,
    }
}
