//! `scan`: who is heard behind the LAN devices. Needs no root, changes nothing.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Context, clients};
use crate::cli::Scan;
use crate::system::Kernel;
use crate::output::Row;
use crate::model::pools::Pools;
use crate::model::STATE::Neighbour;

const COLUMNS: [&str; 5] = ["address", "lladdr", "dev", "state", "pool"];

pub fn run(context: &Context, args: &Scan) -> Result<()> {
    let list = args.from.as_deref().map(clients::read_list).transpose().context("scan")?;
    let pools = context.store.read()?;
    let kernel = Kernel::open()?;
    let mut found = match list {
        None => clients::heard(context, &kernel, &args.dev),
        Some(list) => clients::listed(context, &kernel, list, &args.dev),
    }
    .context("scan")?;
    if args.new {
        found.retain(|neighbour| pools.place(neighbour.client).is_none());
    }
    if args.new && !context.output.is_json() {
        let addresses: Vec<String> =
            found.iter().map(|neighbour| neighbour.client.to_string()).collect();
        return context.output.lines(&addresses);
    }
    let rows = found.iter().map(|neighbour| row(neighbour, &pools));
    context.output.table(&COLUMNS, rows)
}

fn row(neighbour: &Neighbour, pools: &Pools) -> Row {
    let text = |text: &str| match text {
        "" => Value::Null,
        text => text.into(),
    };
    vec![
        neighbour.client.to_string().into(),
        if neighbour.lladdr.is_empty() { Value::Null } else { neighbour.lladdr.to_string().into() },
        text(neighbour.dev.as_str()),
        text(neighbour.state),
        pools.place(neighbour.client).map_or(Value::Null, |pool| pool.get().into()),
    ]
}
