//! Waiting at the gate. Nothing of a held request has gone upstream, and one whose client leaves never will.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use http::Method;
use http::request::Parts;

use super::Passage;
use super::failure::Failure;
use super::head;
use super::upload::Upload;
use crate::gate::{Held, Operator, Permit, View};
use crate::listener::{self, Watch};
use crate::router::{self, Route};
use crate::service::{Revision, Service};

/// Takes a place in the queue and waits for a permit.
pub(super) async fn wait(
    passage: &mut Passage<'_>,
    service: &Service,
    upload: &mut Upload,
) -> Result<Permit<Revision>, Failure> {
    let held = service.gate.join(passage.client.worker.stripe, passage.arrival)?;
    wait_in(passage, held, upload).await
}

/// Waits on with a place in the queue.
pub(super) async fn wait_in(
    passage: &mut Passage<'_>,
    mut held: Held<Revision>,
    upload: &mut Upload,
) -> Result<Permit<Revision>, Failure> {
    // The gate may have opened meanwhile: then nothing of the below is needed.
    if let Poll::Ready(answer) = poll_fn(|cx| Poll::Ready(Pin::new(&mut held).poll(cx))).await {
        return Ok(answer?);
    }
    passage.was_held = true;
    passage.record.held();
    let permit = waited(passage, held, upload).await;
    passage.record.released();
    passage.unread = !upload.is_received();
    permit
}

async fn waited(
    passage: &Passage<'_>,
    mut held: Held<Revision>,
    upload: &mut Upload,
) -> Result<Permit<Revision>, Failure> {
    let socket = passage.client.socket;
    let watch = listener::watch(socket);
    let mut permit = turn(passage, &mut held, &watch, upload).await?;
    if upload.is_awaited() {
        // No 100 while held. Now the client is told to go on, and waits for its own first byte without keeping others
        // from their turn.
        permit = step_aside(passage, permit, &watch, upload, Reading::First).await?;
    }
    while !upload.is_received() && listener::unread(socket) > 0 {
        let opening = permit.opening();
        permit = step_aside(passage, permit, &watch, upload, Reading::On).await?;
        // Else the gate has closed meanwhile, and the client may have left since.
        if permit.opening() == opening {
            break;
        }
    }
    // The event may not have been seen yet.
    if listener::has_left(socket) { Err(Failure::ClientLeft) } else { Ok(permit) }
}

async fn turn(
    passage: &Passage<'_>,
    held: &mut Held<Revision>,
    watch: &Watch,
    upload: &mut Upload,
) -> Result<Permit<Revision>, Failure> {
    let worker = &passage.client.worker;
    let mut stopping = worker.stopping.clone();
    let awaited = upload.is_awaited();
    tokio::select! {
        biased;
        () = watch.left() => Err(Failure::ClientLeft),
        answer = held => Ok(answer?),
        failure = upload.read_ahead(&worker.shared), if !awaited => Err(failure),
        _ = stopping.wait_for(|stopping| *stopping) => Err(Failure::Stopping),
    }
}

/// What must be read of a body before its request may be sent.
enum Reading {
    /// The first piece.
    First,
    /// Enough to know that the client is still there.
    On,
}

/// Gives the turn to the next, reads, and waits for a turn again, in the old place.
async fn step_aside(
    passage: &Passage<'_>,
    permit: Permit<Revision>,
    watch: &Watch,
    upload: &mut Upload,
    reading: Reading,
) -> Result<Permit<Revision>, Failure> {
    let worker = &passage.client.worker;
    let mut stopping = worker.stopping.clone();
    let mut held = permit.park(passage.arrival);
    let read = async {
        match reading {
            Reading::First => upload.read_first(&worker.shared).await,
            Reading::On => upload.read_on(&worker.shared, || listener::unread(passage.client.socket)).await,
        }
    };
    tokio::select! {
        biased;
        () = watch.left() => Err(Failure::ClientLeft),
        read = read => read,
        // Parked, it is answered by refusals only.
        answer = &mut held => Err(answer.err().map_or(Failure::Stopping, Failure::from)),
        _ = stopping.wait_for(|stopping| *stopping) => Err(Failure::Stopping),
    }?;
    held.ready();
    turn(passage, &mut held, watch, upload).await
}

/// Whether a closed gate's service is asked for its health: then the proxy itself says that all is well, so that a load
/// balancer in front keeps the machine. Held by the proxy on its own account, `/` is a page like any other.
pub(super) fn is_own_health_answer(route: &Route<Service>, head: &Parts) -> bool {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return false;
    }
    let service = &route.service;
    let Some(revision) = service.gate.revision() else { return false };
    let health = &revision.options.health_check.path;
    let stripped = head::stripped(route, head.uri.path());
    let seen = router::decode(stripped.as_deref().unwrap_or(head.uri.path()));
    if *seen != *health.as_bytes() {
        return false;
    }
    answers_for_the_app(&service.gate.view(), service.gate.limits().max_hold, health)
}

/// On its own account no longer than a request would be held: after that, clients are better off elsewhere.
fn answers_for_the_app(view: &View, max_hold: Duration, health: &str) -> bool {
    match view.reasons.operator {
        Operator::Paused { .. } | Operator::Stopped { .. } => true,
        Operator::Running => view.closed_for.is_some_and(|time| time < max_hold) && health != "/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Reasons;

    #[test]
    fn the_app_is_said_to_be_healthy_for_as_long_as_its_requests_are_held() {
        let paused = Reasons { operator: Operator::Paused { max_pause: Duration::ZERO }, ..Reasons::default() };
        let (none, short, long) = (None, Some(Duration::from_secs(24)), Some(Duration::from_secs(25)));
        for (reasons, closed_for, health, answers) in [
            (Reasons::default(), none, "/up", false),
            (Reasons { handoff: true, ..Reasons::default() }, short, "/up", true),
            (Reasons { handoff: true, ..Reasons::default() }, short, "/", false),
            (Reasons { unavailable: true, ..Reasons::default() }, long, "/up", false),
            (paused.clone(), none, "/", true),
            (paused, long, "/up", true),
        ] {
            let view = View { reasons, closed_for, ..View::default() };
            assert_eq!(answers_for_the_app(&view, Duration::from_secs(25), health), answers, "{view:?} {health}");
        }
    }
}
