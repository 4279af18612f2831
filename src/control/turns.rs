//! One handoff at a time for each service, first come, first served; services do not wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::spec::OnBusy;

/// The queues, by service.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

/// The right to hand a service over; given back by dropping it.
#[derive(Debug)]
#[must_use]
pub(super) struct Turn {
    _guard: OwnedMutexGuard<()>,
}

impl Turns {
    /// Waits for a turn. None at once where the service is busy and nobody wants to wait. Cancel-safe: who stops waiting
    /// leaves the queue.
    pub(super) async fn take(&self, service: &str, on_busy: OnBusy) -> Option<Turn> {
        let queue = {
            let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            queues.retain(|_, queue| Arc::strong_count(queue) > 1);
            Arc::clone(queues.entry(service.to_owned()).or_default())
        };
        let guard = match on_busy {
            OnBusy::Wait => queue.lock_owned().await,
            OnBusy::Fail => queue.try_lock_owned().ok()?,
        };
        Some(Turn { _guard: guard })
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn turns_of_one_service_come_one_by_one_in_order_and_others_do_not_wait() {
        let turns = Turns::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut now = |turn: std::pin::Pin<&mut dyn Future<Output = Option<Turn>>>| turn.poll(&mut context);
        let Poll::Ready(Some(first)) = now(pin!(turns.take("a", OnBusy::Wait))) else { panic!("the first waits") };
        assert!(matches!(now(pin!(turns.take("b", OnBusy::Wait))), Poll::Ready(Some(_))));
        assert!(matches!(now(pin!(turns.take("a", OnBusy::Fail))), Poll::Ready(None)));

        let mut second = pin!(turns.take("a", OnBusy::Wait));
        let mut third = pin!(turns.take("a", OnBusy::Wait));
        assert!(now(second.as_mut()).is_pending() && now(third.as_mut()).is_pending());
        drop(first);
        assert!(now(third.as_mut()).is_pending());
        let Poll::Ready(Some(turn)) = now(second.as_mut()) else { panic!("the second still waits") };
        assert!(now(third.as_mut()).is_pending());
        drop(turn);
        assert!(now(third.as_mut()).is_ready());
    }
}
