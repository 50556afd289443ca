//! One HTTP/1.1 request over a connection, and whether the answer is a success.
//!
//! A status of 200 to 299 counts as an answer. A captive portal redirects instead. Knows nothing of
//! sockets: it writes and reads as far as it can without waiting.

use std::io::{self, Read, Write};
use std::net::SocketAddrV4;
use std::rc::Rc;

/// The number of bytes of the answer up to the first digit of the status.
const START: usize = "HTTP/1.1 2".len();

/// The request for a page.
pub fn request(server: SocketAddrV4, path: &str) -> Rc<[u8]> {
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nUser-Agent: wanpool\r\nConnection: close\r\n\r\n"
    );
    text.as_bytes().into()
}

/// A request that is being sent, or whose answer is awaited.
pub struct Fetch {
    request: Rc<[u8]>,
    written: usize,
    /// The start of the answer.
    answer: Vec<u8>,
}

impl Fetch {
    pub fn new(request: Rc<[u8]>) -> Self {
        Self { request, written: 0, answer: Vec::new() }
    }

    /// Whether a part of the request is still to be written. If not, the answer is awaited.
    pub fn is_writing(&self) -> bool {
        self.written < self.request.len()
    }

    /// Writes and reads as far as that is possible without waiting. Returns whether the request
    /// succeeded; fails with `WouldBlock` while that is not known yet.
    pub fn advance(&mut self, stream: &mut (impl Read + Write)) -> io::Result<bool> {
        while self.is_writing() {
            match stream.write(&self.request[self.written..])? {
                0 => return Ok(false),
                length => self.written += length,
            }
        }
        let mut bytes = [0; START];
        while self.answer.len() < START {
            match stream.read(&mut bytes)? {
                0 => return Ok(false),
                length => self.answer.extend(&bytes[..length]),
            }
        }
        Ok(self.answer.starts_with(b"HTTP/1.") && self.answer[8..START] == *b" 2")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn fetch() -> Fetch {
        let server = "192.0.2.1:80".parse().unwrap();
        Fetch::new(request(server, "/generate_204"))
    }

    /// A client's end that does not block, and the server's end.
    fn connection() -> (UnixStream, UnixStream) {
        let (client, server) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        (client, server)
    }

    fn is_pending(result: io::Result<bool>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    #[test]
    fn the_answer_may_come_byte_by_byte() {
        let (mut client, mut server) = connection();
        let mut fetch = fetch();
        assert!(fetch.is_writing());
        assert!(is_pending(fetch.advance(&mut client)));
        assert!(!fetch.is_writing());
        let mut request = [0; 256];
        let length = server.read(&mut request).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&request[..length]),
            "GET /generate_204 HTTP/1.1\r\nHost: 192.0.2.1:80\r\nUser-Agent: wanpool\r\n\
             Connection: close\r\n\r\n"
        );
        for byte in b"HTTP/1.1 " {
            server.write_all(&[*byte]).unwrap();
            assert!(is_pending(fetch.advance(&mut client)));
        }
        server.write_all(b"2").unwrap();
        assert!(fetch.advance(&mut client).unwrap());
    }

    #[test]
    fn only_a_status_of_200_to_299_counts() {
        for (answer, counts) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\n\r\n", true),
            ("HTTP/1.1 302 Found\r\n\r\n", false),
            ("HTTP/1.1 503 Pay First\r\n\r\n", false),
            ("HTTP/1.1 ", false),
            ("220 mail ESMTP\r\n", false),
            ("", false),
        ] {
            let (mut client, mut server) = connection();
            let mut fetch = fetch();
            assert!(is_pending(fetch.advance(&mut client)));
            server.write_all(answer.as_bytes()).unwrap();
            server.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(fetch.advance(&mut client).unwrap(), counts, "{answer:?}");
        }
    }

    #[test]
    fn a_request_is_sent_in_pieces_where_the_connection_is_full() {
        let (mut client, mut server) = connection();
        let long: Rc<[u8]> = vec![b'x'; 1 << 22].into();
        let mut fetch = Fetch::new(long.clone());
        let mut received = 0;
        let mut bytes = vec![0; 1 << 16];
        while received < long.len() {
            assert!(is_pending(fetch.advance(&mut client)));
            received += server.read(&mut bytes).unwrap();
        }
        assert!(!fetch.is_writing());
    }
}
