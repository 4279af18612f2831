//! Following: what to do while no handoff runs and the gate is not open on a confirmed holder. Pure; it never says
//! `take`: either a keeper that holds is adopted, or an unconfirmed one is rolled back, or a keeper takes by itself.

use crate::wire::{Role, Status};

/// What was found out about a keeper just now: who it is to the caller, and its greeting, if it could be reached.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a, K> {
    /// The caller's name for it.
    pub keeper: K,
    /// Its greeting; none where it cannot be reached.
    pub status: Option<&'a Status>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision<K> {
    /// Nobody holds, or it is on its way: ask again soon.
    Wait,
    /// It holds: probe it, confirm it if it is not confirmed, open the gate on it ([`super::machine::Aim::Adopt`]).
    Adopt(K),
    /// `from` holds an epoch that could not be confirmed; `to` is the last confirmed one and stands by
    /// ([`super::machine::Aim::Recover`]).
    RollBack {
        /// Who holds.
        from: K,
        /// Who is brought back.
        to: K,
    },
}

/// Whose keepers are followed.
#[derive(Clone, Copy, Debug)]
pub struct Ours<'a> {
    /// The service.
    pub service: &'a str,
    /// The lease of the active revision; none where no keeper has named it yet.
    pub lease: Option<&'a str>,
}

impl Ours<'_> {
    /// Whether it is a keeper of ours that greets so at the address of the one with this id (empty: not known).
    ///
    /// The address of a container that has gone may be another service's now; and a keeper of this service may have been
    /// started on another volume.
    #[must_use]
    pub fn has(&self, id: &str, status: &Status) -> bool {
        let named = match &status.service {
            Some(service) => service == self.service,
            None => id.is_empty() || status.id == id,
        };
        named && (status.lease.is_empty() || self.lease.is_none_or(|lease| status.lease == lease))
    }
}

/// Decides. `failed`: the epoch whose adoption failed before (its app did not get healthy in its time), if one did.
#[must_use]
pub fn decide<K: Copy>(seen: &[Seen<'_, K>], failed: Option<u64>) -> Decision<K> {
    // Two may call themselves holders where the lease moved between two answers: the younger epoch is the truth.
    let holder = seen
        .iter()
        .filter_map(|seen| seen.status.map(|status| (seen.keeper, status)))
        .filter(|(_, status)| status.role == Role::Holder && !status.stopping)
        .max_by_key(|(_, status)| status.epoch);
    let Some((from, status)) = holder else { return Decision::Wait };
    if status.confirmed || failed != Some(status.epoch) {
        return Decision::Adopt(from);
    }
    match last_confirmed_standby(seen, status) {
        Some(to) => Decision::RollBack { from, to },
        None => Decision::Adopt(from),
    }
}

/// Only the last confirmed keeper is brought back: it needs no confirmation, its code and data belong together.
fn last_confirmed_standby<K: Copy>(seen: &[Seen<'_, K>], holder: &Status) -> Option<K> {
    let last = holder.last_confirmed.as_deref()?;
    seen.iter()
        .filter_map(|seen| seen.status.map(|status| (seen.keeper, status)))
        .find(|(_, status)| status.role == Role::Standby && status.id == last && status.lease == holder.lease)
        .map(|(keeper, _)| keeper)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    fn keeper(id: &str, role: Role, epoch: u64, confirmed: bool) -> Status {
        Status {
            wire: wire::VERSION,
            role,
            service: None,
            id: id.into(),
            epoch,
            confirmed,
            last_confirmed: Some("old".into()),
            holder: None,
            lease: "1:2".into(),
            prepared: false,
            stopping: false,
            wishes: std::collections::BTreeMap::new(),
            note: String::new(),
            unknown: std::collections::BTreeMap::new(),
        }
    }

    fn decide_among(keepers: &[Status], failed: Option<u64>) -> Decision<usize> {
        let seen: Vec<_> =
            keepers.iter().enumerate().map(|(keeper, status)| Seen { keeper, status: Some(status) }).collect();
        decide(&seen, failed)
    }

    #[test]
    fn a_keeper_of_another_service_or_lease_is_not_ours() {
        let ours = Ours { service: "shop", lease: Some("1:2") };
        let unnamed = keeper("a:1", Role::Holder, 4, true);
        let shop = Status { service: Some("shop".into()), ..unnamed.clone() };
        let other = Status { service: Some("other".into()), ..unnamed.clone() };
        let elsewhere = Status { lease: "9:9".into(), ..shop.clone() };
        assert!(ours.has("b:1", &shop) && ours.has("a:1", &unnamed) && ours.has("", &unnamed));
        assert!(!ours.has("b:1", &unnamed), "another container has the address now");
        assert!(!ours.has("a:1", &other) && !ours.has("a:1", &elsewhere));
        assert!(Ours { lease: None, ..ours }.has("a:1", &elsewhere), "nobody has named the lease yet");
    }

    #[test]
    fn a_holder_whose_app_is_stopping_is_not_adopted() {
        let leaving = Status { stopping: true, ..keeper("old", Role::Holder, 4, true) };
        assert_eq!(decide_among(&[leaving], None), Decision::Wait);
    }

    #[test]
    fn a_confirmed_holder_is_active_whoever_it_is() {
        let keepers = [keeper("old", Role::Standby, 4, true), keeper("stranger", Role::Holder, 4, true)];
        assert_eq!(decide_among(&keepers, Some(4)), Decision::Adopt(1));
    }

    #[test]
    fn nobody_or_one_on_its_way_is_waited_for() {
        assert_eq!(decide_among(&[], None), Decision::Wait);
        let keepers = [keeper("old", Role::Standby, 4, true), keeper("new", Role::Acquiring, 4, true)];
        assert_eq!(decide_among(&keepers, None), Decision::Wait);
    }

    #[test]
    fn keepers_that_cannot_be_reached_say_nothing() {
        assert_eq!(decide(&[Seen { keeper: 0, status: None }], None), Decision::Wait);
    }

    #[test]
    fn an_unconfirmed_holder_is_probed_first() {
        let keepers = [keeper("old", Role::Standby, 5, false), keeper("new", Role::Holder, 5, false)];
        assert_eq!(decide_among(&keepers, Some(4)), Decision::Adopt(1));
    }

    #[test]
    fn an_unconfirmed_holder_that_failed_is_rolled_back_to_the_last_confirmed_keeper() {
        let keepers = [keeper("new", Role::Holder, 5, false), keeper("old", Role::Standby, 5, false)];
        assert_eq!(decide_among(&keepers, Some(5)), Decision::RollBack { from: 0, to: 1 });
    }

    #[test]
    fn without_the_last_confirmed_keeper_at_its_lease_an_unconfirmed_holder_is_tried_again() {
        let mut elsewhere = keeper("old", Role::Standby, 5, false);
        elsewhere.lease = "9:9".into();
        let keepers = [keeper("new", Role::Holder, 5, false), keeper("third", Role::Standby, 5, false), elsewhere];
        assert_eq!(decide_among(&keepers, Some(5)), Decision::Adopt(0));
    }

    #[test]
    fn of_two_that_say_they_hold_the_younger_epoch_is_the_truth() {
        let keepers = [keeper("old", Role::Holder, 4, true), keeper("new", Role::Holder, 5, true)];
        assert_eq!(decide_among(&keepers, None), Decision::Adopt(1));
    }
}
