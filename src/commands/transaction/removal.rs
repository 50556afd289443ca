//! The removal of the whole slice.

use anyhow::{Result, anyhow, bail};

use super::{ROUNDS, Run};
use crate::commands::report::{self, Report};
use crate::commands::{fail_with, print_error};
use crate::error::{SET_IN_USE, errno};
use crate::plan;
use crate::system::Need;

impl Run<'_> {
    /// Removes the whole slice. Objects with wanpool's names that belong to others are left alone.
    pub fn remove(mut self) -> Result<()> {
        let mut report = Report::default();
        let mut failure = None;
        if self.lock.is_some() {
            // Failure is told, but the slice is removed.
            if let Err(error) = self.context.runtime.set_flushed() {
                print_error(error);
            }
        }
        for _ in 0..ROUNDS {
            let mut changes = Vec::new();
            for slice in &self.slices {
                changes.push(plan::removal(&slice.snapshot)?);
            }
            if self.lock.is_none() {
                for (slice, changes) in self.slices.iter().zip(&changes) {
                    report.commands.extend(self.commands(slice.family(), changes));
                }
                return report::print_commands(self.context, report);
            }
            if changes.iter().all(Vec::is_empty) {
                let mut failures = Vec::new();
                failures.extend(report::print(self.context, report, "removed").err());
                failures.extend(self.output_error.take());
                for slice in &self.slices {
                    let unreadable = plan::unreadable_tables(slice.family(), &slice.snapshot);
                    failures.extend(unreadable.iter().map(|it| anyhow!("{it}")));
                }
                return fail_with(failures);
            }
            failure = None;
            for (at, changes) in changes.iter().enumerate() {
                let failed = self.apply(&self.slices[at], changes, &mut report).err();
                failure = failure.or(failed);
                match self.context.observe(&self.slices[at].kernel, Need::Read, Need::Read) {
                    Ok(snapshot) => self.slices[at].snapshot = snapshot,
                    Err(error) => return Err(failure.map_or(error, |failure| failure.error)),
                }
            }
        }
        match failure {
            Some(failure) => Err(self.with_other_iptables(failure.error)),
            None => bail!(
                "removing the slice: objects reappear after removal; another program creates them"
            ),
        }
    }

    /// Names the other kind of iptables if the set is in use: nobody removed its rules before iptables
    /// was switched from one kind to the other.
    fn with_other_iptables(&self, error: anyhow::Error) -> anyhow::Error {
        match self.inet().kernel.other_iptables() {
            Some(other) if errno(&error) == Some(SET_IN_USE) => anyhow!(
                "{error:#}: {other} has rules too; switch to {other}, run wanpool flush, and switch \
                 back (update-alternatives --config iptables)"
            ),
            _ => error,
        }
    }
}
