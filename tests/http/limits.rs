//! What the machine allows.

use crate::world::app::polite;
use crate::world::{App, Client, Proxy, until};

#[test]
fn as_many_files_as_are_allowed_may_be_open() {
    let proxy = Proxy::under("ulimit -Sn 256", &[]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", proxy.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = [3, 4].map(|at| line.split_whitespace().nth(at).unwrap());
    assert_eq!(soft, hard, "{line}");
    assert_ne!(soft, "256");
}

#[test]
fn accepting_goes_on_once_there_are_descriptors_again() {
    let (proxy, app) = (Proxy::under("ulimit -n 64", &[]), App::start(polite));
    proxy.deploy("shop", &app, &[]);
    let crowd: Vec<Client> = (0..100).map(|_| proxy.client()).collect();
    proxy.wait_for_line(|line| line["msg"] == "Unable to accept connections for now");
    let mut waiting = proxy.client();
    waiting.ask("/");
    drop(crowd);
    assert_eq!(waiting.answer().status, 200);
    until("the end of all connections", || proxy.client().get("/").status == 200);
}

#[test]
fn clients_that_do_not_end_their_heads_keep_nobody_from_commands_and_no_request_from_its_app() {
    let (proxy, app) = (Proxy::under("ulimit -n 128", &[]), App::start(polite));
    proxy.deploy("first", &app, &["--host", "first.test"]);
    let mut early = proxy.client();
    assert_eq!(early.get("/").status, 404);
    let crowd: Vec<Client> = std::iter::repeat_with(|| {
        let mut half = proxy.client();
        half.send("GET / HTTP/1.1\r\nHost:");
        half
    })
    .take(200)
    .collect();
    proxy.line("Unable to accept connections for now");
    proxy.deploy("shop", &app, &[]);
    assert_eq!(early.get("/").status, 200);
    drop(crowd);
    assert_eq!(proxy.client().get("/").status, 200);
}

#[test]
fn a_client_that_does_not_end_its_head_is_given_up_and_others_are_not() {
    let proxy = Proxy::with(&[("LOCKGATE_HEAD_TIMEOUT", "200ms")]);
    let app = App::start(|turn| {
        turn.read_body();
        turn.wait();
        turn.ok("ok")
    });
    proxy.deploy("shop", &app, &[]);
    let (mut idle, mut slow, mut waiting) = (proxy.client(), proxy.client(), proxy.client());
    slow.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nh");
    waiting.ask("/");
    app.wait_for(2);
    let mut half = proxy.client();
    half.send("GET / HTTP/1.1\r\nHost:");
    assert_eq!(half.answer().status, 408);
    assert!(half.is_at_end());
    slow.send("i");
    idle.ask("/");
    (0..3).for_each(|_| app.release());
    for mut client in [idle, slow, waiting] {
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn a_connection_that_lies_idle_is_closed() {
    let proxy = Proxy::with(&[("LOCKGATE_HEAD_TIMEOUT", "1s"), ("LOCKGATE_IDLE_TIMEOUT", "1s")]);
    let (mut fresh, mut used) = (proxy.client(), proxy.client());
    assert_eq!(used.get("/").status, 404);
    assert!(fresh.is_at_end());
    assert!(used.is_at_end());
}
