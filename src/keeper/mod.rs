//! `lockgate keep`: the app's outermost process. It runs the app only while it holds the lease.

mod acquire;
mod board;
mod control;
mod hearing;
mod live;
mod options;
mod prepare;
mod question;
mod roles;
mod rules;
mod say;
mod standby;
mod volume;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

use board::Board;
use control::{Bound, Door, Event};
use options::{Options, Task};
use roles::{Keeper, Next, Role};
use say::say;
use standby::Standby;

use crate::snapshot::{Databases, Store};
use crate::wire::{Holder, Role as Shown};
use crate::{child, lease};

/// How many orders may wait for the keeper's thread.
const QUEUE: usize = 256;

/// Why the keeper does not start: the exit code, and a sentence.
struct Fault {
    code: u8,
    text: String,
}

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        Self { code: 1, text: error.to_string() }
    }
}

impl Fault {
    fn own(text: String) -> Self {
        Self { code: 1, text }
    }
}

/// Runs the keeper with the arguments after `keep`. Ends with the app's exit status (128 + signal), 1 for errors of its
/// own, 127 or 126 where the command cannot be executed, 0 where it was told to stop.
///
/// To be called before the process has other threads: signals are blocked in all of them.
#[must_use]
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            say(&format!("error: {}", fault.text));
            ExitCode::from(fault.code)
        }
    }
}

fn run(arguments: impl Iterator<Item = OsString>) -> Result<u8, Fault> {
    match options::parse(arguments, &|name| std::env::var_os(name))? {
        Task::Print(text) => {
            use std::io::Write;
            std::io::stdout().write_all(text.as_bytes())?;
            Ok(0)
        }
        Task::RunInPlace(command, why) => {
            say(&format!("runs without the lease ({why}): {}", options::command_line(&command)));
            Err(cannot_execute(&command, &child::run_in_place(&command)))
        }
        Task::Keep(options) => keep(*options),
    }
}

fn keep(options: Options) -> Result<u8, Fault> {
    let signals = child::block_all();
    child::ignore_sigpipe();
    lease::ignore_sigio();
    child::adopt_orphans()?;
    executable(&options.command)?;
    let token = options.token_file.as_deref().map(read_token).transpose()?;
    let databases = Databases::new(&options.databases)?;
    let directory = Arc::new(volume::open_directory(&options, &databases)?);
    let bound = bind(&options)?;
    let me = Holder { id: format!("{}:{}", host_name(), bound.address.port()), control: bound.reachable().to_string() };
    let (sender, events) = sync_channel(QUEUE);
    let board =
        Arc::new(Board::new(Arc::clone(&directory), me.clone(), options.service.clone(), options.wishes.clone()));
    watch(signals, sender.clone())?;
    let store = Store::new(directory.path());
    let keeper = Keeper {
        options,
        directory,
        databases,
        store,
        me,
        board: Arc::clone(&board),
        events,
        preparation: None,
        ended: None,
    };
    // Before anybody can ask, so that nobody is told of a standby that is about to acquire.
    let takes_now = keeper.takes_at_its_start()?;
    if takes_now {
        board.show_role(Shown::Acquiring);
    }
    let address = bound.address;
    let words = format!("control on {address}, id {}, lease {}", keeper.me.id, keeper.directory.path().display());
    bound.listen(Door { board, token, events: sender }).map_err(|error| cannot_listen(&address.to_string(), &error))?;
    say(&words);
    Ok(begin(keeper, takes_now))
}

fn begin(mut keeper: Keeper, takes_now: bool) -> u8 {
    let standby = Standby::new();
    let first = if takes_now { keeper.acquire_unasked(standby) } else { Next::Go(Role::Standby(standby)) };
    keeper.run(first)
}

impl Keeper {
    /// Whether this keeper takes the lease at its own start.
    fn takes_at_its_start(&self) -> Result<bool, lease::Error> {
        let until = Instant::now() + rules::LOOKERS;
        loop {
            let look = self.directory.look()?;
            let at_once = rules::unasked(&self.standing(true), &look.reading).is_some_and(|waits| waits.is_zero());
            if look.free || !at_once || Instant::now() >= until {
                return Ok(look.free && at_once);
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// Passes signals on to the keeper's thread.
fn watch(signals: child::Signals, events: SyncSender<Event>) -> std::io::Result<()> {
    let wait = move || while events.send(Event::Signal(signals.wait())).is_ok() {};
    std::thread::Builder::new().name("signals".into()).stack_size(64 * 1024).spawn(wait).map(drop)
}

fn bind(options: &Options) -> Result<Bound, Fault> {
    let addresses = options::control_addresses(options.control.as_deref())?;
    let wanted = addresses.first().map(ToString::to_string).unwrap_or_default();
    Bound::any_of(&addresses).map_err(|error| cannot_listen(&wanted, &error))
}

fn cannot_listen(address: &str, error: &std::io::Error) -> Fault {
    let why = match error.kind() {
        std::io::ErrorKind::AddrInUse => "it is taken by another process; choose another with --control".to_owned(),
        _ => error.to_string(),
    };
    Fault::own(format!("cannot listen on the control address {address}: {why}"))
}

fn read_token(path: &Path) -> Result<String, Fault> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Fault::own(format!("cannot read the token file {}: {error}", path.display())))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(Fault::own(format!("the token file {} is empty", path.display())));
    }
    Ok(token.to_owned())
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// A command that cannot be executed is told at once, not when it is its turn.
fn executable(command: &[OsString]) -> Result<(), Fault> {
    let Some(name) = command.first() else { return Ok(()) };
    let places: Vec<PathBuf> = if name.as_encoded_bytes().contains(&b'/') {
        vec![PathBuf::from(name)]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsStr::new("/usr/local/bin:/usr/bin:/bin").to_owned());
        std::env::split_paths(&path).map(|directory| directory.join(name)).collect()
    };
    let may = |place: &PathBuf| rustix::fs::access(place, rustix::fs::Access::EXEC_OK).is_ok();
    let files: Vec<_> = places.iter().filter(|place| place.is_file()).collect();
    if files.iter().any(|place| may(place)) {
        return Ok(());
    }
    let kind = if files.is_empty() { std::io::ErrorKind::NotFound } else { std::io::ErrorKind::PermissionDenied };
    Err(cannot_execute(command, &kind.into()))
}

fn cannot_execute(command: &[OsString], error: &std::io::Error) -> Fault {
    let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
    Fault { code, text: format!("cannot execute {}: {error}", options::command_line(command)) }
}
