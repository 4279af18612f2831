//! What a process may use, and its clients.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;

/// Raises the soft limit of open files to the hard one: each connection is a descriptor. Nothing is lost where that is
/// not permitted. The proxy starts no children; whatever does (the keeper) leaves the limit as it found it.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Clients' connections that may be open at once. The other files are kept back for commands, keepers and apps.
pub(super) fn most_clients() -> usize {
    let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
    files.map_or(Semaphore::MAX_PERMITS, clients_among)
}

fn clients_among(files: usize) -> usize {
    let kept = (files / 16).max(64).min(files / 2);
    (files - kept).min(Semaphore::MAX_PERMITS)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sixteenth_of_the_files_is_kept_back_but_64_and_of_few_the_half() {
        for (files, clients) in [(20_000, 18_750), (1024, 960), (256, 192), (100, 50)] {
            assert_eq!(clients_among(files), clients, "{files}");
        }
        assert_eq!(clients_among(usize::MAX), Semaphore::MAX_PERMITS);
    }
}
