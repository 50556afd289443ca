//! Special addresses: refused with one clear line, or accepted, on the command line, in a list, as
//! a pin and in a pool file.

use std::fs;

use crate::lab::{Lab, Run, three};

/// What happens to an address on the command line, in a list, as a pin, and in a pool file: a word
/// of the error, or `skipped` in a list, or `accepted`.
const ADDRESSES: [(&str, [&str; 4]); 26] = [
    ("0.0.0.0", ["unspecified", "skipped", "unspecified", "unspecified"]),
    ("0.1.2.3", ["unspecified", "skipped", "unspecified", "unspecified"]),
    ("127.0.0.1", ["loopback", "skipped", "loopback", "loopback"]),
    ("127.255.0.1", ["loopback", "skipped", "loopback", "loopback"]),
    ("224.0.0.1", ["multicast", "skipped", "multicast", "multicast"]),
    ("239.255.255.250", ["multicast", "skipped", "multicast", "multicast"]),
    ("240.0.0.1", ["reserved", "skipped", "reserved", "reserved"]),
    ("255.255.255.255", ["reserved", "skipped", "reserved", "reserved"]),
    ("169.254.7.7", ["accepted", "accepted", "accepted", "accepted"]),
    ("100.64.1.1", ["accepted", "accepted", "accepted", "accepted"]),
    ("203.0.113.77", ["accepted", "accepted", "accepted", "accepted"]),
    // Addresses of the gateway, which the configuration and the files do not know.
    ("192.168.7.1", ["own address, on br0", "skipped", "accepted", "accepted"]),
    ("10.64.1.2", ["own address, on ppp0", "skipped", "accepted", "accepted"]),
    ("192.168.7.0", ["network's address", "skipped", "accepted", "accepted"]),
    ("192.168.7.255", ["broadcast address", "skipped", "accepted", "accepted"]),
    ("::1", ["IPv6", "no IPv4 address", "neither", "IPv6"]),
    ("fe80::1%br0", ["not an IPv4 address", "no IPv4 address", "neither", "not an IPv4 address"]),
    ("::ffff:10.0.0.1", ["IPv6", "no IPv4 address", "neither", "IPv6"]),
    ("010.1.1.1", ["not an IPv4 address", "no IPv4 address", "neither", "not an IPv4 address"]),
    ("1.2.3", ["not an IPv4 address", "no IPv4 address", "neither", "not an IPv4 address"]),
    ("10.1.1.1.", ["not an IPv4 address", "no IPv4 address", "neither", "not an IPv4 address"]),
    ("0x0a.1.1.1", ["not an IPv4 address", "no IPv4 address", "neither", "not an IPv4 address"]),
    ("167838209", ["not an IPv4 address", "no IPv4 address", "neither", "not an IPv4 address"]),
    // In a list, spaces separate columns.
    (" 10.1.1.1", ["not an IPv4 address", "accepted", "neither", "not an IPv4 address"]),
    ("10.1.1.2 ", ["not an IPv4 address", "accepted", "neither", "not an IPv4 address"]),
    ("10.1.1.3/32", ["not an IPv4 address", "no IPv4 address", "accepted", "not an IPv4 address"]),
];

#[track_caller]
fn assert_result(run: &Run, expected: &str, what: &str) {
    match expected {
        "accepted" => drop(run.ok().lines()),
        "skipped" => drop(run.silent().lines()),
        word => drop(run.failed().naming(&[word]).lines()),
    }
    let lines = usize::from(!["accepted", "skipped"].contains(&expected));
    assert_eq!(run.stderr.lines().count(), lines, "{what}: {run}");
}

#[test]
fn special_addresses_are_refused_or_accepted_as_documented() {
    let lab = Lab::new();
    lab.config(&three(""));
    lab.wanpool(["restore"]).ok();
    let pool = lab.pool_dir().join("pool2");
    for (address, [by_name, listed, pinned, filed]) in ADDRESSES {
        let before = lab.state();
        let run = lab.wanpool(["assign", address]);
        assert_result(&run, by_name, address);
        if by_name == "accepted" {
            lab.wanpool(["assign", address, "--release"]).ok();
        } else {
            lab.state().assert_is(&before, address);
        }
        let run = lab.wanpool_reading(["assign", "--from", "-"], &format!("{address}\n"));
        assert_result(&run, listed, address);
        if listed == "accepted" {
            lab.wanpool(["assign", address.trim(), "--release"]).ok();
        }
        lab.state().assert_is(&before, address);

        lab.config(&(three("") + &format!("\n[pin]\n\"{address}\" = 2\n")));
        assert_result(&lab.wanpool(["pools"]), pinned, address);
        lab.config(&three(""));

        fs::write(&pool, format!("{address}\n")).unwrap();
        assert_result(&lab.wanpool(["restore"]), filed, address);
        fs::write(&pool, "").unwrap();
        lab.wanpool(["restore"]).ok();
        lab.state().assert_is(&before, address);
    }
}
