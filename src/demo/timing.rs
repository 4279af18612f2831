//! Lockgate's own part of each handoff, by the apps' stamps and a bystander's sightings, not by the proxy's word.

use std::collections::BTreeMap;

use serde::Serialize;

use super::checker::millis;
use super::lives::Life;
use super::stamps::Plan;

/// What lay between two apps and belonged to neither. Milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OwnPart {
    /// The new app's version.
    pub version: u32,
    /// From the old app's last answer to the signal it saw.
    pub until_sigterm_ms: f64,
    /// From its exit to the first line of the new app's main, less the snapshot.
    pub until_main_ms: f64,
    /// From the new app's listening to its first order.
    pub until_order_ms: f64,
    /// The snapshot that was taken between them.
    pub snapshot_ms: f64,
}

impl OwnPart {
    /// All three together.
    #[must_use]
    pub fn total_ms(&self) -> f64 {
        self.until_sigterm_ms + self.until_main_ms + self.until_order_ms
    }
}

/// One for each good version that followed another app. `exits` are by boot, `snapshots` (milliseconds) by version.
#[must_use]
pub fn own_parts(lives: &[Life], exits: &BTreeMap<String, u64>, snapshots: &BTreeMap<u32, f64>) -> Vec<OwnPart> {
    let pairs = lives.iter().zip(lives.iter().skip(1));
    let mut seen = 0;
    pairs
        .filter_map(|(old, new)| {
            let newer = new.version > seen.max(old.version);
            seen = seen.max(old.version);
            (newer && new.plan == Plan::Good).then(|| own_part(old, new, exits, snapshots))?
        })
        .collect()
}

fn own_part(old: &Life, new: &Life, exits: &BTreeMap<String, u64>, snapshots: &BTreeMap<u32, f64>) -> Option<OwnPart> {
    let exit = exits.get(&old.boot)?;
    let snapshot_ms = snapshots.get(&new.version).copied().unwrap_or_default();
    Some(OwnPart {
        version: new.version,
        until_sigterm_ms: millis(old.sigterm_us?.saturating_sub(old.last_answer_us?)),
        until_main_ms: (millis(new.main_us.saturating_sub(*exit)) - snapshot_ms).max(0.0),
        until_order_ms: millis(new.first_order_us?.saturating_sub(new.listening_us?)),
        snapshot_ms,
    })
}

/// The middle one; 0 where there is none.
#[must_use]
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// The largest; 0 where there is none.
#[must_use]
pub fn worst(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(boot: &str, version: u32, plan: Plan, from: u64) -> Life {
        Life {
            boot: boot.to_owned(),
            version,
            plan,
            main_us: from,
            last_us: from + 900_000,
            set: BTreeMap::new(),
            listening_us: Some(from + 50_000),
            first_order_us: Some(from + 54_000),
            sigterm_us: Some(from + 880_000),
            last_answer_us: Some(from + 878_500),
        }
    }

    #[test]
    fn the_own_part_is_what_belongs_to_neither_app() {
        let lives = [life("a", 1, Plan::Good, 0), life("b", 2, Plan::Good, 907_000)];
        let exits = BTreeMap::from([("a".to_owned(), 900_500)]);
        let parts = own_parts(&lives, &exits, &BTreeMap::from([(2, 4.0)]));
        assert_eq!(parts.len(), 1);
        assert!((parts[0].until_sigterm_ms - 1.5).abs() < 1e-9);
        assert!((parts[0].until_main_ms - 2.5).abs() < 1e-9);
        assert!((parts[0].total_ms() - 8.0).abs() < 1e-9);
    }

    #[test]
    fn neither_a_bad_version_nor_the_way_back_counts() {
        let lives = [
            life("a", 1, Plan::Good, 0),
            life("b", 2, Plan::NeverHealthy, 1_000_000),
            life("c", 1, Plan::Good, 2_000_000),
            life("d", 3, Plan::Good, 3_000_000),
        ];
        let exits = ["a", "b", "c"].map(|boot| (boot.to_owned(), 0)).into();
        let versions: Vec<u32> = own_parts(&lives, &exits, &BTreeMap::new()).iter().map(|part| part.version).collect();
        assert_eq!(versions, [3]);
    }
}
