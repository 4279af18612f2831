//! The workers: one thread and one current-thread runtime each, accepting from the same sockets, sharing nothing else but
//! gates and routes.

mod connections;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::listener::{self, Stream, Talk};
use crate::observe::Output;
use crate::proxy::{Downstream, Shared, Worker};

use super::limits;
use connections::Connections;

/// Bytes of a request's head; Go's limit.
const MAX_HEAD: usize = (1 << 20) + 4096;
/// Bytes of an answer read ahead of a slow client (handoff.md, Budgets), and room for the largest head.
const MAX_BUFFER: usize = MAX_HEAD + (64 << 10);
/// How long accepting rests when there are no descriptors or no memory for more.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Threads that serve requests.
pub(super) struct Workers {
    threads: Vec<JoinHandle<usize>>,
    stop: watch::Sender<Stop>,
}

/// What workers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    By(Instant),
}

/// As many as processors may be used: by the affinity mask and the cgroup's `cpu.max`.
#[must_use]
pub(super) fn default_count() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl Workers {
    /// Starts `count` workers, all accepting from each of the sockets. Requests are logged to `access`, if given.
    ///
    /// # Errors
    /// No thread, no runtime, or no descriptors.
    pub(super) fn start(
        count: usize,
        sockets: &[TcpListener],
        shared: &Arc<Shared>,
        access: Option<&Output>,
    ) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(Stop::No);
        let places = Arc::new(Semaphore::new(limits::most_clients()));
        let mut threads = Vec::with_capacity(count);
        for stripe in 0..count {
            let sockets = sockets.iter().map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>()?;
            let (shared, access, stopped) = (shared.clone(), access.map(Output::channel), stopped.clone());
            let places = places.clone();
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let serve = move || runtime.block_on(serve(stripe, sockets, places, shared, access, stopped));
            threads.push(thread::Builder::new().name(format!("worker-{stripe}")).spawn(serve)?);
        }
        Ok(Self { threads, stop })
    }

    /// Accepts no more, answers held requests with 503, lets those in flight end until `until`, and says how many
    /// connections were closed then. Upgraded ones are not waited for. Blocks.
    #[must_use]
    pub(super) fn stop(self, until: Instant) -> usize {
        self.stop.send_replace(Stop::By(until));
        self.threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    }
}

async fn serve(
    stripe: usize,
    sockets: Vec<TcpListener>,
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
    access: Option<crate::observe::Channel>,
    mut stopped: watch::Receiver<Stop>,
) -> usize {
    let (tell, stopping) = watch::channel(false);
    let flights = shared.flights.worker();
    let worker = Arc::new(Worker { shared, stripe, access, stopping });
    let connections = Connections::default();
    let accepting = async {
        for socket in sockets {
            let (worker, connections) = (worker.clone(), connections.clone());
            tokio::spawn(accept(socket, places.clone(), worker, connections));
        }
        stopped.wait_for(|stop| *stop != Stop::No).await.map_or(Stop::By(Instant::now()), |stop| *stop)
    };
    let watching = async {
        let Err(error) = listener::watch_clients().await else { return };
        tracing::error!(%error, "Held clients are not watched");
        std::future::pending::<()>().await;
    };
    let serving = async {
        let until = match accepting.await {
            Stop::By(until) => until,
            Stop::No => Instant::now(),
        };
        tell.send_replace(true);
        connections.shut_down();
        // Whoever is still there then is counted below.
        let _ = tokio::time::timeout_at(until.into(), connections.ended()).await;
    };
    tokio::select! {
        () = serving => {}
        () = flights.run() => {}
        () = watching => {}
    }
    connections.count()
}

async fn accept(socket: TcpListener, places: Arc<Semaphore>, worker: Arc<Worker>, connections: Connections) {
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(%error, "Error while accepting connections"),
    };
    let server = server(worker.shared.idle_timeout);
    let mut stopping = worker.stopping.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            accepted = next(&socket, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let (socket, talk) = (stream.as_raw_fd(), Talk::default());
                let stream = Stream::new(stream, place, talk.clone(), worker.shared.head_timeout);
                let client = Downstream::new(worker.clone(), listener::canonical(peer), socket, talk);
                connections.serve(&server, stream, client);
            }
            Err(error) if is_lack(&error) => {
                tracing::warn!(%error, "Unable to accept connections for now");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            // The client has left before it was accepted.
            Err(_) => {}
        }
    }
}

/// The next client, once there is a place for it; until then it waits in the system's queue. Cancel-safe.
async fn next(
    socket: &tokio::net::TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = match places.clone().try_acquire_owned() {
        Ok(place) => place,
        Err(_) => {
            tracing::warn!(error = "all open files for clients are in use", "Unable to accept connections for now");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            places.clone().acquire_owned().await.map_err(io::Error::other)?
        }
    };
    let (stream, peer) = socket.accept().await?;
    Ok((stream, peer, place))
}

/// Whether it is we who lack something: descriptors or memory.
fn is_lack(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// What hyper calls the time for a head begins with the end of the request before.
fn server(idle_timeout: Duration) -> http1::Builder {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(idle_timeout);
    // One flat buffer: vectored, hyper would stop reading the app at 16 pieces of any size.
    server.max_header_size(MAX_HEAD).max_buf_size(MAX_BUFFER).writev(false);
    server
}
