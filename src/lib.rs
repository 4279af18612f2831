//! **lockgate**: a request-pausing reverse proxy. It holds arriving requests in a queue while it flips an atomic
//! upstream pointer, and makes the old app let go of the database before the new one may touch it.
//!
//! The tree is the architecture (`docs/architecture.md`): a part names only parts on lower floors.

// Floor 0: words.
pub mod clock;
pub mod spec;
pub mod wire;
// Floor 1: parts that do not know each other.
pub mod child;
pub mod config;
pub mod gate;
pub mod journal;
pub mod lease;
pub mod listener;
pub mod observe;
pub mod router;
pub mod snapshot;
pub mod state;
pub mod upstream;
// Floor 2.
pub mod service;
// Floor 3: a request's way, and the database's.
pub mod handoff;
pub mod proxy;
// Floor 4.
pub mod control;
// Floor 5.
pub mod admin;
// Floor 6: processes.
pub mod keeper;
pub mod server;
// Floor 7: people.
pub mod cli;
#[cfg(feature = "demo")]
pub mod demo;
