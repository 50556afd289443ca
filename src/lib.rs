//! Shares several uplinks among the clients of a Linux gateway: one client, one uplink.
//!
//! Data flows one way: files and kernel → [`state`] → [`plan`] → [`step`]s → kernel. The policy
//! core (`model`, `config`, `pools`, `record`, `state`, `plan`) touches nothing; `kernel`, `store`,
//! `memory` and `probe` do what they are told, the files of each by way of `files`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

pub mod cli;
mod cmd;
mod complete;
mod config;
mod files;
mod generate;
mod kernel;
mod memory;
mod model;
mod output;
mod plan;
mod pools;
mod probe;
mod record;
mod state;
mod step;
mod store;
mod syslog;

/// Exit statuses, of `EXIT STATUS` in the man page.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const DRIFT: u8 = 3;
const LOCKED: u8 = 4;

/// Parses the command line, does it, prints `wanpool: what: why` if that fails.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    // Before the parser is built, which takes longer than all else that this needs.
    if asks_for_version(&args) {
        let _ = writeln!(io::stdout(), "wanpool {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    if args.get(1).is_some_and(|first| first == complete::ASK) {
        complete::run(&args[2..]);
        return ExitCode::SUCCESS;
    }
    let cli = match cli::Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match cmd::run(cli) {
        Ok(cmd::Outcome::Done) => ExitCode::SUCCESS,
        Ok(cmd::Outcome::Drift) => ExitCode::from(DRIFT),
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::from(status_of(&error))
        }
    }
}

fn asks_for_version(args: &[OsString]) -> bool {
    matches!(args, [_, only] if only == "-V" || only == "--version")
}

fn status_of(error: &anyhow::Error) -> u8 {
    let any = |is: fn(&(dyn std::error::Error + 'static)) -> bool| error.chain().any(is);
    if any(|cause| cause.is::<store::LockTimeout>()) {
        LOCKED
    } else if any(|cause| cause.is::<config::Fault>()) {
        USAGE
    } else {
        FAILED
    }
}

/// Help and version are no errors; what clap refuses is told in one line like any other error.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A closed stdout is no error.
        let _ = io::stdout().write_all(error.to_string().as_bytes());
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let ends = |line: &&str| !line.starts_with("Usage:") && !line.starts_with("For more");
    let lines = text.lines().map(str::trim).take_while(ends).filter(|line| !line.is_empty());
    let said = lines.collect::<Vec<_>>().join("; ").replace(":; ", ": ");
    complain(&format!("{}; see wanpool help", said.strip_prefix("error: ").unwrap_or(&said)));
    ExitCode::from(USAGE)
}

/// Takes out the ` (os error 2)` that Rust puts behind the words of the system.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or(part, |(_, rest)| rest))
}

fn complain(text: &str) {
    let text = without_numbers(text);
    if let Some(name) = syslog::hook_name() {
        if syslog::send(&format!("{name}: {text}")) {
            return;
        }
    }
    // Nobody listening is no reason to panic.
    let _ = writeln!(io::stderr().lock(), "wanpool: {text}");
}
