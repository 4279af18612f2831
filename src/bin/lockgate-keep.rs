//! The keeper alone: small enough to live in every app's container.
//!
//! It takes its modules by path, so that the proxy is not linked a second time; what of them it does not use is not in
//! the binary.
#![allow(dead_code, unused_imports, reason = "these modules serve the proxy too")]
#![allow(unreachable_pub, reason = "they are public in the library")]

#[path = "../child/mod.rs"]
mod child;
#[path = "../clock.rs"]
mod clock;
#[path = "../keeper/mod.rs"]
mod keeper;
#[path = "../lease/mod.rs"]
mod lease;
#[path = "../snapshot/mod.rs"]
mod snapshot;
#[path = "../spec/mod.rs"]
mod spec;
#[path = "../wire.rs"]
mod wire;

fn main() -> std::process::ExitCode {
    keeper::main(std::env::args_os().skip(1))
}
