//! `lockgate demo`: the whole promise at one command. It starts the proxy, the example shop under keepers, and a load of
//! orders; pushes eleven good versions and three bad ones; and lets a checker say what the clients, the database and the
//! apps' own stamps tell.

pub mod bystander;
pub mod checker;
pub mod lives;
pub mod load;
pub mod shop;
pub mod stamps;
pub mod timing;

use std::ffi::OsString;
use std::process::ExitCode;

/// `lockgate demo ...`; `args` are those after `demo`. `demo shop ...` is the shop itself.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    match args.next() {
        Some(word) if word == "shop" => shop::main(args),
        _ => ExitCode::FAILURE,
    }
}
