//! A client's connection, which gives up a client that does not come to the end of a request's head, and by which the
//! client can be told something before the answer. hyper does neither.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

const LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Bytes that wait to be said aside.
const MOST_ASIDE: usize = 64 << 10;

/// Nothing of a request is there.
const RESTS: u8 = 0;
/// A part of its head is.
const ASKS: u8 = 1;
/// It waits for its answer.
const SERVED: u8 = 2;
/// It has the head of its answer.
const ANSWERED: u8 = 3;
/// It has become a tunnel: no other request follows.
const TUNNEL: u8 = 4;

/// One request of a connection after the other, and what is said to the client beside the answers. A clone is the same.
#[derive(Clone, Default)]
pub struct Talk(Arc<Inner>);

#[derive(Default)]
struct Inner {
    stage: AtomicU8,
    /// How many requests have been served.
    number: AtomicU32,
    has_aside: AtomicBool,
    aside: Mutex<Aside>,
}

#[derive(Default)]
struct Aside {
    bytes: Vec<u8>,
    /// Of which request.
    number: u32,
    /// A part is sent: the rest has to follow.
    is_begun: bool,
    connection: Option<Waker>,
}

impl Talk {
    /// A request's head has come to its end.
    #[must_use]
    pub fn serve(&self) -> Served {
        self.0.number.fetch_add(1, Ordering::Relaxed);
        self.enter(SERVED);
        Served(self.clone())
    }

    /// The number of the request that is served, for [`Talk::say`].
    #[must_use]
    pub fn number(&self) -> u32 {
        self.0.number.load(Ordering::Relaxed)
    }

    /// Sends bytes before the answer to that request; nothing where it has one already, or its client does not read.
    pub fn say(&self, number: u32, bytes: &[u8]) {
        if !self.is(SERVED) || self.number() != number {
            return;
        }
        let mut aside = self.aside();
        if aside.number != number && !aside.is_begun {
            aside.bytes.clear();
            aside.number = number;
        }
        if aside.number != number || aside.bytes.len() + bytes.len() > MOST_ASIDE {
            return;
        }
        aside.bytes.extend_from_slice(bytes);
        self.0.has_aside.store(true, Ordering::Relaxed);
        if let Some(connection) = &aside.connection {
            connection.wake_by_ref();
        }
    }

    /// What was not said before the answer is never said.
    fn forget_what_is_late(&self) {
        if !self.0.has_aside.load(Ordering::Relaxed) {
            return;
        }
        let mut aside = self.aside();
        let is_due = self.is(SERVED) && self.number() == aside.number;
        if !aside.is_begun && !is_due {
            aside.bytes.clear();
            self.0.has_aside.store(false, Ordering::Relaxed);
        }
    }

    fn aside(&self) -> MutexGuard<'_, Aside> {
        self.0.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, stage: u8) {
        self.0.stage.store(stage, Ordering::Relaxed);
    }

    fn is(&self, stage: u8) -> bool {
        self.0.stage.load(Ordering::Relaxed) == stage
    }
}

/// A request that is served, until this is dropped.
pub struct Served(Talk);

impl Served {
    /// The head of its answer is on its way.
    pub fn answer(&self) {
        self.0.enter(ANSWERED);
    }

    /// What follows is a tunnel, for as long as the connection lasts.
    pub fn tunnel(&self) {
        self.0.enter(TUNNEL);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if !self.0.is(TUNNEL) {
            self.0.enter(RESTS);
        }
    }
}

/// See the module.
pub struct Stream {
    tcp: TcpStream,
    talk: Talk,
    head_timeout: Duration,
    is_polled: bool,
    /// Of what hyper has to write, the system may not have taken all.
    has_unsent: bool,
    /// Runs since the first look at a head that was not whole.
    timer: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    /// A client's connection, in a place that it gives back once it is closed. `head_timeout`: how long a head may take
    /// from its first byte to its last.
    #[must_use]
    pub fn new(tcp: TcpStream, place: OwnedSemaphorePermit, talk: Talk, head_timeout: Duration) -> Self {
        Self { tcp, talk, head_timeout, is_polled: false, has_unsent: false, timer: None, _place: place }
    }

    fn came(&mut self) {
        if self.talk.is(RESTS) {
            self.talk.enter(ASKS);
            self.timer = None;
        }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.talk.is(ASKS) {
            return Poll::Pending;
        }
        let timeout = self.head_timeout;
        self.timer.get_or_insert_with(|| Box::pin(sleep(timeout))).as_mut().poll(cx).map(|()| {
            // Not in the midst of the answer before; one that takes no answer gets none.
            if !self.has_unsent && !self.talk.aside().is_begun {
                let _ = self.tcp.try_write(LATE);
            }
            Err(io::ErrorKind::TimedOut.into())
        })
    }

