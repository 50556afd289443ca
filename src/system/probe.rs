//! Probes the uplinks: checks over each uplink whether its targets answer.
//!
//! Every socket is bound to the device of the uplink and carries the uplink mark. So rule 1100+N and
//! table 300+N select the route, whichever client is in which pool, and no packet can leave by
//! another device.
//!
//! All targets of all uplinks are probed at the same time, in one thread. Knows nothing of what the
//! results are used for.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::model::health::TargetResult;
use crate::model::probe::{ProbeSettings, Target};
use crate::model::{DevName, UplinkNo};
use open_files::with_raised_limit;
use target::TargetProbe;

mod datagram;
mod dns;
#[cfg(test)]
mod fuzz;
mod http;
mod icmp;
mod open_files;
mod poll;
mod schedule;
mod target;
mod tcp;
#[cfg(test)]
mod tests;

/// An uplink to probe.
pub struct ProbeJob {
    pub no: UplinkNo,
    pub dev: DevName,
    /// The uplink mark.
    pub mark: u32,
    pub targets: Vec<Target>,
    /// How many probes are sent to a target at once.
    pub count: u32,
    pub timeout: Duration,
}

impl ProbeJob {
    pub fn new(
        no: UplinkNo,
        dev: &DevName,
        mark: u32,
        probe: &ProbeSettings,
        targets: Vec<Target>,
    ) -> Self {
        let (count, timeout) = (probe.count.into(), probe.timeout);
        Self { no, dev: dev.clone(), mark, targets, count, timeout }
    }

    /// A socket that does not block and whose packets can leave by this uplink only.
    fn socket(&self, kind: Type, protocol: Protocol) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, kind, Some(protocol)).map_err(explain)?;
        socket.set_mark(self.mark)?;
        socket.bind_device(Some(self.dev.as_str().as_bytes()))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

/// The results of each uplink, in the order of its targets. An error is not a result: no socket could
/// be opened, or the device is gone (`ENODEV`).
pub fn run_all(jobs: &[ProbeJob]) -> Vec<(UplinkNo, io::Result<Vec<TargetResult>>)> {
    match with_raised_limit(|| run_targets(jobs)) {
        Ok(results) => by_uplink(jobs, results),
        Err(error) => jobs.iter().map(|job| (job.no, Err(error.into()))).collect(),
    }
}

fn run_targets(jobs: &[ProbeJob]) -> Result<Vec<io::Result<TargetResult>>, Errno> {
    let mut targets = Vec::new();
    for job in jobs {
        for target in &job.targets {
            targets.push(TargetProbe::new(job, target));
        }
    }
    poll::run(&mut targets)?;
    Ok(targets.into_iter().map(TargetProbe::into_result).collect())
}

/// Gives each uplink the results of its targets, or the first error among them.
fn by_uplink(
    jobs: &[ProbeJob],
    mut results: Vec<io::Result<TargetResult>>,
) -> Vec<(UplinkNo, io::Result<Vec<TargetResult>>)> {
    let mut uplinks = Vec::new();
    for job in jobs {
        let rest = results.split_off(job.targets.len());
        uplinks.push((job.no, results.into_iter().collect()));
        results = rest;
    }
    uplinks
}

fn explain(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(Errno::EMFILE as i32) {
        let text = "no socket for a probe: too many files are open; \
                    raise the hard limit (LimitNOFILE= in the unit, ulimit -Hn in a shell)";
        io::Error::other(text)
    } else {
        error
    }
}

/// A number that others cannot guess: the seed of a hash table.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
