//! Makes the changes of a run one by one, and shows them as shell commands where somebody asked for
//! that.

use anyhow::{Error, Result, anyhow};

use super::Run;
use super::slice::Slice;
use crate::commands::report::{self, Report};
use crate::model::Family;
use crate::model::change::Change;
use crate::model::pools::Pools;
use crate::plan::uplinks::{GatewayStatus, Intent};
use crate::system::shell;

/// A change that failed: its place among the changes, and the error.
pub struct Failure {
    pub at: usize,
    pub error: Error,
}

impl Run<'_> {
    /// Makes the changes until one fails that clients cannot do without.
    pub fn apply(
        &self,
        slice: &Slice,
        changes: &[Change],
        report: &mut Report,
    ) -> Result<(), Failure> {
        for (at, change) in changes.iter().enumerate() {
            match self.apply_one(slice, change, report) {
                Err(error) if change.is_optional() => {
                    let _ = self.optional_error.set(self.without_part(change, &error));
                }
                Err(error) => return Err(Failure { at, error }),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// The error of a change that clients can do without, with what follows from it.
    fn without_part(&self, change: &Change, error: &Error) -> Error {
        if matches!(change, Change::SetSysctl { .. }) {
            return anyhow!("{error:#}; clients are served without it");
        }
        anyhow!(
            "{error:#}; clients are served without helpers until their modules are installed, or \
             helpers is removed in {}",
            self.context.config.path.display()
        )
    }

    pub fn apply_one(&self, slice: &Slice, change: &Change, report: &mut Report) -> Result<()> {
        slice.kernel.apply(change)?;
        report.done += change.count();
        if self.shows_commands() {
            let commands = shell::commands(change, slice.family(), self.protocol());
            self.print_steps(&commands);
            report.commands.extend(commands);
        }
        Ok(())
    }

    /// Whether commands are shown to anybody. There may be one for each client.
    pub fn shows_commands(&self) -> bool {
        let output = self.context.output;
        self.lock.is_none() || output.is_json() || output.is_verbose()
    }

    /// Shows steps with `--verbose`. A failure does not stop the run; it is told at the end.
    pub fn print_steps(&self, commands: &[String]) {
        if !self.context.output.is_verbose() {
            return;
        }
        for command in commands {
            if let Err(error) = self.context.output.step(command) {
                let _ = self.output_error.set(error);
            }
        }
    }

    pub fn protocol(&self) -> u8 {
        self.context.config.kernel_ids.protocol
    }

    pub fn commands(&self, family: Family, changes: &[Change]) -> Vec<String> {
        let commands = |change| shell::commands(change, family, self.protocol());
        changes.iter().flat_map(commands).collect()
    }

    /// Prints what the run would do.
    pub fn print_dry_run(
        &mut self,
        pools: &Pools,
        intent: Intent,
        changes: Vec<Vec<Change>>,
        before: &[GatewayStatus],
        status: &[GatewayStatus],
        mut report: Report,
    ) -> Result<()> {
        self.update_records(&status[0]);
        for (slice, changes) in self.slices.iter().zip(&changes) {
            report.commands.extend(self.commands(slice.family(), changes));
        }
        let mut flows = Vec::new();
        for (at, slice) in self.slices.iter().enumerate() {
            for ended in self.flows_to_end(slice, &before[at], &status[at], intent)? {
                flows.push((slice.family(), ended.change));
            }
        }
        for ended in self.flows_to_end_after_failback(pools, &status[0])? {
            flows.push((Family::Inet, ended.change));
        }
        for (family, change) in flows {
            report.commands.extend(self.commands(family, &[change]));
        }
        report::print_commands(self.context, report)
    }
}
