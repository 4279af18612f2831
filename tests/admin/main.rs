//! The command line and the admin API, against real processes.

mod api;
mod cli;
mod docs;
mod proxy;
mod run;
mod stopping;
mod unit;
#[path = "../world/mod.rs"]
mod world;
