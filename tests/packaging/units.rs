//! The systemd units of the package: at installation, every half minute, at a reload and at a stop,
//! with the restricted rights that they have.

use crate::lab::{Debian, Lab, Machine, QUICK, wait_until};
use crate::packaging::package::{CRON, assert_served, packages, pools, write_config};

inside_each_debian! {
    the_units_verify_and_are_sandboxed,
    under_systemd_a_configuration_file_is_enough,
    the_sandboxed_units_can_do_all_their_work,
}

/// The limits for `systemd-analyze security`, in tenths: a unit without restrictions has 96.
const EXPOSED_AT_MOST: [(&str, u32); 3] =
    [("wanpool", 27), ("wanpool-assign", 21), ("wanpool-probe", 21)];

fn the_units_verify_and_are_sandboxed(debian: Debian) {
    let lab = Lab::new();
    packages(&lab, &["0.1.0"]);
    let machine = Machine::boot(&lab, debian);
    machine.sh("apt-get install -y /mnt/0.1.0.deb");
    // There is no man(1) on so small a Debian.
    let verify = "systemd-analyze verify --man=no /usr/lib/systemd/system/wanpool*";
    machine.run(verify).silent();
    for (unit, tenths) in EXPOSED_AT_MOST {
        machine.sh(&format!(
            "systemd-analyze security --offline=true --threshold={tenths} \
             /usr/lib/systemd/system/{unit}.service"
        ));
    }
    let before = machine.sh("systemctl show -p Before wanpool.service");
    assert!(before.contains("network-online.target"), "{before}");
}

/// No unit has failed, and the journal is empty.
#[track_caller]
fn assert_quiet(machine: &Machine) {
    let run = machine.run(
        "systemctl list-units --failed --plain --no-legend
         journalctl --sync; journalctl -q -u wanpool-assign -u wanpool-probe",
    );
    assert!(run.stdout.is_empty() && run.status == 0, "{run}");
}

#[track_caller]
fn await_pools(machine: &Machine, clients: usize) {
    wait_until("the timer has placed all clients", || {
        let count = machine.run("cat /var/lib/wanpool/pool* | wc -l").stdout;
        count.trim() == clients.to_string()
    });
    // Waits for the end of that run.
    machine.sh("systemctl start wanpool-assign.service");
}

