//! Netlink messages and their attributes, written and read.
//!
//! A [`Message`] is carried undecoded, so that one that cannot be decoded affects no other. The files
//! beside this one know what is in it, and [`super::NetlinkSocket`] exchanges it with the kernel.

use anyhow::{Result, anyhow};
use rtnetlink::packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};
use rtnetlink::packet_route::RouteNetlinkMessage;

/// `AF_INET`, as it stands in netlink headers.
pub const AF_INET: u8 = 2;

/// `struct nfgenmsg`, which begins each message of nfnetlink: version, resource id.
pub const NFGENMSG: usize = 4;

/// `struct nlattr`: length and type. Attributes begin at multiples of this too (`NLA_ALIGNTO`).
const ATTRIBUTE_HEADER: usize = 4;

/// A netlink message of whatever protocol: its type and the bytes behind its header.
#[derive(Clone, Debug)]
pub struct Message<B = Vec<u8>> {
    pub kind: u16,
    pub payload: B,
}

impl From<RouteNetlinkMessage> for Message {
    fn from(message: RouteNetlinkMessage) -> Self {
        let mut payload = vec![0; message.buffer_len()];
        message.serialize(&mut payload);
        Message { kind: message.message_type(), payload }
    }
}

impl<B: AsRef<[u8]>> Message<B> {
    /// Decodes a message of the route family with the types of `netlink-packet-route`.
    pub fn decode(&self) -> Result<RouteNetlinkMessage> {
        let mut header = NetlinkHeader::default();
        header.message_type = self.kind;
        RouteNetlinkMessage::deserialize(&header, self.payload.as_ref())
            .map_err(|error| anyhow!("malformed netlink message from the kernel: {error}"))
    }

    /// The fixed part of the message, which is `N` bytes long.
    pub fn fixed<const N: usize>(&self) -> Result<[u8; N]> {
        self.payload.as_ref().first_chunk().copied().ok_or_else(|| truncated(self.kind))
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
        let payload = self.payload.as_ref();
        Ok(each_attribute(payload.get(skip..).ok_or_else(|| truncated(self.kind))?))
    }
}

pub fn truncated(kind: u16) -> anyhow::Error {
    anyhow!("malformed netlink message from the kernel: a message of type {kind} is cut short")
}

/// Splits a run of attributes: type, without its flag bits, and value.
pub fn attributes(bytes: &[u8]) -> Result<Vec<(u16, &[u8])>> {
    each_attribute(bytes).collect()
}

/// By hand, since a hundred thousand neighbours have several each.
pub fn each_attribute(mut rest: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8])>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let attribute = rest.first_chunk().and_then(|&[l0, l1, k0, k1]| {
            let length = usize::from(u16::from_ne_bytes([l0, l1]));
            let kind = u16::from_ne_bytes([k0, k1]) & !(NESTED | NET_BYTEORDER);
            Some((kind, rest.get(ATTRIBUTE_HEADER..length)?, length))
        });
        let Some((kind, value, length)) = attribute else {
            rest = &[];
            return Some(Err(anyhow!(
                "malformed netlink message from the kernel: an attribute is cut short"
            )));
        };
        rest = rest.get(length.next_multiple_of(ATTRIBUTE_HEADER)..).unwrap_or_default();
        Some(Ok((kind, value)))
    })
}

/// The value of the first attribute of a type.
pub fn find<'a>(attributes: &[(u16, &'a [u8])], wanted: u16) -> Option<&'a [u8]> {
    attributes.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| *value)
}

/// A number as the kernel writes it into an attribute; `None` if the attribute has another size.
pub fn native_u32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

pub fn native_u64(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_ne_bytes)
}

pub fn big_endian_u32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

/// Writes attributes, each padded to four bytes (`NLA_ALIGNTO`).
#[derive(Default)]
pub struct MessageBuilder(Vec<u8>);

/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
pub const NESTED: u16 = 0x8000;
pub const NET_BYTEORDER: u16 = 0x4000;

impl MessageBuilder {
    /// Begins with the fixed part of a message.
    pub fn new(fixed: &[u8]) -> Self {
        Self(fixed.to_vec())
    }

    pub fn put(mut self, kind: u16, value: &[u8]) -> Self {
        let at = self.begin(kind);
        self.0.extend(value);
        self.end(at)
    }

    pub fn put_str(self, kind: u16, text: &str) -> Self {
        self.put(kind, &[text.as_bytes(), b"\0"].concat())
    }

    /// An attribute that holds others.
    pub fn nest(mut self, kind: u16, inner: impl FnOnce(MessageBuilder) -> MessageBuilder) -> Self {
        let at = self.begin(kind | NESTED);
        inner(self).end(at)
    }

    fn begin(&mut self, kind: u16) -> usize {
        let at = self.0.len();
        self.0.extend([0, 0]);
        self.0.extend(kind.to_ne_bytes());
        at
    }

    /// What is too long for its length to be said is refused by the kernel, not cut by us.
    fn end(mut self, at: usize) -> Self {
        let length = u16::try_from(self.0.len() - at).unwrap_or(u16::MAX);
        self.0[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub fn into_message(self, kind: u16) -> Message {
        Message { kind, payload: self.0 }
    }
}

impl Message<&[u8]> {
    pub fn to_owned(&self) -> Message {
        Message { kind: self.kind, payload: self.payload.to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_read_back_as_written() {
        let message = MessageBuilder::new(&[0; 8])
            .put_str(2, "wanpool")
            .nest(7, |inner| inner.put(1, &[1, 2, 3, 4]))
            .into_message(9);
        let read = message.attributes(8).unwrap();
        assert_eq!(read[0], (2, b"wanpool\0".as_slice()));
        assert_eq!(attributes(read[1].1).unwrap(), [(1, [1, 2, 3, 4].as_slice())]);
    }

    #[test]
    fn what_is_cut_short_is_an_error_not_a_panic() {
        let whole = MessageBuilder::default().put(1, &[1, 2, 3, 4]).put(2, &[5]).into_message(0);
        for length in [1, 3, 5, 7, 9, 12] {
            let cut = Message { kind: 0, payload: whole.payload[..length].to_vec() };
            assert!(cut.attributes(0).is_err() || length == 8, "{length}");
        }
        assert!(whole.attributes(100).is_err());
    }
}
