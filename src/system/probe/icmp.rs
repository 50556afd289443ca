//! ICMP echo (RFC 792). A raw socket: the kernel's own ping sockets are closed to root by default
//! (`net.ipv4.ping_group_range`).

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Protocol, Type};

use super::{ProbeJob, TargetResult, exchange, random};

const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// Type, code, checksum, identifier, number; behind it our token.
const HEADER: usize = 8;

pub fn ask(line: &ProbeJob, address: Ipv4Addr) -> io::Result<TargetResult> {
    let socket = line.socket(Type::RAW, Some(Protocol::ICMPV4))?;
    let token = random().to_be_bytes();
    // From now on only what this address sends comes in. Without a route nothing does.
    if socket.connect(&SocketAddrV4::new(address, 0).into()).is_err() {
        return Ok(TargetResult { sent: line.count, ..TargetResult::default() });
    }
    exchange(line, &socket, |number| echo(number, token), |packet| reply(packet, token))
}

/// The identifier is of the token too: conntrack tells flows apart by it.
fn echo(number: u16, token: [u8; 8]) -> Vec<u8> {
    let mut message = vec![ECHO, 0, 0, 0, token[0], token[1]];
    message.extend(number.to_be_bytes());
    message.extend(token);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The number of the echo that a packet, with its IP header, replies to.
pub(super) fn reply(packet: &[u8], token: [u8; 8]) -> Option<u16> {
    let ip_header = usize::from(packet.first()? & 0xf) * 4;
    let message = packet.get(ip_header..)?;
    let is_ours = message.get(HEADER..HEADER + token.len())? == token
        && message[..2] == [ECHO_REPLY, 0]
        && message[4..6] == token[..2];
    is_ours.then(|| u16::from_be_bytes([message[6], message[7]]))
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    !((sum >> 16) + sum) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reply_to_ones_own_echo_counts() {
        let token = *b"wanpool!";
        let mut echo = echo(7, token);
        assert_eq!(checksum(&echo), 0, "a right checksum makes the sum 0");
        let packet = |message: &[u8]| [&[0x45; 20], message].concat();
        assert_eq!(reply(&packet(&echo), token), None, "our own echo");
        echo[0] = ECHO_REPLY;
        assert_eq!(reply(&packet(&echo), token), Some(7));
        assert_eq!(reply(&packet(&echo), *b"another!"), None);
        echo[4] ^= 1;
        assert_eq!(reply(&packet(&echo), token), None, "another identifier");
        for cut in 0..packet(&echo).len() {
            assert_eq!(reply(&packet(&echo)[..cut], token), None);
        }
    }
}
