//! Where snapshots are kept: `snapshots/<epoch>/`, `aside/<epoch>/` and the marker `restore` in the lease directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use super::{Databases, set};
use crate::wire::{VERSION, Version};

/// How many snapshots are kept.
const KEPT: usize = 3;
/// A copy that is expected to take longer is not made in `auto`.
const LONGEST_COPY: Duration = Duration::from_secs(5);
/// A copy takes some milliseconds to sync, and two seconds a GB, hashing and a slow disk included.
const COPY_MS: u64 = 5;
const BYTES_A_MS: u64 = 500_000;

/// The snapshots of one lease directory.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) directory: PathBuf,
}

/// What a snapshot would cost now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Size of the set.
    pub bytes: u64,
    /// `reflink` or `copy`.
    pub how: &'static str,
    /// How long it is expected to take.
    pub ms: u64,
    /// Why none can be taken.
    pub why_not: Option<String>,
}

/// The marker: a restore is under way.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    version: Version,
    epoch: u64,
}

impl Store {
    /// That of a lease directory, at its real path.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Where the snapshot of before an epoch lies.
    #[must_use]
    pub fn snapshot(&self, epoch: u64) -> PathBuf {
        self.directory.join("snapshots").join(epoch.to_string())
    }

    /// Where a restore moves what an epoch left.
    #[must_use]
    pub fn aside(&self, epoch: u64) -> PathBuf {
        self.directory.join("aside").join(epoch.to_string())
    }

    /// The file that says that a restore is under way.
    #[must_use]
    pub fn marker(&self) -> PathBuf {
        self.directory.join("restore")
    }

    /// Names in manifests are relative to this.
    pub(super) fn root(&self) -> &Path {
        set::parent(&self.directory)
    }

    /// The epoch of the newest snapshot.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn highest(&self) -> io::Result<Option<u64>> {
        Ok(epochs(&self.directory.join("snapshots"))?.last().copied())
    }

    /// Throws away the snapshots of epochs that were never written.
    ///
    /// # Errors
    /// Where one cannot be removed.
    pub fn discard_above(&self, epoch: u64) -> io::Result<()> {
        for above in epochs(&self.directory.join("snapshots"))?.into_iter().filter(|other| *other > epoch) {
            std::fs::remove_dir_all(self.snapshot(above))?;
        }
        Ok(())
    }

    /// The epoch that a restore was undoing when it was interrupted.
    ///
    /// # Errors
    /// Where the marker cannot be read.
    pub fn restore_begun(&self) -> io::Result<Option<u64>> {
        let text = match std::fs::read(self.marker()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let marker: Marker = serde_json::from_slice(&text)
            .map_err(|error| io::Error::other(format!("the marker {}: {error}", self.marker().display())))?;
        Ok(Some(marker.epoch))
    }

    /// Whether a restore that undoes `epoch` has moved any file. Until it is finished the set is half of each.
    #[must_use]
    pub fn has_moved(&self, epoch: u64) -> bool {
        let snapshot = self.snapshot(epoch);
        let placed = |manifest: Manifest| manifest.files.iter().any(|entry| !snapshot.join(&entry.file).exists());
        let moved_aside = match std::fs::read_dir(self.aside(epoch)) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        // Where the manifest is lost too, nobody can say that nothing was placed.
        moved_aside || Manifest::read(&snapshot).map_or(true, placed)
    }

    /// Takes the marker away: what it stood for is done.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn end_restore(&self) -> io::Result<()> {
        let Some(epoch) = self.restore_begun()? else { return Ok(()) };
        self.give_up_restore()?;
        // Its files are in place, only the manifest is left.
        let _later = std::fs::remove_dir_all(self.snapshot(epoch));
        Ok(())
    }

    /// Takes the marker away, if there is one, since a person decided so. What is left of the snapshot stays.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn give_up_restore(&self) -> io::Result<()> {
        match std::fs::remove_file(self.marker()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        }
        sync_directory(&self.directory)
    }

    /// What a snapshot would cost, and whether it can be taken.
    ///
    /// # Errors
    /// Where the set cannot be looked at.
    pub fn plan(&self, databases: &Databases, always: bool) -> io::Result<Plan> {
        let bytes = databases.files()?.iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
        if self.can_share_blocks() {
            return Ok(Plan { bytes, how: "reflink", ms: COPY_MS, why_not: None });
        }
        let room = rustix::fs::statvfs(&self.directory)?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        let ms = COPY_MS + bytes / BYTES_A_MS;
        let why_not = if free < bytes.saturating_mul(2) {
            Some(format!("{bytes} bytes need twice their room, {free} bytes are free"))
        } else if !always && u128::from(ms) > LONGEST_COPY.as_millis() {
            Some(format!("copying {bytes} bytes would take about {ms} ms"))
        } else {
            None
        };
        Ok(Plan { bytes, how: "copy", ms, why_not })
    }

    /// Whether this file system makes copies that share their blocks: tried, on two small files.
    fn can_share_blocks(&self) -> bool {
        let probe = self.directory.join("reflink-probe");
        let tried = || -> io::Result<()> {
            let from = File::open(self.directory.join("ticket"))?;
            let to = create(&probe)?;
            Ok(rustix::fs::ioctl_ficlone(&to, &from)?)
        };
        let can = tried().is_ok();
        let _none = std::fs::remove_file(probe);
        can
    }

    /// Keeps the newest few snapshots, and the newest set that was moved aside.
    ///
    /// # Errors
    /// Where one cannot be removed.
    pub fn prune(&self) -> io::Result<()> {
        for (kind, kept) in [("snapshots", KEPT), ("aside", 1)] {
            let all = epochs(&self.directory.join(kind))?;
            // An `aside` that was only laid out for a restore that did not happen does not count.
            let (empty, full): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|epoch| kind == "aside" && is_empty(&self.aside(*epoch)));
            let newest = empty.last().copied();
            let old = full.iter().rev().skip(kept).chain(empty.iter().filter(|epoch| Some(**epoch) != newest));
            for epoch in old {
                std::fs::remove_dir_all(self.directory.join(kind).join(epoch.to_string()))?;
            }
        }
        Ok(())
    }
}

