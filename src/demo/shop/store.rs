//! The shop's database: migrations, one thread that places orders in small batches, and one that writes in the
//! background, each with a connection of its own.

use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::clock;
use crate::demo::stamps::micros;

/// At most so many requests share one commit.
const BATCH: usize = 64;
/// How often the background writer writes.
const TICK: Duration = Duration::from_millis(20);
/// Products and their size: with them the database is larger than 2 MB from its first day.
const PRODUCTS: u32 = 640;
const DESCRIPTION: usize = 3_800;

/// An order as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Order {
    /// Unique, made by the client.
    pub(super) key: String,
    /// Which product.
    pub(super) item: u32,
}

enum Ask {
    Place { order: Order, answer: oneshot::Sender<Result<(), String>> },
    Recent { answer: oneshot::Sender<Result<Vec<String>, String>> },
}

/// The two threads. Dropping it waits until both have closed the database, one after the other: of two connections
/// that are closed at once neither may be the last, which writes the log back.
pub(super) struct Store {
    asks: Option<mpsc::Sender<Ask>>,
    stop_background: Option<mpsc::Sender<()>>,
    background: Option<JoinHandle<()>>,
    orders: Option<JoinHandle<()>>,
}

impl Store {
    /// Starts both threads on a migrated database.
    ///
    /// # Errors
    /// Where the database can't be opened a second time.
    pub(super) fn start(connection: Connection, database: &Path, boot: &str, version: u32) -> rusqlite::Result<Self> {
        let background = open(database)?;
        let (asks, asked) = mpsc::channel();
        let (stop_background, stopped) = mpsc::channel();
        let (placer, writer) = (boot.to_owned(), boot.to_owned());
        let orders = thread::spawn(move || answer_all(connection, &asked, &placer, version));
        let background = thread::spawn(move || write_in_the_background(&background, &stopped, &writer));
        let (asks, stop_background) = (Some(asks), Some(stop_background));
        Ok(Self { asks, stop_background, background: Some(background), orders: Some(orders) })
    }

    /// Places an order: returns once it is committed.
    ///
    /// # Errors
    /// The database's, in words.
    pub(super) async fn place(&self, order: Order) -> Result<(), String> {
        self.ask(|answer| Ask::Place { order, answer }).await
    }

    /// The keys of the ten newest orders.
    ///
    /// # Errors
    /// The database's, in words.
    pub(super) async fn recent(&self) -> Result<Vec<String>, String> {
        self.ask(|answer| Ask::Recent { answer }).await
    }

    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Ask) -> Result<T, String> {
        let (answer, answered) = oneshot::channel();
        let asked = self.asks.as_ref().is_some_and(|asks| asks.send(make(answer)).is_ok());
        match asked {
            true => answered.await.unwrap_or_else(|_| Err("the database was closed".to_owned())),
            false => Err("the database is closed".to_owned()),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop_background = None;
        let _ended = self.background.take().map(JoinHandle::join);
        self.asks = None;
        let _ended = self.orders.take().map(JoinHandle::join);
    }
}

/// Opens the database as this shop always does: write-ahead log, every commit synced.
///
/// # Errors
/// SQLite's.
pub(super) fn open(database: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(database)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(connection)
}

/// Brings the schema to `version`, one transaction a step. Each step changes the data too.
///
/// # Errors
/// SQLite's.
pub(super) fn migrate(connection: &mut Connection, version: u32) -> rusqlite::Result<()> {
    connection.execute_batch("CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY)")?;
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let current: u32 = change.query_row("SELECT coalesce(max(version), 0) FROM migrations", [], |row| row.get(0))?;
    for step in current + 1..=version {
        match step {
            1 => lay_tables(&change)?,
            _ => change.execute_batch(&format!(
                "ALTER TABLE orders ADD COLUMN added_by_{step} TEXT; UPDATE products SET price = price + 1"
            ))?,
        }
        change.execute("INSERT INTO migrations VALUES (?1)", [step])?;
    }
    change.commit()
}

fn lay_tables(change: &Transaction<'_>) -> rusqlite::Result<()> {
    change.execute_batch(
        "CREATE TABLE products (id INTEGER PRIMARY KEY, price INTEGER NOT NULL, description TEXT NOT NULL);
         CREATE TABLE orders (id INTEGER PRIMARY KEY, key TEXT NOT NULL, item INTEGER NOT NULL, boot TEXT NOT NULL,
            version INTEGER NOT NULL, schema INTEGER NOT NULL);
         CREATE INDEX orders_by_key ON orders (key);
         CREATE TABLE ticks (id INTEGER PRIMARY KEY, boot TEXT NOT NULL, at_us INTEGER NOT NULL);",
    )?;
    let mut random = fastrand::Rng::with_seed(7);
    let mut insert = change.prepare("INSERT INTO products (price, description) VALUES (?1, ?2)")?;
    for product in 0..PRODUCTS {
        let description: String = std::iter::repeat_with(|| random.alphanumeric()).take(DESCRIPTION).collect();
        insert.execute(params![100 + product, description])?;
    }
    Ok(())
}

