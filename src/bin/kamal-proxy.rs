//! `kamal-proxy`: the `lockgate` beside it, called by this name.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let error = match std::env::current_exe() {
        Ok(own) => {
            let lockgate = own.with_file_name("lockgate");
            let error = Command::new(&lockgate).arg0("kamal-proxy").args(std::env::args_os().skip(1)).exec();
            format!("{}: {error}", lockgate.display())
        }
        Err(error) => error.to_string(),
    };
    eprintln!("Error: {error}");
    ExitCode::FAILURE
}
