//! From the saved state back to services, each for itself.

use std::sync::Arc;

use super::Control;
use super::entry::Entry;
use crate::gate::{Limits, Reason};
use crate::router::Places;
use crate::service::{Revision, Service};
use crate::spec::{Options, Target};
use crate::state::{PauseState, SavedService, duration};

impl Control {
    /// Brings back the services of the saved state, each for itself, and begins to follow those that have keepers. Says in
    /// the log what it found. To be called before listening.
    pub async fn restore(self: &Arc<Self>) {
        for page in self.book.open() {
            match self.restore_one(&page) {
                Ok(entry) => self.follow(&entry),
                Err(error) => {
                    tracing::error!(service = page.name, error, "Failed to restore a service; its entry is kept");
                }
            }
        }
    }

    fn restore_one(&self, page: &SavedService) -> Result<Arc<Entry>, String> {
        let options = Options::from(&page.options);
        let targets: Result<Vec<_>, _> = page.active_targets.iter().map(|target| Target::parse(target)).collect();
        let targets = targets.map_err(|error| error.to_string())?;
        let keeper = page.lockgate.keeper.clone();
        let settings = self.settings.for_service(&page.name);
        let limits = Limits {
            max_held: settings.max_held,
            max_hold: page.lockgate.max_hold.map_or(settings.max_hold, duration),
            release_concurrency: settings.release_concurrency,
        };
        let keeper_target = keeper.as_deref().and_then(|keeper| Target::parse(keeper).ok());
        let revision = Revision::new(&targets, (&page.target_options).into(), keeper_target);
        let places = Places { hosts: options.hosts.clone(), prefixes: options.path_prefixes.clone() };
        let service = Service::new(&page.name, Some(revision), options, limits);
        stand(&service, page);
        if keeper.is_some() {
            // Who is live now only a keeper knows.
            service.gate.close(Reason::Unavailable);
        }
        self.router.install(&page.name, places, Arc::clone(&service)).map_err(|conflict| conflict.to_string())?;
        let entry = Entry::new(service);
        {
            let mut now = entry.now();
            now.keeper = keeper;
            now.known.clone_from(&page.lockgate.keepers);
        }
        self.entries().insert(page.name.clone(), Arc::clone(&entry));
        Ok(entry)
    }
}

/// As the operator left it.
fn stand(service: &Service, page: &SavedService) {
    let controller = &page.pause_controller;
    match controller.state {
        PauseState::Running => {}
        PauseState::Paused => service.gate.pause(duration(controller.fail_after)),
        PauseState::Stopped => service.gate.stop(controller.stop_message.clone()),
    }
}
