//! `multipath`: whether everything else goes over all uplinks in service.

use anyhow::Result;

use super::Context;
use super::change::Run;
use crate::cli::{Multipath, MultipathAction};
use crate::system::Kernel;
use crate::plan::service::{self, Intent};

const COLUMNS: [&str; 2] = ["multipath", "uplinks"];

pub fn run(context: &Context, args: &Multipath) -> Result<()> {
    let on = match args.action {
        MultipathAction::Show => return show(context),
        MultipathAction::On => true,
        MultipathAction::Off => false,
    };
    let run = Run::begin(context, "multipath")?;
    let pools = run.pools.clone();
    run.finish(pools, vec![], Intent::Multipath(on))
}

fn show(context: &Context) -> Result<()> {
    let found = Kernel::open()?.observe(&context.query(false))?;
    let services = service::as_found(&context.config, &found);
    let state = if services.multipath { "on" } else { "off" };
    let uplinks: Vec<&str> =
        services.serving().map(|no| context.config.uplinks[&no].dev.as_str()).collect();
    let row = vec![state.into(), uplinks.join(",").into()];
    context.output.table(&COLUMNS, [row].into_iter())
}
