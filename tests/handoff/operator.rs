//! What operators do to a handoff: abort, cut, remove, stop, signals.

use rustix::process::Signal;

use crate::load::{keys_in, slow_order};
use crate::shop::Shop;
use crate::world::{World, until};

fn in_flight(world: &World) {
    until("it is in flight", || world.status()["in_flight"] == 1);
}

#[test]
fn an_order_that_outlasts_the_drain_gives_the_handoff_up_and_is_named() {
    let (world, live) = World::with_shop();
    let slow = slow_order(&world, "slow", 4000);
    in_flight(&world);
    let next = Shop::version(2).start(&world);
    let mut deploy = world.begin_deploy(&next, &["--drain-timeout=1s"]);
    assert!(deploy.reaches("drain"));
    let held = slow_order(&world, "held", 0);
    let (code, said) = deploy.end();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("POST /orders") && said.contains("the old app serves on"), "{said}");
    assert_eq!((slow.join().unwrap(), held.join().unwrap()), (201, 201));
    world.serves(&live);
}

#[test]
fn an_order_that_outlasts_a_drain_that_cuts_is_still_answered_in_the_apps_grace() {
    let (world, _live) = World::with_shop();
    let slow = slow_order(&world, "slow", 3000);
    in_flight(&world);
    let next = Shop::version(2).start(&world);
    world.deploy(&next, &["--drain-timeout=500ms", "--on-drain-timeout=cut"]).succeeds();
    assert_eq!(slow.join().unwrap(), 201);
    assert!(keys_in(&world).contains("slow"));
    world.serves(&next);
}

#[test]
fn an_abort_before_yield_changes_nothing() {
    let (world, live) = World::with_shop();
    let slow = slow_order(&world, "slow", 3000);
    in_flight(&world);
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
    let (world, _live) = World::with_shop();
    let slow = slow_order(&world, "slow", 7000);
    in_flight(&world);
    let next = Shop::version(2).start(&world);
    let mut deploy = world.begin_deploy(&next, &["--drain-timeout=3s"]);
    assert!(deploy.reaches("drain"));
    let held = slow_order(&world, "held", 0);
    until("it is held", || world.status()["held"] == 1);
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
    let held = slow_order(&world, "held", 0);
    until("it is held", || world.status()["held"] == 1);
    world.home.lockgate(&["resume", "shop"]).succeeds();
    assert_eq!(held.join().unwrap(), 201);
}

#[test]
fn a_proxy_told_to_stop_answers_who_is_held_and_gives_up_what_has_not_yielded() {
    let (world, _live) = World::with_shop();
    let slow = slow_order(&world, "slow", 8000);
    in_flight(&world);
    let next = Shop::version(2).start(&world);
    let mut deploy = world.begin_deploy(&next, &["--drain-timeout=3s"]);
    assert!(deploy.reaches("drain"));
    let held = slow_order(&world, "held", 0);
    until("it is held", || world.status()["held"] == 1);
    world.proxy.signal(Signal::TERM);
    assert_eq!(held.join().unwrap(), 503);
    assert_eq!(slow.join().unwrap(), 201);
    let (code, said) = deploy.end();
    assert_eq!(code, 1, "{said}");
    assert_eq!(world.proxy.exit_code(), 0);
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
