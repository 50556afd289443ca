//! Probes by TCP: each is a connection of its own, which counts as answered when it is accepted or,
//! for HTTP, when the page has arrived.
//!
//! A connection is tried until the deadline and overlaps with those of later rounds, because the
//! kernel repeats a lost SYN only after a second.

use std::io;
use std::mem;
use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use socket2::{Protocol, Socket, Type};

use super::ProbeJob;
use super::http::Fetch;
use crate::model::health::TargetResult;

/// The connections to one target that are open.
pub struct Connections {
    server: SocketAddrV4,
    /// What to send once a connection is accepted.
    request: Option<Rc<[u8]>>,
    open: Vec<Connection>,
}

struct Connection {
    socket: Socket,
    begun: Instant,
    /// The request that is sent over the connection; `None` until the server has accepted it.
    fetch: Option<Fetch>,
}

impl Connections {
    pub fn new(server: SocketAddrV4, request: Option<Rc<[u8]>>) -> Self {
        Self { server, request, open: Vec::new() }
    }

    pub fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Begins as many connections as the job says. A connection that fails at once is lost. Returns an
    /// error if no socket can be opened.
    pub fn ask(&mut self, job: &ProbeJob, result: &mut TargetResult) -> io::Result<()> {
        for _ in 0..job.count {
            let socket = job.socket(Type::STREAM, Protocol::TCP)?;
            // The socket is closed with a reset: conntrack would keep a connection in TIME_WAIT for
            // two minutes.
            socket.set_linger(Some(Duration::ZERO))?;
            socket.set_tcp_nodelay(true)?;
            result.sent += 1;
            let begun = Instant::now();
            if is_under_way(&socket.connect(&self.server.into())) {
                self.add(socket, begun);
            }
        }
        Ok(())
    }

    pub fn add(&mut self, socket: Socket, begun: Instant) {
        self.open.push(Connection { socket, begun, fetch: None });
    }

    /// Adds the sockets to those that poll(2) watches.
    pub fn watch<'a>(&'a self, watched: &mut Vec<PollFd<'a>>) {
        for connection in &self.open {
            watched.push(PollFd::new(connection.socket.as_fd(), connection.events()));
        }
    }

    /// Continues the connections that are ready. Takes one item of `ready` for each socket, in the
    /// order of `watch`.
    pub fn receive(&mut self, ready: &mut impl Iterator<Item = bool>, result: &mut TargetResult) {
        for mut connection in mem::take(&mut self.open) {
            let is_ready = ready.next().unwrap_or(false);
            if !is_ready {
                self.open.push(connection);
                continue;
            }
            match connection.advance(self.request.as_ref()) {
                Ok(true) => result.add(connection.begun.elapsed()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.open.push(connection);
                }
                // The probe is lost: the connection failed, or the answer is not a success.
                Ok(false) | Err(_) => {}
            }
        }
    }
}

impl Connection {
    fn events(&self) -> PollFlags {
        match &self.fetch {
            Some(fetch) if !fetch.is_writing() => PollFlags::POLLIN,
            _ => PollFlags::POLLOUT,
        }
    }

    /// Returns whether the probe is answered; fails with `WouldBlock` while that is not known yet.
    fn advance(&mut self, request: Option<&Rc<[u8]>>) -> io::Result<bool> {
        if self.fetch.is_none() {
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
        }
        let Some(request) = request else { return Ok(true) };
        let fetch = self.fetch.get_or_insert_with(|| Fetch::new(request.clone()));
        fetch.advance(&mut self.socket)
    }
}

fn is_under_way(connected: &io::Result<()>) -> bool {
    match connected {
        Ok(()) => true,
        Err(error) => error.raw_os_error() == Some(Errno::EINPROGRESS as i32),
    }
}
