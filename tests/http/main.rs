//! The proxy over the wire: real processes, raw sockets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity, reason = "a test may panic")]

#[path = "../world/mod.rs"]
mod world;

mod failures;
mod heads;
mod held;
mod limits;
mod logs;
mod passing;
mod retries;
mod stopping;
mod upgrades;
mod uploads;
