//! Putting a snapshot back, so that it can be interrupted after any step and finished by whoever comes next.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::manifest::{self, Entry, Manifest};
use super::store::{self, Store};
use super::{Databases, Error, set};

/// A snapshot whose files were found good, ready to be put back.
#[derive(Debug)]
pub struct Restore<'a> {
    store: &'a Store,
    epoch: u64,
    entries: Vec<(Entry, PathBuf)>,
}

/// What a restore has just done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The marker is written and synced.
    Marked,
    /// One more file is moved aside.
    MovedAside,
    /// One more file is in place.
    Placed,
    /// All directories are synced.
    Synced,
    /// The record says so.
    Recorded,
    /// The marker is removed.
    Unmarked,
}

impl Store {
    /// Checks sizes and hashes of the snapshot of `epoch`, of files already put in place there. None where no snapshot
    /// was taken. Reads through the given descriptors where they are given: opening a file on which there is a write
    /// lease would wait for it, even our own.
    ///
    /// # Errors
    /// [`Error`]: the snapshot is not what its manifest says, and nothing has been touched.
    pub fn check(
        &self,
        epoch: u64,
        databases: &Databases,
        open: Option<&[(&Path, &File)]>,
    ) -> Result<Option<Restore<'_>>, Error> {
        let snapshot = self.snapshot(epoch);
        if !is_there(&snapshot)? {
            return Ok(None);
        }
        let manifest = Manifest::read(&snapshot)?;
        let begun = self.restore_begun().map_err(Error::io("read", &self.marker()))? == Some(epoch);
        let mut entries = Vec::new();
        for entry in manifest.files {
            let place = self.place_of(&snapshot, &entry, databases)?;
            let kept = snapshot.join(&entry.file);
            let here = if begun && !is_there(&kept)? { &place } else { &kept };
            verify(here, &entry, open.and_then(|open| open.iter().find(|(path, _)| path == here)))?;
            entries.push((entry, place));
        }
        Ok(Some(Restore { store: self, epoch, entries }))
    }

    /// Only files of the set may be written, whatever a manifest says, and only from the snapshot's directory.
    fn place_of(&self, snapshot: &Path, entry: &Entry, databases: &Databases) -> Result<PathBuf, Error> {
        let plain = Path::new(&entry.file).file_name().is_some_and(|name| name == entry.file.as_str());
        let place = manifest::resolve(self.root(), &entry.name).filter(|place| plain && databases.own(place));
        place.ok_or_else(|| Error::Manifest {
            path: snapshot.join(manifest::NAME),
            why: format!("{} is no file of these databases", entry.name),
        })
    }
}

