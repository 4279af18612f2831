//! Keepers that are killed outright, and apps that outlive them.

use lockgate::wire::{Role, Saying, Verb};

use super::world::{descendants, hand_over, prepare, signal_process, until};
use super::{Home, Pair};

const APP: &str = "LOCKGATE_TEST_APP";

/// Not a test but an app: these tests start their own program with this name.
#[test]
fn an_app_that_closed_the_lock_and_has_the_database_open() {
    let Some(database) = std::env::var_os(APP) else { return };
    let _open = std::fs::File::open(database).unwrap();
    close_from_900();
    println!("has it open");
    loop {
        std::thread::park();
    }
}

#[expect(unsafe_code, reason = "closing a descriptor that nobody here owns")]
fn close_from_900() {
    // SAFETY: nothing in this process uses the descriptors that it inherited.
    unsafe { libc::close_range(900, 4096, 0) };
}

fn this_program() -> String {
    std::env::current_exe().unwrap().to_str().unwrap().to_owned()
}

fn app_of_this_program() -> String {
    format!("{}::an_app_that_closed_the_lock_and_has_the_database_open", module_path!().split_once("::").unwrap().1)
}

#[test]
fn a_standby_killed_before_its_take_leaves_everything_as_it_was() {
    let home = Home::new();
    let old = home.holder();
    let mut new = home.keeper().start();
    let mut to = new.talk();
    let ticket = to.prepare();
    new.signal(libc::SIGKILL);
    new.ends();
    assert_eq!(to.hear(), None);
    assert!(old.talk().refused(Verb::Yield { ticket }).contains("not the ticket"));
    assert_eq!(old.status().role, Role::Holder);
}

#[test]
fn a_keeper_killed_while_it_takes_a_snapshot_has_acquired_nothing() {
    let home = Home::new();
    home.sql("CREATE TABLE large (x); INSERT INTO large VALUES (zeroblob(200000000))");
    let Pair { old: _old, mut new, mut from, mut to } = home.pair();
    let ticket = to.prepare();
    from.hand_over(&ticket);
    to.order(Verb::Take { budget_ms: 15_000 });
    let copy = home.lease().join("snapshots/2/00-shop.sqlite3");
    until("the snapshot to be begun", || copy.metadata().is_ok_and(|file| file.len() > 0));
    new.signal(libc::SIGKILL);
    new.ends();
    assert_eq!(to.hear(), None);
    from.prepare();
    let (leased, _) = from.take();
    assert!(matches!(leased, Saying::Leased { epoch: 2, restored: None, confirmed: true, .. }), "{leased:?}");
    assert!(!copy.exists(), "a snapshot of an epoch never written is thrown away");
}

#[test]
fn the_app_of_a_keeper_killed_after_its_take_keeps_others_out_while_it_lives() {
    let home = Home::new();
    let before = home.bytes();
    let Pair { old: _old, mut new, mut from, mut to } = home.pair();
    hand_over(&mut from, &mut to);
    new.app_says("up 2");
    home.sql("INSERT INTO orders VALUES (7)");
    let orphans = descendants(new.pid());
    from.prepare();
    new.signal(libc::SIGKILL);
    new.ends();
    let held = from.take_in_vain();
    assert!(held.contains("the app before is still alive") && held.contains("(sleep)"), "{held}");
    for orphan in orphans {
        signal_process(orphan, libc::SIGKILL);
    }
    from.prepare();
    let (leased, _) = from.take();
    assert!(matches!(leased, Saying::Leased { epoch: 3, restored: Some(2), .. }), "{leased:?}");
    assert_eq!(home.bytes(), before);
}

#[test]
fn nobody_is_prepared_for_a_free_lease_while_the_app_of_a_killed_keeper_lives() {
    let home = Home::new();
    let Pair { old: mut first, new: next, .. } = home.pair();
    let orphans = descendants(first.pid());
    first.signal(libc::SIGKILL);
    first.ends();
    let why = next.talk().refused(prepare("shop"));
    assert!(why.contains("the app before is still alive") && why.contains("(sleep)"), "{why}");
    assert!(why.contains("end that process"), "{why}");
    orphans.into_iter().for_each(|orphan| signal_process(orphan, libc::SIGKILL));
    let mut talk = next.talk();
    talk.prepare();
    let (leased, _) = talk.take();
    assert!(matches!(leased, Saying::Leased { epoch: 2, confirmed: false, .. }), "{leased:?}");
}

