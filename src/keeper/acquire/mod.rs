//! Acquiring the lease: one way, whoever asks. Between any two steps it can be interrupted, and whatever was had by
//! then is given back by being dropped.

mod undo;

use std::io;
use std::time::{Duration, Instant};

use super::options::{Foreign, Options, Snapshot};
use super::question::{self, Question};
use super::rules::{self, Asked};
use super::say::say;
use crate::lease::{self, Directory, Heirs, Lease, Reading, Record};
use crate::snapshot::{Databases, Store};
use crate::wire::{Holder, Saying};

/// How long another opener is waited for.
pub(super) const OPENERS: Duration = Duration::from_secs(1);
/// How often it is looked whether a lock can be had.
pub(super) const TICK: Duration = Duration::from_millis(1);
static SAID_ONCE: std::sync::Once = std::sync::Once::new();

/// What acquiring works with.
pub(super) struct Place<'a> {
    pub(super) directory: &'a Directory,
    pub(super) databases: &'a Databases,
    pub(super) store: &'a Store,
    pub(super) options: &'a Options,
    pub(super) me: &'a Holder,
    /// The service that the record shall name.
    pub(super) service: Option<String>,
    /// The epoch that this process held last, if it saw to its end that nothing of its app was left.
    pub(super) ended: Option<u64>,
}

/// What acquiring was asked for.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) asked: Asked,
    /// The lease itself is waited for until then.
    pub(super) lock_until: Instant,
    /// Nothing is begun after that; unasked there is no such time.
    pub(super) until: Option<Instant>,
}

/// The lease is had, the epoch written, the write leases given back: the app may start.
pub(super) struct Acquired {
    pub(super) lease: Lease,
    pub(super) heirs: Heirs,
    pub(super) record: Record,
    /// What a proxy is told, in order.
    pub(super) sayings: Vec<Saying>,
}

/// Why the lease was not acquired.
#[derive(Debug, thiserror::Error)]
pub(super) enum GaveUp {
    /// Another keeper has it.
    #[error("the lease is held by {0}")]
    Held(String),
    /// Somebody has a database open.
    #[error("{0}")]
    Open(String),
    /// Something happened meanwhile that ends it.
    #[error("{0}")]
    Interrupted(Interrupt),
    /// The snapshot cannot be taken.
    #[error("{0}")]
    NoSnapshot(String),
    /// What has to be put back cannot be: a person must decide.
    #[error("{0}")]
    BadSnapshot(String),
    /// The lease belongs to another service, or to a newer version of the keeper.
    #[error("{0}")]
    Foreign(String),
    /// The budget is used up.
    #[error("the time for taking the lease is over")]
    Late,
    /// The directory of the lease is in the way.
    #[error(transparent)]
    Lease(#[from] lease::Error),
    /// A database's directory is in the way.
    #[error("cannot read what lies beside the databases: {0}")]
    Databases(#[from] io::Error),
}

/// What ends an acquisition between two of its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Interrupt {
    /// The conversation that asked for it is gone.
    #[error("the conversation that asked for it is gone")]
    Gone,
    /// A holder was told to yield, and it is obeyed here too.
    #[error("this keeper was told to yield")]
    Yield,
    /// The keeper was told to stop.
    #[error("this keeper was told to stop")]
    Stop,
}

/// How far an acquisition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits for the lease, as any standby does.
    Waiting,
    /// It has the lease.
    Locked,
}

