//! The lease directory and its two locks.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::record::{self, Reading, Record, Slots};
use super::{Error, Ticket, ticket};

/// The files that it has from the first, and how many bytes of each have their place on the disk.
const FILES: [(&str, usize); 3] = [("lease", record::SIZE), ("live", 0), ("ticket", ticket::SIZE)];

/// A lease directory that exists, with its lock files, owned like the directory of the database.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

/// The lease, locked. Closing it frees it.
pub struct Lease {
    file: File,
    path: PathBuf,
    slots: Slots,
}

/// The lock that the app inherits; free exactly when no heir lives.
#[derive(Debug)]
pub struct Heirs {
    file: File,
}

/// What somebody who only looks sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Nobody has the lease at this moment.
    pub free: bool,
    /// What the record says.
    pub reading: Reading,
    /// Device and inode of the lock file: the same for every keeper of this lease.
    pub identity: String,
}

impl Directory {
    /// Opens the lease directory, and makes what is missing of it, with owner, group and mode of `like` (the
    /// database's directory).
    ///
    /// # Errors
    /// [`Error::Io`], naming the file.
    pub fn open(path: &Path, like: &Path) -> Result<Self, Error> {
        let model = std::fs::metadata(like).map_err(Error::io("look at the database's directory", like))?;
        let mut made = make_directory(path, &model)?;
        for (name, size) in FILES {
            made |= make(&path.join(name), &model, size)?;
        }
        if made {
            // A record in a directory that a power cut takes back would remember nothing.
            sync(path)?;
            path.parent().map_or(Ok(()), sync)?;
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at lock and record, taking nothing from anybody.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn look(&self) -> Result<Look, Error> {
        let path = self.path.join("lease");
        let file = open_lock(&path, false)?;
        let free = shared(&file).map_err(Error::io("lock", &path))?;
        let identity = identity(&file).map_err(Error::io("look at", &path))?;
        let mut reading = Slots::read(&file).map_err(Error::io("read", &path))?.reading;
        // Whoever has the lease may be about to write its first record.
        if free {
            self.doubt_blank(&mut reading)?;
        }
        Ok(Look { free, reading, identity })
    }

    /// Whether files can be made here now.
    ///
    /// # Errors
    /// [`Error::Io`], naming the file that could not be made.
    pub fn check_writable(&self) -> Result<(), Error> {
        let path = self.path.join("write-probe");
        let made =
            OpenOptions::new().write(true).create(true).truncate(true).custom_flags(libc::O_NOFOLLOW).open(&path);
        made.map_err(Error::io("make", &path))?;
        std::fs::remove_file(&path).map_err(Error::io("remove", &path))
    }

    /// Asks for the lease once; none where somebody has it.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Replaced`] where the lock that was had is not that of the path any more.
    pub fn lock(&self) -> Result<Option<Lease>, Error> {
        let path = self.path.join("lease");
        let file = open_lock(&path, true)?;
        if !exclusive(&file).map_err(Error::io("lock", &path))? {
            return Ok(None);
        }
        let mut slots = Slots::read(&file).map_err(Error::io("read", &path))?;
        self.doubt_blank(&mut slots.reading)?;
        let lease = Lease { file, path, slots };
        lease.check()?;
        Ok(Some(lease))
    }

    /// A blank record beside what only holders leave is no first start: the record was lost, and what it said is not known.
    fn doubt_blank(&self, reading: &mut Reading) -> Result<(), Error> {
        let snapshots = self.path.join("snapshots");
        let left = || match self.path.join("restore").try_exists()? {
            true => Ok(true),
            false => holds_any(&snapshots),
        };
        if *reading == Reading::Blank && left().map_err(Error::io("look at", &snapshots))? {
            *reading = Reading::Corrupt;
        }
        Ok(())
    }

    /// Whether an heir lives, or somebody who acquires the lease has its lock. Only looks, for some microseconds.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn has_heirs(&self) -> Result<bool, Error> {
        let path = self.path.join("live");
        let file = open_lock(&path, false)?;
        Ok(!shared(&file).map_err(Error::io("lock", &path))?)
    }

    /// Asks once for the lock that heirs hold; none while one lives.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn lock_heirs(&self) -> Result<Option<Heirs>, Error> {
        let path = self.path.join("live");
        let file = open_lock(&path, true)?;
        let had = exclusive(&file).map_err(Error::io("lock", &path))?;
        Ok(had.then_some(Heirs { file }))
    }