    /// Sends what is to be said aside. Only where hyper has nothing half sent: it reads a head before all is sent that
    /// came before.
    fn poll_aside(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // It is one task from first to last.
        if !std::mem::replace(&mut self.is_polled, true) {
            self.talk.aside().connection = Some(cx.waker().clone());
        }
        while self.talk.0.has_aside.load(Ordering::Relaxed) {
            let mut aside = self.talk.aside();
            let sent = ready!(Pin::new(&mut self.tcp).poll_write(cx, &aside.bytes))?;
            aside.bytes.drain(..sent);
            aside.is_begun = !aside.bytes.is_empty();
            self.talk.0.has_aside.store(aside.is_begun, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.tcp).poll_read(cx, into);
        if into.filled().len() > before {
            self.came();
        }
        if polled.is_pending() { self.poll_late(cx) } else { polled }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.has_unsent {
            ready!(self.poll_aside(cx))?;
        }
        self.has_unsent = true;
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper comes here once it has written all that it has.
        self.has_unsent = false;
        self.talk.forget_what_is_late();
        ready!(self.poll_aside(cx))?;
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Semaphore;

    use super::*;

    /// Both ends of a connection, and the proxy's talk with it.
    async fn connection() -> (TcpStream, Stream, Talk) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let talk = Talk::default();
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (client, Stream::new(tcp, place, talk.clone(), Duration::from_millis(50)), talk)
    }

    #[tokio::test]
    async fn what_comes_too_late_to_be_said_before_an_answer_is_not_said() {
        let (mut client, mut stream, talk) = connection().await;
        let served = talk.serve();
        let number = talk.number();
        talk.say(number, b"before ");
        served.answer();
        talk.say(number, b"late ");
        stream.write_all(b"answer ").await.unwrap();
        drop(served);
        talk.say(number, b"late ");
        let _next = talk.serve();
        talk.say(number, b"late ");
        stream.write_all(b"next").await.unwrap();
        drop(stream);
        let mut told = String::new();
        client.read_to_string(&mut told).await.unwrap();
        assert_eq!(told, "before answer next");
    }

    async fn read(stream: &mut Stream) -> io::Result<usize> {
        stream.read(&mut [0; 100]).await
    }

    #[tokio::test]
    async fn a_head_that_goes_on_for_too_long_is_refused_however_it_trickles() {
        let (mut client, mut stream, _) = connection().await;
        let trickle = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::task::yield_now().await;
            }
        });
        let late = loop {
            if let Err(error) = read(&mut stream).await {
                break error;
            }
        };
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        drop(stream);
        trickle.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_is_served_and_a_connection_that_rests_have_time() {
        let (mut client, mut stream, talk) = connection().await;
        client.write_all(b"head").await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap(), 4);
        let served = talk.serve();
        let patience = Duration::from_millis(200);
        assert!(tokio::time::timeout(patience, read(&mut stream)).await.is_err(), "it waits for more of its body");
        drop(served);
        assert!(tokio::time::timeout(patience, read(&mut stream)).await.is_err(), "it waits for the next head");
        client.write_all(b"he").await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap(), 2);
        assert_eq!(read(&mut stream).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(stream);
        let mut told = String::new();
        client.read_to_string(&mut told).await.unwrap();
        assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
    }

    /// Writes until the system takes no more; how much it took.
    async fn fill(stream: &mut Stream) -> usize {
        let mut taken = 0;
        poll_fn(|cx| {
            while let Poll::Ready(sent) = Pin::new(&mut *stream).poll_write(cx, &[b'x'; 1 << 16]) {
                taken += sent.unwrap();
            }
            Poll::Ready(())
        })
        .await;
        taken
    }

    #[tokio::test]
    async fn a_late_head_is_not_answered_in_the_midst_of_the_answer_before() {
        let (mut client, mut stream, _) = connection().await;
        let taken = fill(&mut stream).await;
        client.write_all(b"GET").await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap(), 3);
        client.read_exact(&mut vec![0; taken]).await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(stream);
        let mut told = String::new();
        client.read_to_string(&mut told).await.unwrap();
        assert_eq!(told, "");
    }

    #[tokio::test]
    async fn nothing_is_said_aside_in_the_midst_of_an_answer_or_after_it() {
        for (is_answered, expected) in [(false, "tail aside "), (true, "tail ")] {
            let (mut client, mut stream, talk) = connection().await;
            let taken = fill(&mut stream).await;
            let served = talk.serve();
            talk.say(talk.number(), b"aside ");
            if is_answered {
                served.answer();
            }
            client.read_exact(&mut vec![0; taken]).await.unwrap();
            stream.write_all(b"tail ").await.unwrap();
            stream.flush().await.unwrap();
            drop(stream);
            let mut told = String::new();
            client.read_to_string(&mut told).await.unwrap();
            assert_eq!(told, expected);
        }
    }
}
