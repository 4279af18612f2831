//! The gate's core, with a counter for which admission and counting are two steps: it looks, then counts.

pub(crate) mod sync {
    use loom::sync::atomic::{AtomicUsize as Counter, Ordering};

    pub(crate) use crate::gate::sync::{Cached, Mutex, MutexGuard, Slot};

    pub(crate) struct AtomicUsize(Counter);

    impl AtomicUsize {
        pub(crate) fn new(value: usize) -> Self {
            Self(Counter::new(value))
        }

        /// Tells what it saw, not what it added to.
        pub(crate) fn fetch_add(&self, more: usize, order: Ordering) -> usize {
            let seen = self.0.load(Ordering::SeqCst);
            self.0.fetch_add(more, order);
            seen
        }

        pub(crate) fn fetch_sub(&self, less: usize, order: Ordering) -> usize {
            self.0.fetch_sub(less, order)
        }

        pub(crate) fn fetch_or(&self, bits: usize, order: Ordering) -> usize {
            self.0.fetch_or(bits, order)
        }

        pub(crate) fn fetch_and(&self, bits: usize, order: Ordering) -> usize {
            self.0.fetch_and(bits, order)
        }

        pub(crate) fn load(&self, order: Ordering) -> usize {
            self.0.load(order)
        }
    }
}

#[path = "../../src/gate/core/mod.rs"]
pub(crate) mod core;
