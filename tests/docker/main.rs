//! The same flow in real containers, in Kamal's order. Images are made from this build: nothing is pulled.
//!
//! Without a Docker engine or a busybox these tests say that they were skipped; with `CI=true` that is a failure.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity, reason = "a test may panic")]
#![cfg(feature = "demo")]

mod engine;
mod flow;
mod image;
mod kamal;
mod scratch;

use engine::Corner;
use image::{Root, shipped_instructions};

/// What a container named `kamal-proxy` must look like to Kamal and to existing volumes.
#[test]
fn the_proxys_image_is_to_kamal_what_kamal_proxys_is() {
    let Some(corner) = Corner::open("the proxy's image") else { return };
    let image = corner.image("proxy", &Root::proxy().archive(), &shipped_instructions());
    let proxy = corner.run("proxy", &[&image, "sh", "-c", "id -u; echo $HOME; ls -ld $HOME/.config/kamal-proxy"]);
    assert_eq!(proxy.wait(), 0, "{}", proxy.logs());
    let said = proxy.logs();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["1001", "/home/kamal-proxy"], "{said}");
    assert!(lines[2].contains("kamal-pr") || lines[2].contains("1001"), "{said}");
    let config = |field: &str| {
        engine::docker(&["image", "inspect", "--format", &format!("{{{{json .Config.{field}}}}}"), &image])
    };
    assert_eq!(config("Entrypoint"), "null");
    assert_eq!(config("Cmd"), r#"["kamal-proxy","run"]"#);
    assert_eq!(config("User"), r#""kamal-proxy:kamal-proxy""#);
    assert_eq!(config("ExposedPorts"), r#"{"443/tcp":{},"80/tcp":{}}"#);
    assert_eq!(config("Volumes"), "null");
    assert!(config("Labels").contains(r#""org.opencontainers.image.title":"kamal-proxy""#));
}
