//! From what was typed to what is done: reads the configuration, then hands over to the command.
//!
//! Each command is one file with one `run`. What several share stands in [`change`] (the way of a
//! run that changes things) and [`clients`] (who is there).

use anyhow::Result;

use crate::cli::{self, Cli, Command, Options, Pools};
use crate::config::{Config, Role};
use crate::kernel::{Kernel, Query};
use crate::memory::Memory;
use crate::model::{Family, UplinkNo};
use crate::output::Output;
use crate::plan::{ownership, sysctl};
use crate::state::Observed;
use crate::store::Store;

mod assign;
mod change;
mod clients;
mod event;
mod failover;
mod flush;
mod help;
mod multipath;
mod pools;
mod probe;
mod restore;
mod scan;

/// What every command gets.
struct Context {
    options: Options,
    config: Config,
    store: Store,
    memory: Memory,
    output: Output,
    family: Family,
}

/// How a run ended that did not fail.
pub enum Outcome {
    Done,
    /// `pools --check` found the kernel otherwise than it should be.
    Drift,
}

pub fn run(cli: Cli) -> Result<Outcome> {
    if let Some(Command::Help(args)) = &cli.command {
        help::run(args)?;
        return Ok(Outcome::Done);
    }
    if cli.options.hook && Config::is_unwritten(&cli.options.config) {
        return Ok(Outcome::Done);
    }
    let context = Context {
        config: Config::load(&cli.options.config)?,
        store: Store::new(cli.options.state_dir.clone()),
        memory: Memory::of(&cli.options.state_dir, cli::STATE_DIR.as_ref()),
        output: Output::new(&cli.options),
        family: Family::Inet,
        options: cli.options,
    };
    let command = cli.command.unwrap_or(Command::Pools(Pools::default()));
    match command {
        Command::Pools(args) => return pools::run(&context, &args),
        Command::Scan(args) => scan::run(&context, &args),
        Command::Assign(args) => assign::run(&context, &args),
        Command::Failover(args) => failover::run(&context, &args),
        Command::Restore(args) => restore::run(&context, &args),
        Command::Multipath(args) => multipath::run(&context, &args),
        Command::Flush => flush::run(&context),
        // Told before there was a configuration.
        Command::Help(_) => Ok(()),
    }?;
    Ok(Outcome::Done)
}

impl Context {
    /// The uplink that a person, or a hook's caller, named. `None` for a hook that was run for a
    /// device which is none of ours.
    fn uplink(&self, name: &str) -> Result<Option<UplinkNo>> {
        match self.config.uplink(name) {
            Err(_) if self.options.hook => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    /// What is there: in the slice what is ours, and beside it what merely bears our names.
    fn observe(&self, kernel: &Kernel, query: &Query) -> Result<Observed> {
        let mut found = kernel.observe(query)?;
        ownership::set_apart(&self.config, &mut found);
        Ok(found)
    }

    /// What to look at in the kernel: the set and the chains only where they matter, since they
    /// need privileges.
    fn query(&self, netfilter: bool) -> Query {
        let config = &self.config;
        let numbers = config.numbers;
        let uplinks = || config.uplinks.keys().copied();
        // The number of a group that we do not need may be anybody's.
        let backups = config.uplinks.values().any(|uplink| uplink.role == Role::Backup);
        let groups = [numbers.group()].into_iter().chain(backups.then(|| numbers.backup_group()));
        let tables = uplinks().flat_map(|no| [numbers.pool_table(no), numbers.uplink_table(no)]);
        Query {
            family: self.family,
            numbers,
            sysctls: sysctl::keys(config),
            gateways_of: config.uplinks.values().map(|uplink| uplink.dev.clone()).collect(),
            modules: config.helpers.iter().map(|helper| helper.nat_module()).collect(),
            nexthops: uplinks().map(|no| numbers.nexthop(no)).chain(groups).collect(),
            tables: tables.chain([numbers.shared_table()]).collect(),
            set: netfilter,
            chains: netfilter,
        }
    }
}
