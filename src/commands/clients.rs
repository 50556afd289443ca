//! Who is there: the clients of the neighbour table, or of a file in their place.

use std::collections::HashSet;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use rustc_hash::FxHashSet;

use super::Context;
use crate::config::{Config, Lan};
use crate::files;
use crate::system::Kernel;
use crate::model::{Client, DevName};
use crate::model::STATE::{Link, Neighbour, Observed};

/// `ATF_COM` and `ATF_PERM` of the flags column of `/proc/net/arp` (`net/if_arp.h`).
const COMPLETE: u32 = 0x2;
const PERMANENT: u32 = 0x4;

/// The clients behind the LAN devices, or behind those of `only`, in order of address.
pub fn heard(context: &Context, kernel: &Kernel, only: &[String]) -> Result<Vec<Neighbour>> {
    heard_as(context, kernel, only, Some, |neighbour| neighbour.client)
}

/// The addresses alone of those that are asked for, in order.
pub fn heard_clients(
    context: &Context,
    kernel: &Kernel,
    is_wanted: impl Fn(Client) -> bool,
) -> Result<Vec<Client>> {
    let keep = |neighbour: Neighbour| Some(neighbour.client).filter(|&client| is_wanted(client));
    heard_as(context, kernel, &[], keep, |&client| client)
}

/// Only what is kept of a neighbour is ever held: there may be a hundred thousand.
fn heard_as<T>(
    context: &Context,
    kernel: &Kernel,
    only: &[String],
    keep: impl Fn(Neighbour) -> Option<T>,
    client: impl Fn(&T) -> Client,
) -> Result<Vec<T>> {
    let observed = kernel.devices(context.family)?;
    let links = lan_links(&context.config, &observed, only)?;
    let is_client = client_test(&context.config, &observed);
    let mut kept = kernel.neighbours(context.family, &links, |neighbour| {
        keep(neighbour).filter(|one| is_client(client(one)))
    })?;
    // Stable: of two devices the first counts.
    kept.sort_by_key(&client);
    // An address heard behind two devices is one client.
    kept.dedup_by_key(|one| client(one));
    Ok(kept)
}

/// Those of the clients that are behind no LAN device, each asked for by itself: a listing may lack
/// some.
pub fn gone(context: &Context, kernel: &Kernel, clients: Vec<Client>) -> Result<Vec<Client>> {
    let observed = kernel.devices(context.family)?;
    let links = lan_links(&context.config, &observed, &[])?;
    let mut gone = Vec::new();
    for client in clients {
        if !kernel.is_neighbour(context.family, &links, client)? {
            gone.push(client);
        }
    }
    Ok(gone)
}

/// What a file lists, in its order. `-` is stdin.
pub fn read_list(file: &Path) -> Result<Vec<Neighbour>> {
    parse(&read(file)?, &file.display().to_string())
}

/// Those of a list who are clients behind the LAN devices, or behind those of `only`.
pub fn listed(
    context: &Context,
    kernel: &Kernel,
    mut neighbours: Vec<Neighbour>,
    only: &[String],
) -> Result<Vec<Neighbour>> {
    let observed = kernel.devices(context.family)?;
    let behind = |neighbour: &Neighbour| {
        let dev = neighbour.dev.as_str();
        // A plain list names no device.
        dev.is_empty()
            || context.config.is_lan(dev) && (only.is_empty() || only.iter().any(|one| one == dev))
    };
    let is_client = client_test(&context.config, &observed);
    neighbours.retain(|neighbour| behind(neighbour) && is_client(neighbour.client));
    let mut seen = HashSet::new();
    neighbours.retain(|neighbour| seen.insert(neighbour.client));
    Ok(neighbours)
}

fn read(file: &Path) -> Result<String> {
    let read = match file.to_str() {
        Some("-") => files::read_list(std::io::stdin().lock()),
        _ => File::open(file).and_then(files::read_list),
    };
    let bytes = read.with_context(|| format!("reading {}", file.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The devices to look behind. One that is asked for must be there; of those in the configuration
/// one at least.
fn lan_links<'a>(
    config: &Config,
    observed: &'a Observed,
    only: &[String],
) -> Result<Vec<&'a Link>> {
    let find = |name: &str| observed.links.iter().find(|link| link.name.as_str() == name);
    if !only.is_empty() {
        let named = only.iter().map(|name| {
            let link =
                find(name).ok_or_else(|| anyhow!("{}: no such device", name.escape_debug()))?;
            match config.is_lan(name) {
                true => Ok(link),
                false => Err(config.no_lan(name).into()),
            }
        });
        return named.collect();
    }
    let links: Vec<&Link> =
        observed.links.iter().filter(|link| config.is_lan(link.name.as_str())).collect();
    if let (Lan::Devices(devices), true) = (&config.lan, links.is_empty()) {
        let names = devices.iter().map(DevName::as_str).collect::<Vec<_>>().join(", ");
        bail!("{names}: no such device; correct lan in {}", config.path.display());
    }
    Ok(links)
}

/// An error where a LAN device is down or gone: its clients cannot be told from those that left.
pub fn require_live_lan(context: &Context, kernel: &Kernel) -> Result<()> {
    let Lan::Devices(devices) = &context.config.lan else { return Ok(()) };
    let observed = kernel.devices(context.family)?;
    for dev in devices {
        if !observed.link(dev).is_some_and(|link| link.up && link.carrier) {
            bail!("{dev} is down: who left cannot be told from who is cut off");
        }
    }
    Ok(())
}

/// Leaves out the gateway's own addresses, broadcast addresses and what is excluded.
fn client_test(config: &Config, observed: &Observed) -> impl Fn(Client) -> bool {
    let own: FxHashSet<Ipv4Addr> = observed
        .addresses
        .iter()
        .flat_map(|address| {
            let edges = address.edges().into_iter().flatten();
            edges.chain([address.local]).chain(address.broadcast)
        })
        .collect();
    move |client| !own.contains(&client.address()) && !config.is_excluded(client)
}

/// Why an address that somebody typed can be nobody's place, if so.
pub fn refusal(config: &Config, observed: &Observed, client: Client) -> Option<String> {
    if config.is_excluded(client) {
        return Some(format!("{client}: excluded in {}", config.path.display()));
    }
    let address = client.address();
    observed.addresses.iter().find_map(|own| {
        let kind = match own.edges() {
            _ if own.local == address => "own",
            _ if own.broadcast == Some(address) => "broadcast",
            Some([network, _]) if network == address => "network's",
            Some([_, broadcast]) if broadcast == address => "broadcast",
            _ => return None,
        };
        Some(format!("{client}: the gateway's {kind} address, on {}", own.dev))
    })
}
