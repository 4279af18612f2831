//! The proxy over the wire: real processes, raw sockets.

#[path = "../world/mod.rs"]
mod world;

mod failures;
mod heads;
mod held;
mod logs;
mod passing;
mod retries;
mod stopping;
mod upgrades;
