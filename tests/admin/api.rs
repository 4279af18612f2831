//! The socket and what it answers to requests that no client of ours sends.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::world::{Home, Proxy, Said, app};

/// Status and body of one request, as bytes on the socket.
fn ask(home: &Home, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
    let mut stream = UnixStream::connect(home.socket()).expect("a daemon");
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    // A body that is too long need not be taken whole.
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn nobody_else_may_open_the_socket() {
    let home = Home::new();
    let _proxy = Proxy::at(&home);
    let mode = std::fs::metadata(home.socket()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Needs root to become somebody else; elsewhere the rule itself is tested beside the code.
#[test]
fn somebody_else_is_refused_even_where_the_socket_is_open() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = Home::new();
    let _proxy = Proxy::at(&home);
    for path in [home.path(), &home.socket()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("changed");
    }
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "curl", "-sS", "-w", "%{http_code}"]);
    let said = Said::from(
        nobody.arg("--unix-socket").arg(home.socket()).arg("http://lockgate/v1/services").output().expect("it starts"),
    );
    assert!(said.out.starts_with("{\"error\":\"not permitted\"") && said.out.ends_with("403"), "{said:?}");
}

#[test]
fn unknown_fields_are_refused_by_name() {
    let home = Home::new();
    let _proxy = Proxy::at(&home);
    for (path, body) in [
        ("/v1/services/s1/deploy", r#"{"target":["ab"],"colour":1}"#),
        ("/v1/pause", r#"{"all":true,"colour":1}"#),
        ("/v1/stop", r#"{"all":true,"colour":1}"#),
        ("/v1/resume", r#"{"all":true,"colour":1}"#),
    ] {
        let (status, answer) = ask(&home, "POST", path, body);
        let error = answer["error"].as_str().expect("an error");
        assert!(status == 400 && error.starts_with("unknown field `colour`, expected"), "{path}: {status} {answer}");
    }
}

#[test]
fn what_makes_no_sense_is_answered_with_its_status() {
    let home = Home::new();
    let _proxy = Proxy::at(&home);
    let long = format!("{{\"services\":[\"{}\"]}}", "x".repeat(2 << 20));
    for (method, path, body, expected, error) in [
        ("GET", "/v2", "", 404, "no such path: /v2"),
        ("GET", "/v1/services/a%2", "", 400, "\"a%2\" is no service name in a URL: escape as %XX"),
        ("GET", "/v1/services/nope", "", 404, "service not found"),
        ("GET", "/v1/services/", "", 404, "service not found"),
        ("PUT", "/v1/pause", "", 405, "/v1/pause does not take PUT"),
        ("POST", "/v1/pause", "", 400, "which services? name them or say all"),
        ("POST", "/v1/pause", "{", 400, "EOF while parsing an object at line 1 column 1"),
        ("POST", "/v1/resume", " [[], true]", 400, "expected a JSON object, not an array"),
        ("POST", "/v1/services/s1/deploy", "[]", 400, "expected a JSON object, not an array"),
        (
            "POST",
            "/v1/stop",
            r#"{"all":true,"drain_timeout":"-1s"}"#,
            400,
            "time: negative duration \"-1s\" at line 1 column 34",
        ),
        ("POST", "/v1/pause", &long, 400, "reading the body: length limit exceeded"),
        ("GET", "/v1/handoffs?limit=x", "", 400, "limit: expected a number, not \"x\""),
        ("GET", "/v1/handoffs?count=1", "", 400, "unknown query, expected limit=N"),
    ] {
        let (status, answer) = ask(&home, method, path, body);
        assert_eq!((status, answer["error"].as_str()), (expected, Some(error)), "{method} {path}");
    }
}

#[test]
fn a_deploy_that_fails_at_once_has_a_status_of_its_own() {
    let home = Home::new();
    let _proxy = Proxy::at(&home);
    let (status, answer) = ask(&home, "POST", "/v1/services/s1/deploy", r#"{"target":["a:80"]}"#);
    assert_eq!((status, answer["error"].as_str()), (400, Some("a:80 :invalid host pattern")));
}

#[test]
fn a_deploy_that_asks_for_what_is_not_there_yet_is_warned() {
    let (home, app) = (Home::new(), app());
    let _proxy = Proxy::at(&home);
    let body = serde_json::json!({"target": [app], "error_pages": "/x"}).to_string();
    let mut stream = UnixStream::connect(home.socket()).expect("a daemon");
    let head = "POST /v1/services/s1/deploy HTTP/1.0\r\nhost: x\r\ncontent-length:";
    write!(stream, "{head} {}\r\n\r\n{body}", body.len()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let last = answer.lines().last().expect("a line");
    assert_eq!(last, r#"{"outcome":{"warnings":["no effect yet: --error-pages"]}}"#);
}

#[test]
fn a_deploy_goes_on_when_its_client_leaves() {
    let (home, app) = (Home::new(), app());
    let _proxy = Proxy::at(&home);
    let mut stream = UnixStream::connect(home.socket()).expect("a daemon");
    let body = format!("{{\"target\":[\"{app}\"]}}");
    let length = body.len();
    let head = format!("POST /v1/services/s1/deploy HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).expect("sent");
    drop(stream);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while ask(&home, "GET", "/v1/services/s1", "").0 != 200 {
        assert!(std::time::Instant::now() < until, "it never came");
        std::thread::yield_now();
    }
}
