//! Asks by each uplink whether anybody is there: every socket is bound to the uplink's device and
//! bears its carrier mark, so that rule 1100+N and table 300+N choose the way whatever the pools do
//! now, and no packet can leave by another device.
//!
//! A busy line must not look dead. So while nothing has come back from a target it is asked again
//! each quarter of the timeout, and an answer counts until the end of it: at 30 % loss each way a
//! sound line stays silent in one run of 3000 with one target, two runs in a row in one of ten million.
//!
//! Knows nothing of what the answers will be used for. All targets of all uplinks are asked at the
//! same time, a thread each.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::model::health::TargetResult;
use crate::model::probe::{ProbeSettings, Target};
use crate::model::{DevName, UplinkNo};

mod dns;
#[cfg(test)]
mod hostile;
mod icmp;
mod stream;

/// In so many parts of the timeout a silent target is asked anew.
const PARTS: u32 = 4;

/// An uplink to probe.
pub struct ProbeJob {
    pub no: UplinkNo,
    pub dev: DevName,
    /// Its carrier mark.
    pub mark: u32,
    pub targets: Vec<Target>,
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

    /// A socket whose packets can take this line only.
    fn socket(&self, kind: Type, protocol: Option<Protocol>) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, kind, protocol)?;
        socket.set_mark(self.mark)?;
        socket.bind_device(Some(self.dev.as_str().as_bytes()))?;
        Ok(socket)
    }

    fn ask(&self, target: &Target) -> io::Result<TargetResult> {
        match target {
            Target::Echo(address) => icmp::ask(self, *address),
            Target::Dns { server, name } => dns::ask(self, *server, name),
            Target::Tcp(server) => stream::connect(self, *server),
            Target::Http { server, path } => stream::fetch(self, *server, path),
        }
    }
}

/// What came back from each line, target by target. An error is ours, not the line's: there was no
/// socket to be had, or the device is gone.
pub fn all(lines: &[ProbeJob]) -> Vec<(UplinkNo, io::Result<Vec<TargetResult>>)> {
    thread::scope(|scope| {
        let ask = |line, target| {
            thread::Builder::new().spawn_scoped(scope, move || ProbeJob::ask(line, target))
        };
        let asked: Vec<Vec<_>> = lines
            .iter()
            .map(|line| line.targets.iter().map(|target| ask(line, target)).collect())
            .collect();
        let answers = asked.into_iter().map(|threads| {
            let ended = threads.into_iter().map(|thread| match thread?.join() {
                Ok(answers) => answers,
                Err(_) => Err(io::Error::other("a probe broke off")),
            });
            ended.collect()
        });
        lines.iter().map(|line| line.no).zip(answers).collect()
    })
}

/// When a target is asked, and for how long it is listened to. Pure: it is told what time it is.
struct Schedule {
    start: Instant,
    timeout: Duration,
    /// Quarters that have begun.
    begun: u32,
}

impl Schedule {
    fn new(start: Instant, timeout: Duration) -> Self {
        Self { start, timeout, begun: 0 }
    }

    fn deadline(&self) -> Instant {
        self.start + self.timeout
    }

    /// Whether to ask now: at once, and at each quarter while all is silent.
    fn is_due(&mut self, now: Instant, is_silent: bool) -> bool {
        let due = (self.begun == 0 || is_silent) && self.begun < PARTS;
        let due = due && now >= self.next();
        self.begun += u32::from(due);
        due
    }

    fn next(&self) -> Instant {
        self.start + self.timeout * self.begun / PARTS
    }

    /// How long to listen until there may be something to do; `None` when time is up.
    fn patience(&self, now: Instant, is_silent: bool) -> Option<Duration> {
        let asks_again = is_silent && self.begun < PARTS;
        let until = if asks_again { self.next() } else { self.deadline() };
        // A time-out of 0 would be none at all.
        let floor = Duration::from_micros(100);
        (now < self.deadline()).then(|| until.saturating_duration_since(now).max(floor))
    }
}

/// Asks by datagrams. `question` makes the one with this number, `answers` says which question a
/// datagram that came in answers.
fn exchange(
    line: &ProbeJob,
    socket: &Socket,
    question: impl Fn(u16) -> Vec<u8>,
    answers: impl Fn(&[u8]) -> Option<u16>,
) -> io::Result<TargetResult> {
    let mut schedule = Schedule::new(Instant::now(), line.timeout);
    let (mut asked, mut result) = (Vec::new(), TargetResult::default());
    let mut bytes = [0; 2048];
    loop {
        if schedule.is_due(Instant::now(), result.received == 0) {
            for _ in 0..line.count {
                let number = asked.len() as u16;
                // What cannot be sent is lost: no route, a full queue, a rule of the admin's.
                let _ = socket.send(&question(number));
                asked.push(Some(Instant::now()));
                result.sent += 1;
            }
        }
        if result.received == result.sent {
            return Ok(result);
        }
        let Some(patience) = schedule.patience(Instant::now(), result.received == 0) else {
            break;
        };
        socket.set_read_timeout(Some(patience))?;
        match io::Read::read(&mut &*socket, &mut bytes) {
            Ok(length) => count(answers(&bytes[..length]), &mut asked, &mut result),
            Err(error) if is_nothing_yet(&error) => {}
            // An ICMP error that came in, a device that went down: no answer, and no reason to spin.
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
    // What has come in by now came in time: on a busy machine we may look late.
    socket.set_nonblocking(true)?;
    for _ in 0..result.sent {
        match io::Read::read(&mut &*socket, &mut bytes) {
            Ok(length) => count(answers(&bytes[..length]), &mut asked, &mut result),
            Err(_) => break,
        }
    }
    Ok(result)
}

/// Counts the answer to the question with this number. A second one to the same question is none.
fn count(number: Option<u16>, asked: &mut [Option<Instant>], result: &mut TargetResult) {
    let sent = number.and_then(|number| asked.get_mut(usize::from(number))?.take());
    if let Some(sent) = sent {
        result.add(sent.elapsed());
    }
}

fn is_nothing_yet(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// A number that nobody else can guess: the seed of a hash table.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_target_is_asked_four_times_and_one_that_answers_once() {
        let start = Instant::now();
        let times = || (0..50).map(|ms| start + Duration::from_millis(ms));
        for (is_silent, wanted) in [(true, vec![0, 10, 20, 30]), (false, vec![0])] {
            let mut schedule = Schedule::new(start, Duration::from_millis(40));
            let asked = times().filter(|&now| schedule.is_due(now, is_silent));
            let asked: Vec<u128> = asked.map(|now| (now - start).as_millis()).collect();
            assert_eq!(asked, wanted);
        }
    }

    #[test]
    fn it_is_listened_to_until_it_is_asked_again_or_time_is_up() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, Duration::from_millis(40));
        assert!(schedule.is_due(start, true));
        let patience =
            |ms, is_silent| schedule.patience(start + Duration::from_millis(ms), is_silent);
        assert_eq!(patience(4, true), Some(Duration::from_millis(6)));
        assert_eq!(patience(4, false), Some(Duration::from_millis(36)));
        assert_eq!(patience(15, true), Some(Duration::from_micros(100)));
        assert_eq!(patience(40, true), None);
    }
}
