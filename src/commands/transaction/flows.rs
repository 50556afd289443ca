//! The flows that a run ends, because their uplink went out of service or their own uplink is back.

use anyhow::Result;

use super::slice::Slice;
use super::{Report, Run};
use crate::model::change::Change;
use crate::model::pools::Pools;
use crate::plan::uplinks::{GatewayStatus, Intent};
use crate::plan::{failback, flows};
use crate::system::clock;

/// A change that ends flows, and how many.
pub struct EndedFlows {
    pub change: Change,
    pub count: usize,
}

impl Run<'_> {
    pub fn end_flows(
        &self,
        before: &[GatewayStatus],
        after: &[GatewayStatus],
        intent: Intent,
        report: &mut Report,
    ) -> Result<()> {
        for (at, slice) in self.slices.iter().enumerate() {
            let flows = self.flows_to_end(slice, &before[at], &after[at], intent)?;
            self.end(slice, flows, report)?;
        }
        Ok(())
    }

    pub fn flows_to_end(
        &self,
        slice: &Slice,
        before: &GatewayStatus,
        after: &GatewayStatus,
        intent: Intent,
    ) -> Result<Vec<EndedFlows>> {
        let mut ended = Vec::new();
        let intent = self.intent_for(slice, intent);
        for no in flows::uplinks_to_clear(slice.config, after, intent) {
            // To ask for flows takes a walk through the whole conntrack table.
            if self.is_idle && self.flows_ended.contains(no) {
                continue;
            }
            let mark = self.context.config.kernel_ids.uplink_mark(no);
            if flows::needs_client_flow(before, intent, no) {
                let begun_by = slice.kernel.flows_begun_by(mark)?;
                if !flows::has_client_flow(&self.pools, &begun_by) {
                    continue;
                }
            }
            let count = slice.kernel.flows(mark)?;
            if count > 0 {
                ended.push(EndedFlows { change: Change::EndFlows { mark }, count });
            }
        }
        Ok(ended)
    }

    pub fn end_flows_after_failback(
        &self,
        status: &GatewayStatus,
        report: &mut Report,
    ) -> Result<()> {
        let flows = self.flows_to_end_after_failback(&self.pools, status)?;
        self.end(self.inet(), flows, report)
    }

    pub fn flows_to_end_after_failback(
        &self,
        pools: &Pools,
        status: &GatewayStatus,
    ) -> Result<Vec<EndedFlows>> {
        let config = &self.context.config;
        let mut ended = Vec::new();
        for due in failback::due(config, status, &self.health, clock::since_boot()) {
            let mark = config.kernel_ids.uplink_mark(due.uplink);
            let begun_by = self.inet().kernel.flows_begun_by(mark)?;
            let (sources, count) = failback::sources(&due, pools, &begun_by, |address| {
                failback::is_inside(config, &self.inet().snapshot.devices, address)
            });
            if count > 0 {
                ended.push(EndedFlows { change: Change::EndFlowsFrom { mark, sources }, count });
            }
        }
        Ok(ended)
    }

    fn end(&self, slice: &Slice, flows: Vec<EndedFlows>, report: &mut Report) -> Result<()> {
        for EndedFlows { change, count } in flows {
            self.apply_one(slice, &change, report)?;
            report.flows_ended += count;
        }
        Ok(())
    }
}
