//! `restore`: everything as configuration and pool files say, or one uplink back in service.

use anyhow::Result;

use super::Context;
use super::change::Run;
use crate::cli::Restore;
use crate::plan::placement;
use crate::plan::service::Intent;

pub fn run(context: &Context, args: &Restore) -> Result<()> {
    let intent = match &args.uplink {
        None => Intent::RestoreAll,
        Some(name) => match (context.uplink(name)?, args.via) {
            (None, _) => return Ok(()),
            (Some(uplink), via) if context.options.hook => Intent::Returned { uplink, via },
            (Some(uplink), via) => Intent::Restore { uplink, via },
        },
    };
    let run = Run::begin(context, "restore")?;
    let mut pools = run.pools.clone();
    placement::tidy(&context.config, &mut pools);
    run.finish(pools, vec![], intent)
}
