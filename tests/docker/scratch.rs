//! The static keeper in an image that holds nothing but itself and an app.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use crate::engine::{Corner, eventually};
use crate::image::{Root, busybox};

#[test]
fn the_static_keeper_runs_an_app_in_an_image_from_scratch() {
    let Some(corner) = Corner::open("the keeper from scratch") else { return };
    let root = Root::scratch();
    root.binary(&static_keeper().display().to_string(), "lockgate-keep");
    root.binary(busybox().expect("busybox"), "busybox");
    root.file("www/up", "fine\n");
    let image = corner.image(
        "scratch",
        &root.archive(),
        &[r#"ENTRYPOINT ["/lockgate-keep", "--database=/storage/app.sqlite3", "--", "/busybox"]"#.to_owned()],
    );
    let storage = corner.volume("storage");
    let mount = format!("{storage}:/storage");
    let app = corner.run("app", &["--volume", &mount, &image, "httpd", "-f", "-p", "80", "-h", "/www"]);
    let address = format!("{}:80", app.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"));
    eventually("the app listens", || TcpStream::connect(&address).is_ok());
    app.stop();
    assert_eq!(app.inspect("{{.State.ExitCode}}"), "0", "{}", app.logs());
}

/// `cargo keeper`, and where it puts the program.
fn static_keeper() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let built = Command::new(env!("CARGO")).args(["keeper", "--quiet"]).current_dir(&root).status();
    assert!(built.is_ok_and(|status| status.success()), "cargo keeper");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    target.join("x86_64-unknown-linux-gnu/release/lockgate-keep")
}
