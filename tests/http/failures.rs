//! Answers of the proxy's own.

use crate::world::app::polite;
use crate::world::{App, Proxy, Then, shop, shop_with};

#[test]
fn without_a_service_there_is_nothing() {
    let proxy = Proxy::start();
    let answer = proxy.client().get("/");
    assert_eq!((answer.status, answer.header("content-type")), (404, Some("text/html; charset=utf-8")));
    assert!(answer.text().contains("Not Found"));
}

#[test]
fn an_app_that_is_away_is_a_bad_gateway() {
    let (proxy, app) = shop(polite);
    drop(app);
    let answer = proxy.client().get("/gone");
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("Bad Gateway"));
    let line = proxy.wait_for_line(|line| line["msg"] == "Error while proxying");
    assert_eq!((&line["level"], &line["path"]), (&"ERROR".into(), &"/gone".into()));
}

#[test]
fn an_app_that_breaks_off_or_speaks_no_http_is_a_bad_gateway() {
    let (proxy, _app) = shop(|turn| {
        if turn.seen.path == "/garbage" {
            turn.send("what?\r\n\r\n");
        }
        Then::Close
    });
    let mut client = proxy.client();
    assert_eq!(client.get("/close").status, 502);
    assert_eq!(client.get("/garbage").status, 502);
    client.send("POST /close HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.answer().status, 502);
}

#[test]
fn an_app_that_takes_too_long_is_a_gateway_timeout() {
    let (proxy, app) = shop_with(&["--target-timeout", "300ms"], |turn| {
        if turn.seen.path == "/slow" {
            turn.wait();
            return Then::Close;
        }
        // Once begun, an answer may take as long as it likes.
        turn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl");
        turn.wait();
        turn.send("ow");
        Then::Keep
    });
    let mut client = proxy.client();
    let answer = client.get("/slow");
    assert_eq!(answer.status, 504);
    assert!(answer.header("retry-after").is_some());
    let mut client = proxy.client();
    client.ask("/begun");
    assert_eq!(client.head().unwrap().status, 200);
    let mut other = proxy.client();
    assert_eq!(other.get("/slow").status, 504, "more than the time-out has passed");
    (0..3).for_each(|_| app.release());
    assert_eq!(client.read(4), b"slow");
}

#[test]
fn an_answer_that_breaks_off_is_cut() {
    let (proxy, _app) = shop(|turn| {
        turn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
        Then::Close
    });
    let mut client = proxy.client();
    client.ask("/");
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.read(100), b"part", "and then the end");
}

#[test]
fn a_body_that_is_malformed_is_a_bad_request() {
    let (proxy, _app) = shop(|turn| {
        turn.read_body();
        Then::Close
    });
    let mut client = proxy.client();
    client.send("POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nZZ\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (400, "<h1>400 Bad Request</h1>"));
    assert!(client.is_at_end());
}

#[test]
fn a_client_that_leaves_ends_the_apps_work() {
    let (proxy, app) = shop(|turn| {
        turn.wait();
        Then::Close
    });
    let mut client = proxy.client();
    client.ask("/long");
    app.wait_for(1);
    drop(client);
    assert_eq!(proxy.request_line("/long")["status"], 499);
    app.release();
    app.wait_until_left();
}

#[test]
fn a_client_that_closes_its_sending_side_has_left() {
    let (proxy, app) = shop(|turn| {
        turn.wait();
        turn.ok("late")
    });
    let mut client = proxy.client();
    client.ask("/half-closed");
    app.wait_for(1);
    client.finish();
    assert!(client.is_at_end());
    assert_eq!(proxy.request_line("/half-closed")["status"], 499);
}

#[test]
fn a_stopped_service_says_the_operators_words() {
    let (proxy, _app) = shop(polite);
    proxy.must(&["stop", "shop", "--message", "Gone <to> lunch"]);
    let answer = proxy.client().get("/");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("Service Temporarily Unavailable"));
    assert!(answer.text().contains("Gone &lt;to&gt; lunch"));
    assert!(answer.header("retry-after").is_some());
    let mut client = proxy.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 503);
    assert!(client.is_silent(), "an answer to HEAD has no body");
}

#[test]
fn all_addresses_of_a_name_are_tried() {
    let (proxy, app) = (Proxy::start(), App::start(polite));
    let port = app.target().rsplit_once(':').unwrap().1.to_owned();
    // localhost is ::1 too, where nobody listens.
    proxy.must(&["deploy", "shop", "--target", &format!("localhost:{port}")]);
    assert_eq!(proxy.client().get("/").status, 200);
}
