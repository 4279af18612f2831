//! A version of the shop under its keeper.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};

use crate::processes::LOCKGATE;
use crate::world::{World, until};

/// A version that was not started yet.
pub(crate) struct Version {
    number: u32,
    plan: &'static str,
    /// What sh does before it becomes the shop.
    before: String,
    options: Vec<String>,
    elsewhere: bool,
    stubborn: bool,
    /// Where it sees the database, if not where the world does.
    volume: Option<PathBuf>,
}

/// A kept shop; killed at the end, with all that it started.
pub(crate) struct Shop {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    /// Where its keeper listens.
    pub(crate) control: String,
    /// Where it serves.
    pub(crate) target: String,
}

impl Shop {
    pub(crate) fn version(number: u32) -> Version {
        let (before, options) = (String::new(), Vec::new());
        Version { number, plan: "good", before, options, elsewhere: false, stubborn: false, volume: None }
    }
}

impl Version {
    /// `exits-booting`, `spoils-data` or `never-healthy`.
    pub(crate) fn plan(mut self, plan: &'static str) -> Self {
        self.plan = plan;
        self
    }

    /// Its sh does this first.
    pub(crate) fn after(mut self, script: &str) -> Self {
        self.before = script.into();
        self
    }

    /// Listens elsewhere than it is deployed.
    pub(crate) fn on_the_wrong_port(mut self) -> Self {
        self.elsewhere = true;
        self
    }

    /// Does not hear SIGTERM: its keeper waits for the whole grace.
    pub(crate) fn stubborn(mut self) -> Self {
        self.stubborn = true;
        self
    }

    /// Sees the database in this directory, another view of the world's.
    pub(crate) fn volume(mut self, directory: &Path) -> Self {
        self.volume = Some(directory.to_owned());
        self
    }

    /// One more option of its keeper; the last of a name counts.
    pub(crate) fn keep(mut self, option: &str) -> Self {
        self.options.push(option.into());
        self
    }

    /// Starts it, and waits until its keeper listens.
    #[track_caller]
    pub(crate) fn start(self, world: &World) -> Shop {
        let target = free_address();
        let listen = if self.elsewhere { free_address() } else { target.clone() };
        let database = self.volume.map_or_else(|| world.database(), |volume| volume.join("shop.db"));
        let shop = format!(
            "{}; {} {LOCKGATE} demo shop --version={} --plan={} --listen={listen} --database={} --stamps={} {}",
            if self.before.is_empty() { ":" } else { &self.before },
            if self.stubborn { "trap '' TERM;" } else { "exec" },
            self.number,
            self.plan,
            database.display(),
            world.home.path().join("stamps").display(),
            if self.stubborn { "& wait" } else { "" },
        );
        let mut command = Command::new(LOCKGATE);
        command.args(["keep", "--control=127.0.0.1:0", "--service=shop", "--grace=5s", "--snapshot=always"]);
        command.arg(format!("--database={}", database.display())).args(self.options);
        command.args(["--", "sh", "-c", &shop]).env("HOME", world.home.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("lockgate starts");
        let said = Arc::new(Mutex::new(Vec::new()));
        let (lines, heard) = (BufReader::new(child.stderr.take().expect("piped")).lines(), Arc::clone(&said));
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| heard.lock().unwrap().push(line)));
        let mut shop = Shop { child, said, control: String::new(), target };
        shop.control = shop.says("control on ").split("control on ").nth(1).unwrap().split(',').next().unwrap().into();
        shop
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").to_string()
}

impl Shop {
    /// Waits for a line of its keeper or of itself.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> String {
        let find = || self.said.lock().unwrap().iter().find(|line| line.contains(text)).cloned();
        let mut found = None;
        until(&format!("says {text:?}"), || {
            found = find();
            found.is_some()
        });
        found.unwrap()
    }

    /// All lines of its keeper and of itself.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// The processes below the keeper: the app.
    pub(crate) fn app(&self) -> Vec<i32> {
        below(self.pid())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        tell(self.pid(), signal);
    }

    /// Its keeper dies at once; the app lives on. Gives back the app.
    pub(crate) fn lose_keeper(&mut self) -> Vec<i32> {
        let app = self.app();
        self.signal(Signal::KILL);
        self.child.wait().expect("it ends");
        app
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let app = self.app();
        let _ = self.child.kill();
        app.into_iter().for_each(|pid| tell(pid, Signal::KILL));
        let _ = self.child.wait();
    }
}

pub(crate) fn tell(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

fn below(pid: i32) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<i32> = children.split_whitespace().filter_map(|child| child.parse().ok()).collect();
    children.iter().flat_map(|child| std::iter::once(*child).chain(below(*child))).collect()
}
