//! A volume that cannot be written, is full, is gone, or remembers nothing any more.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use crate::faults::the_next_deploy_works;
use crate::load::{Load, nothing_was_lost};
use crate::shop::Shop;
use crate::world::World;

/// A deploy that is refused with these words while nobody is held.
#[track_caller]
fn is_refused_before_the_hold(world: &World, next: &Shop, words: &str) {
    let said = world.deploy(next, &[]);
    assert!(said.code == 1 && said.err.contains(words), "{said:?}");
    assert!(said.err.contains("the old app serves on"), "{said:?}");
    let record = world.record();
    assert!(!record["phases"].to_string().contains("hold"), "{record}");
}

#[test]
fn a_read_only_lease_directory_is_refused_before_the_hold() {
    let Some((world, live)) = World::with_shop_on_a_small_disk() else { return };
    let load = Load::start(&world, 2);
    let view = world.disk().again();
    let next = Shop::version(2).volume(view.path()).start(&world);
    view.make("ro");
    is_refused_before_the_hold(&world, &next, "Read-only file system");
    world.serves(&live);
    load.goes_on();
    nothing_was_lost(&world, &load.end());
    the_next_deploy_works(&world);
}

#[test]
fn a_lease_directory_that_is_gone_is_refused_before_the_hold() {
    let (world, live) = World::with_shop();
    let load = Load::start(&world, 2);
    let next = Shop::version(2).start(&world);
    let away = world.home.path().join("away");
    std::fs::rename(world.lease(), &away).unwrap();
    is_refused_before_the_hold(&world, &next, "No such file or directory");
    world.serves(&live);
    load.goes_on();
    std::fs::rename(away, world.lease()).unwrap();
    nothing_was_lost(&world, &load.end());
    the_next_deploy_works(&world);
}

#[test]
fn a_version_on_another_volume_is_refused_though_it_holds_a_lease_there() {
    let (world, live) = World::with_shop();
    let elsewhere = world.home.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let next = Shop::version(2).volume(&elsewhere).start(&world);
    next.says("holds the lease, epoch 1");
    is_refused_before_the_hold(&world, &next, "is the same volume mounted in both?");
    world.serves(&live);
    world.deploy(&next, &["--handoff=overlap"]).succeeds();
    world.serves(&next);
}

#[test]
fn a_full_disk_is_refused_before_the_hold() {
    let Some((world, live)) = World::with_shop_on_a_small_disk() else { return };
    let next = Shop::version(2).start(&world);
    world.disk().fill();
    is_refused_before_the_hold(&world, &next, "no snapshot can be taken, and --snapshot=always");
    world.serves(&live);
    world.disk().empty();
    the_next_deploy_works(&world);
}

#[test]
fn a_record_that_is_corrupt_in_both_slots_stops_no_deploy() {
    let (mut world, live) = World::with_shop();
    let record = OpenOptions::new().write(true).open(world.lease().join("lease")).unwrap();
    for slot in 0..2 {
        record.write_all_at(b"####", slot * 4096 + 100).unwrap();
    }
    world.crash();
    world.serves(&live);
    let load = Load::start(&world, 2);
    let next = Shop::version(2).start(&world);
    let said = world.deploy(&next, &[]);
    assert!(said.code == 0 && said.err.contains("the lease's record is corrupt in both slots"), "{said:?}");
    world.serves(&next);
    load.goes_on();
    nothing_was_lost(&world, &load.end());
    the_next_deploy_works(&world);
}

#[test]
fn a_console_that_has_the_database_open_costs_the_deploy_and_no_request() {
    let (world, live) = World::with_shop();
    let load = Load::start(&world, 4);
    load.goes_on();
    let console = File::open(world.database()).unwrap();
    let next = Shop::version(2).start(&world);
    let said = world.deploy(&next, &[]);
    assert!(said.code == 1 && said.err.contains("shop.db is open in"), "{said:?}");
    world.serves(&live);
    load.goes_on();
    drop(console);
    nothing_was_lost(&world, &load.end());
    the_next_deploy_works(&world);
}
