//! Connections to the app that turn out to be dead.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::world::{Then, shop, until};

#[test]
fn a_safe_request_goes_over_another_connection_once() {
    let used = AtomicUsize::new(0);
    let (proxy, app) = shop(move |turn| {
        if turn.seen.path == "/die" && used.load(Ordering::SeqCst) == turn.seen.connection {
            return Then::Close;
        }
        used.store(turn.seen.connection, Ordering::SeqCst);
        turn.ok("ok")
    });
    let mut client = proxy.client();
    assert_eq!(client.get("/first").status, 200);
    assert_eq!(client.get("/die").status, 200);
    assert_eq!(app.paths(), ["/first", "/die", "/die"]);
    let on: Vec<usize> = app.seen().iter().map(|seen| seen.connection).collect();
    assert!(on[0] == on[1] && on[1] != on[2], "{on:?}");
}

#[test]
fn a_post_that_may_have_been_seen_is_never_sent_twice() {
    let (proxy, app) = shop(|turn| {
        turn.read_body();
        if turn.seen.path == "/die" {
            return Then::Close;
        }
        turn.ok("ok")
    });
    let mut client = proxy.client();
    assert_eq!(client.get("/first").status, 200);
    client.send("POST /die HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.answer().status, 502);
    assert_eq!(app.paths(), ["/first", "/die"]);
}

#[test]
fn a_fresh_connection_is_not_tried_again() {
    let (proxy, app) = shop(|_| Then::Close);
    assert_eq!(proxy.client().get("/").status, 502);
    assert_eq!(app.paths(), ["/"]);
}

#[test]
fn a_connection_that_the_app_has_closed_is_not_used() {
    let (proxy, app) = shop(|turn| {
        turn.read_body();
        turn.ok("ok");
        Then::Close
    });
    let mut client = proxy.client();
    for _ in 0..20 {
        client.send("POST /order HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.answer().status, 200, "whatever the method: nothing of it was written");
        app.wait_until_left();
    }
    assert_eq!(app.paths().len(), 20);
}

#[test]
fn idle_connections_are_closed_after_4_seconds() {
    let (proxy, app) = shop(|turn| turn.ok("ok"));
    let began = std::time::Instant::now();
    assert_eq!(proxy.client().get("/").status, 200);
    assert!(app.open() > 0);
    until("the end of the idle connection", || app.open() == 0);
    let idle = began.elapsed().as_millis();
    assert!((3_900..7_000).contains(&idle), "{idle} ms");
}

#[test]
fn the_connection_after_an_early_answer_serves_no_other() {
    let (proxy, app) = shop(|turn| {
        if turn.seen.path == "/early" {
            turn.send("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\n\r\n");
            turn.wait();
            return Then::Close;
        }
        turn.ok("ok")
    });
    let mut uploader = proxy.client();
    uploader.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome");
    assert_eq!(uploader.answer().status, 413);
    assert_eq!(proxy.client().get("/next").status, 200);
    app.release();
}
