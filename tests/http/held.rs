//! Requests that wait, and clients that do not.

use crate::world::app::polite;
use crate::world::{Client, Proxy, shop, shop_with, until};

fn pause(proxy: &Proxy) {
    proxy.must(&["pause", "shop", "--max-pause", "30s", "--drain-timeout", "1s"]);
}

fn resume(proxy: &Proxy) {
    proxy.must(&["resume", "shop"]);
}

#[test]
fn a_held_request_goes_through_once_the_gate_opens() {
    let (proxy, app) = shop(polite);
    pause(&proxy);
    let mut client = proxy.client();
    client.ask("/held");
    proxy.wait_until_held("shop", 1);
    assert!(client.is_silent());
    assert_eq!(app.paths(), [""; 0]);
    resume(&proxy);
    assert_eq!(client.answer().text(), "ok");
    assert!(proxy.request_line("/held")["held_ms"].as_u64().is_some());
    assert_eq!(client.get("/after").status, 200);
    assert!(proxy.request_line("/after").get("held_ms").is_none());
}

#[test]
fn a_held_body_arrives_whole() {
    let (proxy, app) = shop(polite);
    pause(&proxy);
    let body = "x".repeat(300_000);
    let mut small = proxy.client();
    small.send("POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
    proxy.wait_until_held("shop", 1);
    small.send("llo");
    let mut large = proxy.client();
    large.send(format!("POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    proxy.wait_until_held("shop", 2);
    let sender = std::thread::spawn(move || {
        large.send(&body);
        large
    });
    resume(&proxy);
    assert_eq!(small.answer().status, 200);
    assert_eq!(sender.join().unwrap().answer().status, 200);
    let mut seen = app.seen();
    seen.sort_by_key(|seen| seen.body.len());
    assert_eq!(seen[0].body, b"hello");
    assert_eq!((seen[1].body.len(), seen[1].header("content-length")), (300_000, Some("300000")));
}

#[test]
fn a_held_body_in_chunks_arrives_whole_and_holds_up_nobody() {
    let (proxy, app) = shop(polite);
    pause(&proxy);
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-md\r\n\r\n\
         2\r\nhe\r\n3\r\nllo\r\n0\r\nx-md: 9\r\n\r\n",
    );
    proxy.wait_until_held("shop", 1);
    let mut others: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    others.iter_mut().for_each(|other| assert_eq!(other.get("/up").status, 200));
    resume(&proxy);
    assert_eq!(client.answer().status, 200);
    let seen = app.seen().remove(0);
    assert_eq!((&seen.body[..], &seen.trailers[..]), (&b"hello"[..], &[("x-md".to_owned(), "9".to_owned())][..]));
}

/// Holds a request, has its client leave, and says what reached the app once the gate was open again.
fn reaches_the_app(request: &[u8]) -> Vec<String> {
    let (proxy, app) = shop(polite);
    pause(&proxy);
    let mut leaver = proxy.client();
    leaver.send(request);
    proxy.wait_until_held("shop", 1);
    drop(leaver);
    proxy.wait_until_held("shop", 0);
    let mut stayer = proxy.client();
    stayer.ask("/stayer");
    proxy.wait_until_held("shop", 1);
    resume(&proxy);
    assert_eq!(stayer.answer().status, 200);
    let left = proxy.request_line("/leaver");
    assert_eq!(left["status"], 499);
    app.paths()
}

#[test]
fn a_client_that_leaves_is_never_dispatched_without_a_body() {
    assert_eq!(reaches_the_app(b"GET /leaver HTTP/1.1\r\nHost: a\r\n\r\n"), ["/stayer"]);
}

#[test]
fn a_client_that_leaves_is_never_dispatched_with_a_small_body() {
    assert_eq!(reaches_the_app(b"POST /leaver HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"), ["/stayer"]);
}

#[test]
fn a_client_that_leaves_is_never_dispatched_with_half_a_body() {
    assert_eq!(reaches_the_app(b"POST /leaver HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"), ["/stayer"]);
}

#[test]
fn a_client_that_leaves_is_never_dispatched_with_a_body_larger_than_any_bound() {
    let mut request = b"POST /leaver HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n".to_vec();
    request.resize(request.len() + 256 * 1024, b'x');
    assert_eq!(reaches_the_app(&request), ["/stayer"]);
}

#[test]
fn a_client_that_leaves_is_never_dispatched_while_it_awaits_100() {
    let request = b"POST /leaver HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(reaches_the_app(request), ["/stayer"]);
}

#[test]
fn a_client_that_leaves_is_never_dispatched_with_a_request_behind() {
    let request = b"GET /leaver HTTP/1.1\r\nHost: a\r\n\r\nGET /behind HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(reaches_the_app(request), ["/stayer"]);
}

#[test]
fn no_100_is_sent_while_held_and_none_is_dispatched_before_its_first_byte() {
    // One place: who waits for its client's first byte must not keep it.
    let proxy = Proxy::with(&[("LOCKGATE_RELEASE_CONCURRENCY", "1")]);
    let app = crate::world::App::start(polite);
    proxy.deploy("shop", &app, &[]);
    pause(&proxy);
    let mut slow = proxy.client();
    slow.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    proxy.wait_until_held("shop", 1);
    let mut other = proxy.client();
    other.ask("/other");
    proxy.wait_until_held("shop", 2);
    assert!(slow.is_silent());
    resume(&proxy);
    assert_eq!(slow.head().unwrap().status, 100);
    assert_eq!(other.answer().status, 200);
    assert_eq!(app.paths(), ["/other"]);
    slow.send("hello");
    assert_eq!(slow.answer().status, 200);
    assert_eq!(app.paths(), ["/other", "/slow"]);
    assert_eq!(app.seen()[1].body, b"hello");
}

#[test]
fn a_malformed_body_is_refused_while_it_is_held() {
    let (proxy, app) = shop(polite);
    pause(&proxy);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nZZ\r\n");
    assert_eq!(client.answer().status, 400);
    assert_eq!(proxy.held("shop"), 0);
    assert_eq!(app.paths(), [""; 0]);
}

#[test]
fn the_health_path_is_answered_by_the_proxy_while_paused() {
    let (proxy, app) = shop_with(&["--health-check-path", "/up"], polite);
    pause(&proxy);
    let mut client = proxy.client();
    let answer = client.get("/up?x=1");
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("0")));
    client.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    proxy.wait_until_held("shop", 1);
    assert_eq!(app.paths(), [""; 0]);
}

