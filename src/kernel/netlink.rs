//! Netlink exchanges: a request and its acknowledgement, a dump and its end.
//!
//! Runs on `rtnetlink::proto`. A message is carried undecoded ([`Raw`]), so that one that cannot be
//! decoded spoils nothing but itself; the modules beside this one know what is in it. A dump whose
//! end did not arrive, or that the kernel reports as interrupted by a change, is never taken for
//! whole. Errors are the kernel's, in its own words where it gave any.

use anyhow::{Result, anyhow};
use futures_util::StreamExt;
use rtnetlink::packet_core::{
    NLA_HEADER_SIZE, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlaBuffer, NlasIterator,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::proto::ConnectionHandle;
use rtnetlink::sys::{AsyncSocket, SocketAddr};

use super::error::KernelError;

mod socket;

use socket::{Fault, Remembering};

/// `NETLINK_ROUTE` and `NETLINK_NETFILTER` of `linux/netlink.h`.
pub const ROUTE: isize = 0;
pub const NETFILTER: isize = 12;

/// How often an interrupted dump is begun anew.
const DUMP_ATTEMPTS: usize = 20;

/// The header of the message that an error is about; the kernel's own words stand behind it.
const MESSAGE_HEADER: usize = 16;

/// A netlink message of whatever protocol: its type and the bytes behind its header.
#[derive(Clone, Debug)]
pub struct Raw {
    pub kind: u16,
    pub payload: Vec<u8>,
}

impl NetlinkSerializable for Raw {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.payload.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.payload);
    }
}

impl NetlinkDeserializable for Raw {
    type Error = std::convert::Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        Ok(Raw { kind: header.message_type, payload: payload.to_vec() })
    }
}

impl From<RouteNetlinkMessage> for Raw {
    fn from(message: RouteNetlinkMessage) -> Self {
        let mut payload = vec![0; message.buffer_len()];
        message.serialize(&mut payload);
        Raw { kind: message.message_type(), payload }
    }
}

impl Raw {
    /// Decodes a message of the route family with the types of `netlink-packet-route`.
    pub fn decode(&self) -> Result<RouteNetlinkMessage> {
        let mut header = NetlinkHeader::default();
        header.message_type = self.kind;
        RouteNetlinkMessage::deserialize(&header, &self.payload)
            .map_err(|error| anyhow!("the kernel's answer makes no sense: {error}"))
    }

    /// The fixed part of the message, which is `N` bytes long.
    pub fn fixed<const N: usize>(&self) -> Result<[u8; N]> {
        self.payload.first_chunk().copied().ok_or_else(|| truncated(self.kind))
    }

    /// The attributes behind a fixed part of `skip` bytes: type and value.
    pub fn attributes(&self, skip: usize) -> Result<Vec<(u16, &[u8])>> {
        self.each_attribute(skip)?.collect()
    }

    /// The same one by one, for what comes in tens of thousands.
    pub fn each_attribute(
        &self,
        skip: usize,
    ) -> Result<impl Iterator<Item = Result<(u16, &[u8])>>> {
        Ok(each_attribute(self.payload.get(skip..).ok_or_else(|| truncated(self.kind))?))
    }
}

fn truncated(kind: u16) -> anyhow::Error {
    anyhow!("the kernel's answer makes no sense: a message of type {kind} is cut short")
}

/// Splits a run of attributes: type, without its flag bits, and value.
pub fn attributes(bytes: &[u8]) -> Result<Vec<(u16, &[u8])>> {
    each_attribute(bytes).collect()
}

pub fn each_attribute(bytes: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8])>> {
    NlasIterator::new(bytes).map(|nla| {
        let nla: NlaBuffer<&[u8]> =
            nla.map_err(|error| anyhow!("the kernel's answer makes no sense: {error}"))?;
        let (kind, length) = (nla.kind(), usize::from(nla.length()));
        Ok((kind, &nla.into_inner()[NLA_HEADER_SIZE..length]))
    })
}

/// The value of the first attribute of a type.
pub fn find<'a>(attributes: &[(u16, &'a [u8])], wanted: u16) -> Option<&'a [u8]> {
    attributes.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| *value)
}

/// The attributes of an error, which may have none.
fn attributes_or_none(bytes: &[u8]) -> Vec<(u16, &[u8])> {
    attributes(bytes).unwrap_or_default()
}

/// A number as the kernel writes it into an attribute; `None` if the attribute has another size.
pub fn native_u32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

pub fn big_endian_u32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

/// Writes attributes, each padded to four bytes (`NLA_ALIGNTO`).
#[derive(Default)]
pub struct Writer(Vec<u8>);

/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
pub const NESTED: u16 = 0x8000;
pub const NET_BYTEORDER: u16 = 0x4000;

