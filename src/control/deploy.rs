//! `deploy`: from what was asked to a handoff, and from its end to an answer.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::spawn_blocking;

use super::Control;
use super::answer::answer;
use super::entry::Entry;
use super::job::{first_service, gate_limits};
use super::watch::Deploying;
use super::words::{Failure, FailureKind, Outcome, Progress};
use crate::config::ServiceSettings;
use crate::handoff::machine::Side;
use crate::router::Places;
use crate::spec::{Deploy, OnBusy};

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
        let token = keeper_token(&settings).await?;
        // Who follows only looks for somebody live: a deploy need not wait for that.
        let follows = self.entry(&deploy.service).is_some_and(|entry| entry.stop_following());
        let on_busy = if follows { OnBusy::Wait } else { deploy.on_busy };
        let Some(_turn) = self.turns.take(&deploy.service, on_busy).await else {
            let busy = Failure::new(FailureKind::Conflict, "another deploy of this service is under way");
            return Err(busy.hint("--on-busy=wait waits for its turn"));
        };
        self.refuse_if_stopping()?;
        let claim = self.claim(&deploy)?;
        let measured = self.measured(&deploy.service).await;

        let entry = match self.entry(&deploy.service) {
            Some(entry) => entry,
            None => claim.come(Entry::new(first_service(&deploy, &settings))),
        };
        let before = entry.set_limits(gate_limits(&settings, &deploy));
        let mut job = self.deploy_job(&deploy, &settings, &entry, measured);
        job.sides.token = token;
        let mut watcher = Deploying::new(&self, &deploy, &entry, progress);
        let mut report = self.lead(&mut job, &mut watcher, &entry).await;
        report.record.warnings.extend(watcher.unsaved);
        if job.sides.active != Some(Side::New) {
            entry.set_limits(before);
        }
        let registered = self.entry(&deploy.service).is_some();
        let answer = answer(&deploy, &entry, &job, report, registered);
        if answer.is_ok() {
            tracing::info!(service = deploy.service, "Deployed");
        }
        answer
    }
}

/// What keepers require on every line, if they do.
pub(super) async fn keeper_token(settings: &ServiceSettings) -> Result<Option<String>, Failure> {
    let Some(path) = settings.keeper_token_file.clone() else { return Ok(None) };
    let read = spawn_blocking(move || {
        let text = std::fs::read_to_string(&path);
        text.map_err(|error| format!("reading the keepers' token from {}: {error}", path.display()))
    });
    let text = read.await.unwrap_or_else(|error| Err(error.to_string())).map_err(Failure::internal)?;
    Ok(Some(text.trim().to_owned()))
}

pub(super) fn places(deploy: &Deploy) -> Places {
    Places { hosts: deploy.options.hosts.clone(), prefixes: deploy.options.path_prefixes.clone() }
}
