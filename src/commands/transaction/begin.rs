//! The beginning of a run: the lock, the pool files, and a snapshot of the kernel.

use std::cell::OnceCell;
use std::iter;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::slice::Slice;
use super::{ReadScope, Run};
use crate::commands::fingerprint::Verified;
use crate::commands::{Context, inet6};
use crate::error::Error;
use crate::model::health::HealthRecords;
use crate::model::pools::Pools;
use crate::model::snapshot::{ChangeCounters, Snapshot};
use crate::model::{Family, UplinkSet};
use crate::plan;
use crate::system::files::Lock;
use crate::system::{Need, capabilities};

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
        let mut verified = None;
        let need = |counters: &ChangeCounters, found: &Snapshot| {
            if let (ReadScope::Changed, Some(version)) = (scope, &pool_version) {
                verified = Verified::read(context, counters, version, found);
            }
            if verified.is_some() { [Need::Unchanged; 2] } else { [Need::Read; 2] }
        };
        let inet = Slice::open(context, Family::Inet, need).context("nothing was changed")?;
        let is_absent = plan::is_absent(&inet.snapshot);
        // The generation of the packet filter, which the fingerprint has, is one for both families.
        let filter = if verified.is_some() { Need::Unchanged } else { Need::Read };
        let is_searched = scope == ReadScope::All;
        let inet6 = open_inet6(context, is_searched, [Need::Read, filter])
            .context("nothing was changed")?;
        let is_flushed = lock.is_some() && context.runtime.is_flushed();
        // A unit starts with a full restore.
        let may_create = !context.options.hook || scope == ReadScope::All;
        if is_flushed && !may_create && is_absent {
            return Err(Error::Flushed.into());
        }
        Ok(Self {
            pools,
            pool_error,
            pool_version,
            flows_ended: verified.map(|verified| verified.flows_ended()).unwrap_or_default(),
            health: context.runtime.health(),
            is_flushed,
            ..Self::new(context, lock, inet, inet6)
        })
    }

    /// For a command that has nothing to do with clients and must work even with a broken pool file.
    pub fn begin_without_pools(context: &'a Context, what: &str) -> Result<Self> {
        capabilities::require_net_admin(what)?;
        let lock = take_lock(context)?;
        let inet = Slice::open(context, Family::Inet, |_, _| [Need::Read; 2])?;
        let inet6 = open_inet6(context, true, [Need::Read; 2])?;
        Ok(Self::new(context, lock, inet, inet6))
    }

    /// A run that has read nothing but the kernel.
    fn new(
        context: &'a Context,
        lock: Option<Lock>,
        inet: Slice<'a>,
        inet6: Option<Slice<'a>>,
    ) -> Self {
        Self {
            context,
            lock,
            slices: iter::once(inet).chain(inet6).collect(),
            output_error: OnceCell::new(),
            optional_error: OnceCell::new(),
            pools: Pools::default(),
            pool_error: None,
            pool_version: None,
            flows_ended: UplinkSet::default(),
            is_idle: false,
            is_flushed: false,
            health: HealthRecords::new(),
        }
    }
}

/// The slice of IPv6, if the configuration wants it, or if it is searched and there is one.
fn open_inet6<'a>(
    context: &'a Context,
    is_searched: bool,
    need: [Need; 2],
) -> Result<Option<Slice<'a>>> {
    let is_wanted = context.families().contains(&Family::Inet6);
    if is_wanted || (is_searched && inet6::has_slice(context)?) {
        Slice::open(context, Family::Inet6, |_, _| need).map(Some)
    } else {
        Ok(None)
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
