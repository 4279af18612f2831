//! What every connection may ask at any time: the status, whatever the keeper is busy with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

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
        let now = Now { role: Role::Standby, prepared: false, stopping: false, note: String::new() };
        Self { directory, me, service, wishes, now: Mutex::new(now) }
    }

    pub(super) fn show_role(&self, role: Role) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.role = role;
        now.stopping = false;
    }

    /// Its app was told to stop.
    pub(super) fn show_stopping(&self) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).stopping = true;
    }

    pub(super) fn show_prepared(&self, prepared: bool) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).prepared = prepared;
    }

    /// Why it is not live, or what a person must decide.
    pub(super) fn note(&self, note: String) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).note = note;
    }

    pub(super) fn status(&self) -> Status {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (free, reading, lease, note) = match self.directory.look() {
            Ok(look) => (look.free, look.reading, look.identity, now.note),
            Err(error) => (false, Reading::Blank, String::new(), error.to_string()),
        };
        let corrupt = reading == Reading::Corrupt;
        let record = match reading {
            Reading::Good(record) => *record,
            Reading::Blank | Reading::Corrupt => Record::blank(),
        };
        let held = !free || now.role != Role::Standby;
        Status {
            wire: VERSION,
            role: now.role,
            service: self.service.clone().or(record.service),
            id: self.me.id.clone(),
            epoch: record.epoch,
            confirmed: record.epoch > 0 && !record.unconfirmed,
            last_confirmed: record.last_confirmed,
            holder: record.holder.filter(|_| held),
            lease,
            prepared: now.prepared,
            stopping: now.stopping,
            wishes: self.wishes.clone(),
            note: if corrupt { "the lease's record is corrupt in both slots".to_owned() } else { note },
            unknown: BTreeMap::new(),
        }
    }
}
