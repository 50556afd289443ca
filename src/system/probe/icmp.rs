//! ICMP echo (RFC 792): the request, and which reply belongs to it. Pure.
//!
//! The requests use a raw socket, because by default the kernel refuses its ping sockets even to root
//! (`net.ipv4.ping_group_range`).

use super::random;

const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// The length of type, code, checksum, identifier and sequence number. The token follows.
const HEADER: usize = 8;

/// The echo requests to one target. The token tells their replies from those to other programs.
pub struct Echo {
    pub token: [u8; 8],
}

impl Echo {
    pub fn new() -> Self {
        Self { token: random().to_be_bytes() }
    }

    /// The request with this sequence number. The identifier is a part of the token, because
    /// conntrack distinguishes flows by it.
    pub fn encode(&self, number: u16) -> Vec<u8> {
        let mut message = vec![ECHO, 0, 0, 0, self.token[0], self.token[1]];
        message.extend(number.to_be_bytes());
        message.extend(self.token);
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    }

    /// The sequence number of the request that a packet, with its IP header, replies to.
    pub fn decode(&self, packet: &[u8]) -> Option<u16> {
        let ip_header = usize::from(packet.first()? & 0xf) * 4;
        let message = packet.get(ip_header..)?;
        let token = message.get(HEADER..HEADER + self.token.len())?;
        let is_reply = message[..2] == [ECHO_REPLY, 0];
        if is_reply && token == self.token && message[4..6] == self.token[..2] {
            Some(u16::from_be_bytes([message[6], message[7]]))
        } else {
            None
        }
    }
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0;
    for pair in bytes.chunks_exact(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    let sum = (sum >> 16) + (sum & 0xffff);
    !((sum >> 16) + sum) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reply_to_our_own_request_counts() {
        let echo = Echo { token: *b"wanpool!" };
        let mut message = echo.encode(7);
        assert_eq!(checksum(&message), 0, "a right checksum makes the sum 0");
        let packet = |message: &[u8]| [&[0x45; 20], message].concat();
        assert_eq!(echo.decode(&packet(&message)), None, "our own request");
        message[0] = ECHO_REPLY;
        assert_eq!(echo.decode(&packet(&message)), Some(7));
        assert_eq!(Echo { token: *b"another!" }.decode(&packet(&message)), None);
        message[4] ^= 1;
        assert_eq!(echo.decode(&packet(&message)), None, "another identifier");
    }

    #[test]
    fn a_truncated_reply_does_not_count() {
        let echo = Echo { token: *b"wanpool!" };
        let mut packet = [&[0x45; 20], &echo.encode(7)[..]].concat();
        packet[20] = ECHO_REPLY;
        assert_eq!(echo.decode(&packet), Some(7));
        for length in 0..packet.len() {
            assert_eq!(echo.decode(&packet[..length]), None);
        }
    }
}
