//! `failover`: one uplink out of service; its pool goes on by the others. With `--probe` see
//! [`super::probe`].

use anyhow::Result;

use super::Context;
use super::change::Run;
use crate::cli::Failover;
use crate::plan::service::Intent;

pub fn run(context: &Context, args: &Failover) -> Result<()> {
    if args.probe {
        return super::probe::run(context, args);
    }
    let [name] = &args.uplinks[..] else {
        return Err(context.config.fault("failover", "one uplink at a time").into());
    };
    let Some(uplink) = context.uplink(name)? else { return Ok(()) };
    let to = args.to.as_deref().map(|name| context.config.uplink(name)).transpose()?;
    let intent = match (context.options.hook, to) {
        (true, None) => Intent::Lost { uplink },
        _ => Intent::FailOver { uplink, to },
    };
    let run = Run::begin(context, "failover")?;
    let pools = run.pools.clone();
    run.finish(pools, vec![], intent)
}
