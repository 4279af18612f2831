//! What the kernel says of the set: whether anybody has it open.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::child;
use crate::lease::{self, Answer, Directory, WriteLease};

/// The answer for the whole set, worth something as long as it is kept.
pub(super) enum Question {
    /// Nobody has it open; nobody can, while these live.
    Granted(Vec<WriteLease>),
    /// It cannot be asked, and nobody is seen who has it open: the locks must do.
    Unanswered(String),
    /// Somebody has it open, and that was allowed.
    Overlooked(String),
}

/// One attempt to ask.
pub(super) enum Attempt {
    /// An answer.
    Answered(Question),
    /// Somebody has these files open.
    Open(Vec<PathBuf>),
}

/// Asks once.
pub(super) fn ask(files: &[PathBuf]) -> io::Result<Attempt> {
    let mut leases = Vec::new();
    for file in files {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
        match lease::ask(file).map_err(named)? {
            Answer::Granted(lease) => leases.push(lease),
            Answer::Missing => {}
            Answer::Open => return Ok(Attempt::Open(vec![file.clone()])),
            Answer::Impossible(_) if !child::foreign_openers(&identities(files)).is_empty() => {
                return Ok(Attempt::Open(files.to_vec()));
            }
            Answer::Impossible(error) => {
                return Ok(Attempt::Answered(Question::Unanswered(format!("{}: {error}", file.display()))));
            }
        }
    }
    Ok(Attempt::Answered(Question::Granted(leases)))
}

/// Says who has the files open, as far as that is seen from here.
pub(super) fn who_has(files: &[PathBuf]) -> String {
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    format!("{} is open in {}", names.join(", "), seen(&identities(files)))
}

/// Says who holds the lock that an app inherits.
pub(super) fn who_inherited(directory: &Directory) -> Result<String, lease::Error> {
    let who = seen(&[directory.heirs_identity()?]);
    Ok(format!("the app before is still alive, it holds the lock that it inherited: {who}"))
}

/// Processes that have one of these files open.
fn seen(files: &[(u64, u64)]) -> String {
    let openers = child::foreign_openers(files);
    if openers.is_empty() { "a process that is not seen from here".to_owned() } else { openers.join(", ") }
}

fn identities(files: &[PathBuf]) -> Vec<(u64, u64)> {
    files.iter().filter_map(|file| file.metadata().ok()).map(|file| (file.dev(), file.ino())).collect()
}

impl Question {
    /// The descriptors that have the leases: the set is read through them, since an open would wait.
    pub(super) fn open_files(&self) -> Option<Vec<(&Path, &File)>> {
        match self {
            Self::Granted(leases) => Some(leases.iter().map(|lease| (lease.path(), lease.file())).collect()),
            Self::Unanswered(_) | Self::Overlooked(_) => None,
        }
    }

    /// Whether nobody has even tried to open the set.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Granted(leases) => leases.iter().all(WriteLease::is_whole),
            Self::Unanswered(_) | Self::Overlooked(_) => true,
        }
    }

    /// Asks also for a file that is about to be put in place; the lease follows it.
    pub(super) fn extend(&mut self, file: &Path) -> io::Result<()> {
        let Self::Granted(leases) = self else { return Ok(()) };
        if leases.iter().any(|lease| lease.is_on(file)) {
            return Ok(());
        }
        match lease::ask(file)? {
            Answer::Granted(lease) => leases.push(lease),
            Answer::Open => return Err(io::Error::other(who_has(&[file.to_owned()]))),
            Answer::Missing | Answer::Impossible(_) => {}
        }
        Ok(())
    }

    /// The same answer for the set as it is named now, after files were moved.
    pub(super) fn settled(self, files: &[PathBuf]) -> Self {
        let Self::Granted(leases) = self else { return self };
        let named = leases.into_iter().filter_map(|lease| {
            let path = files.iter().find(|file| lease.is_on(file))?;
            lease.moved_to(path)
        });
        Self::Granted(named.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_only_as_long_as_nobody_tries_to_open_any_of_the_files() {
        lease::ignore_sigio();
        let home = tempfile::tempdir().unwrap();
        let files = ["a.db", "b.db"].map(|name| home.path().join(name));
        files.iter().for_each(|file| std::fs::write(file, "x").unwrap());
        let Attempt::Answered(question) = ask(&files).unwrap() else { panic!("somebody has them open") };
        assert!(question.is_whole());
        assert!(matches!(ask(&files[1..]).unwrap(), Attempt::Open(_)));
        assert!(!question.is_whole());
    }
}
