//! Keepers that are killed outright outside a container: their apps live on.

use rustix::process::Signal;

use crate::load::{Load, nothing_was_lost, slow_order};
use crate::shop::{Shop, tell};
use crate::world::{World, until};

fn end(app: Vec<i32>) {
    app.into_iter().for_each(|pid| tell(pid, Signal::KILL));
}

/// Requests still go to this app, whose keeper is gone, and nobody is held.
#[track_caller]
fn serves_on(world: &World, shop: &Shop) {
    world.serves(shop);
    assert_eq!(slow_order(world, "after", 0).join().unwrap(), 201);
}

#[test]
fn a_deploy_beside_an_app_whose_keeper_was_killed_is_refused_before_the_hold_and_names_the_app() {
    let (world, mut live) = World::with_shop();
    let app = live.lose_keeper();
    let next = Shop::version(2).start(&world);
    let said = world.deploy(&next, &[]);
    assert!(said.code == 1 && said.err.contains("the app before is still alive"), "{said:?}");
    assert!(said.err.contains(&app[0].to_string()) && said.err.contains("end that process"), "{said:?}");
    assert!(said.err.contains("nothing was changed, the old app serves on"), "{said:?}");
    assert!(!world.record()["phases"].to_string().contains("hold"));
    serves_on(&world, &live);
    end(app);
    next.says("holds the lease");
    world.deploy(&next, &[]).succeeds();
    world.serves(&next);
}

#[test]
fn an_app_whose_keeper_is_killed_in_the_drain_serves_on() {
    let (world, mut live) = World::with_shop();
    let slow = slow_order(&world, "slow", 2500);
    until("it is in flight", || world.status()["in_flight"] == 1);
    let next = Shop::version(2).start(&world);
    let mut deploy = world.begin_deploy(&next, &["--drain-timeout=2s"]);
    assert!(deploy.reaches("drain"));
    let held = slow_order(&world, "held", 0);
    until("it is held", || world.status()["held"] == 1);
    let app = live.lose_keeper();
    let (code, said) = deploy.end();
    assert!(code == 1 && said.contains("the conversation with the old app's keeper broke"), "{said}");
    assert!(said.contains("the old app serves on"), "{said}");
    assert_eq!((slow.join().unwrap(), held.join().unwrap()), (201, 201));
    serves_on(&world, &live);
    end(app);
}

#[test]
fn an_app_whose_keeper_is_killed_before_it_reads_the_yield_serves_on() {
    let (world, mut live) = World::with_shop();
    let slow = slow_order(&world, "slow", 2500);
    until("it is in flight", || world.status()["in_flight"] == 1);
    let next = Shop::version(2).start(&world);
    let mut deploy = world.begin_deploy(&next, &[]);
    assert!(deploy.reaches("drain"));
    live.signal(Signal::STOP);
    assert!(deploy.reaches("yield"));
    let app = live.lose_keeper();
    let (code, said) = deploy.end();
    assert!(code == 1 && said.contains("the app before is still alive"), "{said}");
    assert!(said.contains(&app[0].to_string()) && said.contains("the old app serves on"), "{said}");
    assert_eq!(slow.join().unwrap(), 201);
    serves_on(&world, &live);
    end(app);
}

#[test]
fn an_unconfirmed_app_whose_keeper_is_killed_keeps_the_gate_closed_until_it_is_gone() {
    let (world, live) = World::with_shop();
    let mut next = Shop::version(2).after("exec sleep 60").start(&world);
    let mut deploy = world.begin_deploy(&next, &["--max-hold=3s"]);
    assert!(deploy.reaches("boot"));
    let app = next.lose_keeper();
    let (code, said) = deploy.end();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("could not be brought back") && said.contains(&app[0].to_string()), "{said}");
    assert_eq!(world.status()["closed"], serde_json::json!(["unavailable"]));
    end(app);
    world.serves(&live);
    let load = Load::start(&world, 2);
    load.goes_on();
    nothing_was_lost(&world, &load.end());
}

#[test]
fn a_keeper_that_takes_the_lease_of_an_app_that_was_ended_by_hand_is_followed() {
    let (world, mut live) = World::with_shop();
    let next = Shop::version(2).keep("--defer=100ms").start(&world);
    let app = live.lose_keeper();
    let said = world.deploy(&next, &[]);
    assert_eq!(said.code, 1, "{said:?}");
    end(app);
    next.says("holds the lease");
    world.serves(&next);
}
