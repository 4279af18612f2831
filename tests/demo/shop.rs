//! The shop alone.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use lockgate::demo::lives::{Life, lives};
use lockgate::demo::ports::Reserved;
use lockgate::demo::stamps::{self, Plan};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};

/// A database and a port, on which shops run one after the other.
struct Place {
    directory: tempfile::TempDir,
    port: Reserved,
}

struct Shop {
    child: Child,
    address: SocketAddr,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), port: Reserved::any().expect("a port") }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&self, version: u32, plan: Plan) -> Shop {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
        command.args(["demo", "shop"]).arg(format!("--version={version}")).arg(format!("--plan={}", plan.name()));
        command.arg(format!("--listen={}", self.port.address()));
        command.arg(format!("--database={}", self.file("shop.db").display()));
        command.arg(format!("--stamps={}", self.file("stamps").display()));
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("the shop starts");
        Shop { child, address: self.port.address() }
    }

    fn lives(&self) -> Vec<Life> {
        lives(&stamps::read(&self.file("stamps")).expect("stamps"))
    }

    fn orders(&self) -> u32 {
        let database = Connection::open(self.file("shop.db")).expect("the database");
        database.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).expect("a count")
    }
}

impl Shop {
    fn connect(&self) -> TcpStream {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        }
    }

    fn send(&self, request: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("sent");
        stream
    }

    fn order(&self, key: &str, slow_ms: u64) -> TcpStream {
        let body = format!("{{\"key\":\"{key}\",\"item\":1,\"slow_ms\":{slow_ms}}}");
        let length = body.len();
        self.send(&format!(
            "POST /orders HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }

    fn get(&self, path: &str) -> String {
        read(self.send(&format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n")))
    }

    fn tell_to_stop(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it lives");
    }

    fn stop(mut self) -> ExitStatus {
        self.tell_to_stop();
        self.child.wait().expect("it ends")
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // Either it has ended or it is killed here.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn read(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn what_was_acknowledged_is_in_the_database() {
    let place = Place::new();
    let shop = place.start(1, Plan::Good);
    assert!(shop.get("/up").starts_with("HTTP/1.1 200"));
    assert!(read(shop.order("one", 0)).starts_with("HTTP/1.1 201"));
    assert!(shop.get("/orders").contains("\"keys\":[\"one\"]"));
    assert!(shop.get("/nothing").starts_with("HTTP/1.1 404"));
    assert!(shop.stop().success());
    assert_eq!(place.orders(), 1);
}

#[test]
fn an_order_in_flight_at_sigterm_is_finished() {
    let place = Place::new();
    let mut shop = place.start(1, Plan::Good);
    assert!(shop.get("/up").starts_with("HTTP/1.1 200"));
    let slow = shop.order("slow", 400);
    let deadline = Instant::now() + Duration::from_secs(20);
    while place.lives().first().is_none_or(|life| life.first_order_us.is_none()) {
        assert!(Instant::now() < deadline, "the order arrives");
    }
    shop.tell_to_stop();
    assert!(read(slow).starts_with("HTTP/1.1 201"));
    assert!(shop.child.wait().expect("it ends").success());
    assert_eq!(place.orders(), 1);
    let life = place.lives().remove(0);
    assert!(life.sigterm_us < life.last_answer_us && life.last_answer_us < Some(life.last_us));
}

#[test]
fn the_set_is_stamped_before_the_database_is_opened() {
    let place = Place::new();
    for _ in 0..2 {
        let shop = place.start(1, Plan::Good);
        assert!(shop.get("/up").starts_with("HTTP/1.1 200"));
        shop.stop();
    }
    let sets: Vec<Vec<String>> = place.lives().iter().map(|life| life.set.keys().cloned().collect()).collect();
    assert_eq!(sets, [vec![], vec!["shop.db".to_owned()]], "nothing before the first one, no log after its end");
}

#[test]
fn each_bad_version_is_bad_in_its_own_way() {
    let place = Place::new();
    let good = place.start(1, Plan::Good);
    assert!(read(good.order("one", 0)).starts_with("HTTP/1.1 201"));
    good.stop();
    assert_eq!(place.start(2, Plan::ExitsBooting).child.wait().expect("it ends").code(), Some(1));
    let sick = place.start(2, Plan::NeverHealthy);
    assert!(sick.get("/up").starts_with("HTTP/1.1 500"));
    sick.stop();
    assert_eq!(place.start(3, Plan::SpoilsData).child.wait().expect("it ends").code(), Some(1));
    assert_eq!(place.orders(), 0);
}
