//! Netlink messages and their attributes, written and read.
//!
//! A [`Message`] has undecoded bytes, so that a message that cannot be decoded does not affect
//! others. This file does not know what the bytes mean: the files beside it do, and
//! [`super::NetlinkSocket`] exchanges them with the kernel.

use std::fmt;
use std::net::IpAddr;

use anyhow::{Result, anyhow};
use rtnetlink::packet_core::{Emitable, Parseable};

/// `AF_INET`, as it stands in netlink headers.
pub const AF_INET: u8 = 2;

/// The length of `struct nfgenmsg`, with which each message of nfnetlink begins: address family,
/// version, resource id.
pub const NFGENMSG: usize = 4;

/// The length of `struct nlattr`: length and type. Attributes begin at multiples of it
/// (`NLA_ALIGNTO`).
const ATTRIBUTE_HEADER: usize = 4;

/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`, the flag bits in the type of an attribute.
pub const NESTED: u16 = 0x8000;
pub const NET_BYTEORDER: u16 = 0x4000;

/// A message of any netlink protocol: its type and the bytes behind its header.
#[derive(Clone, Debug)]
pub struct Message<B = Vec<u8>> {
    pub kind: u16,
    pub payload: B,
}

impl Message {
    /// Encodes a message type of `netlink-packet-route`.
    pub fn encode(kind: u16, content: &impl Emitable) -> Self {
        let mut payload = vec![0; content.buffer_len()];
        content.emit(&mut payload);
        Message { kind, payload }
    }
}

impl Message<&[u8]> {
    pub fn to_owned(&self) -> Message {
        Message { kind: self.kind, payload: self.payload.to_vec() }
    }
}

/// Decodes the messages of one type and leaves out what cannot be decoded: it has attributes that
/// wanpool never sets, so it belongs to another program.
pub fn decode_known<T: Parseable<[u8]>>(answers: &[Message], kind: u16) -> Vec<T> {
    let answers = answers.iter().filter(|answer| answer.kind == kind);
    answers.filter_map(|answer| answer.decode().ok()).collect()
}

impl<B: AsRef<[u8]>> Message<B> {
    /// Decodes the message as a type of `netlink-packet-route`. Only the decoder of this one type
    /// is linked; `RouteNetlinkMessage` would link those of all types.
    pub fn decode<T: Parseable<[u8]>>(&self) -> Result<T> {
        T::parse(self.payload.as_ref()).map_err(malformed)
    }

    /// The fixed part of the message, which is `N` bytes long.
    pub fn fixed<const N: usize>(&self) -> Result<[u8; N]> {
        self.payload.as_ref().first_chunk().copied().ok_or_else(|| cut_short(self.kind))
    }

    /// The attributes behind a fixed part of `skip` bytes: type and value.
    pub fn attributes(&self, skip: usize) -> Result<Vec<(u16, &[u8])>> {
        self.each_attribute(skip)?.collect()
    }

    /// The same attributes one by one, for dumps of tens of thousands of messages.
    pub fn each_attribute(
        &self,
        skip: usize,
    ) -> Result<impl Iterator<Item = Result<(u16, &[u8])>>> {
        let payload = self.payload.as_ref();
        Ok(each_attribute(payload.get(skip..).ok_or_else(|| cut_short(self.kind))?))
    }
}

pub fn malformed(reason: impl fmt::Display) -> anyhow::Error {
    anyhow!("malformed netlink message from the kernel: {reason}")
}

pub fn cut_short(kind: u16) -> anyhow::Error {
    malformed(format_args!("a message of type {kind} is cut short"))
}

/// Splits a sequence of attributes: type, without its flag bits, and value.
pub fn attributes(bytes: &[u8]) -> Result<Vec<(u16, &[u8])>> {
    each_attribute(bytes).collect()
}

/// The same attributes one by one. It does not use the iterator of the library because a neighbour
/// table can have a hundred thousand entries with several attributes each.
pub fn each_attribute(mut rest: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8])>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((kind, value, behind)) = split_attribute(rest) else {
            rest = &[];
            return Some(Err(malformed("an attribute is cut short")));
        };
        rest = behind;
        Some(Ok((kind, value)))
    })
}

/// Type and value of the first attribute, and the bytes behind it. The padding of the last
/// attribute may be missing.
fn split_attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let &[l0, l1, k0, k1] = bytes.first_chunk()?;
    let length = usize::from(u16::from_ne_bytes([l0, l1]));
    let kind = u16::from_ne_bytes([k0, k1]) & !(NESTED | NET_BYTEORDER);
    let value = bytes.get(ATTRIBUTE_HEADER..length)?;
    let rest = bytes.get(length.next_multiple_of(ATTRIBUTE_HEADER)..).unwrap_or_default();
    Some((kind, value, rest))
}

/// The value of the first attribute of a type.
pub fn find<'a>(attributes: &[(u16, &'a [u8])], wanted: u16) -> Option<&'a [u8]> {
    attributes.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| *value)
}

/// The number in an attribute, in the byte order of the machine. `None` if the attribute has
/// another size.
pub fn native_u32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

pub fn native_u64(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_ne_bytes)
}

pub fn big_endian_u32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

pub fn big_endian_u64(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

/// An IPv4 address of 4 bytes or an IPv6 address of 16.
pub fn ip_address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
    }
}

pub fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A text without the NUL at its end.
pub fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(b"\0").unwrap_or(value)).into_owned()
}

/// Writes a message, attribute by attribute.
#[derive(Default)]
pub struct MessageBuilder(Vec<u8>);

impl MessageBuilder {
    /// Begins with the fixed part of a message.
    pub fn new(fixed: &[u8]) -> Self {
        Self(fixed.to_vec())
    }

    pub fn put(mut self, kind: u16, value: &[u8]) -> Self {
        let start = self.begin(kind);
        self.0.extend(value);
        self.end(start)
    }

    pub fn put_str(self, kind: u16, text: &str) -> Self {
        self.put(kind, &[text.as_bytes(), b"\0"].concat())
    }

    /// An attribute that contains the attributes that `inner` puts.
    pub fn nest(mut self, kind: u16, inner: impl FnOnce(MessageBuilder) -> MessageBuilder) -> Self {
        let start = self.begin(kind | NESTED);
        inner(self).end(start)
    }

    /// Returns where the attribute begins.
    fn begin(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.0.extend([0, 0]);
        self.0.extend(kind.to_ne_bytes());
        start
    }

    /// Writes the length of the attribute that begins at `start`, and its padding. The length has
    /// 16 bits; the largest attribute that wanpool writes is a batch of set members, which is
    /// shorter.
    fn end(mut self, start: usize) -> Self {
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(ATTRIBUTE_HEADER), 0);
        self
    }

    pub fn into_message(self, kind: u16) -> Message {
        Message { kind, payload: self.0 }
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
        assert_eq!(text(read[0].1), "wanpool");
    }

    #[test]
    fn a_message_that_is_cut_short_is_an_error() {
        let whole = MessageBuilder::default().put(1, &[1, 2, 3, 4]).put(2, &[5]).into_message(0);
        for length in [1, 3, 5, 7, 9, 12] {
            let cut = Message { kind: 0, payload: whole.payload[..length].to_vec() };
            assert!(cut.attributes(0).is_err(), "{length}");
        }
        assert!(whole.attributes(100).is_err());
    }
}
