//! TCP: a connection that is accepted, or a page of HTTP/1.1 that is there. Each attempt lasts to
//! the deadline, and overlaps with those begun after it: a lost SYN is sent again by the kernel only
//! after a second.

use std::io::{self, Read, Write};
use std::net::SocketAddrV4;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Protocol, Socket, Type};

use super::{ProbeJob, Schedule, TargetResult};

pub fn connect(line: &ProbeJob, server: SocketAddrV4) -> io::Result<TargetResult> {
    attempts(line, |deadline| open(line, server, deadline).map(drop))
}

/// A status of 200 to 299 is an answer. A portal that wants to be paid first redirects.
pub fn fetch(line: &ProbeJob, server: SocketAddrV4, path: &str) -> io::Result<TargetResult> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nUser-Agent: wanpool\r\nConnection: close\r\n\r\n"
    );
    attempts(line, |deadline| {
        let mut stream = open(line, server, deadline)?;
        stream.set_write_timeout(Some(left(deadline)?))?;
        stream.write_all(request.as_bytes())?;
        match has_page(&mut stream, deadline)? {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    })
}

/// Asks by as many attempts as there would be datagrams. An attempt that ends in an error is lost.
fn attempts(
    line: &ProbeJob,
    attempt: impl Fn(Instant) -> io::Result<()> + Sync,
) -> io::Result<TargetResult> {
    // That there is no socket to be had is no news of the line.
    line.socket(Type::STREAM, Some(Protocol::TCP))?;
    let mut schedule = Schedule::new(Instant::now(), line.timeout);
    let deadline = schedule.deadline();
    let mut result = TargetResult::default();
    let mut ended = 0;
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        loop {
            if schedule.is_due(Instant::now(), result.received == 0) {
                for _ in 0..line.count {
                    let (tell, attempt) = (tell.clone(), &attempt);
                    let one = move || {
                        let start = Instant::now();
                        let rtt = attempt(deadline).ok().map(|()| start.elapsed());
                        // Nobody listens when time is up.
                        let _ = tell.send(rtt);
                    };
                    thread::Builder::new().spawn_scoped(scope, one)?;
                    result.sent += 1;
                }
            }
            if result.received > 0 && ended == result.sent {
                return Ok(result);
            }
            let Some(patience) = schedule.patience(Instant::now(), result.received == 0) else {
                break;
            };
            if let Ok(rtt) = told.recv_timeout(patience) {
                ended += 1;
                if let Some(rtt) = rtt {
                    result.add(rtt)
                };
            }
        }
        // What has come in by now came in time: on a busy machine we may look late.
        drop(tell);
        for rtt in told.iter().flatten() {
            result.add(rtt);
        }
        Ok(result)
    })
}

fn open(line: &ProbeJob, server: SocketAddrV4, deadline: Instant) -> io::Result<Socket> {
    let socket = line.socket(Type::STREAM, Some(Protocol::TCP))?;
    // Reset when done: a connection in TIME_WAIT would stay in conntrack for two minutes.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    socket.connect_timeout(&server.into(), left(deadline)?)?;
    Ok(socket)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Whether the answer begins with `HTTP/1.x 2`, however few bytes come at a time.
pub(super) fn has_page(stream: &mut Socket, deadline: Instant) -> io::Result<bool> {
    const START: usize = "HTTP/1.1 2".len();
    let mut heard = Vec::new();
    let mut bytes = [0; 64];
    while heard.len() < START {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut bytes)? {
            0 => return Ok(false),
            length => heard.extend(&bytes[..length]),
        }
    }
    Ok(heard.starts_with(b"HTTP/1.") && heard[8..START] == *b" 2")
}
