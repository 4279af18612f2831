//! An upgraded connection: bytes both ways, until both sides have ended or it is cut.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;

use super::Passage;
use super::body::Source;
use super::failure::Failure;
use super::head;
use crate::service::flight::Flight;

const BUFFER: usize = 16 << 10;

/// Passes the app's 101 on, and then all else, if the client had asked for this protocol.
pub(super) fn open(
    passage: &mut Passage<'_>,
    flight: Flight,
    wanted: Option<(HeaderValue, OnUpgrade)>,
    mut response: Response<Incoming>,
) -> Result<Response<Source>, Failure> {
    let protocol = response.headers().get(UPGRADE).cloned();
    let asked = |(wanted, _): &(HeaderValue, OnUpgrade)| {
        protocol.as_ref().is_some_and(|got| got.as_bytes().eq_ignore_ascii_case(wanted.as_bytes()))
    };
    let Some((wanted, client)) = wanted.filter(asked) else { return Err(Failure::Switched) };
    let app = hyper::upgrade::on(&mut response);
    let (mut head, _) = response.into_parts();
    head::strip_hop_by_hop(&mut head.headers);
    head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    head.headers.insert(UPGRADE, protocol.unwrap_or(wanted));
    passage.record.answered(StatusCode::SWITCHING_PROTOCOLS, None);
    let record = passage.record.take();
    flight.tunnel();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            _ = flight.cut() => {}
            () = pass(client, app) => {}
        }
        drop(record);
    });
    Ok(Response::from_parts(head, Source::Empty))
}

/// Half-closes are passed on; an error on either side ends both.
async fn pass(client: OnUpgrade, app: OnUpgrade) {
    let Ok((client, app)) = tokio::try_join!(client, app) else { return };
    let (mut client, mut app) = (TokioIo::new(client), TokioIo::new(app));
    // Which side broke it is of no interest to anybody.
    let _ = copy_bidirectional_with_sizes(&mut client, &mut app, BUFFER, BUFFER).await;
}
