//! What the core shares between threads is made of these; its test under loom brings a file of the same names.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

pub(super) use std::sync::Mutex;
pub(super) use std::sync::atomic::AtomicUsize;

/// A pointer that is read far more often than it is changed.
pub(super) struct Slot<T>(ArcSwapOption<T>);

impl<T> Slot<T> {
    pub(super) fn empty() -> Self {
        Self(ArcSwapOption::empty())
    }

    /// What `look` makes of the content, without a lock.
    pub(super) fn read<O>(&self, look: impl FnOnce(&Arc<T>) -> Option<O>) -> Option<O> {
        look(self.0.load().as_ref()?)
    }

    pub(super) fn set(&self, content: Option<Arc<T>>) {
        self.0.store(content);
    }
}
