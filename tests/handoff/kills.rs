//! The proxy dies in every phase; another one follows what the keepers say.

use crate::load::{Load, keys_in};
use crate::shop::Shop;
use crate::world::World;

#[test]
fn a_proxy_killed_in_any_phase_follows_when_it_is_back() {
    for phase in ["preflight", "settle", "drain", "yield", "acquire", "boot", "confirm", "flip", "release"] {
        let (mut world, live) = World::with_shop();
        let load = Load::start(&world, 4);
        load.goes_on();
        let next = Shop::version(2).after("sleep 0.2").start(&world);
        let mut deploy = world.begin_deploy(&next, &[]);
        assert!(deploy.reaches(phase), "{phase} is never reached");
        world.crash();
        let acknowledged: Vec<_> = load.end().into_iter().filter(|order| order.status == 201).collect();
        crate::world::until(&format!("the gate is open again after a death in {phase}"), || world.is_open());
        let target = world.status()["targets"][0].clone();
        assert!(target == live.target.as_str() || target == next.target.as_str(), "{phase}: {target}");
        let live_apps = [&live, &next].iter().filter(|shop| !shop.app().is_empty()).count();
        assert_eq!(live_apps, 1, "{phase}: not one is live");
        let kept = keys_in(&world);
        let lost: Vec<_> = acknowledged.iter().filter(|order| !kept.contains(&order.key)).collect();
        assert!(lost.is_empty(), "{phase}: lost {lost:?}");
        let last = Shop::version(3).start(&world);
        world.deploy(&last, &[]).succeeds();
    }
}

#[test]
fn a_proxy_without_its_state_learns_from_the_standby_who_is_live() {
    let (mut world, live) = World::with_shop();
    std::fs::remove_file(world.home.path().join(".config/kamal-proxy/kamal-proxy.state")).unwrap();
    world.crash();
    assert!(world.status().is_null());
    let next = Shop::version(2).start(&world);
    world.deploy(&next, &[]).succeeds();
    assert_eq!(world.record()["kind"], "exclusive");
    assert!(live.app().is_empty());
    world.serves(&next);
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
