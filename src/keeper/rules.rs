//! Decisions of a keeper that stands by, as plain functions of what it knows.

use std::time::Duration;

use crate::lease::{Reading, Record};
use crate::wire::{VERSION, Version};

/// How long a keeper that nobody asked tries: who only looks at a free lease has its lock for a moment.
pub(super) const LOOKERS: Duration = Duration::from_millis(20);
const LEFT: Duration = Duration::from_secs(1);
const LAST_CONFIRMED: Duration = Duration::from_secs(2);

/// Who asks to acquire the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nobody: the lease was seen free.
    Unasked,
    /// A proxy, in a handoff.
    ByProxy,
}

/// A keeper that stands by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing<'a> {
    /// Its id.
    pub(super) me: &'a str,
    /// Its service, if it was told.
    pub(super) service: Option<&'a str>,
    /// It has only just started.
    pub(super) starting: bool,
    /// A conversation has prepared it and has not ended.
    pub(super) prepared: bool,
    /// `--defer`.
    pub(super) defer: Duration,
}

/// How long the lease must have been free without a break before this keeper takes it unasked; none: it never does.
pub(super) fn unasked(standing: &Standing<'_>, reading: &Reading) -> Option<Duration> {
    let record = match reading {
        Reading::Good(record) => record.as_ref().clone(),
        Reading::Blank => Record::blank(),
        Reading::Newer(_) => return None,
        // Counts as a confirmed epoch of an unknown keeper.
        Reading::Corrupt => return (!standing.prepared).then_some(standing.defer),
    };
    if foreign_service(standing.service, &record).is_some() {
        return None;
    }
    let mine = record.last_confirmed.as_deref() == Some(standing.me);
    if standing.prepared && !mine {
        return None;
    }
    let first = standing.starting && (mine || record.last_confirmed.is_none());
    Some(match (first, record.left, mine) {
        (true, _, _) => Duration::ZERO,
        (false, true, _) => LEFT,
        (false, false, true) => LAST_CONFIRMED,
        (false, false, false) => standing.defer,
    })
}

/// The service that the lease belongs to, where that is not ours.
pub(super) fn foreign_service<'a>(service: Option<&str>, record: &'a Record) -> Option<&'a str> {
    let theirs = record.service.as_deref()?;
    (service? != theirs).then_some(theirs)
}

/// Says that a newer program wrote the record.
pub(super) fn newer(version: Version) -> String {
    format!("the lease's record is of version {}, this keeper knows {}", version.major, VERSION.major)
}

/// Whether an epoch needs no `confirm`: nobody asked for it, or it is the last confirmed keeper's own.
pub(super) fn confirmed_at_birth(asked: Asked, me: &str, reading: &Reading) -> bool {
    asked == Asked::Unasked || last_confirmed(reading) == Some(me)
}

/// Whether the set must be kept as it was before: it is another's, or what is done to it may have to be undone.
pub(super) fn wants_snapshot(asked: Asked, me: &str, reading: &Reading) -> bool {
    match (reading, last_confirmed(reading)) {
        (Reading::Corrupt, _) => true,
        (_, Some(last)) => last != me,
        (_, None) => asked == Asked::ByProxy,
    }
}

/// What somebody before left half done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HalfDone {
    /// Nothing.
    Nothing,
    /// A restore whose record is written: only its marker is left.
    Marker,
    /// An unconfirmed epoch, or a restore that was interrupted: this epoch is to be undone.
    Undo(u64),
    /// The same, and a person decided that the data stay as they are.
    Skipped(u64),
}

/// What is to be finished, by the record and the marker of a restore (its epoch).
pub(super) fn half_done(reading: &Reading, marker: Option<u64>, skip: bool) -> HalfDone {
    // A record of before the marker's epoch is an older one, left where that epoch's is spoiled.
    let (unconfirmed, known) = match reading {
        Reading::Good(record) => (record.unconfirmed.then_some(record.epoch), record.epoch),
        Reading::Blank | Reading::Newer(_) | Reading::Corrupt => (None, 0),
    };
    match (marker, unconfirmed) {
        (None, None) => HalfDone::Nothing,
        (Some(epoch), None) if known >= epoch => HalfDone::Marker,
        (Some(epoch), _) | (None, Some(epoch)) if skip => HalfDone::Skipped(epoch),
        (Some(epoch), _) | (None, Some(epoch)) => HalfDone::Undo(epoch),
    }
}

/// Whether the record names nobody: another opener is then an app from before there was a keeper.
pub(super) fn names_nobody(reading: &Reading) -> bool {
    match reading {
        Reading::Blank => true,
        Reading::Good(record) => record.holder.is_none() && record.last_confirmed.is_none(),
        Reading::Newer(_) | Reading::Corrupt => false,
    }
}

/// Whether an app only comes back after a handoff that came to nothing: its keeper has ended it a moment ago, nobody has
/// acquired since, so whoever has the database open now had it, or could have, beside that same app.
pub(super) fn comes_back(asked: Asked, ended: Option<u64>, reading: &Reading) -> bool {
    match reading {
        Reading::Good(record) => asked == Asked::ByProxy && !record.unconfirmed && ended == Some(record.epoch),
        Reading::Blank | Reading::Newer(_) | Reading::Corrupt => false,
    }
}

