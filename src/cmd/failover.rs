//! `failover`: one uplink out of service; its pool goes on by the others.

use anyhow::Result;

use super::Context;
use super::change::Run;
use crate::cli::Failover;
use crate::plan::service::Intent;

pub fn run(context: &Context, args: &Failover) -> Result<()> {
    let uplink = context.config.uplink(&args.uplink)?;
    let to = args.to.as_deref().map(|name| context.config.uplink(name)).transpose()?;
    let run = Run::begin(context, "failover")?;
    let pools = run.pools.clone();
    run.finish(pools, vec![], Intent::FailOver { uplink, to })
}
