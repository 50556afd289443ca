//! `pools`: all pools, one pool's clients, or the way of one client's packets. Reads only; without
//! root, the set is not seen.

use anyhow::Result;
use serde_json::{Value, json};

use super::change::has_net_admin;
use super::{Context, clients};
use crate::cli;
use crate::kernel::Kernel;
use crate::model::{Client, UplinkNo};
use crate::output::Row;
use crate::plan::routing::{self, Packet};
use crate::plan::service::{self, Services};
use crate::pools::Pools;
use crate::state::{Neighbour, Observed, Way};
use crate::step::RouteText;

const COLUMNS: [&str; 9] =
    ["pool", "uplink", "state", "carried_by", "fwmark", "table", "weight", "clients", "share"];
const MEMBER_COLUMNS: [&str; 4] = ["address", "lladdr", "dev", "state"];
const WAY_COLUMNS: [&str; 7] = ["client", "pool", "mark", "rule", "table", "route", "device"];

pub fn run(context: &Context, args: &cli::Pools) -> Result<()> {
    let pools = context.store.read()?;
    match args.of.as_deref() {
        None => all(context, &pools),
        Some(text) => match text.parse::<Client>() {
            Ok(client) => way(context, &pools, client),
            Err(_) => one(context, &pools, context.config.uplink(text)?),
        },
    }
}

fn all(context: &Context, pools: &Pools) -> Result<()> {
    let found = Kernel::open()?.observe(&context.query(false))?;
    let services = service::as_found(&context.config, &found);
    let rows = context.config.uplinks.keys().map(|&no| row(context, pools, &services, no));
    context.output.table(&COLUMNS, rows.collect())
}

fn row(context: &Context, pools: &Pools, services: &Services, no: UplinkNo) -> Row {
    let uplink = &context.config.uplinks[&no];
    let numbers = &context.config.numbers;
    let clients = pools.members(no).len();
    let all: usize = context.config.uplinks.keys().map(|&no| pools.members(no).len()).sum();
    // In percent, to one place.
    let share = if all == 0 { 0.0 } else { (clients * 1000) as f64 / all as f64 };
    vec![
        no.get().into(),
        uplink.dev.as_str().into(),
        services.uplinks[&no].state.word().into(),
        carried_by(context, services, no),
        format!("{:#x}", numbers.pool_mark(no).value).into(),
        numbers.pool_table(no).into(),
        uplink.weight.into(),
        clients.into(),
        (share.round() / 10.0).into(),
    ]
}

/// The devices that carry a pool now; null where nobody does.
fn carried_by(context: &Context, services: &Services, no: UplinkNo) -> Value {
    let carriers = services.carriers(no);
    let devices: Vec<&str> =
        carriers.iter().map(|no| context.config.uplinks[no].dev.as_str()).collect();
    match devices.is_empty() {
        true => Value::Null,
        false => devices.join(",").into(),
    }
}

fn one(context: &Context, pools: &Pools, no: UplinkNo) -> Result<()> {
    let kernel = Kernel::open()?;
    if context.output.is_json() {
        let found = kernel.observe(&context.query(false))?;
        let services = service::as_found(&context.config, &found);
        let mut columns = COLUMNS.to_vec();
        columns.push("members");
        let mut row = row(context, pools, &services, no);
        let members = pools.members(no).iter().map(Client::to_string);
        row.push(members.collect::<Vec<_>>().into());
        return context.output.table(&columns, vec![row]);
    }
    let heard = clients::heard(context, &kernel, &[]).unwrap_or_default();
    let rows = pools.members(no).iter().map(|&client| member_row(client, &heard));
    context.output.table(&MEMBER_COLUMNS, rows.collect())
}

/// `heard` is in order of address.
fn member_row(client: Client, heard: &[Neighbour]) -> Row {
    let at = heard.binary_search_by_key(&client, |neighbour| neighbour.client);
    let address: Value = client.to_string().into();
    match at {
        Ok(at) => {
            let Neighbour { lladdr, dev, state, .. } = &heard[at];
            vec![address, lladdr.as_str().into(), dev.as_str().into(), (*state).into()]
        }
        Err(_) => vec![address, Value::Null, Value::Null, Value::Null],
    }
}

/// The way of a client's new flow to the wider Internet, as the kernel has it now.
fn way(context: &Context, pools: &Pools, client: Client) -> Result<()> {
    let kernel = Kernel::open()?;
    let privileged = has_net_admin();
    let found = kernel.observe(&context.query(privileged))?;
    let mark = match &found.slice.set {
        Some(set) => set.mark(client.address()),
        None if privileged => 0,
        None => pools.place(client).map_or(0, |no| context.config.numbers.pool_mark(no).value),
    };
    let heard = clients::heard(context, &kernel, &[]).unwrap_or_default();
    let dev = heard.iter().find(|neighbour| neighbour.client == client).map(|found| &found.dev);
    let dev = dev.or_else(|| lan_device(context, &found));
    let packet = Packet { mark, iif: dev };
    let rule = routing::first_rule(&found.slice.rules, &packet);
    let route = rule.and_then(|rule| routing::first_route(&found.slice.routes, rule));
    let from = dev.and_then(|dev| found.link(dev));
    let device = kernel.lookup(client.address(), mark, from, &found.links);
    let route_text = match (route, &device) {
        (Some(route), _) => json!(RouteText(route).to_string()),
        (None, Err(error)) => json!(format!("{error:#}")),
        (None, Ok(_)) => Value::Null,
    };
    let device = match route {
        Some(route) if route.way == Way::Unreachable => Value::Null,
        _ => device.ok().flatten().map_or(Value::Null, |dev| dev.as_str().into()),
    };
    let row = vec![
        client.to_string().into(),
        pools.place(client).map_or(Value::Null, |no| no.get().into()),
        format!("{mark:#x}").into(),
        rule.map_or(Value::Null, |rule| rule.pref.into()),
        route.map_or(Value::Null, |route| route.table.into()),
        route_text,
        device,
    ];
    context.output.table(&WAY_COLUMNS, vec![row])
}

/// The LAN device of a client that is not heard now: the first there is.
fn lan_device<'a>(context: &Context, found: &'a Observed) -> Option<&'a crate::model::DevName> {
    let lan = |link: &&crate::state::Link| context.config.is_lan(link.name.as_str());
    found.links.iter().find(lan).map(|link| &link.name)
}
