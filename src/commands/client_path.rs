//! `pools CLIENT`: the path of one client's new connections to the wider Internet, step by step, as
//! the kernel has it now; and where that is not what the files say.

use anyhow::{Error, Result};
use serde_json::{Value, json};

use super::list;
use crate::commands::{Context, clients};
use crate::system::privileges::{has_net_admin, has_net_raw};
use crate::system::{Kernel, Query};
use crate::model::{Client, DevName, Mark};
use crate::plan::path::{self, Packet, Path};
use crate::plan::service::{self, Services, State};
use crate::model::pools::Pools;
use crate::model::STATE::{Chain, Nexthop, Observed, Route, Rule, RouteTarget};
use crate::model::change::{NexthopText, RouteText, RuleText};

pub fn show(context: &Context, pools: &Pools, client: Client) -> Result<()> {
    let kernel = Kernel::open()?;
    let privileged = has_net_admin();
    let sees_chains = privileged && has_net_raw();
    let query = Query { chains: sees_chains, ..context.query(privileged) };
    let found = context.observe(&kernel, &query)?;
    let services = service::as_found(&context.config, &found);
    let entry = found.slice.set.as_ref().and_then(|set| set.entry(client.address()));
    let filed = pools.place(client).map(|no| context.config.kernel_ids.pool_mark(no));
    // Without root the set cannot be read; the files then stand for it.
    let mark = if privileged { entry } else { filed };

    let heard = clients::heard(context, &kernel, &[]).unwrap_or_default();
    let behind = heard.iter().find(|neighbour| neighbour.client == client).map(|found| &found.dev);
    let iif = behind.or_else(|| first_lan_device(context, &found));
    let packet = Packet { client, mark: mark.map_or(0, |mark| mark.value), iif };
    let (path, refusal) = path_in_kernel(context, &kernel, &found, &packet)?;
    let wanted = path::wanted(&context.config, &services, &packet);
    let devices = path::devices(&found.slice, &path);
    let differs = if privileged && entry != filed {
        Some(set_against_file(entry, filed))
    } else if let Some(refusal) = refusal {
        Some(format!("the kernel does not forward: {refusal:#}"))
    } else if let Some(difference) = path::difference(&path, &wanted) {
        Some(format!("{difference}: see wanpool pools --check"))
    } else {
        uplink_out_of_service(context, pools, &services, client)
    };
    let fields = [
        ("client", json!(client.to_string())),
        ("pool", pools.place(client).map_or(Value::Null, |no| no.get().into())),
        ("set", text(entry)),
        ("mark", json!(format!("{:#x}", packet.mark))),
        ("rule", path.rule.as_ref().map_or(Value::Null, |rule| rule_value(context, rule))),
        ("table", path.route.as_ref().map_or(Value::Null, |route| route.table.into())),
        ("route", text(path.route.as_ref().map(RouteText))),
        ("nexthop", nexthop(&path)),
        ("device", list(context, &devices)),
        ("nat", nat(context, &found, sees_chains, &devices)),
        ("differs", text(differs)),
    ];
    context.output.record(&fields)
}

/// The path that the kernel takes; and its reason where it forwards the packet nowhere, unless it is
/// a rule or route of ours that says so.
fn path_in_kernel(
    context: &Context,
    kernel: &Kernel,
    found: &Observed,
    packet: &Packet,
) -> Result<(Path, Option<Error>)> {
    let from = packet.iif.and_then(|dev| found.link(dev));
    match kernel.lookup(packet.client.address(), packet.mark, from, &found.links) {
        Ok(Some(route)) => {
            let protocol = context.config.kernel_ids.protocol;
            let mut rules = kernel.foreign_rules(context.family, protocol)?;
            rules.extend_from_slice(&found.slice.rules);
            Ok((path::by_route(&found.slice, &rules, packet, route), None))
        }
        Ok(None) => Ok((Path::default(), None)),
        Err(refusal) => {
            let path = path::by_slice(&found.slice, packet);
            let is_ours = path.is_unreachable();
            Ok((path, if is_ours { None } else { Some(refusal) }))
        }
    }
}

fn text(value: Option<impl ToString>) -> Value {
    value.map_or(Value::Null, |value| value.to_string().into())
}

/// Its preference; for people the rule itself.
fn rule_value(context: &Context, rule: &Rule) -> Value {
    if context.output.is_json() { rule.pref.into() } else { RuleText(rule).to_string().into() }
}

fn set_against_file(entry: Option<Mark>, filed: Option<Mark>) -> String {
    let say = |mark: Option<Mark>| mark.map_or("nothing".to_owned(), |mark| mark.to_string());
    format!("the set says {}, the pool file {}: wanpool restore", say(entry), say(filed))
}

/// A client's path is as it should be, and yet not by its own uplink.
fn uplink_out_of_service(
    context: &Context,
    pools: &Pools,
    services: &Services,
    client: Client,
) -> Option<String> {
    let no = pools.place(client)?;
    let uplink = &context.config.uplinks.get(&no)?.dev;
    match services.uplinks[&no].state {
        State::Up => None,
        state => Some(format!("its uplink {uplink} is {}", state.word())),
    }
}

fn nexthop(path: &Path) -> Value {
    match (&path.nexthop, &path.route) {
        (Some(Nexthop::Other), _) => Value::Null,
        (Some(nexthop), Some(Route { way: RouteTarget::Nexthop(id), .. })) => {
            format!("{id} {}", NexthopText(nexthop)).into()
        }
        _ => Value::Null,
    }
}

/// The addresses that the world sees, where the uplinks masquerade.
fn nat(context: &Context, found: &Observed, sees_chains: bool, devices: &[DevName]) -> Value {
    let masquerades = |dev: &&DevName| match found.slice.chains.get(&Chain::MASQUERADE) {
        Some(rules) => rules.iter().any(|rule| rule.starts_with(&format!("-o {dev} "))),
        None if sees_chains => false,
        // Without root the chains cannot be read; the configuration then stands for them.
        None => context.config.uplinks.values().any(|uplink| uplink.dev == **dev && uplink.nat),
    };
    let of_device = |dev: &DevName| found.addresses_of(dev).next().map(|own| own.local);
    let seen: Vec<_> = devices.iter().filter(masquerades).filter_map(of_device).collect();
    match list(context, &seen) {
        Value::String(seen) => format!("masquerade to {seen}").into(),
        _ => Value::Null,
    }
}

/// The LAN device of a client that is not heard now: the first there is.
fn first_lan_device<'a>(context: &Context, found: &'a Observed) -> Option<&'a DevName> {
    let names = found.links.iter().map(|link| &link.name);
    names.into_iter().find(|name| context.config.is_lan(name.as_str()))
}
