//! From the permit to the head of the app's answer.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::body::Source;
use super::failure::Failure;
use super::head::{self, Toward};
use super::upload::Upload;
use super::{Passage, hint, hold, tunnel};
use crate::gate::Permit;
use crate::router::Route;
use crate::service::flight::{Flight, Launch};
use crate::service::{Revision, Service};
use crate::upstream::{self, Connection, Ended, Outgoing};

/// Sends the request to the app and returns its answer.
pub(super) async fn dispatch(
    passage: &mut Passage<'_>,
    route: &Route<Service>,
    mut head: Parts,
    mut upload: Upload,
    mut permit: Permit<Revision>,
) -> Result<Response<Source>, Failure> {
    let (flight, connection, forward) = loop {
        let revision = permit.revision();
        let (target, forward) = (revision.pick().ok_or(Failure::NoTarget)?.id(), revision.options.forward_headers);
        passage.record.request_headers(&revision.options, &head.headers);
        let flight = launch(permit, &head, &upload, passage);
        match unless_cut(&flight, connection(&flight, target)).await {
            Ok(connection) => break (flight, connection, forward),
            Err(failure) => permit = turn_back(passage, &route.service, flight, &mut upload, failure).await?,
        }
    };
    passage.record.targeted(connection.header());
    let upgrade = head::wanted_upgrade(&head.headers).cloned().zip(head.extensions.remove::<OnUpgrade>());
    let toward =
        Toward { client: passage.client, route, target: connection.header(), forward, has_body: !upload.is_empty() };
    let version = head.version;
    toward.prepare(&mut head);
    let mut request = Request::from_parts(head, upload.into_outgoing(&flight));
    hint::pass_on(passage.client, version, &mut request);
    let sent = unless_cut(&flight, exchange(&flight, connection, request, passage.was_held)).await;
    passage.unread = flight.client() != Some(Ended::Whole);
    let (response, connection) = sent?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return tunnel::open(passage, flight, upgrade, response);
    }
    answer(passage, flight, connection, response)
}

fn launch(permit: Permit<Revision>, head: &Parts, upload: &Upload, passage: &Passage<'_>) -> Flight {
    Flight::launch(Launch {
        permit,
        method: head.method.clone(),
        path: head.uri.path_and_query().cloned(),
        now: if passage.was_held { std::time::Instant::now() } else { passage.arrival },
        body_received: upload.is_received(),
    })
}

async fn unless_cut<T>(flight: &Flight, act: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        cut = flight.cut() => Err(cut.into()),
        done = act => done,
    }
}

async fn connection(flight: &Flight, target: u64) -> Result<Connection, Failure> {
    match upstream::take(target).await {
        Some(idle) => Ok(idle),
        None => fresh(flight, target).await,
    }
}

async fn fresh(flight: &Flight, target: u64) -> Result<Connection, Failure> {
    let revision = flight.revision().ok_or(Failure::NoTarget)?;
    let target = revision.targets.iter().find(|t| t.id() == target).ok_or(Failure::NoTarget)?;
    Ok(Connection::open(target).await?)
}

/// No connection came about. Where the gate has closed meanwhile, the request takes its old place in the queue: nothing
/// of it was written.
async fn turn_back(
    passage: &mut Passage<'_>,
    service: &Service,
    flight: Flight,
    upload: &mut Upload,
    failure: Failure,
) -> Result<Permit<Revision>, Failure> {
    if let Some(target) = flight.revision().as_ref().and_then(|revision| revision.targets.first()) {
        passage.record.targeted(&target.header());
    }
    let unwritten = matches!(failure, Failure::Unreachable(_));
    match flight.abandon() {
        Some(permit) if unwritten && !service.gate.view().reasons.is_empty() => {
            hold::wait_in(passage, permit.return_to_queue(passage.arrival), upload).await
        }
        Some(_) | None => Err(failure),
    }
}

/// Sends the request; once more on a new connection where an idle one dies before a byte of an answer came.
async fn exchange(
    flight: &Flight,
    mut connection: Connection,
    request: Request<Outgoing>,
    was_held: bool,
) -> Result<(Response<Incoming>, Connection), Failure> {
    if !connection.is_reused() {
        return match connection.send(request).await {
            Ok(response) => Ok((response, connection)),
            Err(error) => Err(blame(flight, error.into_error())),
        };
    }
    let target = connection.target();
    let copy = (!was_held && is_repeatable(&request)).then(|| copy(&request));
    let mut error = match connection.send(request).await {
        Ok(response) => return Ok((response, connection)),
        Err(error) => error,
    };
    // What is given back was not written, and is sent again whatever its method.
    let copy = copy.filter(|_| !connection.has_answered());
    let Some(request) = error.take_message().or(copy) else { return Err(blame(flight, error.into_error())) };
    let mut connection = fresh(flight, target).await?;
    match connection.send(request).await {
        Ok(response) => Ok((response, connection)),
        Err(error) => Err(blame(flight, error.into_error())),
    }
}

/// Whether sending it twice is sending it once (RFC 9110 9.2.2), and it can be sent twice.
fn is_repeatable(request: &Request<Outgoing>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
        && matches!(request.body(), Outgoing::Empty)
}

fn copy(request: &Request<Outgoing>) -> Request<Outgoing> {
    let mut copy = Request::new(Outgoing::Empty);
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    copy
}

/// An exchange that failed may have failed by the client's body.
fn blame(flight: &Flight, error: hyper::Error) -> Failure {
    match flight.client() {
        Some(Ended::Malformed) => Failure::MalformedBody,
        Some(Ended::Broken) => Failure::ClientLeft,
        Some(Ended::Whole) | None => Failure::App(error),
    }
}

fn answer(
    passage: &mut Passage<'_>,
    flight: Flight,
    connection: Connection,
    response: Response<Incoming>,
) -> Result<Response<Source>, Failure> {
    let (mut head, incoming) = response.into_parts();
    head::check_answer(&mut head.headers)?;
    flight.with_revision(|revision| passage.record.response_headers(&revision.options, &head.headers));
    head::strip_hop_by_hop(&mut head.headers);
    let events = is_event_stream(&head.headers);
    let answer = flight.answer(incoming, connection, events)?;
    Ok(Response::from_parts(head, Source::Answer(answer)))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let start = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).and_then(|value| value.get(..EVENTS.len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(EVENTS))
}
