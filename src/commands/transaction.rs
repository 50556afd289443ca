//! The way of every run that changes things: lock, observe → plan → apply → observe again until the
//! plan is empty, and the report. Pool files are written before the kernel follows.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use super::Context;
use super::event;
use crate::system::{Kernel, Query, privileges};
use crate::model::{UplinkNo, UplinkSet};
use crate::plan;
use crate::plan::placement::Change;
use crate::plan::service::{self, Intent, Services, State};
use crate::model::pools::Pools;
use crate::model::health::HealthRecords;
use crate::model::STATE::Observed;
use crate::model::change::Step;
use crate::store::Lock;

mod after;
mod report;
mod sight;

use report::{Report, uplink_lines};
use sight::Sight;

/// How often a run plans anew when the kernel moves under its hands (a device comes or goes).
const ROUNDS: usize = 4;

/// A change in the making: what is, read once, under the lock.
pub struct Run<'a> {
    context: &'a Context,
    /// `None` with `--dry-run`, which leaves no trace.
    lock: Option<Lock>,
    pub kernel: Kernel,
    pub pools: Pools,
    /// Of the files that hold them; `None` if they were not read.
    version: Option<String>,
    /// Uplinks that are out, and whose flows a run before this one ended; nothing changed since.
    ended: UplinkSet,
    /// What is remembered of the uplinks, brought up to date by [`Run::finish`].
    pub records: HealthRecords,
}

impl<'a> Run<'a> {
    pub fn begin(context: &'a Context, what: &str) -> Result<Self> {
        let run = Self::begin_without_pools(context, what)?;
        // The version first: of what is edited meanwhile we have the old one, which the next run sees.
        let version = Some(context.store.version()?);
        Ok(Self { pools: context.store.read()?, version, ..run })
    }

    /// For what has nothing to do with clients, and must work even when a pool file is broken.
    pub fn begin_without_pools(context: &'a Context, what: &str) -> Result<Self> {
        require_net_admin(what)?;
        let lock = match context.options.dry_run {
            true => None,
            false => {
                let lock = context.store.lock(Duration::from_secs(context.options.wait.into()))?;
                context.store.recover(&lock)?;
                Some(lock)
            }
        };
        let (pools, records) = (Pools::default(), context.memory.read());
        let kernel = Kernel::open()?;
        Ok(Self {
            context,
            lock,
            kernel,
            pools,
            version: None,
            ended: UplinkSet::default(),
            records,
        })
    }

    /// Makes files and kernel what `pools` and the intent say. `changes` is what was done to the
    /// pools, for the report.
    pub fn finish(mut self, pools: Pools, changes: Vec<Change>, intent: Intent) -> Result<()> {
        let (found, mut sight) = self
            .look_first(self.context.query(true), &changes, intent)
            .context("nothing was changed")?;
        let before = service::as_found(&self.context.config, &found);
        let services = decide(self.context, &found, intent)?;
        let steps = self.plan(&pools, &found, &services, &sight);
        // Where clients change, their lines say more than the files' commands.
        let files = match changes.is_empty() || self.shows_commands() {
            true => self.context.store.commands(&self.pools, &pools),
            false => vec![],
        };
        let is_idle = steps.is_empty() && files.is_empty() && changes.is_empty();
        if is_idle {
            self.ended = sight.ended;
        }
        let tell_those_out = intent == Intent::RestoreAll && !is_idle;
        let mut report = Report {
            uplinks: uplink_lines(self.context, &before, &services, tell_those_out),
            done: files.len(),
            commands: files,
            changes,
            verb: "repaired",
            ..Report::default()
        };
        if self.lock.is_none() {
            self.note(&found, &services);
            report.commands.extend(steps.iter().flat_map(Step::commands));
            let flows = self.flows_to_end(&before, &services, intent)?;
            let overdue = self.flows_to_fail_back(&pools, &services)?;
            let steps = flows.iter().chain(&overdue).flat_map(|(step, _)| step.commands());
            report.commands.extend(steps);
            return self.print_plan(report);
        }
        if !is_idle {
            // From here on nothing is known to be in order.
            self.context.memory.forget_checked();
        }
        self.commit(&pools, &report.commands)?;
        let done = self
            .reconcile(&pools, intent, steps, services, &mut sight, &mut report)
            .and_then(|services| {
                // A line may have come or gone meanwhile.
                report.uplinks = uplink_lines(self.context, &before, &services, tell_those_out);
                sight.ended = still_ended(sight.ended, &services, intent);
                self.settle(&pools, &found, &before, services, intent, &mut report)
            });
        if done.is_ok() {
            self.remember_checked(&sight);
        } else {
            // What the files hold is told even if the kernel then did not follow.
            report.uplinks.clear();
            report.commands.clear();
            report.done = 0;
        }
        self.print(report)?;
        let events = done?;
        let context = self.context;
        // The lock is free before anybody is told.
        drop(self);
        if let Some(exec) = &context.config.hook {
            event::tell(exec, &events);
        }
        Ok(())
    }

