//! A run that changes things: take the lock, observe, plan, apply, and observe again until the plan is
//! empty. Pool files are written before the kernel follows.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::fingerprint::{Fingerprint, Verified};
use super::report::{self, Report};
use super::{Context, print_error};
use crate::model::UplinkSet;
use crate::model::change::Change;
use crate::model::health::HealthRecords;
use crate::model::pools::Pools;
use crate::model::snapshot::{ChangeCounters, Snapshot};
use crate::plan;
use crate::plan::assign::ClientChange;
use crate::plan::client_set::{self, PoolEdit};
use crate::plan::uplinks::{self, GatewayStatus, Intent};
use crate::system::files::Lock;
use crate::system::{Kernel, Need, capabilities, notify_hook, shell};

mod flows;
mod records;
mod removal;
mod steps;

use steps::Failure;

/// How often a run plans again because the kernel changed meanwhile (a device came or went).
const ROUNDS: usize = 4;

/// How much of the kernel a run reads at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadScope {
    All,
    /// The client set and the packet filter only if they may have changed since a run verified them.
    Changed,
}

/// A run that has the lock and a snapshot.
pub struct Run<'a> {
    pub context: &'a Context,
    /// `None` with `--dry-run`, which writes nothing.
    lock: Option<Lock>,
    pub kernel: Kernel,
    pub snapshot: Snapshot,
    /// What the pool files hold.
    pub pools: Pools,
    /// The version of these files; `None` if they were not read.
    pool_version: Option<String>,
    /// The counters at the time of the snapshot.
    counters: ChangeCounters,
    /// Uplinks out of service whose flows an earlier run has ended.
    flows_ended: UplinkSet,
    /// The run has nothing to change, and nothing has changed since that earlier run.
    is_idle: bool,
    /// The health records. [`Run::finish`] brings them up to date.
    pub health: HealthRecords,
}

impl<'a> Run<'a> {
    /// `what` is the command, for errors.
    pub fn begin(context: &'a Context, what: &str, scope: ReadScope) -> Result<Self> {
        capabilities::require_net_admin(what)?;
        let lock = take_lock(context)?;
        // The version is read first: if a file is edited meanwhile, the old version is recorded, and
        // the next run sees that.
        let version = context.pool_files.version()?;
        let pools = context.pool_files.read()?;
        let kernel = context.open_kernel()?;
        // So are the counters.
        let counters = kernel.change_counters();
        let verified = match scope {
            ReadScope::All => None,
            ReadScope::Changed => Verified::read(context, &counters, &version),
        };
        let need = if verified.is_some() { Need::Unchanged } else { Need::Read };
        Ok(Self {
            context,
            lock,
            snapshot: context.observe(&kernel, need, need).context("nothing was changed")?,
            kernel,
            pools,
            pool_version: Some(version),
            counters,
            flows_ended: verified.map(|verified| verified.flows_ended()).unwrap_or_default(),
            is_idle: false,
            health: context.runtime.health(),
        })
    }

    /// For a command that has nothing to do with clients and must work even with a broken pool file.
    pub fn begin_without_pools(context: &'a Context, what: &str) -> Result<Self> {
        capabilities::require_net_admin(what)?;
        let lock = take_lock(context)?;
        let kernel = context.open_kernel()?;
        Ok(Self {
            context,
            lock,
            snapshot: context.observe(&kernel, Need::Read, Need::Read)?,
            kernel,
            pools: Pools::default(),
            pool_version: None,
            counters: ChangeCounters::default(),
            flows_ended: UplinkSet::default(),
            is_idle: false,
            health: HealthRecords::new(),
        })
    }

    /// Carries out an intent that concerns no client.
    pub fn finish_uplinks(self, intent: Intent) -> Result<()> {
        let pools = self.pools.clone();
        self.finish(pools, vec![], intent)
    }

    /// Makes files and kernel what `pools` and the intent want, and reports. `client_changes` are those
    /// that led to `pools`.
    pub fn finish(
        mut self,
        pools: Pools,
        client_changes: Vec<ClientChange>,
        intent: Intent,
    ) -> Result<()> {
        if let Some(conflict) = plan::first_conflict(&self.snapshot) {
            bail!("nothing was changed: {conflict}");
        }
        let before = uplinks::current(&self.context.config, &self.snapshot);
        let status = self.decide(intent)?;
        let edit = PoolEdit { before: &self.pools, after: &pools, changes: &client_changes };
        let changes = self.plan(&status, edit)?;
        let mut report = Report { client_changes, ..Report::default() };
        report.commands = self.file_commands(&pools, &report);
        report.done = report.commands.len();
        self.is_idle = changes.is_empty() && report.is_empty();
        if self.lock.is_none() {
            return self.print_dry_run(&pools, intent, changes, &before, &status, report);
        }
        if !self.is_idle {
            // From here on, nothing is known to be correct.
            self.context.runtime.delete_fingerprint();
        }
        // A device that is absent may come later, or may be misspelt.
        report.tell_all_down = intent == Intent::RestoreAll && !self.is_idle;
        self.commit(pools, &report.commands)?;
        let result = self.carry_out(intent, changes, &before, status, &mut report);
        if result.is_err() {
            // What the files hold now is reported even if the kernel did not follow.
            report = Report { client_changes: report.client_changes, ..Report::default() };
        }
        report::print(self.context, report, "repaired")?;
        let events = result?;
        let context = self.context;
        // The lock is free before the admin's command runs.
        drop(self);
        if let Some(exec) = &context.config.hook {
            for failure in notify_hook::run(exec, &events) {
                print_error(failure);
            }
        }
        Ok(())
    }

