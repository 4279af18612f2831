//! The unix socket: nobody but its owner and root gets in.

use std::io;
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
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
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
        std::fs::write(&path, "left behind").unwrap();
        let first = Socket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let second = Socket::bind(&path).unwrap();
        drop(first);
        assert!(path.exists(), "the second one's socket stays");
        drop(second);
        assert!(!path.exists());
    }
}
