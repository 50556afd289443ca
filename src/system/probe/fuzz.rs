//! Answers of broken or hostile servers: none of them causes a panic, and only an answer to the probe
//! counts.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use proptest::collection::vec;
use proptest::prelude::*;

use super::dns::Query;
use super::http::{self, Fetch};
use super::icmp::Echo;

/// The result of a request whose server sends this answer.
fn fetched(answer: &[u8]) -> io::Result<bool> {
    let (mut server, mut client) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    let mut fetch = Fetch::new(http::request("192.0.2.1:80".parse().unwrap(), "/"));
    assert!(fetch.advance(&mut client).is_err(), "there is no answer yet");
    server.write_all(answer).unwrap();
    server.shutdown(std::net::Shutdown::Write).unwrap();
    fetch.advance(&mut client)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn random_bytes_are_not_an_answer(packet in vec(any::<u8>(), 0..128)) {
        prop_assert_eq!(Echo { token: *b"wanpool!" }.decode(&packet), None);
        prop_assert_eq!(Query::with_first_id("example.org", 7).decode(&packet), None);
        let is_page = packet.starts_with(b"HTTP/1.") && packet.get(8..10) == Some(b" 2");
        prop_assert_eq!(fetched(&packet).unwrap(), is_page);
    }

    #[test]
    fn a_damaged_answer_does_no_harm(at in any::<prop::sample::Index>(), byte in any::<u8>(), is_cut in any::<bool>()) {
        let (echo, query) = (Echo { token: *b"wanpool!" }, Query::with_first_id("a.b", 0));
        let mut reply = [&[0x45; 20], &echo.encode(7)[..]].concat();
        reply[20] = 0;
        let mut response = query.encode(7);
        response[2] |= 0x80;
        prop_assert_eq!(echo.decode(&reply), Some(7));
        prop_assert_eq!(query.decode(&response), Some(7));
        for answer in [&mut reply, &mut response] {
            let at = at.index(answer.len());
            answer[at] = byte;
            if is_cut {
                answer.truncate(at);
            }
        }
        let _ = (echo.decode(&reply), query.decode(&response));
    }
}

#[test]
fn a_server_that_sends_without_end_is_not_read_to_the_end() {
    let (mut server, mut client) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    server.set_nonblocking(true).unwrap();
    while server.write(&[b'H'; 4096]).is_ok() {}
    let mut fetch = Fetch::new(http::request("192.0.2.1:80".parse().unwrap(), "/"));
    assert!(!fetch.advance(&mut client).unwrap());
}
