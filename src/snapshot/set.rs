//! Which files are meant: databases by path or glob, and the files that SQLite keeps beside each.

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::spec::glob;

/// Why databases cannot be named so.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// No directory to look in.
    #[error("--database {given}: cannot look in {directory}: {source}", directory = .directory.display())]
    NoDirectory {
        /// As it was given.
        given: String,
        /// Where it would be.
        directory: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A directory, not a file in it.
    #[error("--database {0}: this is a directory; name the database file in it, or a pattern such as {pattern}",
        pattern = Path::new(.0).join("*.sqlite3").display())]
    Directory(String),
    /// A pattern that no name can match.
    #[error("--database {given}: this pattern matches no file: {why}")]
    Matchless {
        /// As it was given.
        given: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Ends like a file that SQLite keeps beside a database.
    #[error("--database {0}: this is a file that SQLite keeps beside a database, not a database")]
    Companion(String),
    /// Not a file's path at all.
    #[error("--database {0}: this names no file")]
    NoFile(String),
}

/// The databases of an app, existing or not yet.
#[derive(Clone, Debug)]
pub struct Databases {
    named: Vec<Named>,
}

#[derive(Clone, Debug)]
enum Named {
    /// One file, at its real path.
    Path(PathBuf),
    /// All that match, below a directory at its real path.
    Glob { below: PathBuf, parts: Vec<String> },
}

impl Databases {
    /// Understands paths and globs, relative to the working directory.
    ///
    /// # Errors
    /// [`SetError`], naming what was given.
    pub fn new(given: &[String]) -> Result<Self, SetError> {
        let named = given.iter().map(|given| Named::new(given)).collect::<Result<_, _>>()?;
        Ok(Self { named })
    }

    /// Whether none was named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// The real path of the first database, of a glob the directory where it begins to look.
    #[must_use]
    pub fn first_path(&self) -> PathBuf {
        match self.named.first() {
            Some(Named::Path(path)) => path.clone(),
            Some(Named::Glob { below, .. }) => below.clone(),
            None => PathBuf::new(),
        }
    }

