//! What deploys under way will want: their places, and the services that come to be by them.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::Control;
use super::deploy::places;
use super::entry::Entry;
use super::words::{Failure, FailureKind};
use crate::router::Places;
use crate::spec::Deploy;

impl Control {
    /// Takes the places of a deploy for as long as it runs, so that none is refused once its app is live.
    pub(super) fn claim(self: &Arc<Self>, deploy: &Deploy) -> Result<Claim, Failure> {
        let (name, places) = (&deploy.service, places(deploy));
        let conflict = |other: &str| {
            tracing::error!(service = other, "Host settings conflict with another service");
            Failure::new(FailureKind::Conflict, "host settings conflict with another service")
        };
        let mut claims = self.claims();
        self.router.check(name, &places).map_err(|error| conflict(&error.with))?;
        if let Some((other, _)) = claims.iter().find(|(other, theirs)| *other != name && places.meet(&theirs.places)) {
            return Err(conflict(other));
        }
        claims.insert(name.clone(), Claimed { places, coming: None });
        Ok(Claim { control: Arc::clone(self), service: name.clone() })
    }

    /// A service whose first deploy is under way: not in charge before its flip.
    pub(super) fn coming(&self, service: &str) -> Option<Arc<Entry>> {
        self.claims().get(service)?.coming.clone()
    }

    pub(super) fn claims(&self) -> MutexGuard<'_, HashMap<String, Claimed>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a deploy under way will want.
pub(super) struct Claimed {
    places: Places,
    /// A service that is not in charge yet.
    pub(super) coming: Option<Arc<Entry>>,
}

/// The claim of a deploy under way.
#[must_use]
pub(super) struct Claim {
    control: Arc<Control>,
    service: String,
}

impl Claim {
    /// A service comes to be by this deploy.
    pub(super) fn come(&self, entry: Arc<Entry>) -> Arc<Entry> {
        if let Some(claimed) = self.control.claims().get_mut(&self.service) {
            claimed.coming = Some(Arc::clone(&entry));
        }
        entry
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.control.claims().remove(&self.service);
    }
}
