//! A run that changes things: take the lock, observe, plan, apply, and observe again until the plan is
//! empty. Pool files are written before the kernel follows.

use std::cell::OnceCell;

use anyhow::{Result, anyhow, bail};

use super::fingerprint::{Fingerprint, Verified};
use super::report::{self, Report};
use super::{Context, fail_with, print_error};
use crate::model::UplinkSet;
use crate::model::change::Change;
use crate::model::health::HealthRecords;
use crate::model::pools::Pools;
use crate::model::snapshot::{ChangeCounters, Conflict, Snapshot};
use crate::plan;
use crate::plan::assign::ClientChange;
use crate::plan::client_set::{self, PoolEdit};
use crate::plan::filter::Dependencies;
use crate::plan::uplinks::{self, GatewayStatus, Intent};
use crate::system::files::Lock;
use crate::system::{Kernel, Need, notify_hook, shell};

mod begin;
mod finish_uplinks;
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
    /// The first failure to show a step.
    output_error: OnceCell<anyhow::Error>,
    /// The first failure of a change that clients are served without too. Such changes are not tried
    /// again.
    optional_error: OnceCell<anyhow::Error>,
    /// What the pool files hold; nothing if they could not be read.
    pub pools: Pools,
    /// Why the pool files could not be read. Then no client is placed, but routing goes on.
    pool_error: Option<anyhow::Error>,
    /// The version of these files; `None` if they were not read.
    pool_version: Option<String>,
    /// The counters at the time of the snapshot.
    counters: ChangeCounters,
    /// Uplinks out of service whose flows an earlier run has ended.
    flows_ended: UplinkSet,
    /// The run has nothing to change, and nothing has changed since that earlier run.
    is_idle: bool,
    /// `flush` holds against hooks and timers, until a run creates the slice again.
    is_flushed: bool,
    /// The health records. [`Run::finish`] brings them up to date.
    pub health: HealthRecords,
}

