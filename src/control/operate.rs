//! `pause`, `stop`, `resume`, `remove`: they never wait for a handoff.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Control;
use super::entry::Entry;
use super::words::{Failure, Outcome, were_cut};
use crate::gate::{self, Drain};
use crate::handoff::machine::Event;
use crate::service::Revision;
use crate::service::flight::{Flights, Rule, Scope};
use crate::spec::{Pause, Selection, Stop, format_duration};
use crate::state::{PauseState, nanos};

impl Control {
    /// Closes the gates of all of these, then drains them: once this has returned nothing of theirs is in flight that
    /// was not cut.
    ///
    /// # Errors
    /// [`Failure`] where a name is unknown: then nothing was closed.
    pub async fn pause(self: &Arc<Self>, pause: Pause) -> Result<Outcome, Failure> {
        let entries = self.select(&pause.services)?;
        let drains = entries.iter().map(|entry| {
            entry.service.gate.pause(pause.max_pause);
            tracing::info!(service = %entry.service.name, "Service paused");
            self.book.change(&entry.service.name, |page| {
                let controller = &mut page.pause_controller;
                controller.state = PauseState::Paused;
                controller.stop_message.clear();
                controller.fail_after = nanos(pause.max_pause);
            });
            (Arc::clone(entry), entry.service.gate.drain(gate::Scope::Closed))
        });
        self.save_and_drain(drains.collect(), pause.drain_timeout).await
    }

    /// As [`Control::pause`], and requests are answered 503 at once.
    ///
    /// # Errors
    /// [`Failure`] where a name is unknown: then nothing was closed.
    pub async fn stop(self: &Arc<Self>, stop: Stop) -> Result<Outcome, Failure> {
        let entries = self.select(&stop.services)?;
        let drains = entries.iter().map(|entry| {
            entry.service.gate.stop(stop.message.clone());
            tracing::info!(service = %entry.service.name, "Service stopped");
            self.book.change(&entry.service.name, |page| {
                page.pause_controller.state = PauseState::Stopped;
                page.pause_controller.stop_message.clone_from(&stop.message);
            });
            (Arc::clone(entry), entry.service.gate.drain(gate::Scope::Revision))
        });
        self.save_and_drain(drains.collect(), stop.drain_timeout).await
    }

    /// Ends a pause or stop. Never waits.
    ///
    /// # Errors
    /// [`Failure`] where a name is unknown: then nothing was opened.
    pub async fn resume(self: &Arc<Self>, services: Selection) -> Result<Outcome, Failure> {
        for entry in self.select(&services)? {
            entry.service.gate.resume();
            tracing::info!(service = %entry.service.name, "Service resumed");
            self.book.change(&entry.service.name, |page| {
                page.pause_controller.state = PauseState::Running;
                page.pause_controller.stop_message.clear();
            });
        }
        Ok(Outcome { warnings: self.book.save().await.into_iter().collect() })
    }

    /// Forgets a service, be it that its first deploy is still under way. Requests in flight go on, held ones are answered; a
    /// handoff before `yield` is given up.
    ///
    /// # Errors
    /// [`Failure`] where the name is unknown.
    pub async fn remove(self: &Arc<Self>, service: String) -> Result<Outcome, Failure> {
        let entry = {
            let mut entries = self.entries();
            let entry = entries.remove(&service).or_else(|| self.coming(&service)).ok_or_else(Failure::not_found)?;
            self.router.remove(&service);
            entry.now().removed = true;
            self.book.remove(&service);
            entry
        };
        entry.service.gate.remove();
        entry.signal(Event::Abort);
        Ok(Outcome { warnings: self.book.save().await.into_iter().collect() })
    }

    /// Saved first: whoever restarts the proxy meanwhile finds what the operator wanted.
    async fn save_and_drain(
        &self,
        drains: Vec<(Arc<Entry>, Drain<Revision>)>,
        drain_timeout: Duration,
    ) -> Result<Outcome, Failure> {
        let mut outcome = Outcome { warnings: self.book.save().await.into_iter().collect() };
        let mut draining = JoinSet::new();
        for (entry, drain) in drains {
            let flights = self.flights.clone();
            draining.spawn(async move {
                let cut = drain_or_cut(&flights, drain, drain_timeout).await;
                tracing::info!(service = %entry.service.name, "Service drained");
                (entry.service.name.to_string(), cut)
            });
        }
        for (service, cut) in draining.join_all().await {
            if cut > 0 {
                let after = format_duration(drain_timeout);
                outcome.warnings.push(format!("{service}: {} after {after}", were_cut(cut as u64)));
            }
        }
        Ok(outcome)
    }
}

/// Waits for the drain; tunnels are cut at once, the rest at the time-out. Says how many of the rest.
async fn drain_or_cut(flights: &Flights, drain: Drain<Revision>, drain_timeout: Duration) -> usize {
    let scopes: Vec<_> =
        drain.openings().map(|(opening, revision)| Scope { revision: revision.id, opening: Some(opening) }).collect();
    for scope in &scopes {
        flights.cut(*scope, Rule::Tunnels).await;
    }
    if timeout(drain_timeout, drain.done()).await.is_ok() {
        return 0;
    }
    let mut cut = 0;
    for scope in &scopes {
        cut += flights.cut(*scope, Rule::All).await;
    }
    // What was cut gives its permits back as soon as its worker comes to it.
    drain.done().await;
    cut
}
