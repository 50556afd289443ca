//! Exchanges with the kernel: a request and its acknowledgement, a dump and its end.
//!
//! One blocking socket a protocol, one exchange at a time: the kernel answers while we wait. A dump
//! whose end did not arrive, or that the kernel reports as interrupted by a change, is never taken
//! for whole. Errors are the kernel's, in its own words where it gave any.

use std::cell::{Cell, RefCell};
use std::io;

use anyhow::{Context, Result, anyhow, bail};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer,
};
use rtnetlink::sys::{Socket, SocketAddr};

use super::message::{Message, attributes, find, truncated};
use crate::error::{Error, KernelError};

// The types of messages that are about the exchange itself: linux/netlink.h.
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;

/// How often an interrupted dump is begun anew.
const DUMP_ATTEMPTS: usize = 20;

/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// The errno with which an error, or the end of a dump, begins.
const ERRNO: usize = 4;

/// Room for one answer. The kernel fills at most 32 KiB of a dump at once (`netlink_recvmsg`); a
/// device with many virtual functions can be longer than that.
const ROOM: usize = 1 << 18;

/// Of `recv(2)`: the length of what came, even if there was no room for all of it.
const MSG_TRUNC: i32 = 0x20;

/// A socket of one netlink protocol.
pub struct NetlinkSocket {
    socket: Socket,
    sequence: Cell<u32>,
    /// Where answers arrive: one buffer for all of them.
    room: RefCell<Vec<u8>>,
}

impl NetlinkSocket {
    pub fn open(protocol: isize) -> Result<Self> {
        let tried = "opening a netlink socket";
        let mut socket = Socket::new(protocol).context(tried)?;
        socket.bind_auto().context(tried)?;
        // Strict: dumps are filtered by the kernel. Ext and cap: errors carry its words, and no
        // copy of what we sent.
        socket.set_netlink_get_strict_chk(true)?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        Ok(Self { socket, sequence: Cell::new(0), room: RefCell::new(Vec::with_capacity(ROOM)) })
    }

    /// Sends one message and waits for its acknowledgement. Returns what the kernel sent before it.
    pub fn request(&self, message: Message, flags: u16) -> Result<Vec<Message>> {
        let mut answers = Vec::new();
        self.exchange(&message, NLM_F_REQUEST | NLM_F_ACK | flags, &mut |answer| {
            answers.push(answer.to_owned());
            Ok(())
        })?;
        Ok(answers)
    }

    /// Asks for a dump and returns all of it, unchanged while it was read.
    pub fn dump(&self, message: Message) -> Result<Vec<Message>> {
        self.dump_into(message, |answers: &mut Vec<Message>, answer| {
            answers.push(answer.to_owned());
            Ok(())
        })
    }

    /// The same for what comes in tens of thousands: each answer is taken from where it arrived. A
    /// dump that was interrupted is begun anew, with nothing taken.
    pub fn dump_into<T: Default>(
        &self,
        message: Message,
        take: impl Fn(&mut T, &Message<&[u8]>) -> Result<()>,
    ) -> Result<T> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut taken = T::default();
            let flags = NLM_F_REQUEST | NLM_F_DUMP;
            if self.exchange(&message, flags, &mut |answer| take(&mut taken, answer))?
                == DumpStatus::Complete
            {
                return Ok(taken);
            }
        }
        Err(anyhow!("the kernel's tables change faster than they can be read; try again"))
    }

    /// Hands over the answers, to the last one: a dump that is left half read would be in the way
    /// of the next.
    fn exchange(&self, message: &Message, flags: u16, take: &mut Take) -> Result<DumpStatus> {
        let sequence = self.send(message, flags).context("asking the kernel")?;
        let mut room = self.room.borrow_mut();
        let mut exchange = Exchange { sequence, whole: DumpStatus::Complete, failure: None, take };
        loop {
            self.receive(&mut room).context("hearing the kernel's answer")?;
            if exchange.is_over(&room)? {
                return match exchange.failure {
                    Some(error) => Err(error),
                    None => Ok(exchange.whole),
                };
            }
        }
    }

    /// Returns the number that the answers will carry.
    fn send(&self, message: &Message, flags: u16) -> io::Result<u32> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let length = u32::try_from(HEADER + message.payload.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER + message.payload.len());
        bytes.extend(length.to_ne_bytes());
        bytes.extend(message.kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&message.payload);
        let kernel = SocketAddr::new(0, 0);
        uninterrupted(|| self.socket.send_to(&bytes, &kernel, 0))?;
        Ok(sequence)
    }

    /// Fills `room` with what the kernel, and nobody else, has sent.
    fn receive(&self, room: &mut Vec<u8>) -> io::Result<()> {
        loop {
            room.clear();
            let (length, from) = uninterrupted(|| self.socket.recv_from(room, MSG_TRUNC))?;
            if length > room.len() {
                return Err(io::Error::other(format!("it is {length} bytes long")));
            }
            if from.port_number() == 0 {
                return Ok(());
            }
        }
    }
}

