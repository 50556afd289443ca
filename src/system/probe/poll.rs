//! The loop that probes all targets at the same time, in one thread, with poll(2).

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, ppoll};
use nix::sys::time::TimeSpec;

use super::target::TargetProbe;

/// For so long targets may be asked before answers are read. To open many sockets takes time, which
/// must not appear as the round trip time of others.
const ASKING: Duration = Duration::from_millis(2);

/// Probes until each target has answered or its time is up.
pub fn run(targets: &mut [TargetProbe]) -> Result<(), Errno> {
    loop {
        ask_due(targets);
        let now = Instant::now();
        let wake_at = targets.iter().filter_map(|target| target.wake_at(now)).min();
        let Some(wake_at) = wake_at else { return Ok(()) };
        match receive(targets, wake_at.saturating_duration_since(now)) {
            Ok(()) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error),
        }
        for target in targets.iter_mut() {
            target.end_if_done(now);
        }
    }
}

fn ask_due(targets: &mut [TargetProbe]) {
    let begun = Instant::now();
    for target in targets {
        let now = Instant::now();
        if now.duration_since(begun) > ASKING {
            return;
        }
        target.ask_if_due(now);
    }
}

/// Waits until an answer comes, at most so long, and handles all that have come.
fn receive(targets: &mut [TargetProbe], wait: Duration) -> Result<(), Errno> {
    let mut watched: Vec<PollFd> = Vec::new();
    for target in targets.iter() {
        target.watch(&mut watched);
    }
    ppoll(&mut watched, Some(TimeSpec::from(wait)), None)?;
    let ready: Vec<bool> = watched.iter().map(|socket| socket.any() != Some(false)).collect();
    let mut ready = ready.into_iter();
    for target in targets {
        target.receive(&mut ready);
    }
    Ok(())
}
