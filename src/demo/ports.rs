//! Free ports that stay free: each is bound, never listened on, for as long as it is reserved. Who listens there binds
//! it a second time (both say `SO_REUSEADDR`); the kernel gives it to nobody who asks for any port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A port of the loopback address.
#[derive(Debug)]
pub struct Reserved {
    _bound: Socket,
    address: SocketAddr,
}

impl Reserved {
    /// Any free one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn any() -> io::Result<Self> {
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        bound.set_reuse_address(true)?;
        bound.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let address = bound.local_addr()?.as_socket().ok_or_else(|| io::Error::other("a socket without an address"))?;
        Ok(Self { _bound: bound, address })
    }

    /// Where to listen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn who_was_promised_a_port_can_listen_there_again_and_again() {
        let port = Reserved::any().unwrap();
        for _ in 0..2 {
            let listener = TcpListener::bind(port.address()).unwrap();
            TcpStream::connect(port.address()).unwrap();
            drop(listener);
        }
    }

    #[test]
    fn nobody_else_is_given_it() {
        let port = Reserved::any().unwrap();
        let others: Vec<Reserved> = (0..500).map(|_| Reserved::any().unwrap()).collect();
        assert!(others.iter().all(|other| other.address() != port.address()));
    }
}
