//! What is sent to a client: a page of ours, or the app's answer as it comes. The line of the log is written when it is
//! gone.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};

use super::record::Record;
use crate::listener::Served;
use crate::service::flight::{Answer, Broken};

/// Where the bytes come from.
pub(super) enum Source {
    /// Nowhere.
    Empty,
    /// From us, at once.
    Page(Bytes),
    /// From the app.
    Answer(Answer),
}

/// The body of every response.
pub struct Body {
    source: Source,
    record: Record,
    _served: Served,
}

/// Makes the response ready to be sent. `unread`: its connection serves no other request.
pub(super) fn finish(
    mut response: Response<Source>,
    mut record: Record,
    unread: bool,
    served: Served,
) -> Response<Body> {
    // hyper panics on any version it cannot write.
    *response.version_mut() = Version::HTTP_11;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        served.tunnel();
    } else {
        served.answer();
        if unread {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    record.answered(response.status(), response.headers().get(CONTENT_TYPE));
    response.map(|source| Body { source, record, _served: served })
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let body = self.get_mut();
        let frame = match &mut body.source {
            Source::Empty => None,
            Source::Page(bytes) => {
                let frame = Frame::data(std::mem::take(bytes));
                body.source = Source::Empty;
                Some(Ok(frame))
            }
            Source::Answer(answer) => ready!(answer.poll_frame(cx)),
        };
        if let Some(Ok(frame)) = &frame {
            body.record.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Page(_) => false,
            Source::Answer(answer) => answer.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Page(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Answer(answer) => answer.size_hint(),
        }
    }
}
