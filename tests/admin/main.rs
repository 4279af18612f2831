//! The command line and the admin API, against real processes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity, reason = "a test may panic")]

mod api;
mod cli;
mod docs;
mod run;
mod stopping;
mod unit;
#[path = "../world/mod.rs"]
mod world;
