//! The slice of one family in a run: its kernel, and what the run found there.

use anyhow::{Result, bail};

use crate::commands::Context;
use crate::config::Config;
use crate::model::Family;
use crate::model::change::Change;
use crate::model::pools::Pools;
use crate::model::snapshot::{ChangeCounters, Conflict, Snapshot};
use crate::plan;
use crate::plan::client_set::{self, PoolEdit};
use crate::plan::filter::Dependencies;
use crate::plan::uplinks::{self, GatewayStatus, Intent};
use crate::system::{Kernel, Need};

pub struct Slice<'a> {
    context: &'a Context,
    pub config: &'a Config,
    pub kernel: Kernel,
    pub snapshot: Snapshot,
    /// The counters at the time of the snapshot.
    pub counters: ChangeCounters,
    /// The configuration wants it. If not, it is removed.
    is_wanted: bool,
}

impl<'a> Slice<'a> {
    /// `need` decides, by the counters and the rest of the snapshot, what else is read.
    pub fn open(
        context: &'a Context,
        family: Family,
        need: impl FnOnce(&ChangeCounters, &Snapshot) -> [Need; 2],
    ) -> Result<Self> {
        let config = context.config_of(family);
        let kernel = context.open_kernel_of(family)?;
        // The counters are read before what they tell about.
        let counters = kernel.change_counters();
        let snapshot = context.observe_if(&kernel, |found| need(&counters, found))?;
        let is_wanted = family == Family::Inet || config.ipv6;
        Ok(Self { context, config, kernel, snapshot, counters, is_wanted })
    }

    pub fn family(&self) -> Family {
        self.config.family
    }

    /// What is in service now.
    pub fn current(&self) -> GatewayStatus {
        uplinks::current(self.config, &self.snapshot)
    }

    pub fn decide(&self, intent: Intent) -> Result<GatewayStatus> {
        if self.is_wanted {
            // A line without IPv6 is failed over or restored for IPv4, unless it is about IPv6 alone.
            let is_lenient = self.family() == Family::Inet6 && self.context.covers(Family::Inet);
            uplinks::decide_if(self.config, &self.snapshot, intent, is_lenient)
        } else {
            Ok(self.current())
        }
    }

    pub fn plan(&self, status: &GatewayStatus, edit: PoolEdit) -> Result<Vec<Change>> {
        if self.is_wanted {
            plan::changes(self.config, &self.snapshot, status, edit)
        } else {
            plan::removal(&self.snapshot)
        }
    }

    /// Observes the kernel after changes. After the changes of this run, a set with as many members as
    /// the pools have clients has the right ones, because the kernel acknowledged each member that was
    /// added or deleted. If a change failed, everything is read.
    pub fn observe_again(&mut self, pools: &Pools, has_failed: bool) -> Result<()> {
        let counters = self.kernel.change_counters();
        let (mut set, mut filter) = (Need::Read, Need::Read);
        if !has_failed && self.is_wanted && self.obstacles(pools).is_empty() {
            if counters.entries == Some(client_set::len(self.config, pools)) {
                set = Need::Unchanged;
            }
            if counters.generation.is_some() && counters.generation == self.counters.generation {
                filter = Need::Unchanged;
            }
        }
        let depended_on = Dependencies::current(self.config, &self.snapshot);
        let need = |found: &Snapshot| {
            // What was right before a device or multipath changed may be wrong now.
            let is_same = Dependencies::current(self.config, found) == depended_on;
            [set, if is_same { filter } else { Need::Read }]
        };
        self.snapshot = self.context.observe_if(&self.kernel, need)?;
        if let Some(conflict) = self.conflict() {
            bail!("{conflict}");
        }
        self.counters = counters;
        Ok(())
    }

    pub fn conflict(&self) -> Option<Conflict> {
        plan::first_conflict(self.family(), &self.snapshot)
    }

    pub fn obstacles(&self, pools: &Pools) -> Vec<Conflict> {
        plan::obstacles(self.config, &self.snapshot, pools)
    }
}
