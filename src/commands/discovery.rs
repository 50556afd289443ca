//! Discovers clients: in the neighbour table, or in a list that the user gives.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::Context;
use crate::model::Client;
use crate::model::link::{Devices, LastHeard, Neighbour, Sighting};
use crate::plan::clients::{self, ClientTest};
use crate::plan::prune;
use crate::system::files::client_list;
use crate::system::{Kernel, clock};

/// The clients on the LAN devices, or on those of `only`, in order of address.
pub fn discover(
    context: &Context,
    kernel: &Kernel,
    devices: &Devices,
    only: &[String],
) -> Result<Vec<Neighbour>> {
    discover_map(context, kernel, devices, only, Some, |neighbour| neighbour.client)
}

/// The same, but only the clients that are wanted, and when they were heard.
pub fn discover_clients(
    context: &Context,
    kernel: &Kernel,
    devices: &Devices,
    is_wanted: impl Fn(Client) -> bool,
) -> Result<Vec<Sighting>> {
    let keep = |neighbour: Neighbour| {
        if is_wanted(neighbour.client) { Some(neighbour.sighting()) } else { None }
    };
    discover_map(context, kernel, devices, &[], keep, |sighting| sighting.client)
}

/// The clients that were released because they had been silent for long.
pub struct Released {
    last_heard: LastHeard,
    now: Duration,
}

impl Released {
    pub fn read(context: &Context) -> Self {
        Self { last_heard: context.runtime.released(), now: clock::since_boot() }
    }

    /// Whether a client that is in no pool is a new one. A released one is new when it is heard again.
    pub fn is_new(&self, sighting: &Sighting) -> bool {
        !prune::is_still_silent(&self.last_heard, sighting, self.now)
    }
}

/// Keeps of each neighbour only what `keep` returns, since there may be a hundred thousand.
fn discover_map<T>(
    context: &Context,
    kernel: &Kernel,
    devices: &Devices,
    only: &[String],
    keep: impl Fn(Neighbour) -> Option<T>,
    client: impl Fn(&T) -> Client,
) -> Result<Vec<T>> {
    let links = clients::lan_links(&context.config, devices, only)?;
    let test = ClientTest::new(&context.config, devices);
    let mut kept = kernel.neighbours(&links, |neighbour| {
        if !test.is_in_network(&neighbour) {
            return None;
        }
        let kept = keep(neighbour)?;
        if test.is_client(client(&kept)) { Some(kept) } else { None }
    })?;
    // The sort is stable, so a client that is on two devices is listed with the first of them.
    kept.sort_by_key(&client);
    kept.dedup_by_key(|kept| client(kept));
    Ok(kept)
}

/// Those of the clients that are on no LAN device. The kernel is asked for each of them alone,
/// because a dump of the neighbour table can lack entries.
pub fn departed(
    context: &Context,
    kernel: &Kernel,
    devices: &Devices,
    candidates: Vec<Client>,
) -> Result<Vec<Client>> {
    let links = clients::lan_links(&context.config, devices, &[])?;
    let mut departed = Vec::new();
    for client in candidates {
        if !kernel.is_neighbour(&links, client)? {
            departed.push(client);
        }
    }
    Ok(departed)
}

/// The entries of the list that `--from` names, if it is given.
pub fn read_list(file: Option<&Path>) -> Result<Option<Vec<Neighbour>>> {
    file.map(client_list::read).transpose()
}
