//! Exchanges with the kernel: a request and its acknowledgement, or a dump and its end.
//!
//! There is one blocking socket for each protocol, and one exchange at a time. A dump is complete
//! only if its end arrived and the kernel did not report that a change interrupted it. An error of
//! the kernel is returned with the text that the kernel sent, if it sent one.

use std::cell::{Cell, RefCell};
use std::io;

use anyhow::{Context, Result, anyhow, bail};
use nix::libc::ENOENT;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer,
};
use rtnetlink::sys::{Socket, SocketAddr};

use super::message::{Message, attributes, cut_short, find, malformed, text};
use crate::error::{self, Error, KernelError};

// The types of the messages that control the exchange: linux/netlink.h.
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;

/// How many times a dump is requested while changes interrupt it.
pub(super) const MAX_DUMPS: usize = 20;

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// The length of the errno with which an error and the end of a dump begin.
const ERRNO: usize = 4;

/// The size of the buffer for one datagram. The kernel puts at most 32 KiB of a dump into one
/// (`netlink_recvmsg`), but the message of a device with many virtual functions can be longer.
const BUFFER_SIZE: usize = 1 << 18;

/// A flag of `recv(2)`: return the length of the datagram, even if the buffer is shorter.
const MSG_TRUNC: i32 = 0x20;

/// A socket for one netlink protocol.
pub struct NetlinkSocket {
    socket: Socket,
    sequence: Cell<u32>,
    /// The buffer for the answers.
    buffer: RefCell<Vec<u8>>,
}

impl NetlinkSocket {
    pub fn open(protocol: isize) -> Result<Self> {
        let socket = open_socket(protocol).context("opening a netlink socket")?;
        let buffer = RefCell::new(Vec::with_capacity(BUFFER_SIZE));
        Ok(Self { socket, sequence: Cell::new(0), buffer })
    }

    /// Sends one message and waits for its acknowledgement. Returns the messages that the kernel
    /// sent before that.
    pub fn request(&self, message: Message, flags: u16) -> Result<Vec<Message>> {
        let mut answers = Vec::new();
        self.exchange(&message, NLM_F_REQUEST | NLM_F_ACK | flags, &mut |answer| {
            answers.push(answer.to_owned());
            Ok(())
        })?;
        Ok(answers)
    }

    /// Sends a request that the kernel only acknowledges.
    pub fn change(&self, message: Message, flags: u16) -> Result<()> {
        self.request(message, flags)?;
        Ok(())
    }

    /// Requests a dump and returns all its messages.
    pub fn dump(&self, message: Message) -> Result<Vec<Message>> {
        self.dump_into(message, |answers: &mut Vec<Message>, answer| {
            answers.push(answer.to_owned());
            Ok(())
        })
    }

    /// Requests a dump of possibly tens of thousands of messages. `take` adds each of them to the
    /// result without a copy. When a change interrupts the dump, it is requested again and the
    /// result starts empty.
    pub fn dump_into<T: Default>(
        &self,
        message: Message,
        take: impl Fn(&mut T, &Message<&[u8]>) -> Result<()>,
    ) -> Result<T> {
        for _ in 0..MAX_DUMPS {
            let mut result = T::default();
            let mut take_one = |answer: &Message<&[u8]>| take(&mut result, answer);
            let status = self.exchange(&message, NLM_F_REQUEST | NLM_F_DUMP, &mut take_one)?;
            if status == DumpStatus::Complete {
                return Ok(result);
            }
        }
        Err(anyhow!("the kernel's tables change faster than they can be read; try again"))
    }

    /// Sends a message and passes each answer to `take`. It receives all answers even if `take`
    /// fails, because the rest of a dump would otherwise arrive in the next exchange.
    fn exchange(&self, message: &Message, flags: u16, take: &mut Take) -> Result<DumpStatus> {
        let sequence = self.send(message, flags).context("sending a netlink request")?;
        let mut buffer = self.buffer.borrow_mut();
        let mut exchange = Exchange { sequence, status: DumpStatus::Complete, failure: None, take };
        loop {
            self.receive(&mut buffer).context("receiving a netlink answer")?;
            if exchange.read_datagram(&buffer)? {
                break;
            }
        }
        match exchange.failure {
            Some(error) => Err(error),
            None => Ok(exchange.status),
        }
    }

