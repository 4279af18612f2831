//! What is sent to a target: nothing, or a client's body as it comes.

use std::collections::VecDeque;
use std::error::Error as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

/// How a client's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All of it was received.
    Whole,
    /// It was not well formed.
    Malformed,
    /// The client left in its midst.
    Broken,
}

impl Ended {
    /// Judges why reading a client's body failed.
    #[must_use]
    pub fn by(error: &hyper::Error) -> Self {
        let io = error.source().and_then(|e| e.downcast_ref::<std::io::Error>());
        match io.map(std::io::Error::kind) {
            Some(std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput) => Self::Malformed,
            _ => Self::Broken,
        }
    }
}

/// A request's body on its way to a target.
#[derive(Debug)]
pub enum Outgoing {
    /// None.
    Empty,
    /// A client's.
    Streamed(Streamed),
}

/// A client's body: what was read ahead while the request was held, then the rest as it comes.
#[derive(Debug)]
pub struct Streamed {
    /// Frames already read.
    pub ahead: VecDeque<Frame<Bytes>>,
    /// Their room in a common bound, given back once they are gone.
    pub room: Option<OwnedSemaphorePermit>,
    /// The rest.
    pub rest: Incoming,
    /// Told once how the body ended, with the key.
    pub on_end: fn(u64, Ended),
    /// Whose body it is.
    pub key: u64,
}

impl Streamed {
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(frame) = self.ahead.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        self.room = None;
        let polled = Pin::new(&mut self.rest).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => (self.on_end)(self.key, Ended::Whole),
            Poll::Ready(Some(Ok(_))) if self.rest.is_end_stream() => (self.on_end)(self.key, Ended::Whole),
            Poll::Ready(Some(Err(error))) => (self.on_end)(self.key, Ended::by(error)),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streamed(streamed) => streamed.poll_rest(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(streamed) => streamed.ahead.is_empty() && streamed.rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streamed(streamed) if streamed.ahead.is_empty() => streamed.rest.size_hint(),
            Self::Streamed(streamed) => {
                let ahead = streamed.ahead.iter().filter_map(Frame::data_ref).map(|d| d.len() as u64).sum::<u64>();
                match streamed.rest.size_hint().exact() {
                    Some(rest) => SizeHint::with_exact(ahead + rest),
                    None => SizeHint::default(),
                }
            }
        }
    }
}