/// Tries again when a signal came between.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

type Take<'a> = dyn FnMut(&Message<&[u8]>) -> Result<()> + 'a;

/// Whether the kernel says that the parts of a dump fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DumpStatus {
    Complete,
    Interrupted,
}

/// The answers to one message, as they come in.
struct Exchange<'a, 'b> {
    sequence: u32,
    whole: DumpStatus,
    /// Why an answer could not be taken: the first such reason.
    failure: Option<anyhow::Error>,
    take: &'a mut Take<'b>,
}

impl Exchange<'_, '_> {
    /// Takes the messages of one datagram. Says whether the last has come; the error is the
    /// kernel's own.
    fn is_over(&mut self, mut datagram: &[u8]) -> Result<bool> {
        while !datagram.is_empty() {
            let message = NetlinkBuffer::new_checked(datagram)
                .map_err(|error| anyhow!("malformed netlink message from the kernel: {error}"))?;
            let length = (message.length() as usize).next_multiple_of(4);
            if message.sequence_number() == self.sequence && self.is_last(&message)? {
                return Ok(true);
            }
            datagram = datagram.get(length..).unwrap_or_default();
        }
        Ok(false)
    }

    fn is_last(&mut self, message: &NetlinkBuffer<&[u8]>) -> Result<bool> {
        if message.flags() & NLM_F_DUMP_INTR != 0 {
            self.whole = DumpStatus::Interrupted;
        }
        match message.message_type() {
            NLMSG_NOOP => Ok(false),
            NLMSG_OVERRUN => bail!("the kernel had more to say than the socket could hold"),
            NLMSG_DONE => ended(message, ERRNO),
            // The header of the message that it is about stands before the kernel's words.
            NLMSG_ERROR => ended(message, ERRNO + HEADER),
            kind => {
                if self.failure.is_none() {
                    self.failure = (self.take)(&Message { kind, payload: message.payload() }).err();
                }
                Ok(false)
            }
        }
    }
}

/// The end of an exchange: done, or the kernel's reason why not, with its words at `words`.
fn ended(message: &NetlinkBuffer<&[u8]>, words: usize) -> Result<bool> {
    let payload = message.payload();
    let errno = payload.first_chunk().copied().map(i32::from_ne_bytes);
    match errno.ok_or_else(|| truncated(message.message_type()))? {
        // The end of a dump may carry its length.
        0.. => Ok(true),
        errno => {
            let words = payload.get(words..).unwrap_or_default();
            Err(Error::Kernel(refusal(errno, &attributes(words).unwrap_or_default())).into())
        }
    }
}

/// `NLMSGERR_ATTR_MSG` of `linux/netlink.h`: the kernel's own words.
const ERROR_TEXT: u16 = 1;

/// `errno` is negative, as the kernel sends it; `attributes` are those behind it.
pub(super) fn refusal(errno: i32, attributes: &[(u16, &[u8])]) -> KernelError {
    let words = find(attributes, ERROR_TEXT)
        .map(|value| String::from_utf8_lossy(value).trim_end_matches(['\0', '.']).to_owned());
    KernelError { errno: errno.saturating_neg(), words }
}

#[cfg(test)]
mod tests;
