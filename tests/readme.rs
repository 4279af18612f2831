//! What README.md tells people to type is there: commands, their flags, files. So are the tests that docs/faults.md names.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output};

const LOCKGATE: &str = env!("CARGO_BIN_EXE_lockgate");
const KEEPER: &str = env!("CARGO_BIN_EXE_lockgate-keep");

#[test]
fn every_command_and_flag_of_the_readme_exists() {
    let commands = commands();
    for expected in ["demo", "keep", "deploy", "list", "handoffs"] {
        assert!(commands.iter().any(|line| line.contains(expected)), "README names `{expected}`: {commands:#?}");
    }
    for line in &commands {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (program, command) = match words[0] {
            "lockgate-keep" => (KEEPER, None),
            _ => (LOCKGATE, Some(words[1])),
        };
        let mut help = Command::new(program);
        let help = text(help.args(command).arg("--help").output().expect("the program starts"), line);
        for flag in words.iter().skip(1).take_while(|word| **word != "--").filter(|word| word.starts_with("--")) {
            let flag = flag.split('=').next().expect("a flag");
            assert!(help.contains(flag), "README says `{line}`, but its help knows no {flag}:\n{help}");
        }
    }
}

#[test]
fn every_file_of_the_readme_exists() {
    let text = readme();
    let named = text.split('`').skip(1).step_by(2).filter(|word| {
        let folder = ["docs/", "config/", "systemd/", "src/", "examples/"];
        folder.iter().any(|folder| word.starts_with(folder)) || *word == "Dockerfile"
    });
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let missing: Vec<&str> = named.filter(|file| !root.join(file).exists()).collect();
    assert!(missing.is_empty(), "README names files that are not there: {missing:?}");
}

#[test]
fn the_settings_that_the_readme_points_to_are_valid() {
    let checked = Command::new(LOCKGATE)
        .args(["check", concat!(env!("CARGO_MANIFEST_DIR"), "/config/lockgate.toml")])
        .output()
        .expect("lockgate starts");
    text(checked, "lockgate check config/lockgate.toml");
}

#[test]
fn every_test_that_the_faults_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/faults.md")).expect("docs/faults.md");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")).collect();
    for row in rows.iter().filter(|row| !row.starts_with("| fault |")) {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().expect("a last column");
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test is named for: {row}");
        for name in named {
            let [binary, file, test] = name.split("::").collect::<Vec<_>>()[..] else {
                panic!("no test's name: {name}")
            };
            let text = std::fs::read_to_string(root.join("tests").join(binary).join(file).with_extension("rs"));
            let attribute = text.as_deref().unwrap_or_default().split(&format!("\nfn {test}()")).next().unwrap();
            let is_there = text.as_ref().is_ok_and(|text| attribute.len() < text.len());
            assert!(
                is_there && attribute.lines().rev().take(2).any(|line| line == "#[test]"),
                "there is no test {name}"
            );
        }
    }
}

/// Each command of ours in the README, from its program on: blocks of commands, ENTRYPOINT and ExecStart.
fn commands() -> Vec<String> {
    let text = readme();
    let code: Vec<&str> = text.split("```").skip(1).step_by(2).flat_map(str::lines).collect();
    let inline = text.split("```").step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2));
    code.into_iter().chain(inline).filter_map(command).collect()
}

fn command(line: &str) -> Option<String> {
    let line = line.split(" #").next().expect("a part").trim();
    if let Some(array) = line.strip_prefix("ENTRYPOINT ") {
        let words: Vec<String> = serde_json::from_str(array).expect("ENTRYPOINT is an array");
        return Some(words.join(" "));
    }
    let line = line.strip_prefix("ExecStart=/usr/local/bin/").unwrap_or(line);
    let line = line.strip_prefix("cargo run --release -- ").map_or(line.to_owned(), |rest| format!("lockgate {rest}"));
    line.starts_with("lockgate ").then_some(line)
}

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("README.md")
}

#[track_caller]
fn text(output: Output, line: &str) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "README says `{line}`: {}: {said}", output.status);
    said
}
