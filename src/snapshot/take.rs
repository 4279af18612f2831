//! Taking a snapshot.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, ScopedJoinHandle};
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::manifest::{self, Entry, Manifest};
use super::store::{self, Store};
use super::{Databases, Error};

/// Bytes read at once.
pub(super) const CHUNK: usize = 256 * 1024;
/// Chunks that are copied and not yet hashed, at most.
const AHEAD: usize = 8;
/// Threads that sync.
const SIDE_BY_SIDE: usize = 8;

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
        write_back_all(&copies);
        for directory in directories.iter().chain([&self.directory]) {
            copies.push(File::open(directory).map_err(Error::io("open", directory))?);
        }
        sync(&copies).map_err(Error::io("sync", &snapshot))?;
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

/// Copies, and hashes beside it the very bytes that were copied. The disk begins to write meanwhile too.
fn copy(
    from: &File,
    from_path: &Path,
    to: &File,
    to_path: &Path,
    until: Option<Instant>,
) -> Result<(u64, String), Error> {
    let (chunks, copied) = sync_channel::<Vec<u8>>(AHEAD);
    std::thread::scope(|scope| {
        let hash = || copied.into_iter().fold(Sha256::new(), |digest, chunk| digest.chain_update(chunk));
        let hashing = Builder::new().spawn_scoped(scope, hash).map_err(Error::io("hash", from_path))?;
        let mut size = 0;
        loop {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(Error::Late);
            }
            let mut chunk = vec![0; CHUNK];
            let count = from.read_at(&mut chunk, size).map_err(Error::io("read", from_path))?;
            chunk.truncate(count);
            if chunk.is_empty() {
                break;
            }
            to.write_all_at(&chunk, size).map_err(Error::io("write", to_path))?;
            write_back(to, size, chunk.len(), libc::SYNC_FILE_RANGE_WRITE);
            size += chunk.len() as u64;
            let _taken_by_the_hash = chunks.send(chunk);
        }
        drop(chunks);
        Ok((size, manifest::hex(joined(hashing))))
    })
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn write(path: &Path, bytes: &[u8]) -> Result<File, Error> {
    let file = store::create(path).map_err(Error::io("make", path))?;
    file.write_all_at(bytes, 0).map_err(Error::io("write", path))?;
    Ok(file)
}

/// Writes the data of all before the first is synced, so that one commit of the file system holds all their metadata.
fn write_back_all(files: &[File]) {
    let written = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    for flags in [libc::SYNC_FILE_RANGE_WRITE, written] {
        files.iter().for_each(|file| write_back(file, 0, 0, flags));
    }
}

/// Syncs all, some side by side: a disk flushes for many as fast as for one, and a busy one makes each wait.
fn sync(files: &[File]) -> io::Result<()> {
    let sync_all = |files: &[File]| files.iter().try_for_each(File::sync_all);
    std::thread::scope(|scope| {
        let mut syncing = Vec::new();
        for some in files.chunks(files.len().div_ceil(SIDE_BY_SIDE).max(1)) {
            match Builder::new().spawn_scoped(scope, move || sync_all(some)) {
                Ok(thread) => syncing.push(thread),
                // Where there may be no more threads, one by one.
                Err(_) => sync_all(some)?,
            }
        }
        syncing.into_iter().try_for_each(joined)
    })
}

/// Of so many bytes from a place on; 0 of them: all.
#[expect(unsafe_code, reason = "sync_file_range has no safe wrapper")]
fn write_back(file: &File, at: u64, len: usize, flags: libc::c_uint) {
    use std::os::fd::AsRawFd;
    let (at, len) = (at.cast_signed(), i64::try_from(len).unwrap_or_default());
    // SAFETY: a hint on a descriptor that is open; a failure costs only time.
    let _hint = unsafe { libc::sync_file_range(file.as_raw_fd(), at, len, flags) };
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
