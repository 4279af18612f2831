//! What the admin API answers.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde::{Deserialize, Serialize};

use crate::control::{Failure, FailureKind, Outcome, Progress};

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An error as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// The first line.
    pub error: String,
    /// Reasons and what to do, one a line; may be empty.
    #[serde(default)]
    pub hint: String,
}

impl From<Failure> for Complaint {
    fn from(failure: Failure) -> Self {
        Self { error: failure.error, hint: failure.hints.join("\n") }
    }
}

/// A line of a deploy's answer (`application/x-ndjson`): any number of `progress`, then one of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A phase begins.
    Progress(Progress),
    /// It succeeded: the last line.
    Outcome(Outcome),
    /// It failed: the last line.
    Failure(Complaint),
}

impl Line {
    pub(super) fn encode(&self) -> Bytes {
        crate::wire::encode(self).into()
    }
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    with_body(status, "application/json", Full::new(crate::wire::encode(value).into()).boxed_unsync())
}

/// An answer of any kind.
pub(super) fn with_body(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A failure, under the status of its kind.
pub(super) fn failure(failure: Failure) -> Response<Body> {
    json(status_of(failure.kind), &Complaint::from(failure))
}

fn status_of(kind: FailureKind) -> StatusCode {
    match kind {
        FailureKind::Invalid => StatusCode::BAD_REQUEST,
        FailureKind::NotFound => StatusCode::NOT_FOUND,
        FailureKind::Conflict => StatusCode::CONFLICT,
        FailureKind::App => StatusCode::UNPROCESSABLE_ENTITY,
        FailureKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
