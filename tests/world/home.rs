//! A place for proxies and their clients: nothing of the machine's own settings leaks in.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

pub const LOCKGATE: &str = env!("CARGO_BIN_EXE_lockgate");
pub const KAMAL_PROXY: &str = env!("CARGO_BIN_EXE_kamal-proxy");

/// A directory with the data of one proxy at a time, and its socket. Gone with the last copy of this.
#[derive(Clone)]
pub struct Home {
    dir: Arc<tempfile::TempDir>,
}

impl Home {
    pub fn new() -> Self {
        Self { dir: Arc::new(tempfile::tempdir().expect("a directory")) }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.path().join("admin.sock")
    }

    /// A program with this home's environment only.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.path()).env("TMPDIR", self.path());
        command.env("KAMAL_PROXY_SOCKET", self.socket()).stdin(Stdio::null());
        command
    }

    /// Runs `kamal-proxy` to its end.
    pub fn kamal(&self, args: &[&str]) -> Said {
        Said::from(self.command(KAMAL_PROXY).args(args).output().expect("kamal-proxy starts"))
    }

    /// Runs `lockgate` to its end.
    pub fn lockgate(&self, args: &[&str]) -> Said {
        Said::from(self.command(LOCKGATE).args(args).output().expect("lockgate starts"))
    }
}

/// What a command said.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    /// Exit 0, nothing on stdout, nothing but warnings on stderr.
    #[track_caller]
    pub fn succeeds(&self) {
        let only_warnings = self.err.lines().all(|line| line.starts_with("Warning: "));
        assert!(self.code == 0 && self.out.is_empty() && only_warnings, "{self:?}");
    }

    /// Exit 1, nothing on stdout, and this as the first line on stderr.
    #[track_caller]
    pub fn fails(&self, error: &str) {
        let first = self.err.lines().next().unwrap_or_default();
        assert_eq!((self.code, first, self.out.as_str()), (1, format!("Error: {error}").as_str(), ""), "{self:?}");
        assert!(self.err.lines().skip(1).all(|line| line.starts_with("  ")), "more lines are indented: {self:?}");
    }
}
