//! Holds the floors of `docs/architecture.md`: reads that drawing, then every path that `src/` names.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What may stand at the top of the tree: ours, then what tools expect.
const TOP: &[&str] = &[
    "Cargo.toml",
    "src",
    "config",
    "benches",
    "tests",
    "systemd",
    "README.md",
    // What tools expect.
    "Cargo.lock",
    "LICENSE",
    "CHANGELOG.md",
    "Dockerfile",
    "clippy.toml",
    "rustfmt.toml",
    "examples",
    "fuzz",
    "docs",
    "target",
];

/// All the crates that parts in `lockgate-keep` may name: it runs in every app's container.
const KEEPER_CRATES: &[&str] = &["libc", "rustix", "serde", "serde_json", "sha2", "thiserror"];

/// What the core of the gate may not name: it decides and counts, and loom runs it with its own atomics.
const NOT_IN_CORE: &[&str] = &[
    "tokio",
    "hyper",
    "tracing",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread::spawn",
    "std::thread::sleep",
    "crate",
];

/// Names that say nothing (`docs/architecture.md`, Words).
const EMPTY_WORDS: &[&str] = &["Manager", "Helper", "Impl", "Util", "Utils", "Common", "Misc"];

#[test]
fn a_part_names_only_parts_on_lower_floors() {
    let floors = floors();
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(own) = source.part() else { continue };
        let floor = floors.get(own).unwrap_or_else(|| panic!("{own} stands on no floor of docs/architecture.md"));
        for (line, other) in source.parts_named() {
            match floors.get(other.as_str()) {
                Some(below) if below < floor || other == own => {}
                Some(there) => wrong.push(format!(
                    "{}:{line}: {own} (floor {floor}) names {other} (floor {there})",
                    source.path.display()
                )),
                None => wrong.push(format!("{}:{line}: `crate::{other}` is no part", source.path.display())),
            }
        }
    }
    assert_none(&wrong, "imports go down; hand the lower part a function, or return a value");
}

#[test]
fn the_drawing_of_the_floors_and_the_tree_name_the_same_parts() {
    let drawn: BTreeSet<String> = floors().into_keys().collect();
    let built: BTreeSet<String> = sources().iter().filter_map(|source| source.part().map(str::to_owned)).collect();
    assert_eq!(drawn, built, "left: docs/architecture.md, right: src/");
}

#[test]
fn the_keepers_parts_name_few_crates() {
    let crates = dependencies();
    let parts = keepers_parts();
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.part().is_some_and(|part| parts.contains(part))) {
        for (line, part) in source.parts_named().into_iter().filter(|(_, part)| !parts.contains(part)) {
            wrong.push(format!("{}:{line}: names {part}", source.path.display()));
        }
        for named in &source.paths {
            let root = named.root();
            if crates.contains(root) && !KEEPER_CRATES.contains(&root) {
                wrong.push(format!("{}:{}: names {}", source.path.display(), named.line, named.segments.join("::")));
            }
        }
    }
    assert_none(&wrong, "the keeper is small and dull: std, serde, rustix, libc, and its own parts");
}

#[test]
fn the_core_of_the_gate_has_no_runtime_and_no_io() {
    let core: Vec<Source> = sources().into_iter().filter(|source| source.path.starts_with("src/gate/core")).collect();
    assert!(!core.is_empty(), "src/gate/core is there");
    let forbidden = |path: &String| NOT_IN_CORE.iter().any(|not| path == not || path.starts_with(&format!("{not}::")));
    let wrong: Vec<String> = core
        .iter()
        .flat_map(|source| source.paths.iter().map(move |named| (source, named, named.segments.join("::"))))
        .filter(|(_, _, path)| forbidden(path))
        .map(|(source, named, path)| format!("{}:{}: names {path}", source.path.display(), named.line))
        .collect();
    assert_none(&wrong, "loom takes these files alone, by #[path]");
}

#[test]
fn no_name_is_an_empty_word() {
    let mut wrong = Vec::new();
    for source in sources() {
        let file = source.path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        if EMPTY_WORDS.iter().any(|word| file == word.to_lowercase()) {
            wrong.push(format!("{}: a file named {file}", source.path.display()));
        }
        for (line, name) in &source.types {
            if EMPTY_WORDS.iter().any(|word| name.ends_with(word)) {
                wrong.push(format!("{}:{line}: a type named {name}", source.path.display()));
            }
        }
    }
    assert_none(&wrong, "say what it is");
}

#[test]
fn the_top_of_the_tree_holds_what_the_design_names() {
    let wrong: Vec<String> = std::fs::read_dir(root())
        .expect("the root can be read")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str()))
        .collect();
    assert_none(&wrong, "see docs/architecture.md, first paragraph");
}

#[track_caller]
fn assert_none(wrong: &[String], advice: &str) {
    assert!(wrong.is_empty(), "{} wrong ({advice}):\n  {}\n", wrong.len(), wrong.join("\n  "));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Part -> floor, from the drawing: lines that begin with the floor's number; parts stand before the bar, what is said
/// about them after it; a line without a number continues the floor above.
fn floors() -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md");
    let drawing = text.split("## Floors").nth(1).and_then(|rest| rest.split("```").nth(1)).expect("the drawing");
    let mut floors = BTreeMap::new();
    let mut floor = u32::MAX;
    for line in drawing.lines() {
        for word in line.split('|').next().unwrap_or_default().split_whitespace() {
            match word.parse() {
                Ok(number) => floor = number,
                Err(_) => {
                    let twice = floors.insert(word.to_owned(), floor);
                    assert_eq!(twice, None, "{word} stands on two floors");
                }
            }
        }
    }
    floors
}

