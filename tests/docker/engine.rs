//! A corner of the Docker engine that belongs to one test: what it makes carries the test's label and goes with it.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::image::busybox;

/// The label whose value names the corner.
const LABEL: &str = "lockgate-test";

/// Everything one test has in the engine: containers, networks, volumes and images. Removed on drop.
pub(crate) struct Corner {
    name: String,
}

impl Corner {
    /// A corner of its own, or none where something is missing: then it says so, but under `CI=true` it is a failure.
    pub(crate) fn open(test: &str) -> Option<Corner> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Some(missing) = missing() else {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            return Some(Corner { name: format!("lockgate-{}-{count}", std::process::id()) });
        };
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{test}: {missing}, and CI=true asks for it");
        println!("skipped: {test}: {missing}");
        None
    }

    /// `name`, made this corner's own.
    pub(crate) fn own(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    fn label(&self) -> String {
        format!("{LABEL}={}", self.name)
    }

    /// A bridge network, as `docker network create kamal` makes one.
    pub(crate) fn network(&self) -> String {
        let name = self.own("kamal");
        docker(&["network", "create", "--label", &self.label(), &name]);
        name
    }

    /// An empty named volume.
    pub(crate) fn volume(&self, name: &str) -> String {
        let name = self.own(name);
        docker(&["volume", "create", "--label", &self.label(), &name]);
        name
    }

    /// An image of one layer from a tar archive, with the instructions of a Dockerfile that take no shell.
    pub(crate) fn image(&self, name: &str, archive: &[u8], instructions: &[String]) -> String {
        let name = self.own(name);
        let mut import = Command::new("docker");
        import.args(["import", "--change", &format!("LABEL {}", self.label())]);
        for instruction in instructions {
            import.args(["--change", instruction]);
        }
        let mut import = import
            .args(["-", &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker starts");
        import.stdin.take().expect("a pipe").write_all(archive).expect("docker import reads the archive");
        succeeded("docker import", import.wait_with_output().expect("docker import ends"));
        name
    }

    /// `docker run --detach --name <name> <arguments>`: the options, the image, and its command.
    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> Container {
        let label = self.label();
        let own = self.own(name);
        let mut all = vec!["run", "--detach", "--label", &label, "--name", &own];
        all.extend_from_slice(arguments);
        let id = docker(&all);
        Container { id: id.chars().take(12).collect() }
    }
}

/// What these tests need and this machine lacks.
fn missing() -> Option<&'static str> {
    let answer = Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output();
    if !answer.is_ok_and(|answer| answer.status.success()) {
        return Some("no Docker engine answers");
    }
    busybox().is_none().then_some("there is no busybox (Debian: package busybox-static)")
}

impl Drop for Corner {
    fn drop(&mut self) {
        let filter = format!("label={}", self.label());
        let all = |list: &[&str], remove: &[&str]| {
            let listed = Command::new("docker").args(list).args(["--filter", &filter]).output();
            let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
            if !listed.trim().is_empty() {
                _ = Command::new("docker").args(remove).args(listed.split_whitespace()).output();
            }
        };
        all(&["ps", "--all", "--quiet"], &["rm", "--force", "--volumes"]);
        all(&["network", "ls", "--quiet"], &["network", "rm"]);
        all(&["volume", "ls", "--quiet"], &["volume", "rm", "--force"]);
        all(&["images", "--quiet"], &["rmi", "--force"]);
    }
}

/// A container, running or not. It goes with its [`Corner`].
pub(crate) struct Container {
    /// The twelve digits that Kamal names it by.
    pub(crate) id: String,
}

impl Container {
    /// `docker exec <this> <command>`.
    pub(crate) fn exec(&self, command: &[&str]) -> Output {
        Command::new("docker").arg("exec").arg(&self.id).args(command).output().expect("docker exec starts")
    }

    /// What it printed on stdout and stderr.
    pub(crate) fn logs(&self) -> String {
        let logs = Command::new("docker").args(["logs", &self.id]).output().expect("docker logs starts");
        String::from_utf8_lossy(&logs.stdout).into_owned() + &String::from_utf8_lossy(&logs.stderr)
    }

    /// `docker stop`, with the ten seconds of Docker's own.
    pub(crate) fn stop(&self) {
        docker(&["stop", &self.id]);
    }

    /// `docker inspect --format <format>`.
    pub(crate) fn inspect(&self, format: &str) -> String {
        docker(&["inspect", "--format", format, &self.id])
    }

    /// The address on this machine that a published port of it has.
    pub(crate) fn published(&self, port: u16) -> String {
        docker(&["port", &self.id, &format!("{port}/tcp")]).lines().next().expect("a published port").to_owned()
    }

    /// Waits until it has ended by itself; its exit status.
    pub(crate) fn wait(&self) -> i32 {
        docker(&["wait", &self.id]).parse().expect("an exit status")
    }
}

/// Runs `docker` with these arguments; what it printed, without the last line feed.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("docker starts");
    succeeded(&format!("docker {}", arguments.join(" ")), output)
}

#[track_caller]
fn succeeded(what: &str, output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Polls until `condition` holds, at most half a minute.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "half a minute passed, and not yet: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
