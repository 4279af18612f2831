//! The app's side: targets, the connections to them that each worker keeps, and probes.

mod body;
mod connect;
mod heard;
mod idle;
mod probe;

use std::sync::Arc;
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
    closings: Closings,
}

impl Target {
    /// A target with an id of its own.
    #[must_use]
    pub fn new(address: spec::Target) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        Self { id, address, closings: Closings::default() }
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

    /// From now on no connection that is open is kept once its request is over. Those that lie idle are each worker's to
    /// close: [`close_idle`].
    pub fn keep_no_longer(&self) {
        self.closings.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The address as a header's value, new each time.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(self.address.as_str()).unwrap_or(HeaderValue::from_static(""))
    }
}

/// How often a target's connections were closed, shared with them.
#[derive(Clone, Debug, Default)]
struct Closings(Arc<AtomicU64>);

impl Closings {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
