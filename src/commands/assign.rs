//! `assign`: assigns clients to pools, and makes the kernel follow. This is what cron runs.

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};

use super::discovery::{self, Released};
use super::transaction::{ReadScope, Run};
use super::{Context, prune};
use crate::cli::Assign;
use crate::error::Error;
use crate::model::link::Neighbour;
use crate::model::pools::Pools;
use crate::model::{Client, UplinkNo};
use crate::plan::assign::{self, ClientChange};
use crate::plan::clients;
use crate::plan::rebalance::rebalance;
use crate::plan::uplinks::Intent;

pub fn run(context: &Context, args: &Assign) -> Result<()> {
    // What was typed is checked before anything is locked or read.
    let mut named = Vec::new();
    for text in &args.clients {
        named.push(text.parse().map_err(|why: String| Error::usage("CLIENT", why))?);
    }
    let pool = args.pool.as_deref().map(|name| context.config.uplink(name)).transpose()?;
    let is_everyone = named.is_empty() && args.from.is_none();
    if is_everyone && (pool.is_some() || args.release) {
        let why = "--pool and --release need clients: name them, or use --from";
        return Err(Error::usage("assign", why).into());
    }
    let list = discovery::read_list(args.from.as_deref()).context("assign")?;

    let run = Run::begin(context, "assign", ReadScope::Changed)?;
    let mut pools = run.pools.clone();
    let mut changes = assign::apply_config(&context.config, &mut pools);
    if is_everyone {
        changes.extend(assign_discovered(&run, args, &mut pools)?);
    } else {
        let clients = named_or_listed(&run, args, named, list)?;
        changes.extend(edit(context, args, pool, &mut pools, &clients).context("assign")?);
    }
    assign::ensure_pools(&context.config, &mut pools);
    run.finish(pools, changes, Intent::Keep)
}

/// Assigns all clients that are discovered, and those with a pin of their own. Before that, `--prune` releases those that have left, and
/// after it `--rebalance` levels the pools.
fn assign_discovered(run: &Run, args: &Assign, pools: &mut Pools) -> Result<Vec<ClientChange>> {
    let (context, slice) = (run.context, run.inet());
    let (kernel, snapshot) = (&slice.kernel, &slice.snapshot);
    let config = &context.config;
    let devices = &snapshot.devices;
    // Most clients are in a pool. They matter only for `--prune`.
    let is_wanted = |client| args.prune.is_some() || pools.pool_of(client).is_none();
    let found =
        discovery::discover_clients(context, kernel, devices, is_wanted).context("assign")?;
    let mut with_flows: HashSet<IpAddr> = HashSet::new();
    if args.prune.is_some() || args.rebalance {
        with_flows.extend(kernel.flows_by_address(config.kernel_ids.uplink_mark_bit())?.keys());
    }
    let mut changes = Vec::new();
    if let Some(age) = args.prune {
        let departed = prune::departed(run, age, pools, &found, &with_flows)?;
        changes.extend(assign::release(pools, &departed));
    }
    let mut new = Vec::new();
    if found.iter().any(|sighting| pools.pool_of(sighting.client).is_none()) {
        let released = Released::read(context);
        for sighting in &found {
            if released.is_new(sighting) {
                new.push(sighting.client);
            }
        }
    }
    new.extend(clients::unplaced_pins(config, devices, pools));
    changes.extend(assign::assign(config, pools, &new));
    if args.rebalance {
        changes.extend(rebalance(config, pools, &with_flows));
    }
    Ok(changes)
}

/// The clients that were typed, and those of the list. An address that was typed and cannot be a
/// client is an error; in a list it is ignored, as `scan` does.
fn named_or_listed(
    run: &Run,
    args: &Assign,
    mut named: Vec<Client>,
    list: Option<Vec<Neighbour>>,
) -> Result<Vec<Client>> {
    let config = &run.context.config;
    let devices = &run.inet().snapshot.devices;
    if run.context.options.hook {
        // A DHCP server also has hosts that are no clients.
        named.retain(|client| {
            clients::may_be_client(config, run.devices_of(client.family()), *client)
        });
    } else if !args.release {
        for &client in &named {
            let devices = run.devices_of(client.family());
            if let Some(why) = clients::refusal(config, devices, client) {
                bail!("assign: {why}");
            }
        }
    }
    let listed = clients::from_list(config, devices, list.unwrap_or_default(), &[]);
    named.extend(listed.into_iter().map(|neighbour| neighbour.client));
    Ok(named)
}

fn edit(
    context: &Context,
    args: &Assign,
    pool: Option<UplinkNo>,
    pools: &mut Pools,
    clients: &[Client],
) -> Result<Vec<ClientChange>> {
    if args.release {
        return Ok(assign::release(pools, clients));
    }
    match pool {
        Some(pool) => assign::move_to(&context.config, pools, clients, pool),
        None => Ok(assign::assign(&context.config, pools, clients)),
    }
}
