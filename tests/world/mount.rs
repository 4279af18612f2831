//! Small file systems, and second views of one, for tests that run as root.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mount, gone with this value.
pub(crate) struct Mount(tempfile::TempDir);

/// A file that is mounted by itself, gone with this value.
pub(crate) struct MountedFile(PathBuf);

impl Mount {
    /// A file system of so many bytes; none where the test may not mount, which is said.
    pub(crate) fn of(size: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root to mount a small file system");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "none"], home.path());
        Some(Self(home))
    }

    /// The same file system at another place.
    pub(crate) fn again(&self) -> Self {
        let home = tempfile::tempdir().unwrap();
        mount(&["--bind", self.path().to_str().unwrap()], home.path());
        Self(home)
    }

    /// One file of it, by itself, at another place.
    pub(crate) fn of_file(file: &Path, at: &Path) -> MountedFile {
        File::create(at).unwrap();
        mount(&["--bind", file.to_str().unwrap()], at);
        MountedFile(at.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// `ro` or `rw`, in this view alone.
    pub(crate) fn make(&self, mode: &str) {
        mount(&["-o", &format!("remount,bind,{mode}")], self.path());
    }

    /// Leaves no byte free.
    pub(crate) fn fill(&self) {
        let mut filler = File::create(self.path().join("filler")).unwrap();
        while filler.write_all(&[7; 4096]).is_ok() {}
    }

    /// Takes away what filled it.
    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

#[track_caller]
fn mount(arguments: &[&str], at: &Path) {
    assert!(Command::new("mount").args(arguments).arg(at).status().unwrap().success(), "mount {arguments:?} {at:?}");
}

impl Drop for Mount {
    fn drop(&mut self) {
        unmount(self.path());
    }
}

impl Drop for MountedFile {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

fn unmount(at: &Path) {
    let _done = Command::new("umount").arg("--lazy").arg(at).status();
}
