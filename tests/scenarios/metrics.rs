//! `pools --metrics`: promtool accepts the format, and the values are those of the kernel.

use std::collections::BTreeMap;
use std::path::Path;

use crate::lab::{Lab, Shape, four};

with_both_iptables! {
    the_metrics_match_files_and_kernel,
}

/// The samples by name and labels; promtool accepts the page.
#[track_caller]
fn samples(lab: &Lab, page: &str) -> BTreeMap<String, f64> {
    let promtool = Path::new("/usr/bin/promtool");
    assert!(promtool.exists(), "the lab needs promtool (apt install prometheus)");
    let mut check = lab.gateway.command("promtool");
    check.args(["check", "metrics"]);
    let checked = lab.gateway.output(check, page);
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}\n{page}");
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    page.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

/// The bytes that `ip` counts on each uplink, by the names of the samples.
fn counted(lab: &Lab) -> BTreeMap<String, f64> {
    let mut counted = BTreeMap::new();
    for link in lab.gateway.json("ip -s -j link show").as_array().unwrap() {
        let Some(no) = (1..=4).find(|&no| link["ifname"] == lab.uplink_dev(no)) else { continue };
        for (way, name) in [("rx", "receive"), ("tx", "transmit")] {
            let labels = format!("{{pool=\"{no}\",uplink=\"{}\"}}", lab.uplink_dev(no));
            let bytes = link["stats64"][way]["bytes"].as_f64().expect("a counter");
            counted.insert(format!("wanpool_uplink_{name}_bytes_total{labels}"), bytes);
        }
    }
    counted
}

fn the_metrics_match_files_and_kernel(shape: Shape) {
    let lab = shape.serving(&four("").replace("\"ppp0\"", "\"ppp0\"\nweight = 2"));
    lab.run(&format!("assign {} --pool 3", lab.pool(2)[..3].join(" "))).ok();
    lab.wanpool(["failover", "ppp1"]).ok();
    lab.hang_up(3);
    let mut open: Vec<_> = [1, 4].map(|pool| lab.client(lab.member(pool, 0)).tcp().unwrap()).into();
    open.push(lab.client(lab.member(1, 1)).udp().unwrap());
    for conn in &mut open {
        conn.ask().unwrap();
    }

    let before = counted(&lab);
    let page = lab.wanpool(["pools", "--metrics"]);
    let samples = samples(&lab, &page.ok().stdout);
    let tracked: Vec<u32> = lab.tracked().into_values().collect();
    let rows = [
        (1, "ppp0", "up", 12.0, 0.4, 0.4),
        (2, "ppp1", "failed-over", 3.0, 0.1, 0.2),
        (3, "ppp2", "down", 9.0, 0.3, 0.2),
        (4, "eth1", "up", 6.0, 0.2, 0.2),
    ];
    let mut expected = BTreeMap::new();
    for (no, dev, state, clients, share, due) in rows {
        let mut put = |name: &str, more: &str, value: f64| {
            expected
                .insert(format!("wanpool_{name}{{pool=\"{no}\",uplink=\"{dev}\"{more}}}"), value);
        };
        put("pool_clients", "", clients);
        put("pool_share_ratio", "", share);
        put("pool_weight_ratio", "", due);
        for other in ["up", "failed-over", "down"] {
            put(
                "uplink_state",
                &format!(",state=\"{other}\""),
                f64::from(u8::from(other == state)),
            );
        }
        let flows = tracked.iter().filter(|&&mark| mark & 0xff == 0x80 + no).count();
        put("uplink_flows", "", flows as f64);
    }
    let (bytes, others): (BTreeMap<_, _>, _) =
        samples.into_iter().partition(|(name, _)| name.contains("_bytes_total"));
    assert_eq!(others, expected);
    let after = counted(&lab);
    assert!(bytes.keys().eq(after.keys()), "{bytes:?}\n{after:?}");
    for (name, value) in bytes {
        assert!((before[&name]..=after[&name]).contains(&value), "{name} {value}");
        assert!(value > 0.0 || !name.contains("\"ppp0\""), "{name} {value}");
    }
}

#[test]
fn the_metrics_are_well_formed_before_restore_and_without_root() {
    let lab = Lab::new();
    lab.config(&four(""));
    let empty = samples(&lab, &lab.wanpool(["pools", "--metrics"]).ok().stdout);
    assert_eq!(empty["wanpool_pool_clients{pool=\"1\",uplink=\"ppp0\"}"], 0.0);
    assert_eq!(empty["wanpool_pool_share_ratio{pool=\"1\",uplink=\"ppp0\"}"], 0.0);

    lab.serve(&four(""));
    let page = lab.run_as_nobody("pools --metrics");
    let by_user = samples(&lab, &page.ok().stdout);
    assert_eq!(by_user["wanpool_pool_clients{pool=\"1\",uplink=\"ppp0\"}"], 8.0);
    let flows = by_user.keys().filter(|name| name.starts_with("wanpool_uplink_flows"));
    assert_eq!(flows.count(), 0, "flows need root");
}

#[test]
fn the_metrics_list_the_flows_once_however_many_uplinks_there_are() {
    let lab = Lab::four_uplinks();
    drop(lab.talk(&lab.everyone()[..4]));
    let (run, trace) = lab.strace("-e trace=sendto,sendmsg", "pools --metrics");
    assert_eq!(run.status, 0, "{run}");
    assert_eq!(trace.matches("CTNETLINK").count(), 1, "{trace}");
}
