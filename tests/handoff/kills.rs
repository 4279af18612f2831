//! The proxy dies in every phase; another one follows what the keepers say.

use crate::load::{Load, keys_in};
use crate::shop::{Shop, Version};
use crate::world::{Deploying, World, until};

/// The proxy dies at a moment of a deploy under load. Whatever the moment: another one opens the gate on the one app that
/// is live, nothing acknowledged is lost, and the next deploy works.
#[track_caller]
fn dies(world: World, live: &Shop, next: Version, moment: &str, reached: impl FnOnce(&World, &mut Deploying)) {
    let mut world = world;
    let load = Load::start(&world, 4);
    load.goes_on();
    let next = next.start(&world);
    let mut deploy = world.begin_deploy(&next, &[]);
    reached(&world, &mut deploy);
    world.crash();
    let acknowledged: Vec<_> = load.end().into_iter().filter(|order| order.status == 201).collect();
    until(&format!("the gate is open again after a death in {moment}"), || world.is_open());
    let target = world.status()["targets"][0].clone();
    assert!(target == live.target.as_str() || target == next.target.as_str(), "{moment}: {target}");
    let live_apps = [live, &next].iter().filter(|shop| !shop.app().is_empty()).count();
    assert_eq!(live_apps, 1, "{moment}: not one is live");
    let kept = keys_in(&world);
    let lost: Vec<_> = acknowledged.iter().filter(|order| !kept.contains(&order.key)).collect();
    assert!(lost.is_empty(), "{moment}: lost {lost:?}");
    let last = Shop::version(3).start(&world);
    world.deploy(&last, &[]).succeeds();
}

#[test]
fn a_proxy_killed_in_any_phase_follows_when_it_is_back() {
    let phases = ["preflight", "settle", "hold", "drain", "yield", "acquire", "boot", "probe", "confirm", "flip"];
    for phase in phases.into_iter().chain(["release"]) {
        let (world, live) = World::with_shop();
        let next = Shop::version(2).after("sleep 0.2");
        dies(world, &live, next, phase, |_, deploy| assert!(deploy.reaches(phase), "{phase} is never reached"));
    }
}

#[test]
fn a_proxy_killed_while_the_snapshot_is_taken_follows_when_it_is_back() {
    let (world, live) = World::with_shop();
    let database = rusqlite::Connection::open(world.database()).unwrap();
    database.execute_batch("CREATE TABLE large (x); INSERT INTO large VALUES (zeroblob(100000000))").unwrap();
    drop(database);
    let snapshot = world.lease().join("snapshots/2");
    dies(world, &live, Shop::version(2), "snapshot", |_, _| until("it is begun", || snapshot.exists()));
    assert!(!snapshot.exists() || snapshot.join("manifest.json").exists(), "half a snapshot is left");
}

#[test]
fn a_proxy_killed_in_a_rollback_follows_when_it_is_back() {
    let (world, live) = World::with_shop();
    let bad = Shop::version(2).plan("spoils-data");
    dies(world, &live, bad, "rollback", |_, deploy| assert!(deploy.reaches("rollback"), "it is never reached"));
}

#[test]
fn a_proxy_without_its_state_learns_from_the_standby_who_is_live() {
    let (mut world, live) = World::with_shop();
    std::fs::remove_file(world.home.path().join(".config/kamal-proxy/kamal-proxy.state")).unwrap();
    world.crash();
    assert!(world.status().is_null());
    let next = Shop::version(2).start(&world);
    let said = world.deploy(&next, &[]);
    said.succeeds();
    assert!(said.err.contains("never deployed here, its address is not known"), "{said:?}");
    assert_eq!(world.record()["kind"], "exclusive");
    assert!(live.app().is_empty());
    world.serves(&next);
}

#[test]
fn a_proxy_without_its_state_does_not_take_a_bad_version_for_the_old_one() {
    let (mut world, live) = World::with_shop();
    std::fs::remove_file(world.home.path().join(".config/kamal-proxy/kamal-proxy.state")).unwrap();
    world.crash();
    let bad = Shop::version(2).plan("never-healthy").start(&world);
    let said = world.deploy(&bad, &["--deploy-timeout=1s"]);
    assert!(said.code == 1 && said.err.contains("could not be brought back: the app whose keeper is at"), "{said:?}");
    world.deploy(&live, &[]).succeeds();
    world.serves(&live);
}

#[test]
fn a_proxy_that_was_down_while_the_lease_moved_goes_where_it_went() {
    let (mut world, live) = World::with_shop();
    let next = Shop::version(1).start(&world);
    let said = world.deploy(&next, &[]);
    said.succeeds();
    // Back to the one before, which a person does by stopping the live container.
    drop(next);
    world.crash();
    world.serves(&live);
}