impl Place<'_> {
    /// Acquires the lease. `interrupted` is asked between any two steps, and told how far it is.
    pub(super) fn acquire(
        &self,
        request: Request,
        interrupted: &mut dyn FnMut(Stage) -> Option<Interrupt>,
    ) -> Result<Acquired, GaveUp> {
        let mut attempt = Attempt { place: self, request, stage: Stage::Waiting, interrupted };
        let mut lease = attempt.lock_lease()?;
        attempt.stage = Stage::Locked;
        attempt.checkpoint()?;
        let reading = lease.reading().clone();
        self.own(&reading)?;
        let heirs = attempt.lock_heirs()?;
        let question = attempt.ask_kernel(&reading)?;
        let mut record = self.known(&reading)?;
        attempt.checkpoint()?;
        let (undone, question) = undo::finish(self, &mut lease, &mut record, question)?;
        let snapshot = attempt.take_snapshot(&reading, &record, &question)?;
        attempt.checkpoint()?;
        let confirmed = rules::confirmed_at_birth(request.asked, &self.me.id, &reading);
        self.advance(&mut record, confirmed);
        lease.write(&record)?;
        drop(question);
        let (restored, restore_ms) = (undone.as_ref().map(|undone| undone.epoch), undone.map_or(0, |undone| undone.ms));
        let leased = Saying::Leased { epoch: record.epoch, restored, confirmed, restore_ms };
        Ok(Acquired { lease, heirs, record, sayings: vec![leased, snapshot] })
    }

    /// Refuses a lease of another service, or of a version that is not known.
    fn own(&self, reading: &Reading) -> Result<(), GaveUp> {
        let foreign = match reading {
            Reading::Good(record) => rules::foreign_service(self.service.as_deref(), record)
                .map(|theirs| format!("this lease belongs to the service {theirs}")),
            Reading::Newer(version) => Some(rules::newer(*version)),
            Reading::Blank | Reading::Corrupt => None,
        };
        foreign.map_or(Ok(()), |why| Err(GaveUp::Foreign(why)))
    }

    /// The record to go on from.
    fn known(&self, reading: &Reading) -> Result<Record, GaveUp> {
        Ok(match reading {
            Reading::Good(record) => record.as_ref().clone(),
            Reading::Blank => Record::blank(),
            Reading::Newer(version) => return Err(GaveUp::Foreign(rules::newer(*version))),
            Reading::Corrupt => {
                let epoch = self.store.highest()?.unwrap_or_default();
                say(
                    "THE RECORD OF THE LEASE IS CORRUPT IN BOTH SLOTS, OR WAS LOST: nothing is restored, whatever was the last epoch",
                );
                Record { epoch, ..Record::blank() }
            }
        })
    }

    fn advance(&self, record: &mut Record, confirmed: bool) {
        record.version = record.version.max(crate::wire::VERSION);
        record.epoch += 1;
        record.holder = Some(self.me.clone());
        record.unconfirmed = !confirmed;
        record.left = false;
        if confirmed {
            record.last_confirmed = Some(self.me.id.clone());
        }
        if let Some(service) = &self.service {
            record.service = Some(service.clone());
        }
    }

    /// Whether another opener only costs a warning: before the first keeper, or because a person said so. An heir is no
    /// other opener but an app, and is never overlooked.
    pub(super) fn overlooks(&self, reading: &Reading) -> bool {
        self.options.foreign == Foreign::Warn || rules::names_nobody(reading)
    }
}

struct Attempt<'a> {
    place: &'a Place<'a>,
    request: Request,
    stage: Stage,
    interrupted: &'a mut dyn FnMut(Stage) -> Option<Interrupt>,
}

