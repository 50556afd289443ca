//! A DNS query over UDP (RFC 1035) for the IPv4 address of a name, and which response answers it.
//! Pure.
//!
//! A server that knows the name, or knows that the name does not exist, has answered. A server that
//! fails or refuses has not.

use super::random;

const HEADER: usize = 12;
/// Flags of a query that asks for recursion.
const RECURSION_DESIRED: [u8; 2] = [0x01, 0x00];
const IS_RESPONSE: u8 = 0x80;
const RESPONSE_CODE: u8 = 0x0f;
const NO_ERROR: u8 = 0;
const NO_SUCH_NAME: u8 = 3;
/// Type A, class IN.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

/// The queries to one target. They have consecutive ids.
pub struct Query {
    first_id: u16,
    question: Vec<u8>,
}

impl Query {
    pub fn new(name: &str) -> Self {
        Self::with_first_id(name, random() as u16)
    }

    pub fn with_first_id(name: &str, first_id: u16) -> Self {
        let mut question = Vec::new();
        for label in name.strip_suffix('.').unwrap_or(name).split('.') {
            question.push(label.len() as u8);
            question.extend(label.as_bytes());
        }
        question.push(0);
        question.extend(ADDRESS);
        Self { first_id, question }
    }

    /// The query with this number.
    pub fn encode(&self, number: u16) -> Vec<u8> {
        let mut message = self.first_id.wrapping_add(number).to_be_bytes().to_vec();
        message.extend(RECURSION_DESIRED);
        // One question; no answer, authority or additional records.
        message.extend([0, 1, 0, 0, 0, 0, 0, 0]);
        message.extend(&self.question);
        message
    }

    /// The number of the query that a message answers.
    pub fn decode(&self, message: &[u8]) -> Option<u16> {
        let (header, rest) = message.split_at_checked(HEADER)?;
        let question = rest.get(..self.question.len())?;
        let is_response = header[2] & IS_RESPONSE != 0;
        let is_answer = [NO_ERROR, NO_SUCH_NAME].contains(&(header[3] & RESPONSE_CODE));
        if is_response && is_answer && question.eq_ignore_ascii_case(&self.question) {
            let id = u16::from_be_bytes([header[0], header[1]]);
            Some(id.wrapping_sub(self.first_id))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_asks_for_the_address_of_the_name() {
        let question = b"\x07example\x03org\x00\x00\x01\x00\x01";
        for name in ["example.org", "example.org."] {
            assert_eq!(Query::with_first_id(name, 0).question, question);
        }
    }

    #[test]
    fn an_answer_is_a_response_to_our_query_from_a_server_that_knows() {
        let query = Query::with_first_id("example.org", 65533);
        let mut message = query.encode(2);
        assert_eq!(query.decode(&message), None, "a query");
        message[2] |= IS_RESPONSE;
        assert_eq!(query.decode(&message), Some(2));
        assert_eq!(Query::with_first_id("example.com", 65533).decode(&message), None);
        for (code, counts) in [(0, true), (2, false), (3, true), (5, false)] {
            message[3] = code;
            assert_eq!(query.decode(&message).is_some(), counts, "code {code}");
        }
    }

    #[test]
    fn a_truncated_answer_does_not_count() {
        let query = Query::with_first_id("example.org", 1);
        let mut message = query.encode(0);
        message[2] |= IS_RESPONSE;
        for length in 0..message.len() {
            assert_eq!(query.decode(&message[..length]), None);
        }
    }
}
