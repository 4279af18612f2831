//! Gate, openings and queue: no I/O, no clock, no runtime. Time is passed in.
//!
//! Everything but entering and leaving an open gate happens under one lock, and every change ends in
//! `State::settle`, which makes the rest true again:
//! - there is an active opening exactly while no reason is in the set (and there is a revision);
//! - it admits all, who enter by themselves, from the moment nobody waits for his turn;
//! - until then the first in the queue is let in, as long as one of the turns is free.

mod opening;
mod queue;
pub(crate) mod terms;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use self::opening::{Opening, Stripe, knows};
pub(crate) use self::queue::Until;
use self::queue::{Patience, Place, Queue};
use self::terms::{HoldStats, Limits, Operator, Reason, Reasons, Refusal, Scope, View};
use super::sync::{Cached, Mutex, MutexGuard, Slot};

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
        Entrance { slot: self.slot(stripe).cached() }
    }

    /// Adds a reason. Once this has returned nobody enters; those who come wait.
    pub fn close(&self, reason: Reason) {
        self.change(|state| state.set_reasons(|reasons| *reasons.own(reason) = true));
    }

    /// Lifts a reason; with the last one the queue is released, in order.
    pub fn open(&self, reason: Reason) {
        self.change(|state| state.set_reasons(|reasons| *reasons.own(reason) = false));
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

    /// Lifts the operator's reason. Never waits.
    pub fn resume(&self) {
        self.change(|state| state.set_reasons(|reasons| reasons.operator = Operator::Running));
    }

    /// Makes `revision` the one that permits lead to, whether open or closed. What is returned drains the old one.
    pub fn flip(&self, revision: Arc<R>) -> Drain<R> {
        self.change(|state| {
            let old = state.revision.replace(revision);
            state.retire(&self.entrances);
            Drain { openings: state.undrained(|opening| old.as_ref().is_some_and(|old| opening.leads_to(old))) }
        })
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

    /// New bounds. Who waits already is judged by the new times.
    pub fn set_limits(&self, limits: Limits) {
        self.change(|state| {
            state.limits = limits;
            state.judge();
        });
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
        Ok(Seat { gate: self.this.clone(), place, answered: false })
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
        let state = self.lock();
        let since = |arrival| now.saturating_duration_since(arrival);
        let longest_wait = state.queue.oldest().map_or(Duration::ZERO, since);
        let unfetched = state.answers.keys().next().map_or(Duration::ZERO, |place| since(place.arrival));
        let active = state.active.as_ref().map_or(0, |active| active.opening.outstanding());
        let retired: usize = state.retired.iter().map(|opening| opening.outstanding()).sum();
        View {
            reasons: state.reasons.clone(),
            held: state.queue.len(),
            longest_wait,
            in_flight: active + retired,
            hold: HoldStats { longest_wait: state.hold.longest_wait.max(longest_wait).max(unfetched), ..state.hold },
        }
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
        self.lock().retired.retain(|opening| !opening.is_drained(None));
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

/// A worker's own way into a gate. It remembers where that leads, so between two requests it may keep a revision
/// from being dropped.
pub struct Entrance<R> {
    slot: Cached<Stripe<R>>,
}

impl<R> Entrance<R> {
    /// As [`Gate::enter`].
    pub fn enter(&mut self) -> Option<Permit<R>> {
        self.slot.read(Permit::enter)
    }
}

/// The opening that requests are let into.
struct Active<R> {
    opening: Arc<Opening<R>>,
    stripes: Box<[Arc<Stripe<R>>]>,
    admits: Admits,
}

/// Whom the active opening admits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Admits {
    /// Those of the queue, of whom so many are in flight.
    Turns(usize),
    /// Everybody: nobody waits for his turn.
    All,
}

/// A permit that its owner has not yet fetched.
struct Grant<R> {
    stripe: Arc<Stripe<R>>,
    turn: bool,
}

struct State<R> {
    limits: Limits,
    reasons: Reasons,
    removed: bool,
    revision: Option<Arc<R>>,
    active: Option<Active<R>>,
    /// Closed, and not seen drained yet.
    retired: Vec<Arc<Opening<R>>>,
    last_retired: u64,
    queue: Queue,
    /// For those that have left the queue and do not know it yet.
    answers: BTreeMap<Place, Result<Grant<R>, Refusal>>,
    hold: HoldStats,
    openings: u64,
    arrivals: u64,
    /// To be woken when the release is over.
    watchers: Vec<Waker>,
    /// To be woken when the lock is free again.
    wakers: Vec<Waker>,
}

impl<R> State<R> {
    fn new(revision: Option<Arc<R>>, limits: Limits) -> Self {
        Self {
            limits,
            reasons: Reasons::default(),
            removed: false,
            revision,
            active: None,
            retired: Vec::new(),
            last_retired: 0,
            queue: Queue::new(Patience { max_hold: limits.max_hold, max_pause: None }),
            answers: BTreeMap::new(),
            hold: HoldStats::default(),
            openings: 0,
            arrivals: 0,
            watchers: Vec::new(),
            wakers: Vec::new(),
        }
    }

    /// Makes true again what the module promises.
    fn settle(&mut self, gate: &Gate<R>) {
        if self.removed || !self.reasons.is_empty() {
            self.retire(&gate.entrances);
        } else {
            self.begin(gate);
            self.release();
            self.open_entrances(&gate.entrances);
        }
        if !self.is_releasing() {
            self.wakers.append(&mut self.watchers);
        }
    }

    /// Lets in as many as there are turns, in order.
    fn release(&mut self) {
        while let Some(place) = self.queue.first().filter(|_| self.has_turn()) {
            if let Some((stripe, waker)) = self.queue.leave(place) {
                self.grant(place, stripe, waker);
            }
        }
    }

    /// Begins a fresh opening if none is active.
    fn begin(&mut self, gate: &Gate<R>) {
        if let (None, Some(revision)) = (&self.active, &self.revision) {
            self.openings += 1;
            let stripes = gate.entrances.len();
            let opening = Opening::new(self.openings, revision.clone(), gate.this.clone(), stripes);
            self.active = Some(Active { stripes: opening.stripes(), opening, admits: Admits::Turns(0) });
        }
    }

    /// Ends the active opening, for good.
    fn retire(&mut self, entrances: &[Slot<Stripe<R>>]) {
        let Some(Active { opening, .. }) = self.active.take() else { return };
        entrances.iter().for_each(|entrance| entrance.set(None));
        opening.retire();
        self.last_retired = opening.number;
        if !opening.is_drained(None) {
            self.retired.push(opening);
        }
    }

    /// Lets everybody enter once nobody waits for his turn.
    fn open_entrances(&mut self, entrances: &[Slot<Stripe<R>>]) {
        let waiting = self.queue.first().is_some();
        let Some(active) = self.active.as_mut().filter(|active| !waiting && active.admits != Admits::All) else {
            return;
        };
        active.admits = Admits::All;
        active.opening.unshut();
        for (entrance, stripe) in entrances.iter().zip(&active.stripes) {
            entrance.set(Some(stripe.clone()));
        }
    }

    /// Whether one of the queue may be let in now.
    fn has_turn(&self) -> bool {
        match self.active.as_ref().map(|active| active.admits) {
            Some(Admits::All) => true,
            Some(Admits::Turns(taken)) => taken < self.limits.release_concurrency.max(1),
            None => false,
        }
    }

    /// Lets one in.
    fn grant(&mut self, place: Place, stripe: usize, waker: Option<Waker>) {
        let Some(active) = &mut self.active else { return };
        let Some(stripe) = active.stripes.get(stripe & (active.stripes.len() - 1)).cloned() else { return };
        stripe.let_in();
        let turn = match &mut active.admits {
            Admits::Turns(taken) => {
                *taken += 1;
                true
            }
            Admits::All => false,
        };
        self.answer(place, waker, Ok(Grant { stripe, turn }));
    }

    /// The turn of a permit of this opening is over. (A later opening has turns of its own: `resume` never waits.)
    fn end_turn(&mut self, opening: u64) {
        if let Some(active) = self.active.as_mut().filter(|active| active.opening.number == opening)
            && let Admits::Turns(taken) = &mut active.admits
        {
            *taken -= 1;
        }
    }

    /// Whether one that arrives now may wait at all.
    fn may_come(&self) -> Result<(), Refusal> {
        match &self.reasons.operator {
            _ if self.removed => Err(Refusal::Removed),
            Operator::Stopped { message } => Err(Refusal::Stopped { message: message.clone() }),
            Operator::Running | Operator::Paused { .. } => Ok(()),
        }
    }

    fn wait(&mut self, place: Place, until: Until, stripe: usize, now: Instant) -> Result<(), Refusal> {
        self.may_come()?;
        if self.queue.len() >= self.limits.max_held {
            return Err(Refusal::Full);
        }
        self.queue.join(place, until, stripe, now)?;
        self.hold.held_peak = self.hold.held_peak.max(self.queue.len());
        Ok(())
    }
    /// Whether nobody need wait.
    fn is_open(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.admits == Admits::All)
    }

    /// Whether it is open and still has a queue to let in.
    fn is_releasing(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.admits != Admits::All)
    }

    fn place(&mut self, arrival: Instant, waited: bool) -> Place {
        self.arrivals += 1;
        Place { arrival, waited, number: self.arrivals }
    }

    /// `place` is no longer in the queue: keeps the answer until it is fetched.
    fn answer(&mut self, place: Place, waker: Option<Waker>, answer: Result<Grant<R>, Refusal>) {
        self.answers.insert(place, answer);
        self.wakers.extend(waker);
    }

    fn refuse_all(&mut self, refusal: &Refusal) {
        for (place, waker) in self.queue.clear() {
            self.answer(place, waker, Err(refusal.clone()));
        }
    }

    /// Changes the set of reasons; when the first one comes, a hold begins.
    fn set_reasons(&mut self, change: impl FnOnce(&mut Reasons)) {
        let was_open = self.reasons.is_empty();
        change(&mut self.reasons);
        if was_open && !self.reasons.is_empty() {
            let held = self.queue.len();
            self.hold = HoldStats { held_peak: held, held_total: held as u64, longest_wait: Duration::ZERO };
        }
        self.judge();
    }

    /// Judges the deadlines of all who wait.
    fn judge(&mut self) {
        let max_pause = match self.reasons.operator {
            Operator::Paused { max_pause } => Some(max_pause),
            Operator::Running | Operator::Stopped { .. } => None,
        };
        let wakers = self.queue.set_patience(Patience { max_hold: self.limits.max_hold, max_pause });
        self.wakers.extend(wakers);
    }

    fn undrained(&self, which: impl Fn(&Opening<R>) -> bool) -> Vec<Arc<Opening<R>>> {
        self.retired.iter().filter(|opening| which(opening)).cloned().collect()
    }
}

