//! What is on the disk before what: whatever a power cut leaves, the next keeper can go on from it.

use std::path::{Path, PathBuf};
use std::process::Command;

use lockgate::wire::{Saying, Verb};

use super::world::{KeeperBuilder, hand_over};
use super::{Home, Pair};

/// What a keeper did to files, in order: `write`, `sync`, `rename` and `unlink`, with paths from its lease directory; and
/// `start`, by its app.
struct Calls {
    home: tempfile::TempDir,
}

impl Calls {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keeper/calls.c");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-o"]).arg(home.path().join("calls.so")).arg(source);
        assert!(compile.status().unwrap().success(), "{compile:?}");
        Self { home }
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    /// A keeper that is watched.
    fn of(&self, keeper: KeeperBuilder) -> KeeperBuilder {
        let library = self.home.path().join("calls.so");
        keeper
            .environment("LD_PRELOAD", library.to_str().unwrap())
            .environment("LOCKGATE_TEST_CALLS", self.log().to_str().unwrap())
            .app("echo start >> $LOCKGATE_TEST_CALLS; echo up $LOCKGATE_EPOCH; exec sleep 1000")
    }

    fn forget(&self) {
        std::fs::write(self.log(), "").unwrap();
    }

    fn said(&self, lease: &Path) -> Said {
        let (inside, beside) = (format!("{}/", lease.display()), format!("{}/", lease.parent().unwrap().display()));
        let text = std::fs::read_to_string(self.log()).unwrap();
        let plain = |line: &str| format!("{line}/").replace(&inside, "./").replace(&beside, "../");
        Said(text.lines().map(|line| plain(line).trim_end_matches('/').to_owned()).collect())
    }
}

struct Said(Vec<String>);

impl Said {
    /// Each of these once more after the one before.
    #[track_caller]
    fn has_in_order(&self, wanted: &[&str]) {
        let mut rest = self.0.iter();
        for line in wanted {
            assert!(rest.any(|said| said == line), "no {line:?} in its place: {:#?}", self.0);
        }
    }

    /// All of these, in any order, before the first of `then`.
    #[track_caller]
    fn has_before(&self, wanted: &[&str], then: &str) {
        let before: Vec<_> = self.0.iter().take_while(|line| *line != then).collect();
        assert!(before.len() < self.0.len(), "no {then:?}: {:#?}", self.0);
        for line in wanted {
            assert!(before.iter().any(|said| said == line), "no {line:?} before {then:?}: {:#?}", self.0);
        }
    }

    /// Whatever was written is synced before the record is written.
    #[track_caller]
    fn leaves_nothing_unsynced_at(&self, then: &str) {
        let end = self.0.iter().position(|line| line == then).unwrap();
        for (at, line) in self.0[..end].iter().enumerate() {
            let Some(path) = line.strip_prefix("write ") else { continue };
            let sync = format!("sync {path}");
            assert!(self.0[at..end].contains(&sync), "{path} is not synced: {:#?}", self.0);
        }
    }
}

#[test]
fn a_lease_directory_is_synced_with_its_parent_before_its_first_record() {
    let (home, calls) = (Home::new(), Calls::new());
    let mut keeper = calls.of(home.keeper()).start();
    keeper.app_says("up 1");
    let said = calls.said(&home.lease());
    said.has_in_order(&["sync ./lease", "sync .", "sync ..", "write ./lease", "sync ./lease", "start"]);
}

#[test]
fn a_snapshot_is_synced_before_its_epoch_and_that_before_the_app_starts() {
    let (home, calls) = (Home::new(), Calls::new());
    let Pair { old: _old, mut new, mut from, mut to } = Pair::of(home.keeper(), calls.of(home.keeper()));
    let ticket = to.prepare();
    from.hand_over(&ticket);
    calls.forget();
    to.take();
    new.app_says("up 2");
    let said = calls.said(&home.lease());
    let kept = ["sync ./snapshots/2/00-shop.sqlite3", "sync ./snapshots/2/restore", "sync ./snapshots/2/manifest.json"];
    let directories = ["sync ./snapshots/2", "sync ./snapshots", "sync ./aside", "sync ."];
    said.has_before(&[kept.as_slice(), &directories].concat(), "write ./lease");
    said.leaves_nothing_unsynced_at("write ./lease");
    said.has_in_order(&["write ./lease", "sync ./lease", "start"]);
}

#[test]
fn a_restore_is_marked_then_in_place_then_recorded_then_unmarked_each_synced() {
    let (home, calls) = (Home::new(), Calls::new());
    let Pair { mut old, new: _new, mut from, mut to } = Pair::of(calls.of(home.keeper()), home.keeper());
    hand_over(&mut from, &mut to);
    home.sql("INSERT INTO orders VALUES (2)");
    calls.forget();
    hand_over(&mut to, &mut from);
    old.app_says("up 3");
    let said = calls.said(&home.lease());
    said.has_in_order(&[
        "rename ./snapshots/2/restore ./restore",
        "sync .",
        "rename ../shop.sqlite3 ./aside/2/shop.sqlite3",
        "rename ./snapshots/2/00-shop.sqlite3 ../shop.sqlite3",
        "sync ..",
        "write ./lease",
        "sync ./lease",
        "unlink ./restore",
        "sync .",
        "write ./lease",
        "sync ./lease",
        "start",
    ]);
    said.has_before(&["sync ..", "sync ./aside/2", "sync ./snapshots/2"], "write ./lease");
}

#[test]
fn a_confirmation_is_synced_before_its_answer() {
    let (home, calls) = (Home::new(), Calls::new());
    let Pair { old: _old, new: _new, mut from, mut to } = Pair::of(home.keeper(), calls.of(home.keeper()));
    hand_over(&mut from, &mut to);
    calls.forget();
    assert_eq!(to.ask(Verb::Confirm { epoch: 2 }), Saying::Confirmed { epoch: 2 });
    calls.said(&home.lease()).has_in_order(&["write ./lease", "sync ./lease"]);
}