    /// Device and inode of the file whose lock shows that an heir lives.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn heirs_identity(&self) -> Result<(u64, u64), Error> {
        let path = self.path.join("live");
        let metadata = std::fs::metadata(&path).map_err(Error::io("look at", &path))?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// Lays a new ticket and locks it.
    ///
    /// # Errors
    /// [`Error::TicketTaken`] while another standby is prepared, else [`Error::Io`].
    pub fn lay_ticket(&self) -> Result<Ticket, Error> {
        Ticket::lay(&self.path)
    }

    /// Whether `word` is the ticket of a living standby at this lease.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn ticket_is_good(&self, word: &str) -> Result<bool, Error> {
        ticket::is_good(&self.path, word)
    }
}

impl Lease {
    /// What the record says.
    #[must_use]
    pub fn reading(&self) -> &Reading {
        &self.slots.reading
    }

    /// Writes the record, synced.
    ///
    /// # Errors
    /// [`Error::Io`]; what the record said before then still holds.
    pub fn write(&mut self, record: &Record) -> Result<(), Error> {
        self.slots.write(&self.file, record).map_err(Error::io("write", &self.path))
    }

    /// Writes what the record says into the other slot too: whichever of the two is spoiled later, this is known.
    ///
    /// # Errors
    /// [`Error::Io`]; the record stands.
    pub fn repeat(&mut self) -> Result<(), Error> {
        match self.slots.reading.clone() {
            Reading::Good(record) => self.write(&record),
            Reading::Blank | Reading::Newer(_) | Reading::Corrupt => Ok(()),
        }
    }

    /// Whether the lock is still that of the path: a lock on a file that was put away protects nobody.
    ///
    /// # Errors
    /// [`Error::Replaced`], or [`Error::Io`].
    pub fn check(&self) -> Result<(), Error> {
        let locked = self.file.metadata().map_err(Error::io("look at", &self.path))?;
        let named = std::fs::symlink_metadata(&self.path).map_err(Error::io("look at", &self.path))?;
        if (locked.dev(), locked.ino()) == (named.dev(), named.ino()) {
            return Ok(());
        }
        Err(Error::Replaced { path: self.path.clone() })
    }
}

impl Heirs {
    /// The descriptor that the app inherits. The lock lives until the last copy is closed.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// Asks for a shared lock for some milliseconds at most: others look too, but who locks keeps it.
pub(super) fn shared(file: &File) -> io::Result<bool> {
    had(file.try_lock_shared())
}

pub(super) fn exclusive(file: &File) -> io::Result<bool> {
    had(file.try_lock())
}

fn had(result: Result<(), TryLockError>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

pub(super) fn open_lock(path: &Path, write: bool) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(Error::io("open", path))
}

/// Whether it had to be made.
fn make_directory(path: &Path, model: &Metadata) -> Result<bool, Error> {
    match std::fs::create_dir(path) {
        Ok(()) => dress(path, model, model.mode() & 0o7777).map_err(Error::io("give away", path)).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::io("make the lease directory", path)(error)),
    }
}

/// Makes a file of the lease directory if it is missing, with its place on the disk; whether it had to be made.
fn make(path: &Path, model: &Metadata, size: usize) -> Result<bool, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW);
    let (file, made) = match options.clone().create_new(true).open(path) {
        Ok(file) => {
            dress(path, model, model.mode() & 0o666).map_err(Error::io("give away", path))?;
            (file, true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            (options.open(path).map_err(Error::io("open", path))?, false)
        }
        Err(error) => return Err(Error::io("make", path)(error)),
    };
    preallocate(&file, size).map_err(Error::io("write", path))?;
    Ok(made)
}