fn under_systemd_a_configuration_file_is_enough(debian: Debian) {
    let lab = Lab::new();
    packages(&lab, &["0.1.0", "0.1.1"]);
    let machine = Machine::boot(&lab, debian);
    let empty = lab.kernel_state();
    machine.sh(
        "mkdir -p /etc/systemd/system/wanpool-assign.timer.d
         printf '[Timer]\\nOnUnitActiveSec=1s\\n' >/etc/systemd/system/wanpool-assign.timer.d/soon.conf
         apt-get install -y /mnt/0.1.0.deb
         systemctl is-enabled wanpool.service wanpool-assign.timer
         systemctl is-active wanpool.service wanpool-assign.timer
         ! systemctl is-enabled wanpool-probe.timer
         systemctl start wanpool-assign.service wanpool-probe.service",
    );
    machine.run(CRON).silent();
    lab.kernel_state().assert_is(&empty, "installed, not configured");
    assert_quiet(&machine);

    lab.discover(&lab.everyone());
    write_config(&machine);
    await_pools(&machine, lab.everyone().len());
    let assigned = assert_served(&lab, &machine);
    let journal = machine.sh("journalctl --sync; journalctl -q -o cat -u 'wanpool*'");
    let reported = journal.lines().filter(|line| line.contains(" pool ")).count();
    assert_eq!(reported, lab.everyone().len(), "{journal}");
    assert!(journal.contains("Finished wanpool.service"), "{journal}");
    machine.sh("! systemctl list-units --failed --plain --no-legend | grep .");

    // An upgrade stops nothing.
    let began = "systemctl show -p InvocationID wanpool.service wanpool-assign.timer";
    let (served, before) = (lab.kernel_state(), machine.sh(began));
    machine.sh("apt-get install -y /mnt/0.1.1.deb");
    lab.kernel_state().assert_is(&served, "an upgrade");
    assert_eq!(machine.sh(began), before);

    // A run that takes long is ended, since it could build again what was removed.
    machine.sh("mkdir -p /run/systemd/system/wanpool-assign.service.d
         printf '[Service]\\nExecStart=\\nExecStart=/bin/sleep 1000\\n' \
             >/run/systemd/system/wanpool-assign.service.d/slow.conf
         systemctl daemon-reload");
    wait_until("the timer has begun the run that takes long", || {
        let state = "systemctl show -p SubState -p ExecStart wanpool-assign.service";
        let state = machine.run(state).stdout;
        state.contains("SubState=start\n") && state.contains("sleep 1000")
    });
    machine.sh("apt-get remove -y wanpool; rm -r /run/systemd/system/wanpool-assign.service.d");
    lab.kernel_state().assert_is(&empty, "a removal");
    assert_eq!(pools(&machine), assigned);
    machine.sh("apt-get purge -y wanpool; ! systemctl list-units --all --plain | grep wanpool");
    machine
        .run("find / -xdev -name '*wanpool*' -not -name '*.timer.d' -not -path '/var/log/*'")
        .silent();
}

fn the_sandboxed_units_can_do_all_their_work(debian: Debian) {
    let lab = Lab::new();
    packages(&lab, &["0.1.0"]);
    let machine = Machine::boot(&lab, debian);
    machine.sh("apt-get install -y /mnt/0.1.0.deb; systemctl stop wanpool-assign.timer");
    lab.discover(&lab.everyone());
    write_config(&machine);
    machine.sh(&format!("printf '{QUICK}' >>/etc/wanpool.toml"));
    let stopped = lab.kernel_state();

    // With a second gateway it waits until keepalived says that it is the master.
    machine.sh("install -Dm 644 /usr/share/doc/wanpool/examples/keepalived/master.conf \
             /etc/systemd/system/wanpool-assign.service.d/master.conf
         systemctl daemon-reload; systemctl start wanpool-assign.service");
    lab.kernel_state().assert_is(&stopped, "in the background");
    machine.sh("/usr/share/doc/wanpool/examples/keepalived/notify INSTANCE lan MASTER 150");
    assert_served(&lab, &machine);
    machine.sh("systemctl stop wanpool.service; wanpool flush; rm /var/lib/wanpool/*");
    for kind in ["nft", "legacy"] {
        machine.sh(&format!(
            "update-alternatives --set iptables /usr/sbin/iptables-{kind}; rm -f /run/xtables.lock"
        ));
        lab.gateway.sysctl("net/ipv4/ip_forward", "0");
        machine.sh("systemctl restart wanpool.service; systemctl start wanpool-assign.service");
        assert_eq!(lab.gateway.read_sysctl("net/ipv4/ip_forward"), "1", "{kind}");
        assert_served(&lab, &machine);

        // An edit by hand.
        machine.sh("cd /var/lib/wanpool; head -n 1 pool1 >>pool2; sed -i 1d pool1
             systemctl reload wanpool.service");
        assert_served(&lab, &machine);

        // Pings by each uplink, the runtime state, and the end of flows of an unhealthy uplink.
        lab.swallow(1, true);
        let state = || machine.sh("wanpool pools | awk '$1 == 1 { print $3 }'");
        machine.sh("systemctl start wanpool-probe.service; systemctl start wanpool-probe.service");
        assert_eq!(state(), "failed-over\n", "{kind}");
        lab.swallow(1, false);
        machine.sh("wanpool restore 1");
        machine.sh("systemctl stop wanpool.service");
        lab.kernel_state().assert_is(&stopped, format!("stopped, {kind}"));
    }
    machine.sh("! systemctl list-units --failed --plain --no-legend | grep .");
}
