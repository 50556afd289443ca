//! One DNS question over UDP (RFC 1035): the address of a name. Any server that knows the name, or
//! knows that there is none, has answered; one that merely fails or refuses has not.

use std::io;
use std::net::SocketAddrV4;

use socket2::{Protocol, Type};

use super::{ProbeJob, TargetResult, exchange, random};

const HEADER: usize = 12;
/// Flags: a query that wants recursion.
const RECURSION_DESIRED: [u8; 2] = [0x01, 0x00];
const IS_RESPONSE: u8 = 0x80;
const NO_ERROR: u8 = 0;
const NO_SUCH_NAME: u8 = 3;
/// Type A, class IN.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

pub fn ask(line: &ProbeJob, server: SocketAddrV4, name: &str) -> io::Result<TargetResult> {
    let socket = line.socket(Type::DGRAM, Some(Protocol::UDP))?;
    if socket.connect(&server.into()).is_err() {
        return Ok(TargetResult { sent: line.count, ..TargetResult::default() });
    }
    let first = random() as u16;
    let question = question(name);
    let ask = |number: u16| [&header(first.wrapping_add(number)), &question[..]].concat();
    exchange(line, &socket, ask, |message| answered(message, first, &question))
}

fn header(id: u16) -> [u8; HEADER] {
    let [high, low] = id.to_be_bytes();
    // One question; no answer, authority or additional records.
    [high, low, RECURSION_DESIRED[0], RECURSION_DESIRED[1], 0, 1, 0, 0, 0, 0, 0, 0]
}

pub(super) fn question(name: &str) -> Vec<u8> {
    let labels = name.strip_suffix('.').unwrap_or(name).split('.');
    let mut question: Vec<u8> =
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    question.push(0);
    question.extend(ADDRESS);
    question
}

pub(super) fn answered(message: &[u8], first: u16, question: &[u8]) -> Option<u16> {
    let (header, rest) = message.split_at_checked(HEADER)?;
    let same = rest.get(..question.len())?.eq_ignore_ascii_case(question);
    let code = header[3] & 0xf;
    let is_answer = header[2] & IS_RESPONSE != 0 && [NO_ERROR, NO_SUCH_NAME].contains(&code);
    let id = u16::from_be_bytes([header[0], header[1]]);
    (same && is_answer).then(|| id.wrapping_sub(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_to_our_question_from_a_server_that_knows() {
        let question = question("example.org");
        assert_eq!(question, b"\x07example\x03org\x00\x00\x01\x00\x01");
        let mut message = [&header(65535), &question[..]].concat();
        assert_eq!(answered(&message, 65533, &question), None, "a question");
        message[2] |= IS_RESPONSE;
        assert_eq!(answered(&message, 65533, &question), Some(2));
        assert_eq!(answered(&message, 65533, &super::question("example.com")), None);
        for (code, counts) in [(0, true), (2, false), (3, true), (5, false)] {
            message[3] = code;
            assert_eq!(answered(&message, 65533, &question).is_some(), counts, "code {code}");
        }
        for cut in 0..message.len() {
            assert_eq!(answered(&message[..cut], 65533, &question), None);
        }
    }
}
