//! What the journal is told and asked. It lies on a disk, which may be slow, or hang: none of it is waited for by the
//! threads that lead handoffs, and no handoff waits for it longer than a moment.

use std::io;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Control;
use super::words::Failure;
use crate::handoff::budget::Measured;
use crate::journal::{Journal, Record};

/// How far back the journal is asked how long things take.
const RECENT: usize = 20;
/// How long a handoff waits for the journal: perhaps a gate is closed.
const MOMENT: Duration = Duration::from_secs(1);

impl Control {
    /// The newest records of a service's journal, newest first; also of one that was removed.
    ///
    /// # Errors
    /// [`Failure`] where the journal cannot be read.
    pub async fn handoffs(&self, service: &str, limit: usize) -> Result<Vec<Record>, Failure> {
        let service = service.to_owned();
        self.read(move |journal| journal.newest(&service, limit)).await
    }

    /// The newest records of all services, newest first; also of those that were removed or never came to be.
    ///
    /// # Errors
    /// [`Failure`] where the journal cannot be read.
    pub async fn all_handoffs(&self, limit: usize) -> Result<Vec<Record>, Failure> {
        self.read(move |journal| journal.newest_of_all(limit)).await
    }

    async fn read<F>(&self, read: F) -> Result<Vec<Record>, Failure>
    where
        F: FnOnce(&Journal) -> io::Result<Vec<Record>> + Send + 'static,
    {
        let journal = self.journal.clone();
        let read = spawn_blocking(move || read(&journal)).await;
        let records = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        records.map_err(|error| Failure::internal(format!("reading the journal: {error}")))
    }

    /// What the journal knows of how long this service's apps take; nothing where it does not answer at once.
    pub(super) async fn measured(&self, service: &str) -> Measured {
        let asked = timeout(MOMENT, self.handoffs(service, RECENT)).await;
        let records = asked.ok().and_then(Result::ok).unwrap_or_default();
        let restore = records.iter().find(|record| record.restored.is_some());
        Measured {
            stop: last(&records, &["yield"]),
            boot: last(&records, &["boot", "probe"]),
            restore: restore.map(|record| Duration::from_millis(record.restore_ms)),
        }
    }

    /// Writes a record, be it after this has returned. A failure ends no handoff: it is logged.
    pub(super) async fn keep(&self, record: Record) {
        let journal = self.journal.clone();
        let keeping = spawn_blocking(move || {
            if let Err(error) = journal.append(&record) {
                tracing::error!(%error, service = record.service, "Unable to write the journal");
            }
        });
        let _ = timeout(MOMENT, keeping).await;
    }
}

/// How long these phases took together in the newest handoff that was done and had one of them.
fn last(records: &[Record], words: &[&str]) -> Option<Duration> {
    records.iter().filter(|record| record.outcome == "done").find_map(|record| {
        let phases = record.phases.iter().filter(|phase| words.contains(&phase.phase.as_str()));
        let ms: Vec<_> = phases.map(|phase| phase.ms).collect();
        (!ms.is_empty()).then(|| Duration::from_secs_f64((ms.iter().sum::<f64>() / 1e3).clamp(0.0, 1e6)))
    })
}
