//! The example shop by itself: `cargo run --example shop -- --version=1 --listen=127.0.0.1:4000 --database=shop.db
//! --stamps=stamps.jsonl`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lockgate::demo::shop::main(std::env::args_os().skip(1))
}
