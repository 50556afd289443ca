//! TargetResult of servers that are broken or mean no good: no panic, and none is taken for an answer
//! that is not one to our question.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use socket2::Socket;

use super::{dns, icmp, stream};

const TOKEN: [u8; 8] = *b"wanpool!";

/// What a server sends, and whether that is taken for a page.
fn is_page(said: &[u8]) -> bool {
    let (mut server, client) = UnixStream::pair().unwrap();
    server.write_all(said).unwrap();
    drop(server);
    let mut socket = Socket::from(std::os::fd::OwnedFd::from(client));
    let deadline = Instant::now() + Duration::from_secs(60);
    stream::has_page(&mut socket, deadline).unwrap_or(false)
}

fn settings() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn no_packet_is_too_odd_to_be_refused(packet in vec(any::<u8>(), 0..128)) {
        // Nobody guesses the token.
        prop_assert_eq!(icmp::reply(&packet, TOKEN), None);
        let question = dns::question("example.org");
        prop_assert_eq!(dns::answered(&packet, 7, &question), None);
        prop_assert_eq!(is_page(&packet), packet.starts_with(b"HTTP/1.") && packet.get(8..10) == Some(b" 2"));
    }

    /// One byte of a right answer changed, or its end lost.
    #[test]
    fn a_damaged_answer_is_an_answer_or_none(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut packet = [&[0x45; 20][..], &[0, 0, 0, 0, TOKEN[0], TOKEN[1], 0, 7], &TOKEN].concat();
        let mut message = [&[0, 7, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0][..], &dns::question("a.b")].concat();
        prop_assert_eq!(icmp::reply(&packet, TOKEN), Some(7));
        prop_assert_eq!(dns::answered(&message, 0, &dns::question("a.b")), Some(7));
        for answer in [&mut packet, &mut message] {
            let at = at.index(answer.len());
            answer[at] = byte;
            if cut {
                answer.truncate(at);
            }
        }
        let _ = (icmp::reply(&packet, TOKEN), dns::answered(&message, 0, &dns::question("a.b")));
    }
}

#[test]
fn a_server_that_never_ends_is_not_read_to_the_end() {
    // A socket holds far less than this server would say.
    let (mut server, client) = UnixStream::pair().unwrap();
    server.set_nonblocking(true).unwrap();
    while server.write(&[b'H'; 4096]).is_ok() {}
    let mut socket = Socket::from(std::os::fd::OwnedFd::from(client));
    let deadline = Instant::now() + Duration::from_secs(60);
    assert!(!stream::has_page(&mut socket, deadline).unwrap());
}
