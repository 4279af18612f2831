//! What Kamal does, in its order: the proxy's container, then for each version run, deploy, stop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;

use lockgate::demo::stamps::Plan;
use lockgate::journal::Record;
use tempfile::TempDir;

use crate::engine::{Container, Corner, docker, eventually};
use crate::image::{Root, shipped_instructions};

/// The service, as Kamal names it: the app's name and the role's.
const SERVICE: &str = "shop-web";

/// How an image starts the shop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrapped {
    /// Under a keeper: the two lines that the Dockerfile gains.
    Kept,
    /// As before lockgate came.
    Bare,
}

/// One version of the shop, as a container.
pub(crate) struct Version {
    pub(crate) container: Container,
    number: u32,
}

/// A host as `kamal setup` leaves it: network, volumes, images, and the proxy running.
pub(crate) struct Host {
    pub(crate) proxy: Container,
    network: String,
    storage: String,
    kept: String,
    bare: String,
    corner: Corner,
}

impl Host {
    /// Sets it up.
    pub(crate) fn set_up(corner: Corner) -> Host {
        let root = Root::proxy();
        let image = corner.image("proxy", &root.archive(), &shipped_instructions());
        root.program(env!("CARGO_BIN_EXE_lockgate-keep"), "usr/local/bin/lockgate-keep");
        let archive = root.archive();
        let shop = [
            "lockgate",
            "demo",
            "shop",
            "--listen=0.0.0.0:80",
            "--database=/storage/shop.db",
            "--stamps=/storage/stamps",
        ];
        let keeper = ["lockgate-keep", "--database=/storage/shop.db", "--snapshot=always", "--"];
        let entrypoint = |words: &[&str]| vec![format!("ENTRYPOINT {}", serde_json::to_string(words).expect("words"))];
        let kept = corner.image("kept", &archive, &entrypoint(&[&keeper[..], &shop[..]].concat()));
        let bare = corner.image("bare", &archive, &entrypoint(&shop));
        let (network, storage, config) =
            (corner.network(), corner.volume("storage"), corner.volume("kamal-proxy-config"));
        let config = format!("{config}:/home/kamal-proxy/.config/kamal-proxy");
        let proxy = corner.run(
            "kamal-proxy",
            &[
                "--network",
                &network,
                "--restart=unless-stopped",
                "--volume",
                &config,
                "--publish=127.0.0.1::80",
                &image,
            ],
        );
        eventually("the proxy answers its socket", || proxy.exec(&["kamal-proxy", "list"]).status.success());
        Host { proxy, network, storage, kept, bare, corner }
    }

    /// Where clients go.
    pub(crate) fn address(&self) -> SocketAddr {
        self.proxy.published(80).parse().expect("an address")
    }

    /// `docker run` of a version, as Kamal does it before it asks the proxy.
    pub(crate) fn run(&self, number: u32, plan: Plan, wrapped: Wrapped) -> Version {
        let name = format!("{SERVICE}-{number}");
        let (own, storage) = (format!("KAMAL_CONTAINER_NAME={name}"), format!("{}:/storage", self.storage));
        let (version, plan) = (format!("--version={number}"), format!("--plan={}", plan.name()));
        let image = if wrapped == Wrapped::Kept { &self.kept } else { &self.bare };
        let hostname = format!("host-{number:012x}");
        let container = self.corner.run(
            &name,
            &[
                "--restart=unless-stopped",
                "--network",
                &self.network,
                "--hostname",
                &hostname,
                "--env",
                &own,
                "--volume",
                &storage,
                image,
                &version,
                &plan,
            ],
        );
        Version { container, number }
    }

    /// `docker exec kamal-proxy kamal-proxy deploy ...`.
    pub(crate) fn ask_the_proxy(&self, new: &Version) -> Output {
        let target = format!("--target={}:80", new.container.id);
        self.proxy.exec(&["kamal-proxy", "deploy", SERVICE, &target, "--deploy-timeout=30s", "--drain-timeout=30s"])
    }

    /// `kamal deploy`: run the new one, ask the proxy, stop the old one; or, when the proxy says no, the new one.
    /// The version that serves then, and what the proxy's command printed on stderr.
    pub(crate) fn deploy(&self, number: u32, plan: Plan, old: Version) -> (Version, Result<String, String>) {
        let new = self.run(number, plan, Wrapped::Kept);
        let answer = self.ask_the_proxy(&new);
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        let (serving, ended, said) = match answer.status.code() {
            Some(0) => (new, old, Ok(said)),
            Some(1) => (old, new, Err(said)),
            other => panic!("version {number}: deploy ended with {other:?}: {said}\n{}", self.proxy.logs()),
        };
        ended.container.stop();
        (serving, said)
    }

    /// The proxy's journal of the service, oldest first.
    pub(crate) fn handoffs(&self) -> Vec<Record> {
        let listed = self.proxy.exec(&["kamal-proxy", "handoffs", SERVICE, "--json"]);
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let mut records: Vec<Record> = serde_json::from_slice(&listed.stdout).expect("records");
        records.reverse();
        records
    }

    /// A copy of what lies in the volume.
    pub(crate) fn storage(&self, serving: &Version) -> (TempDir, PathBuf) {
        let copy = tempfile::tempdir().expect("a folder");
        let to = copy.path().join("storage");
        docker(&["cp", &format!("{}:/storage", serving.container.id), &to.display().to_string()]);
        (copy, to)
    }

    /// The logs of proxy and app, for the message of a test that fails.
    pub(crate) fn logs(&self, version: &Version) -> String {
        let (proxy, app) = (self.proxy.logs(), version.container.logs());
        format!("--- proxy ---\n{proxy}--- version {} ---\n{app}", version.number)
    }
}

/// The shop's database and stamps in a copy of the volume.
pub(crate) fn evidence_in(storage: &Path) -> (PathBuf, PathBuf) {
    (storage.join("shop.db"), storage.join("stamps"))
}
