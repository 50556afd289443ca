//! Shares several uplinks among the clients of a Linux gateway: one client, one uplink.
//!
//! Four layers: [`model`] has plain types; `config` reads the configuration and `plan` decides, both
//! without touching the machine; `system` touches the machine and decides nothing; `commands` puts
//! them together. `plan` and `system` do not know each other.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

pub mod cli;
mod commands;
mod config;
mod error;
mod model;
mod output;
mod plan;
mod system;
mod usage_error;

use commands::{Outcome, print_error};

/// Parses the command line and runs the command. A failure is printed as `wanpool: what: why`.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    // The version needs no parser, and to build the parser takes longer than all else.
    if let [_, only] = args.as_slice() {
        if only == "-V" || only == "--version" {
            return print(&format!("wanpool {}\n", env!("CARGO_PKG_VERSION")));
        }
    }
    if args.get(1).is_some_and(|first| first == commands::complete::COMPLETE) {
        commands::complete::run(&args[2..]);
        return ExitCode::SUCCESS;
    }
    let cli = match cli::Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match commands::run(cli) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Drift) => ExitCode::from(error::DRIFT),
        Err(error) => {
            print_error(&error);
            ExitCode::from(error::exit_code(&error))
        }
    }
}

/// Prints help and version; prints anything else that clap refuses as one line.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return print(&error.to_string());
    }
    print_error(usage_error::one_line(&error.to_string()));
    ExitCode::from(error::USAGE)
}

fn print(text: &str) -> ExitCode {
    match output::print(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::from(error::FAILED)
        }
    }
}
