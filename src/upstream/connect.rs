//! Connecting to a target: its name resolved each time, every address tried.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::spec;

/// How long all of a connect may take; the system alone would try for two minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an address may take where another is left to try.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(3);
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Why no connection came about. Nothing of a request was written.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("dial tcp: lookup {host}: {}", reason(source))]
    Lookup {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Refused, unreachable and the like: the last address's reason.
    #[error("dial tcp {address}: connect: {}", reason(source))]
    Dial {
        /// Which address, or the target where none was tried.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// No address answered in time.
    #[error("dial tcp {address}: i/o timeout")]
    TimedOut {
        /// Which target.
        address: String,
    },
}

/// The system's words as Go has them: `connection refused`.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Opens a connection, with `TCP_NODELAY` and keep-alive. Cancel-safe.
///
/// # Errors
/// [`ConnectError`], after every address of the name was tried, or 10 s.
pub async fn connect(target: &spec::Target, port: Option<u16>) -> Result<TcpStream, ConnectError> {
    let late = || ConnectError::TimedOut { address: target.to_string() };
    timeout(CONNECT_TIMEOUT, dial(target, port)).await.map_err(|_| late())?
}

async fn dial(target: &spec::Target, port: Option<u16>) -> Result<TcpStream, ConnectError> {
    let Some(port) = port.or(target.port()) else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "invalid port");
        return Err(ConnectError::Dial { address: target.to_string(), source });
    };
    if let Ok(ip) = target.host().parse::<IpAddr>() {
        return dial_one(SocketAddr::new(ip, port)).await;
    }
    let lookup = |source| ConnectError::Lookup { host: target.host().to_owned(), source };
    let mut addresses = tokio::net::lookup_host((target.host(), port)).await.map_err(lookup)?.peekable();
    let mut last = lookup(io::Error::new(io::ErrorKind::NotFound, "no such host"));
    while let Some(address) = addresses.next() {
        let tried = if addresses.peek().is_some() {
            let late = |_| ConnectError::TimedOut { address: address.to_string() };
            timeout(ADDRESS_TIMEOUT, dial_one(address)).await.map_err(late).flatten()
        } else {
            dial_one(address).await
        };
        match tried {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn dial_one(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::TimedOut => ConnectError::TimedOut { address: address.to_string() },
        _ => ConnectError::Dial { address: address.to_string(), source },
    };
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    let socket = SockRef::from(&stream);
    // An option that cannot be set costs speed, not a request.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE));
    Ok(stream)
}
