//! The world that tests run in: an app, a proxy and its clients, on ports of their own, gone when they are dropped.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test binary uses its part")]

pub mod app;
pub mod client;
pub mod home;
pub mod proxy;

use std::time::{Duration, Instant};

pub use app::{App, Seen, Then, Turn, app};
pub use client::Client;
pub use home::{Home, KAMAL_PROXY, LOCKGATE, Said};
pub use proxy::Proxy;

/// Nothing that a test waits for takes longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A proxy with one service `shop` for all hosts, on a fresh app with this script.
pub fn shop(script: impl Fn(&mut Turn) -> Then + Send + Sync + 'static) -> (Proxy, App) {
    shop_with(&[], script)
}

/// As [`shop`], with more flags for `deploy`.
pub fn shop_with(flags: &[&str], script: impl Fn(&mut Turn) -> Then + Send + Sync + 'static) -> (Proxy, App) {
    let (proxy, app) = (Proxy::start(), App::start(script));
    proxy.deploy("shop", &app, flags);
    (proxy, app)
}
