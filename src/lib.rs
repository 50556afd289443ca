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

use commands::Outcome;

/// Parses the command line and runs the command. A failure is printed as `wanpool: what: why`.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
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
        return match output::print(&error.to_string()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    print_error(usage_error::one_line(&error.to_string()));
    ExitCode::from(error::USAGE)
}

/// Prints an error on stderr, or sends it to syslog for a hook whose output is discarded.
fn print_error(error: impl std::fmt::Display) {
    if let Some(name) = system::syslog::hook_name() {
        let text = error::without_errno(&format!("{name}: {error:#}"));
        if system::syslog::send(&text) {
            return;
        }
    }
    output::print_error(error);
}
