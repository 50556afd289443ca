//! Reads a list of clients: in the form of `/proc/net/arp`, or one address a line.

use std::fs::File;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, anyhow};

use super::trusted;
use crate::model::link::Neighbour;
use crate::model::{Client, DevName};

/// `ATF_COM` and `ATF_PERM` of the flags column of `/proc/net/arp` (`net/if_arp.h`).
const COMPLETE: u32 = 0x2;
const PERMANENT: u32 = 0x4;

/// How many characters of a bad line an error shows.
const SHOWN: usize = 60;

/// The clients in a file, in the order of the file. `-` is stdin.
///
/// The file may be of any kind and have any owner, because the person who runs wanpool has named it.
pub fn read(file: &Path) -> Result<Vec<Neighbour>> {
    let bytes = if file == Path::new("-") {
        trusted::read_list(std::io::stdin().lock())
    } else {
        File::open(file).and_then(trusted::read_list)
    };
    let bytes = bytes.with_context(|| format!("reading {}", file.display()))?;
    parse(&String::from_utf8_lossy(&bytes), &file.display().to_string())
}

/// Parses the form of `/proc/net/arp`, with or without its heading, or one address a line.
fn parse(text: &str, name: &str) -> Result<Vec<Neighbour>> {
    let mut neighbours = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let heading = index == 0 && line.starts_with("IP address");
        if heading || line.trim().is_empty() {
            continue;
        }
        let neighbour =
            parse_line(line).map_err(|reason| anyhow!("{name}:{}:1: {reason}", index + 1))?;
        neighbours.extend(neighbour);
    }
    Ok(neighbours)
}

/// Returns `None` for an entry that is not complete, and for an address that no client can have.
fn parse_line(line: &str) -> Result<Option<Neighbour>, String> {
    let shown: String = line.chars().take(SHOWN).collect();
    let fields: Vec<&str> = line.split_whitespace().collect();
    let Ok(address) = fields[0].parse::<IpAddr>() else {
        return Err(format!("no address at the start of the line {shown:?}"));
    };
    let (lladdr, dev, state) = match fields[..] {
        [_] => ("", "", ""),
        [_, _hardware, flags, lladdr, _mask, dev] => {
            let Some(flags) = parse_flags(flags) else {
                return Err(format!("no flags in the third column of the line {shown:?}"));
            };
            if flags & COMPLETE == 0 {
                return Ok(None);
            }
            let state = if flags & PERMANENT != 0 { "permanent" } else { "complete" };
            (lladdr, dev, state)
        }
        _ => return Err(format!("neither one address nor a line of /proc/net/arp: {shown:?}")),
    };
    let Ok(client) = Client::new(address) else {
        return Ok(None);
    };
    let lladdr = lladdr.parse().unwrap_or_default();
    Ok(Some(Neighbour { client, lladdr, dev: DevName::from_kernel(dev), state, silent_for: None }))
}

/// `0x2`, as the kernel writes it.
fn parse_flags(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Result<Vec<String>> {
        let clients = parse(text, "list")?;
        Ok(clients.iter().map(|neighbour| neighbour.client.to_string()).collect())
    }

    #[test]
    fn both_forms_are_read_in_the_order_of_the_file() {
        let arp = "IP address       HW type     Flags       HW address            Mask     Device\n\
                   10.0.0.2         0x1         0x2         02:00:00:00:00:02     *        br0\n\
                   10.0.0.1         0x1         0x0         00:00:00:00:00:00     *        br0\n\
                   10.0.0.3         0x1         0x6         02:00:00:00:00:03     *        br0\n";
        assert_eq!(addresses(arp).unwrap(), ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(
            addresses("10.0.0.9\n\n10.0.0.1\n224.0.0.1\n").unwrap(),
            ["10.0.0.9", "10.0.0.1"]
        );
        // Spaces separate columns, and addresses that no client can have are left out.
        assert_eq!(
            addresses(" 10.0.0.9\n10.0.0.1 \n127.0.0.1\n::1\nfd07::9\n").unwrap(),
            ["10.0.0.9", "10.0.0.1", "fd07::9"]
        );
        assert_eq!(addresses("").unwrap(), [""; 0]);
    }

    #[test]
    fn a_line_of_neither_form_is_an_error_that_names_the_line() {
        for (text, expected) in [
            ("10.0.0.1\nhost\n", "list:2:1: no address at the start of the line \"host\""),
            ("::x\n", "list:1:1: no address at the start of the line \"::x\""),
            ("10.0.0.1/32\n", "list:1:1: no address at the start of the line"),
            ("10.0.0.1 0x1\n", "list:1:1: neither one address nor a line of /proc/net/arp"),
            (
                "10.0.0.1 0x1 up 02:00 * br0\n",
                "list:1:1: no flags in the third column of the line \"10.0.0.1",
            ),
        ] {
            let error = addresses(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(addresses(&"x".repeat(1 << 20)).unwrap_err().to_string().len() < 200);
    }

    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        /// Lines of either form, damaged in any way, give neighbours or an error in one short line.
        #[test]
        fn any_text_gives_clients_or_an_error_that_names_the_line(
            lines in proptest::collection::vec(
                prop_oneof![
                    any::<String>(),
                    "[0-9.]{1,20}[ \t\r\u{a0}]{0,3}",
                    "10\\.0\\.0\\.[0-9]{1,3} +0x[0-9]{1,9} +0x[0-9a-g]{1,9} +[0-9a-g:]{0,120} +[*] +[a-z%/]{0,20}",
                ],
                0..6,
            ),
        ) {
            let text = lines.join("\n");
            match parse(&text, "list") {
                Ok(found) => prop_assert!(found.len() <= text.lines().count()),
                Err(error) => {
                    let text = error.to_string();
                    prop_assert!(text.starts_with("list:") && text.len() < 800);
                    prop_assert!(!text.contains(char::is_control), "{text:?}");
                }
            }
        }
    }
}
