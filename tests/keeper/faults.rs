use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use lockgate::wire::{Facts, Role, Saying, Verb};

use super::mount::Mount;
use super::world::{Keeper, KeeperBuilder, Talk, hand_over, prepare};
use super::{Home, is_root};

fn facts(talk: &mut Talk) -> Facts {
    match talk.ask(prepare("shop")) {
        Saying::Ready { facts, .. } => facts,
        other => panic!("not ready: {other:?}"),
    }
}

#[test]
fn a_console_that_has_the_database_open_stops_a_handoff_and_the_old_app_comes_back() {
    let home = Home::new();
    let mut old = Keeper::of(&home.database());
    old.app_says("up 1");
    let mut new = Keeper::of(&home.database());
    let (mut from, mut to) = (old.talk(), new.talk());
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
    let warning = || KeeperBuilder::of(&home.database()).option("--foreign", "warn").start();
    let mut old = warning();
    old.app_says("up 1");
    let mut new = warning();
    let (mut from, mut to) = (old.talk(), new.talk());
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
    let warning = || KeeperBuilder::of(&home.database()).option("--foreign", "warn").start();
    let mut old = warning();
    old.app_says("up 1");
    let new = warning();
    let (mut from, mut to) = (old.talk(), new.talk());
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
    let mut keeper = Keeper::of(&home.database());
    assert!(keeper.says("WARNING").contains("is open in"));
    keeper.app_says("up 1");
}

/// Ends a loop, also where the test fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_snapshot_counts_only_if_nobody_tried_to_open_the_database_meanwhile() {
    let home = Home::new();
    home.sql("CREATE TABLE large (x); INSERT INTO large VALUES (zeroblob(150000000))");
    let mut old = Keeper::of(&home.database());
    old.app_says("up 1");
    let new = Keeper::of(&home.database());
    let (mut from, mut to) = (old.talk(), new.talk());
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
    let mut old = Keeper::of(&home.database());
    old.app_says("up 1");
    let new = Keeper::of(&home.database());
    let (mut from, mut to) = (old.talk(), new.talk());
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

/// Spoils a slot of the record.
fn spoil(home: &Home, slot: u64) {
    let mut file = OpenOptions::new().write(true).open(home.lease().join("lease")).unwrap();
    file.seek(SeekFrom::Start(slot * 4096 + 100)).unwrap();
    file.write_all(b"####").unwrap();
}

/// The number of the slot that was written last.
fn newest_slot(home: &Home) -> u64 {
    let mut text = String::new();
    File::open(home.lease().join("lease")).unwrap().read_to_string(&mut text).unwrap();
    let number = |at: usize| text[at..].split(' ').nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    u64::from(number(4096) > number(0))
}

#[test]
fn one_corrupt_slot_undoes_no_confirmed_epoch() {
    let home = Home::new();
    let mut old = Keeper::of(&home.database());
    old.app_says("up 1");
    let mut new = Keeper::of(&home.database());
    let (mut from, mut to) = (old.talk(), new.talk());
    hand_over(&mut from, &mut to);
    assert_eq!(to.ask(Verb::Confirm { epoch: 2 }), Saying::Confirmed { epoch: 2 });
    home.sql("INSERT INTO orders VALUES (2)");
    new.says("epoch 2 is confirmed");
    // Answered after whatever the confirmation still had to do.
    assert_eq!(to.ask(Verb::Confirm { epoch: 2 }), Saying::Confirmed { epoch: 2 });
    spoil(&home, newest_slot(&home));
    let (leased, snapshot) = hand_over(&mut to, &mut from);
    assert!(matches!(leased, Saying::Leased { epoch: 3, restored: None, confirmed: false, .. }), "{leased:?}");
    assert!(matches!(snapshot, Saying::Snapshot { bytes, .. } if bytes > 0), "{snapshot:?}");
    assert_eq!(home.orders(), 2);
}

