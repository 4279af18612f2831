//! What the proxy and keepers say to each other: one JSON object a line, both ways.
//!
//! Unknown fields are ignored (and kept in [`Status::unknown`]); an unknown verb ends the connection. Messages carry
//! milliseconds that remain, never times of day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The port a keeper listens on in a container (as PID 1), unless told otherwise.
pub const DEFAULT_PORT: u16 = 8647;

/// The longest line either side reads; a longer one ends the connection.
pub const MAX_LINE: usize = 64 * 1024;

/// The version this program speaks. A peer of another `major` is refused in preflight.
pub const VERSION: Version = Version { major: 1, minor: 0 };

/// A version of the conversation, the lease record, the manifest and the saved state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// Grows when an older program could misunderstand.
    pub major: u32,
    /// Grows when something was added that an older program may ignore.
    pub minor: u32,
}

/// What a keeper is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Not live; waits for the lease.
    Standby,
    /// Between locking the lease and starting its app.
    Acquiring,
    /// Its app may open the database.
    Holder,
}

/// Who holds, or last held, the lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// The keeper's id (host name and control port).
    pub id: String,
    /// Where its control listens, `ip:port`.
    pub control: String,
}

/// What a person is to do about two keepers with one id.
pub const DIFFERENT_IDS: &str = "give the containers different host names, or the keepers different ports by --control";

/// A keeper's state: the first line of every connection, and the answer to [`Verb::Status`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version the keeper speaks.
    pub wire: Version,
    /// What it is doing.
    pub role: Role,
    /// The service its lease belongs to, if it was told.
    #[serde(default)]
    pub service: Option<String>,
    /// Its id: host name and control port, the same across restarts of its container.
    pub id: String,
    /// The last epoch written in the record; 0 where none ever was.
    pub epoch: u64,
    /// Whether that epoch is confirmed.
    pub confirmed: bool,
    /// The keeper whose epoch was last confirmed, if any.
    #[serde(default)]
    pub last_confirmed: Option<String>,
    /// Who holds the lease at this moment, as the record says; none where it is free.
    #[serde(default)]
    pub holder: Option<Holder>,
    /// Identifies the lease: the same for all keepers of one lease directory (device and inode of the lock file).
    #[serde(default)]
    pub lease: String,
    /// Whether a conversation has prepared this keeper and has not ended.
    #[serde(default)]
    pub prepared: bool,
    /// Whether its app was told to stop: it holds still, and not for long.
    #[serde(default)]
    pub stopping: bool,
    /// What its app asks of the proxy (`LOCKGATE_MAX_HOLD`, ... in the app's environment), by setting name.
    #[serde(default)]
    pub wishes: BTreeMap<String, String>,
    /// Why it is not live, or what a person must decide, in one sentence; empty where all is well.
    #[serde(default)]
    pub note: String,
    /// Fields of a newer version, kept.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

/// A line to a keeper, with the token where one is required (`--token-file`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The shared token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What is asked.
    #[serde(flatten)]
    pub verb: Verb,
}

/// What is asked of a keeper.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "lowercase")]
pub enum Verb {
    /// Say your status.
    Status {},
    /// To a standby: try now all that could fail later, lay and lock the ticket.
    Prepare {
        /// The handoff's id, for logs.
        handoff: String,
        /// The service it is for.
        service: String,
        /// The conversation ends after this long without a line.
        idle_ms: u64,
    },
    /// To the holder: is this the ticket of a living successor at your lease?
    Show {
        /// The word the standby gave out.
        ticket: String,
    },
    /// To the holder: stop the app, free the lease, stand by.
    Yield {
        /// The word the standby gave out.
        ticket: String,
    },
    /// To the prepared standby: acquire the lease within the budget and start the app.
    Take {
        /// Milliseconds until the lease must be had.
        budget_ms: u64,
    },
    /// To the holder: its epoch's app was found healthy.
    Confirm {
        /// The epoch that is meant; any other is refused.
        epoch: u64,
    },
}

