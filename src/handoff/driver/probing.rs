//! Probing one side until told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::inbox::Pen;
use crate::handoff::machine::{Event, Pace, Side, Verdict};
use crate::service::Revision;
use crate::spec::HealthCheck;
use crate::upstream::{self, Target};

/// The first pauses of an eager probe: on average a hold costs half of one more than the app's own boot.
const EAGER: Duration = Duration::from_micros(500);
/// After an app that answers, but not healthy.
const ANSWERED: Duration = Duration::from_millis(10);
/// An eager probe's pause grows to this part of the time since the first.
const PART: u32 = 200;
/// The runtime's timers wake on whole milliseconds, up to two for one asked for; from here on that is no matter.
const COARSE: Duration = Duration::from_millis(5);

/// Probes all targets of a revision; each round's verdict is that of its worst target. One probe in flight for each.
pub(super) async fn probe(side: Side, revision: Arc<Revision>, pace: Pace, pen: Pen) {
    let check = &revision.options.health_check;
    match pace {
        Pace::Contract => {
            let mut ticker = interval(check.interval.max(Duration::from_millis(1)));
            ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticker.tick().await;
                let verdict = round(&revision, check).await;
                log(&revision, check, &verdict);
                pen.tell(Event::Probed(side, verdict)).await;
            }
        }
        Pace::Eager => {
            let began = Instant::now();
            loop {
                let verdict = round(&revision, check).await;
                let least = if matches!(verdict, Verdict::Unhealthy(_)) { ANSWERED } else { EAGER };
                pen.tell(Event::Probed(side, verdict)).await;
                pause((began.elapsed() / PART).min(check.interval).max(least)).await;
            }
        }
    }
}

async fn pause(pause: Duration) {
    if pause < COARSE {
        let _slept = spawn_blocking(move || std::thread::sleep(pause)).await;
    } else {
        tokio::time::sleep(pause).await;
    }
}

fn log(revision: &Revision, check: &HealthCheck, verdict: &Verdict) {
    let url = revision.targets.first().map(|target| format!("http://{}{}", target.address(), check.path));
    match verdict {
        Verdict::Good => {
            for target in &revision.targets {
                tracing::info!(target = %target.address(), state = "healthy", was = "adding", "Target health updated");
            }
        }
        Verdict::Silent(error) | Verdict::Unhealthy(error) | Verdict::Nowhere(error) => {
            tracing::info!(url, error, "Healthcheck failed")
        }
    }
}

async fn round(revision: &Arc<Revision>, check: &HealthCheck) -> Verdict {
    let mut probes = tokio::task::JoinSet::new();
    let mut worst = Verdict::Good;
    if let [only] = revision.targets.as_slice() {
        return one(only, check).await;
    }
    for target in &revision.targets {
        let (target, check) = (Arc::clone(target), check.clone());
        probes.spawn(async move { one(&target, &check).await });
    }
    while let Some(verdict) = probes.join_next().await {
        match (verdict, &worst) {
            (Ok(Verdict::Good), _) | (Err(_), _) => {}
            (Ok(bad), Verdict::Good | Verdict::Unhealthy(_)) => worst = bad,
            (Ok(_), Verdict::Silent(_) | Verdict::Nowhere(_)) => {}
        }
    }
    worst
}

async fn one(target: &Target, check: &HealthCheck) -> Verdict {
    match upstream::probe(target.address(), check).await {
        Ok(()) => Verdict::Good,
        Err(error) if error.is_answer() => Verdict::Unhealthy(error.to_string()),
        Err(error) => Verdict::Silent(error.to_string()),
    }
}