    /// The directories that databases lie in, or will: real paths.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        self.named
            .iter()
            .map(|named| match named {
                Named::Path(path) => parent(path).to_owned(),
                Named::Glob { below, .. } => below.clone(),
            })
            .collect()
    }

    /// The databases that exist, at their real paths, in order.
    ///
    /// # Errors
    /// Where a directory cannot be read.
    pub fn existing(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for named in &self.named {
            match named {
                Named::Path(path) if path.is_file() => found.push(path.clone()),
                Named::Path(_) => {}
                Named::Glob { below, parts } => walk(below, parts, &mut |part, path, name| {
                    if part_matches(part, name) && database_of(name).is_none() && path.is_file() {
                        found.extend(there(path, path.canonicalize())?);
                    }
                    Ok(())
                })?,
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// The files of the whole set that exist: each database with its `-wal`, `-journal` and `-mj*`; a companion whose
    /// database is gone still belongs to it.
    ///
    /// # Errors
    /// Where a directory cannot be read.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        self.files_with(is_companion)
    }

    /// [`files`](Self::files), and each `-shm`.
    ///
    /// # Errors
    /// Where a directory cannot be read.
    pub fn files_and_shared_memory(&self) -> io::Result<Vec<PathBuf>> {
        self.files_with(|suffix| is_companion(suffix) || suffix == "-shm")
    }

    /// Whether a path is, or would be, a file of the set.
    #[must_use]
    pub fn own(&self, path: &Path) -> bool {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
        let databases = std::iter::once(name).chain(database_of(name).filter(|_| !name.ends_with("-shm")));
        databases.filter(|name| database_of(name).is_none()).any(|name| self.names(&path.with_file_name(name)))
            || self.existing().is_ok_and(|existing| {
                existing
                    .iter()
                    .any(|database| suffix_of(path, database).is_some_and(|s| s.is_empty() || is_companion(s)))
            })
    }

    fn names(&self, database: &Path) -> bool {
        self.named.iter().any(|named| match named {
            Named::Path(path) => path == database,
            Named::Glob { below, parts } => {
                let Ok(rest) = database.strip_prefix(below) else { return false };
                let rest: Vec<_> = rest.components().filter_map(|part| part.as_os_str().to_str()).collect();
                rest.len() == parts.len() && parts.iter().zip(rest).all(|(part, name)| part_matches(part, name))
            }
        })
    }

    /// The databases that exist, and those of which only a companion is left, or the link to it.
    fn known(&self) -> io::Result<Vec<PathBuf>> {
        let mut known = self.existing()?;
        for named in &self.named {
            match named {
                Named::Path(path) => known.push(path.clone()),
                Named::Glob { below, parts } => walk(below, parts, &mut |part, path, name| {
                    let database = database_of(name).unwrap_or(name);
                    if part_matches(part, database) && !path.is_dir() {
                        known.push(real(&path.with_file_name(database))?);
                    }
                    Ok(())
                })?,
            }
        }
        known.sort();
        known.dedup();
        Ok(known)
    }

    fn files_with(&self, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
        let databases = self.known()?;
        let mut files = Vec::new();
        for database in &databases {
            for path in entries(parent(database))? {
                let path = path?;
                let belongs = suffix_of(&path, database).is_some_and(|suffix| suffix.is_empty() || wanted(suffix));
                if belongs && there(&path, path.symlink_metadata())?.is_some_and(|file| file.is_file()) {
                    files.push(path);
                }
            }
        }
        files.sort();
        files.dedup();
        Ok(files)
    }
}

impl Named {
    fn new(given: &str) -> Result<Self, SetError> {
        let path = Path::new(given);
        if path.is_dir() {
            return Err(SetError::Directory(given.to_owned()));
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|_| !given.ends_with('/')) else {
            return Err(SetError::NoFile(given.to_owned()));
        };
        let no_directory = |directory: &Path| {
            let (given, directory) = (given.to_owned(), directory.to_owned());
            move |source| SetError::NoDirectory { given, directory, source }
        };
        if database_of(name).is_some() {
            return Err(SetError::Companion(given.to_owned()));
        }
        if !glob::is_pattern(given) {
            let real = real(path).map_err(no_directory(parent(path)))?;
            return Ok(Self::Path(real));
        }
        let (below, parts) = split_pattern(path);
        if let Some(why) = matchless(&parts) {
            return Err(SetError::Matchless { given: given.to_owned(), why });
        }
        let real = below.canonicalize().map_err(no_directory(&below))?;
        match only_a_directory(&real, &parts).map_err(no_directory(&real))? {
            Some(directory) => Err(SetError::Directory(directory.display().to_string())),
            None => Ok(Self::Glob { below: real, parts }),
        }
    }
}

/// What a pattern leads to that matches no file but a directory: the databases are likely meant that lie in it.
fn only_a_directory(below: &Path, parts: &[String]) -> io::Result<Option<PathBuf>> {
    let (mut directory, mut has_file) = (None, false);
    walk(below, parts, &mut |part, path, name| {
        if part_matches(part, name) {
            has_file |= path.is_file();
            directory = directory.take().or_else(|| path.is_dir().then(|| path.to_owned()));
        }
        Ok(())
    })?;
    Ok(directory.filter(|_| !has_file))
}

/// The directory of a path; `.` where it has none.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path behind links, also of a file that does not exist yet.
fn real(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        match std::fs::read_link(&path) {
            Ok(to) => path = parent(&path).join(to),
            Err(_) => break,
        }
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    Ok(parent(&path).canonicalize()?.join(name))
}

/// The plain directories before the first part that is a pattern, and the parts from there.
fn split_pattern(path: &Path) -> (PathBuf, Vec<String>) {
    let mut below = PathBuf::new();
    let mut parts: Vec<String> = Vec::new();
    for component in path.components() {
        let text = component.as_os_str().to_string_lossy();
        if parts.is_empty() && (!glob::is_pattern(&text) || !matches!(component, Component::Normal(_))) {
            below.push(component);
        } else {
            parts.push(text.into_owned());
        }
    }
    if below.as_os_str().is_empty() {
        below.push(".");
    }
    (below, parts)
}

/// Why no file can match, if none can.
fn matchless(parts: &[String]) -> Option<&'static str> {
    if parts.iter().any(|part| glob::is_open(part)) {
        return Some("nothing closes its [");
    }
    parts.iter().any(|part| part == "..").then_some(".. may stand only before the first part that is a pattern")
}

