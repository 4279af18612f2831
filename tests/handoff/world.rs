//! A proxy with a home of its own, and the database whose apps it hands over.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::mount::Mount;
use crate::processes::{Home, LOCKGATE, Proxy, Said};
use crate::shop::Shop;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until it is so.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) struct World {
    pub(crate) proxy: Proxy,
    pub(crate) home: Home,
    /// Where the database is, if not at home.
    pub(crate) volume: Option<Mount>,
}

impl World {
    pub(crate) fn new() -> Self {
        let home = Home::new();
        Self { proxy: Proxy::at(&home), home, volume: None }
    }

    /// A world whose service `shop` has its first version, kept and deployed.
    #[track_caller]
    pub(crate) fn with_shop() -> (Self, Shop) {
        let world = Self::new();
        let shop = Shop::version(1).start(&world);
        world.deploy(&shop, &[]).succeeds();
        (world, shop)
    }

    /// The same, with the database on a small file system; none where the test may not mount one.
    #[track_caller]
    pub(crate) fn with_shop_on_a_small_disk() -> Option<(Self, Shop)> {
        let world = Self { volume: Some(Mount::of("64m")?), ..Self::new() };
        let shop = Shop::version(1).start(&world);
        world.deploy(&shop, &[]).succeeds();
        Some((world, shop))
    }

    pub(crate) fn disk(&self) -> &Mount {
        self.volume.as_ref().expect("a world on a small disk")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.volume.as_ref().map_or(self.home.path(), Mount::path).join("shop.db")
    }

    /// The lease directory.
    pub(crate) fn lease(&self) -> PathBuf {
        self.database().with_file_name("shop.db.lockgate")
    }

    /// The proxy dies without a word, and another starts in its place.
    pub(crate) fn crash(&mut self) {
        self.proxy.kill();
        self.proxy = Proxy::at(&self.home);
    }

    /// As [`World::crash`], with one more variable for the new one.
    pub(crate) fn crash_and_set(&mut self, name: &str, value: &str) {
        self.proxy.kill();
        let mut command = self.home.command(LOCKGATE);
        command.args(["run", "--http-port", "0"]).env(name, value);
        self.proxy = Proxy::spawn(&self.home, command);
    }

    /// What the proxy has saved.
    pub(crate) fn state(&self) -> String {
        std::fs::read_to_string(self.home.path().join(".config/kamal-proxy/kamal-proxy.state")).unwrap()
    }

    /// The address of the active revision's keeper.
    pub(crate) fn keeper(&self) -> String {
        self.status()["keeper"].as_str().unwrap().to_owned()
    }

    fn deploy_words(shop: &Shop, more: &[&str]) -> Vec<String> {
        let target = format!("--target={}", shop.target);
        let keeper = format!("--keeper={}", shop.control);
        let mut words = vec!["deploy".into(), "shop".into(), target, keeper, "--health-check-interval=50ms".into()];
        words.extend(more.iter().map(|word| (*word).to_owned()));
        words
    }

    pub(crate) fn deploy(&self, shop: &Shop, more: &[&str]) -> Said {
        let words = Self::deploy_words(shop, more);
        self.home.lockgate(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A deploy that goes on while the test does something else.
    pub(crate) fn begin_deploy(&self, shop: &Shop, more: &[&str]) -> Deploying {
        let mut command = self.home.command(LOCKGATE);
        command.args(Self::deploy_words(shop, more)).arg("--progress=plain");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("lockgate starts");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let (sender, receiver) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Deploying { child, lines: receiver, seen: Vec::new() }
    }

    /// What `status --json` says of the service.
    pub(crate) fn status(&self) -> Value {
        let said = self.home.lockgate(&["status", "--json"]);
        let status: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("no JSON: {said:?}"));
        status
            .as_array()
            .or_else(|| status["services"].as_array())
            .and_then(|all| all.first())
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.status()["closed"].as_array().is_some_and(Vec::is_empty)
    }

    /// Waits until requests go to this version again.
    #[track_caller]
    pub(crate) fn serves(&self, shop: &Shop) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if status["closed"].as_array().is_some_and(Vec::is_empty) && status["targets"][0] == shop.target.as_str() {
                return;
            }
            let said = shop.said();
            assert!(Instant::now() < deadline, "it does not serve: {status}; {}; {said:#?}", self.record());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The newest record of the journal.
    #[track_caller]
    pub(crate) fn record(&self) -> Value {
        let said = self.home.lockgate(&["handoffs", "shop", "--json"]);
        let records: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("no JSON: {said:?}"));
        records[0].clone()
    }
}

/// A deploy under way.
pub(crate) struct Deploying {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Deploying {
    /// Waits for the beginning of a phase; false where the deploy ends before.
    pub(crate) fn reaches(&mut self, phase: &str) -> bool {
        loop {
            if self.seen.iter().any(|line| line.contains(&format!("s {phase}"))) {
                return true;
            }
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(_) => return false,
            }
        }
    }

    /// Waits for its end: exit code and what it said.
    pub(crate) fn end(mut self) -> (i32, String) {
        let code = self.child.wait().expect("it ends").code().unwrap_or(-1);
        self.seen.extend(self.lines.iter());
        (code, self.seen.join("\n"))
    }
}

impl Drop for Deploying {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
