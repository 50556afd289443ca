//! `assign --prune`: which clients have left.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::transaction::Run;
use super::{discovery, print_error};
use crate::model::Client;
use crate::model::link::{LastHeard, Sighting};
use crate::model::pools::Pools;
use crate::plan::prune;
use crate::system::clock;

const WHAT: &str = "assign --prune";

/// Without an age, the clients that the kernel does not know any more; with an age, those that were not
/// heard for so long.
pub fn departed(
    run: &Run,
    age: Option<Duration>,
    pools: &Pools,
    found: &[Sighting],
    with_flows: &HashSet<IpAddr>,
) -> Result<Vec<Client>> {
    let (context, slice) = (run.context, run.inet());
    let (kernel, snapshot) = (&slice.kernel, &slice.snapshot);
    let (config, devices) = (&context.config, &snapshot.devices);
    prune::require_lan_up(config, devices).context(WHAT)?;
    let Some(age) = age else {
        let candidates = prune::candidates(config, devices, pools, found, with_flows);
        return discovery::departed(context, kernel, devices, candidates).context(WHAT);
    };
    let now = clock::since_boot();
    let known = context.runtime.last_heard();
    let heard = prune::last_heard(pools, found, with_flows, &known, now);
    let silent = prune::silent_for(config, devices, &heard, age, now);
    let listed: HashSet<Client> = found.iter().map(|sighting| sighting.client).collect();
    let (mut departed, unlisted): (Vec<_>, Vec<_>) =
        silent.into_iter().partition(|client| listed.contains(client));
    departed.extend(discovery::departed(context, kernel, devices, unlisted).context(WHAT)?);
    if !context.options.dry_run {
        remember(run, heard, &departed, &listed);
    }
    Ok(departed)
}

/// Keeps when clients were heard for the next run, and which ones are released although the kernel
/// still knows them. Without this memory, a client stays in its pool for longer.
fn remember(run: &Run, mut heard: LastHeard, departed: &[Client], listed: &HashSet<Client>) {
    let runtime = &run.context.runtime;
    let mut released = runtime.released();
    released.retain(|client, _| listed.contains(client) && !heard.contains_key(client));
    for client in departed {
        if let Some(last) = heard.remove(client).filter(|_| listed.contains(client)) {
            released.insert(*client, last);
        }
    }
    for written in [runtime.write_last_heard(&heard), runtime.write_released(&released)] {
        if let Err(error) = written {
            print_error(error);
        }
    }
}
