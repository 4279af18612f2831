//! Orders, each with a key of its own, and what became of them.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::world::{PATIENCE, World, until};

/// Clients that order one after the other until they are told to end.
pub(crate) struct Load {
    ending: Arc<AtomicBool>,
    placed: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<Answered>>>,
}

/// An order and its answer; 0 = none.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) key: String,
    pub(crate) status: u16,
}

impl Load {
    pub(crate) fn start(world: &World, clients: usize) -> Self {
        let (ending, placed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let port = world.proxy.port;
        let client = |number| {
            let (ending, placed) = (Arc::clone(&ending), Arc::clone(&placed));
            std::thread::spawn(move || {
                let mut answered = Vec::new();
                let mut connection = None;
                while !ending.load(Ordering::Relaxed) {
                    let key = format!("client {number} order {}", answered.len());
                    let status = order(&mut connection, port, &key, 0);
                    answered.push(Answered { key, status });
                    placed.fetch_add(1, Ordering::Relaxed);
                }
                answered
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { ending, placed, clients }
    }

    /// Waits for more orders to be placed.
    #[track_caller]
    pub(crate) fn goes_on(&self) {
        let wanted = self.placed.load(Ordering::Relaxed) + 50;
        until("more orders are placed", || self.placed.load(Ordering::Relaxed) >= wanted);
    }

    /// All orders, after their ends.
    pub(crate) fn end(self) -> Vec<Answered> {
        self.ending.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

/// None failed, none that was acknowledged is lost, and the database has no other.
#[track_caller]
pub(crate) fn nothing_was_lost(world: &World, orders: &[Answered]) {
    let failed: Vec<_> = orders.iter().filter(|order| order.status != 201).collect();
    assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), orders.len(), failed.first());
    let keys: BTreeSet<_> = orders.iter().map(|order| order.key.clone()).collect();
    assert!(keys_in(world) == keys, "clients and database do not agree");
}

/// The keys of all orders in the database.
pub(crate) fn keys_in(world: &World) -> BTreeSet<String> {
    let database = rusqlite::Connection::open(world.database()).expect("a database");
    let mut keys = database.prepare("SELECT key FROM orders").expect("a table");
    let keys = keys.query_map((), |row| row.get(0)).expect("rows");
    keys.map(|key| key.expect("a key")).collect()
}

/// One order that takes a while, on a connection of its own; gives back its status.
pub(crate) fn slow_order(world: &World, key: &str, slow_ms: u64) -> JoinHandle<u16> {
    let (port, key) = (world.proxy.port, key.to_owned());
    std::thread::spawn(move || order(&mut None, port, &key, slow_ms))
}

/// [`slow_order`], once it is in flight.
#[track_caller]
pub(crate) fn order_in_flight(world: &World, slow_ms: u64) -> JoinHandle<u16> {
    let slow = slow_order(world, "slow", slow_ms);
    until("it is in flight", || world.status()["in_flight"].as_u64() > Some(0));
    slow
}

/// An order that is held.
#[track_caller]
pub(crate) fn held_order(world: &World) -> JoinHandle<u16> {
    let held = slow_order(world, "held", 0);
    until("it is held", || world.status()["held"] == 1);
    held
}

fn order(connection: &mut Option<BufReader<TcpStream>>, port: u16, key: &str, slow_ms: u64) -> u16 {
    let status = try_order(connection, port, key, slow_ms);
    if status.is_err() {
        *connection = None;
    }
    status.unwrap_or(0)
}

fn try_order(
    connection: &mut Option<BufReader<TcpStream>>,
    port: u16,
    key: &str,
    slow_ms: u64,
) -> std::io::Result<u16> {
    let reader = match connection {
        Some(reader) => reader,
        None => {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            connection.insert(BufReader::new(stream))
        }
    };
    let body = serde_json::json!({"key": key, "item": 1, "slow_ms": slow_ms}).to_string();
    let head = format!("POST /orders HTTP/1.1\r\nhost: shop.test\r\ncontent-length: {}\r\n\r\n", body.len());
    reader.get_mut().write_all(format!("{head}{body}").as_bytes())?;
    let (mut status, mut length, mut close) = (0, 0, false);
    for number in 0.. {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if number == 0 {
            status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        close |= line == "connection: close";
        if line.is_empty() {
            break;
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    if close {
        *connection = None;
    }
    Ok(status)
}
