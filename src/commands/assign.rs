//! `assign`: clients into pools, and the kernel after them. This is what cron runs.

use std::collections::HashSet;

use anyhow::{Context as _, Result, anyhow, bail};

use super::change::Run;
use super::{Context, clients};
use crate::cli::Assign;
use crate::config::Role;
use crate::model::{Client, UplinkNo};
use crate::plan::balance;
use crate::plan::placement::{self, Change};
use crate::plan::service::Intent;
use crate::model::pools::Pools;
use crate::model::STATE::Neighbour;

pub fn run(context: &Context, args: &Assign) -> Result<()> {
    // What was typed is checked before anything is locked or looked at.
    let named: Vec<Client> = args
        .clients
        .iter()
        .map(|text| text.parse().map_err(|why: String| context.config.fault("CLIENT", why)))
        .collect::<Result<_, _>>()?;
    let pool = args.pool.as_deref().map(|name| context.config.uplink(name)).transpose()?;
    let everyone = named.is_empty() && args.from.is_none();
    if everyone && (pool.is_some() || args.release) {
        let why = "--pool and --release say what to do with clients: name them, or use --from";
        return Err(context.config.fault("assign", why).into());
    }

    let list = args.from.as_deref().map(clients::read_list).transpose().context("assign")?;

    let run = Run::begin(context, "assign")?;
    let mut pools = run.pools.clone();
    let mut changes = placement::settle(&context.config, &mut pools);
    changes.extend(match everyone {
        true => all_heard(context, &run, args, &mut pools)?,
        false => {
            let clients = named_or_listed(context, &run, args, named, list)?;
            edit(context, args, pool, &mut pools, &clients)?
        }
    });
    placement::tidy(&context.config, &mut pools);
    run.finish(pools, changes, Intent::Keep)
}

/// Places all that are heard; before that releases those that have left, and after it levels the
/// pools, if that was asked for.
fn all_heard(
    context: &Context,
    run: &Run,
    args: &Assign,
    pools: &mut Pools,
) -> Result<Vec<Change>> {
    // Most of them are in a pool; only to prune, everyone counts.
    let is_wanted = |client| args.prune || pools.place(client).is_none();
    let heard = clients::heard_clients(context, &run.kernel, is_wanted).context("assign")?;
    let busy = match args.prune || args.rebalance {
        true => run.kernel.busy_clients(context.family, context.config.kernel_ids.uplink_mark_bit())?,
        false => HashSet::new(),
    };
    let mut changes = Vec::new();
    if args.prune {
        clients::require_live_lan(context, &run.kernel).context("assign --prune")?;
        let heard: HashSet<Client> = heard.iter().copied().collect();
        let unheard = |client: &Client| {
            !heard.contains(client)
                && !busy.contains(client)
                && context.config.pin(*client).is_none()
        };
        let unheard: Vec<Client> =
            pools.iter().flat_map(|(_, members)| members).copied().filter(unheard).collect();
        let gone = clients::gone(context, &run.kernel, unheard).context("assign --prune")?;
        changes.extend(placement::release(pools, &gone));
    }
    changes.extend(placement::place(&context.config, pools, &heard));
    if args.rebalance {
        changes.extend(balance::level(&context.config, pools, &busy));
    }
    Ok(changes)
}

fn client_list(neighbours: Vec<Neighbour>) -> Vec<Client> {
    neighbours.into_iter().map(|neighbour| neighbour.client).collect()
}

/// An address that was typed and can have no place is an error; in a file it is passed over, as
/// `scan` does.
fn named_or_listed(
    context: &Context,
    run: &Run,
    args: &Assign,
    mut named: Vec<Client>,
    list: Option<Vec<Neighbour>>,
) -> Result<Vec<Client>> {
    if !args.release {
        let observed = run.kernel.devices(context.family)?;
        let refusal = |&client: &Client| clients::refusal(&context.config, &observed, client);
        if let Some(why) = named.iter().find_map(refusal) {
            bail!("assign: {why}");
        }
    }
    if let Some(list) = list {
        let listed = clients::listed(context, &run.kernel, list, &[]).context("assign")?;
        named.extend(client_list(listed));
    }
    Ok(named)
}

fn edit(
    context: &Context,
    args: &Assign,
    pool: Option<UplinkNo>,
    pools: &mut Pools,
    clients: &[Client],
) -> Result<Vec<Change>> {
    if args.release {
        return Ok(placement::release(pools, clients));
    }
    let Some(pool) = pool else {
        return Ok(placement::place(&context.config, pools, clients));
    };
    if context.config.uplinks[&pool].role == Role::Backup {
        let unpinned = |client: &&Client| context.config.pin(**client).is_none();
        if let Some(client) = clients.iter().find(unpinned) {
            let why = "a backup has pinned clients only; set a pin in";
            bail!("assign: {client}: {why} {}", context.config.path.display());
        }
    }
    let elsewhere = |&&client: &&Client| context.config.pin(client).is_some_and(|pin| pin != pool);
    if let Some(client) = clients.iter().find(elsewhere) {
        let path = context.config.path.display();
        return Err(anyhow!("assign: {client}: pinned to another uplink in {path}"));
    }
    Ok(placement::put(pools, clients, pool))
}
