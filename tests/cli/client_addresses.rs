//! An address of every special kind: refused in one clear line, or taken, by name, in a list, as a
//! pin and in a pool file.

use std::fs;

use crate::lab::{Lab, Run, three};

/// What becomes of an address: by name, in a list, as a pin, in a pool file. A word of the error,
/// or `passed over` in a list, or `taken`.
const ADDRESSES: [(&str, [&str; 4]); 26] = [
    ("0.0.0.0", ["unspecified", "passed over", "unspecified", "unspecified"]),
    ("0.1.2.3", ["unspecified", "passed over", "unspecified", "unspecified"]),
    ("127.0.0.1", ["loopback", "passed over", "loopback", "loopback"]),
    ("127.255.0.1", ["loopback", "passed over", "loopback", "loopback"]),
    ("224.0.0.1", ["multicast", "passed over", "multicast", "multicast"]),
    ("239.255.255.250", ["multicast", "passed over", "multicast", "multicast"]),
    ("240.0.0.1", ["reserved", "passed over", "reserved", "reserved"]),
    ("255.255.255.255", ["reserved", "passed over", "reserved", "reserved"]),
    ("169.254.7.7", ["taken", "taken", "taken", "taken"]),
    ("100.64.1.1", ["taken", "taken", "taken", "taken"]),
    ("203.0.113.77", ["taken", "taken", "taken", "taken"]),
    // Of the gateway: these the configuration and the files cannot know.
    ("192.168.7.1", ["own address, on br0", "passed over", "taken", "taken"]),
    ("10.64.1.2", ["own address, on ppp0", "passed over", "taken", "taken"]),
    ("192.168.7.0", ["network's address", "passed over", "taken", "taken"]),
    ("192.168.7.255", ["broadcast address", "passed over", "taken", "taken"]),
    ("::1", ["IPv6", "no IPv4 address", "neither", "IPv6"]),
    ("fe80::1%br0", ["not an IPv4 address", "no IPv4 address", "neither", "not an IPv4 address"]),
    ("::ffff:10.0.0.1", ["IPv6", "no IPv4 address", "neither", "IPv6"]),
    ("010.1.1.1", ["not an IPv4 address", "no IPv4 address", "neither", "not an IPv4 address"]),
    ("1.2.3", ["not an IPv4 address", "no IPv4 address", "neither", "not an IPv4 address"]),
    ("10.1.1.1.", ["not an IPv4 address", "no IPv4 address", "neither", "not an IPv4 address"]),
    ("0x0a.1.1.1", ["not an IPv4 address", "no IPv4 address", "neither", "not an IPv4 address"]),
    ("167838209", ["not an IPv4 address", "no IPv4 address", "neither", "not an IPv4 address"]),
    // Columns may be set off by spaces.
    (" 10.1.1.1", ["not an IPv4 address", "taken", "neither", "not an IPv4 address"]),
    ("10.1.1.2 ", ["not an IPv4 address", "taken", "neither", "not an IPv4 address"]),
    ("10.1.1.3/32", ["not an IPv4 address", "no IPv4 address", "taken", "not an IPv4 address"]),
];

#[track_caller]
fn assert_became(run: &Run, became: &str, what: &str) {
    match became {
        "taken" => drop(run.ok().lines()),
        "passed over" => drop(run.silent().lines()),
        word => drop(run.failed().naming(&[word]).lines()),
    }
    let lines = if became == "taken" || became == "passed over" { 0 } else { 1 };
    assert_eq!(run.stderr.lines().count(), lines, "{what}: {run}");
}

#[test]
fn special_addresses_are_refused_or_accepted_as_documented() {
    let lab = Lab::new();
    lab.config(&three(""));
    lab.wanpool(["restore"]).ok();
    let pool = lab.pool_dir().join("pool2");
    for (address, [by_name, listed, pinned, filed]) in ADDRESSES {
        println!("{address:?}");
        let before = lab.state();
        let run = lab.wanpool(["assign", address]);
        assert_became(&run, by_name, address);
        if by_name == "taken" {
            lab.wanpool(["assign", address, "--release"]).ok();
        } else {
            lab.state().assert_is(&before, address);
        }
        let run = lab.wanpool_reading(["assign", "--from", "-"], &format!("{address}\n"));
        assert_became(&run, listed, address);
        if listed == "taken" {
            lab.wanpool(["assign", address.trim(), "--release"]).ok();
        }
        lab.state().assert_is(&before, address);

        lab.config(&(three("") + &format!("\n[pin]\n\"{address}\" = 2\n")));
        assert_became(&lab.wanpool(["pools"]), pinned, address);
        lab.config(&three(""));

        fs::write(&pool, format!("{address}\n")).unwrap();
        assert_became(&lab.wanpool(["restore"]), filed, address);
        fs::write(&pool, "").unwrap();
        lab.wanpool(["restore"]).ok();
        lab.state().assert_is(&before, address);
    }
}
