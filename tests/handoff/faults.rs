//! Versions, keepers and volumes with something wrong about them.

use rustix::process::Signal;

use crate::load::{Load, nothing_was_lost, order_in_flight};
use crate::shop::{Shop, tell};
use crate::world::{World, until};

/// After whatever has happened: the next deploy works, and nothing was lost but what was said to be.
#[track_caller]
pub(crate) fn the_next_deploy_works(world: &World) {
    let next = Shop::version(9).start(world);
    world.deploy(&next, &[]).succeeds();
    world.serves(&next);
}

#[test]
fn a_version_that_exits_0_while_booting_has_failed() {
    let (world, live) = World::with_shop();
    let load = Load::start(&world, 4);
    let bad = Shop::version(2).after("exit 0").start(&world);
    let said = world.deploy(&bad, &[]);
    assert!(said.code == 1 && said.err.contains("the new app exited: status 0"), "{said:?}");
    world.serves(&live);
    load.goes_on();
    nothing_was_lost(&world, &load.end());
    the_next_deploy_works(&world);
}

#[test]
fn a_version_on_the_wrong_port_is_told_what_the_probe_met() {
    let (world, live) = World::with_shop();
    let load = Load::start(&world, 4);
    let bad = Shop::version(2).on_the_wrong_port().start(&world);
    let said = world.deploy(&bad, &["--deploy-timeout=1s"]);
    said.fails("target failed to become healthy within configured timeout (1s)");
    assert!(said.err.contains(&format!("dial tcp {}", bad.target)), "{said:?}");
    world.serves(&live);
    load.goes_on();
    nothing_was_lost(&world, &load.end());
    the_next_deploy_works(&world);
}

#[test]
fn a_target_that_is_neither_healthy_nor_kept_is_told_about_both() {
    let (world, live) = World::with_shop();
    let said = world.home.lockgate(&["deploy", "shop", "--target=127.0.0.1:9", "--deploy-timeout=1500ms"]);
    said.fails("target failed to become healthy within configured timeout (1.5s)");
    assert!(said.err.contains("dial tcp 127.0.0.1:9") && said.err.contains("127.0.0.1:8647"), "{said:?}");
    world.serves(&live);
    the_next_deploy_works(&world);
}

#[test]
fn a_named_keeper_that_does_not_answer_fails_the_deploy_before_anything_is_touched() {
    let (world, live) = World::with_shop();
    let mut lost = Shop::version(2).start(&world);
    lost.lose_keeper();
    let said = world.deploy(&lost, &[]);
    assert!(said.code == 1 && said.err.contains(&lost.control), "{said:?}");
    world.serves(&live);
    the_next_deploy_works(&world);
}

#[test]
fn a_lock_file_that_was_replaced_is_refused_before_the_hold() {
    let (world, live) = World::with_shop();
    let next = Shop::version(2).start(&world);
    let lease = world.home.path().join("shop.db.lockgate");
    // Somebody has put another file in the place of the lock: two keepers could both lock.
    std::fs::rename(lease.join("lease"), lease.join("lease.old")).unwrap();
    std::fs::copy(lease.join("lease.old"), lease.join("lease")).unwrap();
    let said = world.deploy(&next, &[]);
    assert!(said.code == 1 && said.err.contains("keeper refused"), "{said:?}");
    assert!(said.err.contains("the old app serves on"), "{said:?}");
    assert!(!world.record()["phases"].to_string().contains("hold"));
    world.serves(&live);
    std::fs::rename(lease.join("lease.old"), lease.join("lease")).unwrap();
    the_next_deploy_works(&world);
}

#[test]
fn a_second_service_on_the_same_database_is_refused_and_told_whose_it_is() {
    let (world, live) = World::with_shop();
    let other = Shop::version(2).keep("--service=other").start(&world);
    let target = format!("--target={}", other.target);
    let keeper = format!("--keeper={}", other.control);
    let said = world.home.lockgate(&["deploy", "other", "--host=other.test", &target, &keeper]);
    assert!(said.code == 1 && said.err.contains("this lease belongs to the service shop, not other"), "{said:?}");
    world.serves(&live);
    the_next_deploy_works(&world);
}

#[test]
fn a_keeper_of_another_service_is_named() {
    let (world, _live) = World::with_shop();
    let next = Shop::version(2).start(&world);
    let target = format!("--target={}", next.target);
    let keeper = format!("--keeper={}", next.control);
    let said = world.home.lockgate(&["deploy", "other", "--host=other.test", &target, &keeper]);
    said.fails("the target's keeper serves shop, not other");
}

