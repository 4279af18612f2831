//! A client's connection, which gives up a client that does not come to the end of a request's head.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

const LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Nothing of a request is there.
const RESTS: u8 = 0;
/// A part of its head is.
const ASKS: u8 = 1;
/// It is served.
const SERVED: u8 = 2;

/// What a connection is about. A clone is the same.
#[derive(Clone, Default)]
pub struct Stage(Arc<AtomicU8>);

impl Stage {
    /// A request's head has come to its end.
    #[must_use]
    pub fn serve(&self) -> Served {
        self.0.store(SERVED, Ordering::Relaxed);
        Served(self.clone())
    }

    fn is(&self, stage: u8) -> bool {
        self.0.load(Ordering::Relaxed) == stage
    }
}

/// A request that is served, until this is dropped.
pub struct Served(Stage);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.0.store(RESTS, Ordering::Relaxed);
    }
}

/// See the module.
pub struct Stream {
    tcp: TcpStream,
    stage: Stage,
    head_timeout: Duration,
    /// Runs since the first look at a head that was not whole.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    /// A client's connection. `head_timeout`: how long a head may take from its first byte to its last.
    #[must_use]
    pub fn new(tcp: TcpStream, stage: Stage, head_timeout: Duration) -> Self {
        Self { tcp, stage, head_timeout, timer: None }
    }

    fn came(&mut self) {
        if self.stage.is(RESTS) {
            self.stage.0.store(ASKS, Ordering::Relaxed);
            self.timer = None;
        }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.stage.is(ASKS) {
            return Poll::Pending;
        }
        let timeout = self.head_timeout;
        self.timer.get_or_insert_with(|| Box::pin(sleep(timeout))).as_mut().poll(cx).map(|()| {
            // Nothing else is being written before a head is whole; one that takes no answer gets none.
            let _ = self.tcp.try_write(LATE);
            Err(io::ErrorKind::TimedOut.into())
        })
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
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Both ends of a connection, and what the proxy's end is about.
    async fn connection() -> (TcpStream, Stream, Stage) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let stage = Stage::default();
        (client, Stream::new(tcp, stage.clone(), Duration::from_millis(50)), stage)
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
        let (mut client, mut stream, stage) = connection().await;
        client.write_all(b"head").await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap(), 4);
        let served = stage.serve();
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
}
