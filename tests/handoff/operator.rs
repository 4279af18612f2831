//! What operators do to a handoff: abort, cut, remove, stop, signals.

use std::thread::JoinHandle;

use rustix::process::Signal;

use crate::load::{held_order, keys_in, order_in_flight};
use crate::shop::Shop;
use crate::world::{Deploying, World, until};

/// A deploy whose drain waits 3 s for an order of 8 s, while another order is held.
struct Draining {
    world: World,
    live: Shop,
    next: Shop,
    deploy: Deploying,
    slow: JoinHandle<u16>,
    held: JoinHandle<u16>,
}

impl Draining {
    #[track_caller]
    fn start() -> Self {
        let (world, live) = World::with_shop();
        let slow = order_in_flight(&world, 8000);
        let next = Shop::version(2).start(&world);
        let mut deploy = world.begin_deploy(&next, &["--drain-timeout=3s"]);
        assert!(deploy.reaches("drain"));
        let held = held_order(&world);
        Self { world, live, next, deploy, slow, held }
    }
}

#[test]
fn an_order_that_outlasts_the_drain_gives_the_handoff_up_and_is_named() {
    let Draining { world, live, next: _next, deploy, slow, held } = Draining::start();
    let (code, said) = deploy.end();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("POST /orders") && said.contains("the old app serves on"), "{said}");
    assert_eq!((slow.join().unwrap(), held.join().unwrap()), (201, 201));
    world.serves(&live);
}

#[test]
fn an_order_that_outlasts_a_drain_that_cuts_is_still_answered_in_the_apps_grace() {
    let (world, _live) = World::with_shop();
    let slow = order_in_flight(&world, 3000);
    let next = Shop::version(2).start(&world);
    world.deploy(&next, &["--drain-timeout=500ms", "--on-drain-timeout=cut"]).succeeds();
    assert_eq!(slow.join().unwrap(), 201);
    assert!(keys_in(&world).contains("slow"));
    world.serves(&next);
}

#[test]
fn an_abort_before_yield_changes_nothing() {
    let (world, live) = World::with_shop();
    let slow = order_in_flight(&world, 3000);
    let next = Shop::version(2).start(&world);
    let mut deploy = world.begin_deploy(&next, &[]);
    assert!(deploy.reaches("settle"));
    let said = world.home.lockgate(&["abort", "shop"]);
    assert_eq!(said.code, 0, "{said:?}");
    let (code, said) = deploy.end();
    assert!(code == 1 && said.contains("aborted"), "{said}");
    assert_eq!(slow.join().unwrap(), 201);
    world.serves(&live);
    world.deploy(&next, &[]).succeeds();
}

#[test]
fn a_service_removed_while_it_holds_answers_who_is_held_and_stays_removed() {
    let Draining { world, live: _live, next, deploy, slow, held } = Draining::start();
    world.home.lockgate(&["remove", "shop"]).succeeds();
    assert_ne!(held.join().unwrap(), 201);
    let (code, said) = deploy.end();
    assert!(code == 1 && said.contains("the service was removed during its deploy"), "{said}");
    assert_eq!(slow.join().unwrap(), 201);
    assert!(world.status().is_null());
    // The old app is live still: its keeper holds, whatever the proxy knows.
    assert_eq!(world.deploy(&next, &[]).code, 0);
}

#[test]
fn a_pause_outlasts_the_handoff_that_it_fell_into() {
    let (world, _live) = World::with_shop();
    let next = Shop::version(2).after("sleep 0.5").start(&world);
    let mut deploy = world.begin_deploy(&next, &[]);
    assert!(deploy.reaches("boot"));
    world.home.lockgate(&["pause", "shop"]).succeeds();
    let (code, said) = deploy.end();
    assert!(code == 0 && said.contains("Warning: the service stays paused"), "{said}");
    assert_eq!(world.status()["closed"], serde_json::json!(["paused"]));
    let held = held_order(&world);
    world.home.lockgate(&["resume", "shop"]).succeeds();
    assert_eq!(held.join().unwrap(), 201);
}

#[test]
fn a_proxy_told_to_stop_answers_who_is_held_and_gives_up_what_has_not_yielded() {
    let Draining { mut world, live: _live, next, deploy, slow, held } = Draining::start();
    world.proxy.signal(Signal::TERM);
    assert_eq!(held.join().unwrap(), 503);
    assert_eq!(slow.join().unwrap(), 201);
    let (code, said) = deploy.end();
    assert_eq!(code, 1, "{said}");
    assert_eq!(world.proxy.wait(), 0);
    assert!(next.app().is_empty());
}

#[test]
fn a_proxy_told_to_stop_past_yield_drives_the_handoff_to_its_end() {
    let (mut world, live) = World::with_shop();
    let next = Shop::version(2).after("sleep 1").start(&world);
    let mut deploy = world.begin_deploy(&next, &[]);
    assert!(deploy.reaches("boot"));
    world.proxy.signal(Signal::TERM);
    let (_, said) = deploy.end();
    until("it has ended", || !std::path::Path::new(&format!("/proc/{}/cwd", world.proxy.pid())).exists());
    world.crash();
    world.serves(&next);
    assert!(live.app().is_empty(), "{said}");
}
