//! A proxy that is told to stop while a command runs, and one that comes back.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rustix::process::Signal;

use crate::world::app::polite;
use crate::world::{App, Then, shop, until};
use crate::world::{Home, Proxy, app};

/// The first line of what a command says on stderr, and its exit code.
fn ending(command: std::process::Child) -> (String, Option<i32>) {
    let output = command.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (text.lines().next().unwrap_or_default().to_owned(), output.status.code())
}

#[test]
fn a_handoff_that_has_not_yielded_is_given_up_and_its_command_told_why() {
    let (mut proxy, old) = shop(|turn| {
        turn.read_body();
        turn.wait();
        turn.ok("ended")
    });
    let new = App::start(polite);
    let mut flying = proxy.client();
    flying.send("POST /flying HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    old.wait_for(1);
    let deploy = proxy.begin(&["deploy", "shop", "--target", &new.target(), "--handoff=drain"]);
    // It settles if the request is old by then, else it drains.
    until("its wait for the request in flight", || {
        let status = proxy.must(&["status", "shop", "--json"]);
        ["settle", "drain"].iter().any(|phase| status.contains(&format!("\"phase\":\"{phase}\"")))
    });
    proxy.terminate();
    assert_eq!(ending(deploy), ("Error: the proxy is shutting down".into(), Some(1)));
    old.release();
    assert_eq!(flying.answer().text(), "ended");
    assert_eq!(proxy.wait(), 0);
    assert_eq!((old.paths(), new.paths()), (vec!["/flying".to_owned()], Vec::new()));
}

#[test]
fn a_command_whose_drain_outlasts_the_proxy_ends_with_it() {
    let proxy = crate::world::Proxy::with(&[("LOCKGATE_STOP_TIMEOUT", "300ms")]);
    let app = App::start(|turn| {
        turn.wait();
        Then::Close
    });
    proxy.deploy("shop", &app, &[]);
    let mut client = proxy.client();
    client.ask("/endless");
    app.wait_for(1);
    let pause = proxy.begin(&["pause", "shop", "--drain-timeout=20s"]);
    proxy.wait_for_line(|line| line["msg"] == "Service paused");
    proxy.terminate();
    // By its failure, its success or the end of the connection: it does not hang.
    let (_, code) = ending(pause);
    assert!(code.is_some());
    app.release();
}

#[test]
fn services_come_back_with_their_state() {
    let (home, app) = (Home::new(), app());
    let mut first = Proxy::at(&home);
    home.lockgate(&["deploy", "on", "--target", &app, "--host", "on.test"]).succeeds();
    home.lockgate(&["deploy", "off", "--target", &app, "--host", "off.test"]).succeeds();
    home.lockgate(&["stop", "off", "--message", "Back at noon"]).succeeds();
    let listed = home.kamal(&["list"]);
    first.signal(Signal::TERM);
    assert_eq!(first.wait(), 0);
    let second = Proxy::at(&home);
    assert!(second.log().iter().any(|line| line["msg"] == "Restored saved state"), "{:?}", second.log());
    assert_eq!(home.kamal(&["list"]), listed);
    let get = |host: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", second.port)).expect("it listens");
        write!(stream, "GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    assert!(get("on.test").starts_with("HTTP/1.1 200 "));
    let stopped = get("off.test");
    assert!(stopped.starts_with("HTTP/1.1 503 ") && stopped.contains("Back at noon"), "{stopped}");
}