/// Makes sure that a file has its place on the disk, synced. Under its lock: what another keeper wrote meanwhile, having
/// come first, must not be written over. Who has the lock now has been here.
pub(super) fn preallocate(file: &File, size: usize) -> io::Result<()> {
    let missing = || Ok::<_, io::Error>(size.saturating_sub(usize::try_from(file.metadata()?.len()).unwrap_or(size)));
    if missing()? == 0 || !exclusive(file)? {
        return Ok(());
    }
    let missing = missing()?;
    // Written, not only reserved: a write into a hole may find the disk full.
    file.write_all_at(&vec![0; missing], (size - missing) as u64)?;
    file.sync_all()
}

/// Whether anything lies in a directory, which need not exist.
fn holds_any(directory: &Path) -> io::Result<bool> {
    match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        entries => Ok(entries?.next().is_some()),
    }
}

fn sync(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(Error::io("sync", directory))
}

/// Gives a file owner, group and mode of its model. Who may not give files away owns what the model's owner owns, or
/// shares it by its mode.
fn dress(path: &Path, model: &Metadata, mode: u32) -> io::Result<()> {
    let own = std::fs::symlink_metadata(path)?;
    if (own.uid(), own.gid()) != (model.uid(), model.gid()) {
        match std::os::unix::fs::lchown(path, Some(model.uid()), Some(model.gid())) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn identity(file: &File) -> io::Result<String> {
    let metadata = file.metadata()?;
    Ok(format!("{:x}:{}", metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, Directory) {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(&home.path().join("app.sqlite3.lockgate"), home.path()).unwrap();
        (home, directory)
    }

    #[test]
    fn one_has_the_lease_until_it_is_dropped() {
        let (_home, directory) = directory();
        let lease = directory.lock().unwrap().unwrap();
        assert!(directory.lock().unwrap().is_none());
        assert!(!directory.look().unwrap().free);
        drop(lease);
        assert!(directory.look().unwrap().free);
        assert!(directory.lock().unwrap().is_some());
    }

    #[test]
    fn nothing_is_put_into_a_file_that_another_has_locked_before_it_was_ready() {
        let (home, directory) = directory();
        let lease = open_lock(&directory.path().join("lease"), true).unwrap();
        assert!(exclusive(&lease).unwrap());
        lease.set_len(0).unwrap();
        Directory::open(directory.path(), home.path()).unwrap();
        assert_eq!(lease.metadata().unwrap().len(), 0);
        drop(lease);
        Directory::open(directory.path(), home.path()).unwrap();
        assert_eq!(std::fs::metadata(directory.path().join("lease")).unwrap().len(), record::SIZE as u64);
    }

    #[test]
    fn who_only_looks_takes_nothing_from_others_that_look() {
        let (_home, directory) = directory();
        let other = open_lock(&directory.path().join("lease"), false).unwrap();
        assert!(shared(&other).unwrap());
        assert!(directory.look().unwrap().free);
    }

    #[test]
    fn a_lock_file_that_was_replaced_is_noticed() {
        let (home, directory) = directory();
        let lease = directory.lock().unwrap().unwrap();
        let path = directory.path().join("lease");
        std::fs::rename(&path, home.path().join("away")).unwrap();
        std::fs::write(&path, b"").unwrap();
        assert!(matches!(lease.check(), Err(Error::Replaced { .. })));
    }

    #[test]
    fn the_directory_and_its_files_are_owned_like_the_databases_directory() {
        let home = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(home.path(), Some(1234), Some(1235)).is_err() {
            return; // only root may give files away
        }
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
        let directory = Directory::open(&home.path().join("d"), home.path()).unwrap();
        for (path, mode) in [(directory.path().to_owned(), 0o750), (directory.path().join("lease"), 0o640)] {
            let metadata = std::fs::metadata(path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (1234, 1235, mode));
        }
    }
}
