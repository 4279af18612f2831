//! Handoffs end to end: a real proxy, real keepers, a real app on a real SQLite file, real signals.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity, reason = "a test may panic")]

mod apps;
mod faults;
mod good;
mod kills;
mod load;
#[path = "../world/mount.rs"]
#[allow(dead_code, reason = "shared with the tests of keepers, which use more of it")]
mod mount;
mod operator;
mod orphans;
#[path = "../world/mod.rs"]
mod processes;
mod shop;
mod volume;
mod world;
