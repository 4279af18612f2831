//! Images without a registry: a root of binaries from this machine with the libraries that they ask for, and busybox.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// The user that the proxy's image runs as, and its number there (existing volumes carry it).
const PROXY_USER: (&str, u32) = ("kamal-proxy", 1001);

/// The files of an image, under construction.
pub(crate) struct Root {
    folder: TempDir,
}

impl Root {
    /// Nothing but `/tmp`: from scratch.
    pub(crate) fn scratch() -> Root {
        let root = Root { folder: tempfile::tempdir().expect("a folder") };
        let tmp = root.folder.path().join("tmp");
        std::fs::create_dir(&tmp).expect("a folder");
        std::fs::set_permissions(tmp, Permissions::from_mode(0o1777)).expect("its mode");
        root
    }

    /// A shell and the common tools (busybox), users, and `/tmp`.
    pub(crate) fn small() -> Root {
        let root = Root::scratch();
        let (user, number) = PROXY_USER;
        root.binary(busybox().expect("busybox"), "bin/busybox");
        for tool in ["sh", "cat", "ls", "nc", "wget", "sleep", "kill", "id"] {
            std::os::unix::fs::symlink("busybox", root.folder.path().join("bin").join(tool)).expect("a link");
        }
        root.file(
            "etc/passwd",
            &format!("root:x:0:0::/root:/bin/sh\n{user}:x:{number}:{number}::/home/{user}:/bin/sh\n"),
        );
        root.file("etc/group", &format!("root:x:0:\n{user}:x:{number}:\n"));
        root
    }

    /// The proxy's: what the shipped Dockerfile puts into its last stage, from the binaries of this build.
    pub(crate) fn proxy() -> Root {
        let root = Root::small();
        root.program(env!("CARGO_BIN_EXE_lockgate"), "usr/local/bin/lockgate");
        root.program(env!("CARGO_BIN_EXE_kamal-proxy"), "usr/local/bin/kamal-proxy");
        let home = root.folder.path().join("home").join(PROXY_USER.0);
        std::fs::create_dir_all(home.join(".config/kamal-proxy")).expect("the data directory");
        root
    }

    /// Writes a file.
    pub(crate) fn file(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file is written");
    }

    /// Copies a program that needs no library.
    pub(crate) fn binary(&self, from: &str, to: &str) {
        let to = self.folder.path().join(to);
        std::fs::create_dir_all(to.parent().expect("a parent")).expect("a folder");
        std::fs::copy(from, to).unwrap_or_else(|error| panic!("{from}: {error}"));
    }

    /// Copies a program and the libraries that the loader says it needs, these to where they lie here.
    pub(crate) fn program(&self, from: &str, to: &str) {
        self.binary(from, to);
        let listed = Command::new("ldd").arg(from).output().expect("ldd starts");
        assert!(listed.status.success(), "ldd {from}: {}", String::from_utf8_lossy(&listed.stderr));
        for library in String::from_utf8_lossy(&listed.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
            self.binary(library, library.trim_start_matches('/'));
        }
    }

    /// The root as a tar archive: homes belong to the proxy's user, all else to root.
    pub(crate) fn archive(&self) -> Vec<u8> {
        let archive = self.folder.path().join(".archive");
        self.tar("--create", &archive, 0, &["--exclude=./home", "--exclude=./.archive", "."]);
        if self.folder.path().join("home").exists() {
            self.tar("--append", &archive, PROXY_USER.1, &["./home"]);
        }
        std::fs::read(archive).expect("the archive")
    }

    fn tar(&self, verb: &str, archive: &Path, owner: u32, what: &[&str]) {
        let status = Command::new("tar")
            .current_dir(self.folder.path())
            .args([verb, "--numeric-owner", &format!("--owner={owner}"), &format!("--group={owner}"), "--file"])
            .arg(archive)
            .args(what)
            .status();
        assert!(status.is_ok_and(|status| status.success()), "tar {verb} {what:?}");
    }
}

/// The statically linked busybox of this machine.
pub(crate) fn busybox() -> Option<&'static str> {
    ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists())
}

/// The instructions of the last stage of the shipped Dockerfile that describe the image, without its files.
pub(crate) fn shipped_instructions() -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Dockerfile")).expect("Dockerfile");
    let stage = text.rsplit("\nFROM ").next().expect("a last stage").replace("\\\n", " ");
    let files = ["RUN", "COPY", "ADD", "ARG"];
    stage
        .lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter(|line| !files.iter().any(|file| line.starts_with(file)))
        .map(str::to_owned)
        .collect()
}
