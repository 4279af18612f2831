//! The pushes: eleven good versions and three bad ones, one after another, as a deploy tool runs them.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use super::progress::Progress;
use super::stage::{Container, Stage};
use super::stamps::Plan;

/// One push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Push {
    /// Which version.
    pub(super) version: u32,
    /// What it does.
    pub(super) plan: Plan,
}

/// How a push ended.
#[derive(Clone, Debug)]
pub(super) struct Pushed {
    /// What was pushed.
    pub(super) push: Push,
    /// Where its app was to listen: as the journal names it.
    pub(super) target: String,
    /// Whether `deploy` exited with 0.
    pub(super) succeeded: bool,
    /// How long `deploy` took.
    pub(super) took: Duration,
    /// What it said.
    pub(super) said: String,
}

impl Pushed {
    /// A good version must succeed, a bad one must fail.
    #[must_use]
    pub(super) fn as_expected(&self) -> bool {
        self.succeeded == (self.push.plan == Plan::Good)
    }
}

/// Good versions after the first one.
pub(super) const GOOD: usize = 11;

/// The pushes after the first version.
#[must_use]
pub(super) fn pushes() -> Vec<Push> {
    let mut plans = vec![Plan::Good; GOOD];
    plans.insert(3, Plan::ExitsBooting);
    plans.insert(7, Plan::SpoilsData);
    plans.insert(11, Plan::NeverHealthy);
    plans.into_iter().zip(2..).map(|(plan, version)| Push { version, plan }).collect()
}

/// Starts the new version beside the old one, deploys it, and stops the old one after a success, the new one after a
/// failure: Kamal's order.
///
/// # Errors
/// Where a process can't be started or does not end, or the demo is interrupted.
pub(super) fn push(stage: &Stage, push: Push, live: &mut Option<Container>, progress: &Progress) -> io::Result<Pushed> {
    let began = Instant::now();
    let container = stage.start(push.version, push.plan)?;
    let mut deploy = stage.deploy(push.version, &container)?;
    let status = loop {
        if let Some(status) = deploy.wait(Duration::from_millis(100))? {
            break status;
        }
        progress.interrupted()?;
        progress.show(&format!("version {} is being deployed", push.version));
    };
    let took = began.elapsed();
    let target = container.target().to_string();
    let superseded = if status.success() { live.replace(container) } else { Some(container) };
    superseded.map_or(Ok(()), Container::stop)?;
    let said = fs::read_to_string(stage.deploy_log(push.version))?;
    Ok(Pushed { push, target, succeeded: status.success(), took, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_eleven_good_pushes_and_one_bad_one_of_each_kind() {
        let pushes = pushes();
        for plan in Plan::ALL {
            let expected = if plan == Plan::Good { GOOD } else { 1 };
            assert_eq!(pushes.iter().filter(|push| push.plan == plan).count(), expected);
        }
        assert!(pushes.windows(2).all(|pair| pair[0].version < pair[1].version));
        assert!(pushes.last().is_some_and(|push| push.plan == Plan::Good), "after each bad one comes a good one");
    }
}
