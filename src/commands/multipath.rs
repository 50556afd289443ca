//! `multipath`: whether all other traffic uses all active uplinks.

use anyhow::Result;
use serde::Serialize;

use super::Context;
use super::transaction::{ReadScope, Run};
use crate::cli::{Multipath, MultipathAction};
use crate::plan::uplinks::{self, Intent};

#[derive(Serialize)]
struct Row {
    multipath: &'static str,
    uplinks: String,
}

pub fn run(context: &Context, args: &Multipath) -> Result<()> {
    let on = match args.action {
        MultipathAction::Show => return show(context),
        MultipathAction::On => true,
        MultipathAction::Off => false,
    };
    Run::begin_for_uplinks(context, "multipath", ReadScope::Changed)?
        .finish_uplinks(Intent::Multipath(on))
}

fn show(context: &Context) -> Result<()> {
    let found = context.observe_routing(&context.open_kernel()?)?;
    let status = uplinks::current(&context.config, &found);
    let multipath = if status.multipath { "on" } else { "off" };
    let uplinks: Vec<&str> = status.active().into_iter().map(|no| context.dev(no)).collect();
    context.output.table([Row { multipath, uplinks: uplinks.join(",") }].iter())
}
