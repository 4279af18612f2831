//! Being admitted, and waiting for it: rights that are given back by dropping them.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::task::Context;
use std::time::Instant;

use super::super::sync::Cached;
use super::Gate;
use super::opening::Stripe;
use super::queue::{Place, Until};
use super::state::{Grant, State};
use super::terms::Refusal;

/// Proof of admission to one revision, given back by dropping it: keep it until the upstream's side is done.
pub struct Permit<R> {
    stripe: Arc<Stripe<R>>,
    /// It has a turn, which its end gives to the next of the queue.
    turn: bool,
    /// Where it stood, if it had to wait.
    place: Option<Place>,
}

impl<R> Permit<R> {
    pub(super) fn enter(stripe: Arc<Stripe<R>>) -> Option<Self> {
        stripe.enter().then(|| Self { stripe, turn: false, place: None })
    }

    fn granted(Grant { stripe, turn }: Grant<R>, place: Place) -> Self {
        Self { stripe, turn, place: Some(place) }
    }

    /// Where it leads.
    pub fn revision(&self) -> &Arc<R> {
        &self.stripe.opening.revision
    }

    /// The number of the opening it was counted in, unique in its gate.
    pub fn opening(&self) -> u64 {
        self.stripe.opening.number
    }

    /// Lets the next of the queue go though this one is still in flight: for what lasts (a tunnel, an event stream).
    pub fn end_turn(&mut self) {
        if std::mem::take(&mut self.turn)
            && let Some(gate) = self.stripe.opening.gate.upgrade()
        {
            gate.change(|state| state.end_turn(self.stripe.opening.number));
        }
    }

    /// Gives the permit back for a place in the queue: its old one, or that of its arrival if it has not waited yet.
    pub(crate) fn take_seat(self, arrival: Instant, until: Until, now: Instant) -> Seat<R> {
        let stripe = self.stripe.index;
        let seat = |state: &mut State<R>| {
            let place = self.place.unwrap_or_else(|| state.place(arrival, false));
            match state.wait(place, until, stripe, now) {
                Ok(()) => state.hold.held_total += u64::from(self.place.is_none()),
                Err(refusal) => state.answer(place, None, Err(refusal)),
            }
            place
        };
        let gate = self.stripe.opening.gate.clone();
        let place = gate.upgrade().map(|gate| gate.change(seat));
        // The permit ends here, after it has its place: nobody who arrived later can be let in between.
        Seat { gate, place: place.unwrap_or(Place { arrival, waited: false, number: 0 }), answered: place.is_none() }
    }
}

impl<R> Drop for Permit<R> {
    fn drop(&mut self) {
        self.stripe.leave();
        self.end_turn();
    }
}

/// A worker's own way into a gate. It remembers where that leads, so between two requests it may keep a revision
/// from being dropped.
pub struct Entrance<R> {
    slot: Cached<Stripe<R>>,
}

impl<R> Entrance<R> {
    pub(super) fn new(slot: Cached<Stripe<R>>) -> Self {
        Self { slot }
    }

    /// As [`Gate::enter`].
    pub fn enter(&mut self) -> Option<Permit<R>> {
        self.slot.read(Permit::enter)
    }
}

/// A place in the queue and, later, its answer. Dropping it gives either back.
pub(crate) struct Seat<R> {
    gate: Weak<Gate<R>>,
    place: Place,
    answered: bool,
}

impl<R> Seat<R> {
    pub(super) fn new(gate: Weak<Gate<R>>, place: Place) -> Self {
        Self { gate, place, answered: false }
    }

    /// The answer, or until when to wait for it; `cx` is woken when it is there or that moment has changed.
    pub(crate) fn poll(
        &mut self,
        cx: &Context<'_>,
        now: Instant,
    ) -> ControlFlow<Result<Permit<R>, Refusal>, Option<Instant>> {
        let Some(gate) = self.gate.upgrade().filter(|_| !self.answered) else {
            return ControlFlow::Break(Err(Refusal::Removed));
        };
        let mut state = gate.lock();
        let Some(answer) = state.answers.remove(&self.place) else {
            return ControlFlow::Continue(state.queue.watch(self.place, cx.waker()));
        };
        let waited = now.saturating_duration_since(self.place.arrival);
        state.hold.longest_wait = state.hold.longest_wait.max(waited);
        self.answered = true;
        ControlFlow::Break(answer.map(|grant| Permit::granted(grant, self.place)))
    }

    /// From now on it waits for its turn.
    pub(crate) fn ready(&self) {
        if let Some(gate) = self.gate.upgrade() {
            gate.change(|state| state.queue.ready(self.place));
        }
    }

    /// Has the gate answer all whose time is over by `now`, this one among them.
    pub(crate) fn expire(&self, now: Instant) {
        if let Some(gate) = self.gate.upgrade() {
            gate.expire(now);
        }
    }
}

impl<R> Drop for Seat<R> {
    fn drop(&mut self) {
        let Some(gate) = self.gate.upgrade().filter(|_| !self.answered) else { return };
        let (_waker, unfetched) =
            gate.change(|state| (state.queue.leave(self.place), state.answers.remove(&self.place)));
        if let Some(Ok(grant)) = unfetched {
            drop(Permit::granted(grant, self.place));
        }
    }
}
