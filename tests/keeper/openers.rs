//! Somebody else has the database open.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use lockgate::wire::{Saying, Verb};

use super::world::hand_over;
use super::{Home, Pair, is_root};

#[test]
fn a_console_that_has_the_database_open_stops_a_handoff_and_the_old_app_comes_back() {
    let home = Home::new();
    let Pair { mut old, mut new, mut from, mut to } = home.pair();
    let console = File::open(home.database()).unwrap();
    let ticket = to.prepare();
    from.hand_over(&ticket);
    let held = to.take_in_vain();
    assert!(held.contains("shop.sqlite3 is open in") && held.contains(&std::process::id().to_string()), "{held}");
    from.prepare();
    assert!(matches!(from.take().0, Saying::Leased { epoch: 2, restored: None, confirmed: true, .. }));
    old.app_says("up 2");
    old.says("WARNING");
    assert!(new.app_said().is_empty());
    drop(console);
    assert!(matches!(hand_over(&mut from, &mut to).0, Saying::Leased { epoch: 3, .. }));
}

#[test]
fn under_foreign_warn_it_goes_on_without_a_snapshot_and_what_failed_stays() {
    let home = Home::new();
    let warning = || home.keeper().option("--foreign", "warn");
    let Pair { mut old, mut new, mut from, mut to } = Pair::of(warning(), warning());
    let _replicator = File::open(home.database()).unwrap();
    let (_, snapshot) = hand_over(&mut from, &mut to);
    assert!(matches!(snapshot, Saying::Snapshot { bytes: 0, why: Some(_), .. }), "{snapshot:?}");
    assert!(new.says("WARNING").contains("is open in"));
    new.app_says("up 2");
    assert!(matches!(hand_over(&mut to, &mut from).0, Saying::Leased { epoch: 3, restored: None, .. }));
    old.says("there is no snapshot of before it: the data stay");
}

#[test]
fn nothing_is_put_back_under_somebody_who_has_it_open_not_even_under_foreign_warn() {
    let home = Home::new();
    let before = home.bytes();
    let warning = || home.keeper().option("--foreign", "warn");
    let Pair { old: _old, new: _new, mut from, mut to } = Pair::of(warning(), warning());
    hand_over(&mut from, &mut to);
    home.sql("INSERT INTO orders VALUES (2)");
    let after = home.bytes();
    let replicator = File::open(home.database()).unwrap();
    let ticket = from.prepare();
    to.hand_over(&ticket);
    let held = from.take_in_vain();
    assert!(held.contains("is open in") && held.contains("what epoch 2 did is to be undone"), "{held}");
    assert_eq!(home.bytes(), after);
    drop(replicator);
    from.prepare();
    assert!(matches!(from.take().0, Saying::Leased { epoch: 3, restored: Some(2), .. }));
    assert_eq!(home.bytes(), before);
}

#[test]
fn the_first_keeper_only_warns_of_an_app_from_before_there_were_keepers() {
    let home = Home::new();
    let _app = File::open(home.database()).unwrap();
    let mut keeper = home.keeper().start();
    assert!(keeper.says("WARNING").contains("is open in"));
    keeper.app_says("up 1");
}

/// Ends a loop, also where the test fails.
pub(super) struct Ending<'a>(pub(super) &'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_snapshot_counts_only_if_nobody_tried_to_open_the_database_meanwhile() {
    let home = Home::new();
    home.sql("CREATE TABLE large (x); INSERT INTO large VALUES (zeroblob(150000000))");
    let Pair { old: _old, new: _new, mut from, mut to } = home.pair();
    let ticket = to.prepare();
    from.hand_over(&ticket);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ending = Ending(&done);
        scope.spawn(|| {
            let copy = home.lease().join("snapshots/2/00-shop.sqlite3");
            while !done.load(Ordering::Relaxed) {
                if copy.exists() {
                    // Non-blocking: the lease makes it fail, and is broken by it.
                    let mut options = OpenOptions::new();
                    let _refused = options.read(true).custom_flags(libc::O_NONBLOCK).open(home.database());
                }
                std::thread::yield_now();
            }
        });
        let held = to.take_in_vain();
        drop(ending);
        assert!(held.contains("somebody tried to open a database while it was copied"), "{held}");
    });
    assert!(!home.lease().join("snapshots/2").exists());
    from.prepare();
    assert!(matches!(from.take().0, Saying::Leased { epoch: 2, confirmed: true, .. }));
}

