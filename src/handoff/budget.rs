//! How the time of a hold is shared out. Pure: durations in, durations out.

use std::time::Duration;

use crate::wire::Facts;

/// Assumed for a boot that was never measured.
const UNKNOWN_BOOT: Duration = Duration::from_secs(5);
/// Assumed at most for a stop that was never measured.
const UNKNOWN_STOP: Duration = Duration::from_secs(2);
/// Kept back beside the old one's boot and the restore.
const MARGIN: Duration = Duration::from_millis(500);
/// How long after `grace` a keeper may take to prove that nothing of its app is left.
const PROOF: Duration = Duration::from_secs(2);
/// The least a keeper is given for a take: it waits 1 s for a foreign opener to go.
const LEAST_TAKE: Duration = Duration::from_secs(2);
/// The least a rollback's steps are given: by then held requests may have their 503, the old app is still wanted.
const LEAST_BACK: Duration = Duration::from_secs(10);

/// The limits of one handoff, from the deploy and the settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The deploy's time to become healthy.
    pub deploy_timeout: Duration,
    /// The deploy's time for requests of the old revision to end; also the longest settle.
    pub drain_timeout: Duration,
    /// From closing the gate to release.
    pub handoff_timeout: Duration,
    /// What an app that answers, but not healthy, gets of the boot.
    pub unhealthy_after: Duration,
    /// What earlier handoffs of this service took.
    pub measured: Measured,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deploy_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
            handoff_timeout: Duration::from_secs(25),
            unhealthy_after: Duration::from_secs(5),
            measured: Measured::default(),
        }
    }
}

/// Durations of the last handoff of this service that had them; none where never measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Measured {
    /// From `yield` to `free`.
    pub stop: Option<Duration>,
    /// From the app's start to its first good probe.
    pub boot: Option<Duration>,
    /// Putting a snapshot back.
    pub restore: Option<Duration>,
}

/// The shares of one hold, decided before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shares {
    /// From closing the gate to the end of the drain.
    pub drain: Duration,
    /// Kept back for a rollback.
    pub reserve: Duration,
    /// For the old app to exit, from `yield`, until its keeper says what grace it gives.
    pub stop: Duration,
    /// Whether all fits; else a rollback may come too late for requests held since the beginning.
    pub fits: bool,
}

/// For an app to exit that is killed after this grace.
#[must_use]
pub fn stop(grace: Duration) -> Duration {
    grace + PROOF
}

impl Limits {
    /// Shares out the hold of an exclusive handoff.
    #[must_use]
    pub fn shares(&self, facts: &Facts) -> Shares {
        let grace = Duration::from_millis(facts.grace_ms);
        let boot = self.measured.boot.unwrap_or(UNKNOWN_BOOT);
        let stopping = self.measured.stop.unwrap_or(UNKNOWN_STOP.min(grace));
        let forward = stopping + Duration::from_millis(facts.snapshot_ms) + boot;
        let reserve = boot + self.measured.restore.unwrap_or_default() + MARGIN;
        let fits = forward + reserve < self.handoff_timeout;
        let reserve = if fits { reserve } else { Duration::ZERO };
        let drain = self.handoff_timeout.saturating_sub(forward + reserve).max(self.handoff_timeout / 4);
        Shares { drain: drain.min(self.drain_timeout), reserve, stop: stop(grace), fits }
    }

    /// The drain of a handoff of kind `drain`: nothing comes after it but the flip.
    #[must_use]
    pub fn plain_drain(&self) -> Duration {
        self.drain_timeout.min(self.handoff_timeout)
    }

    /// What is left of the hold, `held` after the gate closed.
    #[must_use]
    pub fn left(&self, held: Duration) -> Duration {
        self.handoff_timeout.saturating_sub(held)
    }

    /// For the new keeper to have the lease, a snapshot and a started app.
    #[must_use]
    pub fn take(&self, held: Duration, shares: &Shares) -> Duration {
        self.left(held).saturating_sub(shares.reserve).max(LEAST_TAKE)
    }

    /// From the new app's start to its first good probe. Zero where nothing is left: roll back.
    #[must_use]
    pub fn boot(&self, held: Duration, shares: &Shares) -> Duration {
        self.deploy_timeout.min(self.left(held).saturating_sub(shares.reserve))
    }

    /// For each of the steps that bring the old app back.
    #[must_use]
    pub fn back(&self, held: Duration) -> Duration {
        self.left(held).max(LEAST_BACK)
    }

    /// How long the standby's conversation may be without a line: the whole handoff has to fit.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.drain_timeout + self.deploy_timeout + self.handoff_timeout * 2 + Duration::from_secs(30)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(stop: u64, boot: u64) -> Limits {
        let secs = |s| Some(Duration::from_secs(s));
        Limits { measured: Measured { stop: secs(stop), boot: secs(boot), restore: None }, ..Limits::default() }
    }

    #[test]
    fn the_drain_leaves_room_for_stop_snapshot_boot_and_reserve() {
        let facts = Facts { snapshot_ms: 500, grace_ms: 8000, ..Facts::default() };
        let shares = limits(1, 3).shares(&facts);
        // 25 - (1 + 0.5 + 3 + (3 + 0.5))
        assert_eq!(shares.drain, Duration::from_secs(17));
        assert_eq!(shares.reserve, Duration::from_millis(3500));
        assert_eq!(shares.stop, Duration::from_secs(10));
        assert!(shares.fits);
    }

    #[test]
    fn a_deploys_drain_timeout_is_a_cap() {
        let limits = Limits { drain_timeout: Duration::from_secs(4), ..limits(1, 3) };
        assert_eq!(limits.shares(&Facts::default()).drain, Duration::from_secs(4));
    }

    #[test]
    fn a_reserve_that_does_not_fit_is_gone_without_and_said() {
        let shares = limits(1, 15).shares(&Facts::default());
        assert!(!shares.fits);
        assert_eq!(shares.reserve, Duration::ZERO);
        assert_eq!(shares.drain, Duration::from_secs(9));
    }

    #[test]
    fn an_app_is_given_some_drain_however_slowly_it_boots() {
        assert_eq!(limits(1, 600).shares(&Facts::default()).drain, Duration::from_millis(6250));
    }

    #[test]
    fn the_boot_ends_while_enough_is_left_to_roll_back() {
        let limits = limits(1, 3);
        let shares = limits.shares(&Facts::default());
        assert_eq!(limits.boot(Duration::from_secs(2), &shares), Duration::from_millis(19_500));
        assert_eq!(limits.boot(Duration::from_secs(30), &shares), Duration::ZERO);
    }

    #[test]
    fn a_boot_never_measured_counts_five_seconds() {
        let shares = Limits::default().shares(&Facts { grace_ms: 8000, ..Facts::default() });
        assert_eq!(shares.reserve, Duration::from_millis(5500));
        assert_eq!(shares.drain, Duration::from_millis(12_500));
    }
}
