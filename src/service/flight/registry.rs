//! The entries of this worker.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

use super::entry::{Cut, Entry};
use super::slab::Slab;

thread_local! {
    static FLYING: RefCell<Slab<Entry>> = const { RefCell::new(Slab::new()) };
    static ASLEEP: Cell<Option<Waker>> = const { Cell::new(None) };
}

/// Adds one; its key.
pub(super) fn add(entry: Entry) -> u64 {
    if let Some(waker) = ASLEEP.take() {
        waker.wake();
    }
    FLYING.with_borrow_mut(|flying| flying.insert(entry))
}

/// Looks at the entry of that key; nothing where it has landed.
pub(super) fn with<T>(key: u64, act: impl FnOnce(&mut Entry) -> T) -> Option<T> {
    FLYING.with_borrow_mut(|flying| flying.get_mut(key).map(act))
}

/// Takes it out; to be dropped by who asked, since that may wake others.
pub(super) fn remove(key: u64) -> Option<Entry> {
    FLYING.with_borrow_mut(|flying| flying.remove(key))
}

/// Looks at every entry of this worker.
pub(super) fn each(mut see: impl FnMut(&Entry)) {
    FLYING.with_borrow_mut(|flying| flying.iter_mut().for_each(|entry| see(entry)));
}

/// Cuts those entries of this worker that `judge` gives a reason for; says how many.
pub(super) fn cut_where(judge: impl Fn(&Entry) -> Option<Cut>) -> usize {
    let dropped: Vec<_> = FLYING.with_borrow_mut(|flying| {
        let going = flying.iter_mut().filter(|entry| !entry.is_cut());
        going.filter_map(|entry| judge(entry).map(|cut| entry.cut(cut))).collect()
    });
    dropped.len()
}

/// Waits until this worker has something in flight.
pub(super) async fn takeoff() {
    poll_fn(|cx| {
        if !FLYING.with_borrow(Slab::is_empty) {
            return Poll::Ready(());
        }
        ASLEEP.set(Some(cx.waker().clone()));
        Poll::Pending
    })
    .await;
}