#[test]
fn a_snapshot_whose_lease_the_kernel_broke_after_45_s_does_not_count() {
    let home = Home::new();
    home.sql("CREATE TABLE large (x); INSERT INTO large VALUES (zeroblob(150000000))");
    let Pair { old: _old, new, mut from, mut to } = home.pair();
    let ticket = to.prepare();
    from.hand_over(&ticket);
    to.order(Verb::Take { budget_ms: 120_000 });
    let copy = home.lease().join("snapshots/2/00-shop.sqlite3");
    super::world::until("the copy to be begun", || copy.metadata().is_ok_and(|file| file.len() > 0));
    new.signal(libc::SIGSTOP);
    // Waits for the lease, until the kernel lets it in.
    home.sql("INSERT INTO orders VALUES (2)");
    new.signal(libc::SIGCONT);
    match to.hear() {
        Some(Saying::Held { by }) => {
            assert!(by.contains("somebody tried to open a database while it was copied"), "{by}");
        }
        other => panic!("not held: {other:?}"),
    }
    assert!(!home.lease().join("snapshots/2").exists());
    from.prepare();
    assert!(matches!(from.take().0, Saying::Leased { epoch: 2, confirmed: true, .. }));
    assert_eq!(home.orders(), 2);
    to.prepare();
}

/// Root without `CAP_LEASE`, as in a container.
const CONTAINED: [&str; 4] = ["setpriv", "--inh-caps=-lease", "--bounding-set=-lease", "--"];

#[test]
fn a_keeper_as_root_and_an_app_as_another_user_hand_over_and_roll_back() {
    if !is_root() {
        return eprintln!("skipped: needs root");
    }
    let home = Home::new();
    for path in [home.path().to_owned(), home.database()] {
        std::os::unix::fs::chown(path, Some(1000), Some(1000)).unwrap();
    }
    let before = home.bytes();
    let app = "exec setpriv --reuid=1000 --regid=1000 --clear-groups sh -c 'echo up $LOCKGATE_EPOCH; exec sleep 1000'";
    let keeper = || home.keeper().app(app).by(CONTAINED);
    let mut old = keeper().start();
    old.app_says("up 1");
    let mut new = keeper().start();
    let (mut from, mut to) = (old.talk(), new.talk());
    assert_eq!(to.facts().warnings, Vec::<String>::new());
    hand_over(&mut from, &mut to);
    new.app_says("up 2");
    home.sql("INSERT INTO orders VALUES (2)");
    // The kernel answers here too.
    let console = File::open(home.database()).unwrap();
    let ticket = from.prepare();
    to.hand_over(&ticket);
    assert!(from.take_in_vain().contains("is open in"));
    drop(console);
    from.prepare();
    assert!(matches!(from.take().0, Saying::Leased { epoch: 3, restored: Some(2), .. }));
    assert_eq!(home.bytes(), before);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(home.database()).unwrap().uid(), 1000);
}

#[test]
fn where_the_kernel_cannot_be_asked_that_is_said_and_proc_is_read() {
    if !is_root() {
        return eprintln!("skipped: needs root");
    }
    let home = Home::new();
    std::os::unix::fs::chown(home.database(), Some(1000), Some(1000)).unwrap();
    let helpless = ["setpriv", "--inh-caps=-lease,-setuid", "--bounding-set=-lease,-setuid", "--"];
    let mut old = home.keeper().by(helpless).start();
    old.app_says("up 1");
    old.says("the kernel cannot be asked who has a database open");
    let new = home.keeper().by(helpless).start();
    let (mut from, mut to) = (old.talk(), new.talk());
    assert!(to.facts().warnings.iter().any(|warning| warning.contains("only locks are left")));
    let console = File::open(home.database()).unwrap();
    let ticket = to.prepare();
    from.hand_over(&ticket);
    assert!(to.take_in_vain().contains("is open in"));
    drop(console);
    to.prepare();
    let (_, snapshot) = to.take();
    assert!(matches!(snapshot, Saying::Snapshot { bytes, .. } if bytes > 0), "{snapshot:?}");
}
