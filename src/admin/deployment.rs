//! A deploy's answer, line by line while it runs.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::answer::{self, Body, Line};
use crate::control::{Control, Failure, Outcome, Progress};
use crate::spec::Deploy;

type Ending = Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + Send>>;

/// A deploy under way. Dropping it (the client left) does not stop the deploy.
struct Deployment {
    progress: UnboundedReceiver<Progress>,
    ending: Option<Ending>,
    ended: Option<Result<Outcome, Failure>>,
}

/// Starts a deploy; what fails before its first phase gets a status of its own, all else a stream of lines. A success
/// warns of this first.
pub(super) async fn answer(control: Arc<Control>, deploy: Deploy, warnings: Vec<String>) -> Response<Body> {
    let (sender, progress) = unbounded_channel();
    let ending: Ending = Box::pin(async move {
        let outcome = control.deploy(deploy, sender).await?;
        Ok(Outcome { warnings: warnings.into_iter().chain(outcome.warnings).collect() })
    });
    let mut deployment = Deployment { progress, ending: Some(ending), ended: None };
    let first = std::future::poll_fn(|context| deployment.poll(context)).await;
    if let Some(Event::End(Err(failure))) = first {
        return answer::failure(failure);
    }
    let body = Lines { first: first.map(Event::into_line), deployment };
    answer::with_body(StatusCode::OK, "application/x-ndjson", body.boxed_unsync())
}

enum Event {
    Progress(Progress),
    End(Result<Outcome, Failure>),
}

impl Event {
    fn into_line(self) -> Line {
        match self {
            Self::Progress(progress) => Line::Progress(progress),
            Self::End(Ok(outcome)) => Line::Outcome(outcome),
            Self::End(Err(failure)) => Line::Failure(failure.into()),
        }
    }
}

impl Deployment {
    /// All progress first, then the end, then nothing.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Poll::Ready(Some(progress)) = self.progress.poll_recv(context) {
            return Poll::Ready(Some(Event::Progress(progress)));
        }
        if let Some(ending) = &mut self.ending {
            self.ended = Some(ready!(ending.as_mut().poll(context)));
            self.ending = None;
        }
        match self.progress.try_recv() {
            Ok(progress) => Poll::Ready(Some(Event::Progress(progress))),
            Err(_) => Poll::Ready(self.ended.take().map(Event::End)),
        }
    }
}

struct Lines {
    first: Option<Line>,
    deployment: Deployment,
}

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = match self.first.take() {
            Some(line) => Some(line),
            None => ready!(self.deployment.poll(context)).map(Event::into_line),
        };
        Poll::Ready(line.map(|line| Ok(Frame::data(line.encode()))))
    }
}
