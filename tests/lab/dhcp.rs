//! DHCP on the ethernet uplink: a server at the provider, and the real clients on the gateway with their
//! hooks in place.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use super::{ChildGuard, Lab, binary, wait_until};

/// A client, and the place of its hook (from the folder `scripts`).
#[derive(Clone, Copy, Debug)]
pub struct DhcpClient {
    pub name: &'static str,
    hook: (&'static str, &'static str),
    command: &'static str,
}

pub const DHCP_CLIENTS: [DhcpClient; 3] = [
    DhcpClient {
        name: "dhclient",
        hook: ("dhclient/wanpool", "/etc/dhcp/dhclient-exit-hooks.d/wanpool"),
        command: "dhclient -4 -d -pf /run/dhclient.pid -lf /var/lib/dhcp/leases $DEV",
    },
    DhcpClient {
        name: "dhcpcd",
        hook: ("dhcpcd/90-wanpool", "/usr/lib/dhcpcd/dhcpcd-hooks/90-wanpool"),
        command: "dhcpcd -4 -B --noarp -t 0 $DEV",
    },
    DhcpClient {
        name: "udhcpc",
        hook: ("udhcpc/wanpool", "/etc/udhcpc/wanpool"),
        command: "udhcpc -f -i $DEV -t 20 -T 1 -s $SCRIPT",
    },
];

/// A client that runs.
pub struct RunningClient {
    /// A shell, which is process 1 of a namespace. dhcpcd itself changes its user, and would survive the
    /// process that started it.
    init: u32,
    guard: Option<ChildGuard>,
}

impl Lab {
    /// A DHCP server at the other end of the ethernet uplink. It gives the address of the uplink, and
    /// leases are renewed every few seconds.
    pub fn dhcp_server(&self, router: Ipv4Addr, dns: &str) -> ChildGuard {
        self.dhcp_server_on("isp4", self.uplink_address(4), router, dns)
    }

    /// The same at the provider's end of another line.
    pub fn dhcp_server_on(
        &self,
        isp: &str,
        address: Ipv4Addr,
        router: Ipv4Addr,
        dns: &str,
    ) -> ChildGuard {
        let program = "/usr/sbin/dnsmasq";
        assert!(Path::new(program).exists(), "the lab needs {program} (apt install dnsmasq-base)");
        let leases = self.scratch().join(format!("leases-{isp}"));
        let mut command = Command::new(program);
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"]);
        command.args(["--bind-interfaces", "--dhcp-authoritative", "--no-ping", "--pid-file="]);
        command.arg(format!("--interface={isp}"));
        command.arg(format!("--dhcp-leasefile={}", leases.display()));
        command.arg(format!("--dhcp-range={address},{address},255.255.255.0,2m"));
        command.arg(format!("--dhcp-option=option:router,{router}"));
        command.arg(format!("--dhcp-option=option:dns-server,{dns}"));
        command.args(["--dhcp-option-force=option:T1,3", "--dhcp-option-force=option:T2,60"]);
        let server = ChildGuard::start(&self.provider, &command);
        wait_until("the DHCP server listens", || {
            self.provider.sh("cat /proc/net/udp").contains(":0043 ")
        });
        server
    }

    /// udhcpc renews a lease after half of its time, whatever the server says, or at this signal.
    pub fn renew(&self, client: DhcpClient, running: &RunningClient) {
        if client.name == "udhcpc" {
            self.gateway
                .sh(&format!("kill -USR1 $(cat /proc/{0}/task/{0}/children)", running.init));
        }
    }

    /// Starts a client, which finds the configuration of this machine and no file of an earlier run.
    /// Without its hook, it runs as on a gateway on which nobody has installed one.
    pub fn dhcp_client(&self, client: DhcpClient, with_hook: bool) -> RunningClient {
        self.dhcp_client_on("eth1", client, with_hook)
    }

    /// The same on another device.
    pub fn dhcp_client_on(&self, dev: &str, client: DhcpClient, with_hook: bool) -> RunningClient {
        let (source, place) = client.hook;
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");
        let work = tempfile::tempdir_in(self.scratch()).expect("a folder").keep();
        let run_hook = if with_hook { "" } else { "exit 0" };
        // The clients give their scripts an environment of their own.
        let script = format!(
            "PATH=$PATH:/usr/sbin:/sbin
             cp -a /etc /usr/lib/dhcpcd {work}/
             for name in iptables iptables-save iptables-restore; do
                 ln -sf $(readlink -f $(command -v $name)) {work}/etc/alternatives/$name
             done
             mount --bind {work}/etc /etc
             mount --bind {work}/dhcpcd /usr/lib/dhcpcd
             for dir in /run /var/lib/dhcp /var/lib/dhcpcd; do
                 [ ! -d $dir ] || mount -t tmpfs none $dir
             done
             mkdir -p ${{SCRIPT%/*}}
             {{
                 echo '#!/bin/sh'
                 echo 'export WANPOOL={program} WANPOOL_CONFIG={config} WANPOOL_STATE_DIR={state}'
                 echo 'export WANPOOL_RUN_DIR={run} XTABLES_LOCKFILE={lock}'
                 cat {scripts}/{source}
             }} >$SCRIPT
             chmod 755 $SCRIPT
             [ -n '{run_hook}' ] && [ {name} != udhcpc ] && rm $SCRIPT
             [ -n '{run_hook}' ] && SCRIPT=/etc/udhcpc/default.script
             {command} >{work}/log 2>&1 &
             wait",
            work = work.display(),
            name = client.name,
            command = client.command,
            program = binary().display(),
            config = self.config_file().display(),
            state = self.pool_dir().display(),
            run = self.scratch().join("run").display(),
            lock = self.scratch().join("xtables.lock").display(),
        );
        self.gateway.sh(&format!("ip addr flush dev {dev}"));
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]);
        command.args(["--mount-proc", "sh", "-c", &script]);
        command.env("SCRIPT", place).env("DEV", dev);
        let guard = ChildGuard::start(&self.gateway, &command);
        let children = format!("/proc/{0}/task/{0}/children", guard.pid);
        let mut init = None;
        wait_until("the client has started", || {
            init = fs::read_to_string(&children).ok().and_then(|text| text.trim().parse().ok());
            init.is_some()
        });
        RunningClient { init: init.expect("its number"), guard: Some(guard) }
    }
}

impl Drop for RunningClient {
    /// Process 1 ends after all that it has started. Until then, these may write files of the lab.
    fn drop(&mut self) {
        drop(self.guard.take());
        let process = format!("/proc/{}", self.init);
        wait_until("the client and its scripts have ended", || !Path::new(&process).exists());
    }
}
