//! Apps that do not stop, do not start, or leave others behind.

use crate::faults::the_next_deploy_works;
use crate::load::{Load, nothing_was_lost};
use crate::shop::Shop;
use crate::world::{World, until};

#[test]
fn an_app_that_ignores_sigterm_is_killed_after_its_grace_and_nobody_is_turned_away() {
    let (world, _live) = World::with_shop();
    let deaf = Shop::version(2).stubborn().keep("--grace=300ms").start(&world);
    world.deploy(&deaf, &[]).succeeds();
    let load = Load::start(&world, 4);
    load.goes_on();
    let next = Shop::version(3).start(&world);
    world.deploy(&next, &[]).succeeds();
    deaf.says("the app has not stopped in its grace: killing it");
    assert!(deaf.app().is_empty());
    load.goes_on();
    nothing_was_lost(&world, &load.end());
    the_next_deploy_works(&world);
}

#[test]
fn a_daemon_that_dropped_the_lock_and_has_the_database_open_ends_with_its_app() {
    let (world, _live) = World::with_shop();
    // Of another session, deaf to all but SIGKILL. (Only bash closes descriptors of more than one digit.)
    let daemon = r#"trap "" TERM HUP; for n in $(ls /proc/$$/fd); do [ $n -lt 900 ] || eval "exec $n>&-"; done"#;
    let forks = format!("(setsid bash -c '{daemon}; exec sleep 999 < {}' &)", world.database().display());
    let forking = Shop::version(2).after(&forks).start(&world);
    world.deploy(&forking, &[]).succeeds();
    let named = |pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    until("the daemon has the database open", || forking.app().into_iter().any(|pid| named(pid) == "sleep\n"));
    let load = Load::start(&world, 4);
    load.goes_on();
    let next = Shop::version(3).start(&world);
    world.deploy(&next, &[]).succeeds();
    assert!(forking.says("processes outlived the app, killed: ").contains("(sleep)"));
    assert!(forking.app().is_empty());
    load.goes_on();
    nothing_was_lost(&world, &load.end());
    the_next_deploy_works(&world);
}

#[test]
fn a_version_that_listens_too_late_has_failed_and_who_is_held_is_answered_by_the_old_one() {
    let (world, live) = World::with_shop();
    let load = Load::start(&world, 4);
    load.goes_on();
    let late = Shop::version(2).after("sleep 60").start(&world);
    let said = world.deploy(&late, &["--deploy-timeout=1s"]);
    said.fails("target failed to become healthy within configured timeout (1s)");
    assert!(said.err.contains("brought back"), "{said:?}");
    world.serves(&live);
    load.goes_on();
    nothing_was_lost(&world, &load.end());
    the_next_deploy_works(&world);
}