#[test]
fn one_corrupt_slot_leaves_the_record_before() {
    let home = Home::new();
    for epoch in 1..=2 {
        let mut keeper = Keeper::of(&home.database());
        keeper.app_says(&format!("up {epoch}"));
        keeper.signal(libc::SIGTERM);
        assert_eq!(keeper.ends(), 0);
    }
    // The newest says `left`; the one before it is of the same epoch.
    spoil(&home, newest_slot(&home));
    let mut keeper = KeeperBuilder::of(&home.database()).option("--defer", "10ms").start();
    keeper.app_says("up 3");
    keeper.says("holds the lease, epoch 3");
    assert_eq!(keeper.status().note, "");
    let next = Keeper::of(&home.database());
    assert!(matches!(hand_over(&mut keeper.talk(), &mut next.talk()).0, Saying::Leased { epoch: 4, .. }));
}

#[test]
fn two_corrupt_slots_count_as_a_confirmed_epoch_of_somebody_unknown_and_are_said_loudly() {
    let home = Home::new();
    let mut old = Keeper::of(&home.database());
    old.app_says("up 1");
    let new = Keeper::of(&home.database());
    let (mut from, mut to) = (old.talk(), new.talk());
    hand_over(&mut from, &mut to);
    home.sql("INSERT INTO orders VALUES (2)");
    drop((from, to, old, new));
    spoil(&home, 0);
    spoil(&home, 1);
    let mut keeper = KeeperBuilder::of(&home.database()).option("--defer", "100ms").start();
    assert!(keeper.status().note.contains("corrupt"));
    keeper.says("CORRUPT IN BOTH SLOTS");
    keeper.app_says("up 3");
    keeper.says("holds the lease, epoch 3");
    assert_eq!(home.orders(), 2, "nothing is restored");
    assert!(home.lease().join("snapshots/3/manifest.json").exists(), "it was somebody else's");
    let status = keeper.status();
    assert_eq!((status.epoch, status.confirmed), (3, true));
    let next = Keeper::of(&home.database());
    assert!(matches!(hand_over(&mut keeper.talk(), &mut next.talk()).0, Saying::Leased { epoch: 4, .. }));
}

#[test]
fn a_holder_whose_record_is_corrupt_says_what_it_wrote() {
    let home = Home::new();
    let mut holder = Keeper::of(&home.database());
    holder.app_says("up 1");
    let standby = Keeper::of(&home.database());
    spoil(&home, 0);
    spoil(&home, 1);
    let status = holder.status();
    assert_eq!((status.epoch, status.confirmed, status.holder.unwrap().id), (1, true, status.id));
    assert!(status.note.contains("corrupt in both slots"));
    let status = standby.status();
    assert!(status.confirmed && status.holder.is_none(), "of somebody unknown: {status:?}");
}

#[test]
fn a_spoiled_snapshot_is_not_put_back_until_a_person_decides() {
    let home = Home::new();
    let mut old = Keeper::of(&home.database());
    old.app_says("up 1");
    let new = Keeper::of(&home.database());
    let (mut from, mut to) = (old.talk(), new.talk());
    hand_over(&mut from, &mut to);
    home.sql("INSERT INTO orders VALUES (2)");
    let kept = home.lease().join("snapshots/2/00-shop.sqlite3");
    let mut bytes = std::fs::read(&kept).unwrap();
    bytes[50] ^= 1;
    std::fs::write(&kept, bytes).unwrap();
    let after = home.bytes();
    let ticket = from.prepare();
    to.hand_over(&ticket);
    let held = from.take_in_vain();
    assert!(held.contains("CANNOT BE PUT BACK") && held.contains("another SHA-256"), "{held}");
    assert!(held.contains("LOCKGATE_KEEP_RESTORE=skip"), "{held}");
    assert_eq!(home.bytes(), after, "nothing was touched");
    drop((from, to, old, new));
    let builder = KeeperBuilder::of(&home.database()).option("--defer", "10ms");
    let mut keeper = builder.environment("LOCKGATE_KEEP_RESTORE", "skip").start();
    keeper.says("what epoch 2 did stays");
    keeper.app_says("up 3");
    assert_eq!(home.orders(), 2);
}

