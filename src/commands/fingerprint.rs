//! How much of the kernel a run has to look at.
//!
//! Nexthops, routes and rules are few, and always read. The set may have a million members, and the
//! chains cost a process; but both have a sign that is cheap to read: the set its count, the ruleset
//! its generation. A run that found everything in order leaves in `/run/wanpool/checked` what it saw
//! of them, of the pool files and of the configuration. As long as all of that is the same, the next
//! run takes the set and the chains for what they should be, and compares only the entries that it
//! changes itself; nor does it look for flows to end where they have been ended. `restore` and
//! `pools --check` believe nobody and read everything.
//!
//! What this cannot see is an entry of the set whose mark was altered by hand, or one exchanged for
//! another; the next `restore` mends it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;

use anyhow::Result;

use super::Run;
use crate::system::Query;
use crate::model::{Client, UplinkSet};
use crate::plan;
use crate::plan::marking;
use crate::plan::placement::Change;
use crate::plan::service::{Intent, Services};
use crate::model::pools::Pools;
use crate::model::STATE::{Chain, Jump, Observed, Set, Signs};
use crate::model::change::Step;

/// What stands before the uplinks whose flows have been ended.
const ENDED: &str = "ended";

/// What a run knows of the set and the chains without reading them.
pub(super) struct Sight {
    query: Query,
    /// Whose entries are compared; `None`: everyone's.
    clients: Option<Vec<Client>>,
    /// As of the last look.
    signs: Signs,
    chains: BTreeMap<Chain, Vec<String>>,
    jumps: Vec<Jump>,
    /// Uplinks that are out of service, and whose flows have been ended since.
    pub(super) ended: UplinkSet,
}

impl Run<'_> {
    /// The first look. `changes` are those that this run is about to make to the pools.
    pub(super) fn look_first(
        &self,
        query: Query,
        changes: &[Change],
        intent: Intent,
    ) -> Result<(Observed, Sight)> {
        // The signs come first: what changes after them is seen by the look, or by the next run.
        let signs = self.kernel.signs();
        let ended = self.is_as_checked(&signs).filter(|_| intent != Intent::RestoreAll);
        let Some(ended) = ended else {
            let found = self.look(&query)?;
            let (chains, jumps) = (found.slice.chains.clone(), found.slice.jumps.clone());
            let ended = UplinkSet::default();
            return Ok((found, Sight { query, clients: None, signs, chains, jumps, ended }));
        };
        let config = &self.context.config;
        let clients: Vec<Client> = changes.iter().map(Change::client).collect();
        let mut found = self.look(&Query { set: false, chains: false, ..query.clone() })?;
        found.slice.set = Some(marking::set_of(config, &self.pools, &clients));
        found.slice.chains = marking::chains(config);
        found.slice.jumps = marking::jumps(config);
        let (chains, jumps) = (found.slice.chains.clone(), found.slice.jumps.clone());
        Ok((found, Sight { query, clients: Some(clients), signs, chains, jumps, ended }))
    }

    /// A look after steps were done. A set that has as many members as there are clients in `pools`
    /// has the right ones: the kernel acknowledged each that was set or deleted, unless a step `failed`.
    pub(super) fn look_again(
        &self,
        pools: &Pools,
        sight: &mut Sight,
        failed: bool,
    ) -> Result<Observed> {
        let signs = self.kernel.signs();
        let (entries, generation) = (signs.entries, signs.generation);
        let set = failed || entries != Some(marking::count(&self.context.config, pools));
        let chains = generation.is_none() || generation != sight.signs.generation;
        let mut found = self.look(&Query { set, chains, ..sight.query.clone() })?;
        match set {
            true => sight.clients = None,
            false => found.slice.set = Some(self.wanted_set(pools, sight)),
        }
        if chains {
            sight.chains = found.slice.chains.clone();
            sight.jumps = found.slice.jumps.clone();
        } else {
            found.slice.chains = sight.chains.clone();
            found.slice.jumps = sight.jumps.clone();
        }
        sight.signs = signs;
        Ok(found)
    }

    pub(super) fn plan(
        &self,
        pools: &Pools,
        found: &Observed,
        services: &Services,
        sight: &Sight,
    ) -> Vec<Step> {
        let Self { context, .. } = self;
        let set = self.wanted_set(pools, sight);
        let wanted = plan::wanted(&context.config, set, services, context.family);
        plan::steps(&context.config, found, &wanted)
    }

    fn wanted_set(&self, pools: &Pools, sight: &Sight) -> Set {
        match &sight.clients {
            Some(clients) => marking::set_of(&self.context.config, pools, clients),
            None => marking::set(&self.context.config, pools),
        }
    }

    /// Whether all is as a run saw it that found it in order; then the uplinks whose flows had been
    /// ended by then.
    fn is_as_checked(&self, signs: &Signs) -> Option<UplinkSet> {
        let checked = self.context.memory.checked()?;
        let ended = checked.strip_prefix(&self.seen(signs)?)?.strip_prefix(ENDED)?;
        ended.split_whitespace().map(|no| no.parse().ok()).collect()
    }

    /// All is in order: the next run need not read it again.
    pub(super) fn remember_checked(&self, sight: &Sight) {
        let Some(mut seen) = self.seen(&sight.signs) else { return };
        seen.push_str(ENDED);
        for no in sight.ended.iter() {
            // Writing to a String cannot fail.
            let _ = write!(seen, " {no}");
        }
        seen.push('\n');
        if self.context.memory.checked().as_ref() != Some(&seen) {
            self.context.memory.remember_checked(&seen);
        }
    }

    /// What must be the same for all to be as it was. `None` where a sign is missing.
    fn seen(&self, signs: &Signs) -> Option<String> {
        let (entries, room, generation) = (signs.entries?, signs.room?, signs.generation?);
        let mut config = DefaultHasher::new();
        format!("{:?}", self.context.config).hash(&mut config);
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let network = fs::metadata("/proc/self/ns/net").ok()?.ino();
        let mut seen = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(seen, "wanpool {}", env!("CARGO_PKG_VERSION"));
        let _ = writeln!(seen, "boot {}", boot.trim());
        let _ = writeln!(seen, "network {network}");
        let _ = writeln!(seen, "config {:016x}", config.finish());
        let _ = writeln!(seen, "set {entries} of {room}");
        let _ = writeln!(seen, "ruleset {generation}");
        seen.push_str(self.version.as_deref()?);
        Some(seen)
    }
}
