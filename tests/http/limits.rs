//! What the machine allows.

use crate::world::app::polite;
use crate::world::{App, Client, Proxy, until};

#[test]
fn as_many_files_as_are_allowed_may_be_open() {
    let proxy = Proxy::under("ulimit -Sn 256", &[]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", proxy.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = [3, 4].map(|at| line.split_whitespace().nth(at).unwrap());
    assert_eq!(soft, hard, "{line}");
    assert_ne!(soft, "256");
}

#[test]
fn accepting_goes_on_once_there_are_descriptors_again() {
    let (proxy, app) = (Proxy::under("ulimit -n 64", &[]), App::start(polite));
    proxy.deploy("shop", &app, &[]);
    let crowd: Vec<Client> = (0..100).map(|_| proxy.client()).collect();
    proxy.wait_for_line(|line| line["msg"] == "Unable to accept connections for now");
    let mut waiting = proxy.client();
    waiting.ask("/");
    drop(crowd);
    assert_eq!(waiting.answer().status, 200);
    until("the end of all connections", || proxy.client().get("/").status == 200);
}
