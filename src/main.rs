//! The binary: calls the library, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    wanpool::run(std::env::args_os())
}
