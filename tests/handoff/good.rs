//! Deploys that go well, and bad versions that cost nobody anything.

use crate::load::{Load, keys_in, nothing_was_lost, order_in_flight};
use crate::shop::Shop;
use crate::world::World;

#[test]
fn deploys_under_load_lose_nothing_and_never_have_two_live() {
    let (world, mut live) = World::with_shop();
    let load = Load::start(&world, 8);
    for number in 2..=4 {
        load.goes_on();
        let next = Shop::version(number).start(&world);
        world.deploy(&next, &[]).succeeds();
        assert!(live.app().is_empty(), "the old app lives on");
        let record = world.record();
        assert_eq!((record["kind"].as_str(), record["outcome"].as_str()), (Some("exclusive"), Some("done")));
        live = next;
    }
    load.goes_on();
    nothing_was_lost(&world, &load.end());
    assert!(world.record()["held_total"].as_u64().unwrap() > 0);
}

#[test]
fn bad_versions_are_rolled_back_and_cost_nobody_anything() {
    let (world, live) = World::with_shop();
    let load = Load::start(&world, 8);
    for (plan, why) in [
        ("exits-booting", "this version does not boot"),
        ("spoils-data", "the migration failed half way"),
        ("never-healthy", "unexpected status (500)"),
    ] {
        load.goes_on();
        let bad = Shop::version(2).plan(plan).start(&world);
        let said = world.deploy(&bad, &[]);
        said.fails("target failed to become healthy within configured timeout (30s)");
        assert!(said.err.contains(why) && said.err.contains("brought back"), "{said:?}");
        let record = world.record();
        assert_eq!(record["outcome"], "rolled back");
        assert!(record["restored"].is_u64() && record["phases"].to_string().contains("rollback"), "{record}");
        world.serves(&live);
    }
    load.goes_on();
    nothing_was_lost(&world, &load.end());
}

#[test]
fn a_slow_order_ends_with_the_old_version_before_the_new_one_starts() {
    let (world, _live) = World::with_shop();
    let slow = order_in_flight(&world, 1500);
    let next = Shop::version(2).start(&world);
    world.deploy(&next, &[]).succeeds();
    assert_eq!(slow.join().unwrap(), 201);
    assert!(keys_in(&world).contains("slow"));
    assert_eq!(world.record()["cut"], 0);
}

#[test]
fn a_version_that_listens_late_costs_only_its_own_boot() {
    let (world, _live) = World::with_shop();
    let load = Load::start(&world, 4);
    load.goes_on();
    let late = Shop::version(2).after("sleep 1").start(&world);
    world.deploy(&late, &[]).succeeds();
    load.goes_on();
    nothing_was_lost(&world, &load.end());
}
