//! The heart of a run: apply, observe and plan again until nothing differs.

use anyhow::{Result, bail};

use super::Run;
use super::steps::Failure;
use crate::commands::report::Report;
use crate::model::change::Change;
use crate::plan::uplinks::{GatewayStatus, Intent};
use crate::system::shell;

/// How often a run plans again because the kernel changed meanwhile (a device came or went).
pub const ROUNDS: usize = 4;

impl Run<'_> {
    /// Applies changes, and observes again until there are none. If a change failed because the kernel
    /// changed meanwhile, the run plans again; a change that would be made again in the same way is an
    /// error. Returns the status in the end.
    pub fn reconcile(
        &mut self,
        intent: Intent,
        mut changes: Vec<Vec<Change>>,
        mut status: Vec<GatewayStatus>,
        report: &mut Report,
    ) -> Result<Vec<GatewayStatus>> {
        for _ in 0..ROUNDS {
            if changes.iter().all(Vec::is_empty) {
                return Ok(status);
            }
            let mut failures = Vec::new();
            for (at, changes) in changes.iter().enumerate() {
                let failure = self.apply(&self.slices[at], changes, report).err();
                if !changes.is_empty() {
                    let observed = self.slices[at].observe_again(&self.pools, failure.is_some());
                    if let Err(error) = observed {
                        // If nothing can be read any more, the first failure says why.
                        return Err(failure.map_or(error, |failure| failure.error));
                    }
                }
                failures.push(failure);
            }
            status = self.decide(intent)?;
            let next = self.plan(&status, self.no_edit())?;
            for (at, failure) in failures.into_iter().enumerate() {
                let Some(Failure { at: failed, error }) = failure else { continue };
                let is_same = next[at].first() == changes[at].get(failed);
                if is_same && !self.slices[at].snapshot.devices_changed {
                    return Err(error);
                }
            }
            changes = next;
        }
        for (slice, changes) in self.slices.iter().zip(&changes) {
            if let Some(change) = changes.first() {
                bail!(
                    "a change was reverted by another program: {}",
                    shell::summary(change, slice.family(), self.protocol())
                );
            }
        }
        Ok(status)
    }
}
