//! The unix socket: nobody but its owner and root gets in.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::process::geteuid;
use socket2::{Domain, SockAddr, Type};
use tokio::net::{UnixListener, UnixStream};

/// A bound socket. Dropping it closes and unlinks it, unless another has taken its place.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Socket {
    /// In the place of what a proxy that died has left there, never of one that answers.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        remove_unless_served(path)?;
        let socket = new_socket()?;
        // The mode of the descriptor becomes the file's: at no moment can anybody else connect.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(128)?;
        let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))?;
        Ok(Self { listener, path: path.to_owned(), inode: inode(path)? })
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn new_socket() -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn remove_unless_served(path: &Path) -> io::Result<()> {
    let socket = new_socket()?;
    match socket.connect(&SockAddr::unix(path)?) {
        // A full queue is somebody's too.
        Ok(()) => return Err(served(socket)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(served(socket)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) => return Err(error),
    }
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "bind: something else than a socket lies there"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn served(socket: socket2::Socket) -> io::Error {
    let stream = UnixStream::from_std(std::os::unix::net::UnixStream::from(socket));
    let process = stream.and_then(|stream| stream.peer_cred()).ok().and_then(|peer| peer.pid());
    // 0 is a process of another PID namespace.
    let process = process.filter(|pid| *pid > 0).map_or("another process".into(), |pid| format!("process {pid}"));
    io::Error::new(io::ErrorKind::AddrInUse, format!("bind: address already in use by {process}"))
}

fn inode(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(std::fs::symlink_metadata(path)?.ino())
}

/// Who is at the other end, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    uid: Option<u32>,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> Self {
        Self { uid: stream.peer_cred().ok().map(|peer| peer.uid()) }
    }

    /// Root, or the user this process runs as.
    pub(super) fn may_command(self) -> bool {
        self.uid.is_some_and(|uid| uid == 0 || uid == geteuid().as_raw())
    }

    /// For the journal.
    pub(super) fn name(self) -> String {
        self.uid.map_or_else(|| "unknown".into(), |uid| format!("uid {uid}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_own_user_may_command() {
        let own = geteuid().as_raw();
        assert!(Peer { uid: Some(0) }.may_command());
        assert!(Peer { uid: Some(own) }.may_command());
        assert!(!Peer { uid: Some(own + 1) }.may_command());
        assert!(!Peer { uid: None }.may_command());
    }

    #[tokio::test]
    async fn the_socket_is_private_from_its_first_moment_and_gone_at_the_end() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // left behind
        let first = Socket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_file(&path).unwrap();
        let second = Socket::bind(&path).unwrap();
        drop(first);
        assert!(path.exists(), "the second one's socket stays");
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_is_served_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let first = Socket::bind(&path).unwrap();
        let error = Socket::bind(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("bind: address already in use by process {}", std::process::id()));
        assert_eq!(inode(&path).unwrap(), first.inode);
    }

    #[tokio::test]
    async fn what_is_no_socket_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("shop.sqlite3"), dir.path().join("admin.sock"));
        std::fs::write(&file, "precious").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            let error = Socket::bind(path).unwrap_err().to_string();
            assert_eq!(error, "bind: something else than a socket lies there");
        }
        assert!(link.is_symlink() && file.exists());
    }
}