/// What the migration of a very bad version does to the data, committed.
///
/// # Errors
/// SQLite's.
pub(super) fn spoil(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN; DELETE FROM orders WHERE id % 3 != 0; UPDATE products SET price = 0; COMMIT")
}

fn answer_all(mut connection: Connection, asked: &mpsc::Receiver<Ask>, boot: &str, version: u32) {
    while let Ok(first) = asked.recv() {
        let mut batch = vec![first];
        batch.extend(asked.try_iter().take(BATCH - 1));
        answer_batch(&mut connection, batch, boot, version);
    }
    if let Err((_, error)) = connection.close() {
        eprintln!("shop: the database did not close: {error}");
    }
}

/// One transaction for all orders of the batch; nobody is answered before it is committed.
fn answer_batch(connection: &mut Connection, batch: Vec<Ask>, boot: &str, version: u32) {
    let orders = batch.iter().filter_map(|ask| match ask {
        Ask::Place { order, .. } => Some(order),
        Ask::Recent { .. } => None,
    });
    let placed = place_all(connection, orders, boot, version).map_err(|error| error.to_string());
    for ask in batch {
        // Whoever left while waiting does not hear of it.
        let _heard = match ask {
            Ask::Place { answer, .. } => answer.send(placed.clone()).is_ok(),
            Ask::Recent { answer } => answer.send(recent(connection).map_err(|error| error.to_string())).is_ok(),
        };
    }
}

fn place_all<'a>(
    connection: &mut Connection,
    orders: impl Iterator<Item = &'a Order>,
    boot: &str,
    version: u32,
) -> rusqlite::Result<()> {
    let mut orders = orders.peekable();
    if orders.peek().is_none() {
        return Ok(());
    }
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut insert = change.prepare(
            "INSERT INTO orders (key, item, boot, version, schema)
             VALUES (?1, ?2, ?3, ?4, (SELECT max(version) FROM migrations))",
        )?;
        for order in orders {
            insert.execute(params![order.key, order.item, boot, version])?;
        }
    }
    change.commit()
}

fn recent(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut select = connection.prepare("SELECT key FROM orders ORDER BY id DESC LIMIT 10")?;
    select.query_map([], |row| row.get(0))?.collect()
}

fn write_in_the_background(connection: &Connection, stopped: &mpsc::Receiver<()>, boot: &str) {
    while stopped.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
        let at = i64::try_from(micros(clock::boottime())).unwrap_or(i64::MAX);
        if let Err(error) = connection.execute("INSERT INTO ticks (boot, at_us) VALUES (?1, ?2)", params![boot, at]) {
            eprintln!("shop: the background writer: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(database: &Path, table: &str) -> u32 {
        let connection = Connection::open(database).unwrap();
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    #[tokio::test]
    async fn an_order_that_was_placed_is_in_the_database() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("shop.db");
        let mut connection = open(&database).unwrap();
        migrate(&mut connection, 3).unwrap();
        let store = Store::start(connection, &database, "boot", 3).unwrap();
        store.place(Order { key: "a".to_owned(), item: 1 }).await.unwrap();
        assert_eq!(store.recent().await.unwrap(), ["a"]);
        drop(store);
        assert_eq!(count(&database, "orders"), 1);
        assert!(!directory.path().join("shop.db-wal").exists(), "the last connection closes the log");
        assert!(std::fs::metadata(&database).unwrap().len() >= 2 << 20);
    }

    #[test]
    fn migrations_go_on_where_they_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("shop.db");
        for version in [1, 1, 4] {
            migrate(&mut open(&database).unwrap(), version).unwrap();
        }
        assert_eq!(count(&database, "migrations"), 4);
    }

    #[test]
    fn the_spoiled_migration_deletes_orders() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("shop.db");
        let mut connection = open(&database).unwrap();
        migrate(&mut connection, 1).unwrap();
        let orders: Vec<Order> = (0..9).map(|key| Order { key: format!("{key}"), item: 1 }).collect();
        place_all(&mut connection, orders.iter(), "boot", 1).unwrap();
        spoil(&connection).unwrap();
        drop(connection);
        assert_eq!(count(&database, "orders"), 3);
    }
}
