//! What a snapshot consists of.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Error;
use crate::wire::{VERSION, Version};

/// Its name in a snapshot's directory.
pub(super) const NAME: &str = "manifest.json";

/// The list of a snapshot's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) version: Version,
    /// The epoch before which the set was so.
    pub(super) epoch: u64,
    pub(super) files: Vec<Entry>,
    /// Fields of a newer version, kept.
    #[serde(flatten)]
    pub(super) unknown: BTreeMap<String, serde_json::Value>,
}

/// One file of the set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its place, relative to the parent of the lease directory, since a volume is mounted here and there.
    pub(super) name: String,
    /// Its name in the snapshot's directory.
    pub(super) file: String,
    pub(super) size: u64,
    /// In hexadecimal; absent where the copy shares its blocks with the original, which no read can spoil.
    #[serde(default)]
    pub(super) sha256: Option<String>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Manifest {
    pub(super) fn of(epoch: u64) -> Self {
        Self { version: VERSION, epoch, files: Vec::new(), unknown: BTreeMap::new() }
    }

    /// Reads that of a snapshot's directory.
    pub(super) fn read(snapshot: &Path) -> Result<Self, Error> {
        let path = snapshot.join(NAME);
        let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|error| Error::Manifest { path: path.clone(), why: error.to_string() })?;
        if manifest.version.major > VERSION.major {
            let why = format!("it is of version {}, this program knows {}", manifest.version.major, VERSION.major);
            return Err(Error::Manifest { path, why });
        }
        Ok(manifest)
    }
}

/// The way from a directory to a file, going up where it must. Both are real paths.
pub(super) fn relative(from: &Path, to: &Path) -> Option<String> {
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(Component::ParentDir, from.components().count() - common);
    let path: PathBuf = up.chain(to.components().skip(common)).collect();
    path.to_str().map(str::to_owned)
}

/// The way back; none where it leads out of the tree.
pub(super) fn resolve(from: &Path, name: &str) -> Option<PathBuf> {
    let mut path = from.to_owned();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => path.pop().then_some(())?,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

/// Size and hash of a file, read from its start.
pub(super) fn size_and_hash(file: &File) -> io::Result<(u64, String)> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; super::take::CHUNK];
    let mut size = 0;
    loop {
        let count = file.read_at(&mut buffer, size)?;
        if count == 0 {
            return Ok((size, hex(digest)));
        }
        digest.update(buffer.get(..count).unwrap_or_default());
        size += count as u64;
    }
}

pub(super) fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_file_from_wherever_the_volume_is() {
        let from = Path::new("/rails/storage");
        for (to, name) in [("/rails/storage/a.db", "a.db"), ("/rails/db/b.db", "../db/b.db"), ("/c.db", "../../c.db")] {
            assert_eq!(relative(from, Path::new(to)).unwrap(), name);
            assert_eq!(resolve(from, name).unwrap(), Path::new(to));
        }
        assert_eq!(resolve(Path::new("/data"), "a.db").unwrap(), Path::new("/data/a.db"));
        assert_eq!(resolve(from, "/etc/passwd"), None);
        assert_eq!(resolve(from, "../../../x"), None);
    }
}
