//! The text of a pool file ↔ clients: one address a line, a newline at the end, as the script of
//! 2003 wrote it. Pure.

use std::fmt::Write;

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
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    body.split(|&byte| byte == b'\n')
        .enumerate()
        .map(|(index, line)| {
            parse_line(line).map_err(|(column, why)| BadLine { line: index + 1, column, why })
        })
        .collect()
}

fn parse_line(line: &[u8]) -> Result<Client, (usize, String)> {
    if let Ok(client) = std::str::from_utf8(line).unwrap_or("").parse() {
        return Ok(client);
    }
    Err(explain(line))
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

pub fn write(clients: &[Client]) -> String {
    let mut text = String::with_capacity(clients.len() * 16);
    for client in clients {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{client}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        let clients: Vec<Client> =
            ["192.168.7.10", "10.0.0.1"].iter().map(|text| text.parse().unwrap()).collect();
        let text = write(&clients);
        assert_eq!(text, "192.168.7.10\n10.0.0.1\n");
        assert_eq!(parse(text.as_bytes()), Ok(clients.clone()));
        assert_eq!(parse(b"192.168.7.10\n10.0.0.1"), Ok(clients));
        assert_eq!(parse(b""), Ok(vec![]));
        assert_eq!(write(&[]), "");
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
    fn a_line_of_a_megabyte_is_shown_in_part() {
        let bad = parse(&vec![b'x'; 1 << 20]).unwrap_err();
        assert!(bad.why.len() < 200, "{}", bad.why.len());
    }
}
