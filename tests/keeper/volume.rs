//! A lease directory that is read-only, full, gone or another.

use std::path::Path;

use lockgate::wire::{Role, Saying, Verb};

use super::mount::Mount;
use super::world::{Keeper, KeeperBuilder, hand_over, prepare};
use super::{Home, Pair};

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
    let Pair { mut old, mut new, mut from, mut to } = Pair::at(&database);
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
    let facts = to.facts();
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
    let _old = home.holder();
    let new = home.keeper().start();
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
    let old = home.holder();
    let new = home.keeper().option("--defer", "1h").start();
    let mut to = new.talk();
    let ticket = to.prepare();
    std::fs::rename(home.lease().join("lease"), home.path().join("away")).unwrap();
    std::fs::write(home.lease().join("lease"), vec![0; 8192]).unwrap();
    assert!(old.talk().refused(Verb::Show { ticket: ticket.clone() }).contains("was replaced"));
    assert!(old.talk().refused(Verb::Yield { ticket }).contains("was replaced"));
    drop(to);
    let why = new.talk().refused(prepare("shop"));
    assert!(why.contains("the app before is still alive"), "{why}");
}

#[test]
fn a_database_that_is_mounted_by_itself_is_refused_before_anything_is_made() {
    let Some(volume) = Mount::of("1m") else { return };
    let database = volume.path().join("shop.sqlite3");
    small_database(&database);
    let home = tempfile::tempdir().unwrap();
    let there = home.path().join("shop.sqlite3");
    let _mounted = Mount::of_file(&database, &there);
    let pattern = home.path().join("*.sqlite3");
    for given in [&there, &pattern] {
        let (code, said, words) = KeeperBuilder::of(given).run();
        assert_eq!((code, said.as_str()), (Some(1), ""), "{words}");
        assert!(words.contains("mount the directory, not the file"), "{words}");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "no lease");
    Keeper::of(&database).app_says("up 1");
}

#[test]
fn databases_on_other_file_systems_than_the_lease_are_refused_also_below_a_pattern() {
    let Some(volume) = Mount::of("1m") else { return };
    let home = tempfile::tempdir().unwrap();
    let below = home.path().join("volume");
    std::os::unix::fs::symlink(volume.path(), &below).unwrap();
    small_database(&below.join("shop.sqlite3"));
    let (code, _, words) = KeeperBuilder::of(&home.path().join("*/shop.sqlite3")).run();
    assert_eq!(code, Some(1));
    assert!(words.contains("are on different file systems"), "{words}");
}
