//! `src/gate/sync.rs` again, of loom's parts.

use std::sync::Arc;

pub(crate) use loom::sync::atomic::AtomicUsize;
pub(crate) use loom::sync::{Mutex, MutexGuard};

pub(crate) struct Slot<T>(Arc<Mutex<Option<Arc<T>>>>);

impl<T> Slot<T> {
    pub(crate) fn empty() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// As in the original the content may have changed before `look` is done with it.
    pub(crate) fn read<O>(&self, look: impl FnOnce(Arc<T>) -> Option<O>) -> Option<O> {
        let content = self.0.lock().expect("nobody panics").clone();
        look(content?)
    }

    pub(crate) fn set(&self, content: Option<Arc<T>>) {
        *self.0.lock().expect("nobody panics") = content;
    }

    pub(crate) fn cached(&self) -> Cached<T> {
        Cached(Self(self.0.clone()))
    }
}

pub(crate) struct Cached<T>(Slot<T>);

impl<T> Cached<T> {
    pub(crate) fn read<O>(&mut self, look: impl FnOnce(Arc<T>) -> Option<O>) -> Option<O> {
        self.0.read(look)
    }
}
