//! What a head must be, and what the app sees of it.

use crate::world::app::polite;
use crate::world::{Seen, shop, shop_with};

fn seen_with(flags: &[&str], headers: &str) -> Seen {
    let (proxy, app) = shop_with(flags, polite);
    let mut client = proxy.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: shop.test:99\r\n{headers}\r\n"));
    assert_eq!(client.answer().status, 200);
    app.seen().remove(0)
}

fn all<'a>(seen: &'a Seen, name: &str) -> Vec<&'a str> {
    seen.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
}

#[test]
fn the_app_learns_who_asked_for_what() {
    let seen = seen_with(&[], "");
    assert_eq!(all(&seen, "host"), ["shop.test:99"]);
    assert_eq!(all(&seen, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(all(&seen, "x-forwarded-host"), ["shop.test:99"]);
    assert_eq!(all(&seen, "x-forwarded-proto"), ["http"]);
    assert_eq!(all(&seen, "x-request-id")[0].len(), 36);
    assert!(all(&seen, "x-request-start")[0].starts_with("t=1"));
    assert!(all(&seen, "x-kamal-target")[0].starts_with("127.0.0.1:"));
}

const OTHERS: &str = "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\nX-Forwarded-Proto: https\r\n\
                      X-Forwarded-Host: u.test\r\nForwarded: for=1\r\nX-Request-ID: 1234\r\nX-Real-IP: 9.9.9.9\r\n";

#[test]
fn what_others_say_is_forwarded_where_it_is_trusted() {
    let seen = seen_with(&["--forward-headers"], OTHERS);
    assert_eq!(all(&seen, "x-forwarded-for"), ["10.0.0.1, 10.0.0.2, 127.0.0.1"]);
    assert_eq!(all(&seen, "x-forwarded-proto"), ["https"]);
    assert_eq!(all(&seen, "x-forwarded-host"), ["u.test"]);
    assert_eq!(all(&seen, "x-request-id"), ["1234"]);
    assert_eq!(all(&seen, "x-real-ip"), ["9.9.9.9"]);
    assert_eq!(all(&seen, "forwarded"), [""; 0]);
}

#[test]
fn what_others_say_is_dropped_where_it_is_not() {
    let seen = seen_with(&["--forward-headers=false"], OTHERS);
    assert_eq!(all(&seen, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(all(&seen, "x-forwarded-proto"), ["http"]);
    assert_eq!(all(&seen, "x-forwarded-host"), ["shop.test:99"]);
}

#[test]
fn a_header_may_know_the_client_better() {
    let headers = "True-Client-IP: 203.0.113.9\r\nX-Forwarded-For: 6.6.6.6\r\n";
    let seen = seen_with(&["--client-ip-header", "True-Client-IP", "--forward-headers"], headers);
    assert_eq!(all(&seen, "x-forwarded-for"), ["203.0.113.9, 127.0.0.1"]);
    assert_eq!(all(&seen, "true-client-ip"), ["203.0.113.9"]);
}

#[test]
fn what_concerns_one_connection_stays_there() {
    let seen = seen_with(
        &[],
        "Connection: X-Foo, keep-alive\r\nX-Foo: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers, deflate\r\n\
         Upgrade: h2c\r\nTrailer: x\r\n",
    );
    for name in ["connection", "x-foo", "keep-alive", "proxy-connection", "upgrade", "trailer"] {
        assert_eq!(all(&seen, name), [""; 0], "{name}");
    }
    assert_eq!(all(&seen, "te"), ["trailers"]);
}

#[test]
fn a_stripped_prefix_is_gone_and_the_rest_as_it_was() {
    let (proxy, app) = shop_with(&["--path-prefix", "/api"], polite);
    let mut client = proxy.client();
    for path in ["/api", "/api/a%2Fb/%41?x=1;2&%zz", "/api//x", "/api%2Fx?"] {
        assert_eq!(client.get(path).status, 200, "{path}");
    }
    assert_eq!(app.paths(), ["/", "/a%2Fb/%41?x=1;2&%zz", "//x", "/x?"]);
    assert_eq!(client.get("/apiary").status, 404);
}

#[test]
fn an_unstripped_path_passes_byte_for_byte() {
    let (proxy, app) = shop(polite);
    let path = "/a%2Fb/%41%20c/(x)!*;v=1?p1=a;b;c&p2=%x&p3=ok&&=%zz";
    assert_eq!(proxy.client().get(path).status, 200);
    assert_eq!(app.paths(), [path]);
}

#[test]
fn an_absolute_target_is_taken_apart() {
    let (proxy, app) = shop_with(&["--host", "other.test"], polite);
    let mut client = proxy.client();
    client.send("GET http://other.test/abc?x=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    let seen = app.seen().remove(0);
    assert_eq!((seen.path.as_str(), seen.header("host")), ("/abc?x=1", Some("other.test")));
}

#[test]
fn a_head_that_is_not_http_is_refused() {
    let (proxy, app) = shop(polite);
    for (head, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET foo HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: foo\r\n\r\n", 417),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 502),
    ] {
        let mut client = proxy.client();
        client.send(head);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{head}");
        if status != 502 {
            assert_eq!(answer.header("connection"), Some("close"), "{head}");
            assert!(client.is_at_end());
        }
    }
    assert_eq!(app.paths(), [""; 0], "nothing of it reached the app");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.answer().text(), "400 Bad Request: missing required Host header");
}

#[test]
fn a_head_may_be_large_but_not_endless() {
    let (proxy, _app) = shop(polite);
    for (size, status) in [(900_000, 200), (1_100_000, 431)] {
        let mut client = proxy.client();
        client.try_send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Large: {}\r\n\r\n", "x".repeat(size)));
        assert_eq!(client.answer().status, status, "{size}");
    }
}

#[test]
fn options_for_the_server_is_answered_by_it() {
    let (proxy, app) = shop(polite);
    let mut client = proxy.client();
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("0")));
    assert_eq!(app.paths(), [""; 0]);
}

#[test]
fn a_canonical_host_is_where_others_are_sent() {
    let flags = ["--host", "e.test,www.e.test", "--canonical-host", "e.test"];
    let (proxy, _app) = shop_with(&flags, polite);
    let mut client = proxy.client();
    client.send("GET /a?q=1;2 HTTP/1.1\r\nHost: www.e.test:80\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("location")), (301, Some("http://e.test/a?q=1;2")));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: e.test:8080\r\n\r\n");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn tls_sends_nobody_to_https_while_nothing_serves_it() {
    let (proxy, _app) = shop_with(&["--host", "e.test", "--tls"], polite);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: e.test\r\n\r\n");
    assert_eq!(client.answer().status, 200);
}
