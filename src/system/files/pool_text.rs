//! The text of a pool file ↔ clients: one address a line with a newline at the end, as the script of
//! 2003 wrote it. Pure.

use std::net::IpAddr;

use crate::model::Client;

/// How many bytes of a bad line an error shows.
const SHOWN: usize = 60;

/// A line that cannot be read. Line and column count from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine {
    pub line: usize,
    pub column: usize,
    pub reason: String,
}

/// Parses a whole file. The last line may lack its newline, as an editor may have left it.
pub fn parse(bytes: &[u8]) -> Result<Vec<Client>, BadLine> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    // The shortest line is `1.1.1.1`; most are about twice as long.
    let mut clients = Vec::with_capacity(bytes.len() / 12);
    for line in bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|&byte| byte == b'\n') {
        let Some(client) = parse_line(line) else {
            let (column, reason) = explain(line);
            return Err(BadLine { line: clients.len() + 1, column, reason });
        };
        clients.push(client);
    }
    Ok(clients)
}

/// The client of a line. This is twice as fast as the standard library, which matters with tens of
/// thousands of clients.
fn parse_line(line: &[u8]) -> Option<Client> {
    if line.contains(&b':') {
        return std::str::from_utf8(line).ok()?.parse().ok();
    }
    let mut parts = line.split(|&byte| byte == b'.');
    let mut octets = [0; 4];
    for octet in &mut octets {
        *octet = parse_octet(parts.next()?)?;
    }
    if parts.next().is_some() {
        return None;
    }
    Client::new(IpAddr::from(octets)).ok()
}

/// Each address has one spelling: an octet has no leading zeros.
fn parse_octet(digits: &[u8]) -> Option<u8> {
    if digits.is_empty() || digits.len() > 3 || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    let mut value = 0u16;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).ok()
}

/// The column of the first byte that cannot be in an address, and what is wrong with the line.
fn explain(line: &[u8]) -> (usize, String) {
    if line.is_empty() {
        return (1, "an empty line; delete it".into());
    }
    let has_colon = line.contains(&b':');
    let in_address = |byte: &u8| {
        byte.is_ascii_digit()
            || *byte == b'.'
            || (has_colon && (byte.is_ascii_hexdigit() || *byte == b':'))
    };
    let column = line.iter().position(|byte| !in_address(byte)).map_or(1, |index| index + 1);
    if line.ends_with(b"\r") && column == line.len() {
        let reason = "a DOS line end (CR LF); convert the file with `sed -i 's/\\r$//'`";
        return (column, reason.into());
    }
    let shown = String::from_utf8_lossy(&line[..line.len().min(SHOWN)]);
    if line.len() > SHOWN {
        return (column, format!("not an IPv4 or IPv6 address: {shown:?}…"));
    }
    // The error of an address that no client can have says what kind of address it is.
    let reason = match shown.parse::<Client>() {
        Err(reason) => reason,
        Ok(_) => format!("not an IPv4 or IPv6 address: {shown:?}"),
    };
    (column, reason)
}

/// The text of a file with these clients. The digits are written one by one, because `Display` is too
/// slow for tens of thousands of clients.
pub fn write(clients: &[Client]) -> Vec<u8> {
    let mut text = Vec::with_capacity(clients.len() * 16);
    for client in clients {
        let IpAddr::V4(address) = client.address() else {
            text.extend(client.to_string().into_bytes());
            text.push(b'\n');
            continue;
        };
        for (index, octet) in address.octets().into_iter().enumerate() {
            if index > 0 {
                text.push(b'.');
            }
            if octet >= 100 {
                text.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                text.push(b'0' + octet / 10 % 10);
            }
            text.push(b'0' + octet % 10);
        }
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_text_parses_back_to_the_same_clients() {
        let clients: Vec<Client> = ["192.168.7.10", "10.0.0.1", "fd07::18"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let text = write(&clients);
        assert_eq!(text, b"192.168.7.10\n10.0.0.1\nfd07::18\n");
        assert_eq!(parse(&text), Ok(clients.clone()));
        assert_eq!(parse(b"192.168.7.10\n10.0.0.1\nfd07::18"), Ok(clients));
        assert_eq!(parse(b""), Ok(vec![]));
        assert_eq!(write(&[]), b"");
    }

    #[test]
    fn a_bad_line_is_an_error_with_line_and_column_that_shows_the_line() {
        let cases: &[(&[u8], usize, usize, &str)] = &[
            (b"10.0.0.1\nhello\n", 2, 1, "not an IPv4 or IPv6 address: \"hello\""),
            (b"10.0.0.1 # mine\n", 1, 9, "not an IPv4 or IPv6 address: \"10.0.0.1 # mine\""),
            (b"10.0.0.1\n\n10.0.0.2\n", 2, 1, "an empty line"),
            (b"\n", 1, 1, "an empty line"),
            (b"10.0.0.1\r\n", 1, 9, "a DOS line end"),
            (b"10.0.0.300\n", 1, 1, "not an IPv4 or IPv6 address: \"10.0.0.300\""),
            (b"224.0.0.1\n", 1, 1, "224.0.0.1 is a multicast address"),
            (b"10.0.0.\x001\n", 1, 8, "not an IPv4 or IPv6 address: \"10.0.0.\\01\""),
            (b"\xff\xfe\n", 1, 1, "not an IPv4 or IPv6 address"),
            (b"\xef\xbb\xbf10.0.0.1\n", 1, 1, "not an IPv4 or IPv6 address: \"\\u{feff}10.0.0.1\""),
            (b"\t10.0.0.1\n", 1, 1, "not an IPv4 or IPv6 address: \"\\t10.0.0.1\""),
            (b"10.0.0.1 \n", 1, 9, "not an IPv4 or IPv6 address: \"10.0.0.1 \""),
            (b"10.0.0.1\n# mine\n", 2, 1, "not an IPv4 or IPv6 address: \"# mine\""),
            (b"10.0.0.1\n10.0.0.2\r\n", 2, 9, "a DOS line end"),
            (b"10.0.0.1\n\x1b[2Jx\n", 2, 1, "not an IPv4 or IPv6 address: \"\\u{1b}[2Jx\""),
            (b"10.0.0.1/32\n", 1, 9, "not an IPv4 or IPv6 address: \"10.0.0.1/32\""),
            (b"fd07::18 \n", 1, 9, "not an IPv4 or IPv6 address: \"fd07::18 \""),
            (b"::1\n", 1, 1, "::1 is a loopback IPv6 address"),
        ];
        for (bytes, line, column, reason) in cases {
            let bad = parse(bytes).unwrap_err();
            assert_eq!((bad.line, bad.column), (*line, *column), "{bytes:?}: {}", bad.reason);
            assert!(bad.reason.starts_with(reason), "{bytes:?}: {}", bad.reason);
        }
    }

    #[test]
    fn an_octet_has_one_spelling() {
        for octet in 0..=255 {
            let client = Client::new([10, octet, 0, octet].into()).unwrap();
            assert_eq!(write(&[client]), format!("{client}\n").into_bytes());
        }
        for text in ["01.2.3.4", "1.2.3", "1.2.3.256", "1.2.3.1000", "1..2.3", "1.2.3.4."] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_start_of_a_long_line_is_shown() {
        let bad = parse(&vec![b'x'; 1 << 20]).unwrap_err();
        assert!(bad.reason.len() < 200, "{}", bad.reason.len());
    }
}
