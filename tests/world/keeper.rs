//! A real keeper, its app, and conversations with it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use lockgate::wire::{Facts, Order, Saying, Status, Verb, decode, encode};

/// Nothing that a test waits for takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How to start a keeper.
pub(crate) struct KeeperBuilder {
    program: Vec<OsString>,
    options: Vec<OsString>,
    environment: BTreeMap<String, OsString>,
    app: Vec<OsString>,
}

/// A keeper that runs. Dropped, it and its app are killed.
pub(crate) struct Keeper {
    child: Child,
    /// What the app writes to stdout, line by line.
    app: Lines,
    /// What the keeper and the app write to stderr.
    words: Lines,
    control: String,
}

struct Lines {
    receiver: Receiver<String>,
    seen: Vec<String>,
}

/// A conversation with a keeper.
pub(crate) struct Talk {
    lines: BufReader<TcpStream>,
    /// What it said first.
    pub(crate) greeting: Status,
    pub(crate) token: Option<String>,
}

impl KeeperBuilder {
    /// A keeper of a database, on a port of its own choosing, with a short grace.
    pub(crate) fn of(database: &Path) -> Self {
        Self::plain().option("--database", database)
    }

    pub(crate) fn plain() -> Self {
        let builder = Self {
            program: vec![env!("CARGO_BIN_EXE_lockgate-keep").into()],
            options: Vec::new(),
            environment: BTreeMap::new(),
            app: Vec::new(),
        };
        builder.option("--control", "127.0.0.1:0").app("echo up $LOCKGATE_EPOCH; exec sleep 1000")
    }

    /// Adds an option with its value.
    pub(crate) fn option(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.options.extend([name.into(), value.as_ref().to_owned()]);
        self
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// The app, as a script of sh.
    pub(crate) fn app(self, script: &str) -> Self {
        self.command(["sh", "-c", script])
    }

    /// The app's command line.
    pub(crate) fn command<const N: usize>(mut self, words: [&str; N]) -> Self {
        self.app = words.iter().map(OsString::from).collect();
        self
    }

    /// Runs the keeper by another program, as `setpriv` or `unshare`.
    pub(crate) fn by<const N: usize>(mut self, words: [&str; N]) -> Self {
        self.program.splice(0..0, words.iter().map(OsString::from));
        self
    }

    fn spawn(&self) -> Child {
        let (name, arguments) = self.program.split_first().unwrap();
        let mut command = Command::new(name);
        command.args(arguments).args(&self.options).arg("--").args(&self.app).envs(&self.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command.spawn().unwrap()
    }

    /// Starts it and waits until it listens.
    #[track_caller]
    pub(crate) fn start(self) -> Keeper {
        let mut child = self.spawn();
        let app = Lines::of(child.stdout.take().unwrap());
        let words = Lines::of(child.stderr.take().unwrap());
        let mut keeper = Keeper { child, app, words, control: String::new() };
        let line = keeper.says("control on ");
        let address = line.split("control on ").nth(1).and_then(|rest| rest.split(',').next());
        keeper.control = address.unwrap().replace("[::]", "127.0.0.1");
        keeper
    }

    /// Runs it to its end: exit status, stdout, stderr.
    pub(crate) fn run(self) -> (Option<i32>, String, String) {
        let output = self.spawn().wait_with_output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

impl Keeper {
    /// Starts one of this database, its app saying `up EPOCH`.
    #[track_caller]
    pub(crate) fn of(database: &Path) -> Self {
        KeeperBuilder::of(database).start()
    }

    pub(crate) fn control(&self) -> &str {
        &self.control
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// Begins a conversation.
    #[track_caller]
    pub(crate) fn talk(&self) -> Talk {
        Talk::with(&self.control)
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Status {
        self.talk().greeting
    }

    /// Waits for a line of the app that contains this, and gives it back.
    #[track_caller]
    pub(crate) fn app_says(&mut self, text: &str) -> String {
        self.app.wait_for(text)
    }

    /// What the app has said by now.
    pub(crate) fn app_said(&mut self) -> Vec<String> {
        self.app.all()
    }

    /// Waits for a line on stderr that contains this, and gives it back.
    #[track_caller]
    pub(crate) fn says(&mut self, text: &str) -> String {
        self.words.wait_for(text)
    }

    pub(crate) fn signal(&self, signal: i32) {
        signal_process(self.pid(), signal);
    }

    /// Waits for its end: exit code, or 128 + signal.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> i32 {
        let mut status: Option<ExitStatus> = None;
        until("the keeper's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap();
        status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Its app is in a group of its own, a child of the keeper: found before the keeper goes.
        let children = descendants(self.pid());
        let _gone = self.child.kill();
        for pid in children {
            signal_process(pid, 9);
        }
        let _reaped = self.child.wait();
    }
}

/// All processes below one.
pub(crate) fn descendants(pid: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            found.push(child);
            found.extend(descendants(child));
        }
    }
    found
}

pub(crate) fn signal_process(pid: i32, signal: i32) {
    if let (Some(pid), Some(signal)) =
        (rustix::process::Pid::from_raw(pid), rustix::process::Signal::from_named_raw(signal))
    {
        let _gone = rustix::process::kill_process(pid, signal);
    }
}

pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if std::env::var_os("KEEPER_SHOW").is_some() {
                    eprintln!("| {line}");
                }
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { receiver, seen: Vec::new() }
    }

    #[track_caller]
    fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.iter().position(|line| line.contains(text)) {
                // What came before is over; what comes after can still be waited for.
                return self.seen.drain(..=at).next_back().unwrap();
            }
            match self.receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("never said: {text}; said: {:#?}", self.seen),
            }
        }
    }

    fn all(&mut self) -> Vec<String> {
        self.seen.extend(self.receiver.try_iter());
        self.seen.clone()
    }
}

