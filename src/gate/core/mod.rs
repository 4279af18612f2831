//! Gate, openings and queue: no I/O, no clock, no runtime. Time is passed in.
//!
//! Everything but entering and leaving an open gate happens under one lock, and every change ends in
//! `State::settle`, which makes the rest true again:
//! - there is an active opening exactly while no reason is in the set (and there is a revision);
//! - it admits all, who enter by themselves, from the moment nobody waits for his turn;
//! - until then the first in the queue is let in, as long as one of the turns is free.

mod opening;
mod permit;
mod queue;
mod state;
pub(crate) mod terms;

use std::future::poll_fn;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

pub use self::opening::Drain;
use self::opening::{Stripe, knows};
pub(crate) use self::permit::Seat;
pub use self::permit::{Entrance, Permit};
pub(crate) use self::queue::Until;
use self::state::State;
use self::terms::{Limits, Operator, Reason, Refusal, Scope, View};
use super::sync::{Mutex, MutexGuard, Slot};

/// The admission point of a service.
pub struct Gate<R> {
    /// Where each worker enters; empty while it may not.
    entrances: Box<[Slot<Stripe<R>>]>,
    state: Mutex<State<R>>,
    this: Weak<Self>,
}

impl<R> Gate<R> {
    /// A gate open on `revision`; without one, requests wait until [`Gate::flip`] brings it.
    pub fn new(revision: Option<Arc<R>>, limits: Limits) -> Arc<Self> {
        let workers = std::thread::available_parallelism().map_or(1, |workers| workers.get());
        Self::with_stripes(revision, limits, workers.min(64))
    }

    pub(crate) fn with_stripes(revision: Option<Arc<R>>, limits: Limits, stripes: usize) -> Arc<Self> {
        let entrances = (0..stripes.next_power_of_two()).map(|_| Slot::empty()).collect();
        let state = Mutex::new(State::new(revision, limits));
        let gate = Arc::new_cyclic(|this| Self { entrances, state, this: this.clone() });
        gate.change(|_| ());
        gate
    }

    /// A permit at once, without a lock; `None` if the gate is closed or others wait: then [`Gate::join`].
    ///
    /// `stripe` is the worker's number: any is right, workers with different ones do not disturb each other.
    pub fn enter(&self, stripe: usize) -> Option<Permit<R>> {
        self.slot(stripe).read(Permit::enter)
    }

    /// A worker's own way in, for one that keeps it: enters in a third of the time.
    pub fn entrance(&self, stripe: usize) -> Entrance<R> {
        Entrance::new(self.slot(stripe).cached())
    }

    /// Adds a reason. Once this has returned nobody enters; those who come wait.
    pub(crate) fn close_at(&self, reason: Reason, now: Instant) {
        self.change(|state| state.close(reason, now));
    }

    /// Lifts a reason; with the last one the queue is released, in order.
    pub fn open(&self, reason: Reason) {
        self.change(|state| state.open(reason));
    }

    /// Requests wait, each for at most `max_pause` from its arrival. Said again, it counts for later arrivals only.
    pub fn pause(&self, max_pause: Duration) {
        self.change(|state| state.set_reasons(|reasons| reasons.operator = Operator::Paused { max_pause }));
    }

    /// Requests are refused, those that wait at once.
    pub fn stop(&self, message: String) {
        self.change(|state| {
            state.refuse_all(&Refusal::Stopped { message: message.clone() });
            state.set_reasons(|reasons| reasons.operator = Operator::Stopped { message });
        });
    }

    /// Answers those who wait [`Refusal::HeldTooLong`], at once: whatever opens the gate next lets none of them through.
    pub fn turn_away(&self) {
        self.change(|state| state.refuse_all(&Refusal::HeldTooLong));
    }

    /// Lifts the operator's reason. Never waits.
    pub fn resume(&self) {
        self.change(|state| state.set_reasons(|reasons| reasons.operator = Operator::Running));
    }

    /// Makes `revision` the one that permits lead to, whether open or closed. What is returned drains the old one.
    pub fn flip(&self, revision: Arc<R>) -> Drain<R> {
        let (openings, _old) = self.change(|state| {
            let old = state.revision.replace(revision);
            state.retire(&self.entrances);
            (state.undrained(|opening| old.as_ref().is_some_and(|old| opening.leads_to(old))), old)
        });
        Drain { openings }
    }

    /// The active revision.
    pub fn revision(&self) -> Option<Arc<R>> {
        self.lock().revision.clone()
    }

    /// The permits that a closing found outstanding; an open gate's own are not among them.
    pub fn drain(&self, scope: Scope) -> Drain<R> {
        let state = self.lock();
        let active = state.revision.as_ref();
        let openings = match scope {
            Scope::Closed => state.undrained(|opening| opening.number == state.last_retired),
            Scope::Revision => state.undrained(|opening| active.is_some_and(|active| opening.leads_to(active))),
        };
        Drain { openings }
    }

    /// Waits until nobody waits for his turn any more, or the gate is closed again. Cancel-safe.
    pub async fn released(&self) {
        let poll = |cx: &mut Context<'_>| {
            let mut state = self.lock();
            if !state.is_releasing() {
                return Poll::Ready(());
            }
            if !knows(&state.watchers, cx.waker()) {
                state.watchers.push(cx.waker().clone());
            }
            Poll::Pending
        };
        poll_fn(poll).await;
    }

    /// Closes for good: who waits and who comes is answered [`Refusal::Removed`].
    pub fn remove(&self) {
        self.change(|state| {
            state.removed = true;
            state.refuse_all(&Refusal::Removed);
        });
    }

    /// The bounds that hold now.
    pub fn limits(&self) -> Limits {
        self.lock().limits
    }

    /// New bounds; gives back those before. Who waits already is judged by the new times.
    pub fn set_limits(&self, limits: Limits) -> Limits {
        self.change(|state| {
            let before = std::mem::replace(&mut state.limits, limits);
            state.judge();
            before
        })
    }

    /// Takes a place in the queue; the answer is there at once if nobody need wait.
    pub(crate) fn join_at(&self, stripe: usize, arrival: Instant, now: Instant) -> Result<Seat<R>, Refusal> {
        let place = self.change(|state| {
            state.may_come()?;
            let place = state.place(arrival, true);
            if state.is_open() {
                state.grant(place, stripe, None);
            } else {
                state.wait(place, Until::Turn, stripe, now)?;
                state.hold.held_total += 1;
            }
            Ok(place)
        })?;
        Ok(Seat::new(self.this.clone(), place))
    }

    /// Answers those whose time is over by `now`.
    pub(crate) fn expire(&self, now: Instant) {
        self.change(|state| {
            while let Some((place, waker, refusal)) = state.queue.overdue(now) {
                state.answer(place, waker, Err(refusal));
            }
        });
    }

    pub(crate) fn view_at(&self, now: Instant) -> View {
        self.lock().view(now)
    }

    /// The one way to change the state: under the lock, made whole at the end, those concerned woken after it.
    fn change<O>(&self, act: impl FnOnce(&mut State<R>) -> O) -> O {
        let mut state = self.lock();
        let outcome = act(&mut state);
        state.settle(self);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        outcome
    }

    fn slot(&self, stripe: usize) -> &Slot<Stripe<R>> {
        self.entrances.get(stripe & (self.entrances.len() - 1)).expect("there is a power of two of them")
    }

    fn forget_drained(&self) {
        self.lock().forget_drained();
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Drop for Gate<R> {
    fn drop(&mut self) {
        self.change(|state| {
            state.removed = true;
            state.refuse_all(&Refusal::Removed);
        });
    }
}
