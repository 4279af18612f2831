//! The demo from its start to its end.

use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Demos take turns here (but for the two that shall not): each is meant to have a machine.
static TURN: Mutex<()> = Mutex::new(());
/// Less than a demo's own rate: a machine that also runs other tests must not be the reason for a failure.
const RATE: &str = "--rate=100";

fn demo(temporary: &tempfile::TempDir, flags: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
    command.arg("demo").args(flags).env("TMPDIR", temporary.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the demo starts")
}

fn report(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|_| panic!("no report: {output:?}"))
}

#[test]
fn two_demos_at_once_hold_every_promise() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let temporary = tempfile::tempdir().expect("a directory");
    let demos = [demo(&temporary, &["--json", RATE]), demo(&temporary, &["--json", RATE])];
    for demo in demos {
        let output = demo.wait_with_output().expect("the demo ends");
        let report = report(&output);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!((&report["held"], &report["deployed"], &report["refused"]), (&true.into(), &11.into(), &3.into()));
        assert_eq!((&report["restored"], &report["rollbacks_led"]), (&3.into(), &3.into()));
        assert!(report["orders"].as_u64().is_some_and(|orders| orders >= 3_000), "{report}");
    }
    let left = std::fs::read_dir(temporary.path()).expect("a directory").count();
    assert_eq!(left, 0, "a demo that passed leaves nothing behind");
}

#[test]
fn the_baseline_shows_what_goes_wrong_without_keepers() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let temporary = tempfile::tempdir().expect("a directory");
    let output = demo(&temporary, &["--baseline", "--json", RATE]).wait_with_output().expect("the demo ends");
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(report["overlap_ms"].as_f64().is_some_and(|overlap| overlap > 0.0), "{report}");
    assert!(report["lost"].as_u64().is_some_and(|lost| lost > 0), "the spoiled migration loses orders: {report}");
    assert_eq!(report["held"], false);
}

#[test]
fn a_flag_that_is_not_known_is_an_error() {
    let temporary = tempfile::tempdir().expect("a directory");
    let output = demo(&temporary, &["--colour"]).wait_with_output().expect("the demo ends");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("Error: unknown flag: --colour"));
}
