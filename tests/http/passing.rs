//! Requests and answers go through as they are.

use crate::world::app::polite;
use crate::world::{Then, shop, until};

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let (proxy, app) = shop(polite);
    let mut client = proxy.client();
    for path in ["/1", "/2", "/3"] {
        assert_eq!(client.get(path).text(), "ok");
    }
    assert_eq!(app.paths(), ["/1", "/2", "/3"]);
    let connections: Vec<usize> = app.seen().iter().map(|seen| seen.connection).collect();
    assert!(connections.windows(2).all(|pair| pair[0] == pair[1]), "one connection upstream: {connections:?}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (proxy, _app) = shop(|turn| {
        let path = turn.seen.path.clone();
        turn.ok(&path)
    });
    let mut client = proxy.client();
    client.ask("/1");
    client.ask("/2");
    assert_eq!([client.answer().text(), client.answer().text()], ["/1", "/2"]);
}

#[test]
fn a_body_passes_with_its_length_or_in_chunks() {
    let (proxy, app) = shop(polite);
    let mut client = proxy.client();
    client.send("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.answer().status, 200);
    client.send("POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    client.send("POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    let seen = app.seen();
    assert_eq!([&seen[0].body[..], &seen[1].body[..]], [b"hello", b"hello"]);
    assert_eq!(seen[0].header("content-length"), Some("5"));
    assert_eq!(seen[1].header("transfer-encoding"), Some("chunked"));
    assert_eq!(seen[2].header("content-length"), Some("0"));
}

#[test]
fn a_large_body_streams_through_both_ways() {
    const SIZE: usize = 8 << 20;
    let (proxy, _app) = shop(|turn| {
        turn.read_body();
        let body = std::mem::take(&mut turn.seen.body);
        turn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
        turn.send(body);
        Then::Keep
    });
    let body: Vec<u8> = (0..SIZE).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let mut client = proxy.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
    client.send(&body);
    assert!(client.answer().body == body);
}

#[test]
fn chunks_arrive_as_they_are_sent() {
    let (proxy, app) = shop(|turn| {
        turn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        turn.wait();
        turn.send("4\r\nlast\r\n0\r\n\r\n");
        Then::Keep
    });
    let mut client = proxy.client();
    client.ask("/");
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.read(10), b"5\r\nfirst\r\n");
    app.release();
    assert_eq!(client.read(9), b"4\r\nlast\r\n");
}

#[test]
fn trailers_pass_both_ways() {
    let (proxy, app) = shop(|turn| {
        turn.read_body();
        turn.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
        );
        Then::Keep
    });
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: x-md\r\n\r\n\
         2\r\nhi\r\n0\r\nx-md: 9\r\n\r\n",
    );
    let answer = client.answer();
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    assert_eq!(app.seen()[0].trailers, [("x-md".to_owned(), "9".to_owned())]);
}

#[test]
fn answers_without_a_body_have_none() {
    let (proxy, _app) = shop(|turn| {
        match turn.seen.path.as_str() {
            "/head" => turn.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
            "/204" => turn.send("HTTP/1.1 204 No Content\r\n\r\n"),
            _ => turn.send("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
        };
        Then::Keep
    });
    let mut client = proxy.client();
    client.send("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, Some("1234")));
    assert_eq!(client.get("/204").status, 204);
    assert_eq!(client.get("/304").header("etag"), Some("\"x\""));
    assert!(client.is_silent());
}

#[test]
fn a_body_that_ends_with_its_connection_becomes_chunked() {
    let (proxy, _app) = shop(|turn| {
        turn.send("HTTP/1.1 200 OK\r\n\r\nto the end");
        Then::Close
    });
    let answer = proxy.client().get("/");
    assert_eq!((answer.text().as_str(), answer.header("transfer-encoding")), ("to the end", Some("chunked")));
    let mut old = proxy.client();
    old.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer().text(), "to the end");
}

#[test]
fn chunks_count_and_a_length_beside_them_says_nothing() {
    for length in [3, 9] {
        let (proxy, _app) = shop(move |turn| {
            turn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n"));
            turn.send("5\r\nhello\r\n0\r\n\r\n");
            Then::Keep
        });
        let answer = proxy.client().get("/");
        assert_eq!((answer.text().as_str(), answer.header("content-length")), ("hello", None));
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    }
}

#[test]
fn an_answer_in_another_coding_than_chunked_is_refused() {
    for codings in ["gzip, chunked", "chunked\r\nTransfer-Encoding: chunked", "gzip"] {
        let (proxy, _app) = shop(move |turn| {
            turn.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {codings}\r\n\r\n2\r\nok\r\n0\r\n\r\n"));
            Then::Close
        });
        assert_eq!(proxy.client().get("/").status, 502, "{codings}");
        assert_eq!(proxy.line("Error while proxying")["error"], "unsupported transfer encoding of the answer");
    }
}

#[test]
fn a_client_is_told_to_continue_and_its_body_passes() {
    let (proxy, app) = shop(polite);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 100);
    client.send("hello");
    assert_eq!(client.answer().status, 200);
    assert_eq!(app.seen()[0].body, b"hello");
}

#[test]
fn what_an_app_says_before_its_answer_is_passed_on_at_once() {
    let (proxy, app) = shop(|turn| {
        turn.read_body();
        turn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: X-Own\r\nX-Own: 1\r\n\r\n");
        turn.wait();
        turn.ok("ok")
    });
    let mut client = proxy.client();
    for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"] {
        client.send(request);
        let hint = client.head().unwrap();
        assert_eq!((hint.status, hint.header("link")), (103, Some("</a.css>; rel=preload")));
        assert_eq!((hint.header("connection"), hint.header("x-own")), (None, None));
        app.release();
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str(), answer.header("link")), (200, "ok", None));
    }
    let mut old = proxy.client();
    old.send("GET / HTTP/1.0\r\n\r\n");
    app.release();
    assert_eq!(old.answer().status, 200, "it would not know what 103 is");
}

#[test]
fn an_early_answer_arrives_and_ends_the_connection() {
    let (proxy, _app) = shop(|turn| {
        turn.send("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nbig");
        Then::Close
    });
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    assert!(client.is_at_end());
}

#[test]
fn an_error_of_the_app_is_passed_on_as_it_is() {
    let (proxy, _app) = shop(|turn| {
        turn.send("HTTP/1.1 503 Tired\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\ntired");
        Then::Keep
    });
    let answer = proxy.client().get("/");
    assert_eq!((answer.status, answer.text().as_str(), answer.header("retry-after")), (503, "tired", None));
}

#[test]
fn a_slow_reader_does_not_keep_its_permit() {
    const SIZE: usize = 1 << 20;
    let (proxy, _app) = shop(|turn| {
        turn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        turn.send(vec![b'x'; SIZE]);
        Then::Keep
    });
    let mut client = proxy.client();
    client.ask("/");
    assert_eq!(client.head().unwrap().status, 200);
    until("the permit", || proxy.status("shop")["in_flight"] == 0);
    assert_eq!(client.read(SIZE).len(), SIZE);
}
