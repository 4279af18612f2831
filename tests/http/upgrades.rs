//! Connections that change their protocol.

use std::io::Read;

use crate::world::{Then, Turn, shop, until};

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Switches to what was asked for and sends everything back.
fn echo(turn: &mut Turn) -> Then {
    let Some(protocol) = turn.seen.header("upgrade").map(str::to_owned) else { return turn.ok("ok") };
    turn.send(format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"));
    let mut buffer = [0; 1024];
    while let Ok(len @ 1..) = turn.stream.read(&mut buffer) {
        turn.send(&buffer[..len]);
    }
    Then::Close
}

#[test]
fn bytes_go_both_ways_until_one_side_ends() {
    let (proxy, app) = shop(echo);
    let mut client = proxy.client();
    client.send(ASK);
    let head = client.head().unwrap();
    assert_eq!((head.status, head.header("upgrade")), (101, Some("websocket")));
    for word in ["hello", "again"] {
        client.send(word);
        assert_eq!(client.read(5), word.as_bytes());
    }
    client.finish();
    assert!(client.is_at_end());
    app.wait_until_left();
    let line = proxy.request_line("/ws");
    assert_eq!((&line["status"], &line["resp_content_length"]), (&101.into(), &0.into()));
}

#[test]
fn an_answer_without_a_switch_passes() {
    let (proxy, _app) = shop(|turn| {
        turn.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno");
        Then::Keep
    });
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.answer().status, 426);
}

#[test]
fn a_switch_that_was_not_asked_for_is_a_bad_gateway() {
    let (proxy, _app) = shop(|turn| {
        turn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n");
        Then::Close
    });
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.answer().status, 502);
    assert_eq!(proxy.client().get("/").status, 502);
}

#[test]
fn a_tunnel_is_in_flight_and_a_pause_cuts_it() {
    let (proxy, app) = shop(echo);
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.head().unwrap().status, 101);
    proxy.must(&["pause", "shop", "--drain-timeout", "100ms"]);
    assert!(client.is_at_end());
    app.wait_until_left();
}

#[test]
fn what_goes_through_a_tunnel_is_no_head_that_must_end() {
    let proxy = crate::world::Proxy::with(&[("LOCKGATE_HEAD_TIMEOUT", "200ms")]);
    let app = crate::world::App::start(echo);
    proxy.deploy("shop", &app, &[]);
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.head().unwrap().status, 101);
    client.send("hello");
    assert_eq!(client.read(5), b"hello");
    for _ in 0..3 {
        let mut late = proxy.client();
        late.send("GET / HTTP/1.1\r\n");
        assert_eq!(late.answer().status, 408, "another time-out has passed");
    }
    client.send("again");
    assert_eq!(client.read(5), b"again");
}

#[test]
fn a_tunnel_that_was_held_lets_the_next_go() {
    let proxy = crate::world::Proxy::with(&[("LOCKGATE_RELEASE_CONCURRENCY", "1")]);
    let app = crate::world::App::start(echo);
    proxy.deploy("shop", &app, &[]);
    proxy.must(&["pause", "shop"]);
    let (mut tunnel, mut other) = (proxy.client(), proxy.client());
    tunnel.send(ASK);
    proxy.wait_until_held("shop", 1);
    other.ask("/other");
    proxy.wait_until_held("shop", 2);
    proxy.must(&["resume", "shop"]);
    assert_eq!(tunnel.head().unwrap().status, 101);
    assert_eq!(other.answer().status, 200);
    tunnel.send("still");
    assert_eq!(tunnel.read(5), b"still");
    until("the queue's end", || proxy.held("shop") == 0);
}
