//! `pools --dns`: the name servers of each uplink in service.

use std::net::IpAddr;

use anyhow::Result;
use serde::Serialize;

use super::Context;
use crate::config::{NameServers, Uplink};
use crate::model::snapshot::Snapshot;
use crate::output::Text;
use crate::plan::uplinks::{self, GatewayStatus};

#[derive(Serialize)]
struct Row<'a> {
    uplink: &'a str,
    server: Text<IpAddr>,
}

pub fn run(context: &Context) -> Result<()> {
    let found = context.observe_routing(&context.open_kernel()?)?;
    let status = uplinks::current(&context.config, &found);
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for no in status.up() {
        let uplink = &context.config.uplinks[&no];
        for server in servers(context, &found, &status, uplink) {
            lines.push(format!("server={server}@{}", uplink.dev));
            rows.push(Row { uplink: uplink.dev.as_str(), server: Text(server) });
        }
    }
    if context.output.is_json() {
        context.output.json(&rows)
    } else {
        // A servers-file of dnsmasq.
        context.output.lines(&lines)
    }
}

fn servers(
    context: &Context,
    found: &Snapshot,
    status: &GatewayStatus,
    uplink: &Uplink,
) -> Vec<IpAddr> {
    let via = || status.uplinks.get(&uplink.no).and_then(|status| status.via);
    match &uplink.dns {
        NameServers::Configured(servers) => servers.clone(),
        NameServers::Peer => found.devices.peer_of(&uplink.dev).or_else(via).into_iter().collect(),
        NameServers::FromHook => context.runtime.name_servers(&uplink.dev),
    }
}
