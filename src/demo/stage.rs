//! The stage: a directory of its own, a proxy, and the commands that a deploy tool would run, each a process of the
//! demo's own executable.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::ports::Reserved;
use super::process::Process;
use super::stamps::Plan;
use crate::journal::Record;

/// The service's name.
const SERVICE: &str = "shop";
/// How long the proxy may take to start.
const START: Duration = Duration::from_secs(20);

/// How versions follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Under keepers: one live version at a time.
    Keepers,
    /// Blue-green, as deploy tools do without: the new one is started beside the old one.
    BlueGreen,
}

/// What the demo needs of the machine. Dropping it ends the proxy.
#[derive(Debug)]
pub(super) struct Stage {
    way: Way,
    executable: PathBuf,
    directory: PathBuf,
    proxy: Option<Process>,
    address: SocketAddr,
}

/// One version, running (or standing by) as a deploy tool started it.
#[derive(Debug)]
pub(super) struct Container {
    process: Process,
    target: Reserved,
    keeper: Option<Reserved>,
}

impl Container {
    /// Stops it, as a deploy tool does.
    ///
    /// # Errors
    /// Where it does not end.
    pub(super) fn stop(self) -> io::Result<()> {
        self.process.stop().map(drop)
    }

    /// Where its app listens.
    #[must_use]
    pub(super) fn target(&self) -> SocketAddr {
        self.target.address()
    }
}

impl Stage {
    /// Makes the directory.
    ///
    /// # Errors
    /// Where that fails.
    pub(super) fn set(way: Way) -> io::Result<Self> {
        let name = format!("lockgate-demo-{}-{:04x}", std::process::id(), fastrand::u16(..));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(directory.join("home"))?;
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Ok(Self { way, executable: std::env::current_exe()?, directory, proxy: None, address: nowhere })
    }

    /// Starts the proxy, on settings of its own (the defaults), so that those of the machine's proxy do not matter.
    ///
    /// # Errors
    /// Where it does not start.
    pub(super) fn open(&mut self) -> io::Result<()> {
        File::create(self.file("stamps.jsonl"))?;
        File::create(self.file("lockgate.toml"))?;
        let config = format!("--config={}", self.file("lockgate.toml").display());
        let mut run = self.command(["run", "--http-port=0", "--https-port=0", &config]);
        self.proxy = Some(Process::start(&mut run, &self.file("proxy.log"))?);
        self.address = self.proxy_address()?;
        Ok(())
    }

    /// A file of the demo's directory.
    #[must_use]
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The demo's directory.
    #[must_use]
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where clients connect.
    #[must_use]
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts a version, live or standing by: `docker run`.
    ///
    /// # Errors
    /// Where it can't be started.
    pub(super) fn start(&self, version: u32, plan: Plan) -> io::Result<Container> {
        let target = Reserved::any()?;
        let mut args = vec!["demo".to_owned(), "shop".to_owned(), format!("--version={version}")];
        args.push(format!("--plan={}", plan.name()));
        args.push(format!("--listen={}", target.address()));
        args.push(format!("--database={}", self.file("shop.db").display()));
        args.push(format!("--stamps={}", self.file("stamps.jsonl").display()));
        let (mut command, keeper) = match self.way {
            Way::BlueGreen => (self.command(args), None),
            Way::Keepers => {
                let control = Reserved::any()?;
                (self.under_a_keeper(control.address(), args), Some(control))
            }
        };
        let process = Process::start(&mut command, &self.file(&format!("version-{version}.log")))?;
        Ok(Container { process, target, keeper })
    }

    fn under_a_keeper(&self, control: SocketAddr, app: Vec<String>) -> Command {
        let database = format!("--database={}", self.file("shop.db").display());
        let control = format!("--control={control}");
        let mut command = self.command(["keep", &database, &control, "--grace=5s", "--snapshot=always", "--"]);
        command.arg(&self.executable).args(app);
        command
    }

    /// Starts the deploy of a version; its words are in `deploy-<version>.log`.
    ///
    /// # Errors
    /// Where it can't be started.
    pub(super) fn deploy(&self, version: u32, container: &Container) -> io::Result<Process> {
        let mut command = self.command(["deploy", SERVICE]);
        command.arg(format!("--target={}", container.target()));
        match &container.keeper {
            // What Kamal sends.
            Some(keeper) => {
                command.args(["--deploy-timeout=30s", "--drain-timeout=30s"]);
                command.arg(format!("--keeper={}", keeper.address()))
            }
            // A version that does not start takes the whole time: nobody is held, so only the demo waits.
            None => command.args(["--deploy-timeout=8s", "--drain-timeout=30s", "--handoff=overlap"]),
        };
        Process::start(&mut command, &self.deploy_log(version))
    }

    /// What the deploy of a version said.
    #[must_use]
    pub(super) fn deploy_log(&self, version: u32) -> PathBuf {
        self.file(&format!("deploy-{version}.log"))
    }

    /// The journal, oldest first.
    ///
    /// # Errors
    /// Where the command fails.
    pub(super) fn journal(&self) -> io::Result<Vec<Record>> {
        let output = self.command(["handoffs", SERVICE, "--json", "--limit=1000"]).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let mut records: Vec<Record> = serde_json::from_slice(&output.stdout)?;
        records.reverse();
        Ok(records)
    }

    /// Ends the proxy.
    ///
    /// # Errors
    /// Where it does not end.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.proxy.take().map_or(Ok(()), |proxy| proxy.stop().map(drop))
    }

    /// A command of this executable, in a world of its own.
    fn command(&self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Command {
        let mut command = Command::new(&self.executable);
        let ours = |name: &str| ["LOCKGATE_", "KAMAL_"].iter().any(|prefix| name.starts_with(prefix));
        for (name, _) in std::env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command.args(args.into_iter().map(Into::into));
        command.env("HOME", self.file("home")).env("LOCKGATE_ADMIN_SOCKET", self.file("admin.sock"));
        command
    }

    /// As the proxy logs it once it listens.
    fn proxy_address(&mut self) -> io::Result<SocketAddr> {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            let log = fs::read_to_string(self.file("proxy.log"))?;
            if let Some(started) = log.lines().find_map(started) {
                return Ok((Ipv4Addr::LOCALHOST, started.http).into());
            }
            let ended = self.proxy.as_mut().map_or(Ok(None), |proxy| proxy.wait(Duration::from_millis(5)))?;
            if ended.is_some() {
                return Err(io::Error::other(format!("the proxy did not start: {}", log.trim())));
            }
        }
        Err(io::Error::other("the proxy did not start in time"))
    }
}

#[derive(Deserialize)]
struct Started {
    msg: String,
    http: u16,
}

fn started(line: &str) -> Option<Started> {
    serde_json::from_str(line).ok().filter(|line: &Started| line.msg == "Server started")
}
