//! The saved state in memory, and its way to the file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::state::{self, SavedService};

/// What the file holds, or will after the next [`Book::save`].
#[derive(Debug)]
pub(super) struct Book {
    path: PathBuf,
    pages: Mutex<Pages>,
    /// One writer at a time; each writes what stands in the book when its turn has come.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Pages {
    services: BTreeMap<String, SavedService>,
    bad: Vec<Value>,
}

impl Book {
    pub(super) fn new(data: &Path) -> Self {
        let path = data.join("kamal-proxy.state");
        Self { path, pages: Mutex::default(), writing: tokio::sync::Mutex::new(()) }
    }

    /// Reads the file, and says in the log what it found. Bad entries are kept, to be written again.
    pub(super) fn open(&self) -> Vec<SavedService> {
        let path = self.path.display();
        let loaded = match state::load(&self.path) {
            Ok(Some(loaded)) => loaded,
            Ok(None) => {
                tracing::info!(%path, "No previous state to restore");
                return Vec::new();
            }
            Err(error) => {
                let kept = set_aside(&self.path, "unreadable", |aside| fs::rename(&self.path, aside));
                tracing::error!(%path, %error, kept, "Failed to restore saved state");
                return Vec::new();
            }
        };
        for (entry, error) in &loaded.bad {
            let service = entry.get("name").and_then(Value::as_str).unwrap_or_default();
            tracing::error!(%path, service, error, "Failed to decode saved state of a service; its entry is kept");
        }
        match loaded.cut_short {
            Some(error) => {
                let kept = set_aside(&self.path, "damaged", |aside| fs::copy(&self.path, aside).map(drop));
                tracing::error!(%path, error, kept, "Failed to decode saved state");
            }
            None => tracing::info!(%path, "Restored saved state"),
        }
        let mut pages = self.pages();
        pages.bad = loaded.bad.into_iter().map(|(entry, _)| entry).collect();
        pages.services = loaded.services.into_iter().map(|service| (service.name.clone(), service)).collect();
        pages.services.values().cloned().collect()
    }

    /// Changes the page of a service, if it has one.
    pub(super) fn change(&self, service: &str, change: impl FnOnce(&mut SavedService)) {
        if let Some(page) = self.pages().services.get_mut(service) {
            change(page);
        }
    }

    /// As [`Book::change`], of a service that may have no page yet. A bad entry of that name is superseded.
    pub(super) fn put(&self, service: &str, change: impl FnOnce(&mut SavedService)) {
        let mut pages = self.pages();
        pages.bad.retain(|entry| entry.get("name").and_then(Value::as_str) != Some(service));
        let page = pages.services.entry(service.to_owned()).or_default();
        service.clone_into(&mut page.name);
        change(page);
    }

    pub(super) fn remove(&self, service: &str) {
        self.pages().services.remove(service);
    }

    /// Writes the file, synced. A failure ends no command: it is logged, and what to warn of is returned.
    pub(super) async fn save(&self) -> Option<String> {
        let _turn = self.writing.lock().await;
        let (services, bad) = {
            let pages = self.pages();
            (pages.services.values().cloned().collect::<Vec<_>>(), pages.bad.clone())
        };
        let path = self.path.clone();
        let saved = tokio::task::spawn_blocking(move || state::save(&path, &services, &bad)).await;
        let error = match saved {
            Ok(Ok(())) => {
                tracing::debug!(path = %self.path.display(), "Saved state");
                return None;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(error, "Unable to save state");
        Some(format!("not saved, a restart of the proxy would undo it: {error}"))
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many files are set aside before the last is written over.
const ASIDE: u32 = 100;

/// What could not be read, or not to its end, is kept under a name of its own, which is given back.
fn set_aside(path: &Path, why: &str, keep: impl FnOnce(&Path) -> io::Result<()>) -> String {
    let name = |number| match number {
        0 => path.with_extension(format!("state.{why}")),
        number => path.with_extension(format!("state.{why}.{number}")),
    };
    let aside = (0..ASIDE).map(name).find(|aside| !aside.exists()).unwrap_or_else(|| name(ASIDE));
    match keep(&aside) {
        Ok(()) => aside.display().to_string(),
        Err(error) => format!("not: {error}"),
    }
}
