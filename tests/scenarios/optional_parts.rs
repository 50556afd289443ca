//! What clients do not need must not keep them from being served: conntrack helpers that the kernel
//! lacks, and tables of others that iptables cannot read.

use crate::lab::{Lab, three, write_script};

#[test]
fn clients_are_served_although_the_kernel_lacks_helpers() {
    let lab = Lab::new();
    lab.config(&three("helpers = [\"ftp\"]\n"));
    lab.discover(&lab.everyone());
    // Rules with a helper are refused, as by a kernel without helpers.
    let folder = lab.scratch().join("no-helpers");
    std::fs::create_dir(&folder).unwrap();
    let real = lab.gateway.sh("command -v iptables-restore").trim().to_owned();
    for name in ["iptables", "iptables-save"] {
        let target = lab.gateway.sh(&format!("command -v {name}"));
        std::os::unix::fs::symlink(target.trim(), folder.join(name)).unwrap();
    }
    let refusing = format!(
        "#!/bin/sh\ntext=$(cat)\ncase $text in *--helper*) echo 'No such helper \"ftp\"' >&2; exit 2;; \
         esac\nprintf '%s\\n' \"$text\" | {real} \"$@\"\n"
    );
    write_script(&folder.join("iptables-restore"), &refusing);
    let run = |command: &str| {
        lab.script(&format!("PATH={}:$PATH exec \"$WANPOOL\" {command}", folder.display()))
    };
    for command in ["restore", "assign", "failover 1", "restore 1"] {
        let run = run(command);
        assert_eq!(run.status, 1, "{run}");
        run.naming(&["No such helper", "clients are served without helpers", "wanpool.toml"]);
    }
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    lab.wanpool(["assign"]).ok();
    lab.check().clean();
}

/// A rule in a table of iptables that only nft can make.
const NATIVE_RULE: &str = "
nft add table ip filter
nft 'add chain ip filter FORWARD { type filter hook forward priority 0; }'
nft 'add map ip filter m { type ipv4_addr: mark; }'
nft 'add rule ip filter FORWARD meta mark set ip saddr map @m'
";

#[test]
fn a_rule_of_nft_in_another_table_stops_no_command() {
    let lab = Lab::three_uplinks();
    lab.gateway.sh(NATIVE_RULE);
    let read = lab.gateway.sh("iptables-save 2>&1 || true");
    assert!(read.contains("failed"), "iptables-save reads it: {read}");
    lab.wanpool(["failover", "2"]).ok();
    lab.wanpool(["restore", "2"]).ok();
    lab.wanpool(["restore"]).silent();
    assert_eq!(lab.wanpool(["pools", "--check"]).status, 0);
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    lab.wanpool(["flush"]).ok();
    lab.wanpool(["restore"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
}

/// In a table of wanpool itself.
#[test]
fn a_rule_of_nft_in_a_table_of_wanpool_does_not_stop_routing() {
    let lab = Lab::three_uplinks();
    let served = lab.state();
    for table in ["mangle", "nat"] {
        lab.gateway.sh(&format!(
            "nft 'add map ip {table} m {{ type ipv4_addr: mark; }}'
             nft 'insert rule ip {table} POSTROUTING meta mark set ip saddr map @m'"
        ));
        let step = format!("nft -a list table ip {table}");
        let partly = |command: &str| {
            let run = lab.run(command);
            assert_eq!(run.status, 1, "{run}");
            run.naming(&["the table", table, "cannot be read", &step]);
        };
        for command in ["failover 2", "failover --probe"] {
            partly(command);
        }
        lab.assert_all_leave_by(&lab.members(2), &[1, 3]);
        for command in ["restore 2", "assign 192.168.7.99", "assign 192.168.7.99 --release"] {
            partly(command);
        }
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
        let check = lab.wanpool(["pools", "--check"]);
        assert_eq!(check.status, 3, "{check}");
        assert!(check.stdout.contains(&step), "{check}");

        partly("flush");
        assert!(lab.rules().is_empty());
        partly("restore");
        lab.gateway.sh(&format!(
            "nft delete rule ip {table} POSTROUTING handle \
                 $(nft -a list table ip {table} | sed -n '/map @m/s/.*handle //p')
             nft delete map ip {table} m"
        ));
        lab.wanpool(["restore"]);
        lab.state().assert_is(&served, table);
    }
}

#[test]
fn with_a_read_only_proc_sys_all_else_is_done_and_the_sysctl_is_named() {
    let lab = Lab::with().raise();
    lab.config(&three(""));
    lab.discover(&lab.everyone());
    let read_only = |command: &str| {
        lab.script(&format!(
            "exec unshare --mount sh -ec 'mount --bind /proc/sys /proc/sys
             mount -o remount,ro,bind /proc/sys; exec \"$WANPOOL\" {command}'"
        ))
    };
    lab.gateway.sysctl("net/ipv4/ip_dynaddr", "0");
    lab.gateway.sysctl("net/ipv4/ip_forward", "0");
    let sysctl = "docker run --sysctl net.ipv4.ip_forward=1";
    let run = read_only("restore");
    assert_eq!(run.status, 1, "{run}");
    assert!(run.stderr.contains(sysctl), "{run}");
    let check = read_only("pools --check");
    assert!(check.status == 3 && check.stdout.contains(sysctl), "{check}");
    lab.gateway.sysctl("net/ipv4/ip_forward", "1");
    read_only("assign").ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    read_only("restore").silent();
    assert_eq!(read_only("pools --check").ok().stdout, "");
}
