//! What lies beside the database, spoiled.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};

use lockgate::lease::{Directory, Record};
use lockgate::wire::{Saying, VERSION, Verb, Version};

use super::world::{hand_over, prepare};
use super::{Home, Pair};

/// Spoils a slot of the record.
pub(super) fn spoil(home: &Home, slot: u64) {
    let mut file = OpenOptions::new().write(true).open(home.lease().join("lease")).unwrap();
    file.seek(SeekFrom::Start(slot * 4096 + 100)).unwrap();
    file.write_all(b"####").unwrap();
}

/// The number of the slot that was written last.
pub(super) fn newest_slot(home: &Home) -> u64 {
    let mut text = String::new();
    File::open(home.lease().join("lease")).unwrap().read_to_string(&mut text).unwrap();
    let number = |at: usize| text[at..].split(' ').nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    u64::from(number(4096) > number(0))
}

#[test]
fn one_corrupt_slot_undoes_no_confirmed_epoch() {
    let home = Home::new();
    let Pair { old: _old, mut new, mut from, mut to } = home.pair();
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
        let mut keeper = home.keeper().start();
        keeper.app_says(&format!("up {epoch}"));
        keeper.signal(libc::SIGTERM);
        assert_eq!(keeper.ends(), 0);
    }
    // The newest says `left`; the one before it is of the same epoch.
    spoil(&home, newest_slot(&home));
    let mut keeper = home.keeper().option("--defer", "10ms").start();
    keeper.app_says("up 3");
    keeper.says("holds the lease, epoch 3");
    assert_eq!(keeper.status().note, "");
    let next = home.keeper().start();
    assert!(matches!(hand_over(&mut keeper.talk(), &mut next.talk()).0, Saying::Leased { epoch: 4, .. }));
}

#[test]
fn two_corrupt_slots_count_as_a_confirmed_epoch_of_somebody_unknown_and_are_said_loudly() {
    let home = Home::new();
    let Pair { old, new, mut from, mut to } = home.pair();
    hand_over(&mut from, &mut to);
    home.sql("INSERT INTO orders VALUES (2)");
    drop((from, to, old, new));
    spoil(&home, 0);
    spoil(&home, 1);
    let mut keeper = home.keeper().option("--defer", "100ms").start();
    assert!(keeper.status().note.contains("corrupt"));
    keeper.says("CORRUPT IN BOTH SLOTS");
    keeper.app_says("up 3");
    keeper.says("holds the lease, epoch 3");
    assert_eq!(home.orders(), 2, "nothing is restored");
    assert!(home.lease().join("snapshots/3/manifest.json").exists(), "it was somebody else's");
    let status = keeper.status();
    assert_eq!((status.epoch, status.confirmed), (3, true));
    let next = home.keeper().start();
    assert!(matches!(hand_over(&mut keeper.talk(), &mut next.talk()).0, Saying::Leased { epoch: 4, .. }));
}

#[test]
fn a_record_of_a_newer_major_version_is_refused_and_kept() {
    let home = Home::new();
    let newer = Version { major: VERSION.major + 1, minor: 0 };
    let directory = Directory::open(&home.lease(), home.path()).unwrap();
    directory.lock().unwrap().unwrap().write(&Record { version: newer, ..Record::blank() }).unwrap();
    let written = std::fs::read(home.lease().join("lease")).unwrap();
    let mut keeper = home.keeper().option("--defer", "1ms").start();
    let why = "the lease's record is of version 2, this keeper knows 1";
    keeper.says(&format!("stands by: {why}"));
    assert!(keeper.talk().refused(prepare("shop")).contains(why));
    assert!(keeper.app_said().is_empty());
    assert_eq!(std::fs::read(home.lease().join("lease")).unwrap(), written);
}

#[test]
fn a_record_that_is_blank_beside_snapshots_was_lost_and_they_stay() {
    let home = Home::new();
    let Pair { old, new, mut from, mut to } = home.pair();
    hand_over(&mut from, &mut to);
    drop((from, to, old, new));
    std::fs::remove_file(home.lease().join("lease")).unwrap();
    let mut keeper = home.keeper().option("--defer", "100ms").start();
    keeper.says("CORRUPT IN BOTH SLOTS, OR WAS LOST");
    keeper.app_says("up 3");
    for epoch in [2, 3] {
        assert!(home.lease().join(format!("snapshots/{epoch}/manifest.json")).exists(), "{epoch}");
    }
}

#[test]
fn a_holder_whose_record_is_corrupt_says_what_it_wrote() {
    let home = Home::new();
    let holder = home.holder();
    let standby = home.keeper().start();
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
    let Pair { old, new, mut from, mut to } = home.pair();
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
    let builder = home.keeper().option("--defer", "10ms");
    let mut keeper = builder.environment("LOCKGATE_KEEP_RESTORE", "skip").start();
    keeper.says("what epoch 2 did stays");
    keeper.app_says("up 3");
    assert_eq!(home.orders(), 2);
}

#[test]
fn a_snapshot_that_somebody_has_open_is_put_back_once_it_is_closed() {
    let home = Home::new();
    let before = home.bytes();
    let Pair { old: _old, new: _new, mut from, mut to } = home.pair();
    hand_over(&mut from, &mut to);
    home.sql("INSERT INTO orders VALUES (2)");
    let after = home.bytes();
    let copying = File::open(home.lease().join("snapshots/2/00-shop.sqlite3")).unwrap();
    let ticket = from.prepare();
    to.hand_over(&ticket);
    let held = from.take_in_vain();
    assert!(held.contains("00-shop.sqlite3 is open in") && held.contains("Nothing was changed"), "{held}");
    assert_eq!(home.bytes(), after);
    assert!(!home.lease().join("restore").exists());
    drop(copying);
    from.prepare();
    assert!(matches!(from.take().0, Saying::Leased { epoch: 3, restored: Some(2), .. }));
    assert_eq!(home.bytes(), before);
}

#[test]
fn a_manifest_that_names_a_foreign_file_puts_nothing_there() {
    let home = Home::new();
    let Pair { old: _old, new: _new, mut from, mut to } = home.pair();
    hand_over(&mut from, &mut to);
    let manifest = home.lease().join("snapshots/2/manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap().replace("\"shop.sqlite3\"", "\"../stolen\"");
    std::fs::write(&manifest, text).unwrap();
    let ticket = from.prepare();
    to.hand_over(&ticket);
    assert!(from.take_in_vain().contains("../stolen is no file of these databases"));
}

#[test]
fn the_snapshot_hook_is_given_the_snapshot() {
    let home = Home::new();
    let old = home.holder();
    let hook =
        format!("ls $LOCKGATE_SNAPSHOT > {0}/part; mv {0}/part {0}/shipped-$LOCKGATE_EPOCH", home.path().display());
    let new = home.keeper().option("--snapshot-hook", hook).start();
    let (mut from, mut to) = (old.talk(), new.talk());
    hand_over(&mut from, &mut to);
    let shipped = home.path().join("shipped-2");
    super::world::until("the hook", || shipped.exists());
    assert!(std::fs::read_to_string(shipped).unwrap().contains("manifest.json"));
}
