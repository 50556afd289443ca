//! Probes that are single packets, ICMP or DNS. All probes of one target use one socket.

use std::io::{self, Read};
use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use socket2::{Protocol, Socket, Type};

use super::ProbeJob;
use super::dns::Query;
use super::icmp::Echo;
use crate::model::health::TargetResult;

/// What the probes ask.
pub enum Question {
    Echo(Echo),
    Dns(Query),
}

impl Question {
    fn encode(&self, number: u16) -> Vec<u8> {
        match self {
            Question::Echo(echo) => echo.encode(number),
            Question::Dns(query) => query.encode(number),
        }
    }

    /// The number of the probe that a packet answers.
    fn decode(&self, packet: &[u8]) -> Option<u16> {
        match self {
            Question::Echo(echo) => echo.decode(packet),
            Question::Dns(query) => query.decode(packet),
        }
    }
}

pub struct Datagrams {
    socket: Socket,
    question: Question,
    /// When each probe was sent; `None` once it is answered.
    sent: Vec<Option<Instant>>,
}

impl Datagrams {
    /// Returns an error if no socket can be opened, and `None` if there is no route to the target.
    pub fn open(
        job: &ProbeJob,
        target: SocketAddrV4,
        question: Question,
    ) -> io::Result<Option<Self>> {
        let socket = match question {
            Question::Echo(_) => job.socket(Type::RAW, Protocol::ICMPV4)?,
            Question::Dns(_) => job.socket(Type::DGRAM, Protocol::UDP)?,
        };
        // From now on the socket receives only what the target sends.
        match socket.connect(&target.into()) {
            Ok(()) => Ok(Some(Self::over(socket, question))),
            Err(_) => Ok(None),
        }
    }

    pub fn over(socket: Socket, question: Question) -> Self {
        Self { socket, question, sent: Vec::new() }
    }

    pub fn ask(&mut self, count: u32, result: &mut TargetResult) {
        for _ in 0..count {
            let packet = self.question.encode(self.sent.len() as u16);
            self.sent.push(Some(Instant::now()));
            result.sent += 1;
            // A packet that cannot be sent is lost: no route, a full queue, a firewall rule.
            let _ = self.socket.send(&packet);
        }
    }

    /// Adds the socket to those that poll(2) watches.
    pub fn watch<'a>(&'a self, watched: &mut Vec<PollFd<'a>>) {
        watched.push(PollFd::new(self.socket.as_fd(), PollFlags::POLLIN));
    }

    /// Counts the answers that have arrived. It reads no more packets than were sent, so that a target
    /// that sends without end cannot delay the others.
    pub fn receive(&mut self, result: &mut TargetResult) {
        let mut packet = [0; 2048];
        for _ in 0..self.sent.len() {
            match (&self.socket).read(&mut packet) {
                Ok(length) => self.count(&packet[..length], result),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP error, or a device that went down. Reading the error has cleared it, and
                // answers may follow.
                Err(_) => {}
            }
        }
    }

    /// A second answer to the same probe does not count.
    fn count(&mut self, packet: &[u8], result: &mut TargetResult) {
        let Some(number) = self.question.decode(packet) else { return };
        let Some(sent) = self.sent.get_mut(usize::from(number)) else { return };
        if let Some(at) = sent.take() {
            result.add(at.elapsed());
        }
    }
}
