//! The beginning of a run: the lock, the pool files, and a snapshot of the kernel.

use std::cell::OnceCell;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{ReadScope, Run};
use crate::commands::Context;
use crate::commands::fingerprint::Verified;
use crate::error::Error;
use crate::model::UplinkSet;
use crate::model::health::HealthRecords;
use crate::model::pools::Pools;
use crate::model::snapshot::{ChangeCounters, Snapshot};
use crate::plan;
use crate::system::files::Lock;
use crate::system::{Kernel, Need, capabilities};

impl<'a> Run<'a> {
    /// For a command that places clients. `what` is the command, for errors.
    pub fn begin(context: &'a Context, what: &str, scope: ReadScope) -> Result<Self> {
        let mut run = Self::begin_for_uplinks(context, what, scope)?;
        match run.pool_error.take() {
            Some(error) => Err(error),
            None => Ok(run),
        }
    }

    /// For a command that is about uplinks. It goes on if the pool files cannot be read.
    pub fn begin_for_uplinks(context: &'a Context, what: &str, scope: ReadScope) -> Result<Self> {
        capabilities::require_net_admin(what)?;
        let lock = take_lock(context)?;
        let (pool_version, pools, pool_error) = match read_pools(context, lock.as_ref()) {
            Ok((version, pools)) => (Some(version), pools, None),
            Err(error) => (None, Pools::default(), Some(error)),
        };
        let kernel = context.open_kernel()?;
        // Like the version of the pool files, the counters are read before what they tell about.
        let counters = kernel.change_counters();
        let mut verified = None;
        let need = |found: &Snapshot| {
            if let (ReadScope::Changed, Some(version)) = (scope, &pool_version) {
                verified = Verified::read(context, &counters, version, found);
            }
            if verified.is_some() { [Need::Unchanged; 2] } else { [Need::Read; 2] }
        };
        let snapshot = context.observe_if(&kernel, need).context("nothing was changed")?;
        let is_flushed = lock.is_some() && context.runtime.is_flushed();
        // A unit starts with a full restore.
        let may_create = !context.options.hook || scope == ReadScope::All;
        if is_flushed && !may_create && plan::is_absent(&snapshot) {
            return Err(Error::Flushed.into());
        }
        Ok(Self {
            pools,
            pool_error,
            pool_version,
            counters,
            flows_ended: verified.map(|verified| verified.flows_ended()).unwrap_or_default(),
            health: context.runtime.health(),
            is_flushed,
            ..Self::new(context, lock, kernel, snapshot)
        })
    }

    /// For a command that has nothing to do with clients and must work even with a broken pool file.
    pub fn begin_without_pools(context: &'a Context, what: &str) -> Result<Self> {
        capabilities::require_net_admin(what)?;
        let lock = take_lock(context)?;
        let kernel = context.open_kernel()?;
        let snapshot = context.observe(&kernel, Need::Read, Need::Read)?;
        Ok(Self::new(context, lock, kernel, snapshot))
    }

    /// A run that has read nothing but the kernel.
    fn new(context: &'a Context, lock: Option<Lock>, kernel: Kernel, snapshot: Snapshot) -> Self {
        Self {
            context,
            lock,
            kernel,
            snapshot,
            output_error: OnceCell::new(),
            optional_error: OnceCell::new(),
            pools: Pools::default(),
            pool_error: None,
            pool_version: None,
            counters: ChangeCounters::default(),
            flows_ended: UplinkSet::default(),
            is_idle: false,
            is_flushed: false,
            health: HealthRecords::new(),
        }
    }
}

fn take_lock(context: &Context) -> Result<Option<Lock>> {
    // A dry run writes nothing.
    if context.options.dry_run {
        return Ok(None);
    }
    let wait = Duration::from_secs(context.options.wait.into());
    Lock::take(&context.pool_files, &context.runtime, wait).map(Some)
}

/// Finishes the commit of a run that was killed, and reads the pool files.
fn read_pools(context: &Context, lock: Option<&Lock>) -> Result<(String, Pools)> {
    if let Some(lock) = lock {
        context.pool_files.recover(lock)?;
    }
    // The version is read first: if a file is edited meanwhile, the old version is recorded, and the
    // next run sees that.
    let version = context.pool_files.version()?;
    Ok((version, context.pool_files.read()?))
}
