//! The health records after a run, and the events for the admin's hook.

use std::net::IpAddr;
use std::time::SystemTime;

use anyhow::Result;
use serde_json::{Value, json};

use super::Run;
use crate::commands::print_error;
use crate::model::UplinkNo;
use crate::model::health::HealthRecords;
use crate::model::uplink::State;
use crate::plan::uplinks::{self, GatewayStatus, Intent};
use crate::plan::{failback, probes};
use crate::system::{clock, notify_hook};

impl Run<'_> {
    /// Writes down the gateways in use. Failure is told, but the run goes on: the kernel has them too.
    pub fn write_last_gateways(&self, status: &GatewayStatus) {
        let last = uplinks::last_gateways(&self.context.config, &self.inet().snapshot, status);
        if last != self.inet().snapshot.last_gateways {
            if let Err(error) = self.context.runtime.write_last_gateways(&last) {
                print_error(error);
            }
        }
    }

    /// Keeps the name servers of an uplink for `pools --dns`. Failure is told, but the run goes on.
    pub fn keep_name_servers(&self, no: UplinkNo, servers: &[IpAddr]) {
        let context = self.context;
        let Some(uplink) = context.config.uplinks.get(&no) else { return };
        let is_known = || context.runtime.name_servers(&uplink.dev) == servers;
        if self.lock.is_some() && !is_known() {
            if let Err(error) = context.runtime.write_name_servers(&uplink.dev, servers) {
                print_error(error);
            }
        }
    }

    /// Brings the records up to date with a status.
    pub fn update_records(&mut self, status: &GatewayStatus) {
        let now = clock::since_boot();
        let config = &self.context.config;
        let found = &self.slices[0].snapshot;
        probes::update_records(config, found, status, &mut self.health, now);
    }

    /// Writes the records, if anybody needs them: none are kept before the first probe. Returns an
    /// event for each uplink that is otherwise than recorded, even if no command changed it.
    pub fn update_health(
        &mut self,
        before: &GatewayStatus,
        status: &GatewayStatus,
        intent: Intent,
    ) -> Result<Vec<notify_hook::Event>> {
        let config = &self.context.config;
        let runtime = &self.context.runtime;
        let known = runtime.health();
        let is_probe = matches!(intent, Intent::Probed { .. });
        let needs_records = config.hook.is_some() || failback::needs_records(config);
        if known.is_empty() && !needs_records && !is_probe {
            return Ok(vec![]);
        }
        self.update_records(status);
        let is_inside = notify_hook::is_inside();
        if is_inside {
            // A run inside the admin's command tells nothing. What it changes stays unrecorded, and
            // so the next run tells it.
            keep_states(&mut self.health, &known);
        }
        if self.health != known {
            match runtime.write_health(&self.health) {
                // Without records, probes could never take an uplink out of service.
                Err(error) if is_probe => return Err(error),
                Err(error) => print_error(error),
                Ok(()) => {}
            }
        }
        if is_inside {
            return Ok(vec![]);
        }
        let mut events = Vec::new();
        let first_number = clock::microseconds_since_boot();
        for &no in status.uplinks.keys() {
            let was_up = match known.get(&no) {
                Some(record) => record.state == State::Up,
                None => before.is_up(no),
            };
            if was_up != status.is_up(no) {
                let sequence = first_number + events.len() as u64;
                events.push(self.event(status, no, sequence));
            }
        }
        Ok(events)
    }

    fn event(&self, status: &GatewayStatus, no: UplinkNo, sequence: u64) -> notify_hook::Event {
        let context = self.context;
        let event = if status.is_up(no) { "up" } else { "down" };
        let carried_by: Vec<&str> =
            status.active_uplinks(no).into_iter().map(|no| context.dev(no)).collect();
        let last = self.health.get(&no).and_then(|record| record.last);
        let fields = [
            ("event", json!(event)),
            // The commands of two runs may end in any order. The number rises from event to event
            // until the next boot.
            ("sequence", json!(sequence)),
            ("time", json!(clock::rfc3339(SystemTime::now()))),
            ("pool", json!(no)),
            ("uplink", json!(context.dev(no))),
            ("state", json!(status.state(no).map(State::word))),
            (
                "carried_by",
                if carried_by.is_empty() { Value::Null } else { json!(carried_by.join(",")) },
            ),
            ("loss", json!(last.map(|last| last.loss))),
            ("rtt", json!(last.and_then(|last| last.rtt_ms()))),
        ];
        notify_hook::Event {
            name: format!("{event} of {}", context.dev(no)),
            fields: fields.map(|(key, value)| (key.to_owned(), value)).into_iter().collect(),
        }
    }
}

/// Makes the states those that were known; the counts of probes stay.
fn keep_states(records: &mut HealthRecords, known: &HealthRecords) {
    records.retain(|no, record| {
        let Some(known) = known.get(no) else { return false };
        record.state = known.state;
        record.since = known.since;
        true
    });
}
