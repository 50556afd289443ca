//! The end of a run that is about uplinks. It goes on if the pool files cannot be read.

use anyhow::{Result, anyhow};

use super::Run;
use crate::commands::{fail_with, print_error};
use crate::plan::assign;
use crate::plan::uplinks::Intent;

impl Run<'_> {
    /// Carries out an intent that is about uplinks. If the pool files could not be read, this is
    /// told at the end. It is an error if the intent was to restore everything, the client set too.
    pub fn finish_uplinks(self, intent: Intent) -> Result<()> {
        let mut pools = self.pools.clone();
        let pool_error = self.pool_error.as_ref().map(|error| format!("{error:#}"));
        let mut client_changes = Vec::new();
        if intent.is_restore_all() && pool_error.is_none() {
            // An uplink may have been removed from the configuration, or a client excluded.
            client_changes = assign::apply_config(&self.context.config, &mut pools);
            assign::ensure_pools(&self.context.config, &mut pools);
        }
        let mut failures = Vec::new();
        match pool_error {
            Some(error) if intent.is_restore_all() => failures.push(without_placing(&error)),
            Some(error) => print_error(without_placing(&error)),
            None => {}
        }
        failures.extend(self.finish(pools, client_changes, intent).err());
        fail_with(failures)
    }
}

fn without_placing(pool_error: &str) -> anyhow::Error {
    anyhow!("{pool_error}; until this is corrected, clients are not assigned")
}
