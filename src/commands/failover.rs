//! `failover`: takes one uplink out of service; the other uplinks carry its pool. `--probe` is in
//! [`super::probe`].

use anyhow::Result;

use super::transaction::{ReadScope, Run};
use super::{Context, report};
use crate::cli::Failover;
use crate::error::Error;
use crate::plan::uplinks::Intent;

pub fn run(context: &Context, args: &Failover) -> Result<()> {
    if args.probe {
        return super::probe::run(context, args);
    }
    let [name] = &args.uplinks[..] else {
        return Err(Error::usage("failover", "one uplink at a time").into());
    };
    let Some(uplink) = context.uplink(name)? else {
        return report::print_nothing(context);
    };
    let to = args.to.as_deref().map(|name| context.config.uplink(name)).transpose()?;
    let intent = match to {
        None if context.options.hook => Intent::Lost { uplink },
        to => Intent::FailOver { uplink, to },
    };
    Run::begin_for_uplinks(context, "failover", ReadScope::Changed)?.finish_uplinks(intent)
}
