//! `scan`: lists the clients on the LAN devices. Needs no root and changes nothing.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::Context;
use super::discovery::{self, Released};
use crate::cli::Scan;
use crate::model::link::Neighbour;
use crate::model::pools::Pools;
use crate::model::{LinkAddress, UplinkNo};
use crate::output::Text;
use crate::plan::clients;

#[derive(Serialize)]
struct Row<'a> {
    address: Text<IpAddr>,
    lladdr: Option<Text<LinkAddress>>,
    dev: Option<&'a str>,
    state: Option<&'a str>,
    pool: Option<UplinkNo>,
}

pub fn run(context: &Context, args: &Scan) -> Result<()> {
    let list = discovery::read_list(args.from.as_deref()).context("scan")?;
    let pools = context.pool_files.read()?;
    let kernel = context.open_kernel()?;
    let devices = kernel.devices()?;
    let mut found = match list {
        Some(list) => clients::from_list(&context.config, &devices, list, &args.dev),
        None => discovery::discover(context, &kernel, &devices, &args.dev).context("scan")?,
    };
    if args.new {
        let released = Released::read(context);
        found.retain(|neighbour| {
            pools.pool_of(neighbour.client).is_none() && released.is_new(&neighbour.sighting())
        });
    }
    if args.new && !context.output.is_json() {
        let addresses: Vec<String> =
            found.iter().map(|neighbour| neighbour.client.to_string()).collect();
        return context.output.lines(&addresses);
    }
    context.output.table(found.iter().map(|neighbour| row(neighbour, &pools)))
}

fn row<'a>(neighbour: &'a Neighbour, pools: &Pools) -> Row<'a> {
    let or_none = |text: &'a str| if text.is_empty() { None } else { Some(text) };
    Row {
        address: Text(neighbour.client.address()),
        lladdr: if neighbour.lladdr.is_empty() { None } else { Some(Text(neighbour.lladdr)) },
        dev: or_none(neighbour.dev.as_str()),
        state: or_none(neighbour.state),
        pool: pools.pool_of(neighbour.client),
    }
}
