//! What an operator may do to services: deploy, pause, stop, resume, remove, look. One handoff at a time per service.

mod answer;
mod book;
mod claims;
mod deploy;
mod entry;
mod follow;
mod history;
mod job;
mod operate;
mod restore;
mod turns;
mod watch;
mod words;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use crate::config::Settings;
use crate::handoff::driver::{self, Job, Report, Watcher};
use crate::handoff::machine::{self, Aim, Event, Phase};
use crate::journal::Journal;
use crate::router::Router;
use crate::service::Service;
use crate::service::flight::Flights;
use crate::spec::{Deploy, Selection};
use book::Book;
use claims::Claimed;
use entry::Entry;
use turns::Turns;

pub use words::{Failure, FailureKind, Outcome, Progress, ServiceStatus};

/// All that an operator may do. One for the process; its futures run on the control runtime.
///
/// Dropping the future of a command does not stop the command: a deploy whose caller has gone goes on to its end.
pub struct Control {
    settings: Arc<Settings>,
    router: Arc<Router<Service>>,
    flights: Flights,
    journal: Journal,
    book: Book,
    turns: Turns,
    entries: Mutex<BTreeMap<String, Arc<Entry>>>,
    /// What deploys under way will want.
    claims: Mutex<HashMap<String, Claimed>>,
    tasks: Mutex<JoinSet<()>>,
    stopping: tokio::sync::watch::Sender<bool>,
}

impl Control {
    /// Control over nothing yet; [`Control::restore`] brings the saved services back.
    #[must_use]
    pub fn new(settings: Arc<Settings>, router: Arc<Router<Service>>, flights: Flights) -> Arc<Self> {
        Arc::new(Self {
            journal: Journal::new(&settings.data),
            book: Book::new(&settings.data),
            settings,
            router,
            flights,
            turns: Turns::default(),
            entries: Mutex::default(),
            claims: Mutex::default(),
            tasks: Mutex::default(),
            stopping: tokio::sync::watch::Sender::new(false),
        })
    }

    /// Makes the targets the service's revision. Waits for its turn, then to the end of the handoff.
    ///
    /// # Errors
    /// [`Failure`]; the old revision then serves on, or the text says what is the matter.
    pub async fn deploy(
        self: &Arc<Self>,
        deploy: Deploy,
        progress: UnboundedSender<Progress>,
    ) -> Result<Outcome, Failure> {
        let (sender, answer) = tokio::sync::oneshot::channel();
        let task = Arc::clone(self).deploy_in_turn(deploy, progress);
        self.spawn(async move {
            // Whoever asked may have gone; the journal has it.
            let _ = sender.send(task.await);
        });
        answer.await.unwrap_or_else(|_| Err(Failure::internal("the deploy ended without an answer")))
    }

    /// Gives up a handoff that has not yielded yet. It ends by itself; its deploy's answer says so.
    ///
    /// # Errors
    /// [`Failure`] where the service is unknown or no handoff of it runs.
    pub async fn abort(self: &Arc<Self>, service: String) -> Result<Outcome, Failure> {
        let entry = self.entry(&service).or_else(|| self.coming(&service)).ok_or_else(Failure::not_found)?;
        let phase = entry.now().phase;
        let error = match phase {
            None => "no handoff of this service is under way".to_owned(),
            Some(Phase::Preflight | Phase::Settle | Phase::Hold | Phase::Drain) => {
                entry.signal(Event::Abort);
                return Ok(Outcome::default());
            }
            Some(phase) => format!("the handoff is past the point of giving up: {}", phase.word()),
        };
        Err(Failure::new(FailureKind::Conflict, error))
    }

    /// All services by name, those too whose first deploy is under way: these have no targets yet.
    #[must_use]
    pub fn list(&self) -> Vec<ServiceStatus> {
        self.all().values().map(|entry| entry.status()).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// [`Failure`] where the name is unknown.
    pub fn status(&self, service: &str) -> Result<ServiceStatus, Failure> {
        Ok(self.all().get(service).ok_or_else(Failure::not_found)?.status())
    }

    /// SIGTERM: what is held is answered 503 with Retry-After, handoffs before `yield` are given up, those past it driven
    /// on. Returns when no handoff runs any more, or `until` has come.
    pub async fn shutdown(self: &Arc<Self>, until: Instant) {
        self.stopping.send_replace(true);
        for entry in self.all().values() {
            // In this order: who is held is answered before a handoff that gives up would let it go.
            entry.turn_away();
            entry.signal(Event::Shutdown);
        }
        let ended = async {
            let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
            while tasks.join_next().await.is_some() {}
        };
        let _ = tokio::time::timeout_at(until.into(), ended).await;
    }

    /// Drives one handoff to its end, with its journal and what follows from it. The caller has the turn.
    async fn lead<W: Watcher>(self: &Arc<Self>, job: &mut Job, watcher: &mut W, entry: &Arc<Entry>) -> Report {
        let signals = entry.listen(matches!(job.plan.aim, Aim::Deploy(_)));
        // What came before there was anybody to tell.
        if self.is_stopping() {
            entry.signal(Event::Shutdown);
        }
        if entry.now().removed {
            entry.signal(Event::Abort);
        }
        let report = driver::drive(job, watcher, signals).await;
        entry.learn(job, &report);
        // A follower that found nothing to do yet has nothing to tell.
        if report.record.kind != "follow" || !matches!(report.outcome, machine::Outcome::GivenUp(_)) {
            self.keep(report.record.clone()).await;
        }
        self.follow(entry);
        if let (Aim::Deploy(_), machine::Outcome::GivenUp(_)) = (&job.plan.aim, &report.outcome) {
            self.watch(entry);
        }
        report
    }

    fn select(&self, services: &Selection) -> Result<Vec<Arc<Entry>>, Failure> {
        let entries = self.entries();
        match services {
            Selection::All => Ok(entries.values().cloned().collect()),
            Selection::Named(names) => {
                names.iter().map(|name| entries.get(name).cloned().ok_or_else(Failure::not_found)).collect()
            }
        }
    }

    fn entry(&self, service: &str) -> Option<Arc<Entry>> {
        self.entries().get(service).cloned()
    }

    /// All services in charge, and those that are coming.
    fn all(&self) -> BTreeMap<String, Arc<Entry>> {
        let claims = self.claims();
        let coming = claims.iter().filter_map(|(name, claimed)| Some((name.clone(), claimed.coming.clone()?)));
        let mut all: BTreeMap<_, _> = coming.collect();
        drop(claims);
        all.extend(self.entries().iter().map(|(name, entry)| (name.clone(), Arc::clone(entry))));
        all
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    fn refuse_if_stopping(&self) -> Result<(), Failure> {
        if self.is_stopping() { Err(Failure::internal("the proxy is shutting down")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
