//! Starting and stopping: ports, sockets, settings, signals.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::world::{Home, KAMAL_PROXY, LOCKGATE, Proxy, Said};

#[test]
fn a_port_that_is_taken_fails_before_the_first_ones_socket_is_touched() {
    let home = Home::new();
    let first = Proxy::at(&home);
    let port = first.port.to_string();
    let second = home.kamal(&["run", "--http-port", &port]);
    let error = format!("Error: listen tcp :{port}: bind: address already in use");
    assert_eq!((second.code, second.err.lines().next()), (1, Some(error.as_str())));
    assert_eq!(second.out, "", "it did not even look at the saved state");
    assert_eq!(home.kamal(&["list", "--json"]).out, "[]\n", "the first one answers");
}

#[test]
fn a_second_proxy_on_the_same_data_does_not_start_and_names_the_first() {
    let home = Home::new();
    let first = Proxy::at(&home);
    let mut second = home.command(KAMAL_PROXY);
    second.args(["run", "--http-port", "0"]).env("KAMAL_PROXY_SOCKET", home.path().join("other.sock"));
    let (data, pid) = (home.path().join(".config/kamal-proxy"), first.pid());
    Said::from(second.output().expect("it starts"))
        .fails(&format!("the data directory {} is in use by process {pid}", data.display()));
    assert_eq!(home.kamal(&["list", "--json"]).out, "[]\n", "the first one answers");
}

#[test]
fn a_second_proxy_on_the_same_socket_does_not_start_and_names_the_first() {
    let home = Home::new();
    let first = Proxy::at(&home);
    let mut second = home.command(KAMAL_PROXY);
    second.args(["run", "--http-port", "0"]).env("HOME", home.path().join("other"));
    let (socket, pid) = (home.socket(), first.pid());
    Said::from(second.output().expect("it starts"))
        .fails(&format!("listen unix {}: bind: address already in use by process {pid}", socket.display()));
    assert_eq!(home.kamal(&["list", "--json"]).out, "[]\n", "the first one answers");
}

#[test]
fn a_port_beyond_all_ports_is_refused() {
    let said = Home::new().kamal(&["run", "--http-port", "70000"]);
    assert_eq!((said.code, said.err.as_str()), (1, "Error: listen tcp: address 70000: invalid port\n"));
}

#[test]
fn the_port_comes_from_the_environment_as_the_contract_says() {
    let home = Home::new();
    let free = || TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port().to_string();
    let port = |pairs: &[(&str, &str)]| {
        let mut command = home.command(KAMAL_PROXY);
        command.arg("run").envs(pairs.iter().copied());
        Proxy::spawn(&home, command).port.to_string()
    };
    let (x, y) = (free(), free());
    assert_eq!(port(&[("HTTP_PORT", &x)]), x);
    assert_eq!(port(&[("KAMAL_PROXY_HTTP_PORT", &y), ("HTTP_PORT", &x)]), y);
}

#[test]
fn settings_that_cannot_be_are_named_with_line_and_column() {
    let home = Home::new();
    let file = home.path().join("bad.toml");
    std::fs::write(&file, "workers = 2\nmax-hold = \"0s\"\n").expect("written");
    let (path, error) = (file.to_str().expect("text"), "max-hold: must be above 0, else no request could wait");
    home.lockgate(&["check", path]).fails(&format!("{path}:2:12: {error}"));
    home.lockgate(&["run", "--config", path]).fails(&format!("{path}:2:12: {error}"));
    let mut named = home.command(LOCKGATE);
    named.env("LOCKGATE_CONFIG", path).arg("check");
    Said::from(named.output().expect("it starts")).fails(&format!("{path}:2:12: {error}"));
    let mut variable = home.command(LOCKGATE);
    variable.env("LOCKGATE_WORKERS", "many").arg("check");
    Said::from(variable.output().expect("it starts"))
        .fails("LOCKGATE_WORKERS: workers: expected a whole number, 0 or more, not \"many\"");
    home.lockgate(&["run", "--max-hold", "0s"]).fails(error);
}

#[test]
fn the_settings_that_ship_are_valid() {
    let home = Home::new();
    home.lockgate(&["check", concat!(env!("CARGO_MANIFEST_DIR"), "/config/lockgate.toml")]).succeeds();
    home.lockgate(&["check"]).succeeds();
}

#[test]
fn a_terminated_proxy_unlinks_its_socket_and_exits_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        let mut proxy = Proxy::at(&home);
        assert!(home.socket().exists());
        proxy.signal(signal);
        proxy.line("Server stopped");
        assert_eq!(proxy.wait(), 0);
        assert!(!home.socket().exists());
    }
}

#[test]
fn a_socket_left_behind_is_replaced() {
    let home = Home::new();
    let mut proxy = Proxy::at(&home);
    proxy.kill();
    assert!(home.socket().exists());
    let _next = Proxy::at(&home);
    assert_eq!(home.kamal(&["list", "--json"]).out, "[]\n");
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    let home = Home::new();
    let path = home.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    let mut command = home.command(LOCKGATE);
    command.args(["run", "--http-port=0"]).env("NOTIFY_SOCKET", &path);
    let mut proxy = Proxy::spawn(&home, command);
    let heard = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    assert_eq!(heard(), "READY=1");
    proxy.signal(Signal::TERM);
    assert_eq!(heard(), "STOPPING=1");
    assert_eq!(proxy.wait(), 0);
}

#[test]
fn debug_lines_appear_if_asked_for() {
    let home = Home::new();
    let mut command = home.command(KAMAL_PROXY);
    command.args(["run", "--http-port=0"]).env("DEBUG", "true");
    let proxy = Proxy::spawn(&home, command);
    assert!(proxy.log().iter().any(|line| line["level"] == "DEBUG"), "{:?}", proxy.log());
    let quiet = Proxy::at(&Home::new());
    assert!(quiet.log().iter().all(|line| line["level"] != "DEBUG"), "{:?}", quiet.log());
}