#[test]
fn a_manifest_that_names_a_foreign_file_puts_nothing_there() {
    let home = Home::new();
    let mut old = Keeper::of(&home.database());
    old.app_says("up 1");
    let new = Keeper::of(&home.database());
    let (mut from, mut to) = (old.talk(), new.talk());
    hand_over(&mut from, &mut to);
    let manifest = home.lease().join("snapshots/2/manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap().replace("\"shop.sqlite3\"", "\"../stolen\"");
    std::fs::write(&manifest, text).unwrap();
    let ticket = from.prepare();
    to.hand_over(&ticket);
    assert!(from.take_in_vain().contains("../stolen is no file of these databases"));
}

fn small_database(path: &Path) {
    let database = rusqlite::Connection::open(path).unwrap();
    database.execute_batch("CREATE TABLE orders (id); INSERT INTO orders VALUES (1)").unwrap();
}

#[test]
fn a_full_disk_does_not_stop_a_rollback() {
    let Some(mount) = Mount::of("1m") else { return };
    let database = mount.path().join("shop.sqlite3");
    small_database(&database);
    let before = std::fs::read(&database).unwrap();
    let mut old = Keeper::of(&database);
    old.app_says("up 1");
    let mut new = Keeper::of(&database);
    let (mut from, mut to) = (old.talk(), new.talk());
    hand_over(&mut from, &mut to);
    new.app_says("up 2");
    std::fs::write(&database, "spoiled").unwrap();
    mount.fill();
    let (leased, _) = hand_over(&mut to, &mut from);
    assert!(matches!(leased, Saying::Leased { epoch: 3, restored: Some(2), .. }), "{leased:?}");
    old.app_says("up 3");
    assert_eq!(std::fs::read(&database).unwrap(), before);
}

#[test]
fn no_room_for_a_snapshot_is_said_before_the_hold() {
    let Some(mount) = Mount::of("1m") else { return };
    let database = mount.path().join("shop.sqlite3");
    small_database(&database);
    let mut old = Keeper::of(&database);
    old.app_says("up 1");
    let auto = Keeper::of(&database);
    let always = KeeperBuilder::of(&database).option("--snapshot", "always").start();
    mount.fill();
    let why = always.talk().refused(prepare("shop"));
    assert!(why.contains("--snapshot=always") && why.contains("twice their room"), "{why}");
    let (mut from, mut to) = (old.talk(), auto.talk());
    let facts = facts(&mut to);
    assert!(!facts.restorable);
    assert!(facts.warnings.iter().any(|warning| warning.contains("no snapshot will be taken")), "{facts:?}");
    let (_, snapshot) = hand_over(&mut from, &mut to);
    assert!(matches!(snapshot, Saying::Snapshot { bytes: 0, why: Some(_), .. }), "{snapshot:?}");
    // Rolled back, the data stay, and that is said.
    hand_over(&mut to, &mut from);
    old.says("there is no snapshot of before it: the data stay");
}

#[test]
fn a_lease_directory_that_cannot_be_written_is_said_in_preflight() {
    let Some(mount) = Mount::of("1m") else { return };
    let database = mount.path().join("shop.sqlite3");
    small_database(&database);
    let mut old = Keeper::of(&database);
    old.app_says("up 1");
    let there = mount.again();
    let new = Keeper::of(&there.path().join("shop.sqlite3"));
    assert_eq!(new.status().lease, old.status().lease);
    let mut talk = new.talk();
    there.make("ro");
    let why = talk.refused(prepare("shop"));
    assert!(why.contains("Read-only file system"), "{why}");
    assert_eq!(old.status().role, Role::Holder);
    let (code, _, words) = KeeperBuilder::of(&there.path().join("other.sqlite3")).run();
    assert_eq!(code, Some(1));
    assert!(words.contains("cannot make the lease directory") && words.contains("Read-only"), "{words}");
    there.make("rw");
    talk.prepare();
}

