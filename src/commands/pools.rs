//! `pools`: all pools, one pool's clients, or the path of one client's packets. Reads only; without
//! root, the set and the flows are not seen.

use std::collections::HashMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Context, Outcome, clients};
use crate::cli;
use crate::config::Role;
use crate::system::Kernel;
use crate::system::privileges::has_net_admin;
use crate::model::{Client, DevName, UplinkNo};
use crate::output::Row;
use crate::plan::service::{self, Services};
use crate::model::pools::Pools;
use crate::model::health::HealthRecords;
use crate::model::STATE::Neighbour;

mod check;
mod metrics;
mod path;
mod probed;

pub use probed::rtt;

const COLUMNS: [&str; 9] =
    ["pool", "uplink", "state", "carried_by", "fwmark", "table", "weight", "clients", "share"];
const MEMBER_COLUMNS: [&str; 6] = ["address", "lladdr", "dev", "state", "connections", "flows"];

pub fn run(context: &Context, args: &cli::Pools) -> Result<Outcome> {
    if args.check {
        return check::run(context);
    }
    let pools = context.store.read()?;
    match args.of.as_deref() {
        None if args.metrics && context.output.is_json() => {
            let why = "it has a form of its own; pools --json has the same figures";
            return Err(context.config.fault("--metrics", why).into());
        }
        None if args.metrics => metrics::print(context, &pools)?,
        None => all(context, &pools)?,
        Some(text) => match text.parse::<Client>() {
            Ok(client) => path::show(context, &pools, client)?,
            Err(_) => one(context, &pools, context.config.uplink(text)?)?,
        },
    }
    Ok(Outcome::Done)
}

fn all(context: &Context, pools: &Pools) -> Result<()> {
    let found = Kernel::open()?.observe(&context.query(false))?;
    let services = service::as_found(&context.config, &found);
    let records = probed::read(context);
    let uplinks = context.config.uplinks.keys();
    let rows = uplinks.map(|&no| row(context, pools, &services, &records, no));
    context.output.table(&columns(&records), rows)
}

/// What is remembered has columns only where anything is.
fn columns(records: &HealthRecords) -> Vec<&'static str> {
    let remembered = probed::COLUMNS.into_iter().filter(|_| !records.is_empty());
    COLUMNS.into_iter().chain(remembered).collect()
}

fn row(
    context: &Context,
    pools: &Pools,
    services: &Services,
    records: &HealthRecords,
    no: UplinkNo,
) -> Row {
    let uplink = &context.config.uplinks[&no];
    let numbers = &context.config.kernel_ids;
    let share = share(context, pools, no);
    // Beside the share of clients, for people, the share that the weight asks for.
    let share = match context.output.is_json() {
        true => json!(share),
        false => format!("{share:.1}/{:.1}", due(context, no)).into(),
    };
    let mut row = vec![
        no.get().into(),
        uplink.dev.as_str().into(),
        services.uplinks[&no].state.word().into(),
        carried_by(context, services, no),
        format!("{:#x}", ids.pool_mark(no).value).into(),
        ids.pool_table(no).into(),
        uplink.weight.into(),
        pools.members(no).len().into(),
        share,
    ];
    if !records.is_empty() {
        row.extend(probed::cells(services, records, no));
    }
    row
}

/// The part of all clients that a pool has: percent, to one place.
fn share(context: &Context, pools: &Pools, no: UplinkNo) -> f64 {
    let all = context.config.uplinks.keys().map(|&no| pools.members(no).len()).sum();
    percent(pools.members(no).len(), all)
}

/// The part that its weight asks for.
fn due(context: &Context, no: UplinkNo) -> f64 {
    let weight = |no: &UplinkNo| match &context.config.uplinks[no] {
        uplink if uplink.role == Role::Backup => 0,
        uplink => usize::from(uplink.weight),
    };
    percent(weight(&no), context.config.uplinks.keys().map(weight).sum())
}

fn percent(part: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { ((part * 1000) as f64 / all as f64).round() / 10.0 }
}

/// The devices that carry a pool now; null where nobody does.
fn carried_by(context: &Context, services: &Services, no: UplinkNo) -> Value {
    let carriers = services.carriers(no);
    let devices: Vec<&DevName> =
        carriers.iter().map(|no| &context.config.uplinks[no].dev).collect();
    list(context, &devices)
}

/// A comma between each; null if there is none. For people the first two and how many more, where a
/// line of a terminal would not hold them all.
fn list(context: &Context, items: &[impl ToString]) -> Value {
    let words: Vec<String> = items.iter().map(ToString::to_string).collect();
    match &words[..] {
        [] => Value::Null,
        [first, second, _, _, ..] if !context.output.is_json() => {
            format!("{first},{second},+{}", words.len() - 2).into()
        }
        all => all.join(",").into(),
    }
}

fn one(context: &Context, pools: &Pools, no: UplinkNo) -> Result<()> {
    let kernel = Kernel::open()?;
    if context.output.is_json() {
        let found = kernel.observe(&context.query(false))?;
        let services = service::as_found(&context.config, &found);
        let records = probed::read(context);
        let mut columns = columns(&records);
        columns.push("members");
        let mut row = row(context, pools, &services, &records, no);
        let members = pools.members(no).iter().map(Client::to_string);
        row.push(members.collect::<Vec<_>>().into());
        return context.output.table(&columns, [row].into_iter());
    }
    let members = Members {
        heard: clients::heard(context, &kernel, &[]).unwrap_or_default(),
        counted: match has_net_admin() {
            true => Some((
                kernel.connections_begun()?,
                kernel.flows_by_client(context.family, context.config.kernel_ids.uplink_mark_bit())?,
            )),
            false => None,
        },
    };
    let rows = pools.members(no).iter().map(|&client| members.row(client));
    context.output.table(&MEMBER_COLUMNS, rows)
}

/// What is known of clients beside their pool.
struct Members {
    /// In order of address.
    heard: Vec<Neighbour>,
    /// Connections begun, and live flows; only root sees them.
    counted: Option<(HashMap<Client, u64>, HashMap<Client, u64>)>,
}

impl Members {
    fn row(&self, client: Client) -> Row {
        let at = self.heard.binary_search_by_key(&client, |neighbour| neighbour.client);
        let [lladdr, dev, state]: [Value; 3] = match at.map(|at| &self.heard[at]) {
            Ok(known) => {
                [known.lladdr.to_string().into(), known.dev.as_str().into(), known.state.into()]
            }
            Err(_) => [Value::Null, Value::Null, Value::Null],
        };
        let [connections, flows] = match &self.counted {
            Some((begun, live)) => {
                [begun, live].map(|count| count.get(&client).copied().unwrap_or_default().into())
            }
            None => [Value::Null, Value::Null],
        };
        vec![client.to_string().into(), lladdr, dev, state, connections, flows]
    }
}
