//! The commands, one file with one `run` for each. A command reads what it needs through
//! [`context`], lets `plan` decide, and changes things through [`transaction`].

use std::fmt::Display;

use anyhow::Result;

use crate::cli::{Cli, Command, Pools, Restore};
use crate::error::{self, Error};
use crate::output;
use crate::system::files::config;
use crate::system::syslog;

mod assign;
mod check;
mod client_path;
pub mod complete;
mod context;
mod discovery;
mod empty_set;
mod failover;
mod fingerprint;
mod flush;
mod health_columns;
mod help;
mod inet6;
mod metrics;
mod multipath;
mod name_servers;
mod pools;
mod probe;
mod prune;
mod report;
mod restore;
mod scan;
mod transaction;

use context::Context;

/// How a command ended that did not fail.
pub enum Outcome {
    Done,
    /// `pools --check` found that the kernel is not as it should be.
    Drift,
}

pub fn run(cli: Cli) -> Result<Outcome> {
    if let Some(Command::Help(args)) = &cli.command {
        help::run(args)?;
        return Ok(Outcome::Done);
    }
    if let Some(Command::Restore(Restore { empty_set: true, .. })) = &cli.command {
        // The rules of others must load whatever the configuration is.
        empty_set::run(&cli.options)?;
        return Ok(Outcome::Done);
    }
    if cli.options.hook && config::is_unwritten(&cli.options.config) {
        return Ok(Outcome::Done);
    }
    let context = Context::new(cli.options)?;
    let command = cli.command.unwrap_or(Command::Pools(Pools::default()));
    let result = match command {
        Command::Pools(args) => return pools::run(&context, &args),
        Command::Scan(args) => scan::run(&context, &args),
        Command::Assign(args) => assign::run(&context, &args),
        Command::Failover(args) => failover::run(&context, &args),
        Command::Restore(args) => restore::run(&context, &args),
        Command::Multipath(args) => multipath::run(&context, &args),
        Command::Flush => flush::run(&context),
        // Help needs no configuration and was printed above.
        Command::Help(_) => Ok(()),
    };
    match result {
        Err(error) if matches!(error.downcast_ref(), Some(Error::Flushed)) => {
            report::print_nothing(&context)?;
        }
        other => other?,
    }
    Ok(Outcome::Done)
}

/// Makes several errors one result: the last is returned, and the others are printed.
fn fail_with(mut failures: Vec<anyhow::Error>) -> Result<()> {
    let last = failures.pop();
    for failure in failures {
        print_error(format!("{failure:#}"));
    }
    match last {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Prints an error on stderr, or sends it to syslog for a hook whose output is discarded.
pub fn print_error(error: impl Display) {
    if let Some(name) = syslog::hook_name() {
        let text = error::without_errno(&format!("{name}: {error:#}"));
        if syslog::send(&text) {
            return;
        }
    }
    output::print_error(error);
}
