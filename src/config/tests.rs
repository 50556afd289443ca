//! Each check of the configuration, with the line that its error names.

use super::*;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("w.toml")).map_err(|error| error.to_string())
}

#[test]
fn the_smallest_file_is_one_uplink_with_its_device() {
    let config = parse("[uplink.1]\ndev = \"ppp0\"\n").unwrap();
    let (no, uplink) = config.uplinks.first_key_value().unwrap();
    assert_eq!((no.get(), uplink.no.get()), (1, 1));
    assert_eq!((uplink.weight, uplink.nat, uplink.clamp_mss, uplink.via), (1, true, true, None));
    assert_eq!(config.lan, Lan::AllButUplinks);
    assert_eq!(config.unassigned, Unassigned::Multipath);
    assert_eq!(config.multipath, Multipath::default());
    assert_eq!(config.kernel_ids, KernelIds::default());
}

#[test]
fn a_pin_can_be_written_in_every_way_that_toml_has() {
    for pin in
        ["[pin]\n'10.0.0.1' = 0x1", "[pin]\n\"10.0.0.\\u0031\" = +1", "[pin]\n\"10.0.0.1/32\"=1"]
    {
        let config = parse(&format!("[uplink.1]\ndev = \"a\"\n{pin}\n")).unwrap();
        assert_eq!(config.pin("10.0.0.1".parse().unwrap()).map(UplinkNo::get), Some(1), "{pin}");
    }
}

