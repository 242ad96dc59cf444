//! The `tandem` program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tandem::cli::run(std::env::args_os())
}
