//! What the core shares between threads is made of these; its test under loom brings a file of the same names.

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Cache};

pub(super) use std::sync::atomic::AtomicUsize;
pub(super) use std::sync::{Mutex, MutexGuard};

/// A pointer that is read far more often than it is changed.
pub(super) struct Slot<T>(Arc<ArcSwapOption<T>>);

impl<T> Slot<T> {
    pub(super) fn empty() -> Self {
        Self(Arc::new(ArcSwapOption::empty()))
    }

    /// What `look` makes of the content, without a lock.
    pub(super) fn read<O>(&self, look: impl FnOnce(Arc<T>) -> Option<O>) -> Option<O> {
        look(self.0.load_full()?)
    }

    pub(super) fn set(&self, content: Option<Arc<T>>) {
        self.0.store(content);
    }

    pub(super) fn cached(&self) -> Cached<T> {
        Cached(Cache::new(self.0.clone()))
    }
}

/// One reader's view of a slot: looks whether it has changed, and has its own reference to the content.
pub(super) struct Cached<T>(Cache<Arc<ArcSwapOption<T>>, Option<Arc<T>>>);

impl<T> Cached<T> {
    pub(super) fn read<O>(&mut self, look: impl FnOnce(Arc<T>) -> Option<O>) -> Option<O> {
        look(self.0.load().clone()?)
    }
}
