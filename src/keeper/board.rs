//! What every connection may ask at any time: the status, whatever the keeper is busy with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::lease::{Directory, Reading, Record};
use crate::wire::{Holder, Role, Status, VERSION};

/// The status, but for what the lease directory says at the moment of asking.
pub(super) struct Board {
    directory: Arc<Directory>,
    me: Holder,
    service: Option<String>,
    wishes: BTreeMap<String, String>,
    now: Mutex<Now>,
}

#[derive(Clone)]
struct Now {
    role: Role,
    /// What a holder wrote: its word, whatever has become of the record since.
    written: Option<Record>,
    prepared: bool,
    stopping: bool,
    note: String,
}

impl Board {
    pub(super) fn new(
        directory: Arc<Directory>,
        me: Holder,
        service: Option<String>,
        wishes: BTreeMap<String, String>,
    ) -> Self {
        let now = Now { role: Role::Standby, written: None, prepared: false, stopping: false, note: String::new() };
        Self { directory, me, service, wishes, now: Mutex::new(now) }
    }

    pub(super) fn show_role(&self, role: Role) {
        let mut now = self.now();
        now.role = role;
        now.written = None;
        now.stopping = false;
    }

    /// It holds, by this record.
    pub(super) fn show_holder(&self, written: &Record) {
        let mut now = self.now();
        now.role = Role::Holder;
        now.written = Some(written.clone());
        now.stopping = false;
    }

    /// Its app was told to stop.
    pub(super) fn show_stopping(&self) {
        self.now().stopping = true;
    }

    pub(super) fn show_prepared(&self, prepared: bool) {
        self.now().prepared = prepared;
    }

    /// Why it is not live, or what a person must decide.
    pub(super) fn note(&self, note: String) {
        self.now().note = note;
    }

    pub(super) fn status(&self) -> Status {
        let now = self.now().clone();
        let (free, reading, lease, note) = match self.directory.look() {
            Ok(look) => (look.free, look.reading, look.identity, now.note),
            Err(error) => (false, Reading::Blank, String::new(), error.to_string()),
        };
        let corrupt = reading == Reading::Corrupt;
        let record = match (now.written, reading) {
            (Some(written), _) => written,
            (None, Reading::Good(record)) => *record,
            (None, Reading::Blank | Reading::Newer(_) | Reading::Corrupt) => Record::blank(),
        };
        // A corrupt record counts as a confirmed epoch of an unknown keeper.
        let confirmed = if record.epoch > 0 { !record.unconfirmed } else { corrupt };
        let holder = match now.role {
            // Where it names this very keeper, who has the lease has written no record yet.
            Role::Standby => record.holder.filter(|holder| !free && *holder != self.me),
            // Before the record says so: it is written last.
            Role::Acquiring | Role::Holder => Some(self.me.clone()),
        };
        Status {
            wire: VERSION,
            role: now.role,
            service: self.service.clone().or(record.service),
            id: self.me.id.clone(),
            epoch: record.epoch,
            confirmed,
            last_confirmed: record.last_confirmed,
            holder,
            lease,
            prepared: now.prepared,
            stopping: now.stopping,
            wishes: self.wishes.clone(),
            note: if corrupt { "the lease's record is corrupt in both slots".to_owned() } else { note },
            unknown: BTreeMap::new(),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