#[test]
fn an_unhealthy_holder_that_is_followed_does_not_keep_the_next_deploy_waiting() {
    let (mut world, live) = World::with_shop();
    drop(live);
    let sick = Shop::version(2).plan("never-healthy").keep("--defer=0s").start(&world);
    sick.says("holds the lease, epoch 2, confirmed");
    std::fs::write(
        world.home.path().join(".config/kamal-proxy/kamal-proxy.state"),
        world.state().replace(&world.keeper(), &sick.control),
    )
    .unwrap();
    world.crash();
    until("it is followed", || world.status()["phase"] == "preflight");
    let began = std::time::Instant::now();
    let next = Shop::version(3).start(&world);
    world.deploy(&next, &["--on-busy=fail"]).succeeds();
    assert!(began.elapsed() < std::time::Duration::from_secs(15));
    world.serves(&next);
}

#[test]
fn keepers_that_want_a_token_are_given_it() {
    let mut world = World::new();
    let token = world.home.path().join("token");
    std::fs::write(&token, "a word\n").unwrap();
    let option = format!("--token-file={}", token.display());
    let live = Shop::version(1).keep(&option).start(&world);
    live.says("holds the lease");
    world.deploy(&live, &[]).succeeds();
    let next = Shop::version(2).keep(&option).start(&world);
    let said = world.deploy(&next, &[]);
    assert!(said.code == 1 && said.err.contains("this keeper wants its token"), "{said:?}");
    world.crash_and_set("LOCKGATE_KEEPER_TOKEN_FILE", &token.display().to_string());
    world.serves(&live);
    world.deploy(&next, &[]).succeeds();
}

#[test]
fn a_frozen_holder_fails_the_deploy_and_serves_again_when_it_thaws() {
    let (world, live) = World::with_shop();
    let next = Shop::version(2).start(&world);
    live.signal(Signal::STOP);
    let said = world.deploy(&next, &[]);
    live.signal(Signal::CONT);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("the old app serves on"), "{said:?}");
    world.serves(&live);
    the_next_deploy_works(&world);
}

#[test]
fn a_successor_that_is_lost_before_its_take_gives_way() {
    let (world, live) = World::with_shop();
    let load = Load::start(&world, 4);
    let mut next = Shop::version(2).start(&world);
    let slow = order_in_flight(&world, 2000);
    let mut deploy = world.begin_deploy(&next, &[]);
    assert!(deploy.reaches("drain"));
    next.lose_keeper();
    let (code, said) = deploy.end();
    assert_eq!(code, 1, "{said}");
    world.serves(&live);
    assert_eq!(slow.join().unwrap(), 201);
    load.goes_on();
    let orders = load.end();
    assert!(orders.iter().all(|order| order.status == 201), "{orders:?}");
    the_next_deploy_works(&world);
}

#[test]
fn a_successor_that_is_lost_while_the_old_app_stops_leaves_the_old_one_live() {
    let (world, live) = World::with_shop();
    let stubborn = Shop::version(2).stubborn().keep("--grace=1s").start(&world);
    world.deploy(&stubborn, &[]).succeeds();
    drop(live);
    let mut next = Shop::version(3).start(&world);
    let mut deploy = world.begin_deploy(&next, &[]);
    assert!(deploy.reaches("yield"));
    stubborn.says("yields: stopping the app");
    next.lose_keeper();
    let (code, said) = deploy.end();
    assert!(code == 1 && said.contains("the conversation with the new app's keeper broke"), "{said}");
    world.serves(&stubborn);
    the_next_deploy_works(&world);
}

#[test]
fn an_old_app_is_given_its_own_keepers_grace_however_short_the_new_ones_is() {
    let (world, live) = World::with_shop();
    let stubborn = Shop::version(2).stubborn().keep("--grace=4s").start(&world);
    world.deploy(&stubborn, &[]).succeeds();
    drop(live);
    let next = Shop::version(3).keep("--grace=1s").start(&world);
    world.deploy(&next, &[]).succeeds();
    world.serves(&next);
}

#[test]
fn a_keeper_killed_while_its_app_boots_leaves_heirs_who_keep_the_lease_until_they_go() {
    let (world, live) = World::with_shop();
    let mut next = Shop::version(2).after("exec sleep 60").start(&world);
    let mut deploy = world.begin_deploy(&next, &[]);
    assert!(deploy.reaches("boot"));
    let heirs = next.lose_keeper();
    assert!(!heirs.is_empty());
    let load = Load::start(&world, 2);
    until("requests are held", || world.status()["held"] == 2);
    heirs.into_iter().for_each(|pid| tell(pid, Signal::KILL));
    let (code, said) = deploy.end();
    assert_eq!(code, 1, "{said}");
    world.serves(&live);
    load.goes_on();
    nothing_was_lost(&world, &load.end());
    the_next_deploy_works(&world);
}
