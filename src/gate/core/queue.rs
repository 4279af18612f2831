//! Who waits, in which order, and until when. Values only: the gate decides when it is whose turn.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::terms::Refusal;

/// A place in the queue: kept by a request that was granted a permit and gave it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) arrival: Instant,
    /// Of those that arrived in one moment, who had entered an open gate goes before who had to wait.
    pub(super) waited: bool,
    pub(super) number: u64,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Its turn.
    Turn,
    /// Something of its own; nobody behind it waits for that.
    Ready,
}

/// How long requests may wait, from their arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    pub(super) max_hold: Duration,
    /// Paused: this in its place, for those that are not under an earlier pause's bound.
    pub(super) max_pause: Option<Duration>,
}

struct Waiter {
    stripe: usize,
    waker: Option<Waker>,
    max_pause: Option<Duration>,
    /// `None`: beyond what a clock can say.
    deadline: Option<Instant>,
}

impl Waiter {
    fn judge(&mut self, place: Place, patience: Patience) {
        self.max_pause = patience.max_pause.map(|new| self.max_pause.unwrap_or(new));
        self.deadline = place.arrival.checked_add(self.max_pause.unwrap_or(patience.max_hold));
    }
}

/// See the module.
pub(super) struct Queue {
    patience: Patience,
    waiters: BTreeMap<Place, Waiter>,
    /// Those that wait until [`Until::Turn`].
    turns: BTreeSet<Place>,
    deadlines: BTreeSet<(Instant, Place)>,
}

impl Queue {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, waiters: BTreeMap::new(), turns: BTreeSet::new(), deadlines: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// The first that waits for its turn.
    pub(super) fn first(&self) -> Option<Place> {
        self.turns.first().copied()
    }

    /// When the oldest arrived.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.waiters.keys().next().map(|place| place.arrival)
    }

    /// Takes `place`, unless its time is over already.
    pub(super) fn join(&mut self, place: Place, until: Until, stripe: usize, now: Instant) -> Result<(), Refusal> {
        let mut waiter = Waiter { stripe, waker: None, max_pause: None, deadline: None };
        waiter.judge(place, self.patience);
        if waiter.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(self.too_long());
        }
        if until == Until::Turn {
            self.turns.insert(place);
        }
        self.deadlines.extend(waiter.deadline.map(|deadline| (deadline, place)));
        self.waiters.insert(place, waiter);
        Ok(())
    }

    /// Frees `place`; its stripe and waker if it was taken.
    pub(super) fn leave(&mut self, place: Place) -> Option<(usize, Option<Waker>)> {
        let waiter = self.waiters.remove(&place)?;
        self.turns.remove(&place);
        if let Some(deadline) = waiter.deadline {
            self.deadlines.remove(&(deadline, place));
        }
        Some((waiter.stripe, waiter.waker))
    }

    /// From now on `place` waits for its turn.
    pub(super) fn ready(&mut self, place: Place) {
        if self.waiters.contains_key(&place) {
            self.turns.insert(place);
        }
    }

    /// Whom to wake when `place` is answered or its deadline has changed. The deadline, if it has one.
    pub(super) fn watch(&mut self, place: Place, waker: &Waker) -> Option<Instant> {
        let waiter = self.waiters.get_mut(&place)?;
        match &mut waiter.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        waiter.deadline
    }

    /// Judges everybody anew; the wakers of those whose deadline has changed.
    pub(super) fn set_patience(&mut self, patience: Patience) -> Vec<Waker> {
        self.patience = patience;
        let mut wakers = Vec::new();
        for (place, waiter) in &mut self.waiters {
            let before = waiter.deadline;
            waiter.judge(*place, patience);
            if waiter.deadline != before {
                wakers.extend(waiter.waker.clone());
            }
        }
        let deadline = |(place, waiter): (&Place, &Waiter)| waiter.deadline.map(|deadline| (deadline, *place));
        self.deadlines = self.waiters.iter().filter_map(deadline).collect();
        wakers
    }

    /// Frees the place of one whose time is over by `now`, and says what to tell it.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<(Place, Option<Waker>, Refusal)> {
        let (_, place) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now)?;
        let (_, waker) = self.leave(place)?;
        Some((place, waker, self.too_long()))
    }

    /// Frees all places, in order.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = (Place, Option<Waker>)> + use<> {
        self.turns.clear();
        self.deadlines.clear();
        std::mem::take(&mut self.waiters).into_iter().map(|(place, waiter)| (place, waiter.waker))
    }

    fn too_long(&self) -> Refusal {
        if self.patience.max_pause.is_some() { Refusal::PausedTooLong } else { Refusal::HeldTooLong }
    }
}
