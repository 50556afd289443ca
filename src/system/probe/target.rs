//! The probing of one target of one uplink, from the first packet to the last answer.
//!
//! Nothing here waits: poll.rs waits for all targets at once.

use std::io;
use std::net::SocketAddrV4;
use std::time::Instant;

use nix::poll::PollFd;

use super::ProbeJob;
use super::datagram::{Datagrams, Question};
use super::dns::Query;
use super::http;
use super::icmp::Echo;
use super::schedule::Schedule;
use super::tcp::Connections;
use crate::model::health::TargetResult;
use crate::model::probe::Target;

pub struct TargetProbe<'a> {
    job: &'a ProbeJob,
    schedule: Schedule,
    result: TargetResult,
    state: State,
}

pub enum State {
    Datagrams(Datagrams),
    Connections(Connections),
    /// The sockets are closed. The error is that the target could not be asked.
    Over(io::Result<()>),
}

impl<'a> TargetProbe<'a> {
    /// Opens the socket, if one is enough, and sends nothing yet.
    pub fn new(job: &'a ProbeJob, target: &Target) -> Self {
        let mut result = TargetResult::default();
        let state = match open(job, target) {
            Ok(Some(state)) => state,
            // Without a route all probes of the first round are lost.
            Ok(None) => {
                result.sent = job.count;
                State::Over(Ok(()))
            }
            Err(error) => State::Over(Err(error)),
        };
        Self { job, schedule: Schedule::new(job.timeout), result, state }
    }

    #[cfg(test)]
    pub fn over(job: &'a ProbeJob, state: State) -> Self {
        let (schedule, result) = (Schedule::new(job.timeout), TargetResult::default());
        Self { job, schedule, result, state }
    }

    /// Sends a round of probes if it is time to.
    pub fn ask_if_due(&mut self, now: Instant) {
        if self.is_over() || !self.schedule.is_due(now, self.is_silent()) {
            return;
        }
        self.schedule.begin_round(now);
        match &mut self.state {
            State::Datagrams(datagrams) => datagrams.ask(self.job.count, &mut self.result),
            State::Connections(connections) => {
                if let Err(error) = connections.ask(self.job, &mut self.result) {
                    self.state = State::Over(Err(error));
                }
            }
            State::Over(_) => {}
        }
    }

    /// When the target needs attention again, even if no answer arrives; `None` if it is done.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        if self.is_over() { None } else { Some(self.schedule.wake_at(now, self.is_silent())) }
    }

    /// Adds the open sockets to those that poll(2) watches.
    pub fn watch<'s>(&'s self, watched: &mut Vec<PollFd<'s>>) {
        match &self.state {
            State::Datagrams(datagrams) => datagrams.watch(watched),
            State::Connections(connections) => connections.watch(watched),
            State::Over(_) => {}
        }
    }

    /// Handles the sockets that are ready. Takes one item of `ready` for each open socket, in the
    /// order of `watch`.
    pub fn receive(&mut self, ready: &mut impl Iterator<Item = bool>) {
        match &mut self.state {
            State::Datagrams(datagrams) => {
                if ready.next().unwrap_or(false) {
                    datagrams.receive(&mut self.result);
                }
            }
            State::Connections(connections) => connections.receive(ready, &mut self.result),
            State::Over(_) => {}
        }
    }

    /// Closes the sockets if all probes are answered or the time is up. `polled` is when poll(2) was
    /// last called: an answer that arrived before the deadline counts, however late it is read.
    pub fn end_if_done(&mut self, polled: Instant) {
        let has_outstanding = match &self.state {
            State::Datagrams(_) => self.result.received < self.result.sent,
            State::Connections(connections) => connections.has_open(),
            State::Over(_) => return,
        };
        let is_answered = !self.is_silent() && !has_outstanding;
        if is_answered || self.schedule.is_over(polled) {
            self.state = State::Over(Ok(()));
        }
    }

    pub fn into_result(self) -> io::Result<TargetResult> {
        match self.state {
            State::Over(Err(error)) => Err(error),
            State::Over(Ok(())) | State::Datagrams(_) | State::Connections(_) => Ok(self.result),
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    fn is_silent(&self) -> bool {
        self.result.received == 0
    }
}

/// `None` if there is no route to the target.
fn open(job: &ProbeJob, target: &Target) -> io::Result<Option<State>> {
    let (server, question) = match target {
        Target::Echo(address) => (SocketAddrV4::new(*address, 0), Question::Echo(Echo::new())),
        Target::Dns { server, name } => (*server, Question::Dns(Query::new(name))),
        Target::Tcp(server) => {
            return Ok(Some(State::Connections(Connections::new(*server, None))));
        }
        Target::Http { server, path } => {
            let request = http::request(*server, path);
            return Ok(Some(State::Connections(Connections::new(*server, Some(request)))));
        }
    };
    Ok(Datagrams::open(job, server, question)?.map(State::Datagrams))
}