impl Run<'_> {
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
        let edit = PoolEdit { after: &pools, changes: &client_changes, ..self.no_edit() };
        let mut changes = self.plan(&status, edit)?;
        let mut report = Report { client_changes, ..Report::default() };
        report.commands = self.file_commands(&pools, &report);
        report.done = report.commands.len();
        self.is_idle = changes.is_empty() && report.is_empty();
        if self.lock.is_none() {
            return self.print_dry_run(&pools, intent, changes, &before, &status, report);
        }
        if self.is_flushed {
            self.context.runtime.clear_flushed();
        }
        if !self.is_idle {
            // From here on, nothing is known to be correct.
            self.context.runtime.delete_fingerprint();
        }
        // A device that is absent may come later, or may be misspelt.
        report.tell_all_down = intent.is_restore_all() && !self.is_idle;
        let mut failures = Vec::new();
        if let Err(error) = self.commit(pools, &report.commands) {
            if !intent.is_restore_all() {
                return Err(error);
            }
            // Uplinks are restored even if the disk is full or read-only.
            changes = self.plan(&status, self.no_edit())?;
            report = Report { tell_all_down: report.tell_all_down, ..Report::default() };
            failures.push(error);
        }
        let result = self.carry_out(intent, changes, &before, status, &mut report, &mut failures);
        if result.is_err() {
            // What the files hold now is reported even if the kernel did not follow.
            report = Report { client_changes: report.client_changes, ..Report::default() };
        }
        let printed = report::print(self.context, report, "repaired");
        failures.extend(printed.err());
        failures.extend(self.output_error.take());
        failures.extend(self.optional_error.take());
        failures.extend(self.obstacles().iter().map(|it| anyhow!("{it}")));
        let context = self.context;
        // The lock is free before the admin's command runs.
        drop(self);
        match result {
            Ok(events) => run_hook(context, &events),
            Err(error) => failures.push(error),
        }
        fail_with(failures)
    }

    /// Applies the changes, ends flows, and updates records. Returns the events for the admin's hook.
    /// A failure after these are known is added to `failures`.
    fn carry_out(
        &mut self,
        intent: Intent,
        changes: Vec<Change>,
        before: &GatewayStatus,
        status: GatewayStatus,
        report: &mut Report,
        failures: &mut Vec<anyhow::Error>,
    ) -> Result<Vec<notify_hook::Event>> {
        let status = self.reconcile(intent, changes, status, report)?;
        self.write_last_gateways(&status);
        report.describe_uplinks(self.context, before, &status);
        self.end_flows(before, &status, intent, report)?;
        let events = self.update_health(before, &status, intent)?;
        failures.extend(self.end_flows_after_failback(&status, report).err());
        self.flows_ended =
            plan::flows::still_cleared(&self.context.config, self.flows_ended, &status, intent);
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
            let next = self.plan(&status, self.no_edit())?;
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

    /// The pools as they are.
    fn no_edit(&self) -> PoolEdit<'_> {
        PoolEdit { is_known: self.pool_error.is_none(), ..PoolEdit::none(&self.pools) }
    }

    fn plan(&self, status: &GatewayStatus, edit: PoolEdit) -> Result<Vec<Change>> {
        let mut changes = plan::changes(&self.context.config, &self.snapshot, status, edit)?;
        if self.optional_error.get().is_some() {
            changes.retain(|change| !change.is_optional());
        }
        Ok(changes)
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
        self.print_steps(commands);
        Ok(())
    }

    /// Observes the kernel after changes. After the changes of this run, a set with as many members as
    /// the pools have clients has the right ones, because the kernel acknowledged each member that was
    /// added or deleted. If a change failed, everything is read.
    fn observe_again(&mut self, has_failed: bool) -> Result<()> {
        let counters = self.kernel.change_counters();
        let (mut set, mut filter) = (Need::Read, Need::Read);
        if !has_failed && self.obstacles().is_empty() {
            if counters.entries == Some(client_set::len(&self.context.config, &self.pools)) {
                set = Need::Unchanged;
            }
            if counters.generation.is_some() && counters.generation == self.counters.generation {
                filter = Need::Unchanged;
            }
        }
        let depended_on = Dependencies::current(&self.context.config, &self.snapshot);
        let need = |found: &Snapshot| {
            // What was right before a device or multipath changed may be wrong now.
            let is_same = Dependencies::current(&self.context.config, found) == depended_on;
            [set, if is_same { filter } else { Need::Read }]
        };
        self.snapshot = self.context.observe_if(&self.kernel, need)?;
        if let Some(conflict) = plan::first_conflict(&self.snapshot) {
            bail!("{conflict}");
        }
        self.counters = counters;
        Ok(())
    }

    fn obstacles(&self) -> Vec<Conflict> {
        plan::obstacles(&self.context.config, &self.snapshot, &self.pools)
    }

    /// Records that all is correct, so that the next run need not read it again.
    fn write_fingerprint(&self) {
        let Some(version) = &self.pool_version else { return };
        if self.optional_error.get().is_some() || !self.obstacles().is_empty() {
            return;
        }
        if let Some(fingerprint) =
            Fingerprint::new(self.context, &self.counters, version, &self.snapshot)
        {
            Verified::new(fingerprint, self.flows_ended).write(self.context);
        }
    }
}

/// Runs the command of the admin, if there is one.
fn run_hook(context: &Context, events: &[notify_hook::Event]) {
    let Some(exec) = &context.config.hook else { return };
    let gateway = [
        ("WANPOOL_CONFIG", context.options.config.clone()),
        ("WANPOOL_STATE_DIR", context.options.state_dir.clone()),
        ("WANPOOL_RUN_DIR", context.runtime.path().to_owned()),
    ];
    for failure in notify_hook::run(exec, &gateway, events) {
        print_error(failure);
    }
}
