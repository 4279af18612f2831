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

/// Decides. `failed`: the epoch whose adoption failed before (its app did not get healthy in its time), if one did.
#[must_use]
pub fn decide<K: Copy>(seen: &[Seen<'_, K>], failed: Option<u64>) -> Decision<K> {
    // Two may call themselves holders where the lease moved between two answers: the younger epoch is the truth.
    let holder = seen
        .iter()
        .filter_map(|seen| seen.status.map(|status| (seen.keeper, status)))
        .filter(|(_, status)| status.role == Role::Holder)
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