    /// Applies the changes, ends flows, and updates records. Returns the events for the admin's hook.
    fn carry_out(
        &mut self,
        intent: Intent,
        changes: Vec<Change>,
        before: &GatewayStatus,
        status: GatewayStatus,
        report: &mut Report,
    ) -> Result<Vec<notify_hook::Event>> {
        let status = self.reconcile(intent, changes, status, report)?;
        report.describe_uplinks(self.context, before, &status);
        self.end_flows(before, &status, intent, report)?;
        let events = self.update_health(before, &status, intent)?;
        self.end_flows_after_failback(&status, report)?;
        self.flows_ended = plan::flows::still_cleared(self.flows_ended, &status, intent);
        self.write_fingerprint();
        Ok(events)
    }

    /// Applies changes, and observes again until there are none. If a change failed because the kernel
    /// changed meanwhile, the run plans again; a change that would be made again in the same way is an
    /// error. Returns the status in the end.
    fn reconcile(
        &mut self,
        intent: Intent,
        mut changes: Vec<Change>,
        mut status: GatewayStatus,
        report: &mut Report,
    ) -> Result<GatewayStatus> {
        for _ in 0..ROUNDS {
            if changes.is_empty() {
                return Ok(status);
            }
            let failure = self.apply(&changes, report).err();
            if let Err(error) = self.observe_again(failure.is_some()) {
                // If nothing can be read any more, the first failure says why.
                return Err(failure.map_or(error, |failure| failure.error));
            }
            status = self.decide(intent)?;
            let next = self.plan(&status, PoolEdit::none(&self.pools))?;
            if let Some(Failure { at, error }) = failure {
                if next.first() == changes.get(at) && !self.snapshot.devices_changed {
                    return Err(error);
                }
            }
            changes = next;
        }
        match changes.first() {
            None => Ok(status),
            Some(change) => bail!(
                "a change was reverted by another program: {}",
                shell::summary(change, self.protocol())
            ),
        }
    }

    fn decide(&self, intent: Intent) -> Result<GatewayStatus> {
        uplinks::decide(&self.context.config, &self.snapshot, intent)
    }

    fn plan(&self, status: &GatewayStatus, edit: PoolEdit) -> Result<Vec<Change>> {
        plan::changes(&self.context.config, &self.snapshot, status, edit)
    }

    /// What the commit does to the files. Where clients change, their own lines say more.
    fn file_commands(&self, pools: &Pools, report: &Report) -> Vec<String> {
        if report.client_changes.is_empty() || self.shows_commands() {
            self.context.pool_files.commands(&self.pools, pools)
        } else {
            vec![]
        }
    }

    /// Writes the pool files.
    fn commit(&mut self, pools: Pools, commands: &[String]) -> Result<()> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let files = &self.context.pool_files;
        if files.commit(lock, &self.pools, &pools)? {
            self.pool_version = Some(files.version()?);
        }
        self.pools = pools;
        self.print_steps(commands)
    }

    /// Observes the kernel after changes. After the changes of this run, a set with as many members as
    /// the pools have clients has the right ones, because the kernel acknowledged each member that was
    /// added or deleted. If a change failed, everything is read.
    fn observe_again(&mut self, has_failed: bool) -> Result<()> {
        let counters = self.kernel.change_counters();
        let (mut set, mut filter) = (Need::Read, Need::Read);
        if !has_failed {
            if counters.entries == Some(client_set::len(&self.context.config, &self.pools)) {
                set = Need::Unchanged;
            }
            if counters.generation.is_some() && counters.generation == self.counters.generation {
                filter = Need::Unchanged;
            }
        }
        self.snapshot = self.context.observe(&self.kernel, set, filter)?;
        if let Some(conflict) = plan::first_conflict(&self.snapshot) {
            bail!("{conflict}");
        }
        self.counters = counters;
        Ok(())
    }

    /// Records that all is correct, so that the next run need not read it again.
    fn write_fingerprint(&self) {
        let Some(version) = &self.pool_version else { return };
        if let Some(fingerprint) = Fingerprint::new(self.context, &self.counters, version) {
            Verified::new(fingerprint, self.flows_ended).write(self.context);
        }
    }
}

/// Takes the lock and finishes the commit of a run that was killed; not with `--dry-run`.
fn take_lock(context: &Context) -> Result<Option<Lock>> {
    if context.options.dry_run {
        return Ok(None);
    }
    let lock = context.pool_files.lock(Duration::from_secs(context.options.wait.into()))?;
    context.pool_files.recover(&lock)?;
    Ok(Some(lock))
}
