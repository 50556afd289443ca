//! `pools --metrics`: the text format of Prometheus, for the textfile collector of node_exporter.

use std::fmt::Write;

use anyhow::Result;

use super::{Context, health_columns};
use crate::model::UplinkNo;
use crate::model::pools::Pools;
use crate::model::uplink::State;
use crate::output;
use crate::plan::shares;
use crate::plan::uplinks::{self, GatewayStatus};
use crate::system::Kernel;
use crate::system::capabilities::has_net_admin;

pub fn run(context: &Context, pools: &Pools) -> Result<()> {
    let config = &context.config;
    let kernel = context.open_kernel()?;
    let found = context.observe_routing(&kernel)?;
    let status = uplinks::current(config, &found);
    let mut page = Page { context, text: String::new() };

    page.gauge("wanpool_pool_clients", "Clients in the pool.", |no| {
        Some(pools.members(no).len() as f64)
    });
    page.gauge("wanpool_pool_share_ratio", "Part of all clients.", |no| {
        Some(shares::actual(config, pools, no) / 100.0)
    });
    page.gauge(
        "wanpool_pool_weight_ratio",
        "Part of all clients that the weight asks for.",
        |no| Some(shares::due(config, no) / 100.0),
    );
    page.states(&status);
    page.flows(&kernel)?;
    page.probes(&status);
    page.traffic(&kernel)?;
    output::print(&page.text)
}

struct Page<'a> {
    context: &'a Context,
    text: String,
}

impl Page<'_> {
    fn uplinks(&self) -> Vec<UplinkNo> {
        self.context.config.uplinks.keys().copied().collect()
    }

    /// A gauge with one series for each uplink that has a value.
    fn gauge(&mut self, name: &str, help: &str, value: impl Fn(UplinkNo) -> Option<f64>) {
        self.head(name, "gauge", help);
        for no in self.uplinks() {
            if let Some(value) = value(no) {
                self.line(name, no, "", value);
            }
        }
    }

    /// A series for each state of each uplink: 1 for the state that the uplink is in.
    fn states(&mut self, status: &GatewayStatus) {
        const NAME: &str = "wanpool_uplink_state";
        self.head(NAME, "gauge", "1 for the state the uplink is in.");
        for no in self.uplinks() {
            for state in State::ALL {
                let is_in_state = status.state(no) == Some(state);
                let label = format!(",state=\"{}\"", state.word());
                self.line(NAME, no, &label, f64::from(u8::from(is_in_state)));
            }
        }
    }

    /// Only root can read conntrack.
    fn flows(&mut self, kernel: &Kernel) -> Result<()> {
        const NAME: &str = "wanpool_uplink_flows";
        if !has_net_admin() {
            return Ok(());
        }
        let ids = &self.context.config.kernel_ids;
        let flows = kernel.flows_by_mark(ids.uplink_mark_bit(), ids.unmarked().mask)?;
        self.head(NAME, "gauge", "Flows in conntrack.");
        for no in self.uplinks() {
            let mark = ids.uplink_mark(no);
            self.line(NAME, no, "", flows.get(&mark.value).copied().unwrap_or_default() as f64);
        }
        Ok(())
    }

    /// What is remembered of the last probes, if anything is.
    fn probes(&mut self, status: &GatewayStatus) {
        let records = health_columns::read(self.context);
        if records.is_empty() {
            return;
        }
        let name = "wanpool_uplink_state_since_timestamp_seconds";
        self.gauge(name, "When the uplink's state began.", |no| {
            let since = health_columns::since(status, records.get(&no)?, no)?;
            Some(since.as_secs_f64().round())
        });
        let last = |no| records.get(&no).and_then(|record| record.last);
        let name = "wanpool_uplink_probe_loss_ratio";
        self.gauge(name, "Probes lost in the last run.", |no| {
            Some(f64::from(last(no)?.loss) / 100.0)
        });
        let name = "wanpool_uplink_probe_rtt_seconds";
        self.gauge(name, "The shortest round trip of the last run.", |no| {
            Some(last(no)?.rtt?.as_secs_f64())
        });
    }

    /// The bytes over each uplink that has a device now.
    fn traffic(&mut self, kernel: &Kernel) -> Result<()> {
        const RECEIVED: &str = "wanpool_uplink_receive_bytes_total";
        const SENT: &str = "wanpool_uplink_transmit_bytes_total";
        let traffic = kernel.traffic()?;
        let of = |no| traffic.get(&self.context.config.uplinks.get(&no)?.dev).copied();
        let counters: Vec<(UplinkNo, (u64, u64))> =
            self.uplinks().into_iter().filter_map(|no| Some((no, of(no)?))).collect();
        self.head(RECEIVED, "counter", "Bytes received by the device.");
        for (no, (received, _)) in &counters {
            self.line(RECEIVED, *no, "", *received as f64);
        }
        self.head(SENT, "counter", "Bytes sent by the device.");
        for (no, (_, sent)) in &counters {
            self.line(SENT, *no, "", *sent as f64);
        }
        Ok(())
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, no: UplinkNo, more_labels: &str, value: f64) {
        let dev = self.context.dev(no);
        let _ =
            writeln!(self.text, "{name}{{pool=\"{no}\",uplink=\"{dev}\"{more_labels}}} {value}");
    }
}
