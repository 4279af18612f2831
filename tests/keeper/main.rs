//! The keeper, as real processes with real databases.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity, reason = "a test may panic")]

#[path = "../world/mount.rs"]
#[allow(dead_code, reason = "shared with the tests of whole handoffs, which use more of it")]
mod mount;
#[path = "../world/keeper.rs"]
mod world;

mod conversation;
mod exits;
mod kills;
mod openers;
mod record;
mod restore;
mod start;
mod syncs;
mod volume;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lockgate::lease::{Directory, Reading, Record};
use sha2::{Digest, Sha256};
use world::{Keeper, KeeperBuilder, Talk};

/// A directory with a database in it.
struct Home {
    home: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { home: tempfile::tempdir().unwrap() };
        home.sql(
            "PRAGMA journal_mode = WAL; CREATE TABLE orders (id INTEGER PRIMARY KEY); INSERT INTO orders VALUES (1)",
        );
        home
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    fn database(&self) -> PathBuf {
        self.home.path().join("shop.sqlite3")
    }

    fn lease(&self) -> PathBuf {
        world::lease_of(&self.database())
    }

    /// A keeper of its database, not started yet.
    fn keeper(&self) -> KeeperBuilder {
        KeeperBuilder::of(&self.database())
    }

    /// A keeper whose app lives, by the first epoch.
    #[track_caller]
    fn holder(&self) -> Keeper {
        holds(self.keeper())
    }

    #[track_caller]
    fn pair(&self) -> Pair {
        Pair::of(self.keeper(), self.keeper())
    }

    /// What the volume remembers.
    #[track_caller]
    fn record(&self) -> Record {
        match Directory::open(&self.lease(), self.path()).unwrap().look().unwrap().reading {
            Reading::Good(record) => *record,
            other => panic!("no record: {other:?}"),
        }
    }

    fn sql(&self, text: &str) {
        rusqlite::Connection::open(self.database()).unwrap().execute_batch(text).unwrap();
    }

    fn orders(&self) -> i64 {
        let database = rusqlite::Connection::open(self.database()).unwrap();
        database.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap()
    }

    /// SHA-256 of each file beside the database that begins with its name.
    fn bytes(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(self.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let hash = Sha256::digest(std::fs::read(entry.path()).unwrap());
                let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                all.insert(entry.file_name().into_string().unwrap(), hash);
            }
        }
        all
    }
}

/// A keeper that holds, a keeper that stands by, and a conversation with each.
struct Pair {
    old: Keeper,
    new: Keeper,
    from: Talk,
    to: Talk,
}

impl Pair {
    #[track_caller]
    fn of(old: KeeperBuilder, new: KeeperBuilder) -> Self {
        let old = holds(old);
        let mut new = new.start();
        new.says("stands by");
        let (from, to) = (old.talk(), new.talk());
        Self { old, new, from, to }
    }

    /// Two of one database.
    #[track_caller]
    fn at(database: &Path) -> Self {
        Self::of(KeeperBuilder::of(database), KeeperBuilder::of(database))
    }
}

/// Starts a keeper, and waits until its app is up and its status says so.
#[track_caller]
fn holds(keeper: KeeperBuilder) -> Keeper {
    let mut keeper = keeper.start();
    keeper.app_says("up");
    keeper.says("holds the lease, epoch 1");
    keeper
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
