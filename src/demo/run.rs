//! The run: the first version, the load, the pushes; then the end of everything, and the evidence.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::bystander::{Bystander, Sightings};
use super::checker::{Evidence, EvidenceError};
use super::load::{Load, Wish};
use super::options::Options;
use super::progress::Progress;
use super::script::{self, Push, Pushed};
use super::stage::{Stage, Way};
use super::stamps::Plan;
use crate::journal::Record;

/// Orders in a whole demo, at least.
const ENOUGH: u64 = 3_000;
/// Before the first push, between two, and after the last, the load runs undisturbed for this long.
const CALM: Duration = Duration::from_millis(1_200);

/// Why a demo could not be brought to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// A process, a file, an interruption.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The first version must run before there is anything to show.
    #[error("the first version could not be deployed: {0}")]
    First(String),
    /// There is no verdict without it.
    #[error("{0}")]
    Evidence(#[from] EvidenceError),
}

/// A snapshot and the time in which this machine makes a bare copy of the same bytes, synced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BareCopy {
    /// Before which version it was taken.
    pub(super) version: u32,
    /// How many.
    pub(super) bytes: u64,
    /// Milliseconds.
    pub(super) ms: f64,
}

/// All that a run left behind.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The first version and every push after it.
    pub(super) pushed: Vec<Pushed>,
    /// For the checker.
    pub(super) evidence: Evidence,
    /// For the measurements.
    pub(super) sightings: Sightings,
    /// The proxy's own record, reported beside the verdict.
    pub(super) journal: Vec<Record>,
    /// One for each push that took a snapshot.
    pub(super) bare_copies: Vec<BareCopy>,
    /// How long the load ran.
    pub(super) loaded: Duration,
}

/// Plays the whole of it.
///
/// # Errors
/// [`RunError`]: what prevented it. A promise that was not held is no error here.
pub(super) fn play(
    stage: &mut Stage,
    way: Way,
    options: &Options,
    progress: &mut Progress,
) -> Result<Outcome, RunError> {
    stage.open()?;
    let bystander = Bystander::start(&stage.file("stamps.jsonl"))?;
    let mut live = None;
    let first = script::push(stage, Push { version: 1, plan: Plan::Good }, &mut live, progress)?;
    if !first.succeeded {
        return Err(RunError::First(first.said));
    }
    say(progress, &first);
    let log = stage.file("clients.jsonl");
    let load = Load::start(Wish { address: stage.address(), rate: options.rate, seed: options.seed, log })?;
    progress.count(Arc::clone(load.counts()));
    let (began, mut pushed, mut bare_copies) = (Instant::now(), vec![first], Vec::new());
    for push in script::pushes() {
        calm(progress)?;
        let ended = script::push(stage, push, &mut live, progress)?;
        say(progress, &ended);
        if way == Way::Keepers {
            bare_copies.extend(copy_barely(stage, push.version)?);
        }
        pushed.push(ended);
    }
    calm(progress)?;
    while load.counts().placed.load(Ordering::Relaxed) < ENOUGH {
        calm(progress)?;
    }
    let loaded = began.elapsed();
    load.finish()?;
    let journal = stage.journal()?;
    live.map_or(Ok(()), super::stage::Container::stop)?;
    stage.end()?;
    let sightings = bystander.finish()?;
    let evidence = gather(stage)?;
    Ok(Outcome { pushed, evidence, sightings, journal, bare_copies, loaded })
}

fn gather(stage: &Stage) -> Result<Evidence, EvidenceError> {
    Evidence::gather(&stage.file("clients.jsonl"), &stage.file("shop.db"), &stage.file("stamps.jsonl"))
}

fn calm(progress: &Progress) -> io::Result<()> {
    let until = Instant::now() + CALM;
    while Instant::now() < until {
        progress.interrupted()?;
        progress.show("the load runs");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn say(progress: &Progress, pushed: &Pushed) {
    let (version, seconds) = (pushed.push.version, pushed.took.as_secs_f64());
    let bad = match pushed.push.plan {
        Plan::Good => "",
        Plan::ExitsBooting => " (exits while booting)",
        Plan::SpoilsData => " (its migration spoils the data and fails)",
        Plan::NeverHealthy => " (never gets healthy)",
    };
    let ended = if pushed.succeeded { "deployed" } else { "refused" };
    progress.say(&format!("version {version}{bad}: {ended} in {seconds:.2} s"));
    let as_expected = pushed.as_expected();
    for line in pushed.said.lines().take(if as_expected { 2 } else { 10 }) {
        progress.say(&format!("    {line}"));
    }
}

/// Copies the newest snapshot's files as any program would, and syncs them. None where there is no snapshot.
fn copy_barely(stage: &Stage, version: u32) -> io::Result<Option<BareCopy>> {
    let Some(snapshot) = newest_snapshot(&stage.file("shop.db.lockgate").join("snapshots")) else { return Ok(None) };
    let copy = stage.file("bare-copy");
    let (mut bytes, mut took) = (0, Duration::ZERO);
    for file in copied(&snapshot)? {
        let began = Instant::now();
        let mut to = File::create(&copy)?;
        bytes += io::copy(&mut File::open(file)?, &mut to)?;
        to.sync_all()?;
        took += began.elapsed();
        fs::remove_file(&copy)?;
    }
    Ok(Some(BareCopy { version, bytes, ms: took.as_secs_f64() * 1_000.0 }))
}

/// What a snapshot holds of the set: not what the keeper writes beside it.
fn copied(snapshot: &Path) -> io::Result<Vec<PathBuf>> {
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(snapshot.join("manifest.json"))?)?;
    let files = manifest.get("files").and_then(serde_json::Value::as_array);
    let names = files.into_iter().flatten().filter_map(|entry| entry.get("file")?.as_str());
    Ok(names.map(|name| snapshot.join(name)).collect())
}

/// They are named by the epochs before which they were taken.
fn newest_snapshot(snapshots: &Path) -> Option<PathBuf> {
    let epoch = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u64>().ok();
    let paths = fs::read_dir(snapshots).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter_map(|path| Some((epoch(&path)?, path))).max().map(|(_, path)| path)
}
