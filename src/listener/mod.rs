//! The clients' side: sockets that accept, and the watch over clients that wait.

mod departure;
mod stream;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

pub use departure::{Watch, has_left, unread, watch, watch_clients};
pub use stream::{Served, Stream, Talk};

const BACKLOG: i32 = 4096;
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A listening socket, non-blocking, shared by all workers. `::` takes IPv4 clients too, and is 0.0.0.0 where there is
/// no IPv6. What it accepts has `TCP_NODELAY` and keep-alive: Linux passes both on, which saves two calls a connection.
///
/// # Errors
/// The address is taken or not ours.
pub fn bind(address: IpAddr, port: u16) -> io::Result<TcpListener> {
    match listen(SocketAddr::new(address, port)) {
        Err(error) if address == Ipv6Addr::UNSPECIFIED && lacks_ipv6(&error) => {
            listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
        }
        other => other,
    }
}

/// A peer's address as people write it: IPv4 clients of an IPv6 socket as IPv4.
#[must_use]
pub fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpStream};

    use super::*;

    #[test]
    fn an_ipv4_client_is_taken_and_written_as_ipv4() {
        let listener = bind(Ipv6Addr::UNSPECIFIED.into(), 0).unwrap();
        listener.set_nonblocking(false).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (server, peer) = listener.accept().unwrap();
        assert_eq!(canonical(peer), client.local_addr().unwrap());
        assert!(server.nodelay().unwrap(), "what is accepted has the listener's options");
        assert!(socket2::SockRef::from(&server).keepalive().unwrap());
    }
}
