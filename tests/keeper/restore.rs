//! A restore that is killed after each of its steps is finished by whoever comes next.

use std::io;
use std::path::Path;

use lockgate::lease::{Directory, Reading, Record};
use lockgate::snapshot::{Databases, Step, Store};
use lockgate::wire::Holder;

use super::Home;
use super::record::{newest_slot, spoil};

/// A database whose epoch 2 is unconfirmed and has spoiled everything, and the store with its snapshot.
fn spoiled(home: &Home) -> (Directory, Databases, Store) {
    std::fs::write(home.path().join("shop.sqlite3-journal"), "the journal of before").unwrap();
    let directory = Directory::open(&home.lease().canonicalize().unwrap_or(home.lease()), home.path()).unwrap();
    let databases = Databases::new(&[home.database().to_str().unwrap().to_owned()]).unwrap();
    let store = Store::new(&directory.path().canonicalize().unwrap());
    store.take(2, &databases, None, None).unwrap();
    let holder = Some(Holder { id: "gone:1".into(), control: "127.0.0.1:1".into() });
    let record =
        Record { epoch: 2, unconfirmed: true, holder, last_confirmed: Some("old:1".into()), ..Record::blank() };
    directory.lock().unwrap().unwrap().write(&record).unwrap();
    for (name, text) in [("", "spoiled"), ("-wal", "a foreign log"), ("-shm", "shared"), ("-mjAB", "foreign")] {
        std::fs::write(format!("{}{name}", home.database().display()), text).unwrap();
    }
    std::fs::remove_file(home.path().join("shop.sqlite3-journal")).unwrap();
    (directory, databases, store)
}

/// Restores until the step of this number is done, then dies.
fn restore_and_die(directory: &Directory, databases: &Databases, store: &Store, steps: usize) -> Option<Step> {
    let restore = store.check(2, databases, None).unwrap().unwrap();
    let mut left = steps;
    let mut died = None;
    let mut record = || {
        let mut lease = directory.lock().map_err(io::Error::other)?.unwrap();
        let Reading::Good(record) = lease.reading().clone() else { panic!("no record") };
        lease.write(&Record { unconfirmed: false, ..*record }).map_err(io::Error::other)
    };
    let result = restore.run(databases, &mut |_: &Path| Ok(()), &mut record, &mut |step| {
        left -= 1;
        if left > 0 {
            return Ok(());
        }
        died = Some(step);
        Err(io::Error::other("killed"))
    });
    assert_eq!(result.is_err(), died.is_some());
    died
}

#[test]
fn a_restore_killed_after_any_of_its_steps_is_finished_by_the_next_keeper() {
    let mut killed_after = Vec::new();
    for steps in 1.. {
        let home = Home::new();
        std::fs::write(home.path().join("shop.sqlite3-journal"), "the journal of before").unwrap();
        let before = home.bytes();
        let (directory, databases, store) = spoiled(&home);
        let Some(step) = restore_and_die(&directory, &databases, &store, steps) else { break };
        killed_after.push(step);
        let mut keeper = home.keeper().option("--defer", "10ms").start();
        keeper.app_says("up 3");
        assert_eq!(home.bytes(), before, "killed after step {steps}, {step:?}");
        assert!(!home.lease().join("restore").exists(), "the marker after {step:?}");
        assert!(keeper.status().confirmed);
        if step != Step::Recorded && step != Step::Unmarked {
            keeper.says("epoch 2 was not confirmed: the data are as they were before it");
        }
    }
    use Step::{Marked, MovedAside, Placed, Recorded, Synced, Unmarked};
    let all = [Marked, MovedAside, MovedAside, MovedAside, MovedAside, Placed, Placed, Synced, Recorded, Unmarked];
    assert_eq!(killed_after, all);
}

#[test]
fn an_interrupted_restore_is_finished_though_the_record_of_its_epoch_is_spoiled() {
    let home = Home::new();
    std::fs::write(home.path().join("shop.sqlite3-journal"), "the journal of before").unwrap();
    let before = home.bytes();
    let first = Record { epoch: 1, last_confirmed: Some("old:1".into()), ..Record::blank() };
    let directory = Directory::open(&home.lease(), home.path()).unwrap();
    directory.lock().unwrap().unwrap().write(&first).unwrap();
    let (directory, databases, store) = spoiled(&home);
    assert_eq!(restore_and_die(&directory, &databases, &store, 2), Some(Step::MovedAside));
    spoil(&home, newest_slot(&home));
    assert_eq!(home.record(), first);
    let mut keeper = home.keeper().option("--defer", "10ms").start();
    keeper.says("epoch 2 was not confirmed: the data are as they were before it");
    keeper.app_says("up 3");
    assert_eq!(home.bytes(), before);
}

