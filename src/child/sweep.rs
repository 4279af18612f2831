//! The proof that nothing of the app is left.
#![expect(unsafe_code, reason = "kill(-1) and kill of a process group have no safe wrapper")]

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{is_first, reap};

/// How long to try before saying what cannot be killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the end of an app left behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Processes that outlived it and were killed, as people know them.
    pub killed: Vec<String>,
    /// Processes that are still there, since we have no right to kill them or the kernel does not let them go.
    pub alive: Vec<String>,
}

/// Kills whatever outlived the app and waits until nothing is left: no child of ours, as PID 1 no other process in the
/// namespace. Orphans of whatever is killed become our children, so it goes on until there is none.
#[must_use]
pub fn sweep() -> Left {
    let mut left = Left::default();
    let began = Instant::now();
    loop {
        let _ended = reap();
        if nothing_left() {
            return left;
        }
        let outliving = outliving();
        for process in &outliving {
            let name = process.to_string();
            if !left.killed.contains(&name) {
                process.tell();
                left.killed.push(name);
            }
            process.kill();
        }
        if is_first() {
            // SAFETY: as PID 1 of a namespace this reaches all of it but ourselves, and nothing else.
            unsafe { libc::kill(-1, libc::SIGKILL) };
        }
        if began.elapsed() > PATIENCE {
            left.alive = outliving.iter().map(ToString::to_string).collect();
            return left;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn nothing_left() -> bool {
    if is_first() {
        // SAFETY: signal 0 only asks; ESRCH means that there is no process but ourselves.
        let others =
            unsafe { libc::kill(-1, 0) } == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH);
        return !others;
    }
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: asks for the state of any child, taking nothing in.
    let answer = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) };
    answer == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD)
}

/// A process as `/proc` shows it.
struct Process {
    pid: i32,
    name: String,
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.pid, self.name)
    }
}

impl Process {
    fn kill(&self) {
        // SAFETY: a child of ours, unreaped, or as PID 1 a process of our own namespace.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
    }

    /// A console (`docker exec -it`) is told why it ends.
    fn tell(&self) {
        let stderr = PathBuf::from(format!("/proc/{}/fd/2", self.pid));
        let is_terminal = std::fs::read_link(&stderr).is_ok_and(|to| to.starts_with("/dev/pts"));
        if !is_first() || !is_terminal {
            return;
        }
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let options = libc::O_NONBLOCK | libc::O_NOCTTY;
        if let Ok(mut console) = std::fs::OpenOptions::new().write(true).custom_flags(options).open(stderr) {
            let _gone = console.write_all(b"\r\nlockgate-keep: this container hands its database on; console ends\r\n");
        }
    }
}

/// Our children, or as PID 1 everybody else.
fn outliving() -> Vec<Process> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    processes()
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            let (name, state, parent) = describe(pid)?;
            let ours = parent == own || is_first();
            (ours && state != 'Z').then_some(Process { pid, name })
        })
        .collect()
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Name, state and parent from `/proc/PID/stat`: the name stands in parentheses and may contain any.
fn describe(pid: i32) -> Option<(String, char, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = stat.rsplit_once(") ")?;
    let (_, name) = head.split_once('(')?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((name.to_owned(), state, fields.next()?.parse().ok()?))
}

/// Who else on this machine, as far as we can see, has one of these files (device, inode) open.
#[must_use]
pub fn foreign_openers(files: &[(u64, u64)]) -> Vec<String> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let mut openers = Vec::new();
    for pid in processes().filter(|pid| *pid != own) {
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let opens = descriptors
            .filter_map(|descriptor| std::fs::metadata(descriptor.path()).ok())
            .any(|file| files.contains(&(file.dev(), file.ino())));
        if opens && let Some((name, _, _)) = describe(pid) {
            openers.push(Process { pid, name }.to_string());
        }
    }
    openers
}
