//! What others ask of all workers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use tokio::sync::{mpsc, oneshot};

use super::entry::{Cut, Entry};
use super::registry;
use crate::upstream;

/// How often a worker with something in flight looks at deadlines and idle connections.
const TICK: Duration = Duration::from_millis(50);

/// Which requests in flight are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Those admitted to this revision ...
    pub revision: u64,
    /// ... and, if given, counted in this opening of its gate.
    pub opening: Option<u64>,
}

impl Scope {
    /// All of a revision.
    #[must_use]
    pub fn revision(revision: u64) -> Self {
        Self { revision, opening: None }
    }
}

/// Which of them are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// All, tunnels too.
    All,
    /// GET, HEAD and OPTIONS; no tunnels.
    Safe,
    /// Tunnels only.
    Tunnels,
    /// What lasts: tunnels and event streams.
    LongLived,
    /// Those whose client has not sent all of its body: 408.
    SlowClients,
}

/// A request in flight, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct InFlight {
    /// Its method.
    pub method: Method,
    /// Its path, without the query.
    pub path: String,
    /// Since it was dispatched.
    pub age: Duration,
    /// Whether all of its body was received, or it has none.
    pub body_received: bool,
    /// Whether the app has sent the head of its answer.
    pub answered: bool,
    /// Whether it was upgraded.
    pub tunnel: bool,
    /// Whether the app answers with an event stream.
    pub events: bool,
}

enum Ask {
    Survey(Scope, oneshot::Sender<Vec<InFlight>>),
    Cut(Scope, Rule, oneshot::Sender<usize>),
    CloseIdle(Vec<u64>, oneshot::Sender<()>),
}

/// The requests in flight of all workers. A clone is the same registry.
#[derive(Clone, Default)]
pub struct Flights {
    workers: Arc<Mutex<Vec<mpsc::UnboundedSender<Ask>>>>,
}

impl Flights {
    /// A registry without workers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One worker's part; to be run on its thread.
    #[must_use]
    pub fn worker(&self) -> Worker {
        let (sender, asks) = mpsc::unbounded_channel();
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Worker { asks }
    }

    /// Which requests are in flight, tunnels included.
    pub async fn survey(&self, scope: Scope) -> Vec<InFlight> {
        self.ask(|answer| Ask::Survey(scope, answer)).await.into_iter().flatten().collect()
    }

    /// Cuts those that the rule names, and says how many: before the head of the answer 504 with Retry-After, after it
    /// the connection ends. Their permits are back shortly after this has returned.
    pub async fn cut(&self, scope: Scope, rule: Rule) -> usize {
        self.ask(|answer| Ask::Cut(scope, rule, answer)).await.into_iter().sum()
    }

    /// Closes the connections to these targets: each that is in use once its request is over; the idle ones are closed
    /// when this returns.
    pub async fn close_connections(&self, targets: &[Arc<upstream::Target>]) {
        targets.iter().for_each(|target| target.keep_no_longer());
        self.ask(|answer| Ask::CloseIdle(targets.iter().map(|target| target.id()).collect(), answer)).await;
    }

    async fn ask<T>(&self, ask: impl Fn(oneshot::Sender<T>) -> Ask) -> Vec<T> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let asked = workers.iter().filter_map(|worker| {
            let (sender, answer) = oneshot::channel();
            worker.send(ask(sender)).ok().map(|()| answer)
        });
        let mut answers = Vec::new();
        for answer in asked.collect::<Vec<_>>() {
            answers.extend(answer.await);
        }
        answers
    }
}

/// One worker's part of the registry.
pub struct Worker {
    asks: mpsc::UnboundedReceiver<Ask>,
}

impl Worker {
    /// Answers what is asked, ends what is overdue and closes what lies idle, until the registry is dropped.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                ask = self.asks.recv() => match ask {
                    Some(ask) => reply(ask).await,
                    None => return,
                },
                () = tick() => {}
            }
        }
    }
}

async fn tick() {
    let now = Instant::now();
    registry::cut_where(|entry| entry.is_overdue(now).then_some(Cut::TimedOut));
    if !upstream::sweep(now) {
        registry::takeoff().await;
    }
    tokio::time::sleep(TICK).await;
}

async fn reply(ask: Ask) {
    // Who asked may have left meanwhile.
    match ask {
        Ask::Survey(scope, answer) => {
            let _ = answer.send(survey(scope));
        }
        Ask::Cut(scope, rule, answer) => {
            let _ = answer.send(cut(scope, rule));
        }
        Ask::CloseIdle(targets, answer) => {
            targets.into_iter().for_each(upstream::close_idle);
            // The connections' tasks are awake now: each closes its socket before it is this one's turn again.
            tokio::task::yield_now().await;
            let _ = answer.send(());
        }
    }
}

fn survey(scope: Scope) -> Vec<InFlight> {
    let now = Instant::now();
    let mut found = Vec::new();
    registry::each(|entry| {
        if is_in(scope, entry) {
            found.push(InFlight {
                method: entry.method.clone(),
                path: entry.path.as_ref().map(|p| p.path().to_owned()).unwrap_or_default(),
                age: now.saturating_duration_since(entry.started),
                body_received: entry.body_received(),
                answered: entry.is_answered(),
                tunnel: entry.is_tunnel(),
                events: entry.events,
            });
        }
    });
    found
}

fn cut(scope: Scope, rule: Rule) -> usize {
    registry::cut_where(|entry| if is_in(scope, entry) { verdict(rule, entry) } else { None })
}

fn is_in(scope: Scope, entry: &Entry) -> bool {
    entry.is_aloft() && entry.revision == scope.revision && scope.opening.is_none_or(|opening| entry.opening == opening)
}

fn verdict(rule: Rule, entry: &Entry) -> Option<Cut> {
    let safe = matches!(entry.method, Method::GET | Method::HEAD | Method::OPTIONS);
    match rule {
        Rule::All => Some(Cut::Drained),
        Rule::Safe => (safe && !entry.is_tunnel()).then_some(Cut::Drained),
        Rule::Tunnels => entry.is_tunnel().then_some(Cut::Drained),
        Rule::LongLived => (entry.is_tunnel() || entry.events).then_some(Cut::Drained),
        Rule::SlowClients => (!entry.body_received() && !entry.is_tunnel()).then_some(Cut::SlowClient),
    }
}
