//! Ten thousand held requests: released in order, except those whose clients left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::place::{App, Proxy, raise_the_limit_of_open_files};

const REQUESTS: usize = 10_000;
const BATCH: usize = 100;
/// Of each ten, the client of this one leaves.
const LEAVES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_held_requests_are_released_in_order_one_by_one() {
    let early = hold_and_release(1).await;
    assert_eq!(early, 0, "a request of a later batch reached the app before one of an earlier");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_thousand_held_requests_none_is_released_more_than_sixty_three_places_early() {
    let early = hold_and_release(64).await;
    assert!(early <= 63, "a request reached the app {early} places early");
}

/// Returns by how many places the earliest request was early, counted from the first place of its batch.
async fn hold_and_release(concurrency: usize) -> usize {
    raise_the_limit_of_open_files();
    let proxy = Proxy::start(&[("LOCKGATE_RELEASE_CONCURRENCY", &concurrency.to_string())]);
    let app = App::start().await;
    proxy.deploy(app.address).await;
    proxy.pause().await;
    let mut clients = BTreeMap::new();
    for batch in 0..REQUESTS / BATCH {
        let opened = open_batch(proxy.address, batch).await;
        clients.extend(opened);
        proxy.holds(clients.len()).await;
    }
    let left: BTreeSet<usize> = clients.keys().copied().filter(|number| number % 10 == LEAVES).collect();
    clients.retain(|number, _| !left.contains(number));
    assert_eq!((left.len(), clients.len()), (REQUESTS / 10, REQUESTS - REQUESTS / 10));
    proxy.holds(clients.len()).await;
    assert_eq!(app.count(), 0, "a held request is not sent");
    proxy.resume().await;
    all_are_answered(clients).await;
    let arrived: Vec<usize> = app.arrived().iter().map(|path| number_in(path)).collect();
    assert_eq!(arrived.len(), REQUESTS - left.len());
    assert!(arrived.iter().all(|number| !left.contains(number)), "nobody who left reaches the app");
    let early = earliest(&arrived);
    println!("{} released with concurrency {concurrency}: {early} places early at most", arrived.len());
    early
}

async fn open_batch(proxy: SocketAddr, batch: usize) -> Vec<(usize, TcpStream)> {
    let mut opening = JoinSet::new();
    for number in batch * BATCH..(batch + 1) * BATCH {
        opening.spawn(async move {
            let mut stream = TcpStream::connect(proxy).await.expect("a connection");
            let request = format!("GET /{number} HTTP/1.1\r\nhost: load.example\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("sent");
            (number, stream)
        });
    }
    opening.join_all().await
}

async fn all_are_answered(clients: BTreeMap<usize, TcpStream>) {
    let mut answers = JoinSet::new();
    for (number, mut stream) in clients {
        answers.spawn(async move {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{number}: {answer}");
        });
    }
    answers.join_all().await;
}

fn number_in(path: &str) -> usize {
    path.trim_start_matches('/').parse().expect("the path is a number")
}

/// In a batch, nobody knows who came first; so a request is early by as many places as it stands before the first place
/// that its batch has in the queue.
fn earliest(arrived: &[usize]) -> usize {
    let stayed_in_a_batch = BATCH - BATCH / 10;
    let early = arrived.iter().enumerate().map(|(place, number)| {
        let first_place = number / BATCH * stayed_in_a_batch;
        first_place.saturating_sub(place)
    });
    early.max().unwrap_or_default()
}