/// The parts that `lockgate-keep` takes by `#[path]`.
fn keepers_parts() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("src/bin/lockgate-keep.rs")).expect("src/bin/lockgate-keep.rs");
    let named = text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    named.map(str::to_owned).collect()
}

/// The crates that are linked, as paths name them.
fn dependencies() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let manifest: toml::Table = toml::from_str(&text).expect("Cargo.toml is TOML");
    let table = manifest["dependencies"].as_table().expect("a table");
    table.keys().map(|name| name.replace('-', "_")).collect()
}

/// A file of `src/`, and what it names.
struct Source {
    /// From the root of the tree.
    path: PathBuf,
    paths: Vec<Named>,
    /// Types it defines, with their lines.
    types: Vec<(usize, String)>,
}

/// A path of two or more segments.
struct Named {
    line: usize,
    segments: Vec<String>,
    /// How many inline modules (`mod tests {`) it stands in.
    inside: usize,
}

impl Named {
    fn root(&self) -> &str {
        self.segments.first().map_or("", String::as_str)
    }
}

impl Source {
    fn read(path: &Path) -> Source {
        let text = std::fs::read_to_string(path).expect("a source file");
        let tokens = tokens(&text);
        let path = path.strip_prefix(root()).expect("below the root").to_owned();
        Source { path, paths: paths(&tokens), types: types(&tokens) }
    }

    /// Names of the modules from the crate's root to this file.
    fn module(&self) -> Vec<&str> {
        let names = self.path.iter().skip(1).filter_map(|name| name.to_str());
        names.map(|name| name.trim_end_matches(".rs")).filter(|name| *name != "mod").collect()
    }

    /// The part it belongs to; none for the crate's root and the binaries, which may name every part.
    fn part(&self) -> Option<&str> {
        self.module().first().copied().filter(|first| !matches!(*first, "lib" | "main" | "bin"))
    }

    /// Parts named by `crate::part` or by as many `super::` as lead to the root.
    fn parts_named(&self) -> Vec<(usize, String)> {
        let depth = self.module().len();
        let part = |named: &Named| {
            let up = named.segments.iter().take_while(|segment| *segment == "super").count();
            let at = if named.root() == "crate" {
                1
            } else if up > 0 && up >= depth + named.inside {
                up
            } else {
                return None;
            };
            named.segments.get(at).cloned().map(|part| (named.line, part))
        };
        self.paths.iter().filter_map(part).collect()
    }
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of src") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files.iter().map(|file| Source::read(file)).collect()
}

/// A word, `::`, or any other single character; comments, strings and white space are gone.
struct Token {
    line: usize,
    text: String,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest).unwrap_or_else(|| {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let length = match word {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                word => word,
            };
            if !first.is_whitespace() {
                tokens.push(Token { line, text: rest[..length].to_owned() });
            }
            length
        });
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// The length of a comment, string or character that `text` begins with.
fn skipped(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(text.find("*/").map_or(text.len(), |end| end + 2));
    }
    let raw = text.strip_prefix("br").or_else(|| text.strip_prefix('r'));
    if let Some(hashes) = raw.map(|raw| raw.len() - raw.trim_start_matches('#').len()) {
        let quote = raw.map(|raw| &raw[hashes..]).filter(|raw| raw.starts_with('"'));
        if let Some(body) = quote {
            let end = format!("\"{}", "#".repeat(hashes));
            let close = body[1..].find(&end).map_or(body.len(), |at| 1 + at + end.len());
            return Some(text.len() - body.len() + close);
        }
    }
    let quoted = |mark: char| {
        let mut escaped = false;
        text.char_indices().skip(1).find_map(|(at, c)| {
            let end = c == mark && !escaped;
            escaped = c == '\\' && !escaped;
            end.then_some(at + 1)
        })
    };
    match text.as_bytes() {
        [b'"', ..] => Some(quoted('"').unwrap_or(text.len())),
        // A character, not a lifetime.
        [b'\'', b'\\', ..] => quoted('\''),
        [b'\'', ..] if text.chars().nth(2) == Some('\'') => quoted('\''),
        _ => None,
    }
}

fn is_word(token: &Token) -> bool {
    token.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Every path in `tokens`; those of `use a::{b, c::d}` written out.
fn paths(tokens: &[Token]) -> Vec<Named> {
    let mut found = Vec::new();
    let mut braces: Vec<bool> = Vec::new(); // for each open brace: is it an inline module's?
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => braces.push(at >= 2 && tokens[at - 2].text == "mod"),
            "}" => _ = braces.pop(),
            _ if is_word(&tokens[at]) && tokens.get(at + 1).is_some_and(|next| next.text == "::") => {
                let inside = braces.iter().filter(|module| **module).count();
                at = tree(tokens, at, &[], &mut |line, segments| found.push(Named { line, segments, inside }));
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads one path or use tree that begins at `at`; returns where it ends.
fn tree(tokens: &[Token], mut at: usize, before: &[String], say: &mut impl FnMut(usize, Vec<String>)) -> usize {
    let mut segments = before.to_vec();
    let line = tokens[at].line;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = if is_word(&tokens[at]) && tokens[at].text != "as" {
                        tree(tokens, at, &segments, say)
                    } else {
                        at + 1
                    };
                }
                return at + 1;
            }
            _ if is_word(token) => segments.push(token.text.clone()),
            _ => break,
        }
        at += 1;
        if tokens.get(at).is_none_or(|token| token.text != "::") {
            break;
        }
        at += 1;
    }
    say(line, segments);
    at
}

fn types(tokens: &[Token]) -> Vec<(usize, String)> {
    tokens
        .windows(2)
        .filter(|pair| matches!(pair[0].text.as_str(), "struct" | "enum" | "trait" | "type") && is_word(&pair[1]))
        .map(|pair| (pair[1].line, pair[1].text.clone()))
        .collect()
}
