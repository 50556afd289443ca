//! The configuration's text, hostile or merely broken: a fault in one short line, or a `Config`.

use std::net::Ipv4Addr;

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

/// The fault is one line that a terminal can show; what parses again gives the same.
#[track_caller]
fn parse_anything(text: &str) {
    if let Err(fault) = Config::parse(text, Path::new("w.toml")) {
        let said = fault.to_string();
        assert!(said.chars().count() < 700, "{} characters", said.chars().count());
        assert!(!said.chars().any(char::is_control), "{said:?}");
        assert!(said.starts_with("w.toml:"), "{said}");
    }
}

fn settings() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn any_text_is_a_config_or_a_fault_in_one_line(text in any::<String>()) {
        parse_anything(&text);
    }

    /// Pieces of a right one, taken out, doubled, and replaced by what never stands there.
    #[test]
    fn a_broken_config_is_a_fault_in_one_line(
        edits in vec((any::<prop::sample::Index>(), 0..12usize, any::<char>(), 0..6u8), 1..8),
    ) {
        let mut text: Vec<char> = WHOLE.chars().collect();
        for (at, length, with, deed) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            let piece: Vec<char> = text[at..end].to_vec();
            match deed {
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
fn absurd_depth_and_length_are_faults_too() {
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

#[test]
fn a_pin_for_each_client_of_a_large_gateway_is_no_trouble() {
    let pin = |n: u32| format!("\"{}\" = {}\n", Ipv4Addr::from(0x0a00_0000 + n), n % 2 + 1);
    let uplinks = "[uplink.1]\ndev = \"a\"\n[uplink.2]\ndev = \"b\"\n[pin]\n";
    let text = uplinks.to_owned() + &(0..65_536).map(pin).collect::<String>();
    assert_eq!(Config::parse(&text, Path::new("w.toml")).unwrap().pins.len(), 65_536);
}
