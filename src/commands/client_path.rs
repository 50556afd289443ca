//! `pools CLIENT`: the path of a client's new connections to the Internet, step by step, as the kernel
//! has it now, and what is not as it should be.

use anyhow::{Error, Result};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Context, discovery, inet6};
use crate::config::Config;
use crate::error;
use crate::model::pools::Pools;
use crate::model::routing::RouteTarget;
use crate::model::snapshot::Snapshot;
use crate::model::{Client, DevName, Family, UplinkNo};
use crate::plan::client_path::{self, ClientPath, Comparison, Packet};
use crate::plan::uplinks::{self, GatewayStatus};
use crate::system::capabilities::{has_net_admin, has_net_raw};
use crate::system::{Kernel, Need};

#[derive(Serialize)]
struct Row {
    client: String,
    pool: Option<UplinkNo>,
    set: Option<String>,
    mark: String,
    /// The preference in JSON, the whole rule in text.
    rule: Option<Value>,
    table: Option<u32>,
    route: Option<String>,
    nexthop: Option<String>,
    device: Option<String>,
    nat: Option<String>,
    differs: Option<String>,
}

pub fn run(context: &Context, pools: &Pools, client: Client) -> Result<()> {
    let family = client.family();
    if !context.families().contains(&family) {
        let why = format!("{client} is an IPv6 address, and there is no slice of IPv6");
        let next = format!("set ipv6 = true in {}", context.config.path.display());
        return Err(error::Error::usage(why, next).into());
    }
    let config = context.config_of(family);
    let kernel = context.open_kernel_of(family)?;
    let need = |can_read| if can_read { Need::Read } else { Need::Skip };
    let can_read_set = has_net_admin();
    let filter = need(can_read_set && has_net_raw());
    let found = context.observe(&kernel, need(can_read_set), filter)?;
    let status = status(context, &found, family)?;
    let pool = pools.pool_of(client);
    let entry = found.set.get().map(|set| set.usable()?.mark_of(client.address()));
    // Without root, the pool files stand for the set.
    let mark = match entry {
        Some(entry) => entry,
        None => pool.map(|no| config.kernel_ids.pool_mark(no)),
    };
    let iif = lan_device(context, &kernel, &found, client);
    let mark = mark.map_or(0, |mark| mark.value);
    let packet = Packet { client, mark, iif: iif.as_ref() };
    let (path, refusal) = path_in_kernel(&kernel, &found, &packet)?;
    let wanted = client_path::wanted(config, &status, &packet);
    let devices = client_path::devices(&found.routing, &path);
    let comparison = Comparison {
        client,
        pools,
        status: &status,
        config,
        found: &path,
        wanted: &wanted,
        entry,
        refusal: refusal.map(|refusal| format!("{refusal:#}")),
    };
    context.output.record(&Row {
        client: client.to_string(),
        pool,
        set: entry.flatten().map(|mark| mark.to_string()),
        mark: format!("{:#x}", packet.mark),
        rule: path.rule.as_ref().map(|rule| {
            if context.output.is_json() { json!(rule.pref) } else { json!(rule.to_string()) }
        }),
        table: path.route.as_ref().map(|route| route.table),
        route: path.route.as_ref().map(ToString::to_string),
        nexthop: nexthop(&path),
        nat: nat(context, config, &found, &devices),
        device: context.output.list(&devices),
        differs: comparison.difference(),
    })
}

/// The uplinks over a family.
fn status(context: &Context, found: &Snapshot, family: Family) -> Result<GatewayStatus> {
    match family {
        Family::Inet => Ok(uplinks::current(&context.config, found)),
        Family::Inet6 => {
            let inet = context.observe_routing(&context.open_kernel()?)?;
            let inet = uplinks::current(&context.config, &inet);
            Ok(inet6::current_of(context, found, &inet))
        }
    }
}

/// The LAN device of a client: the one on which it was discovered, or else the first LAN device.
/// No client of IPv6 is discovered.
fn lan_device(
    context: &Context,
    kernel: &Kernel,
    found: &Snapshot,
    client: Client,
) -> Option<DevName> {
    let discovered = match client.family() {
        Family::Inet => discovery::discover(context, kernel, &found.devices, &[]),
        Family::Inet6 => Ok(vec![]),
    };
    let mut discovered = discovered.unwrap_or_default().into_iter();
    if let Some(neighbour) = discovered.find(|it| it.client == client) {
        return Some(neighbour.dev);
    }
    let mut names = found.devices.links.iter().map(|link| &link.name);
    names.find(|name| context.config.is_lan(name.as_str())).cloned()
}

/// The path that the kernel uses, and its refusal if it does not forward the packet for another reason
/// than a rule or a route of wanpool.
fn path_in_kernel(
    kernel: &Kernel,
    found: &Snapshot,
    packet: &Packet,
) -> Result<(ClientPath, Option<Error>)> {
    let from = packet.iif.and_then(|dev| found.devices.link(dev));
    match kernel.lookup(packet.client.address(), packet.mark, from, &found.devices.links) {
        Ok(Some(route)) => {
            let mut rules = kernel.foreign_rules()?;
            rules.extend_from_slice(&found.routing.rules);
            let path = client_path::by_route(&found.routing, &rules, packet, route);
            let path = match packet.client.family() {
                Family::Inet => path,
                Family::Inet6 => with_right_route(found, packet, path),
            };
            Ok((path, None))
        }
        Ok(None) => Ok((ClientPath::default(), None)),
        Err(refusal) => {
            let path = client_path::by_routing(&found.routing, packet);
            let is_ours = path.is_unreachable();
            Ok((path, if is_ours { None } else { Some(refusal) }))
        }
    }
}

/// Over IPv6, the kernel names any route that uses the nexthop: it keeps one for all. If the device is
/// the same, the path is the one by the rules and routes that were found.
fn with_right_route(found: &Snapshot, packet: &Packet, path: ClientPath) -> ClientPath {
    let of_slice = client_path::by_routing(&found.routing, packet);
    let devices = client_path::devices(&found.routing, &of_slice);
    let used = client_path::devices(&found.routing, &path);
    if used.iter().all(|dev| devices.contains(dev)) { of_slice } else { path }
}

fn nexthop(path: &ClientPath) -> Option<String> {
    match &path.route.as_ref()?.target {
        RouteTarget::Nexthop(id) => Some(format!("{id} {}", path.nexthop.as_ref()?)),
        _ => None,
    }
}

/// The addresses that servers see, where the uplinks masquerade.
fn nat(
    context: &Context,
    config: &Config,
    found: &Snapshot,
    devices: &[DevName],
) -> Option<String> {
    let mut addresses = Vec::new();
    for dev in devices {
        if client_path::is_masqueraded(config, found.filter.get(), dev) {
            addresses.extend(found.devices.addresses_of(dev).next().map(|own| own.local));
        }
    }
    let addresses = context.output.list(&addresses)?;
    Some(format!("masquerade to {addresses}"))
}
