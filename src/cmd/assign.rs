//! `assign`: clients into pools, and the kernel after them. This is what cron runs.

use anyhow::{Context as _, Result, anyhow, bail};

use super::change::Run;
use super::{Context, clients};
use crate::cli::Assign;
use crate::model::{Client, UplinkNo};
use crate::plan::placement::{self, Change};
use crate::plan::service::Intent;
use crate::pools::Pools;
use crate::state::Neighbour;

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

    let run = Run::begin(context, "assign")?;
    let clients = match everyone {
        true => heard(context, &run)?,
        false => named_or_listed(context, &run, args, named)?,
    };
    let mut pools = run.pools.clone();
    let mut changes = placement::adopt_orphans(&context.config, &mut pools);
    changes.extend(edit(context, args, pool, &mut pools, &clients)?);
    placement::tidy(&context.config, &mut pools);
    run.finish(pools, changes, Intent::Keep)
}

fn heard(context: &Context, run: &Run) -> Result<Vec<Client>> {
    let neighbours = clients::heard(context, &run.kernel, &[]).context("assign")?;
    Ok(client_list(neighbours))
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
) -> Result<Vec<Client>> {
    if !args.release {
        let observed = run.kernel.devices(context.family)?;
        let refusal = |&client: &Client| clients::refusal(&context.config, &observed, client);
        if let Some(why) = named.iter().find_map(refusal) {
            bail!("assign: {why}");
        }
    }
    if let Some(file) = &args.from {
        named.extend(client_list(
            clients::listed(context, &run.kernel, file, &[]).context("assign")?,
        ));
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
    let elsewhere = |&&client: &&Client| context.config.pin(client).is_some_and(|pin| pin != pool);
    if let Some(client) = clients.iter().find(elsewhere) {
        let path = context.config.path.display();
        return Err(anyhow!("assign: {client}: pinned to another uplink in {path}"));
    }
    Ok(placement::put(pools, clients, pool))
}