impl Talk {
    #[track_caller]
    pub(crate) fn with(control: &str) -> Self {
        let stream = TcpStream::connect(control).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line).unwrap();
        let Saying::Status(greeting) = decode(&line).unwrap() else { panic!("no greeting") };
        Self { lines, greeting: *greeting, token: None }
    }

    pub(crate) fn order(&mut self, verb: Verb) {
        let order = Order { token: self.token.clone(), verb };
        self.raw(&encode(&order));
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.lines.get_ref().write_all(bytes).unwrap();
    }

    /// The next line; none at the end.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> Option<Saying> {
        let mut line = Vec::new();
        match self.lines.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(decode(&line).unwrap()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("heard nothing: {error}"),
        }
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, verb: Verb) -> Saying {
        self.order(verb);
        self.hear().expect("an answer")
    }

    #[track_caller]
    pub(crate) fn refused(&mut self, verb: Verb) -> String {
        match self.ask(verb) {
            Saying::Refused { why } => why,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Prepares a standby; gives back its ticket.
    #[track_caller]
    pub(crate) fn prepare(&mut self) -> String {
        match self.ask(prepare("shop")) {
            Saying::Ready { ticket, .. } => ticket,
            other => panic!("not ready: {other:?}"),
        }
    }

    /// Prepares a standby; gives back what budgets are made from.
    #[track_caller]
    pub(crate) fn facts(&mut self) -> Facts {
        match self.ask(prepare("shop")) {
            Saying::Ready { facts, .. } => facts,
            other => panic!("not ready: {other:?}"),
        }
    }

    /// Waits until a take of this keeper is under way, whether it has the lease yet or not.
    #[track_caller]
    pub(crate) fn until_it_takes(&mut self) {
        until("a take", || self.refused(Verb::Confirm { epoch: 0 }).contains("acquiring"));
    }

    /// Lets the holder yield, and waits until it has.
    #[track_caller]
    pub(crate) fn hand_over(&mut self, ticket: &str) -> u64 {
        assert_eq!(self.ask(Verb::Show { ticket: ticket.to_owned() }), Saying::Ok {});
        let said = self.ask(Verb::Yield { ticket: ticket.to_owned() });
        assert!(matches!(said, Saying::Stopping { .. }), "{said:?}");
        match self.hear() {
            Some(Saying::Free { ms }) => ms,
            other => panic!("not free: {other:?}"),
        }
    }

    /// Lets the prepared standby take; gives back `leased` and `snapshot`.
    #[track_caller]
    pub(crate) fn take(&mut self) -> (Saying, Saying) {
        self.order(Verb::Take { budget_ms: 15_000 });
        let leased = self.hear().unwrap();
        assert!(matches!(leased, Saying::Leased { .. }), "{leased:?}");
        let snapshot = self.hear().unwrap();
        assert!(matches!(snapshot, Saying::Snapshot { .. }), "{snapshot:?}");
        assert_eq!(self.hear(), Some(Saying::Started {}));
        (leased, snapshot)
    }

    /// Lets the prepared standby take, and waits until it says that it could not.
    #[track_caller]
    pub(crate) fn take_in_vain(&mut self) -> String {
        match self.ask(Verb::Take { budget_ms: 15_000 }) {
            Saying::Held { by } => by,
            other => panic!("not held: {other:?}"),
        }
    }
}

pub(crate) fn prepare(service: &str) -> Verb {
    Verb::Prepare { handoff: "h1".into(), service: service.into(), idle_ms: 60_000 }
}

/// A whole handoff from one keeper to another, without its confirmation.
#[track_caller]
pub(crate) fn hand_over(from: &mut Talk, to: &mut Talk) -> (Saying, Saying) {
    let ticket = to.prepare();
    from.hand_over(&ticket);
    to.take()
}

/// The lease directory of a database.
pub(crate) fn lease_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lockgate");
    path.into()
}
