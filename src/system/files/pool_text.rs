//! The text of a pool file ↔ clients: one address a line, a newline at the end, as the script of
//! 2003 wrote it. Pure.

use std::net::Ipv4Addr;

use crate::model::Client;

/// What is wrong with a line: where, both from 1, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine {
    pub line: usize,
    pub column: usize,
    pub why: String,
}

/// Reads a whole file. The last line may lack its newline, as an editor may have left it.
pub fn parse(bytes: &[u8]) -> Result<Vec<Client>, BadLine> {
    // The shortest line is `1.1.1.1`; most are about twice as long.
    let mut clients = Vec::with_capacity(bytes.len() / 12);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (client, length) = match leading_address(rest) {
            Some((address, length)) => (Client::new(address), length),
            None => (Err(String::new()), 0),
        };
        match (client, rest.get(length)) {
            (Ok(client), None | Some(b'\n')) => clients.push(client),
            _ => {
                let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
                let (column, why) = explain(line);
                return Err(BadLine { line: clients.len() + 1, column, why });
            }
        }
        rest = rest.get(length + 1..).unwrap_or_default();
    }
    Ok(clients)
}

/// The dotted quad that a text begins with, in its one spelling, and its length.
fn leading_address(text: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let mut octets = [0; 4];
    let mut at = 0;
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            (text.get(at) == Some(&b'.')).then_some(())?;
            at += 1;
        }
        let digits = text[at..].iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
        let number = &text[at..at + digits];
        if digits == 0 || digits > 1 && number[0] == b'0' {
            return None;
        }
        let value = number.iter().fold(0u16, |value, digit| value * 10 + u16::from(digit - b'0'));
        *octet = u8::try_from(value).ok()?;
        at += digits;
    }
    Some((octets.into(), at))
}

/// The column of the first byte that cannot stand there, and what the matter is.
fn explain(line: &[u8]) -> (usize, String) {
    if line.is_empty() {
        return (1, "an empty line; take it out".into());
    }
    let plain = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let column = line.iter().position(|byte| !plain(byte)).map_or(1, |at| at + 1);
    if line.ends_with(b"\r") && column == line.len() {
        return (
            column,
            "a line end of DOS (CR LF); convert the file with `sed -i 's/\\r$//'`".into(),
        );
    }
    let start = &line[..line.len().min(60)];
    let text = String::from_utf8_lossy(start);
    // What is an address, but never a client's, says so itself.
    let why = match text.parse::<Client>() {
        Err(why) if line.len() == start.len() => why,
        _ => format!("not an IPv4 address: {text:?}…"),
    };
    (column, why)
}

pub fn write(clients: &[Client]) -> Vec<u8> {
    let mut text = Vec::with_capacity(clients.len() * 16);
    for client in clients {
        for (index, octet) in client.address().octets().into_iter().enumerate() {
            if index > 0 {
                text.push(b'.');
            }
            let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
            text.extend(&digits[usize::from(octet < 100) + usize::from(octet < 10)..]);
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
    fn what_is_written_reads_back_the_same() {
        let clients: Vec<Client> =
            ["192.168.7.10", "10.0.0.1"].iter().map(|text| text.parse().unwrap()).collect();
        let text = write(&clients);
        assert_eq!(text, b"192.168.7.10\n10.0.0.1\n");
        assert_eq!(parse(&text), Ok(clients.clone()));
        assert_eq!(parse(b"192.168.7.10\n10.0.0.1"), Ok(clients));
        assert_eq!(parse(b""), Ok(vec![]));
        assert_eq!(write(&[]), b"");
    }

    #[test]
    fn a_bad_line_is_named_by_line_and_column_and_shown() {
        let cases: &[(&[u8], usize, usize, &str)] = &[
            (b"10.0.0.1\nhello\n", 2, 1, "not an IPv4 address: \"hello\""),
            (b"10.0.0.1 # mine\n", 1, 9, "not an IPv4 address: \"10.0.0.1 # mine\""),
            (b"10.0.0.1\n\n10.0.0.2\n", 2, 1, "an empty line"),
            (b"\n", 1, 1, "an empty line"),
            (b"10.0.0.1\r\n", 1, 9, "a line end of DOS"),
            (b"10.0.0.300\n", 1, 1, "not an IPv4 address: \"10.0.0.300\""),
            (b"224.0.0.1\n", 1, 1, "224.0.0.1 is a multicast address"),
            (b"10.0.0.\x001\n", 1, 8, "not an IPv4 address: \"10.0.0.\\01\""),
            (b"\xff\xfe\n", 1, 1, "not an IPv4 address"),
        ];
        for (bytes, line, column, why) in cases {
            let bad = parse(bytes).unwrap_err();
            assert_eq!((bad.line, bad.column), (*line, *column), "{bytes:?}: {}", bad.why);
            assert!(bad.why.starts_with(why), "{bytes:?}: {}", bad.why);
        }
    }

    #[test]
    fn every_octet_is_written_as_display_writes_it_and_read_as_the_library_reads_it() {
        for octet in 0..=255 {
            let client = Client::new([10, octet, 0, octet].into()).unwrap();
            assert_eq!(write(&[client]), format!("{client}\n").into_bytes());
        }
        for text in
            ["1.2.3.4", "01.2.3.4", "1.2.3", "1.2.3.256", "1.2.3.1000", "1..2.3", "1.2.3.4."]
        {
            let read = leading_address(text.as_bytes());
            let whole =
                read.filter(|&(_, length)| length == text.len()).map(|(address, _)| address);
            assert_eq!(whole, text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn a_line_of_a_megabyte_is_shown_in_part() {
        let bad = parse(&vec![b'x'; 1 << 20]).unwrap_err();
        assert!(bad.why.len() < 200, "{}", bad.why.len());
    }
}
