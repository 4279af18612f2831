//! Connections to the app that turn out to be dead.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::world::{App, Proxy, Then, shop, until};

/// An app that breaks off every request for `/die` on a connection that has served another.
fn dies_on_reuse() -> (Proxy, App) {
    let used = AtomicUsize::new(0);
    shop(move |turn| {
        turn.read_body();
        if turn.seen.path == "/die" && used.load(Ordering::SeqCst) == turn.seen.connection {
            return Then::Close;
        }
        used.store(turn.seen.connection, Ordering::SeqCst);
        turn.ok(if turn.seen.method == "HEAD" { "" } else { "ok" })
    })
}

#[test]
fn a_safe_request_goes_over_another_connection_once() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
        let (proxy, app) = dies_on_reuse();
        let mut client = proxy.client();
        assert_eq!(client.get("/first").status, 200);
        client.send(format!("{method} /die HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.head().unwrap().status, 200, "{method}");
        assert_eq!(app.paths(), ["/first", "/die", "/die"]);
        let on: Vec<usize> = app.seen().iter().map(|seen| seen.connection).collect();
        assert!(on[0] == on[1] && on[1] != on[2], "{on:?}");
    }
}

#[test]
fn one_that_dies_on_the_second_connection_too_is_given_up() {
    let (proxy, app) = shop(|turn| if turn.seen.path == "/die" { Then::Close } else { turn.ok("ok") });
    let mut client = proxy.client();
    assert_eq!(client.get("/first").status, 200);
    assert_eq!(client.get("/die").status, 502);
    assert_eq!(app.paths(), ["/first", "/die", "/die"]);
}

#[test]
fn what_may_have_been_seen_and_may_do_something_is_never_sent_twice() {
    for request in [
        "POST /die HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        "POST /die HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "DELETE /die HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /die HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let (proxy, app) = dies_on_reuse();
        let mut client = proxy.client();
        assert_eq!(client.get("/first").status, 200);
        client.send(request);
        assert_eq!(client.answer().status, 502, "{request}");
        assert_eq!(app.paths(), ["/first", "/die"], "{request}");
    }
}

#[test]
fn what_was_held_is_never_sent_twice() {
    let (proxy, app) = dies_on_reuse();
    let mut client = proxy.client();
    assert_eq!(client.get("/first").status, 200);
    proxy.must(&["pause", "shop"]);
    client.ask("/die");
    proxy.wait_until_held("shop", 1);
    proxy.must(&["resume", "shop"]);
    assert_eq!(client.answer().status, 502);
    assert_eq!(app.paths(), ["/first", "/die"]);
}

#[test]
fn what_was_answered_in_part_is_never_sent_twice() {
    let (proxy, app) = shop(|turn| {
        if turn.seen.path == "/die" {
            turn.send("HTTP/1.1 200 OK\r\nContent-");
            return Then::Close;
        }
        turn.ok("ok")
    });
    let mut client = proxy.client();
    assert_eq!(client.get("/first").status, 200);
    assert_eq!(client.get("/die").status, 502);
    assert_eq!(app.paths(), ["/first", "/die"]);
}

#[test]
fn what_was_not_written_is_sent_whatever_it_is() {
    let (proxy, app) = (
        Proxy::with(&[("LOCKGATE_WORKERS", "1")]),
        App::start(|turn| {
            turn.read_body();
            turn.ok("ok");
            if turn.seen.path == "/last" {
                turn.wait();
                return Then::Close;
            }
            Then::Keep
        }),
    );
    proxy.deploy("shop", &app, &[]);
    let mut client = proxy.client();
    assert_eq!(client.get("/last").status, 200);
    // The order is there before the end of the connection that lies idle, and both before the proxy looks.
    proxy.freeze();
    client.send("POST /order HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    app.release();
    app.wait_until_left();
    proxy.thaw();
    assert_eq!(client.answer().status, 200);
    assert_eq!(app.paths(), ["/last", "/order"]);
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
