//! Each check of the configuration, by the line it names.

use super::*;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("w.toml")).map_err(|fault| fault.to_string())
}

#[test]
fn the_smallest_file_is_one_uplink_with_its_device() {
    let config = parse("[uplink.1]\ndev = \"ppp0\"\n").unwrap();
    let uplink = &config.uplinks[&UplinkNo::new(1).unwrap()];
    assert_eq!((uplink.weight, uplink.nat, uplink.clamp_mss, uplink.via), (1, true, true, None));
    assert_eq!(config.lan, Lan::AllButUplinks);
    assert_eq!(config.unassigned, Unassigned::Multipath);
    assert_eq!(config.multipath, Multipath { enable: false, hash: None });
    assert_eq!(config.kernel_ids, KernelIds::default());
}

#[test]
fn the_longest_pin_wins() {
    let config = parse(
        "[uplink.1]\ndev=\"a\"\n[uplink.2]\ndev=\"b\"\n[pin]\n\"10.0.0.0/8\"=1\n\"10.1.0.0/16\"=2\n\"10.1.1.1\"=1\n",
    )
    .unwrap();
    let pin = |client: &str| config.pin(client.parse().unwrap()).map(UplinkNo::get);
    assert_eq!(pin("10.2.0.1"), Some(1));
    assert_eq!(pin("10.1.0.1"), Some(2));
    assert_eq!(pin("10.1.1.1"), Some(1));
    assert_eq!(pin("11.0.0.1"), None);
}

#[test]
fn every_fault_names_file_line_and_reason() {
    let one = "[uplink.1]\ndev = \"ppp0\"\n";
    let cases: &[(String, &str)] = &[
        (String::new(), "w.toml:1:1: no uplink"),
        (format!("{one}devv = 1\n"), "w.toml:3:1: unknown field `devv`"),
        ("[uplink.1]\nweight = 1\n".into(), "w.toml:1:1: missing field `dev`"),
        (format!("{one}[uplink.1]\ndev=\"x\"\n"), "w.toml:3:9: duplicate key"),
        (format!("{one}[uplink.01]\ndev=\"x\"\n"), "w.toml:3:9: \"01\" is no uplink number"),
        (format!("{one}[uplink.51]\ndev=\"x\"\n"), "w.toml:3:9: \"51\" is no uplink number"),
        (format!("{one}[uplink.0]\ndev=\"x\"\n"), "w.toml:3:9: \"0\" is no uplink number"),
        (format!("{one}[uplink.2]\ndev=\"ppp0\"\n"), "w.toml:4:5: ppp0 is uplink 1 already"),
        (format!("{one}weight = 0\n"), "w.toml:3:10: a weight is a number in 1..=255"),
        (format!("{one}weight = 256\n"), "w.toml:3:10: a weight is a number in 1..=255"),
        (
            format!("{one}via = \"1.2.3\"\n"),
            "w.toml:3:7: \"1.2.3\" is no IPv4 address of a gateway",
        ),
        (format!("{one}[uplink.2]\ndev=\"a b\"\n"), "w.toml:4:5: \"a b\" is no device name"),
        (format!("lan = [\"br0\", \"ppp0\"]\n{one}"), "w.toml:1:15: ppp0 is uplink 1, not a LAN"),
        (format!("lan = []\n{one}"), "w.toml:1:7: an empty list"),
        (format!("exclude = [\"10.0.0.300\"]\n{one}"), "w.toml:1:12: \"10.0.0.300\" is neither"),
        (format!("exclude = [\"10.0.0.1/8\"]\n{one}"), "w.toml:1:12: \"10.0.0.1/8\" has bits"),
        (format!("unassigned = \"no\"\n{one}"), "w.toml:1:14: unknown variant `no`"),
        (format!("helpers = [\"sip\"]\n{one}"), "w.toml:1:12: unknown variant `sip`"),
        (format!("{one}[pin]\n\"10.0.0.1\" = 2\n"), "w.toml:4:14: a pin to uplink 2, which is not"),
        (
            format!("{one}[pin]\n\"10.0.0.1\" = 1\n\"10.0.0.1/32\" = 1\n"),
            "w.toml:5:1: 10.0.0.1 is pinned already",
        ),
        (format!("{one}[pin]\n\"127.0.0.1\" = 1\n"), "w.toml:4:1: 127.0.0.1 is a loopback"),
        (format!("{one}[pin]\n\"10.0.0\" = 1\n"), "w.toml:4:1: \"10.0.0\" is neither"),
        (
            format!("exclude = [\"10.0.0.0/8\"]\n{one}[pin]\n\"10.0.0.1\" = 1\n"),
            "w.toml:5:1: pinned, but exclude",
        ),
        (format!("{one}[kernel]\nmark-mask = 0x1ff\n"), "w.toml:4:13: must be 8 adjacent bits"),
        (format!("{one}[kernel]\ntable-base = 0\n"), "w.toml:4:14: would use routing table 0"),
        (format!("{one}[kernel]\ntable-base = 252\n"), "w.toml:4:14: would use routing table 253"),
        (
            format!("{one}[kernel]\nuplink-table-base = 200\n"),
            "w.toml:4:21: would use routing table 201 twice",
        ),
        (format!("{one}[kernel]\nprotocol = 2\n"), "w.toml:4:12: must be in 5..=255"),
        (format!("{one}[multipath]\nhash = \"l5\"\n"), "w.toml:4:8: unknown variant `l5`"),
        (format!("{one}[x\n"), "w.toml:3:3: "),
    ];
    for (text, wanted) in cases {
        let fault = parse(text).expect_err(text);
        assert!(fault.starts_with(wanted), "{text}\nwanted {wanted}\ngot    {fault}");
        assert!(!fault.contains('\n'), "one line: {fault}");
    }
}

#[test]
fn an_uplink_is_named_by_number_or_device() {
    let config = parse("[uplink.7]\ndev = \"ppp0\"\n").unwrap();
    assert_eq!(config.uplink("7").unwrap().get(), 7);
    assert_eq!(config.uplink("ppp0").unwrap().get(), 7);
    let fault = config.uplink("ppp1").unwrap_err().to_string();
    assert_eq!(fault, "w.toml: no uplink \"ppp1\"; there is 7 (ppp0)");
}