/// Shows each file in the directories that the pattern leads to, with the pattern's last part and the file's name.
fn walk(below: &Path, parts: &[String], see: &mut dyn FnMut(&str, &Path, &str) -> io::Result<()>) -> io::Result<()> {
    let Some((part, rest)) = parts.split_first() else { return Ok(()) };
    let entries = match entries(below) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        entries => entries?,
    };
    for path in entries {
        let path = path?;
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if rest.is_empty() {
            see(part, &path, name)?;
        } else if part_matches(part, name) {
            walk(&path, rest, see)?;
        }
    }
    Ok(())
}

/// The paths in a directory.
fn entries(directory: &Path) -> io::Result<impl Iterator<Item = io::Result<PathBuf>>> {
    let entries = std::fs::read_dir(directory).map_err(named(directory))?;
    Ok(entries.map(move |entry| entry.map(|entry| entry.path()).map_err(named(directory))))
}

/// What is known of a path that was listed, if it is still there: a living app makes and removes journals all the time.
fn there<T>(path: &Path, known: io::Result<T>) -> io::Result<Option<T>> {
    match known {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        known => known.map(Some).map_err(named(path)),
    }
}

/// The error, with the path that it is about.
fn named(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// As in a shell, a pattern finds a hidden name only if it says the dot.
fn part_matches(part: &str, name: &str) -> bool {
    (part.starts_with('.') || !name.starts_with('.')) && glob::matches(part, name)
}

/// What stands after the database's name in the name of a file in the same directory.
fn suffix_of<'a>(path: &'a Path, database: &Path) -> Option<&'a str> {
    if path.parent() != database.parent() {
        return None;
    }
    path.file_name()?.to_str()?.strip_prefix(database.file_name()?.to_str()?)
}

fn is_companion(suffix: &str) -> bool {
    matches!(suffix, "-wal" | "-journal") || suffix.strip_prefix("-mj").is_some_and(|rest| !rest.is_empty())
}

