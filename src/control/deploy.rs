//! `deploy`: from what was asked to a handoff, and from its end to an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::Control;
use super::answer::answer;
use super::entry::Entry;
use super::words::{Failure, FailureKind, Outcome, Progress};
use crate::config::ServiceSettings;
use crate::gate::Limits;
use crate::handoff::budget;
use crate::handoff::driver::{Job, Party, Sides, Watcher};
use crate::handoff::machine::{Aim, Phase, Plan, Side};
use crate::router::Places;
use crate::service::{Revision, Service};
use crate::spec::{Deploy, Handoff, OnBusy};
use crate::state::{SavedService, nanos};
use crate::wire;

impl Control {
    /// A deploy whose turn has not come yet. Runs as a task of its own.
    pub(super) async fn deploy_in_turn(
        self: Arc<Self>,
        deploy: Deploy,
        progress: UnboundedSender<Progress>,
    ) -> Result<Outcome, Failure> {
        tracing::info!(
            service = deploy.service,
            targets = ?deploy.targets.iter().map(ToString::to_string).collect::<Vec<_>>(),
            hosts = ?deploy.options.hosts,
            paths = ?deploy.options.path_prefixes,
            tls = deploy.options.tls_enabled,
            "Deploying"
        );
        let settings = self.settings.for_service(&deploy.service).clone();
        let token = keeper_token(&settings)?;
        // Who follows only looks for somebody live: a deploy need not wait for that.
        let follows = self.entry(&deploy.service).is_some_and(|entry| entry.stop_following());
        let on_busy = if follows { OnBusy::Wait } else { deploy.on_busy };
        let Some(_turn) = self.turns.take(&deploy.service, on_busy).await else {
            let busy = Failure::new(FailureKind::Conflict, "another deploy of this service is under way");
            return Err(busy.hint("--on-busy=wait waits for its turn"));
        };
        self.refuse_if_stopping()?;
        let _claim = self.claim(&deploy)?;
        let measured = self.measured(&deploy.service).await;

        let entry = self.entry(&deploy.service).unwrap_or_else(|| Entry::new(first_service(&deploy, &settings)));
        entry.service.gate.set_limits(gate_limits(&settings, &deploy));
        let mut job = self.deploy_job(&deploy, &settings, &entry);
        job.plan.limits.measured = measured;
        job.sides.token = token;
        let mut watcher = Deploying::new(&self, &deploy, &entry, progress);
        let mut report = self.lead(&mut job, &mut watcher, &entry).await;
        report.record.warnings.extend(watcher.unsaved);
        let registered = self.entry(&deploy.service).is_some();
        let answer = answer(&deploy, &entry, &job, report, registered);
        if answer.is_ok() {
            tracing::info!(service = deploy.service, "Deployed");
        }
        answer
    }

    fn deploy_job(&self, deploy: &Deploy, settings: &ServiceSettings, entry: &Entry) -> Job {
        let named = deploy.keeper.as_ref().or(settings.keeper.as_ref());
        let host = deploy.targets.first().map(|target| target.host().to_owned()).unwrap_or_default();
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
            must_name_service: named.is_none() && is_loopback(&host),
            sole_target: deploy.targets.len() == 1 && deploy.readers.is_empty(),
            force: deploy.force,
            on_drain_timeout: deploy.on_drain_timeout.unwrap_or(settings.on_drain_timeout),
            limits: budget::Limits {
                deploy_timeout: deploy.deploy_timeout,
                drain_timeout: deploy.drain_timeout,
                handoff_timeout: handoff_timeout(settings, deploy),
                unhealthy_after: settings.unhealthy_after,
                measured: budget::Measured::default(),
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

    /// The service as this deploy leaves it, for the file.
    fn page(&self, deploy: &Deploy, sides: &Sides) -> SavedService {
        let mut page = self.book.get(&deploy.service).unwrap_or_default();
        page.name.clone_from(&deploy.service);
        page.options = (&deploy.options).into();
        page.target_options = (&deploy.target_options).into();
        page.active_targets = deploy.targets.iter().map(ToString::to_string).collect();
        page.active_readers = deploy.readers.iter().map(ToString::to_string).collect();
        let ours = &mut page.lockgate;
        ours.keeper = sides.new.id.is_some().then(|| sides.new.keeper.clone()).flatten();
        ours.keepers.clone_from(&sides.known);
        ours.handoff = deploy.handoff;
        ours.on_drain_timeout = deploy.on_drain_timeout;
        ours.max_hold = deploy.max_hold.map(nanos);
        page
    }
}

/// A deploy's eyes and ears.
struct Deploying<'a> {
    control: &'a Arc<Control>,
    deploy: &'a Deploy,
    entry: &'a Arc<Entry>,
    progress: UnboundedSender<Progress>,
    began: Instant,
    /// What to warn of where the state could not be saved.
    unsaved: Option<String>,
}

impl<'a> Deploying<'a> {
    fn new(
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
                if !control.install(self.entry, deploy) {
                    return;
                }
                control.book.put(control.page(deploy, sides));
            }
            Some(Side::Old) | None => {
                control.book.change(&deploy.service, |page| page.lockgate.keepers.clone_from(&sides.known));
            }
        }
        self.unsaved = control.book.save().await;
    }
}

impl Control {
    /// Makes the service be found by its new options. False where it was removed meanwhile: it stays so.
    fn install(&self, entry: &Arc<Entry>, deploy: &Deploy) -> bool {
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
        true
    }
}

/// What keepers require on every line, if they do.
pub(super) fn keeper_token(settings: &ServiceSettings) -> Result<Option<String>, Failure> {
    let Some(path) = &settings.keeper_token_file else { return Ok(None) };
    let token = std::fs::read_to_string(path)
        .map_err(|error| Failure::internal(format!("reading the keepers' token from {}: {error}", path.display())))?;
    Ok(Some(token.trim().to_owned()))
}

pub(super) fn places(deploy: &Deploy) -> Places {
    Places { hosts: deploy.options.hosts.clone(), prefixes: deploy.options.path_prefixes.clone() }
}

fn first_service(deploy: &Deploy, settings: &ServiceSettings) -> Arc<Service> {
    Service::new(&deploy.service, None, deploy.options.clone(), gate_limits(settings, deploy))
}

fn gate_limits(settings: &ServiceSettings, deploy: &Deploy) -> Limits {
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

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