fn last_confirmed(reading: &Reading) -> Option<&str> {
    match reading {
        Reading::Good(record) => record.last_confirmed.as_deref(),
        Reading::Blank | Reading::Newer(_) | Reading::Corrupt => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(record: Record) -> Reading {
        Reading::Good(Box::new(record))
    }

    fn of(last: Option<&str>) -> Record {
        Record { epoch: 3, last_confirmed: last.map(str::to_owned), service: Some("shop".into()), ..Record::blank() }
    }

    const ME: Standing<'static> =
        Standing { me: "me:1", service: Some("shop"), starting: false, prepared: false, defer: Duration::from_secs(5) };

    #[test]
    fn a_keeper_takes_a_free_lease_the_sooner_the_more_it_is_its_own() {
        let starting = Standing { starting: true, ..ME };
        let left = Record { left: true, ..of(Some("other:1")) };
        for (standing, reading, seconds) in [
            (starting, Reading::Blank, 0),
            (starting, good(of(None)), 0),
            (starting, good(of(Some("me:1"))), 0),
            (starting, good(of(Some("other:1"))), 5),
            (starting, good(left.clone()), 1),
            (ME, Reading::Blank, 5),
            (ME, good(of(Some("me:1"))), 2),
            (ME, good(of(Some("other:1"))), 5),
            (ME, good(left), 1),
            (ME, Reading::Corrupt, 5),
        ] {
            assert_eq!(unasked(&standing, &reading), Some(Duration::from_secs(seconds)), "{standing:?} {reading:?}");
        }
    }

    #[test]
    fn while_prepared_only_the_last_confirmed_keeper_acts_unasked() {
        let prepared = Standing { prepared: true, ..ME };
        let left = Record { left: true, ..of(Some("other:1")) };
        for reading in [Reading::Blank, Reading::Corrupt, good(of(None)), good(of(Some("other:1"))), good(left)] {
            assert_eq!(unasked(&prepared, &reading), None, "{reading:?}");
        }
        assert_eq!(unasked(&prepared, &good(of(Some("me:1")))), Some(LAST_CONFIRMED));
    }

    #[test]
    fn a_lease_of_another_service_is_never_taken_unasked() {
        let other = Record { service: Some("blog".into()), ..of(Some("me:1")) };
        assert_eq!(foreign_service(Some("shop"), &other), Some("blog"));
        assert_eq!(unasked(&Standing { starting: true, ..ME }, &good(other.clone())), None);
        assert!(unasked(&Standing { service: None, ..ME }, &good(other)).is_some());
    }

    #[test]
    fn only_an_epoch_asked_for_from_another_keeper_needs_to_be_confirmed() {
        let (mine, other) = (good(of(Some("me:1"))), good(of(Some("other:1"))));
        assert!(confirmed_at_birth(Asked::Unasked, "me:1", &other));
        assert!(confirmed_at_birth(Asked::ByProxy, "me:1", &mine));
        assert!(!confirmed_at_birth(Asked::ByProxy, "me:1", &other));
        assert!(!confirmed_at_birth(Asked::ByProxy, "me:1", &Reading::Blank));
    }

    #[test]
    fn an_app_comes_back_beside_another_opener_only_if_nobody_was_live_since() {
        let record = || of(Some("me:1"));
        assert!(comes_back(Asked::ByProxy, Some(3), &good(record())));
        assert!(!comes_back(Asked::Unasked, Some(3), &good(record())));
        assert!(!comes_back(Asked::ByProxy, Some(2), &good(record())));
        assert!(!comes_back(Asked::ByProxy, None, &good(record())));
        assert!(!comes_back(Asked::ByProxy, Some(3), &good(Record { unconfirmed: true, ..record() })));
    }

    #[test]
    fn what_is_half_done_is_known_from_record_and_marker() {
        let unconfirmed = good(Record { unconfirmed: true, ..of(None) });
        for (reading, marker, skip, expected) in [
            (&Reading::Blank, None, false, HalfDone::Nothing),
            (&good(of(None)), None, false, HalfDone::Nothing),
            (&good(of(None)), Some(3), false, HalfDone::Marker),
            (&good(of(None)), Some(4), false, HalfDone::Undo(4)),
            (&good(of(None)), Some(4), true, HalfDone::Skipped(4)),
            (&unconfirmed, None, false, HalfDone::Undo(3)),
            (&unconfirmed, Some(3), false, HalfDone::Undo(3)),
            (&unconfirmed, Some(3), true, HalfDone::Skipped(3)),
            (&Reading::Blank, Some(1), false, HalfDone::Undo(1)),
            (&Reading::Corrupt, None, false, HalfDone::Nothing),
            (&Reading::Corrupt, Some(7), false, HalfDone::Undo(7)),
        ] {
            assert_eq!(half_done(reading, marker, skip), expected, "{reading:?} {marker:?}");
        }
    }

    #[test]
    fn a_snapshot_is_taken_where_another_was_live_or_a_first_take_may_fail() {
        assert!(!wants_snapshot(Asked::ByProxy, "me:1", &good(of(Some("me:1")))));
        assert!(wants_snapshot(Asked::Unasked, "me:1", &good(of(Some("other:1")))));
        assert!(wants_snapshot(Asked::ByProxy, "me:1", &Reading::Blank));
        assert!(!wants_snapshot(Asked::Unasked, "me:1", &Reading::Blank));
        assert!(wants_snapshot(Asked::Unasked, "me:1", &Reading::Corrupt));
    }
}
