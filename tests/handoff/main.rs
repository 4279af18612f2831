//! Handoffs end to end: a real proxy, real keepers, a real app on a real SQLite file, real signals.

mod faults;
mod good;
mod kills;
mod load;
mod operator;
#[path = "../admin/proxy.rs"]
#[allow(dead_code, reason = "shared with the tests of the admin API, which use more of it")]
mod proxy;
mod shop;
mod world;
