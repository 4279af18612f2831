//! What a process may use, and its clients.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one: each connection is a descriptor. Nothing is lost where that is
/// not permitted. The proxy starts no children; whatever does (the keeper) leaves the limit as it found it.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Bytes that the system of a client may still have to send when it has left: Linux's default for others, and for those
/// on this machine what it is told here, if that is more.
pub(super) fn client_unsent() -> usize {
    const LINUX: usize = 4 << 20;
    let limit = |path| std::fs::read_to_string(path).ok()?.split_whitespace().last()?.parse::<usize>().ok();
    let grown = limit("/proc/sys/net/ipv4/tcp_wmem").unwrap_or_default();
    // Who asks for a size by himself is given twice that.
    let asked = limit("/proc/sys/net/core/wmem_max").unwrap_or_default().saturating_mul(2);
    LINUX.max(grown).max(asked)
}