impl Attempt<'_> {
    fn checkpoint(&mut self) -> Result<(), GaveUp> {
        if let Some(interrupt) = (self.interrupted)(self.stage) {
            return Err(GaveUp::Interrupted(interrupt));
        }
        if self.request.until.is_some_and(|until| Instant::now() >= until) {
            return Err(GaveUp::Late);
        }
        Ok(())
    }

    /// Polls, since a queue in flock would let a waiter in at the wrong moment.
    fn lock_lease(&mut self) -> Result<Lease, GaveUp> {
        loop {
            if let Some(lease) = self.place.directory.lock()? {
                return Ok(lease);
            }
            if Instant::now() >= self.request.lock_until {
                return Err(GaveUp::Held(named_holder(self.place.directory)?));
            }
            self.checkpoint()?;
            std::thread::sleep(TICK);
        }
    }

    fn lock_heirs(&mut self) -> Result<Heirs, GaveUp> {
        let until = Instant::now() + OPENERS;
        loop {
            if let Some(heirs) = self.place.directory.lock_heirs()? {
                return Ok(heirs);
            }
            if Instant::now() >= until {
                return Err(GaveUp::Open(question::who_inherited(self.place.directory)?));
            }
            self.checkpoint()?;
            std::thread::sleep(TICK);
        }
    }

    fn ask_kernel(&mut self, reading: &Reading) -> Result<Question, GaveUp> {
        let until = Instant::now() + OPENERS;
        loop {
            self.checkpoint()?;
            let open = match question::ask(&self.place.databases.files()?)? {
                question::Attempt::Answered(question) => {
                    if let Question::Unanswered(why) = &question {
                        SAID_ONCE
                            .call_once(|| say(&format!("the kernel cannot be asked who has a database open: {why}")));
                    }
                    return Ok(question);
                }
                question::Attempt::Open(files) => files,
            };
            if Instant::now() >= until {
                let text = question::who_has(&open);
                if let Some(epoch) = undo::to_put_back(self.place, reading)? {
                    return Err(GaveUp::Open(undo::not_under(&text, epoch)));
                }
                let comes_back = rules::comes_back(self.request.asked, self.place.ended, reading);
                if !self.place.overlooks(reading) && !comes_back {
                    return Err(GaveUp::Open(text));
                }
                say(&format!("WARNING: {text}; going on, without a snapshot"));
                return Ok(Question::Overlooked(text));
            }
            std::thread::sleep(TICK);
        }
    }

    fn take_snapshot(&mut self, reading: &Reading, record: &Record, question: &Question) -> Result<Saying, GaveUp> {
        self.checkpoint()?;
        let place = self.place;
        let none = |why: Option<String>| Saying::Snapshot { bytes: 0, us: 0, how: "none".to_owned(), why };
        if !rules::wants_snapshot(self.request.asked, &place.me.id, reading) {
            return Ok(none(None));
        }
        if let Question::Overlooked(why) = question {
            return Ok(none(Some(why.clone())));
        }
        if place.options.snapshot == Snapshot::Never {
            return Ok(none(Some("--snapshot=never".to_owned())));
        }
        let began = Instant::now();
        let plan = place.store.plan(place.databases, place.options.snapshot == Snapshot::Always)?;
        if let Some(why) = plan.why_not {
            if place.options.snapshot == Snapshot::Always {
                return self.without_snapshot(why).map(|why| none(Some(why)));
            }
            say(&format!("going on without a snapshot: {why}"));
            return Ok(none(Some(why)));
        }
        let open = question.open_files();
        let taken = place.store.take(record.epoch + 1, place.databases, open.as_deref(), self.request.until);
        let taken = match taken {
            Ok(_) if !question.is_whole() => Err("somebody tried to open a database while it was copied".to_owned()),
            Ok(taken) => Ok(taken),
            Err(error) => Err(error.to_string()),
        };
        match taken {
            Ok(taken) => {
                let how = taken.how.to_owned();
                Ok(Saying::Snapshot {
                    bytes: taken.bytes,
                    us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
                    how,
                    why: None,
                })
            }
            Err(why) => {
                place.store.discard_above(record.epoch)?;
                self.without_snapshot(why).map(|why| none(Some(why)))
            }
        }
    }

    /// In a handoff it was said before the hold that there would be one; unasked it is better to be live.
    fn without_snapshot(&self, why: String) -> Result<String, GaveUp> {
        if self.request.asked == Asked::ByProxy {
            return Err(GaveUp::NoSnapshot(format!("no snapshot could be taken: {why}")));
        }
        say(&format!("WARNING: going on without a snapshot: {why}"));
        Ok(why)
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Who has the lease, by the record.
fn named_holder(directory: &Directory) -> Result<String, lease::Error> {
    Ok(match directory.look()?.reading {
        Reading::Good(record) => record.holder.map_or_else(unknown_keeper, |holder| {
            format!("{} (epoch {}, control {})", holder.id, record.epoch, holder.control)
        }),
        Reading::Blank | Reading::Newer(_) | Reading::Corrupt => unknown_keeper(),
    })
}

fn unknown_keeper() -> String {
    "a keeper that is not known".to_owned()
}
