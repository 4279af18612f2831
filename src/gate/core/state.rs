//! What a gate knows under its lock, and what follows from each change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::super::sync::Slot;
use super::Gate;
use super::opening::{Opening, Stripe};
use super::queue::{Patience, Place, Queue, Until};
use super::terms::{HoldStats, Limits, Operator, Reason, Reasons, Refusal, View};

/// See the module.
pub(super) struct State<R> {
    pub(super) limits: Limits,
    reasons: Reasons,
    /// Since when a reason of the proxy's own has been in the set without a break.
    own_since: Option<Instant>,
    pub(super) removed: bool,
    pub(super) revision: Option<Arc<R>>,
    active: Option<Active<R>>,
    /// Closed, and not seen drained yet.
    retired: Vec<Arc<Opening<R>>>,
    pub(super) last_retired: u64,
    pub(super) queue: Queue,
    /// For those that have left the queue and do not know it yet.
    pub(super) answers: BTreeMap<Place, Result<Grant<R>, Refusal>>,
    pub(super) hold: HoldStats,
    openings: u64,
    arrivals: u64,
    /// To be woken when the release is over.
    pub(super) watchers: Vec<Waker>,
    /// To be woken when the lock is free again.
    pub(super) wakers: Vec<Waker>,
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
pub(super) struct Grant<R> {
    pub(super) stripe: Arc<Stripe<R>>,
    pub(super) turn: bool,
}

impl<R> State<R> {
    pub(super) fn new(revision: Option<Arc<R>>, limits: Limits) -> Self {
        Self {
            limits,
            reasons: Reasons::default(),
            own_since: None,
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
    pub(super) fn settle(&mut self, gate: &Gate<R>) {
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
    pub(super) fn retire(&mut self, entrances: &[Slot<Stripe<R>>]) {
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
    pub(super) fn grant(&mut self, place: Place, stripe: usize, waker: Option<Waker>) {
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
    pub(super) fn end_turn(&mut self, opening: u64) {
        if let Some(active) = self.active.as_mut().filter(|active| active.opening.number == opening)
            && let Admits::Turns(taken) = &mut active.admits
        {
            *taken -= 1;
        }
    }

    /// Whether one that arrives now may wait at all.
    pub(super) fn may_come(&self) -> Result<(), Refusal> {
        match &self.reasons.operator {
            _ if self.removed => Err(Refusal::Removed),
            Operator::Stopped { message } => Err(Refusal::Stopped { message: message.clone() }),
            Operator::Running | Operator::Paused { .. } => Ok(()),
        }
    }

    pub(super) fn wait(&mut self, place: Place, until: Until, stripe: usize, now: Instant) -> Result<(), Refusal> {
        self.may_come()?;
        if self.queue.len() >= self.limits.max_held {
            return Err(Refusal::Full);
        }
        self.queue.join(place, until, stripe, now)?;
        self.hold.held_peak = self.hold.held_peak.max(self.queue.len());
        Ok(())
    }

    /// Whether nobody need wait.
    pub(super) fn is_open(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.admits == Admits::All)
    }

    /// Whether it is open and still has a queue to let in.
    pub(super) fn is_releasing(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.admits != Admits::All)
    }

    pub(super) fn place(&mut self, arrival: Instant, waited: bool) -> Place {
        self.arrivals += 1;
        Place { arrival, waited, number: self.arrivals }
    }

    /// `place` is no longer in the queue: keeps the answer until it is fetched.
    pub(super) fn answer(&mut self, place: Place, waker: Option<Waker>, answer: Result<Grant<R>, Refusal>) {
        self.answers.insert(place, answer);
        self.wakers.extend(waker);
    }

    pub(super) fn refuse_all(&mut self, refusal: &Refusal) {
        for (place, waker) in self.queue.clear() {
            self.answer(place, waker, Err(refusal.clone()));
        }
    }

    pub(super) fn close(&mut self, reason: Reason, now: Instant) {
        self.set_reasons(|reasons| *reasons.own(reason) = true);
        self.own_since.get_or_insert(now);
    }

    pub(super) fn open(&mut self, reason: Reason) {
        self.set_reasons(|reasons| *reasons.own(reason) = false);
        if !self.reasons.handoff && !self.reasons.unavailable {
            self.own_since = None;
        }
    }

    /// Changes the set of reasons; when the first one comes, a hold begins.
    pub(super) fn set_reasons(&mut self, change: impl FnOnce(&mut Reasons)) {
        let was_open = self.reasons.is_empty();
        change(&mut self.reasons);
        if was_open && !self.reasons.is_empty() {
            let held = self.queue.len();
            self.hold = HoldStats { held_peak: held, held_total: held as u64, longest_wait: Duration::ZERO };
        }
        self.judge();
    }

    /// Judges the deadlines of all who wait.
    pub(super) fn judge(&mut self) {
        let max_pause = match self.reasons.operator {
            Operator::Paused { max_pause } => Some(max_pause),
            Operator::Running | Operator::Stopped { .. } => None,
        };
        let wakers = self.queue.set_patience(Patience { max_hold: self.limits.max_hold, max_pause });
        self.wakers.extend(wakers);
    }

    pub(super) fn undrained(&self, which: impl Fn(&Opening<R>) -> bool) -> Vec<Arc<Opening<R>>> {
        self.retired.iter().filter(|opening| which(opening)).cloned().collect()
    }

    pub(super) fn forget_drained(&mut self) {
        self.retired.retain(|opening| !opening.is_drained(None));
    }

    pub(super) fn view(&self, now: Instant) -> View {
        let wait = |arrival: Option<Instant>| arrival.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let longest_wait = wait(self.queue.oldest());
        let unfetched = wait(self.answers.keys().next().map(|place| place.arrival));
        let active = self.active.as_ref().map(|active| &active.opening);
        View {
            reasons: self.reasons.clone(),
            closed_for: self.own_since.map(|since| now.saturating_duration_since(since)),
            held: self.queue.len(),
            longest_wait,
            in_flight: active.into_iter().chain(&self.retired).map(|opening| opening.outstanding()).sum(),
            hold: HoldStats { longest_wait: self.hold.longest_wait.max(longest_wait).max(unfetched), ..self.hold },
        }
    }
}