#[test]
fn a_snapshot_that_cannot_be_looked_at_is_not_taken_for_none() {
    let home = Home::new();
    std::fs::write(home.path().join("shop.sqlite3-journal"), "the journal of before").unwrap();
    let before = home.bytes();
    spoiled(&home);
    let (snapshot, away) = (home.lease().join("snapshots/2"), home.path().join("away"));
    std::fs::rename(&snapshot, &away).unwrap();
    // A link to itself: whatever is asked of it fails.
    std::os::unix::fs::symlink("2", &snapshot).unwrap();
    let mut keeper = home.keeper().option("--defer", "10ms").start();
    let line = keeper.says("cannot take the lease: ");
    assert!(line.contains("ITS SNAPSHOT CANNOT BE PUT BACK: cannot look at "), "{line}");
    assert!(home.record().unconfirmed && keeper.app_said().is_empty());
    drop(keeper);
    std::fs::remove_file(&snapshot).unwrap();
    std::fs::rename(&away, &snapshot).unwrap();
    home.keeper().option("--defer", "10ms").start().app_says("up 3");
    assert_eq!(home.bytes(), before);
}

#[test]
fn a_restore_killed_again_and_again_is_finished_in_the_end() {
    let home = Home::new();
    std::fs::write(home.path().join("shop.sqlite3-journal"), "the journal of before").unwrap();
    let before = home.bytes();
    let (directory, databases, store) = spoiled(&home);
    for steps in 1..20 {
        let Reading::Good(record) = directory.look().unwrap().reading else { panic!("no record") };
        if !record.unconfirmed {
            break;
        }
        restore_and_die(&directory, &databases, &store, steps);
    }
    assert_eq!(home.bytes(), before);
}

#[test]
fn an_interrupted_restore_whose_files_were_spoiled_since_is_not_finished() {
    let home = Home::new();
    let (directory, databases, store) = spoiled(&home);
    let mut placed = 0;
    for steps in 1.. {
        if restore_and_die(&directory, &databases, &store, steps) == Some(Step::Placed) {
            placed += 1;
            break;
        }
    }
    assert_eq!(placed, 1);
    std::fs::write(home.database(), "spoiled by somebody else").unwrap();
    let error = store.check(2, &databases, None).unwrap_err().to_string();
    assert!(error.contains("where the manifest says"), "{error}");
}

#[test]
fn a_person_who_skips_an_interrupted_restore_never_starts_on_half_a_set() {
    for steps in 1.. {
        let home = Home::new();
        std::fs::write(home.path().join("shop.sqlite3-journal"), "the journal of before").unwrap();
        let before = home.bytes();
        let (directory, databases, store) = spoiled(&home);
        let after = home.bytes();
        let Some(step) = restore_and_die(&directory, &databases, &store, steps) else { break };
        let keeper = || home.keeper().option("--defer", "10ms");
        let mut skipping = keeper().environment("LOCKGATE_KEEP_RESTORE", "skip").start();
        match step {
            Step::Marked => {
                skipping.app_says("up 3");
                assert_eq!(home.bytes(), after, "what the epoch did stays");
            }
            Step::MovedAside | Step::Placed | Step::Synced => {
                let line = skipping.says("THE RESTORE OF EPOCH 2 WAS INTERRUPTED");
                let aside = directory.path().canonicalize().unwrap().join("aside/2");
                assert!(line.contains(aside.to_str().unwrap()), "after {step:?}: {line}");
                assert!(skipping.status().note.contains("half put back") && skipping.app_said().is_empty());
                drop(skipping);
                keeper().start().app_says("up 3");
                assert_eq!(home.bytes(), before, "finished without skip, after {step:?}");
            }
            Step::Recorded | Step::Unmarked => {
                skipping.app_says("up 3");
                assert_eq!(home.bytes(), before, "it was finished, after {step:?}");
            }
        }
    }
}

#[test]
fn an_interrupted_restore_whose_snapshot_is_gone_starts_no_app() {
    let home = Home::new();
    let (directory, databases, store) = spoiled(&home);
    assert_eq!(restore_and_die(&directory, &databases, &store, 2), Some(Step::MovedAside));
    std::fs::remove_dir_all(store.snapshot(2)).unwrap();
    let mut keeper = home.keeper().option("--defer", "10ms").start();
    keeper.says("THE RESTORE OF EPOCH 2 WAS INTERRUPTED");
    assert!(keeper.app_said().is_empty());
}

#[test]
fn what_is_moved_aside_twice_is_kept_twice() {
    let home = Home::new();
    let (directory, databases, store) = spoiled(&home);
    assert_eq!(restore_and_die(&directory, &databases, &store, 2), Some(Step::MovedAside));
    std::fs::write(home.database(), "made by somebody else").unwrap();
    assert_eq!(restore_and_die(&directory, &databases, &store, 100), None);
    let aside = |name| std::fs::read_to_string(store.aside(2).join(name)).unwrap();
    assert_eq!(
        (aside("shop.sqlite3").as_str(), aside("shop.sqlite3.1").as_str()),
        ("spoiled", "made by somebody else")
    );
}
