//! What a deploy's handoff tells while it runs, and where that goes: progress, routes, the saved state.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use super::Control;
use super::deploy::places;
use super::entry::Entry;
use super::words::Progress;
use crate::handoff::driver::{Sides, Watcher};
use crate::handoff::machine::{Phase, Side};
use crate::spec::Deploy;
use crate::state::{SavedService, nanos};

/// A deploy's eyes and ears.
pub(super) struct Deploying<'a> {
    control: &'a Arc<Control>,
    deploy: &'a Deploy,
    entry: &'a Arc<Entry>,
    progress: UnboundedSender<Progress>,
    began: Instant,
    /// What to warn of where the state could not be saved.
    pub(super) unsaved: Option<String>,
}

impl<'a> Deploying<'a> {
    pub(super) fn new(
        control: &'a Arc<Control>,
        deploy: &'a Deploy,
        entry: &'a Arc<Entry>,
        progress: UnboundedSender<Progress>,
    ) -> Self {
        Self { control, deploy, entry, progress, began: Instant::now(), unsaved: None }
    }
}

impl Watcher for Deploying<'_> {
    fn phase(&mut self, phase: Phase, held: usize) {
        self.entry.now().phase = Some(phase);
        let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Whoever asked may have gone.
        let _ = self.progress.send(Progress { phase: phase.word().into(), at_ms, held, note: String::new() });
    }

    async fn save(&mut self, sides: &Sides) {
        let (control, deploy) = (self.control, self.deploy);
        match sides.active {
            Some(Side::New) => {
                if !control.install(self.entry, deploy, sides) {
                    return;
                }
            }
            Some(Side::Old) | None => {
                control.book.change(&deploy.service, |page| page.lockgate.keepers.clone_from(&sides.known));
            }
        }
        self.unsaved = control.book.save().await;
    }
}

impl Control {
    /// Makes the service be found by its new options, and in the book. False where it was removed meanwhile: it stays so.
    fn install(&self, entry: &Arc<Entry>, deploy: &Deploy, sides: &Sides) -> bool {
        let mut entries = self.entries();
        match entries.get(&deploy.service) {
            Some(current) if !Arc::ptr_eq(current, entry) => return false,
            None if entry.now().removed => return false,
            Some(_) | None => {}
        }
        let service = &entry.service;
        service.options.store(Arc::new(deploy.options.clone()));
        if let Err(conflict) = self.router.install(&service.name, places(deploy), Arc::clone(service)) {
            // Claims forbid it; were it so, the old places would go on.
            tracing::error!(service = conflict.with, "Host settings conflict with another service");
        }
        entries.insert(deploy.service.clone(), Arc::clone(entry));
        // While the entries are ours: whoever removes the service comes before all of this, or after.
        self.book.put(&deploy.service, |page| write(page, deploy, sides));
        true
    }
}

/// The service as this deploy leaves it, for the file.
fn write(page: &mut SavedService, deploy: &Deploy, sides: &Sides) {
    page.options.set(&deploy.options);
    page.target_options.set(&deploy.target_options);
    page.active_targets = deploy.targets.iter().map(ToString::to_string).collect();
    page.active_readers = deploy.readers.iter().map(ToString::to_string).collect();
    let ours = &mut page.lockgate;
    ours.keeper = sides.new.id.is_some().then(|| sides.new.keeper.clone()).flatten();
    ours.keepers.clone_from(&sides.known);
    ours.handoff = deploy.handoff;
    ours.on_drain_timeout = deploy.on_drain_timeout;
    ours.max_hold = deploy.max_hold.map(nanos);
}
