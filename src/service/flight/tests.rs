use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use http::{Method, Request};

use super::{Cut, Flight, Flights, Launch, Rule, Scope};
use crate::gate::{Gate, Limits};
use crate::service::Revision;
use crate::spec::{Target, TargetOptions};
use crate::upstream::{self, Connection, Ended, Outgoing};

struct World {
    gate: Arc<Gate<Revision>>,
    revision: Arc<Revision>,
    flights: Flights,
}

/// Runs a test as a worker does: on one thread, with the registry's part served.
fn on_a_worker<T>(response_timeout: Duration, test: impl AsyncFnOnce(World) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new("127.0.0.1:1", response_timeout);
        let worker = world.flights.worker();
        tokio::select! {
            done = test(world) => done,
            () = worker.run() => unreachable!("the registry lives"),
        }
    })
}

impl World {
    fn new(target: &str, response_timeout: Duration) -> Self {
        let options = TargetOptions { response_timeout, ..TargetOptions::default() };
        let revision = Revision::new(&[Target::parse(target).unwrap()], options, None);
        let gate = Gate::new(Some(revision.clone()), Limits::default());
        Self { gate, revision, flights: Flights::new() }
    }

    fn launch(&self, method: Method, path: &'static str, body_received: bool) -> Flight {
        let permit = self.gate.enter(0).unwrap();
        let path = Some(PathAndQuery::from_static(path));
        Flight::launch(Launch { permit, method, path, now: Instant::now(), body_received })
    }

    fn scope(&self) -> Scope {
        Scope::revision(self.revision.id)
    }

    async fn paths(&self) -> Vec<String> {
        self.flights.survey(self.scope()).await.into_iter().map(|flying| flying.path).collect()
    }
}

const NONE: Duration = Duration::ZERO;

#[test]
fn a_survey_shows_what_is_in_flight() {
    on_a_worker(NONE, async |world: World| {
        let (get, post) = (world.launch(Method::GET, "/a?q", true), world.launch(Method::POST, "/b", false));
        let flying = world.flights.survey(world.scope()).await;
        assert_eq!([flying[0].path.as_str(), flying[1].path.as_str()], ["/a", "/b"]);
        assert!(flying[0].body_received && !flying[1].body_received);
        Flight::client_ended(post.key(), Ended::Whole);
        assert!(world.flights.survey(world.scope()).await[1].body_received);
        drop(get);
        assert_eq!(world.paths().await, ["/b"]);
        assert!(world.flights.survey(Scope::revision(0)).await.is_empty());
    });
}

#[test]
fn a_rule_cuts_those_it_names_and_no_others() {
    on_a_worker(NONE, async |world: World| {
        let (get, post) = (world.launch(Method::GET, "/a", true), world.launch(Method::POST, "/b", false));
        let tunnel = world.launch(Method::GET, "/t", true);
        tunnel.tunnel();
        let cut = async |rule| world.flights.cut(world.scope(), rule).await;
        assert_eq!(cut(Rule::Safe).await, 1);
        assert_eq!(get.cut().await, Cut::Drained);
        assert_eq!(cut(Rule::SlowClients).await, 1);
        assert_eq!(post.cut().await, Cut::SlowClient);
        assert_eq!(cut(Rule::Tunnels).await, 1);
        assert_eq!(tunnel.cut().await, Cut::Drained);
        assert_eq!(cut(Rule::All).await, 0, "none is cut twice");
        assert_eq!(world.gate.view().in_flight, 3, "until its task has ended each keeps its permit");
        drop((get, post, tunnel));
        assert_eq!(world.gate.view().in_flight, 0);
    });
}

#[test]
fn an_opening_is_cut_alone() {
    on_a_worker(NONE, async |world: World| {
        let before = world.launch(Method::GET, "/before", true);
        let opening = world.gate.enter(0).unwrap().opening();
        world.gate.pause(Duration::from_secs(1));
        world.gate.resume();
        let after = world.launch(Method::GET, "/after", true);
        let scope = Scope { opening: Some(opening), ..world.scope() };
        assert_eq!(world.flights.cut(scope, Rule::All).await, 1);
        assert_eq!(before.cut().await, Cut::Drained);
        drop((before, after));
    });
}

#[test]
fn an_app_that_does_not_begin_its_answer_in_time_is_given_up() {
    on_a_worker(Duration::from_millis(1), async |world: World| {
        let unsent = world.launch(Method::POST, "/unsent", false);
        let sent = world.launch(Method::GET, "/sent", true);
        assert_eq!(sent.cut().await, Cut::TimedOut);
        let waited = tokio::time::timeout(Duration::from_secs(1), unsent.cut()).await;
        assert!(waited.is_err(), "its time has not begun");
        Flight::client_ended(unsent.key(), Ended::Whole);
        assert_eq!(unsent.cut().await, Cut::TimedOut);
    });
}

#[test]
fn a_permit_given_back_early_is_no_longer_in_flight() {
    on_a_worker(NONE, async |world: World| {
        let flight = world.launch(Method::GET, "/", true);
        let permit = flight.abandon().unwrap();
        assert_eq!(world.paths().await, [""; 0]);
        assert_eq!(world.gate.view().in_flight, 1);
        drop(permit);
        assert_eq!(world.gate.view().in_flight, 0);
    });
}

#[tokio::test]
async fn a_targets_connections_are_closed_whether_idle_or_in_use() {
    let app = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = app.local_addr().unwrap().to_string();
    let target = Arc::new(upstream::Target::new(Target::parse(&address).unwrap()));
    let flights = Flights::new();
    let test = async {
        let (idle, used) = (Connection::open(&target).await.unwrap(), Connection::open(&target).await.unwrap());
        idle.keep();
        flights.close_connections(std::slice::from_ref(&target)).await;
        used.keep();
        assert!(upstream::take(target.id()).await.is_none());
        Connection::open(&target).await.unwrap().keep();
        assert!(upstream::take(target.id()).await.is_some(), "one opened later is kept");
    };
    tokio::select! {
        () = test => {}
        () = flights.worker().run() => unreachable!("the registry lives"),
    }
}

/// Whether the connection is kept whose app has answered while so much of the client's body was received.
fn is_kept_after_an_answer(body_received: bool) -> bool {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = World::new(&app.local_addr().unwrap().to_string(), NONE);
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = app.accept().unwrap();
        assert_ne!(stream.read(&mut [0; 1024]).unwrap(), 0);
        stream.write_all(b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n").unwrap();
        stream
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let target = world.revision.targets.first().unwrap();
        let flight = world.launch(Method::POST, "/", body_received);
        let mut connection = Connection::open(target).await.unwrap();
        let incoming = connection.send(Request::new(Outgoing::Empty)).await.unwrap().into_body();
        assert!(flight.answer(incoming, connection, false).unwrap().is_end_stream());
        let _open = answering.join().unwrap();
        upstream::take(target.id()).await.is_some()
    })
}

#[test]
fn a_connection_on_which_a_body_is_still_sent_serves_no_other() {
    assert!(!is_kept_after_an_answer(false));
    assert!(is_kept_after_an_answer(true));
}