/// A place in the queue and, later, its answer. Dropping it gives either back.
pub(crate) struct Seat<R> {
    gate: Weak<Gate<R>>,
    place: Place,
    answered: bool,
}

impl<R> Seat<R> {
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

/// Proof of admission to one revision, given back by dropping it: keep it until the upstream's side is done.
pub struct Permit<R> {
    stripe: Arc<Stripe<R>>,
    /// It has a turn, which its end gives to the next of the queue.
    turn: bool,
    /// Where it stood, if it had to wait.
    place: Option<Place>,
}

impl<R> Permit<R> {
    fn enter(stripe: &Arc<Stripe<R>>) -> Option<Self> {
        stripe.enter().then(|| Self { stripe: stripe.clone(), turn: false, place: None })
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

/// Permits of closed openings that are still outstanding.
pub struct Drain<R> {
    openings: Vec<Arc<Opening<R>>>,
}

impl<R> Drain<R> {
    /// Waits until none is. Cancel-safe.
    pub async fn done(&self) {
        for opening in &self.openings {
            poll_fn(|cx| if opening.is_drained(Some(cx.waker())) { Poll::Ready(()) } else { Poll::Pending }).await;
        }
    }

    /// The openings it waits for, by number, each with its revision.
    pub fn openings(&self) -> impl Iterator<Item = (u64, &Arc<R>)> {
        self.openings.iter().map(|opening| (opening.number, &opening.revision))
    }

    /// How many are.
    pub fn outstanding(&self) -> usize {
        self.openings.iter().map(|opening| opening.outstanding()).sum()
    }
}