/// The database's name, if this is the name of one of its companions.
fn database_of(name: &str) -> Option<&str> {
    let plain = ["-wal", "-journal", "-shm"].iter().find_map(|suffix| name.strip_suffix(suffix));
    plain.or_else(|| {
        // `-mj` and hexadecimal digits (a super-journal of several databases).
        let (database, digits) = name.rsplit_once("-mj")?;
        (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit())).then_some(database)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn world(names: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        for name in names {
            let path = home.path().join(name);
            std::fs::create_dir_all(parent(&path)).unwrap();
            std::fs::write(path, b"x").unwrap();
        }
        let real = home.path().canonicalize().unwrap();
        (home, real)
    }

    fn names(files: &[PathBuf], below: &Path) -> Vec<String> {
        files.iter().map(|file| file.strip_prefix(below).unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_pattern_that_leads_to_a_directory_alone_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let storage = home.path().join("storage");
        std::fs::create_dir(&storage).unwrap();
        let databases = || Databases::new(&[home.path().join("stora*").display().to_string()]);
        let error = databases().unwrap_err().to_string();
        assert!(error.starts_with(&format!("--database {}: this is a directory;", storage.display())), "{error}");
        std::fs::write(home.path().join("storage.sqlite3"), "").unwrap();
        assert_eq!(databases().unwrap().existing().unwrap().len(), 1);
    }

    #[test]
    fn a_set_is_each_database_with_its_companions() {
        let all = ["a.db", "a.db-wal", "a.db-shm", "a.db-mj0FA1", "b.db", "b.db-journal", "c.txt", "a.dbx", ".d.db"];
        let (_home, real) = world(&all);
        let databases = Databases::new(&[format!("{}/*.db", real.display())]).unwrap();
        assert_eq!(names(&databases.existing().unwrap(), &real), ["a.db", "b.db"]);
        let set = ["a.db", "a.db-mj0FA1", "a.db-wal", "b.db", "b.db-journal"];
        assert_eq!(names(&databases.files().unwrap(), &real), set);
        for name in set.iter().chain(&["later.db", "later.db-wal"]) {
            assert!(databases.own(&real.join(name)), "{name}");
        }
        for name in ["a.db-shm", "c.txt", "below/a.db", "../a.db"] {
            assert!(!databases.own(&real.join(name)), "{name}");
        }
        assert!(databases.files_and_shared_memory().unwrap().contains(&real.join("a.db-shm")));
    }

    #[test]
    fn a_greedy_glob_takes_no_companion_for_a_database() {
        let (_home, real) = world(&["a.db", "a.db-wal", "a.db-shm", "a.db-journal", "a.db-mj01"]);
        let databases = Databases::new(&[format!("{}/*", real.display())]).unwrap();
        assert_eq!(names(&databases.existing().unwrap(), &real), ["a.db"]);
    }

    #[test]
    fn a_companion_whose_database_is_gone_still_belongs_to_a_glob() {
        let (_home, real) = world(&["a.db-wal", "a.db-shm", "c.txt-wal"]);
        let databases = Databases::new(&[format!("{}/*.db", real.display())]).unwrap();
        assert!(databases.existing().unwrap().is_empty());
        assert_eq!(names(&databases.files().unwrap(), &real), ["a.db-wal"]);
        assert_eq!(names(&databases.files_and_shared_memory().unwrap(), &real), ["a.db-shm", "a.db-wal"]);
    }

    #[test]
    fn a_journal_that_comes_and_goes_with_every_transaction_stops_no_listing() {
        let (_home, real) = world(&["a.db"]);
        let databases = Databases::new(&[format!("{}/*.db", real.display())]).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::fs::write(real.join("a.db-journal"), b"x").unwrap();
                    std::fs::remove_file(real.join("a.db-journal")).unwrap();
                }
            });
            let errors: Vec<_> = (0..3000).filter_map(|_| databases.files().err()).collect();
            done.store(true, Ordering::Relaxed);
            assert!(errors.is_empty(), "{errors:?}");
        });
    }

    #[test]
    fn a_directory_that_cannot_be_listed_is_named() {
        let (home, real) = world(&["data/a.db"]);
        let databases = Databases::new(&[format!("{}/data/a.db", real.display())]).unwrap();
        drop(home);
        let error = databases.files().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with(&format!("{}/data: ", real.display())), "{error}");
    }

    #[test]
    fn links_are_followed_also_to_what_does_not_exist_yet() {
        let (_home, real) = world(&["volume/keep", "app/keep"]);
        std::os::unix::fs::symlink("../volume/new.db", real.join("app/new.db")).unwrap();
        let databases = Databases::new(&[format!("{}/app/new.db", real.display())]).unwrap();
        assert_eq!(databases.directories(), [real.join("volume")]);
        assert!(databases.files().unwrap().is_empty());
        std::fs::write(real.join("volume/new.db"), b"x").unwrap();
        assert_eq!(databases.existing().unwrap(), [real.join("volume/new.db")]);
    }

    #[test]
    fn errors_name_what_was_given() {
        let error = |given: &str| Databases::new(&[given.to_owned()]).unwrap_err().to_string();
        assert!(error("/no/such/dir/a.db").starts_with("--database /no/such/dir/a.db: cannot look in /no/such/dir: "));
        assert!(error("/tmp/a.db-wal").contains("not a database"));
        assert!(error("/tmp/*.db-wal").contains("not a database"));
        assert!(error("/no/such/").contains("names no file"));
        assert!(
            error("/tmp").contains("this is a directory; name the database file in it, or a pattern such as /tmp/*.sq")
        );
        assert_eq!(error("["), "--database [: this pattern matches no file: nothing closes its [");
        assert!(error("/tmp/*/../a.db").contains("matches no file: .. may stand only before"));
    }
}