#[test]
fn not_even_foreign_warn_starts_an_app_beside_that_of_a_killed_keeper() {
    let home = Home::new();
    let mut first = home.holder();
    let orphans = descendants(first.pid());
    first.signal(libc::SIGKILL);
    first.ends();
    let mut next = home.keeper().option("--foreign", "warn").option("--defer", "10ms").start();
    let line = next.says("cannot take the lease: ");
    assert!(line.contains("the app before is still alive") && line.contains("(sleep)"), "{line}");
    let why = next.talk().refused(prepare("shop"));
    assert!(why.contains("the app before is still alive") && why.contains("end that process"), "{why}");
    assert!(next.app_said().is_empty());
    orphans.into_iter().for_each(|orphan| signal_process(orphan, libc::SIGKILL));
    next.app_says("up 2");
}

#[test]
fn a_record_that_names_nobody_lets_no_app_start_beside_an_heir() {
    let home = Home::new();
    let mut first = home.holder();
    let orphans = descendants(first.pid());
    first.signal(libc::SIGKILL);
    first.ends();
    let record = std::fs::OpenOptions::new().write(true).open(home.lease().join("lease")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&record, &[0; 8192], 0).unwrap();
    let mut next = home.keeper().start();
    next.says("cannot take the lease: the app before is still alive");
    assert!(next.app_said().is_empty());
    orphans.into_iter().for_each(|orphan| signal_process(orphan, libc::SIGKILL));
    next.app_says("up 1");
}

#[test]
fn an_heir_that_lost_the_lock_but_has_the_database_open_is_found_by_the_kernels_answer() {
    let home = Home::new();
    let mut first = home
        .keeper()
        .environment(APP, home.database().to_str().unwrap())
        .command([&this_program(), "--exact", &app_of_this_program(), "--nocapture"])
        .start();
    first.app_says("has it open");
    let orphans = descendants(first.pid());
    assert_eq!(orphans.len(), 1);
    let mut next = home.keeper().option("--defer", "10ms").start();
    next.says("stands by");
    first.signal(libc::SIGKILL);
    first.ends();
    let line = next.says("cannot take the lease: ");
    assert!(line.contains("shop.sqlite3 is open in") && line.contains(&orphans[0].to_string()), "{line}");
    assert_eq!(next.status().epoch, 1);
    assert!(next.status().note.contains("is open in"));
    // It cannot be prepared for a handoff either.
    let why = next.talk().refused(prepare("shop"));
    assert!(why.contains("is open in") && why.contains(&orphans[0].to_string()), "{why}");
    assert!(next.app_said().is_empty());
    signal_process(orphans[0], libc::SIGKILL);
    next.app_says("up 2");
}

#[test]
fn an_unconfirmed_heir_that_lost_the_lock_keeps_the_old_app_away_only_while_it_lives() {
    let home = Home::new();
    let before = home.bytes();
    let old = home.holder();
    let mut new = home
        .keeper()
        .environment(APP, home.database().to_str().unwrap())
        .command([&this_program(), "--exact", &app_of_this_program(), "--nocapture"])
        .start();
    let (mut from, mut to) = (old.talk(), new.talk());
    hand_over(&mut from, &mut to);
    new.app_says("has it open");
    home.sql("INSERT INTO orders VALUES (7)");
    let orphans = descendants(new.pid());
    from.prepare();
    new.signal(libc::SIGKILL);
    new.ends();
    let held = from.take_in_vain();
    assert!(held.contains("shop.sqlite3 is open in") && held.contains(&orphans[0].to_string()), "{held}");
    assert_ne!(home.bytes(), before, "nothing is put back under somebody who has it open");
    signal_process(orphans[0], libc::SIGKILL);
    from.prepare();
    assert!(matches!(from.take().0, Saying::Leased { epoch: 3, restored: Some(2), .. }));
    assert_eq!(home.bytes(), before);
    let next = home.keeper().start();
    assert!(matches!(hand_over(&mut from, &mut next.talk()).0, Saying::Leased { epoch: 4, .. }));
}

#[test]
fn a_keeper_killed_while_it_only_waits_for_the_lease_frees_everything() {
    let home = Home::new();
    let old = home.holder();
    let mut new = home.keeper().start();
    let mut to = new.talk();
    to.prepare();
    to.order(Verb::Take { budget_ms: 15_000 });
    new.talk().until_it_takes();
    new.signal(libc::SIGKILL);
    new.ends();
    let mut third = home.keeper().start();
    third.says("stands by");
    let (mut from, mut to) = (old.talk(), third.talk());
    assert!(matches!(hand_over(&mut from, &mut to).0, Saying::Leased { epoch: 2, .. }));
}
