//! The loop that probes all targets at the same time, in one thread, with poll(2).

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, ppoll};
use nix::sys::time::TimeSpec;

use super::target::TargetProbe;

/// The maximum time for sending probes before answers are read. Opening many sockets takes time,
/// which must not be counted in the round trip times of other targets.
const MAX_ASKING: Duration = Duration::from_millis(2);

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
        if now.duration_since(begun) > MAX_ASKING {
            return;
        }
        target.ask_if_due(now);
    }
}

/// Waits at most this long for an answer, and handles all answers that have arrived.
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