impl Writer {
    /// Begins with the fixed part of a message.
    pub fn new(fixed: &[u8]) -> Self {
        Self(fixed.to_vec())
    }

    pub fn put(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (value.len() + 4) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub fn put_str(self, kind: u16, text: &str) -> Self {
        self.put(kind, &[text.as_bytes(), b"\0"].concat())
    }

    pub fn nest(self, kind: u16, inner: Writer) -> Self {
        self.put(kind | NESTED, &inner.0)
    }

    pub fn into_message(self, kind: u16) -> Raw {
        Raw { kind, payload: self.0 }
    }
}

/// A socket of one netlink protocol.
pub struct Channel {
    handle: ConnectionHandle<Raw>,
    fault: Fault,
}

impl Channel {
    /// Opens a socket; its connection lives on the runtime this is called in.
    pub fn open(protocol: isize) -> Result<Self> {
        let (mut connection, handle, _) =
            rtnetlink::proto::new_connection_with_socket::<Raw, Remembering>(protocol)?;
        let fault = connection.socket_mut().fault();
        connection.set_forward_done(true);
        connection.set_forward_ack(true);
        let socket = connection.socket_mut().socket_mut();
        // Strict: dumps are filtered by the kernel. Ext and cap: errors carry its words, and no
        // copy of what we sent.
        socket.set_netlink_get_strict_chk(true)?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        tokio::spawn(connection);
        Ok(Self { handle, fault })
    }

    /// Sends one message and waits for its acknowledgement. Returns what the kernel sent before it.
    pub async fn request(&self, message: Raw, flags: u16) -> Result<Vec<Raw>> {
        let (answers, _) = self.exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags).await?;
        Ok(answers)
    }

    /// Asks for a dump and returns all of it, unchanged while it was read.
    pub async fn dump(&self, message: Raw) -> Result<Vec<Raw>> {
        for _ in 0..DUMP_ATTEMPTS {
            let (answers, interrupted) =
                self.exchange(message.clone(), NLM_F_REQUEST | NLM_F_DUMP).await?;
            if !interrupted {
                return Ok(answers);
            }
        }
        Err(anyhow!("the kernel's tables change faster than they can be read; try again"))
    }

    /// The answers, and whether the kernel says that they do not fit together.
    async fn exchange(&self, message: Raw, flags: u16) -> Result<(Vec<Raw>, bool)> {
        let mut request =
            NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
        request.header.flags = flags;
        request.finalize();
        let mut stream = self
            .handle
            .request(request, SocketAddr::new(0, 0))
            .map_err(|error| self.broken().unwrap_or_else(|| error.into()))?;
        let mut answers = Vec::new();
        let mut interrupted = false;
        while let Some(NetlinkMessage { header, payload, .. }) = stream.next().await {
            interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
            match payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(KernelError::new(
                        done.code,
                        &attributes_or_none(&done.extended_ack),
                    )
                    .into());
                }
                NetlinkPayload::Done(_) => return Ok((answers, interrupted)),
                NetlinkPayload::Error(error) => match error.code {
                    None => return Ok((answers, interrupted)),
                    Some(code) => {
                        let text = error.header.get(MESSAGE_HEADER..).unwrap_or_default();
                        return Err(KernelError::new(code.get(), &attributes_or_none(text)).into());
                    }
                },
                NetlinkPayload::Overrun(_) => {
                    return Err(anyhow!("the kernel had more to say than the socket could hold"));
                }
                _ => {}
            }
        }
        Err(self.broken().unwrap_or_else(|| anyhow!("the kernel's answer broke off")))
    }

    /// Why the socket is of no use any more.
    fn broken(&self) -> Option<anyhow::Error> {
        self.fault.get().map(anyhow::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_read_back_as_written() {
        let message = Writer::new(&[0; 8])
            .put_str(2, "wanpool")
            .nest(7, Writer::default().put(1, &[1, 2, 3, 4]))
            .into_message(9);
        let read = message.attributes(8).unwrap();
        assert_eq!(read[0], (2, b"wanpool\0".as_slice()));
        assert_eq!(attributes(read[1].1).unwrap(), [(1, [1, 2, 3, 4].as_slice())]);
    }

    #[test]
    fn what_is_cut_short_is_an_error_not_a_panic() {
        let whole = Writer::default().put(1, &[1, 2, 3, 4]).put(2, &[5]).into_message(0);
        for length in [1, 3, 5, 7, 9, 12] {
            let cut = Raw { kind: 0, payload: whole.payload[..length].to_vec() };
            assert!(cut.attributes(0).is_err() || length == 8, "{length}");
        }
        assert!(whole.attributes(100).is_err());
    }
}