    /// Returns the sequence number of the request, which the answers have too.
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
        retry_interrupted(|| self.socket.send_to(&bytes, &kernel, 0))?;
        Ok(sequence)
    }

    /// Receives one datagram into `buffer`. Datagrams that do not come from the kernel (port 0) are
    /// ignored.
    fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        loop {
            buffer.clear();
            let (length, from) = retry_interrupted(|| self.socket.recv_from(buffer, MSG_TRUNC))?;
            if length > buffer.len() {
                return Err(io::Error::other(format!("{length} bytes do not fit the buffer")));
            }
            if from.port_number() == 0 {
                return Ok(());
            }
        }
    }
}

/// The result of a request about an object; `None` if the object does not exist (ENOENT).
pub(super) fn if_exists<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error::errno(&error) == Some(ENOENT) => Ok(None),
        result => result.map(Some),
    }
}

fn open_socket(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    // The kernel filters dumps by the attributes of the request.
    socket.set_netlink_get_strict_chk(true)?;
    // Errors of the kernel have a text, and no copy of the request.
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    Ok(socket)
}

/// Repeats a call that a signal interrupted.
fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

type Take<'a> = dyn FnMut(&Message<&[u8]>) -> Result<()> + 'a;

/// Whether a change interrupted a dump, so that objects may be missing or listed twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DumpStatus {
    Complete,
    Interrupted,
}

/// The state of an exchange while its answers arrive.
struct Exchange<'a, 'b> {
    sequence: u32,
    status: DumpStatus,
    /// The first error of `take`.
    failure: Option<anyhow::Error>,
    take: &'a mut Take<'b>,
}

impl Exchange<'_, '_> {
    /// Reads the messages in one datagram. Returns whether the last message of the exchange was
    /// among them, or the error that the kernel sent.
    fn read_datagram(&mut self, mut datagram: &[u8]) -> Result<bool> {
        while !datagram.is_empty() {
            let message = NetlinkBuffer::new_checked(datagram).map_err(malformed)?;
            let length = (message.length() as usize).next_multiple_of(4);
            if message.sequence_number() == self.sequence && self.read_message(&message)? {
                return Ok(true);
            }
            datagram = datagram.get(length..).unwrap_or_default();
        }
        Ok(false)
    }

    /// Returns whether this is the last message of the exchange.
    fn read_message(&mut self, message: &NetlinkBuffer<&[u8]>) -> Result<bool> {
        if message.flags() & NLM_F_DUMP_INTR != 0 {
            self.status = DumpStatus::Interrupted;
        }
        match message.message_type() {
            NLMSG_NOOP => Ok(false),
            NLMSG_OVERRUN => bail!("the kernel lost netlink messages (NLMSG_OVERRUN)"),
            NLMSG_DONE => read_end(message, ERRNO),
            // The header of the request stands between the errno and the attributes.
            NLMSG_ERROR => read_end(message, ERRNO + HEADER),
            kind => {
                if self.failure.is_none() {
                    self.failure = (self.take)(&Message { kind, payload: message.payload() }).err();
                }
                Ok(false)
            }
        }
    }
}

/// Reads the last message of an exchange. Returns the error if the kernel sent one, whose attributes
/// begin at `attributes_at`.
fn read_end(message: &NetlinkBuffer<&[u8]>, attributes_at: usize) -> Result<bool> {
    let payload = message.payload();
    let errno = payload.first_chunk().copied().map(i32::from_ne_bytes);
    match errno.ok_or_else(|| cut_short(message.message_type()))? {
        // The end of a dump may have the number of its messages in place of 0.
        0.. => Ok(true),
        errno => {
            let rest = payload.get(attributes_at..).unwrap_or_default();
            Err(Error::Kernel(kernel_error(errno, &attributes(rest).unwrap_or_default())).into())
        }
    }
}

/// The text of an error: `NLMSGERR_ATTR_MSG` of `linux/netlink.h`.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// `errno` is negative, as the kernel sends it.
pub(super) fn kernel_error(errno: i32, attributes: &[(u16, &[u8])]) -> KernelError {
    let words = find(attributes, NLMSGERR_ATTR_MSG).map(text);
    let words = words.map(|words| words.trim_end_matches('.').to_owned());
    KernelError { errno: errno.saturating_neg(), words }
}

#[cfg(test)]
mod tests;
