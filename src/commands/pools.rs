//! `pools`: all pools, or the clients of one pool. Reads only; without root, the client set and the
//! flows cannot be read.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use super::health_columns::{self, HealthColumns};
use super::{Context, Outcome, check, client_path, discovery, inet6, metrics, name_servers};
use crate::cli;
use crate::error::Error;
use crate::model::health::HealthRecords;
use crate::model::link::Neighbour;
use crate::model::pools::Pools;
use crate::model::uplink::State;
use crate::model::{Client, LinkAddress, UplinkNo};
use crate::output::Text;
use crate::plan::shares;
use crate::plan::uplinks::{self, GatewayStatus};
use crate::system::Kernel;
use crate::system::capabilities::has_net_admin;

/// A pool.
#[derive(Serialize)]
struct Row<'a> {
    pool: UplinkNo,
    uplink: &'a str,
    state: &'static str,
    carried_by: Option<String>,
    #[serde(flatten)]
    inet6: Option<Inet6Columns>,
    fwmark: String,
    table: u32,
    weight: u8,
    /// Nothing, as the share, if the pool files cannot be read.
    clients: Option<usize>,
    /// In text, the share that the weight asks for stands behind it.
    share: Value,
    #[serde(flatten)]
    health: Option<HealthColumns>,
}

/// The same over IPv6, if there is a slice of it.
#[derive(Serialize)]
struct Inet6Columns {
    /// `None` if the uplink is not used for IPv6.
    state6: Option<&'static str>,
    /// In JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    carried_by6: Option<Option<String>>,
}

/// A pool with its clients, in JSON.
#[derive(Serialize)]
struct RowWithMembers<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    members: Vec<Text<IpAddr>>,
}

/// A client of one pool.
#[derive(Serialize)]
struct Member<'a> {
    address: Text<IpAddr>,
    lladdr: Option<Text<LinkAddress>>,
    dev: Option<&'a str>,
    state: Option<&'a str>,
    connections: Option<u64>,
    flows: Option<u64>,
}

pub fn run(context: &Context, args: &cli::Pools) -> Result<Outcome> {
    if args.check {
        return check::run(context);
    }
    if args.metrics && context.output.is_json() {
        let why = "metrics have a format of their own; pools --json has the same values";
        return Err(Error::usage("--metrics", why).into());
    }
    if args.dns {
        name_servers::run(context)?;
        return Ok(Outcome::Done);
    }
    let pools = context.pool_files.read();
    if args.metrics {
        metrics::run(context, &pools?)?;
        return Ok(Outcome::Done);
    }
    match args.of.as_deref() {
        None => {
            all(context, pools.as_ref().ok())?;
            pools?;
        }
        Some(text) => match text.parse::<Client>() {
            Ok(client) => client_path::run(context, &pools?, client)?,
            Err(_) => one(context, &pools?, context.config.uplink(text)?)?,
        },
    }
    Ok(Outcome::Done)
}

/// The state of the uplinks is shown even if the pool files cannot be read.
fn all(context: &Context, pools: Option<&Pools>) -> Result<()> {
    let families = Families::read(context, &context.open_kernel()?)?;
    let records = health_columns::read(context);
    let mut rows = Vec::new();
    for &no in context.config.uplinks.keys() {
        rows.extend(row(context, pools, &families, &records, no));
    }
    context.output.table(rows.iter())
}

/// The uplinks over each family.
struct Families {
    inet: GatewayStatus,
    inet6: Option<GatewayStatus>,
}

impl Families {
    fn read(context: &Context, kernel: &Kernel) -> Result<Self> {
        let inet = uplinks::current(&context.config, &context.observe_routing(kernel)?);
        Ok(Self { inet6: inet6::current(context, &inet)?, inet })
    }
}

