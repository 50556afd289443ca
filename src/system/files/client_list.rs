//! Reads a list of clients: in the form of `/proc/net/arp`, or one address a line.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, anyhow};

use super::trusted;
use crate::model::link::Neighbour;
use crate::model::{Client, DevName};

/// `ATF_COM` and `ATF_PERM` of the flags column of `/proc/net/arp` (`net/if_arp.h`).
const COMPLETE: u32 = 0x2;
const PERMANENT: u32 = 0x4;

/// The clients in a file, in its order. `-` is stdin.
pub fn read(file: &Path) -> Result<Vec<Neighbour>> {
    let bytes = match file.to_str() {
        Some("-") => trusted::read_list(std::io::stdin().lock()),
        _ => File::open(file).and_then(trusted::read_list),
    };
    let bytes = bytes.with_context(|| format!("reading {}", file.display()))?;
    parse(&String::from_utf8_lossy(&bytes), &file.display().to_string())
}

/// Reads `/proc/net/arp`'s form, with or without its heading, or one address a line.
fn parse(text: &str, name: &str) -> Result<Vec<Neighbour>> {
    let mut neighbours = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let heading = index == 0 && line.starts_with("IP address");
        if heading || line.trim().is_empty() {
            continue;
        }
        let parsed = parse_line(line).map_err(|why| anyhow!("{name}:{}:1: {why}", index + 1))?;
        neighbours.extend(parsed);
    }
    Ok(neighbours)
}

/// `None` for an entry that is no client's: incomplete, or multicast.
fn parse_line(line: &str) -> Result<Option<Neighbour>, String> {
    let shown: String = line.chars().take(60).collect();
    let fields: Vec<&str> = line.split_whitespace().collect();
    let address: Ipv4Addr =
        fields[0].parse().map_err(|_| format!("no IPv4 address begins the line {shown:?}"))?;
    let (lladdr, dev, state) = match fields[..] {
        [_] => ("", "", ""),
        [_, _hardware, flags, lladdr, _mask, dev] => {
            let bits = flags.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok());
            let bits =
                bits.ok_or_else(|| format!("no flags behind the hardware type in {shown:?}"))?;
            if bits & COMPLETE == 0 {
                return Ok(None);
            }
            (lladdr, dev, if bits & PERMANENT != 0 { "permanent" } else { "complete" })
        }
        _ => return Err(format!("neither one address nor a line of /proc/net/arp: {shown:?}")),
    };
    Ok(Client::new(address).ok().map(|client| Neighbour {
        client,
        lladdr: lladdr.parse().unwrap_or_default(),
        dev: DevName::from_kernel(dev),
        state,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Result<Vec<String>> {
        let clients = parse(text, "list")?;
        Ok(clients.iter().map(|neighbour| neighbour.client.to_string()).collect())
    }

    #[test]
    fn both_forms_are_read_in_their_order() {
        let arp = "IP address       HW type     Flags       HW address            Mask     Device\n\
                   10.0.0.2         0x1         0x2         02:00:00:00:00:02     *        br0\n\
                   10.0.0.1         0x1         0x0         00:00:00:00:00:00     *        br0\n\
                   10.0.0.3         0x1         0x6         02:00:00:00:00:03     *        br0\n";
        assert_eq!(addresses(arp).unwrap(), ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(
            addresses("10.0.0.9\n\n10.0.0.1\n224.0.0.1\n").unwrap(),
            ["10.0.0.9", "10.0.0.1"]
        );
        assert_eq!(addresses("").unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_neither_form_is_named_by_line() {
        for (text, wanted) in [
            ("10.0.0.1\nhost\n", "list:2:1: no IPv4 address begins the line \"host\""),
            ("10.0.0.1 0x1\n", "list:1:1: neither one address nor a line of /proc/net/arp"),
            (
                "10.0.0.1 0x1 up 02:00 * br0\n",
                "list:1:1: no flags behind the hardware type in \"10.0.0.1",
            ),
        ] {
            let error = addresses(text).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
        assert!(addresses(&"x".repeat(1 << 20)).unwrap_err().to_string().len() < 200);
    }

    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        /// Lines of either form, broken in any way, are neighbours or an error in one short line.
        #[test]
        fn any_list_is_clients_or_an_error_that_names_the_line(
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
                    let said = error.to_string();
                    prop_assert!(said.starts_with("list:") && said.len() < 800);
                    prop_assert!(!said.contains(char::is_control), "{said:?}");
                }
            }
        }
    }
}
