//! systemd/lockgate.service.

use std::process::Command;

use crate::world::{LOCKGATE, Said};

const UNIT: &str = include_str!("../../systemd/lockgate.service");

#[test]
fn the_unit_says_what_the_program_does() {
    for line in [
        "Type=notify",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "DynamicUser=yes",
        "StateDirectory=lockgate",
        "RuntimeDirectory=lockgate",
        "AmbientCapabilities=CAP_NET_BIND_SERVICE",
    ] {
        assert!(UNIT.lines().any(|text| text == line), "{line}");
    }
    let seconds = UNIT.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
    let seconds: u64 = seconds.and_then(|text| text.parse().ok()).expect("a number");
    assert!(seconds > lockgate::config::Settings::default().stop_timeout.as_secs() + 1);
}

#[test]
fn every_setting_that_the_unit_gives_exists() {
    let given = UNIT.lines().filter_map(|line| line.strip_prefix("Environment="));
    let variables: Vec<&str> = given.filter_map(|pair| pair.split('=').next()).collect();
    assert!(!variables.is_empty());
    for variable in variables {
        let known =
            lockgate::config::keys::KEYS.iter().any(|key| lockgate::config::keys::variable(key.name) == variable);
        assert!(known, "{variable}");
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let dir = tempfile::tempdir().expect("a directory");
    let unit = dir.path().join("lockgate.service");
    // systemd looks for the program: the one just built.
    std::fs::write(&unit, UNIT.replace("/usr/local/bin/lockgate", LOCKGATE)).expect("written");
    match Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&unit).output() {
        Ok(output) => {
            let said = Said::from(output);
            let own: Vec<&str> = said.err.lines().filter(|line| line.contains("lockgate.service")).collect();
            assert!(own.is_empty(), "{own:#?}");
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "only its absence excuses"),
    }
}
