//! Services that replace the whole packet filter: nftables.service at a start and a reload, and
//! netfilter-persistent, which loads saved rules at boot.

use crate::lab::{Debian, Lab, Machine, wait_until};
use crate::packaging::package::{assert_served, packages, write_config};

inside_each_debian! {
    wanpool_is_back_after_a_firewall_is_reloaded_or_restarted,
    saved_rules_load_at_boot_with_those_of_wanpool,
}

/// Installed and configured, with all clients in pools, and without the timer.
fn serving<'lab>(lab: &'lab Lab, debian: Debian) -> Machine<'lab> {
    packages(lab, &["0.1.0"]);
    let machine = Machine::boot(lab, debian);
    machine.sh("apt-get install -y /mnt/0.1.0.deb; systemctl stop wanpool-assign.timer");
    lab.discover(&lab.everyone());
    write_config(&machine);
    machine.sh("systemctl restart wanpool.service; systemctl start wanpool-assign.service");
    assert_served(lab, &machine);
    machine
}

fn await_no_jobs(machine: &Machine) {
    wait_until("systemd has nothing more to do", || {
        !machine.run("systemctl list-jobs --no-legend --plain").stdout.contains(".service")
    });
}

fn wanpool_is_back_after_a_firewall_is_reloaded_or_restarted(debian: Debian) {
    let lab = Lab::new();
    let machine = serving(&lab, debian);
    for action in ["start", "reload", "restart"] {
        machine.sh(&format!("systemctl {action} nftables.service"));
        await_no_jobs(&machine);
        let rules = machine.sh("iptables -t mangle -S PREROUTING; nft list tables");
        assert!(rules.contains("-j WANPOOL") && rules.contains("table inet filter"), "{rules}");
        assert_served(&lab, &machine);
    }
    // What an admin did stays.
    machine.sh("wanpool failover ppp0; systemctl reload nftables.service");
    await_no_jobs(&machine);
    assert!(machine.sh("wanpool pools 2>&1; wanpool pools").contains("failed-over"));
    machine
        .sh("wanpool flush; systemctl reload nftables.service; systemctl restart nftables.service");
    await_no_jobs(&machine);
    assert!(lab.rules().is_empty(), "{:?}", lab.rules());
    machine.sh("systemctl restart wanpool.service");
    assert_served(&lab, &machine);
    machine.sh("! systemctl list-units --failed --plain --no-legend | grep .");
}

fn saved_rules_load_at_boot_with_those_of_wanpool(debian: Debian) {
    let lab = Lab::new();
    let machine = serving(&lab, debian);
    for kind in ["nft", "legacy"] {
        machine.sh(&format!(
            "systemctl stop wanpool.service
             update-alternatives --set iptables /usr/sbin/iptables-{kind}
             rm -f /run/xtables.lock
             systemctl start wanpool.service
             iptables -A INPUT -p tcp --dport 4711 -j DROP
             netfilter-persistent save
             grep -q map-set /etc/iptables/rules.v4
             [ -z \"$(wanpool pools --check)\" ]"
        ));
        // The kernel as it is after a boot.
        machine.sh("systemctl stop wanpool.service netfilter-persistent.service
             iptables -F; rm -f /run/wanpool/flushed
             ! ipset list -n | grep .; ! iptables -S | grep 4711
             systemctl reset-failed; systemctl start netfilter-persistent.service wanpool.service");
        machine.sh("iptables -S INPUT | grep -q 4711");
        assert_served(&lab, &machine);
        machine.sh("! systemctl list-units --failed --plain --no-legend | grep .");
        machine.sh("iptables -F INPUT");
    }
}
