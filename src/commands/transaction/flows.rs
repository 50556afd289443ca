//! What a run does when the way has moved: flows that must move too are ended, what is now is
//! remembered, and what is otherwise than before is news for the admin's hook.

use anyhow::Result;

use super::{Report, Run};
use crate::commands::Context;
use crate::commands::event::Event;
use crate::memory;
use crate::model::UplinkNo;
use crate::plan::service::{Intent, Service, Services, State};
use crate::plan::{self, failback, probing};
use crate::model::pools::Pools;
use crate::model::STATE::Observed;
use crate::model::change::Step;

impl Run<'_> {
    /// The steps that end the flows of uplinks, and how many there are. An uplink that was out before
    /// carries no new flows of clients, so such are left of a run cut short; those that strangers
    /// began since are none of ours to end.
    pub(super) fn flows_to_end(
        &self,
        before: &Services,
        after: &Services,
        intent: Intent,
    ) -> Result<Vec<(Step, usize)>> {
        let family = self.context.family;
        let mut steps = Vec::new();
        for uplink in plan::flows_to_end(after, intent) {
            // To ask for flows costs a walk through all that conntrack has room for.
            if self.ended.contains(uplink) {
                continue;
            }
            let mark = self.context.config.kernel_ids.uplink_mark(uplink);
            let was_out = before.uplinks[&uplink].state == State::FailedOver;
            if was_out && matches!(intent, Intent::FailOver { .. } | Intent::Probed { .. }) {
                let begun_by = self.kernel.flows_begun_by(family, mark)?;
                if !begun_by.keys().any(|&client| self.pools.place(client).is_some()) {
                    continue;
                }
            }
            let flows = self.kernel.flows(family, mark)?;
            steps.extend((flows > 0).then_some((Step::FlowsEnd { mark }, flows)));
        }
        Ok(steps)
    }

    /// The steps that end the flows which an uplink has carried for others long enough.
    pub(super) fn flows_to_fail_back(
        &self,
        pools: &Pools,
        after: &Services,
    ) -> Result<Vec<(Step, usize)>> {
        let config = &self.context.config;
        let mut steps = Vec::new();
        for (no, back) in failback::due(config, after, &self.records, memory::now()) {
            let mark = config.kernel_ids.uplink_mark(no);
            let mut flows = self.kernel.flows_begun_by(self.context.family, mark)?;
            flows.retain(|&client, _| pools.place(client).is_some_and(|no| back.contains(&no)));
            let mut clients: Vec<_> = flows.keys().map(|client| client.address()).collect();
            clients.sort();
            let count = flows.values().sum::<u64>() as usize;
            steps.extend((count > 0).then_some((Step::ClientFlowsEnd { mark, clients }, count)));
        }
        Ok(steps)
    }

    /// When the way has moved, and not before: flows that must go with it are ended, and what is
    /// now is remembered. Returns the news for the admin's hook.
    pub(super) fn settle(
        &mut self,
        pools: &Pools,
        found: &Observed,
        before: &Services,
        after: Services,
        intent: Intent,
        report: &mut Report,
    ) -> Result<Vec<Event>> {
        let flows = self.flows_to_end(before, &after, intent)?;
        self.end(flows, report)?;
        let events = self.remember(found, before, &after, intent)?;
        let flows = self.flows_to_fail_back(pools, &after)?;
        self.end(flows, report)?;
        Ok(events)
    }

    fn end(&self, flows: Vec<(Step, usize)>, report: &mut Report) -> Result<()> {
        for (step, count) in flows {
            self.apply(&[step], report).map_err(|(_, error)| error)?;
            report.flows_ended += count;
        }
        Ok(())
    }

    /// Brings the records in line with what is now.
    pub(super) fn note(&mut self, found: &Observed, now: &Services) {
        probing::note(&self.context.config, found, now, &mut self.records, memory::now());
    }

    /// Remembers what is now, if anybody asks for that: there is no memory before the first probe.
    /// Returns whatever is otherwise than remembered: what no command did is news as well.
    fn remember(
        &mut self,
        found: &Observed,
        before: &Services,
        after: &Services,
        intent: Intent,
    ) -> Result<Vec<Event>> {
        let Context { config, memory, .. } = self.context;
        let known = memory.read();
        let wanted = config.hook.is_some() || failback::needs_memory(config);
        let is_probe = matches!(intent, Intent::Probed { .. });
        if known.is_empty() && !wanted && !is_probe {
            return Ok(vec![]);
        }
        self.note(found, after);
        if self.records != known {
            match memory.write(&self.records) {
                // Who cannot count runs will never take anything out.
                Err(error) if is_probe => return Err(error),
                Err(error) => crate::complain(&format!("{error:#}")),
                Ok(()) => {}
            }
        }
        let was_up = |no: &UplinkNo| match known.get(no) {
            Some(record) => record.state == State::Up.word(),
            None => before.uplinks[no].state == State::Up,
        };
        let changed =
            |(no, service): &(&UplinkNo, &Service)| was_up(no) != (service.state == State::Up);
        let news = after.uplinks.iter().filter(changed);
        Ok(news.map(|(&no, _)| Event::new(self.context, after, &self.records, no)).collect())
    }
}
