//! A proxy: a real process with a home, a socket and a port of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::{App, Client, Home, LOCKGATE, until};

/// A proxy that runs. Killed when it is dropped.
pub struct Proxy {
    child: Child,
    home: Home,
    log: Arc<Mutex<Vec<Value>>>,
    pub port: u16,
}

impl Proxy {
    /// In a home of its own, with two workers.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With more environment, such as `("LOCKGATE_WORKERS", "1")`.
    pub fn with(environment: &[(&str, &str)]) -> Self {
        Self::under("true", environment)
    }

    /// Started by a shell that does this first, such as `ulimit -n 64`.
    pub fn under(first: &str, environment: &[(&str, &str)]) -> Self {
        let home = Home::new();
        let mut command = home.command("/bin/sh");
        command.args(["-c", &format!("{first} && exec {LOCKGATE} run --http-port 0")]).env("LOCKGATE_WORKERS", "2");
        command.envs(environment.iter().copied());
        Self::spawn(&home, command)
    }

    /// In this home.
    pub fn at(home: &Home) -> Self {
        let mut command = home.command(LOCKGATE);
        command.args(["run", "--http-port", "0"]);
        Self::spawn(home, command)
    }

    /// Any command line of `run`, once it has said `Server started`.
    pub fn spawn(home: &Home, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, keep) = (BufReader::new(child.stdout.take().unwrap()).lines(), log.clone());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                keep.lock().unwrap().push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let mut proxy = Self { child, home: home.clone(), log, port: 0 };
        let started = proxy.line("Server started");
        proxy.port = u16::try_from(started["http"].as_u64().unwrap()).unwrap();
        proxy
    }

    /// Starts a command.
    pub fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = self.home.command(LOCKGATE);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a command that must succeed; what it printed.
    #[track_caller]
    pub fn must(&self, arguments: &[&str]) -> String {
        let said = self.home.lockgate(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said.out
    }

    /// Deploys an app as a service.
    #[track_caller]
    pub fn deploy(&self, service: &str, app: &App, flags: &[&str]) {
        let target = app.target();
        self.must(&[&["deploy", service, "--target", &target][..], flags].concat());
    }

    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    /// A service as `status` shows it.
    #[track_caller]
    pub fn status(&self, service: &str) -> Value {
        let all: Value = serde_json::from_str(&self.must(&["status", service, "--json"])).unwrap();
        all[0].clone()
    }

    /// How many requests of a service are held now.
    #[track_caller]
    pub fn held(&self, service: &str) -> u64 {
        self.status(service)["held"].as_u64().expect("a number")
    }

    /// Waits until so many requests are held.
    #[track_caller]
    pub fn wait_until_held(&self, service: &str, count: u64) {
        until("held requests", || self.held(service) == count);
    }

    /// What it has logged so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line of the log.
    #[track_caller]
    pub fn wait_for_line(&self, is: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        until("a line of the log", || {
            found = self.log.lock().unwrap().iter().find(|line| is(line)).cloned();
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits for a line with this message.
    #[track_caller]
    pub fn line(&self, message: &str) -> Value {
        self.wait_for_line(|line| line["msg"] == message)
    }

    /// Waits for the line of the request for a path.
    #[track_caller]
    pub fn request_line(&self, path: &str) -> Value {
        self.wait_for_line(|line| line["msg"] == "Request" && line["path"] == path)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("it lives");
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Has it do nothing at all until [`Proxy::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        // Each thread stops for itself.
        let stopped = || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
            threads.flatten().all(|thread| {
                let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
            })
        };
        until("the freeze", stopped);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        self.child.kill().expect("it lives");
        self.wait();
    }

    /// Waits for its end; its exit code.
    pub fn wait(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
