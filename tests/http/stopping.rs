//! A proxy that stops.

use crate::world::{Then, shop, until};

#[test]
fn requests_in_flight_end_and_held_ones_are_refused_at_once() {
    let (mut proxy, app) = shop(|turn| {
        turn.wait();
        turn.ok("ended")
    });
    let (mut flying, mut held, mut idle) = (proxy.client(), proxy.client(), proxy.client());
    flying.ask("/flying");
    app.wait_for(1);
    assert_eq!(idle.get("/up").status, 200);
    let pausing = proxy.begin(&["pause", "shop", "--drain-timeout", "20s"]);
    proxy.wait_for_line(|line| line["msg"] == "Service paused");
    held.ask("/held");
    proxy.wait_until_held("shop", 1);
    proxy.terminate();
    let answer = held.answer();
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    assert!(idle.is_at_end());
    app.release();
    assert_eq!(flying.answer().text(), "ended");
    assert_eq!(proxy.wait(), 0);
    until("the last line", || proxy.log().iter().any(|line| line["msg"] == "Server stopped"));
    drop(pausing);
}

#[test]
fn what_does_not_end_in_time_is_cut() {
    let (mut proxy, app) = {
        let proxy = crate::world::Proxy::with(&[("LOCKGATE_STOP_TIMEOUT", "300ms")]);
        let app = crate::world::App::start(|turn| {
            turn.wait();
            Then::Close
        });
        proxy.deploy("shop", &app, &[]);
        (proxy, app)
    };
    let mut client = proxy.client();
    client.ask("/endless");
    app.wait_for(1);
    proxy.terminate();
    assert_eq!(client.try_answer(), None);
    assert_eq!(proxy.wait(), 0);
    until("the warning", || proxy.log().iter().any(|line| line["msg"] == "Closing active connections"));
    app.release();
}
