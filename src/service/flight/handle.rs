//! A request's hold on its entry.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use hyper::body::Incoming;

use super::answer::Answer;
use super::entry::{Cut, Entry, Launch};
use super::registry;
use crate::gate::Permit;
use crate::service::Revision;
use crate::upstream::{Connection, Ended};

/// A request in flight on this worker. Dropped, it has landed: its permit is given back.
#[must_use = "dropping it gives the permit back"]
pub struct Flight {
    key: u64,
}

impl Flight {
    /// Registers a request that is about to be dispatched.
    pub fn launch(launch: Launch) -> Self {
        Self { key: registry::add(Entry::new(launch)) }
    }

    /// For [`Flight::client_ended`].
    #[must_use]
    pub fn key(&self) -> u64 {
        self.key
    }

    /// To be called when the client's body has ended, with the key; a late key is ignored.
    pub fn client_ended(key: u64, ended: Ended) {
        registry::with(key, |entry| entry.client_ended(ended, Instant::now()));
    }

    /// How the client's body ended; none while it has not.
    #[must_use]
    pub fn client(&self) -> Option<Ended> {
        registry::with(self.key, |entry| entry.client())?
    }

    /// Waits to be told to end. Cancel-safe.
    pub async fn cut(&self) -> Cut {
        poll_fn(|cx| registry::with(self.key, |entry| entry.poll_cut(cx)).unwrap_or(Poll::Pending)).await
    }

    /// The revision it was admitted to.
    #[must_use]
    pub fn revision(&self) -> Option<Arc<Revision>> {
        registry::with(self.key, |entry| entry.permit().map(|permit| permit.revision().clone()))?
    }

    /// Looks at the revision without counting as one of its owners.
    pub fn with_revision(&self, look: impl FnOnce(&Revision)) {
        registry::with(self.key, |entry| entry.permit().map(|permit| look(permit.revision())));
    }

    /// Gives the permit back early, to be used for waiting again: nothing of the request was written.
    #[must_use]
    pub fn abandon(self) -> Option<Permit<Revision>> {
        registry::with(self.key, Entry::take_permit)?
    }

    /// The app has sent its head, over the connection; `events`: it is an event stream, which
    /// lets the next of the queue go. A cut that came first is the error.
    ///
    /// # Errors
    /// The cut.
    pub fn answer(self, incoming: Incoming, connection: Connection, events: bool) -> Result<Answer, Cut> {
        match registry::with(self.key, |entry| entry.answer(incoming, connection, events)) {
            Some(None) => Ok(Answer::new(self)),
            Some(Some((cut, ..))) => Err(cut),
            None => Err(Cut::Drained),
        }
    }

    /// From now on it is a tunnel: it lets the next of the queue go.
    pub fn tunnel(&self) {
        registry::with(self.key, Entry::tunnel);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        drop(registry::remove(self.key));
    }
}
