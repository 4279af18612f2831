//! Held requests with bodies larger than what is read ahead of them.

use crate::world::app::polite;
use crate::world::{App, Client, Proxy, shop};

const MB: usize = 1 << 20;

fn pause(proxy: &Proxy) {
    proxy.must(&["pause", "shop", "--max-pause", "30s", "--drain-timeout", "1s"]);
}

fn resume(proxy: &Proxy) {
    proxy.must(&["resume", "shop"]);
}

fn body(size: usize) -> Vec<u8> {
    let pattern: Vec<u8> = (0..=250).collect();
    let mut body = pattern.repeat(size / pattern.len() + 1);
    body.truncate(size);
    body
}

/// The first held request, with a body of this size, of which all is on its way that can be; how much that is.
fn upload(proxy: &Proxy, size: usize) -> (Client, usize) {
    let mut client = proxy.client();
    client.send(format!("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"));
    let sent = fill(proxy, 1, &mut client, &body(size));
    (client, sent)
}

/// Sends as much as is taken while so many requests are held; how much that was.
fn fill(proxy: &Proxy, held: u64, client: &mut Client, body: &[u8]) -> usize {
    let mut sent = 0;
    loop {
        // As long as this takes, the proxy reads what it reads of a held body.
        proxy.wait_until_held("shop", held);
        match client.send_at_once(&body[sent..]) {
            0 => return sent,
            more => sent += more,
        }
    }
}

/// Has the client of a held upload leave, and says what reached the app once the gate was open again.
fn reaches_the_app_of_one_that_left(size: usize) -> Vec<String> {
    let (proxy, app) = shop(polite);
    pause(&proxy);
    let (client, _) = upload(&proxy, size);
    drop(client);
    resume(&proxy);
    assert_eq!(proxy.request_line("/upload")["status"], 499, "{size}");
    assert_eq!(proxy.client().get("/after").status, 200);
    app.paths()
}

#[test]
fn a_client_that_left_behind_a_full_socket_is_never_dispatched() {
    for size in [100_000, MB, 4 * MB, 8 * MB, 20 * MB] {
        assert_eq!(reaches_the_app_of_one_that_left(size), ["/after"], "{size}");
    }
}

#[test]
fn a_client_that_leaves_in_the_next_hold_is_never_dispatched_either() {
    let proxy = Proxy::with(&[("LOCKGATE_RELEASE_CONCURRENCY", "1")]);
    let app = App::start(|turn| {
        if turn.seen.path == "/long" {
            turn.wait();
        }
        turn.ok("ok")
    });
    proxy.deploy("shop", &app, &[]);
    pause(&proxy);
    let (mut leaver, sent) = upload(&proxy, 100 * MB);
    let (mut long, mut behind) = (proxy.client(), proxy.client());
    long.ask("/long");
    proxy.wait_until_held("shop", 2);
    behind.ask("/behind");
    proxy.wait_until_held("shop", 3);
    resume(&proxy);
    app.wait_for(1);
    // It has stepped aside, is read on, and waits for its turn again.
    fill(&proxy, 2, &mut leaver, &body(100 * MB)[sent..]);
    proxy.must(&["pause", "shop", "--max-pause", "30s", "--drain-timeout", "0s"]);
    drop(leaver);
    resume(&proxy);
    assert_eq!(proxy.request_line("/upload")["status"], 499);
    assert_eq!(behind.answer().status, 200);
    assert_eq!(app.paths(), ["/long", "/behind"]);
}

#[test]
fn a_large_body_whose_client_stays_arrives_whole() {
    let (proxy, app) = shop(polite);
    pause(&proxy);
    let (mut client, sent) = upload(&proxy, 20 * MB);
    assert!(sent < 20 * MB, "its client waits");
    resume(&proxy);
    client.send(&body(20 * MB)[sent..]);
    assert_eq!(client.answer().status, 200);
    assert!(app.seen()[0].body == body(20 * MB));
}

#[test]
fn a_client_that_rests_in_its_body_is_dispatched_all_the_same() {
    let (proxy, app) = shop(polite);
    pause(&proxy);
    let (mut client, sent) = upload(&proxy, 20 * MB);
    resume(&proxy);
    app.wait_for(1);
    client.send(&body(20 * MB)[sent..]);
    assert_eq!(client.answer().status, 200);
}

#[test]
fn held_uploads_are_all_served_though_they_wait_for_each_others_room() {
    // Room for one of them at once.
    let (proxy, app) = (Proxy::with(&[("LOCKGATE_HELD_BODY_ALL", "64KiB")]), App::start(polite));
    proxy.deploy("shop", &app, &[]);
    pause(&proxy);
    let mut clients: Vec<Client> = (0..32).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {MB}\r\n\r\n"));
    }
    proxy.wait_until_held("shop", 32);
    let senders: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                client.send(body(MB));
                client.answer().status
            })
        })
        .collect();
    resume(&proxy);
    assert!(senders.into_iter().all(|sender| sender.join().unwrap() == 200));
    assert!(app.seen().iter().all(|seen| seen.body == body(MB)));
}
