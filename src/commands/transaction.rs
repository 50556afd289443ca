//! A run that changes things: take the lock, observe, plan, apply, and observe again until the plan is
//! empty. Pool files are written before the kernel follows.

use std::cell::OnceCell;

use anyhow::{Result, anyhow, bail};

use super::fingerprint::{Fingerprint, Verified};
use super::report::{self, Report};
use super::{Context, fail_with, print_error};
use crate::model::change::Change;
use crate::model::health::HealthRecords;
use crate::model::link::Devices;
use crate::model::pools::Pools;
use crate::model::snapshot::Conflict;
use crate::model::{Family, UplinkSet};
use crate::plan;
use crate::plan::assign::ClientChange;
use crate::plan::client_set::PoolEdit;
use crate::plan::uplinks::{GatewayStatus, Intent};
use crate::system::files::Lock;
use crate::system::notify_hook;

mod begin;
mod finish_uplinks;
mod flows;
mod reconcile;
mod records;
mod removal;
mod slice;
mod steps;

use reconcile::ROUNDS;
use slice::Slice;

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
    /// That of IPv4, and that of IPv6 if there is one.
    slices: Vec<Slice<'a>>,
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
        if let Some(conflict) = self.slices.iter().find_map(Slice::conflict) {
            bail!("nothing was changed: {conflict}");
        }
        let before: Vec<GatewayStatus> = self.slices.iter().map(Slice::current).collect();
        let status = self.decide(intent)?;
        let edit = PoolEdit { after: &pools, changes: &client_changes, ..self.no_edit() };
        let mut changes = self.plan(&status, edit)?;
        let mut report = Report { client_changes, ..Report::default() };
        report.commands = self.file_commands(&pools, &report);
        report.done = report.commands.len();
        self.is_idle = changes.iter().all(Vec::is_empty) && report.is_empty();
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
        changes: Vec<Vec<Change>>,
        before: &[GatewayStatus],
        status: Vec<GatewayStatus>,
        report: &mut Report,
        failures: &mut Vec<anyhow::Error>,
    ) -> Result<Vec<notify_hook::Event>> {
        let status = self.reconcile(intent, changes, status, report)?;
        let (before_inet, inet) = (&before[0], &status[0]);
        self.write_last_gateways(inet);
        report.describe_uplinks(self.context, before, &status);
        self.end_flows(before, &status, intent, report)?;
        let events = self.update_health(before_inet, inet, intent)?;
        failures.extend(self.end_flows_after_failback(inet, report).err());
        self.flows_ended =
            plan::flows::still_cleared(&self.context.config, self.flows_ended, inet, intent);
        self.write_fingerprint();
        Ok(events)
    }

    /// The devices, with their addresses of a family if it has a slice.
    pub fn devices_of(&self, family: Family) -> &Devices {
        let slice = self.slices.iter().find(|slice| slice.family() == family);
        &slice.unwrap_or(self.inet()).snapshot.devices
    }

    /// The slice of IPv4.
    pub fn inet(&self) -> &Slice<'_> {
        &self.slices[0]
    }

    fn decide(&self, intent: Intent) -> Result<Vec<GatewayStatus>> {
        let mut all = Vec::new();
        for slice in &self.slices {
            let mut status = slice.decide(self.intent_for(slice, intent))?;
            if let Some(inet) = all.first() {
                status.refuse_where_ipv6_is_missing(slice.config, inet);
            }
            all.push(status);
        }
        Ok(all)
    }

    /// The pools as they are.
    fn no_edit(&self) -> PoolEdit<'_> {
        PoolEdit { is_known: self.pool_error.is_none(), ..PoolEdit::none(&self.pools) }
    }

    /// What an intent means for a slice.
    fn intent_for(&self, slice: &Slice, intent: Intent) -> Intent {
        if self.context.covers(slice.family()) {
            intent.for_family(slice.family())
        } else {
            Intent::Keep
        }
    }

    fn plan(&self, status: &[GatewayStatus], edit: PoolEdit) -> Result<Vec<Vec<Change>>> {
        let mut all = Vec::new();
        for (slice, status) in self.slices.iter().zip(status) {
            let mut changes = slice.plan(status, edit)?;
            if self.optional_error.get().is_some() {
                changes.retain(|change| !change.is_optional());
            }
            all.push(changes);
        }
        Ok(all)
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

    fn obstacles(&self) -> Vec<Conflict> {
        self.slices.iter().flat_map(|slice| slice.obstacles(&self.pools)).collect()
    }

    /// Records that all is correct, so that the next run need not read it again.
    fn write_fingerprint(&self) {
        let Some(version) = &self.pool_version else { return };
        if self.optional_error.get().is_some() || !self.obstacles().is_empty() {
            return;
        }
        if let Some(fingerprint) =
            Fingerprint::new(self.context, &self.inet().counters, version, &self.inet().snapshot)
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
