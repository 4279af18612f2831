//! Which service a request is for: by host, then by the longest path prefix (contract, chapter 3). Also the one list of
//! services, by name.

mod host;
mod path;
mod table;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use table::Table;

pub use host::of_request as host_of_request;
pub use path::{decode, strip};
pub use table::{Local, Route};

/// Another service already has one of the pairs of host and prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("host settings conflict with another service")]
pub struct Conflict {
    /// The other service.
    pub with: String,
}

/// Where a service wants to be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Exact hosts, `*.` with a suffix, or the empty string for any.
    pub hosts: Vec<String>,
    /// Normalised prefixes: `/`, `/api`.
    pub prefixes: Vec<String>,
}

impl Places {
    /// Whether both have one pair of host and prefix.
    #[must_use]
    pub fn meet(&self, other: &Self) -> bool {
        let host = self.hosts.iter().any(|mine| other.hosts.iter().any(|o| host::normal(o) == host::normal(mine)));
        host && self.prefixes.iter().any(|prefix| other.prefixes.contains(prefix))
    }
}

/// All services. Changed by few, read by all workers without a lock, each through its own [`Local`] copy.
pub struct Router<S> {
    table: ArcSwap<Table<S>>,
    change: Mutex<()>,
}

impl<S> Default for Router<S> {
    fn default() -> Self {
        Self { table: ArcSwap::from_pointee(Table::default()), change: Mutex::new(()) }
    }
}

impl<S> Router<S> {
    /// A router without services.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the service be found at these places, and nowhere else.
    ///
    /// # Errors
    /// [`Conflict`]: another service has one of them; then nothing has changed.
    pub fn install(&self, name: &str, places: Places, service: Arc<S>) -> Result<(), Conflict> {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.table.load();
        table.check(name, &places)?;
        self.table.store(Arc::new(table.with(name, places, service)));
        Ok(())
    }

    /// Whether [`Router::install`] would succeed now.
    ///
    /// # Errors
    /// [`Conflict`].
    pub fn check(&self, name: &str, places: &Places) -> Result<(), Conflict> {
        self.table.load().check(name, places)
    }

    /// Takes the service away; its places are free again.
    pub fn remove(&self, name: &str) -> Option<Arc<S>> {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.table.load();
        let removed = table.get(name)?;
        self.table.store(Arc::new(table.without(name)));
        Some(removed)
    }

    /// The service of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<S>> {
        self.table.load().get(name)
    }

    /// All services with their places, by name.
    #[must_use]
    pub fn list(&self) -> Vec<(String, Places, Arc<S>)> {
        self.table.load().list()
    }

    /// The service for a host (as the client sent it) and a path (as it was sent, without the query).
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<Arc<Route<S>>> {
        self.table.load().find(host, path)
    }
}

#[cfg(test)]
mod tests;
