//! Taking a snapshot.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::manifest::{self, Entry, Manifest};
use super::store::{self, Store};
use super::{Databases, Error};

/// Bytes copied and hashed at once: small enough to stay in the cache between the two.
pub(super) const CHUNK: usize = 256 * 1024;

/// A snapshot that was taken and synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Bytes of the set.
    pub bytes: u64,
    /// `reflink` or `copy`.
    pub how: &'static str,
}

impl Store {
    /// Keeps the set as it is before `epoch`, synced. Copies through the given descriptors where they are given.
    ///
    /// Room for a restore is made here too (its marker and the place for what it moves aside), so that a full disk
    /// cannot stop one.
    ///
    /// # Errors
    /// [`Error`]; what was begun is left for [`Store::discard_above`].
    pub fn take(
        &self,
        epoch: u64,
        databases: &Databases,
        open: Option<&[(&Path, &File)]>,
        until: Option<Instant>,
    ) -> Result<Taken, Error> {
        let snapshot = self.snapshot(epoch);
        let directories =
            [self.directory.join("snapshots"), snapshot.clone(), self.directory.join("aside"), self.aside(epoch)];
        for directory in &directories {
            store::make_directory(directory).map_err(Error::io("make", directory))?;
        }
        let files = databases.files().map_err(Error::io("look for the set beside", &self.directory))?;
        let mut manifest = Manifest::of(epoch);
        let mut copies = Vec::new();
        let mut shared = true;
        for path in &files {
            let opened;
            let from = match open.and_then(|open| open.iter().find(|(name, _)| name == path)) {
                Some((_, file)) => *file,
                None => {
                    opened = File::open(path).map_err(Error::io("open", path))?;
                    &opened
                }
            };
            let (entry, copy) = self.keep(&snapshot, manifest.files.len(), path, from, &mut shared, until)?;
            manifest.files.push(entry);
            copies.push(copy);
        }
        let bytes = manifest.files.iter().map(|entry| entry.size).sum();
        copies.push(write(&snapshot.join("restore"), &store::marker_text(epoch))?);
        let text = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
        copies.push(write(&snapshot.join(manifest::NAME), &text)?);
        sync(&copies, &snapshot)?;
        for directory in directories.iter().chain([&self.directory]) {
            store::sync_directory(directory).map_err(Error::io("sync", directory))?;
        }
        Ok(Taken { bytes, how: if shared && !files.is_empty() { "reflink" } else { "copy" } })
    }

    fn keep(
        &self,
        snapshot: &Path,
        number: usize,
        path: &Path,
        from: &File,
        shared: &mut bool,
        until: Option<Instant>,
    ) -> Result<(Entry, File), Error> {
        let base = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let file = format!("{number:02}-{base}");
        let to_path = snapshot.join(&file);
        let metadata = from.metadata().map_err(Error::io("look at", path))?;
        let to = store::create(&to_path).map_err(Error::io("make", &to_path))?;
        *shared = *shared && rustix::fs::ioctl_ficlone(&to, from).is_ok();
        let (size, sha256) = if *shared {
            (metadata.len(), None)
        } else {
            let (size, hash) = copy(from, path, &to, &to_path, until)?;
            (size, Some(hash))
        };
        let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
        store::give(&to, uid, gid, mode).map_err(Error::io("give away", &to_path))?;
        let name = manifest::relative(self.root(), path)
            .ok_or_else(|| Error::Spoiled { path: path.to_owned(), what: "has a name that is not UTF-8".to_owned() })?;
        Ok((Entry { name, file, size, sha256, mode, uid, gid }, to))
    }
}

/// Copies and hashes in one pass; the disk begins to write meanwhile.
fn copy(
    from: &File,
    from_path: &Path,
    to: &File,
    to_path: &Path,
    until: Option<Instant>,
) -> Result<(u64, String), Error> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut size = 0;
    loop {
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(Error::Late);
        }
        let count = from.read_at(&mut buffer, size).map_err(Error::io("read", from_path))?;
        if count == 0 {
            return Ok((size, manifest::hex(digest)));
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        to.write_all_at(bytes, size).map_err(Error::io("write", to_path))?;
        digest.update(bytes);
        size += count as u64;
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<File, Error> {
    let file = store::create(path).map_err(Error::io("make", path))?;
    file.write_all_at(bytes, 0).map_err(Error::io("write", path))?;
    Ok(file)
}

/// Syncs all files. The data of all are written before the first is synced, so that one commit of the file system holds
/// all their metadata.
fn sync(files: &[File], snapshot: &Path) -> Result<(), Error> {
    let written = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    for flags in [libc::SYNC_FILE_RANGE_WRITE, written] {
        files.iter().for_each(|file| write_back(file, flags));
    }
    files.iter().try_for_each(File::sync_all).map_err(Error::io("sync", snapshot))
}

#[expect(unsafe_code, reason = "sync_file_range has no safe wrapper")]
fn write_back(file: &File, flags: libc::c_uint) {
    use std::os::fd::AsRawFd;
    // SAFETY: a hint on a descriptor that is open; a failure costs only time.
    let _hint = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_ends_when_its_time_is_over() {
        let home = tempfile::tempdir().unwrap();
        let (database, lease) = (home.path().join("a.db"), home.path().join("lease"));
        std::fs::write(&database, "x").unwrap();
        std::fs::create_dir(&lease).unwrap();
        let databases = Databases::new(&[database.to_str().unwrap().to_owned()]).unwrap();
        let taken = Store::new(&lease).take(1, &databases, None, Some(Instant::now()));
        // Blocks that are shared take no time.
        assert!(matches!(taken, Err(Error::Late) | Ok(Taken { how: "reflink", .. })), "{taken:?}");
    }
}