fn row<'a>(
    context: &'a Context,
    pools: Option<&Pools>,
    families: &Families,
    records: &HealthRecords,
    no: UplinkNo,
) -> Option<Row<'a>> {
    let config = &context.config;
    let uplink = config.uplinks.get(&no)?;
    let share = match pools.map(|pools| shares::actual(config, pools, no)) {
        None => Value::Null,
        Some(share) if context.output.is_json() => json!(share),
        Some(share) => json!(format!("{share:.1}/{:.1}", shares::due(config, no))),
    };
    let status = &families.inet;
    let carriers = |status: &GatewayStatus| {
        context.output.list(status.active_uplinks(no).into_iter().map(|no| context.dev(no)))
    };
    let inet6 = families.inet6.as_ref().map(|status| Inet6Columns {
        state6: status.state(no).filter(|_| uplink.inet6.is_used).map(State::word),
        carried_by6: context.output.is_json().then(|| carriers(status)),
    });
    Some(Row {
        pool: no,
        uplink: uplink.dev.as_str(),
        state: status.state(no)?.word(),
        carried_by: carriers(status),
        inet6,
        fwmark: format!("{:#x}", config.kernel_ids.pool_mark(no).value),
        table: config.kernel_ids.pool_table(no),
        weight: uplink.weight,
        clients: pools.map(|pools| pools.members(no).len()),
        share,
        health: health_columns::columns(status, records, no),
    })
}

fn one(context: &Context, pools: &Pools, no: UplinkNo) -> Result<()> {
    let kernel = context.open_kernel()?;
    let members = pools.members(no);
    if context.output.is_json() {
        let families = Families::read(context, &kernel)?;
        let records = health_columns::read(context);
        let Some(row) = row(context, Some(pools), &families, &records, no) else { return Ok(()) };
        let members = members.iter().map(|client| Text(client.address())).collect();
        return context.output.record(&RowWithMembers { row, members });
    }
    let known = Known::read(context, &kernel)?;
    context.output.table(members.iter().map(|&client| known.member(client)))
}

/// What is known of clients beside their pool.
struct Known {
    /// In order of address.
    neighbours: Vec<Neighbour>,
    counters: Option<Counters>,
}

/// What only root can read, over both families.
#[derive(Default)]
struct Counters {
    connections_begun: HashMap<IpAddr, u64>,
    live_flows: HashMap<IpAddr, u64>,
}

impl Counters {
    fn read(context: &Context) -> Result<Self> {
        let mark = context.config.kernel_ids.uplink_mark_bit();
        let mut counters = Self::default();
        for &family in context.families() {
            let kernel = context.open_kernel_of(family)?;
            counters.connections_begun.extend(kernel.connections_begun()?);
            counters.live_flows.extend(kernel.flows_by_address(mark)?);
        }
        Ok(counters)
    }
}

impl Known {
    fn read(context: &Context, kernel: &Kernel) -> Result<Self> {
        let devices = kernel.devices()?;
        // First, so that the buffers of the neighbour dump and the counters need no memory together.
        let neighbours = discovery::discover(context, kernel, &devices, &[]).unwrap_or_default();
        let counters = if has_net_admin() { Some(Counters::read(context)?) } else { None };
        Ok(Self { neighbours, counters })
    }

    fn member(&self, client: Client) -> Member<'_> {
        let address = client.address();
        let at = self.neighbours.binary_search_by_key(&client, |neighbour| neighbour.client);
        let neighbour = at.ok().map(|at| &self.neighbours[at]);
        let count = |counts: &HashMap<IpAddr, u64>| counts.get(&address).copied().unwrap_or(0);
        let counters = self.counters.as_ref();
        Member {
            address: Text(address),
            lladdr: neighbour.map(|neighbour| Text(neighbour.lladdr)),
            dev: neighbour.map(|neighbour| neighbour.dev.as_str()),
            state: neighbour.map(|neighbour| neighbour.state),
            connections: counters.map(|counters| count(&counters.connections_begun)),
            flows: counters.map(|counters| count(&counters.live_flows)),
        }
    }
}
