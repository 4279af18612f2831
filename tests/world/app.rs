//! An app: a raw listener that does what a script says, and remembers what it was asked.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use super::client::{find, read_chunks, read_head};
use super::{PATIENCE, until};

/// An app that listens. Health checks are answered by itself, everything else by its script.
pub struct App {
    port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    script: Box<dyn Fn(&mut Turn) -> Then + Send + Sync>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    latch: (Mutex<usize>, Condvar),
    ended: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

/// A request as it reached the app.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// The number of the connection that it came on, from 1.
    pub connection: usize,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

/// What happens to the connection after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Keep,
    Close,
}

/// One request and the means to answer it.
pub struct Turn {
    pub seen: Seen,
    pub stream: BufReader<TcpStream>,
    inner: Arc<Inner>,
    place: usize,
}

impl Turn {
    /// Reads the body; [`App::seen`] has it before any answer.
    pub fn read_body(&mut self) {
        if self.seen.header("transfer-encoding").is_some() {
            if let Ok((body, trailers)) = read_chunks(&mut self.stream) {
                (self.seen.body, self.seen.trailers) = (body, trailers);
            }
        } else if let Some(length) = self.seen.header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            if self.stream.read_exact(&mut body).is_ok() {
                self.seen.body = body;
            }
        }
        self.inner.seen.lock().unwrap()[self.place] = self.seen.clone();
    }

    /// Sends bytes as they are; the other side may have gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Answers 200 with a text.
    pub fn ok(&mut self, text: &str) -> Then {
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        Then::Keep
    }

    /// Waits for [`App::release`].
    pub fn wait(&self) {
        let (count, changed) = &self.inner.latch;
        let mut count = count.lock().unwrap();
        while *count == 0 && !self.inner.ended.load(Ordering::SeqCst) {
            count = changed.wait_timeout(count, PATIENCE).unwrap().0;
        }
        *count = count.saturating_sub(1);
    }
}

/// Reads all of a request and says `ok`.
pub fn polite(turn: &mut Turn) -> Then {
    turn.read_body();
    turn.ok("ok")
}

/// The address of an app that says `ok` to everything, as long as the test's process lives.
pub fn app() -> String {
    let app = App::start(polite);
    let target = app.target();
    std::mem::forget(app);
    target
}

impl App {
    pub fn start(script: impl Fn(&mut Turn) -> Then + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner {
            script: Box::new(script),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            latch: Default::default(),
            ended: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let accepting = inner.clone();
        std::thread::spawn(move || accept(&listener, &accepting));
        Self { port, inner }
    }

    /// Its address, as a target.
    pub fn target(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What reached it so far, health checks left out.
    pub fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    /// The paths of what reached it so far, in order.
    pub fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path).collect()
    }

    /// Waits until so many requests have reached it.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Seen> {
        until("requests at the app", || self.seen().len() >= count);
        self.seen()
    }

    /// Waits until no connection to it is open.
    #[track_caller]
    pub fn wait_until_left(&self) {
        until("the end of all connections", || self.inner.open.load(Ordering::SeqCst) == 0);
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.inner.open.load(Ordering::SeqCst)
    }

    /// Lets one [`Turn::wait`] go on.
    pub fn release(&self) {
        *self.inner.latch.0.lock().unwrap() += 1;
        self.inner.latch.1.notify_all();
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::SeqCst);
        self.inner.latch.1.notify_all();
        for stream in self.inner.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The listener wakes up, sees the end, and is closed.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Inner {
    fn note(&self, seen: &Seen) -> usize {
        let mut all = self.seen.lock().unwrap();
        all.push(seen.clone());
        all.len() - 1
    }
}

fn accept(listener: &TcpListener, inner: &Arc<Inner>) {
    for stream in listener.incoming() {
        if inner.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { return };
        let _ = stream.set_nodelay(true);
        inner.streams.lock().unwrap().extend(stream.try_clone());
        let connection = inner.connections.fetch_add(1, Ordering::SeqCst) + 1;
        inner.open.fetch_add(1, Ordering::SeqCst);
        let inner = inner.clone();
        std::thread::spawn(move || {
            serve(stream, connection, &inner);
            inner.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn serve(stream: TcpStream, connection: usize, inner: &Arc<Inner>) {
    let mut stream = BufReader::new(stream);
    while let Ok(Some((first, headers))) = read_head(&mut stream) {
        let mut words = first.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let seen = Seen { method, path, headers, connection, ..Seen::default() };
        let is_probe = seen.path == "/up";
        let place = if is_probe { usize::MAX } else { inner.note(&seen) };
        let mut turn = Turn { seen, stream, inner: inner.clone(), place };
        let then = if is_probe { turn.ok("") } else { (inner.script)(&mut turn) };
        stream = turn.stream;
        if then == Then::Close {
            let _ = stream.get_ref().shutdown(Shutdown::Both);
            return;
        }
    }
}