    /// Takes the whole slice away. What bears our names and is not ours is passed over.
    pub fn remove(self) -> Result<()> {
        let protocol = self.context.config.kernel_ids.protocol;
        let query = self.context.query(true);
        let mut report = Report { verb: "removed", ..Report::default() };
        let mut failure = None;
        for _ in 0..ROUNDS {
            let found = match self.context.observe(&self.kernel, &query) {
                Ok(found) => found,
                Err(error) => return Err(first_of(failure, error)),
            };
            let steps = plan::removal(&found.slice, protocol);
            if self.lock.is_none() {
                report.commands = steps.iter().flat_map(Step::commands).collect();
                return self.print_plan(report);
            }
            if steps.is_empty() {
                return self.print(report);
            }
            failure = self.apply(&steps, &mut report).err();
        }
        match failure {
            Some((_, error)) => Err(error),
            None => {
                bail!("removing the slice: something puts it back; is another program at work?")
            }
        }
    }

    /// The error is what stands in our way.
    fn look(&self, query: &Query) -> Result<Observed> {
        let found = self.context.observe(&self.kernel, query)?;
        match plan::in_our_way(&found) {
            Some(taken) => bail!("{taken}"),
            None => Ok(found),
        }
    }

    /// Files before the kernel.
    fn commit(&mut self, pools: &Pools, commands: &[String]) -> Result<()> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let store = &self.context.store;
        if store.commit(lock, &self.pools, pools)? {
            self.version = Some(store.version()?);
        }
        self.tell(commands)
    }

    /// Does the steps, and looks again until there are none. A step that fails because the ground
    /// moved is planned anew; one that would be tried again just the same is an error. Returns who
    /// is in service in the end.
    fn reconcile(
        &self,
        pools: &Pools,
        intent: Intent,
        mut steps: Vec<Step>,
        mut services: Services,
        sight: &mut Sight,
        report: &mut Report,
    ) -> Result<Services> {
        for _ in 0..ROUNDS {
            if steps.is_empty() {
                return Ok(services);
            }
            let failure = self.apply(&steps, report).err();
            let found = match self.look_again(pools, sight, failure.is_some()) {
                Ok(found) => found,
                Err(error) => return Err(first_of(failure, error)),
            };
            services = decide(self.context, &found, intent)?;
            let next = self.plan(pools, &found, &services, sight);
            match failure {
                Some((at, error)) if next.first() == steps.get(at) && !found.links_moved => {
                    return Err(error);
                }
                _ => steps = next,
            }
        }
        match steps.first() {
            None => Ok(services),
            Some(step) => Err(anyhow!("the kernel did not keep what was done: {step}")),
        }
    }

    /// The error comes with the place of the step that failed.
    fn apply(&self, steps: &[Step], report: &mut Report) -> Result<(), (usize, anyhow::Error)> {
        for (at, step) in steps.iter().enumerate() {
            self.kernel.apply(self.context.family, step).map_err(|error| (at, error))?;
            report.done += step.count();
            if self.shows_commands() {
                let commands = step.commands();
                self.tell(&commands).map_err(|error| (at, error))?;
                report.commands.extend(commands);
            }
        }
        Ok(())
    }

    /// Whether anybody is to see the commands; there may be one for each client.
    fn shows_commands(&self) -> bool {
        let output = self.context.output;
        self.lock.is_none() || output.is_json() || output.is_verbose()
    }

    fn tell(&self, commands: &[String]) -> Result<()> {
        if self.context.output.is_verbose() {
            for command in commands {
                self.context.output.step(command)?;
            }
        }
        Ok(())
    }
}

/// Where nothing can be asked any more, what failed before says why.
fn first_of(failure: Option<(usize, anyhow::Error)>, error: anyhow::Error) -> anyhow::Error {
    failure.map_or(error, |(_, first)| first)
}

fn still_ended(before: UplinkSet, now: &Services, intent: Intent) -> UplinkSet {
    let out = |no: &UplinkNo| now.uplinks.get(no).is_some_and(|it| it.state != State::Up);
    before.iter().filter(out).chain(plan::flows_to_end(now, intent)).collect()
}

fn decide(context: &Context, found: &Observed, intent: Intent) -> Result<Services> {
    service::decide(&context.config, found, intent).map_err(|why| anyhow!(why))
}

/// Fails early, with one line, where the kernel would refuse everything.
pub fn require_net_admin(what: &str) -> Result<()> {
    if privileges::has_net_admin() && privileges::has_net_raw() {
        return Ok(());
    }
    bail!(
        "{what}: Operation not permitted; run it as root \
         (it needs CAP_NET_ADMIN, and CAP_NET_RAW for iptables)"
    )
}
