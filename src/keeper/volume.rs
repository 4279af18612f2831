//! Where the lease lies: on the volume of the databases, which is to be the same for all keepers.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Fault;
use super::options::Options;
use crate::lease;
use crate::snapshot::Databases;

/// The lease directory, on the file system of all databases.
pub(super) fn open_directory(options: &Options, databases: &Databases) -> Result<lease::Directory, Fault> {
    let existing = databases.existing()?;
    if let Some(alone) = existing.iter().find(|database| is_mount_point(database)) {
        return Err(mounted_alone(alone));
    }
    let mut near = databases.directories();
    near.extend(existing.iter().filter_map(|database| Some(database.parent()?.to_owned())));
    let path = match (&options.lease, options.databases.first()) {
        (Some(given), _) => given.clone(),
        (None, Some(first)) => default_directory(first, &databases.first_path()),
        (None, None) => return Err(Fault::own("no --database given, nor a --lease directory".to_owned())),
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let real = parent.canonicalize().map_err(|error| {
        Fault::own(format!("cannot use the lease directory {}: {}: {error}", path.display(), parent.display()))
    })?;
    let name = path.file_name().ok_or_else(|| Fault::own(format!("--lease {}: names no directory", path.display())))?;
    let like = near.first().unwrap_or(&real);
    let directory = lease::Directory::open(&real.join(name), like)?;
    let device = std::fs::metadata(directory.path())?.dev();
    for other in &near {
        if std::fs::metadata(other)?.dev() != device {
            return Err(Fault::own(format!(
                "the lease directory {} and the databases in {} are on different file systems",
                directory.path().display(),
                other.display()
            )));
        }
    }
    Ok(directory)
}

/// `<first database>.lockgate`; for a glob, which names many, `databases.lockgate` where it begins to look.
fn default_directory(given: &str, first: &Path) -> PathBuf {
    if given.contains(['*', '?', '[']) {
        return first.join("databases.lockgate");
    }
    let mut name = OsString::from(first);
    name.push(".lockgate");
    PathBuf::from(name)
}

/// Whether a file is mounted by itself, as by `docker run -v app.db:/app.db`: a kernel before 5.8 does not say.
fn is_mount_point(file: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    statx(CWD, file, AtFlags::empty(), StatxFlags::empty())
        .is_ok_and(|seen| seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Its directory is each container's own, and so would be the lease, and the log that SQLite keeps beside it.
fn mounted_alone(database: &Path) -> Fault {
    Fault::own(format!(
        "--database {}: this file alone is mounted here, so that each container has its own lease, and its own log of \
         SQLite's, beside it: mount the directory, not the file",
        database.display()
    ))
}
