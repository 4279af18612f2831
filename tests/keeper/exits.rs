use lockgate::wire::{Role, Saying, Verb};

use super::world::{hand_over, is_alive, until};
use super::{Home, Pair};

#[test]
fn an_app_that_exits_on_probation_frees_the_lease_and_its_last_lines_are_told() {
    for code in [0, 3] {
        let home = Home::new();
        let before = home.bytes();
        let app = &format!("echo boot >&2; echo no such column >&2; exit {code}");
        let Pair { old: _old, new, mut from, mut to } = Pair::of(home.keeper(), home.keeper().app(app));
        hand_over(&mut from, &mut to);
        let lines = vec!["boot".to_owned(), "no such column".to_owned()];
        assert_eq!(to.hear(), Some(Saying::Exited { code, lines }));
        let status = new.status();
        assert_eq!((status.role, status.epoch, status.confirmed), (Role::Standby, 2, false));
        let ticket = from.prepare();
        assert_eq!(to.ask(Verb::Yield { ticket }), Saying::Free { ms: 0 });
        assert!(matches!(from.take().0, Saying::Leased { epoch: 3, restored: Some(2), confirmed: true, .. }));
        assert_eq!(home.bytes(), before);
    }
}

#[test]
fn the_lease_of_an_app_that_failed_alone_goes_back_to_the_last_confirmed_keeper() {
    let home = Home::new();
    let app = "exit 1";
    let Pair { mut old, new: _new, mut from, mut to } = Pair::of(home.keeper(), home.keeper().app(app));
    hand_over(&mut from, &mut to);
    assert!(matches!(to.hear(), Some(Saying::Exited { .. })));
    // The proxy dies.
    drop((from, to));
    old.app_says("up 3");
    old.says("epoch 2 was not confirmed");
    assert_eq!(old.status().epoch, 3);
}

#[test]
fn after_it_is_confirmed_an_exit_takes_the_keeper_with_it() {
    let home = Home::new();
    let stop = home.path().join("stop");
    let app = &format!("echo up; while [ ! -e {} ]; do sleep 0.01; done; exit 5", stop.display());
    let Pair { old: _old, mut new, mut from, mut to } = Pair::of(home.keeper(), home.keeper().app(app));
    hand_over(&mut from, &mut to);
    assert_eq!(to.ask(Verb::Confirm { epoch: 2 }), Saying::Confirmed { epoch: 2 });
    std::fs::write(stop, "").unwrap();
    assert_eq!(new.ends(), 5);
}

#[test]
fn an_app_that_ignores_the_stop_signal_is_killed_after_its_grace() {
    let home = Home::new();
    let app = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    let mut old = home.keeper().option("--grace", "300ms").app(app).start();
    old.app_says("up");
    let new = home.keeper().start();
    let mut to = new.talk();
    let ticket = to.prepare();
    let ms = old.talk().hand_over(&ticket);
    assert!((300..3000).contains(&ms), "{ms}");
    old.says("killing it");
}

#[test]
fn an_unconfirmed_app_gets_only_a_moment_to_stop() {
    let home = Home::new();
    let app = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    let Pair { old: _old, mut new, mut from, mut to } = Pair::of(home.keeper(), home.keeper().app(app));
    hand_over(&mut from, &mut to);
    new.app_says("up");
    let ticket = from.prepare();
    let ms = to.hand_over(&ticket);
    assert!((200..3000).contains(&ms), "{ms}, where the grace is 8 s");
}

fn named(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

#[test]
fn a_daemon_that_the_app_left_behind_is_killed_before_the_lease_is_free() {
    let home = Home::new();
    let app = "(setsid sh -c 'trap \"\" TERM HUP; exec sleep 999' & echo daemon $!); echo up; exec sleep 1000";
    let mut old = home.keeper().app(app).start();
    let daemon: i32 = old.app_says("daemon").split(' ').nth(1).unwrap().parse().unwrap();
    old.app_says("up");
    until("the daemon to be deaf", || named(daemon) == "sleep");
    let new = home.keeper().start();
    let mut to = new.talk();
    let ticket = to.prepare();
    old.talk().hand_over(&ticket);
    assert!(!is_alive(daemon));
    assert!(old.says("processes outlived the app, killed: ").contains("(sleep)"));
    assert!(matches!(to.take().0, Saying::Leased { epoch: 2, .. }));
}

#[test]
fn a_daemon_outlives_an_app_that_exits_by_no_moment_either() {
    let home = Home::new();
    let app = "(setsid sleep 999 & echo daemon $!); exit 4";
    let mut keeper = home.keeper().app(app).start();
    let daemon: i32 = keeper.app_says("daemon").split(' ').nth(1).unwrap().parse().unwrap();
    assert_eq!(keeper.ends(), 4);
    assert!(!is_alive(daemon));
}

#[test]
fn a_yield_that_is_repeated_while_the_app_stops_is_told_too() {
    let home = Home::new();
    let app = "trap 'echo term; while [ ! -e stop ]; do sleep 0.01; done; exit 0' TERM; echo up; while :; do sleep 0.01; done";
    let app = format!("cd {}; {app}", home.path().display());
    let mut old = home.keeper().app(&app).start();
    old.app_says("up");
    let new = home.keeper().start();
    let mut to = new.talk();
    let ticket = to.prepare();
    let (mut one, mut two) = (old.talk(), old.talk());
    let grace = |said| if let Saying::Stopping { grace_ms } = said { grace_ms } else { panic!("{said:?}") };
    let first = grace(one.ask(Verb::Yield { ticket: ticket.clone() }));
    assert!(first > Some(0) && first <= Some(8_000), "{first:?}");
    old.app_says("term");
    assert!(two.refused(Verb::Confirm { epoch: 1 }).contains("told to stop"));
    assert!(grace(two.ask(Verb::Yield { ticket })) <= first, "what is left of it");
    std::fs::write(home.path().join("stop"), "").unwrap();
    for talk in [&mut one, &mut two] {
        assert!(matches!(talk.hear(), Some(Saying::Free { .. })));
    }
    until("standing by", || old.status().role == Role::Standby);
}

#[test]
fn an_heir_that_is_not_found_is_said_and_keeps_the_next_app_away() {
    let home = Home::new();
    // The app drops the lock, and somebody who is no child of the keeper has it.
    let app = "exec 900>&-; echo up $LOCKGATE_EPOCH; exec sleep 1000";
    let holder = home.keeper().command(["bash", "-c", app]);
    let Pair { mut old, new: _new, mut from, mut to } = Pair::of(holder, home.keeper());
    let heir = std::fs::File::open(home.lease().join("live")).unwrap();
    until("the app to have dropped it", || heir.try_lock().is_ok());
    let ticket = to.prepare();
    from.hand_over(&ticket);
    old.says("WARNING: somebody still holds the lock that the app inherited");
    assert!(to.take_in_vain().contains("the app before is still alive"));
    drop(heir);
    to.prepare();
    assert!(matches!(to.take().0, Saying::Leased { epoch: 2, .. }));
}
