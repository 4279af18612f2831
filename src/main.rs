//! `lockgate`, and under its other name `kamal-proxy`.

fn main() -> std::process::ExitCode {
    lockgate::cli::main(std::env::args_os())
}