#[test]
fn every_error_names_file_line_and_reason() {
    let one = "[uplink.1]\ndev = \"ppp0\"\n";
    let cases: &[(String, &str)] = &[
        (String::new(), "w.toml:1:1: no uplink is configured"),
        (format!("{one}devv = 1\n"), "w.toml:3:1: unknown field `devv`"),
        (format!("lans = [\"br0\"]\n{one}"), "w.toml:1:1: unknown field `lans`"),
        ("[uplink.1]\nweight = 1\n".into(), "w.toml:1:1: missing field `dev`"),
        (format!("{one}[uplink.1]\ndev=\"x\"\n"), "w.toml:3:9: duplicate key"),
        (format!("{one}[uplink.01]\ndev=\"x\"\n"), "w.toml:3:9: \"01\" is no uplink number"),
        (format!("{one}[uplink.51]\ndev=\"x\"\n"), "w.toml:3:9: \"51\" is no uplink number"),
        (format!("{one}[uplink.0]\ndev=\"x\"\n"), "w.toml:3:9: \"0\" is no uplink number"),
        (
            format!("{one}[uplink.2]\ndev=\"ppp0\"\n"),
            "w.toml:4:5: ppp0 is already the device of uplink 1",
        ),
        (format!("{one}weight = 0\n"), "w.toml:3:10: must be from 1 to 255"),
        (format!("{one}weight = 256\n"), "w.toml:3:10: must be from 1 to 255"),
        (
            format!("{one}via = \"1.2.3\"\n"),
            "w.toml:3:7: \"1.2.3\" is not the IPv4 address of a gateway",
        ),
        (format!("{one}[uplink.2]\ndev=\"a b\"\n"), "w.toml:4:5: \"a b\" is no device name"),
        (
            format!("lan = [\"br0\", \"ppp0\"]\n{one}"),
            "w.toml:1:15: ppp0 is the device of uplink 1, not",
        ),
        (format!("lan = []\n{one}"), "w.toml:1:7: an empty list"),
        (format!("exclude = [\"10.0.0.300\"]\n{one}"), "w.toml:1:12: \"10.0.0.300\" is neither"),
        (
            format!("exclude = [\"10.0.0.1/8\"]\n{one}"),
            "w.toml:1:12: \"10.0.0.1/8\" has host bits set; the prefix is 10.0.0.0/8",
        ),
        (format!("unassigned = \"no\"\n{one}"), "w.toml:1:14: unknown variant `no`"),
        (format!("helpers = [\"sip\"]\n{one}"), "w.toml:1:12: unknown variant `sip`"),
        (
            format!("{one}[pin]\n\"10.0.0.1\" = 2\n"),
            "w.toml:4:14: the pin names uplink 2, which does not",
        ),
        (
            format!("{one}[pin]\n\"10.0.0.1\" = 1\n\"10.0.0.1/32\" = 1\n"),
            "w.toml:5:1: 10.0.0.1 is already pinned",
        ),
        (
            format!("{one}[pin]\n\"10.0.0.1\" = 1\n'10.0.0.1' = 1\n"),
            "w.toml:5:1: duplicate key: '10.0.0.1' = 1",
        ),
        (
            format!("{one}[pin]\n\"10.0.0.1\" = \"ppp0\"\n"),
            "w.toml:4:14: invalid type: string \"ppp0\", expected i64",
        ),
        (
            format!("{one}[pin]\n\"10.0.0.2\" = 9\n\"10.0.0.1\" = 8\n"),
            "w.toml:4:14: the pin names uplink 9, which does not",
        ),
        (format!("pin = 1\n{one}"), "w.toml:1:7: invalid type: integer `1`, expected a map"),
        (
            format!("exclude = [1]\n{one}"),
            "w.toml:1:12: invalid type: integer `1`, expected a string",
        ),
        (format!("{one}[pin]\n\"127.0.0.1\" = 1\n"), "w.toml:4:1: 127.0.0.1 is a loopback"),
        (format!("{one}[pin]\n\"10.0.0\" = 1\n"), "w.toml:4:1: \"10.0.0\" is neither"),
        (
            format!("exclude = [\"10.0.0.0/8\"]\n{one}[pin]\n\"10.0.0.1\" = 1\n"),
            "w.toml:5:1: 10.0.0.1 is pinned and also excluded by exclude = [\"10.0.0.0/8\"]",
        ),
        (format!("{one}[kernel]\nmark-mask = 0x1ff\n"), "w.toml:4:13: must be 8 adjacent bits"),
        (format!("{one}[kernel]\ntable-base = 0\n"), "w.toml:4:14: would use routing table 0"),
        (format!("{one}[kernel]\ntable-base = 252\n"), "w.toml:4:14: would use routing table 253"),
        (
            format!("{one}[kernel]\nuplink-table-base = 200\n"),
            "w.toml:4:21: would use routing table 201 twice",
        ),
        (format!("{one}[kernel]\nprotocol = 2\n"), "w.toml:4:12: must be from 5 to 255"),
        (
            format!("{one}[kernel]\nprotocol = 186\n"),
            "w.toml:4:12: protocol 186 belongs to a routing daemon",
        ),
        (
            format!("{one}[kernel]\nrule-pref = 31699\n"),
            "w.toml:4:13: must be from 1 to 31698: rule-pref = 31699",
        ),
        (format!("{one}role = \"backup\"\n"), "w.toml:1:1: every uplink is a backup"),
        (format!("{one}role = \"spare\"\n"), "w.toml:3:8: unknown variant `spare`"),
        (format!("{one}failback = \"drain\"\n"), "w.toml:3:12: must be \"keep\""),
        (format!("{one}failback = \"drain +1\"\n"), "w.toml:3:12: must be \"keep\""),
        (format!("{one}[uplink.2]\ndev=\"lo\"\n"), "w.toml:4:5: lo cannot be an uplink"),
        (format!("lan = [\"lo\"]\n{one}"), "w.toml:1:8: lo cannot be a LAN device"),
        (format!("lan = [\"a\", \"a\"]\n{one}"), "w.toml:1:13: a is already in the list"),
        (format!("{one}[probe]\nneed = 2\n"), "w.toml:4:8: need = 2 is more than the number"),
        (format!("{one}[probe]\ncount = 0\n"), "w.toml:4:9: must be from 1 to 100"),
        (format!("{one}[probe]\ntimeout = 1\n"), "w.toml:4:11: invalid type"),
        (format!("{one}role = \"spare\"\n"), "w.toml:3:8: unknown variant `spare`"),
        (
            format!("{one}[probe]\ntargets = [\"a.org\"]\n"),
            "w.toml:4:12: \"a.org\" is not the IPv4",
        ),
        (format!("{one}[probe]\ntimeout = \"1\"\n"), "w.toml:4:11: \"1\" is not a time"),
        (format!("{one}[hook]\nexec = \"x\"\n"), "w.toml:4:8: must be the absolute path"),
        (format!("{one}[multipath]\nhash = \"l5\"\n"), "w.toml:4:8: unknown variant `l5`"),
        (format!("{one}[x\n"), "w.toml:3:3: "),
    ];
    for (text, wanted) in cases {
        let error = parse(text).expect_err(text);
        assert!(error.starts_with(wanted), "{text}\nwanted {wanted}\ngot    {error}");
        assert!(!error.contains('\n'), "one line: {error}");
    }
}

#[test]
fn an_uplink_is_named_by_number_or_device() {
    let config = parse("[uplink.7]\ndev = \"ppp0\"\n").unwrap();
    assert_eq!(config.uplink("7").unwrap().get(), 7);
    assert_eq!(config.uplink("ppp0").unwrap().get(), 7);
    let error = config.uplink("ppp1").unwrap_err().to_string();
    assert_eq!(error, "w.toml: there is no uplink \"ppp1\"; the configuration has 7 (ppp0)");
}

#[test]
fn an_uplink_has_its_own_probe_settings_before_the_common_ones() {
    let text = "[uplink.1]\ndev = \"a\"\n[uplink.1.probe]\ncount = 5\n[uplink.2]\ndev = \"b\"\n\
                [probe]\ncount = 2\nup = 9\n";
    let config = parse(text).unwrap();
    let probes: Vec<_> =
        config.uplinks.values().map(|uplink| (uplink.probe.count, uplink.probe.up)).collect();
    assert_eq!(probes, [(5, 9), (2, 9)]);
}