#[test]
fn a_full_disk_at_the_first_start_is_said() {
    let Some(mount) = Mount::of("64k") else { return };
    let database = mount.path().join("shop.sqlite3");
    mount.fill();
    let (code, _, words) = KeeperBuilder::of(&database).run();
    assert_eq!(code, Some(1));
    assert!(words.contains("No space left"), "{words}");
}

#[test]
fn a_lease_directory_that_vanishes_is_refused_in_preflight() {
    let home = Home::new();
    let mut old = Keeper::of(&home.database());
    old.app_says("up 1");
    let new = Keeper::of(&home.database());
    std::fs::rename(home.lease(), home.path().join("away")).unwrap();
    let why = new.talk().refused(prepare("shop"));
    assert!(why.contains("No such file or directory"), "{why}");
    assert!(new.status().note.contains("No such file"));
    std::fs::rename(home.path().join("away"), home.lease()).unwrap();
    new.talk().prepare();
}

#[test]
fn a_holder_whose_lock_file_was_replaced_yields_to_nobody() {
    let home = Home::new();
    let mut old = Keeper::of(&home.database());
    old.app_says("up 1");
    let new = KeeperBuilder::of(&home.database()).option("--defer", "1h").start();
    std::fs::rename(home.lease().join("lease"), home.path().join("away")).unwrap();
    std::fs::write(home.lease().join("lease"), vec![0; 8192]).unwrap();
    let mut to = new.talk();
    let ticket = to.prepare();
    assert!(old.talk().refused(Verb::Show { ticket: ticket.clone() }).contains("was replaced"));
    assert!(old.talk().refused(Verb::Yield { ticket }).contains("was replaced"));
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
    let keeper = || KeeperBuilder::of(&home.database()).app(app).by(CONTAINED);
    let mut old = keeper().start();
    old.app_says("up 1");
    let mut new = keeper().start();
    let (mut from, mut to) = (old.talk(), new.talk());
    assert_eq!(facts(&mut to).warnings, Vec::<String>::new());
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
    let mut old = KeeperBuilder::of(&home.database()).by(helpless).start();
    old.app_says("up 1");
    old.says("the kernel cannot be asked who has a database open");
    let new = KeeperBuilder::of(&home.database()).by(helpless).start();
    let (mut from, mut to) = (old.talk(), new.talk());
    assert!(facts(&mut to).warnings.iter().any(|warning| warning.contains("only locks are left")));
    let console = File::open(home.database()).unwrap();
    let ticket = to.prepare();
    from.hand_over(&ticket);
    assert!(to.take_in_vain().contains("is open in"));
    drop(console);
    to.prepare();
    let (_, snapshot) = to.take();
    assert!(matches!(snapshot, Saying::Snapshot { bytes, .. } if bytes > 0), "{snapshot:?}");
}

#[test]
fn the_snapshot_hook_is_given_the_snapshot() {
    let home = Home::new();
    let mut old = Keeper::of(&home.database());
    old.app_says("up 1");
    let hook =
        format!("ls $LOCKGATE_SNAPSHOT > {0}/part; mv {0}/part {0}/shipped-$LOCKGATE_EPOCH", home.path().display());
    let new = KeeperBuilder::of(&home.database()).option("--snapshot-hook", hook).start();
    let (mut from, mut to) = (old.talk(), new.talk());
    hand_over(&mut from, &mut to);
    let shipped = home.path().join("shipped-2");
    super::world::until("the hook", || shipped.exists());
    assert!(std::fs::read_to_string(shipped).unwrap().contains("manifest.json"));
}
