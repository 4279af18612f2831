//! What a deploy asks for, as a handoff that is ready to begin.

use std::sync::Arc;
use std::time::Duration;

use super::Control;
use super::entry::Entry;
use crate::config::ServiceSettings;
use crate::gate::Limits;
use crate::handoff::budget::{self, Measured};
use crate::handoff::driver::{Job, Party, Sides};
use crate::handoff::machine::{Aim, Plan};
use crate::service::{Revision, Service};
use crate::spec::{Deploy, Handoff, Target};
use crate::wire;

impl Control {
    /// The handoff that a deploy asks for, without the keepers' token.
    pub(super) fn deploy_job(
        &self,
        deploy: &Deploy,
        settings: &ServiceSettings,
        entry: &Entry,
        measured: Measured,
    ) -> Job {
        let named = deploy.keeper.as_ref().or(settings.keeper.as_ref());
        let target = deploy.targets.first();
        let host = target.map(Target::host).unwrap_or_default();
        let keeper = named.map_or_else(|| format!("{host}:{}", wire::DEFAULT_PORT), ToString::to_string);
        let now = entry.now();
        let old_revision = entry.service.gate.revision().is_some();
        // Where somebody has named a keeper, a deploy past it would be a surprise.
        let auto = deploy.handoff == Handoff::Auto;
        let kind = if auto && named.is_some() { Handoff::Exclusive } else { deploy.handoff };
        let new = Revision::new(&deploy.targets, deploy.target_options.clone(), named.cloned());
        let plan = Plan {
            aim: Aim::Deploy(kind),
            service: deploy.service.as_str().into(),
            handoff: format!("{:08x}", fastrand::u32(..)).into(),
            old_keeper: now.keeper.as_ref().is_some_and(|old| *old != keeper),
            old_revision,
            unkept: old_revision && now.keeper.is_none(),
            keeper_expected: named.is_some() || now.known.iter().any(|known| known.control == keeper),
            must_name_service: named.is_none() && target.is_some_and(Target::is_loopback),
            sole_target: deploy.targets.len() == 1 && deploy.readers.is_empty(),
            force: deploy.force,
            on_drain_timeout: deploy.on_drain_timeout.unwrap_or(settings.on_drain_timeout),
            limits: budget::Limits {
                deploy_timeout: deploy.deploy_timeout,
                drain_timeout: deploy.drain_timeout,
                handoff_timeout: handoff_timeout(settings, deploy),
                unhealthy_after: settings.unhealthy_after,
                measured,
            },
        };
        let sides = Sides {
            old: Party { revision: entry.service.gate.revision(), keeper: now.keeper.clone(), ..Party::default() },
            new: Party { revision: Some(new), keeper: Some(keeper), ..Party::default() },
            known: now.known.clone(),
            token: None,
            active: None,
        };
        let (service, flights) = (Arc::clone(&entry.service), self.flights.clone());
        Job { plan, service, flights, sides, asked_by: deploy.asked_by.clone() }
    }
}

pub(super) fn first_service(deploy: &Deploy, settings: &ServiceSettings) -> Arc<Service> {
    Service::new(&deploy.service, None, deploy.options.clone(), gate_limits(settings, deploy))
}

pub(super) fn gate_limits(settings: &ServiceSettings, deploy: &Deploy) -> Limits {
    Limits {
        max_held: settings.max_held,
        max_hold: deploy.max_hold.unwrap_or(settings.max_hold),
        release_concurrency: settings.release_concurrency,
    }
}

/// A deploy's own `--max-hold` moves the timeout with it, unless the settings make that longer.
fn handoff_timeout(settings: &ServiceSettings, deploy: &Deploy) -> Duration {
    match deploy.max_hold {
        Some(max_hold) if settings.handoff_timeout == settings.max_hold => max_hold,
        Some(max_hold) => settings.handoff_timeout.max(max_hold),
        None => settings.handoff_timeout,
    }
}
