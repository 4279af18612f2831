//! What the end of a handoff means to whoever asked for the deploy.

use super::entry::Entry;
use super::words::{Failure, FailureKind, Outcome, were_cut};
use crate::gate::Operator;
use crate::handoff::driver::{Job, Report};
use crate::handoff::machine::{self, Reason, Side};
use crate::spec::{Deploy, format_duration};

/// `registered`: whether the service is in charge, be it since this deploy.
pub(super) fn answer(
    deploy: &Deploy,
    entry: &Entry,
    job: &Job,
    report: Report,
    registered: bool,
) -> Result<Outcome, Failure> {
    let mut warnings = report.record.warnings;
    if report.record.cut > 0 {
        warnings.push(format!("{} when the time to drain was over", were_cut(report.record.cut)));
    }
    let failed = match entry.now().removed {
        true => Some(removed_meanwhile(job, &report.outcome)),
        false => failure(deploy, job, &report.outcome, registered),
    };
    if let Some(mut failure) = failed {
        failure.hints.extend(warnings);
        return Err(failure);
    }
    let adopted = job.sides.new.id.is_some() && job.plan.old_revision && !job.plan.old_keeper;
    if adopted && report.record.kind == "overlap" {
        warnings.push("the app before had no keeper: this one deploy overlapped, the next will not".into());
    }
    let state = entry.service.gate.view().reasons.operator;
    if state != Operator::Running {
        warnings.push(format!("the service stays {}", state.name()));
    }
    Ok(Outcome { warnings })
}

/// Whatever came of the handoff, nobody is served by it.
fn removed_meanwhile(job: &Job, outcome: &machine::Outcome) -> Failure {
    let (reason, now) = match outcome {
        machine::Outcome::Done => (None, "the new app is live, but requests do not go there"),
        machine::Outcome::GivenUp(reason) if job.plan.old_revision => {
            (Some(reason), "the old app is live, but requests do not go there")
        }
        machine::Outcome::GivenUp(reason) => (Some(reason), "nothing was changed"),
        machine::Outcome::RolledBack(reason) => {
            (Some(reason), "the old app was brought back, but requests do not go there")
        }
        machine::Outcome::Unavailable { forward, .. } => (Some(forward), "no app is known to be live"),
    };
    let failure = Failure::new(FailureKind::Conflict, "the service was removed during its deploy");
    match reason {
        Some(Reason::Aborted) | None => failure.hint(now),
        Some(reason) => failure.hint(reason.to_string()).hint(now),
    }
}

/// None where it was done.
fn failure(deploy: &Deploy, job: &Job, outcome: &machine::Outcome, registered: bool) -> Option<Failure> {
    let (reason, now) = match outcome {
        machine::Outcome::Done => return None,
        machine::Outcome::GivenUp(reason) if job.plan.old_revision => {
            (reason, "nothing was changed, the old app serves on")
        }
        machine::Outcome::GivenUp(reason) => (reason, "nothing was changed"),
        machine::Outcome::RolledBack(reason) => (reason, "the old app was brought back and serves on"),
        machine::Outcome::Unavailable { forward, .. } if !registered => (forward, "there is no such service yet"),
        machine::Outcome::Unavailable { forward, .. } => {
            (forward, "requests are held until a keeper says that its app is live and confirmed")
        }
    };
    let mut failure = first_line(deploy, reason);
    if failure.error != reason.to_string() {
        failure = failure.hint(reason.to_string());
    }
    if let machine::Outcome::Unavailable { back: Some(back), .. } = outcome {
        failure = failure.hint(format!("the old app could not be brought back: {back}"));
    }
    failure.hints.extend(about_keepers(job, reason));
    Some(failure.hint(now))
}

/// What is known of a keeper that was lost, slow or not found.
fn about_keepers(job: &Job, reason: &Reason) -> Vec<String> {
    let mut hints = Vec::new();
    if let Reason::Lost(side) | Reason::Slow(side, _) = reason
        && let party = job.sides.party(*side)
        && let (Some(keeper), Some(why)) = (&party.keeper, &party.lost)
    {
        hints.push(format!("its keeper at {keeper}: {why}"));
    }
    let new = &job.sides.new;
    if let (None, Some(keeper), Reason::NotHealthy(_) | Reason::Unfit(_)) = (&new.id, &new.keeper, reason) {
        let why = new.lost.as_deref().unwrap_or("no answer");
        hints.push(format!("no keeper was found at {keeper} ({why}): is the app meant to run under one?"));
    }
    hints
}

/// The contract's line where it has one.
fn first_line(deploy: &Deploy, reason: &Reason) -> Failure {
    let kind = match reason {
        Reason::Aborted => FailureKind::Conflict,
        Reason::Shutdown => FailureKind::Internal,
        Reason::NotHealthy(_)
        | Reason::Unhealthy(_)
        | Reason::Exited(..)
        | Reason::Refused(..)
        | Reason::Held(..)
        | Reason::Lost(_)
        | Reason::Slow(..)
        | Reason::Busy(_)
        | Reason::Unfit(_) => FailureKind::App,
    };
    match reason {
        Reason::NotHealthy(_) | Reason::Unhealthy(_) | Reason::Exited(Side::New, _) => {
            let timeout = format_duration(deploy.deploy_timeout);
            Failure::new(kind, format!("target failed to become healthy within configured timeout ({timeout})"))
        }
        Reason::Exited(Side::Old, _)
        | Reason::Refused(..)
        | Reason::Held(..)
        | Reason::Lost(_)
        | Reason::Slow(..)
        | Reason::Busy(_)
        | Reason::Unfit(_)
        | Reason::Aborted
        | Reason::Shutdown => Failure::new(kind, reason.to_string()),
    }
}
