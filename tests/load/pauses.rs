//! Pausing and resuming under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::place::{App, Proxy};

const CYCLES: usize = 1_000;
const CONNECTIONS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pauses_under_sixty_four_busy_connections_cost_no_request() {
    let (proxy, app) = (Proxy::start(&[]), App::start().await);
    proxy.deploy(app.address).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut busy = JoinSet::new();
    for _ in 0..CONNECTIONS {
        busy.spawn(ask_again_and_again(proxy.address, Arc::clone(&stop)));
    }
    let mut slipped = 0;
    for _ in 0..CYCLES {
        proxy.pause().await;
        let at_the_pause = app.count();
        // All of them run into the closed gate.
        proxy.holds(CONNECTIONS).await;
        slipped += app.count() - at_the_pause;
        proxy.resume().await;
    }
    stop.store(true, Ordering::Relaxed);
    let answered: usize = busy.join_all().await.into_iter().sum();
    println!("{CYCLES} cycles, {answered} requests, {slipped} reached the app after `pause` had returned");
    assert_eq!(slipped, 0, "requests that reached the app after `pause` had returned");
    assert_eq!(app.count(), answered, "each request reached the app once");
    assert!(answered >= CYCLES * CONNECTIONS, "each connection was held in each cycle");
}

/// One connection, one request after the other; any answer but 200 ends the test. Returns how many there were.
async fn ask_again_and_again(proxy: SocketAddr, stop: Arc<AtomicBool>) -> usize {
    let stream = TcpStream::connect(proxy).await.expect("a connection");
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    let mut drivers = JoinSet::new();
    drivers.spawn(driver);
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        let request = Request::builder().uri("/").header("host", "load.example").body(Empty::<Bytes>::new());
        let answer = sender.send_request(request.expect("a request")).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.expect("a whole answer");
        answered += 1;
    }
    answered
}
