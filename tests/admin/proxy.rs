//! A proxy with a home, a socket and a port of its own, and an app that says yes to everything.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

pub(crate) const LOCKGATE: &str = env!("CARGO_BIN_EXE_lockgate");
pub(crate) const KAMAL_PROXY: &str = env!("CARGO_BIN_EXE_kamal-proxy");

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A place for one proxy and its clients: nothing of the machine's own settings leaks in.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("admin.sock")
    }

    /// The program under either name, with this home's environment only.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.path()).env("TMPDIR", self.path());
        command.env("KAMAL_PROXY_SOCKET", self.socket()).stdin(Stdio::null());
        command
    }

    /// Runs `kamal-proxy` to its end.
    pub(crate) fn kamal(&self, args: &[&str]) -> Said {
        Said::from(self.command(KAMAL_PROXY).args(args).output().expect("kamal-proxy starts"))
    }

    /// Runs `lockgate` to its end.
    pub(crate) fn lockgate(&self, args: &[&str]) -> Said {
        Said::from(self.command(LOCKGATE).args(args).output().expect("lockgate starts"))
    }
}

/// What a command said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    /// Exit 0, nothing on stdout, nothing but warnings on stderr.
    pub(crate) fn succeeds(&self) {
        let only_warnings = self.err.lines().all(|line| line.starts_with("Warning: "));
        assert!(self.code == 0 && self.out.is_empty() && only_warnings, "{self:?}");
    }

    /// Exit 1, nothing on stdout, and this as the first line on stderr.
    pub(crate) fn fails(&self, error: &str) {
        let first = self.err.lines().next().unwrap_or_default();
        assert_eq!((self.code, first, self.out.as_str()), (1, format!("Error: {error}").as_str(), ""), "{self:?}");
        assert!(self.err.lines().skip(1).all(|line| line.starts_with("  ")), "more lines are indented: {self:?}");
    }
}

/// A proxy that runs; killed at the end.
pub(crate) struct Proxy {
    child: Child,
    lines: Receiver<String>,
    pub(crate) port: u16,
    /// What it logged before it had started.
    pub(crate) before: Vec<serde_json::Value>,
}

impl Proxy {
    /// `lockgate run --http-port 0` in this home, started.
    pub(crate) fn start(home: &Home) -> Self {
        let mut command = home.command(LOCKGATE);
        command.args(["run", "--http-port", "0"]);
        Self::spawn(command)
    }

    /// Any command line of `run`, once it has said `Server started`.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("lockgate starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut proxy = Self { child, lines, port: 0, before: Vec::new() };
        let started = loop {
            let line = proxy.next("Server started");
            if line["msg"] == "Server started" {
                break line;
            }
            proxy.before.push(line);
        };
        proxy.port = started["http"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        proxy
    }

    /// The next line of the log with this message.
    pub(crate) fn line(&self, message: &str) -> serde_json::Value {
        loop {
            let line = self.next(message);
            if line["msg"] == message {
                return line;
            }
        }
    }

    fn next(&self, waiting_for: &str) -> serde_json::Value {
        let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line {waiting_for:?}"));
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"))
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("it lives");
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it lives");
        self.child.wait().expect("it ends");
    }

    /// Waits for its end.
    pub(crate) fn exit_code(mut self) -> i32 {
        self.child.wait().expect("it ends").code().unwrap_or(-1)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An app that answers 200 to everything; returns its `host:port`. It lives as long as the test's process.
pub(crate) fn app() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                    head.push(byte[0]);
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
            });
        }
    });
    address
}
