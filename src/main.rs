//! `lockgate`, and under its other name `kamal-proxy`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // `keep` and `demo` read their own arguments; all else is the command line's.
    let mut args = std::env::args_os();
    let word = args.nth(1);
    match word.as_deref().and_then(|word| word.to_str()) {
        #[cfg(feature = "demo")]
        Some("demo") => lockgate::demo::main(args),
        Some("keep") => lockgate::keeper::main(args),
        _ => lockgate::cli::main(std::env::args_os()),
    }
}
