//! The app's side: targets, the connections to them that each worker keeps, and probes.

mod body;
mod connect;
mod idle;
mod probe;

use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

use crate::spec;

pub use body::{Ended, Outgoing, Streamed};
pub use connect::{ConnectError, connect};
pub use idle::{Connection, close_idle, sweep, take};
pub use probe::{ProbeError, probe};

/// One address that serves requests. Connections to it are kept per worker, under its id: two targets never share them,
/// even with the same address.
#[derive(Debug)]
pub struct Target {
    id: u64,
    address: spec::Target,
}

impl Target {
    /// A target with an id of its own.
    #[must_use]
    pub fn new(address: spec::Target) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        Self { id, address }
    }

    /// Unlike any other target's in this process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &spec::Target {
        &self.address
    }

    /// The address as a header's value, new each time.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(self.address.as_str()).unwrap_or(HeaderValue::from_static(""))
    }
}
