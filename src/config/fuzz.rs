//! Any text is a configuration or an error in one short line, without a panic.

use std::net::{IpAddr, Ipv4Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const WHOLE: &str = "lan = [\"br0\"]\nexclude = [\"192.168.7.2\", \"192.168.9.0/24\"]\n\
    unassigned = \"multipath\"\nhelpers = [\"ftp\", \"irc\"]\n[uplink.1]\ndev = \"ppp0\"\nweight = 2\n\
    via = \"203.0.113.1\"\nnat = true\nclamp-mss = true\nrole = \"primary\"\nfailback = \"drain 300\"\n\
    [uplink.2]\ndev = \"ppp1\"\n[uplink.2.probe]\ntargets = [\"dns:8.8.8.8:example.org\", \"tcp:1.1.1.1:5\"]\n\
    [probe]\ntimeout = \"1s\"\ncount = 3\n[hook]\nexec = \"/bin/true\"\n[pin]\n\"192.168.7.50\" = 2\n\
    [multipath]\nenable = false\nhash = \"source\"\n[kernel]\nmark-mask = 0xff\ntable-base = 200\n\
    uplink-table-base = 300\nrule-pref = 1000\nprotocol = 87\nnexthop-base = 8700\n";

/// The error is one line that a terminal can show.
#[track_caller]
fn parse_anything(text: &str) {
    if let Err(error) = Config::parse(text, Path::new("w.toml")) {
        let error = error.to_string();
        assert!(error.chars().count() < 700, "{} characters", error.chars().count());
        assert!(!error.chars().any(char::is_control), "{error:?}");
        assert!(error.starts_with("w.toml:"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn any_text_is_a_config_or_an_error_in_one_line(text in any::<String>()) {
        parse_anything(&text);
    }

    /// Pieces of a correct file are removed, doubled and replaced.
    #[test]
    fn a_broken_config_is_a_config_or_an_error_in_one_line(
        edits in vec((any::<prop::sample::Index>(), 0..12usize, any::<char>(), 0..6u8), 1..8),
    ) {
        let mut text: Vec<char> = WHOLE.chars().collect();
        for (at, length, with, edit) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            let piece: Vec<char> = text[at..end].to_vec();
            match edit {
                0 => drop(text.splice(at..end, [])),
                1 => drop(text.splice(at..at, piece)),
                2 => drop(text.splice(at..end, "99999999999999999999".chars())),
                3 => drop(text.splice(at..end, "-1".chars())),
                4 => drop(text.splice(at..end, "\"\u{1b}[2J\"".chars())),
                _ => drop(text.splice(at..end, [with])),
            }
        }
        parse_anything(&text.into_iter().collect::<String>());
    }
}

#[test]
fn absurd_depth_and_length_are_errors_too() {
    assert!(Config::parse(WHOLE, Path::new("w.toml")).is_ok());
    let many = 50_000;
    for text in [
        "x = ".to_owned() + &"[".repeat(many),
        "x = ".to_owned() + &"{a=".repeat(many),
        "a.".repeat(many) + "a = 1",
        format!("[{}a]", "a.".repeat(many)),
        "a".repeat(1 << 20) + " = 1",
        format!("lan = [\"{}\"]", "x".repeat(1 << 20)),
        format!("lan = \"{}", "\\u0000".repeat(many)),
        "[uplink.1]\n".repeat(many),
        "#".repeat(1 << 20),
        "\0".repeat(1 << 16),
        format!("exclude = [\"10.0.0.0/{}\"]\n{WHOLE}", "9".repeat(1 << 20)),
    ] {
        parse_anything(&text);
    }
}

/// One table per prefix length: neither the pins nor the excludes are searched one by one.
#[test]
fn a_pin_for_each_of_65536_clients_beside_as_many_excludes_can_be_looked_up() {
    let address = |n: u32| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + n));
    let excludes: String = (65_536..131_072).map(|n| format!("\"{}\",", address(n))).collect();
    let pins: String =
        (0..65_536).map(|n| format!("\"{}\" = {}\n", address(n), n % 2 + 1)).collect();
    let text = format!(
        "exclude = [{excludes}]\n[uplink.1]\ndev = \"a\"\n[uplink.2]\ndev = \"b\"\n[pin]\n{pins}"
    );
    let config = Config::parse(&text, Path::new("w.toml")).unwrap();
    for n in 0..65_536 {
        let client = Client::new(address(n)).unwrap();
        assert_eq!(config.pin(client).map(|no| u32::from(no.get())), Some(n % 2 + 1));
        assert!(!config.is_excluded(client));
    }
}
