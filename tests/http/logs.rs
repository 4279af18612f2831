//! What the proxy says about requests.

use std::io::Write as _;
use std::process::Stdio;

use crate::world::app::polite;
use crate::world::{App, Proxy, shop_with};

#[test]
fn a_request_is_a_line_with_the_contracts_fields_in_order() {
    let flags = ["--log-request-header", "Cache-Control", "--log-response-header", "X-Answer"];
    let (proxy, app) = shop_with(&flags, |turn| {
        turn.read_body();
        turn.send("HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nX-Answer: yes\r\nContent-Length: 2\r\n\r\nok");
        crate::world::Then::Keep
    });
    let mut client = proxy.client();
    client.send(
        "POST /a%20b?q=1 HTTP/1.1\r\nHost: e.test:1\r\nUser-Agent: me\r\nCache-Control: no\r\nX-Request-ID: id\r\n\
         Content-Type: text/css\r\nContent-Length: 3\r\nX-Forwarded-For: 1.2.3.4\r\n\r\nabc",
    );
    assert_eq!(client.answer().status, 201);
    let line = proxy.request_line("/a b");
    let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(keys.len() == 25, "{keys:?}");
    for (key, value) in [
        ("host", "e.test:1"),
        ("request_id", "id"),
        ("service", "shop"),
        ("target", &app.target()),
        ("method", "POST"),
        ("req_content_type", "text/css"),
        ("resp_content_type", "text/plain"),
        ("client_addr", "127.0.0.1"),
        ("remote_addr", "1.2.3.4"),
        ("user_agent", "me"),
        ("proto", "HTTP/1.1"),
        ("scheme", "http"),
        ("query", "q=1"),
        ("req_cache_control", "no"),
        ("resp_x_answer", "yes"),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
    for (key, value) in [("status", 201), ("req_content_length", 3), ("resp_content_length", 2)] {
        assert_eq!(line[key], value, "{key}");
    }
}

#[test]
fn the_access_log_can_be_switched_off() {
    let proxy = Proxy::with(&[("LOCKGATE_ACCESS_LOG", "off")]);
    let app = App::start(polite);
    proxy.deploy("shop", &app, &[]);
    assert_eq!(proxy.client().get("/quiet").status, 200);
    proxy.must(&["pause", "shop"]);
    proxy.wait_for_line(|line| line["msg"] == "Service paused");
    assert!(proxy.log().iter().all(|line| line["msg"] != "Request"));
    proxy.must(&["resume", "shop"]);
    drop(app);
    assert_eq!(proxy.client().get("/gone").status, 502);
    let line = proxy.wait_for_line(|line| line["msg"] == "Error while proxying");
    assert_eq!(line["path"], "/gone", "what went wrong is said all the same");
}

#[test]
fn a_stdout_that_is_full_or_gone_stops_no_request() {
    for gone in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let app = App::start(polite);
        let port = free_port();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lockgate"));
        let socket = home.path().join("admin.sock");
        command.env_clear().env("HOME", home.path()).env("LOCKGATE_ADMIN_SOCKET", &socket);
        command.args(["run", "--http-port", &port.to_string()]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // A pipe that nobody reads is full after 64 KiB.
        let stdout = child.stdout.take();
        let kept = if gone { None } else { stdout };
        crate::world::until("the socket", || socket.exists());
        let mut deploy = std::process::Command::new(env!("CARGO_BIN_EXE_lockgate"));
        deploy.env_clear().env("HOME", home.path()).env("LOCKGATE_ADMIN_SOCKET", &socket);
        assert!(deploy.args(["deploy", "shop", "--target", &app.target()]).status().unwrap().success());
        let mut client = crate::world::Client::connect(port);
        for _ in 0..600 {
            assert_eq!(client.get("/").status, 200);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        drop(kept);
        std::io::stdout().flush().unwrap();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
}
