//! Why a request has no answer of the app's, and what its client and the log are told instead: one table.

use http::{HeaderValue, Response, StatusCode};
use tracing::{error, info, warn};

use super::body::Source;
use super::page;
use super::record::Record;
use crate::gate::Refusal;
use crate::service::flight::Cut;
use crate::upstream::ConnectError;

/// What went wrong, and with whom.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The client: not HTTP as it should be.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The client: a transfer coding other than chunked.
    #[error("unsupported transfer encoding")]
    Coding,
    /// The client: expects something else than 100-continue.
    #[error("unsupported expectation")]
    Expectation,
    /// The client: a body that is not well formed.
    #[error("malformed chunked encoding")]
    MalformedBody,
    /// The client has left.
    #[error("the client has left")]
    ClientLeft,
    /// The client: there is no such service.
    #[error("no service")]
    NoService,
    /// The client: CONNECT.
    #[error("client sent unsupported CONNECT request")]
    Connect,
    /// The operator: the revision has no target.
    #[error("no target")]
    NoTarget,
    /// The operator, or too many clients: the gate does not let it in.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The operator: the proxy stops while the request is held.
    #[error("the proxy stops")]
    Stopping,
    /// The app: no connection.
    #[error(transparent)]
    Unreachable(#[from] ConnectError),
    /// The app: broke off, or spoke no HTTP.
    #[error("{0}")]
    App(hyper::Error),
    /// The app: a transfer coding other than chunked.
    #[error("unsupported transfer encoding of the answer")]
    AppCoding,
    /// The app: switched to a protocol that was not asked for.
    #[error("backend tried to switch to a protocol that was not requested")]
    Switched,
    /// Somebody had it end.
    #[error("cut")]
    Cut(Cut),
}

impl From<Cut> for Failure {
    fn from(cut: Cut) -> Self {
        Self::Cut(cut)
    }
}

/// The answer for the client; the log is told where a person may have to act.
pub(super) fn answer(failure: &Failure, record: &mut Record) -> Response<Source> {
    report(failure, record);
    let (status, message) = match failure {
        Failure::BadRequest(reason) => return malformed(record, page::plain(StatusCode::BAD_REQUEST, reason)),
        Failure::Coding => {
            return malformed(record, page::plain(StatusCode::NOT_IMPLEMENTED, "unsupported transfer encoding"));
        }
        Failure::Expectation => return malformed(record, page::empty(StatusCode::EXPECTATION_FAILED)),
        Failure::MalformedBody => (StatusCode::BAD_REQUEST, ""),
        Failure::ClientLeft => (page::CLIENT_LEFT, ""),
        Failure::NoService | Failure::Refused(Refusal::Removed) => (StatusCode::NOT_FOUND, ""),
        Failure::Refused(Refusal::Stopped { message }) => (StatusCode::SERVICE_UNAVAILABLE, message.as_str()),
        Failure::Refused(Refusal::Full | Refusal::HeldTooLong) | Failure::NoTarget | Failure::Stopping => {
            (StatusCode::SERVICE_UNAVAILABLE, "")
        }
        Failure::Cut(Cut::SlowClient) => (StatusCode::REQUEST_TIMEOUT, ""),
        Failure::Refused(Refusal::PausedTooLong)
        | Failure::Unreachable(ConnectError::TimedOut { .. })
        | Failure::Cut(Cut::Drained | Cut::TimedOut) => (StatusCode::GATEWAY_TIMEOUT, ""),
        Failure::Unreachable(ConnectError::Lookup { .. } | ConnectError::Dial { .. })
        | Failure::Connect
        | Failure::App(_)
        | Failure::AppCoding
        | Failure::Switched => (StatusCode::BAD_GATEWAY, ""),
    };
    page::page(status, message)
}

/// Contract 14.2: as if the server itself had answered; not logged.
fn malformed(record: &mut Record, mut response: Response<Source>) -> Response<Source> {
    record.discard();
    response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn report(failure: &Failure, record: &Record) {
    let (service, target, path) = (record.service(), record.target(), record.path());
    match failure {
        Failure::Connect
        | Failure::Switched
        | Failure::App(_)
        | Failure::AppCoding
        | Failure::Unreachable(ConnectError::Lookup { .. } | ConnectError::Dial { .. }) => {
            error!(target, path, error = %failure, "Error while proxying");
        }
        Failure::MalformedBody => info!(target, path, error = %failure, "Malformed request"),
        Failure::Cut(Cut::Drained | Cut::SlowClient) => info!(target, path, "Request cancelled due to draining"),
        Failure::Refused(Refusal::PausedTooLong) => {
            warn!(service, path, "Rejecting request due to expired pause");
        }
        // The line of the request says it all.
        Failure::BadRequest(_)
        | Failure::Coding
        | Failure::Expectation
        | Failure::ClientLeft
        | Failure::NoService
        | Failure::NoTarget
        | Failure::Stopping
        | Failure::Refused(Refusal::Full | Refusal::HeldTooLong | Refusal::Stopped { .. } | Refusal::Removed)
        | Failure::Unreachable(ConnectError::TimedOut { .. })
        | Failure::Cut(Cut::TimedOut) => {}
    }
}
