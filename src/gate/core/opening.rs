//! The counter of the permits that were given out between two closings of a gate.
//!
//! A stripe's count and its mark are one word, so to be admitted and to be counted is one step: `enter` adds one, and
//! what it added to says whether it may stay. A mark is set once and for all, so once marked no stripe's count of
//! permits grows, and the last to leave learns from the same word that somebody may wait for it.

use std::future::poll_fn;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Poll, Waker};

use super::super::sync::{AtomicUsize, Mutex, MutexGuard};
use super::Gate;

/// The mark: nobody may enter by himself.
const SHUT: usize = 1 << (usize::BITS - 1);

/// One worker's count, on cache lines of its own.
#[repr(align(128))]
struct Count(AtomicUsize);

impl Count {
    /// Counts one in; false if it may not stay (it must be counted out again).
    fn enter(&self) -> bool {
        self.0.fetch_add(1, AcqRel) & SHUT == 0
    }

    /// Counts one out; whether it was the last of a shut stripe.
    fn leave(&self) -> bool {
        self.0.fetch_sub(1, AcqRel) == SHUT | 1
    }

    fn inside(&self) -> usize {
        self.0.load(Acquire) & !SHUT
    }
}

/// What waits for an opening to be drained.
#[derive(Default)]
struct Draining {
    /// Closed for good.
    retired: bool,
    /// Retired, and no permit is left. (A count may still twitch: one that enters too late is counted in and out.)
    drained: bool,
    wakers: Vec<Waker>,
}

/// See the module.
pub(super) struct Opening<R> {
    pub(super) number: u64,
    pub(super) revision: Arc<R>,
    pub(super) gate: Weak<Gate<R>>,
    counts: Box<[Arc<Count>]>,
    draining: Mutex<Draining>,
}

impl<R> Opening<R> {
    /// A shut one: only the queue may let requests in.
    pub(super) fn new(number: u64, revision: Arc<R>, gate: Weak<Gate<R>>, stripes: usize) -> Arc<Self> {
        let counts = (0..stripes).map(|_| Arc::new(Count(AtomicUsize::new(SHUT)))).collect();
        Arc::new(Self { number, revision, gate, counts, draining: Mutex::new(Draining::default()) })
    }

    pub(super) fn leads_to(&self, revision: &Arc<R>) -> bool {
        Arc::ptr_eq(&self.revision, revision)
    }

    /// One for each worker.
    pub(super) fn stripes(self: &Arc<Self>) -> Box<[Arc<Stripe<R>>]> {
        let stripe = |(index, count): (usize, &Arc<Count>)| {
            Arc::new(Stripe { index, count: count.clone(), opening: self.clone() })
        };
        self.counts.iter().enumerate().map(stripe).collect()
    }

    /// Lets everybody enter.
    pub(super) fn unshut(&self) {
        for count in &self.counts {
            count.0.fetch_and(!SHUT, AcqRel);
        }
    }

    /// Closes it for good. When this has returned nobody enters.
    pub(super) fn retire(&self) {
        for count in &self.counts {
            count.0.fetch_or(SHUT, AcqRel);
        }
        self.draining().retired = true;
    }

    /// Whether it is retired and all permits are back; else `waker` is woken when it is.
    pub(super) fn is_drained(&self, waker: Option<&Waker>) -> bool {
        let mut draining = self.draining();
        draining.drained |= draining.retired && self.inside() == 0;
        if let Some(waker) = waker.filter(|waker| !draining.drained && !knows(&draining.wakers, waker)) {
            draining.wakers.push(waker.clone());
        }
        draining.drained
    }

    /// How many permits are out.
    pub(super) fn outstanding(&self) -> usize {
        let draining = self.draining();
        if draining.drained { 0 } else { self.inside() }
    }

    /// Somebody was the last to leave a shut stripe. True if that drained it.
    ///
    /// Two may leave the last two stripes at once; the lock makes the later of them see both empty.
    fn emptied(&self) -> bool {
        let mut draining = self.draining();
        if draining.drained || !draining.retired || self.inside() > 0 {
            return false;
        }
        draining.drained = true;
        let wakers = std::mem::take(&mut draining.wakers);
        drop(draining);
        wakers.into_iter().for_each(Waker::wake);
        true
    }

    fn inside(&self) -> usize {
        self.counts.iter().map(|count| count.inside()).sum()
    }

    fn draining(&self) -> MutexGuard<'_, Draining> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn knows(wakers: &[Waker], waker: &Waker) -> bool {
    wakers.iter().any(|known| known.will_wake(waker))
}

/// One worker's part of an opening. It has a reference count of its own too: workers share no cache line.
#[repr(align(128))]
pub(super) struct Stripe<R> {
    pub(super) index: usize,
    count: Arc<Count>,
    pub(super) opening: Arc<Opening<R>>,
}

impl<R> Stripe<R> {
    /// Counts one in, unless shut.
    pub(super) fn enter(&self) -> bool {
        let entered = self.count.enter();
        if !entered {
            self.leave();
        }
        entered
    }

    /// Counts one in though it is shut: for the queue, which knows that the opening is not retired.
    pub(super) fn let_in(&self) {
        self.count.enter();
    }

    /// Counts one out.
    pub(super) fn leave(&self) {
        if self.count.leave()
            && self.opening.emptied()
            && let Some(gate) = self.opening.gate.upgrade()
        {
            gate.forget_drained();
        }
    }
}

/// Permits of closed openings that are still outstanding.
pub struct Drain<R> {
    pub(super) openings: Vec<Arc<Opening<R>>>,
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
