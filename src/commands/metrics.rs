//! `pools --metrics`: the text format of Prometheus, for the textfile collector of node_exporter.

use std::fmt::Write;

use anyhow::Result;

use super::{due, probed, share};
use crate::commands::Context;
use crate::system::Kernel;
use crate::system::privileges::has_net_admin;
use crate::model::UplinkNo;
use crate::plan::service::{self, Services};
use crate::model::pools::Pools;

/// The states of an uplink, each a series of its own: 1 for the one it is in.
const STATES: [&str; 3] = ["up", "failed-over", "down"];

pub fn print(context: &Context, pools: &Pools) -> Result<()> {
    let kernel = Kernel::open()?;
    let found = kernel.observe(&context.query(false))?;
    let services = service::as_found(&context.config, &found);
    let uplinks: Vec<UplinkNo> = context.config.uplinks.keys().copied().collect();
    let mut page = Page { context, text: String::new() };

    let clients = |no: &UplinkNo| (*no, pools.members(*no).len() as f64);
    page.gauge("wanpool_pool_clients", "Clients in the pool.", uplinks.iter().map(clients));
    let part = |no: &UplinkNo| (*no, share(context, pools, *no) / 100.0);
    page.gauge("wanpool_pool_share_ratio", "Part of all clients.", uplinks.iter().map(part));
    let due = |no: &UplinkNo| (*no, due(context, *no) / 100.0);
    page.gauge(
        "wanpool_pool_weight_ratio",
        "Part of all clients that the weight asks for.",
        uplinks.iter().map(due),
    );
    page.head("wanpool_uplink_state", "gauge", "1 for the state the uplink is in.");
    for &no in &uplinks {
        for state in STATES {
            let is = services.uplinks[&no].state.word() == state;
            let labels = page.labels(no, &format!(",state=\"{state}\""));
            page.line("wanpool_uplink_state", &labels, f64::from(u8::from(is)));
        }
    }
    if has_net_admin() {
        let mut flows = Vec::new();
        for &no in &uplinks {
            let mark = context.config.kernel_ids.uplink_mark(no);
            flows.push((no, kernel.flows(context.family, mark)? as f64));
        }
        page.gauge("wanpool_uplink_flows", "Flows in conntrack.", flows.into_iter());
    }
    page.probes(&services);
    page.traffic(&kernel, &uplinks)?;
    context.output.lines(&[page.text.trim_end().to_owned()])
}

struct Page<'a> {
    context: &'a Context,
    text: String,
}

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, values: impl Iterator<Item = (UplinkNo, f64)>) {
        self.head(name, "gauge", help);
        for (no, value) in values {
            let labels = self.labels(no, "");
            self.line(name, &labels, value);
        }
    }

    /// What is remembered of the last probes, where anything is.
    fn probes(&mut self, services: &Services) {
        let records = probed::read(self.context);
        if records.is_empty() {
            return;
        }
        let since = records.iter().filter_map(|(&no, record)| {
            Some((no, probed::since(services, record, no)?.as_secs_f64().round()))
        });
        let name = "wanpool_uplink_state_since_timestamp_seconds";
        self.gauge(name, "When the uplink's state began.", since);
        let last = || records.iter().filter_map(|(&no, record)| Some((no, record.last?)));
        let loss = last().map(|(no, last)| (no, f64::from(last.loss) / 100.0));
        self.gauge("wanpool_uplink_probe_loss_ratio", "Probes lost in the last run.", loss);
        let rtt = last().filter_map(|(no, last)| Some((no, last.rtt?.as_secs_f64())));
        let help = "The shortest round trip of the last run.";
        self.gauge("wanpool_uplink_probe_rtt_seconds", help, rtt);
    }

    /// Bytes over each uplink that has a device now.
    fn traffic(&mut self, kernel: &Kernel, uplinks: &[UplinkNo]) -> Result<()> {
        let traffic = kernel.traffic()?;
        for (name, help, sent) in [
            ("wanpool_uplink_receive_bytes_total", "Bytes received by the device.", false),
            ("wanpool_uplink_transmit_bytes_total", "Bytes sent by the device.", true),
        ] {
            self.head(name, "counter", help);
            for &no in uplinks {
                let bytes = traffic.get(&self.context.config.uplinks[&no].dev);
                if let Some(&(received, transmitted)) = bytes {
                    let labels = self.labels(no, "");
                    self.line(name, &labels, if sent { transmitted } else { received } as f64);
                }
            }
        }
        Ok(())
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn labels(&self, no: UplinkNo, more: &str) -> String {
        let dev = &self.context.config.uplinks[&no].dev;
        format!("pool=\"{no}\",uplink=\"{dev}\"{more}")
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        let _ = writeln!(self.text, "{name}{{{labels}}} {value}");
    }
}