pub(super) fn marker_text(epoch: u64) -> Vec<u8> {
    serde_json::to_vec(&Marker { version: VERSION, epoch }).unwrap_or_default()
}

fn epochs(directory: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut epochs: Vec<u64> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    epochs.sort_unstable();
    Ok(epochs)
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

/// Makes a file anew, never through a link.
pub(super) fn create(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().read(true).write(true).create_new(true).custom_flags(libc::O_NOFOLLOW).mode(0o600).open(path)
}

/// Makes a directory, owned like its parent, unless it exists.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    let model = std::fs::metadata(set::parent(path))?;
    let directory = File::open(path)?;
    give(&directory, model.uid(), model.gid(), model.mode())
}

/// Gives a file owner, group and mode. Who may not give files away keeps them: then the owner is the same anyway.
pub(super) fn give(file: &File, uid: u32, gid: u32, mode: u32) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (uid, gid) {
        match std::os::unix::fs::fchown(file, Some(uid), Some(gid)) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    file.set_permissions(std::fs::Permissions::from_mode(mode & 0o7777))
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_snapshots_are_kept_and_the_newest_set_that_was_moved_aside() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::new(home.path());
        for epoch in 8..=12 {
            std::fs::create_dir_all(store.snapshot(epoch)).unwrap();
            std::fs::create_dir_all(store.aside(epoch)).unwrap();
        }
        for epoch in [8, 10] {
            std::fs::write(store.aside(epoch).join("a.db"), "x").unwrap();
        }
        store.prune().unwrap();
        assert_eq!(epochs(&home.path().join("snapshots")).unwrap(), [10, 11, 12]);
        // The one that is laid out for the last epoch's restore, too.
        assert_eq!(epochs(&home.path().join("aside")).unwrap(), [10, 12]);
    }
}
