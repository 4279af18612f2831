//! Finishing what somebody before left half done: an epoch that was not confirmed, a restore that was interrupted.

use std::io;
use std::path::Path;
use std::time::Instant;

use super::{GaveUp, Place, Question, milliseconds};
use crate::keeper::rules::{self, HalfDone};
use crate::keeper::say::say;
use crate::lease::{Lease, Reading, Record};
use crate::snapshot::{self, Restore, Store};

/// What was undone, and how long that took.
pub(super) struct Undone {
    pub(super) epoch: u64,
    pub(super) ms: u64,
}

/// Finishes a restore that was interrupted, throws away what came to nothing, and undoes an unconfirmed epoch. Gives
/// back what was undone, and the answer for the files that are there now.
pub(super) fn finish(
    place: &Place<'_>,
    lease: &mut Lease,
    record: &mut Record,
    mut question: Question,
) -> Result<(Option<Undone>, Question), GaveUp> {
    let marker = place.store.restore_begun()?;
    // Where the slot that had the marker's epoch is spoiled, that epoch was written all the same.
    record.epoch = record.epoch.max(marker.unwrap_or_default());
    place.store.discard_above(record.epoch)?;
    match rules::half_done(lease.reading(), marker, place.options.skip_restore) {
        HalfDone::Nothing => return Ok((None, question)),
        HalfDone::Marker => {
            settle(lease, record)?;
            place.store.end_restore()?;
        }
        HalfDone::Skipped(epoch) => {
            refuse_half_a_set(place.store, epoch, marker)?;
            say(&format!("LOCKGATE_KEEP_RESTORE=skip: what epoch {epoch} did stays"));
            settle(lease, record)?;
            // The snapshot stays: a person may want it yet.
            place.store.give_up_restore()?;
        }
        HalfDone::Undo(epoch) => {
            let began = Instant::now();
            let bad = |error| GaveUp::BadSnapshot(bad_snapshot(place.store, epoch, &error));
            let checked = place.store.check(epoch, place.databases, question.open_files().as_deref());
            if let Some(restore) = checked.map_err(bad)? {
                restore_set(place, &restore, lease, record, &mut question).map_err(bad)?;
                let question = question.settled(&place.databases.files()?);
                say(&format!("epoch {epoch} was not confirmed: the data are as they were before it"));
                return Ok((Some(Undone { epoch, ms: milliseconds(began) }), question));
            }
            refuse_half_a_set(place.store, epoch, marker)?;
            say(&format!("epoch {epoch} was not confirmed, and there is no snapshot of before it: the data stay"));
            settle(lease, record)?;
            place.store.end_restore()?;
        }
    }
    Ok((None, question))
}

/// The epoch whose snapshot is to be put back, if one is.
pub(super) fn to_put_back(place: &Place<'_>, reading: &Reading) -> Result<Option<u64>, GaveUp> {
    Ok(match rules::half_done(reading, place.store.restore_begun()?, place.options.skip_restore) {
        HalfDone::Undo(epoch) => place.store.snapshot(epoch).try_exists()?.then_some(epoch),
        HalfDone::Nothing | HalfDone::Marker | HalfDone::Skipped(_) => None,
    })
}

/// Not even where another opener is allowed. Who has the file that was moved aside open would find the log of the one
/// put in its place, by name: that spoils both. And to start on what was not confirmed is no way out.
pub(super) fn not_under(who: &str, epoch: u64) -> String {
    format!(
        "{who}, and what epoch {epoch} did is to be undone: no file is replaced that somebody has open. It goes on once \
         that is closed; to keep the data as they are, start with LOCKGATE_KEEP_RESTORE=skip"
    )
}

/// Nothing is unconfirmed any more.
fn settle(lease: &mut Lease, record: &mut Record) -> Result<(), GaveUp> {
    record.unconfirmed = false;
    Ok(lease.write(record)?)
}

fn restore_set(
    place: &Place<'_>,
    restore: &Restore<'_>,
    lease: &mut Lease,
    record: &mut Record,
    question: &mut Question,
) -> Result<(), snapshot::Error> {
    let mut guard = |file: &Path| question.extend(file);
    let mut write = || {
        record.unconfirmed = false;
        lease.write(record).map_err(io::Error::other)
    };
    restore.run(place.databases, &mut guard, &mut write, &mut |_| Ok(())).map(drop)
}

/// No app starts on data of which one half is from before an epoch and the other from after it.
fn refuse_half_a_set(store: &Store, epoch: u64, marker: Option<u64>) -> Result<(), GaveUp> {
    if marker != Some(epoch) || !store.has_moved(epoch) {
        return Ok(());
    }
    Err(GaveUp::BadSnapshot(format!(
        "THE RESTORE OF EPOCH {epoch} WAS INTERRUPTED, the databases are half put back and no app is started: {}. To \
         finish it, start without LOCKGATE_KEEP_RESTORE; to keep one of the two, put that set in place whole, remove {}, \
         and start with LOCKGATE_KEEP_RESTORE=skip",
        halves(store, epoch),
        store.marker().display()
    )))
}

fn bad_snapshot(store: &Store, epoch: u64, error: &snapshot::Error) -> String {
    let begun = store.restore_begun().is_ok_and(|marker| marker == Some(epoch));
    if begun && store.has_moved(epoch) {
        return format!(
            "EPOCH {epoch} WAS NOT CONFIRMED, AND WHAT WAS BEFORE IT CAME BACK ONLY BY HALF: {error}. No app is started: {}",
            halves(store, epoch)
        );
    }
    format!(
        "EPOCH {epoch} WAS NOT CONFIRMED, AND ITS SNAPSHOT CANNOT BE PUT BACK: {error}. Nothing was changed and no app is \
         started; to go on with the data as they are, start with LOCKGATE_KEEP_RESTORE=skip"
    )
}

/// Where the parts of the two sets lie.
fn halves(store: &Store, epoch: u64) -> String {
    format!(
        "what the epoch left lies in {}, what was before it in {} and, as far as it is not there, in place",
        store.aside(epoch).display(),
        store.snapshot(epoch).display()
    )
}
