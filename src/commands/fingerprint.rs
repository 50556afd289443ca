//! The fingerprint: how a run knows that the client set and the packet filter are correct without
//! reading them.
//!
//! Nexthops, routes and rules are few and are always read. The client set may have a million members,
//! and to read the packet filter takes a process. Both have counters that are cheap to read. A run
//! that found or made everything correct writes down the counters, the versions of the pool files and
//! a hash of the configuration. As long as all of these are the same, the next run takes both parts as
//! unchanged and compares only the members that it changes itself. `restore` and `pools --check`
//! ignore the fingerprint.
//!
//! A member whose mark was altered by hand, or that was exchanged for another one, changes no counter.
//! The next `restore` repairs it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

use super::Context;
use crate::model::snapshot::{ChangeCounters, Snapshot};
use crate::model::{UplinkNo, UplinkSet};
use crate::plan::filter;

/// What must be the same for the kernel to be as it was.
#[derive(PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    version: String,
    boot_id: String,
    /// The inode of the network namespace.
    network: u64,
    config: u64,
    entries: u32,
    room: u32,
    generation: u32,
    pool_files: String,
    filter: filter::Dependencies,
}

impl Fingerprint {
    /// `None` if a counter does not exist, as with iptables-legacy.
    pub fn new(
        context: &Context,
        counters: &ChangeCounters,
        pool_files: &str,
        snapshot: &Snapshot,
    ) -> Option<Self> {
        Some(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?,
            network: fs::metadata("/proc/self/ns/net").ok()?.ino(),
            config: context.config_hash,
            entries: counters.entries?,
            room: counters.room?,
            generation: counters.generation?,
            pool_files: pool_files.to_owned(),
            filter: filter::Dependencies::current(&context.config, snapshot),
        })
    }
}

/// A fingerprint of a correct slice.
#[derive(Serialize, Deserialize)]
pub struct Verified {
    fingerprint: Fingerprint,
    /// Uplinks out of service whose flows have been ended since.
    flows_ended: Vec<UplinkNo>,
}

impl Verified {
    pub fn new(fingerprint: Fingerprint, flows_ended: UplinkSet) -> Self {
        Self { fingerprint, flows_ended: flows_ended.iter().collect() }
    }

    /// What a run wrote, if all is as it was then.
    pub fn read(
        context: &Context,
        counters: &ChangeCounters,
        pool_files: &str,
        snapshot: &Snapshot,
    ) -> Option<Self> {
        let verified: Self = serde_json::from_str(&context.runtime.fingerprint()?).ok()?;
        let now = Fingerprint::new(context, counters, pool_files, snapshot)?;
        if verified.fingerprint == now { Some(verified) } else { None }
    }

    pub fn flows_ended(&self) -> UplinkSet {
        self.flows_ended.iter().copied().collect()
    }

    /// Writes it, unless the file has it already.
    pub fn write(&self, context: &Context) {
        let Ok(text) = serde_json::to_string(self) else { return };
        if context.runtime.fingerprint().as_deref() != Some(&text) {
            context.runtime.write_fingerprint(&text);
        }
    }
}