impl Restore<'_> {
    /// Puts the set back. `guard` is shown each file that will be in place, before any is moved: what it refuses leaves
    /// everything as it was; `record` writes that nothing is unconfirmed any more; `after` is told each step, and whatever it fails with ends the restore there. Gives back
    /// how many files the set has.
    ///
    /// # Errors
    /// [`Error`]; who comes next finishes it.
    pub fn run(
        &self,
        databases: &Databases,
        guard: &mut dyn FnMut(&Path) -> io::Result<()>,
        record: &mut dyn FnMut() -> io::Result<()>,
        after: &mut dyn FnMut(Step) -> io::Result<()>,
    ) -> Result<usize, Error> {
        let told = |step| Error::io("go on after", Path::new(step));
        for (entry, place) in &self.entries {
            let kept = self.kept(entry);
            guard(if is_there(&kept)? { &kept } else { place }).map_err(Error::io("guard", place))?;
        }
        self.mark()?;
        after(Step::Marked).map_err(told("marking"))?;
        self.move_aside(databases, after)?;
        for (entry, place) in &self.entries {
            self.put(entry, place)?;
            after(Step::Placed).map_err(told("placing"))?;
        }
        self.sync()?;
        after(Step::Synced).map_err(told("syncing"))?;
        record().map_err(Error::io("write the record in", &self.store.directory))?;
        after(Step::Recorded).map_err(told("recording"))?;
        self.store.end_restore().map_err(Error::io("remove", &self.store.marker()))?;
        after(Step::Unmarked).map_err(told("unmarking"))?;
        Ok(self.entries.len())
    }

    fn kept(&self, entry: &Entry) -> PathBuf {
        self.store.snapshot(self.epoch).join(&entry.file)
    }

    /// The marker was laid ready beside the snapshot, so that a full disk cannot stop it.
    fn mark(&self) -> Result<(), Error> {
        let marker = self.store.marker();
        if is_there(&marker)? {
            return Ok(());
        }
        let ready = self.store.snapshot(self.epoch).join("restore");
        let laid = std::fs::rename(&ready, &marker).or_else(|_| {
            let file = store::create(&ready)?;
            io::Write::write_all(&mut &file, &store::marker_text(self.epoch))?;
            file.sync_all()?;
            std::fs::rename(&ready, &marker)
        });
        laid.and_then(|()| store::sync_directory(&self.store.directory)).map_err(Error::io("write", &marker))
    }

    /// Whatever is there now, also what the snapshot lacks: SQLite would replay a foreign `-wal` or `-journal`.
    fn move_aside(&self, databases: &Databases, after: &mut dyn FnMut(Step) -> io::Result<()>) -> Result<(), Error> {
        let aside = self.store.aside(self.epoch);
        for directory in [set::parent(&aside), aside.as_path()] {
            store::make_directory(directory).map_err(Error::io("make", directory))?;
        }
        let files = databases.files_and_shared_memory().map_err(Error::io("look for the set beside", &aside))?;
        for path in files {
            if self.is_in_place(&path)? {
                continue;
            }
            let to = free_name(&aside, &path)?;
            std::fs::rename(&path, &to).map_err(Error::io("move aside", &path))?;
            after(Step::MovedAside).map_err(Error::io("go on after moving", &path))?;
        }
        Ok(())
    }

    fn is_in_place(&self, path: &Path) -> Result<bool, Error> {
        match self.entries.iter().find(|(_, place)| place == path) {
            Some((entry, _)) => Ok(!is_there(&self.kept(entry))?),
            None => Ok(false),
        }
    }

    fn put(&self, entry: &Entry, place: &Path) -> Result<(), Error> {
        let kept = self.kept(entry);
        if !is_there(&kept)? {
            return Ok(());
        }
        // No open: that would wait for, and break, the write lease on it. Owner and mode it has since it was kept.
        std::fs::rename(&kept, place).map_err(Error::io("put in place", place))
    }

    fn sync(&self) -> Result<(), Error> {
        let mut directories = vec![self.store.snapshot(self.epoch), self.store.aside(self.epoch)];
        directories.extend(self.entries.iter().map(|(_, place)| set::parent(place).to_owned()));
        directories.sort();
        directories.dedup();
        directories
            .iter()
            .try_for_each(|directory| store::sync_directory(directory).map_err(Error::io("sync", directory)))
    }
}

fn verify(path: &Path, entry: &Entry, open: Option<&(&Path, &File)>) -> Result<(), Error> {
    let spoiled = |what: String| Error::Spoiled { path: path.to_owned(), what };
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(spoiled("is missing".to_owned())),
        metadata => metadata.map_err(Error::io("look at", path))?,
    };
    if !metadata.is_file() || metadata.len() != entry.size {
        return Err(spoiled(format!("has {} bytes where the manifest says {}", metadata.len(), entry.size)));
    }
    let Some(expected) = &entry.sha256 else { return Ok(()) };
    let opened;
    let file = match open {
        Some((_, file)) => *file,
        None => {
            opened = File::open(path).map_err(Error::io("open", path))?;
            &opened
        }
    };
    let (_, hash) = manifest::size_and_hash(file).map_err(Error::io("read", path))?;
    if hash == *expected { Ok(()) } else { Err(spoiled("has another SHA-256 than the manifest says".to_owned())) }
}

fn free_name(aside: &Path, path: &Path) -> Result<PathBuf, Error> {
    let base = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut free = aside.join(&base);
    let mut number = 0_u32;
    while is_there(&free)? {
        number += 1;
        free = aside.join(format!("{base}.{number}"));
    }
    Ok(free)
}

/// What cannot be looked at is not absent: to take it for that would keep what is to be undone.
fn is_there(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(Error::io("look at", path))
}