#[test]
fn a_request_that_waited_too_long_is_told_so() {
    let (proxy, _app) = shop(polite);
    proxy.must(&["pause", "shop", "--max-pause", "100ms"]);
    let answer = proxy.client().get("/late");
    assert_eq!(answer.status, 504);
    let line = proxy.wait_for_line(|line| line["msg"] == "Rejecting request due to expired pause");
    assert_eq!((&line["service"], &line["path"]), (&"shop".into(), &"/late".into()));
}

#[test]
fn one_more_than_may_wait_is_refused_at_once() {
    let proxy = Proxy::with(&[("LOCKGATE_MAX_HELD", "2"), ("LOCKGATE_RELEASE_CONCURRENCY", "1")]);
    let app = crate::world::App::start(polite);
    proxy.deploy("shop", &app, &[]);
    pause(&proxy);
    let mut held: Vec<Client> = (0..2).map(|_| proxy.client()).collect();
    held.iter_mut().for_each(|client| client.ask("/held"));
    proxy.wait_until_held("shop", 2);
    let answer = proxy.client().get("/full");
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    drop(held.remove(0));
    proxy.wait_until_held("shop", 1);
    let mut next = proxy.client();
    next.ask("/next");
    proxy.wait_until_held("shop", 2);
    resume(&proxy);
    assert_eq!(next.answer().status, 200);
}

#[test]
fn a_pause_cuts_what_does_not_end_in_time() {
    let (proxy, app) = shop(|turn| {
        if turn.seen.path == "/begun" {
            turn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        }
        turn.wait();
        crate::world::Then::Close
    });
    let (mut waiting, mut begun) = (proxy.client(), proxy.client());
    waiting.ask("/waiting");
    begun.ask("/begun");
    app.wait_for(2);
    assert_eq!(begun.head().unwrap().status, 200);
    proxy.must(&["pause", "shop", "--drain-timeout", "100ms"]);
    let answer = waiting.answer();
    assert_eq!(answer.status, 504);
    assert!(answer.header("retry-after").is_some());
    assert!(begun.is_at_end());
    until("a line", || proxy.log().iter().any(|line| line["msg"] == "Request cancelled due to draining"));
    (0..2).for_each(|_| app.release());
}
