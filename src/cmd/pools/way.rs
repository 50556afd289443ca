//! The way of one client's new connections to the wider Internet, step by step, as the kernel has
//! it now; and where that is not what the files say.

use anyhow::Result;
use serde_json::{Value, json};

use crate::cmd::{Context, clients};
use crate::kernel::privileges::{has_net_admin, has_net_raw};
use crate::kernel::{Kernel, Query};
use crate::model::{Client, DevName, Mark};
use crate::plan::routing::{self, Packet};
use crate::plan::service::{self, State};
use crate::pools::Pools;
use crate::state::{Chain, Nexthop, Observed, Route, Rule, Way};
use crate::step::{NexthopText, RouteText, RuleText};

pub fn show(context: &Context, pools: &Pools, client: Client) -> Result<()> {
    let kernel = Kernel::open()?;
    let privileged = has_net_admin();
    let query = Query { chains: privileged && has_net_raw(), ..context.query(privileged) };
    let found = context.observe(&kernel, &query)?;
    let entry = found.slice.set.as_ref().and_then(|set| set.entry(client.address()));
    let filed = pools.place(client).map(|no| context.config.numbers.pool_mark(no));
    // Without root the set cannot be read; the files then stand for it.
    let mark = if privileged { entry } else { filed };
    let mark = mark.map_or(0, |mark| mark.value);

    let heard = clients::heard(context, &kernel, &[]).unwrap_or_default();
    let behind = heard.iter().find(|neighbour| neighbour.client == client).map(|found| &found.dev);
    let iif = behind.or_else(|| first_lan_device(context, &found));
    let rule = routing::first_rule(&found.slice.rules, &Packet { mark, iif });
    let route = rule.and_then(|rule| routing::first_route(&found.slice.routes, rule));
    let from = iif.and_then(|dev| found.link(dev));
    let lookup = kernel.lookup(client.address(), mark, from, &found.links);

    let unreachable = route.is_some_and(|route| route.way == Way::Unreachable);
    let device = lookup.as_ref().ok().and_then(Option::as_ref).filter(|_| !unreachable);
    let differs = match (privileged, &lookup) {
        (true, _) if entry != filed => Some(said(entry, filed)),
        (_, Err(error)) if route.is_none() => Some(format!("{error:#}")),
        _ => off_its_uplink(context, pools, client, &found, device),
    };
    let fields = [
        ("client", json!(client.to_string())),
        ("pool", pools.place(client).map_or(Value::Null, |no| no.get().into())),
        ("set", text(entry)),
        ("mark", json!(format!("{mark:#x}"))),
        ("rule", rule.map_or(Value::Null, |rule| rule_value(context, rule))),
        ("table", route.map_or(Value::Null, |route| route.table.into())),
        ("route", text(route.map(RouteText))),
        ("nexthop", nexthop(&found, route)),
        ("device", text(device)),
        ("nat", nat(context, &found, device)),
        ("differs", text(differs)),
    ];
    context.output.record(&fields)
}

fn text(value: Option<impl ToString>) -> Value {
    value.map_or(Value::Null, |value| value.to_string().into())
}

/// Its preference; for people the rule itself.
fn rule_value(context: &Context, rule: &Rule) -> Value {
    match context.output.is_json() {
        true => rule.pref.into(),
        false => RuleText(rule).to_string().into(),
    }
}

fn said(entry: Option<Mark>, filed: Option<Mark>) -> String {
    let say = |mark: Option<Mark>| mark.map_or("nothing".to_owned(), |mark| mark.to_string());
    format!("the set says {}, the pool file {}: wanpool restore", say(entry), say(filed))
}

/// A client whose uplink is in service and whose packets leave by another device.
fn off_its_uplink(
    context: &Context,
    pools: &Pools,
    client: Client,
    found: &Observed,
    device: Option<&DevName>,
) -> Option<String> {
    let no = pools.place(client)?;
    let uplink = &context.config.uplinks.get(&no)?.dev;
    let services = service::as_found(&context.config, found);
    let state = services.uplinks[&no].state;
    (device != Some(uplink)).then(|| match state {
        State::Up => format!("its uplink {uplink} is up: see wanpool pools --check"),
        out => format!("its uplink {uplink} is {}", out.word()),
    })
}

fn nexthop(found: &Observed, route: Option<&Route>) -> Value {
    let Some(Way::Nexthop(id)) = route.map(|route| &route.way) else { return Value::Null };
    match found.slice.nexthops.get(id) {
        Some(nexthop @ (Nexthop::Device { .. } | Nexthop::Group(_))) => {
            format!("{id} {}", NexthopText(nexthop)).into()
        }
        _ => Value::Null,
    }
}

/// The address that the world sees, where the uplink masquerades.
fn nat(context: &Context, found: &Observed, device: Option<&DevName>) -> Value {
    let Some(dev) = device else { return Value::Null };
    let wanted = context.config.uplinks.values().any(|uplink| uplink.dev == *dev && uplink.nat);
    // Without root the chains cannot be read; the configuration then stands for them.
    let there = match found.slice.chains.get(&Chain::MASQUERADE) {
        Some(rules) => rules.iter().any(|rule| rule.starts_with(&format!("-o {dev} "))),
        None => wanted && !(has_net_admin() && has_net_raw()),
    };
    let address = found.addresses_of(dev).next().filter(|_| there);
    address.map_or(Value::Null, |own| format!("masquerade to {}", own.local).into())
}

/// The LAN device of a client that is not heard now: the first there is.
fn first_lan_device<'a>(context: &Context, found: &'a Observed) -> Option<&'a DevName> {
    let names = found.links.iter().map(|link| &link.name);
    names.into_iter().find(|name| context.config.is_lan(name.as_str()))
}
