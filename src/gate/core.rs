//! Gate, openings and queue: no I/O, no clock, no runtime.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::held::Held;
use super::sync::Mutex;
use super::terms::{Limits, Reason, Refusal, Scope, View};

/// The admission point of a service.
pub struct Gate<R> {
    revision: Mutex<Option<Arc<R>>>,
}

impl<R> Gate<R> {
    /// A gate open on `revision`; without one, requests wait until [`Gate::flip`] brings it.
    pub fn new(revision: Option<Arc<R>>, _limits: Limits) -> Arc<Self> {
        Arc::new(Self { revision: Mutex::new(revision) })
    }

    /// A permit at once, without a lock; `None` if the gate is closed or others wait: then [`Gate::join`].
    ///
    /// `stripe` is the worker's number: any is right, workers with different ones do not disturb each other.
    pub fn enter(&self, stripe: usize) -> Option<Permit<R>> {
        let revision = self.revision.lock().ok()?.clone()?;
        Some(Permit { revision, opening: stripe as u64 })
    }

    /// Takes a place in the queue, by time of arrival; the permit is there at the first poll if nobody need wait.
    pub fn join(self: &Arc<Self>, _stripe: usize, _arrival: Instant) -> Result<Held<R>, Refusal> {
        Err(Refusal::Full)
    }

    /// Adds a reason. Once this has returned nobody enters; those who come wait.
    pub fn close(&self, _reason: Reason) {}

    /// Lifts a reason; with the last one the queue is released, in order.
    pub fn open(&self, _reason: Reason) {}

    /// Requests wait, each for at most `max_pause` from its arrival. Said again, it counts for later arrivals only.
    pub fn pause(&self, _max_pause: Duration) {}

    /// Requests are refused, those that wait at once.
    pub fn stop(&self, _message: String) {}

    /// Lifts the operator's reason. Never waits.
    pub fn resume(&self) {}

    /// Makes `revision` the one that permits lead to, whether open or closed. What is returned drains the old one.
    pub fn flip(&self, _revision: Arc<R>) -> Drain<R> {
        Drain { revision: PhantomData }
    }

    /// The active revision.
    pub fn revision(&self) -> Option<Arc<R>> {
        self.revision.lock().ok()?.clone()
    }

    /// The permits that a closing found outstanding; an open gate's own are not among them.
    pub fn drain(&self, _scope: Scope) -> Drain<R> {
        Drain { revision: PhantomData }
    }

    /// Closes for good: who waits and who comes is answered [`Refusal::Removed`].
    pub fn remove(&self) {}

    /// The gate at this moment.
    pub fn view(&self) -> View {
        View::default()
    }

    /// New bounds. Who waits already is judged by the new times.
    pub fn set_limits(&self, _limits: Limits) {}
}

/// Proof of admission to one revision, given back by dropping it: keep it until the upstream's side is done.
pub struct Permit<R> {
    revision: Arc<R>,
    opening: u64,
}

impl<R> Permit<R> {
    /// Where it leads.
    pub fn revision(&self) -> &Arc<R> {
        &self.revision
    }

    /// The number of the opening it was counted in, unique in its gate.
    pub fn opening(&self) -> u64 {
        self.opening
    }

    /// Gives the permit back and waits again, in its old place by `arrival` (the one given to [`Gate::join`], if any).
    /// Only for a request of which no byte was written. On an open gate it may be granted at once: close it first, or
    /// pause between two attempts.
    pub fn return_to_queue(self, _arrival: Instant) -> Held<R> {
        Held::waiting()
    }

    /// Gives the permit back and keeps the place in the queue, blocking nobody: for a request that has yet to see the
    /// first byte of its body. It is answered by refusals only until [`Held::ready`].
    pub fn park(self, _arrival: Instant) -> Held<R> {
        Held::waiting()
    }

    /// Lets the next of the queue go though this one is still in flight: for what lasts (a tunnel, an event stream).
    pub fn yield_turn(&mut self) {}
}

/// Permits of closed openings that are still outstanding.
pub struct Drain<R> {
    revision: PhantomData<R>,
}

impl<R> Drain<R> {
    /// Waits until none is. Cancel-safe.
    pub async fn done(&self) {}

    /// How many are.
    pub fn outstanding(&self) -> usize {
        0
    }
}
