//! Listening sockets, refused in the contract's words (1.8).

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use rustix::io::Errno;

use crate::listener;

/// Binds and listens: on `::` for IPv4 too, or on 0.0.0.0 where there is no IPv6. One socket for all workers.
///
/// # Errors
/// The contract's text after `Error: `.
pub(super) fn listen(address: IpAddr, port: u16) -> Result<TcpListener, String> {
    listener::bind(address, port).map_err(|error| format!("listen tcp {}: {}", name(address, port), reason(&error)))
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
    use std::net::{Ipv4Addr, Ipv6Addr};

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
