//! A proxy with a home of its own, its admin socket, and an app in this process that writes down who arrives.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinSet;

/// Descriptors that these tests need in each of the two processes.
const FILES: u64 = 12_000;

/// Raises this process's soft limit, which the proxy does for itself.
pub(crate) fn raise_the_limit_of_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    assert!(hard.is_none_or(|hard| hard >= FILES), "these tests need {FILES} open files (ulimit -Hn)");
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard })
        .expect("the soft limit may rise to the hard one");
}

/// A running proxy; killed at the end.
pub(crate) struct Proxy {
    child: Child,
    home: tempfile::TempDir,
    pub(crate) address: SocketAddr,
}

impl Proxy {
    /// Starts one with these settings in its environment.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
        command.env_clear().env("HOME", home.path()).env("LOCKGATE_ADMIN_SOCKET", home.path().join("admin.sock"));
        command.env("LOCKGATE_ACCESS_LOG", "off").envs(settings.iter().copied());
        command.args(["run", "--http-port=0"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("lockgate starts");
        let mut log = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let port = log.find_map(|line| {
            let line: Value = serde_json::from_str(&line).ok()?;
            (line["msg"] == "Server started").then(|| line["http"].as_u64())?
        });
        let port = port.and_then(|port| u16::try_from(port).ok()).expect("the proxy says its port");
        std::thread::spawn(move || log.for_each(drop));
        Self { child, home, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join("admin.sock")
    }

    /// Deploys the app as service `load`.
    pub(crate) async fn deploy(&self, app: SocketAddr) {
        let (status, said) = self.ask("POST", "/v1/services/load/deploy", &json!({"target": [app.to_string()]})).await;
        assert!(status == 200 && said.contains("outcome"), "{status} {said}");
    }

    /// Holds requests for at most ten minutes; returns when all before them are drained.
    pub(crate) async fn pause(&self) {
        let (status, said) = self.ask("POST", "/v1/pause", &json!({"services": ["load"], "max_pause": "10m"})).await;
        assert_eq!(status, 200, "{said}");
    }

    pub(crate) async fn resume(&self) {
        let (status, said) = self.ask("POST", "/v1/resume", &json!({"services": ["load"]})).await;
        assert_eq!(status, 200, "{said}");
    }

    /// Waits until exactly so many requests are held.
    pub(crate) async fn holds(&self, count: usize) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let held = self.held().await;
            if held == count {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{held} are held instead of {count}");
            // Leaves the processor to those who are waited for.
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// How many requests are held now.
    pub(crate) async fn held(&self) -> usize {
        let (_, said) = self.ask("GET", "/v1/services/load", &Value::Null).await;
        let status: Value = serde_json::from_str(&said).expect("a status");
        status["held"].as_u64().and_then(|held| usize::try_from(held).ok()).expect("a number")
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let stream = UnixStream::connect(self.socket()).await.expect("the admin socket");
        let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        let mut drivers = JoinSet::new();
        drivers.spawn(driver);
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path).header("host", "lockgate").body(Full::new(body));
        let answer = sender.send_request(request.expect("a request")).await.expect("an answer");
        let status = answer.status().as_u16();
        let said = answer.into_body().collect().await.expect("a whole answer").to_bytes();
        (status, String::from_utf8(said.to_vec()).expect("text"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Either it has ended or it is killed here.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Answers 200 to everything and keeps the path of each request, in the order of arrival.
#[derive(Clone)]
pub(crate) struct App {
    arrived: Arc<Mutex<Vec<String>>>,
    pub(crate) address: SocketAddr,
}

impl App {
    /// Starts one in this runtime; it lives as long as that.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let app = Self { arrived: Arc::default(), address: listener.local_addr().expect("bound") };
        tokio::spawn(app.clone().serve(listener));
        app
    }

    /// The paths so far, health probes left out.
    pub(crate) fn arrived(&self) -> Vec<String> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many have arrived.
    pub(crate) fn count(&self) -> usize {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let app = self.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                app.note(request.uri().path());
                std::future::ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok")))))
            });
            connections
                .spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }

    fn note(&self, path: &str) {
        if path != "/up" {
            self.arrived.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
        }
    }
}
