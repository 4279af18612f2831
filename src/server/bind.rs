//! Listening sockets, refused in the contract's words (1.8).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Binds and listens: on `::` for IPv4 too, or on 0.0.0.0 where there is no IPv6. One socket for all workers.
///
/// # Errors
/// The contract's text after `Error: `.
pub(super) fn listen(address: IpAddr, port: u16) -> Result<TcpListener, String> {
    let bound = match open(SocketAddr::new(address, port)) {
        Err(error) if address == Ipv6Addr::UNSPECIFIED && no_ipv6(&error) => {
            open(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
        }
        bound => bound,
    };
    bound.map_err(|error| format!("listen tcp {}: {}", name(address, port), reason(&error)))
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn no_ipv6(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::NOPROTOOPT))
}

/// As Go writes it: all addresses are `:80`.
fn name(address: IpAddr, port: u16) -> String {
    if address.is_unspecified() { format!(":{port}") } else { SocketAddr::new(address, port).to_string() }
}

fn reason(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::ADDRINUSE) => "bind: address already in use".into(),
        Some(Errno::ACCESS) => "bind: permission denied".into(),
        Some(Errno::ADDRNOTAVAIL) => "bind: cannot assign requested address".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_named_as_the_contract_says() {
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let first = listen(any, 0).unwrap();
        let port = first.local_addr().unwrap().port();
        let error = listen(any, port).unwrap_err();
        assert_eq!(error, format!("listen tcp :{port}: bind: address already in use"));
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let error = listen(local, port).unwrap_err();
        assert_eq!(error, format!("listen tcp 127.0.0.1:{port}: bind: address already in use"));
    }

    #[test]
    fn one_socket_takes_both_families() {
        let socket = listen(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0).unwrap();
        let port = socket.local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
}
