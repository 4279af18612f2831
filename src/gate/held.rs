//! A request that waits.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Permit, Refusal};

/// A request that waits in the queue: a future that is answered when its turn comes or its time is over.
///
/// Dropping it says that the client has left: its place is free at once and it is never dispatched.
#[must_use = "dropping it leaves the queue"]
pub struct Held<R> {
    revision: PhantomData<R>,
}

impl<R> Held<R> {
    pub(super) fn waiting() -> Self {
        Self { revision: PhantomData }
    }

    /// Ends what [`Permit::park`] began: the request waits for its turn again, in its old place.
    pub fn ready(&mut self) {}
}

impl<R> Future for Held<R> {
    type Output = Result<Permit<R>, Refusal>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Pending
    }
}
