//! One named app behind the proxy: its gate, its options, and the revision that serves it.

pub mod flight;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use crate::gate::{Gate, Limits};
use crate::spec;
use crate::upstream;

/// A named app. Shared by all workers; a request takes its way by what stands here.
pub struct Service {
    /// Its name; any text.
    pub name: Arc<str>,
    /// Where requests are let through, held or refused.
    pub gate: Arc<Gate<Revision>>,
    /// Routes, redirects and the like; replaced as a whole by each deploy.
    pub options: ArcSwap<spec::Options>,
}

impl Service {
    /// A service with a first revision, or none: then its gate answers nobody before the first `flip`.
    #[must_use]
    pub fn new(name: &str, revision: Option<Arc<Revision>>, options: spec::Options, limits: Limits) -> Arc<Self> {
        let (name, gate) = (Arc::from(name), Gate::new(revision, limits));
        Arc::new(Self { name, gate, options: ArcSwap::from_pointee(options) })
    }
}

/// The targets deployed together by one deploy: one boot, not one version.
pub struct Revision {
    /// Unlike any other revision's in this process.
    pub id: u64,
    /// Where its requests go; at least one.
    pub targets: Vec<Arc<upstream::Target>>,
    /// How to talk to them.
    pub options: spec::TargetOptions,
    /// Where its keeper listens, if it has one.
    pub keeper: Option<spec::Target>,
    next: AtomicUsize,
}

impl Revision {
    /// A revision of these targets, with connections of its own.
    #[must_use]
    pub fn new(targets: &[spec::Target], options: spec::TargetOptions, keeper: Option<spec::Target>) -> Arc<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let targets = targets.iter().map(|t| Arc::new(upstream::Target::new(t.clone()))).collect();
        Arc::new(Self { id, targets, options, keeper, next: AtomicUsize::new(0) })
    }

    /// The target of the next request, each in turn; none only where the revision has none.
    #[must_use]
    pub fn pick(&self) -> Option<&Arc<upstream::Target>> {
        match self.targets.as_slice() {
            [] => None,
            [only] => Some(only),
            many => many.get((self.next.fetch_add(1, Ordering::Relaxed) + 1) % many.len()),
        }
    }
}