/// A line from a keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "lowercase")]
pub enum Saying {
    /// The greeting, and the answer to `status`.
    Status(Box<Status>),
    /// Prepared.
    Ready {
        /// What the holder will want to be shown.
        ticket: String,
        /// What the budgets are made from.
        facts: Facts,
    },
    /// No, and nothing has changed.
    Refused {
        /// One sentence.
        why: String,
    },
    /// The ticket is good.
    Ok {},
    /// The app was told to stop.
    Stopping {
        /// Milliseconds until it is killed, if it has not stopped before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grace_ms: Option<u64>,
    },
    /// Nothing of the app is left and the lease is free.
    Free {
        /// Milliseconds since the app was told to stop; 0 where this keeper was not live.
        ms: u64,
    },
    /// The lease is had and the epoch written.
    Leased {
        /// The new epoch.
        epoch: u64,
        /// The epoch whose snapshot was put back first, if one was.
        #[serde(default)]
        restored: Option<u64>,
        /// Whether this epoch needs no `confirm`.
        #[serde(default)]
        confirmed: bool,
        /// Milliseconds a restore took.
        #[serde(default)]
        restore_ms: u64,
    },
    /// The set as it was before this epoch is kept, or why not.
    Snapshot {
        /// Bytes copied; 0 where none was taken.
        bytes: u64,
        /// Microseconds it took, syncing included.
        us: u64,
        /// How: `reflink`, `copy` or `none`.
        how: String,
        /// Why none was taken.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// The app's process was started.
    Started {},
    /// The app exited.
    Exited {
        /// Its exit status, or 128 + signal.
        code: i32,
        /// The last lines it wrote, oldest first.
        #[serde(default)]
        lines: Vec<String>,
    },
    /// The lease could not be had: somebody holds it, or has the database open.
    Held {
        /// Who, as far as known, in one sentence.
        by: String,
    },
    /// The epoch is confirmed, synced.
    Confirmed {
        /// Which.
        epoch: u64,
    },
}

/// What a prepared standby knows that budgets are made from. Times are as last measured, absent where never.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The keeper's grace between the stop signal and SIGKILL.
    #[serde(default)]
    pub grace_ms: u64,
    /// Size of the set in bytes.
    #[serde(default)]
    pub database_bytes: u64,
    /// Whether a snapshot will be taken, and why not otherwise.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// How long the snapshot is expected to take.
    #[serde(default)]
    pub snapshot_ms: u64,
    /// Whether a failed revision's writes can be undone.
    #[serde(default)]
    pub restorable: bool,
    /// What a person should know before the hold, in one sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Why a line was not understood.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Longer than [`MAX_LINE`].
    #[error("a line of more than {MAX_LINE} bytes")]
    TooLong,
    /// Not JSON of the expected form, or an unknown verb.
    #[error("not a line of this conversation: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// One line, with its line feed.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Reads one line (without or with its line feed).
///
/// # Errors
/// [`LineError`] where it is too long, not JSON, or says what nobody knows.
pub fn decode<T: for<'a> Deserialize<'a>>(line: &[u8]) -> Result<T, LineError> {
    if line.len() > MAX_LINE {
        return Err(LineError::TooLong);
    }
    Ok(serde_json::from_slice(line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_ignores_unknown_fields_and_refuses_unknown_verbs() {
        let order: Order = decode(br#"{"verb":"take","budget_ms":5,"new":1}"#).unwrap();
        assert_eq!(order.verb, Verb::Take { budget_ms: 5 });
        assert!(decode::<Order>(br#"{"verb":"restore"}"#).is_err());
    }

    #[test]
    fn a_status_keeps_what_it_does_not_know() {
        let line = br#"{"says":"status","wire":{"major":1,"minor":7},"role":"standby","id":"a:1","epoch":3,
            "confirmed":true,"later":[1]}"#;
        let Saying::Status(status) = decode(line).unwrap() else { panic!("not a status") };
        assert_eq!(status.unknown.get("later"), Some(&serde_json::json!([1])));
        let again: Saying = decode(&encode(&Saying::Status(status.clone()))).unwrap();
        assert_eq!(again, Saying::Status(status));
    }
}
