//! The keeper, as real processes with real databases.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity, reason = "a test may panic")]

#[path = "../world/mount.rs"]
#[allow(dead_code, reason = "shared with the tests of whole handoffs, which use more of it")]
mod mount;
#[path = "../world/keeper.rs"]
mod world;

mod conversation;
mod exits;
mod faults;
mod kills;
mod restore;
mod start;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

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

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
