//! Resolvers on the gateway: dnsmasq and unbound answer clients through failover and the loss of lines,
//! each in the ways that the README shows.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::lab::{
    ChildGuard, Lab, NAMED, await_listening, binary, copy, three, wait_until, write_script,
};

#[track_caller]
fn assert_resolves(lab: &Lab, when: &str) {
    assert_eq!(lab.resolve(lab.member(1, 0)), Some(NAMED), "{when}");
}

/// Names are resolved while each line is out in turn, by hand and by its loss.
#[track_caller]
fn assert_resolves_through_failover(lab: &Lab) {
    assert_resolves(lab, "all lines are up");
    for number in 1..=3 {
        let dev = lab.uplink_dev(number);
        lab.wanpool(["failover", &dev]).ok();
        lab.swallow(number, true);
        assert_resolves(lab, &format!("{dev} is failed over"));
        lab.swallow(number, false);
        lab.wanpool(["restore", &dev]).ok();
        lab.hang_up(number);
        lab.wanpool(["assign"]).ok();
        assert_resolves(lab, &format!("{dev} is lost"));
        lab.redial(number);
        lab.wanpool(["restore", &dev]).ok();
    }
    assert_resolves(lab, "all lines are back");
}

/// The configuration with a name server of its own for each uplink.
fn with_name_servers(top: &str) -> String {
    let mut text = three("");
    for dev in ["ppp0", "ppp1", "ppp2"] {
        let line = format!("dev = \"{dev}\"\n");
        text = text.replace(&line, &format!("{line}dns = [\"100.66.0.1\"]\n"));
    }
    text + top
}

#[test]
fn dnsmasq_with_the_name_servers_of_each_line_needs_no_multipath() {
    let lab = Lab::new();
    let _far = lab.far_name_server();
    let file = lab.scratch().join("servers");
    let hook = lab.scratch().join("notify");
    let text = format!(
        "#!/bin/sh\n{} pools --dns >{2}.new && mv {2}.new {2}\n\
         [ ! -e {1} ] || kill -HUP $(cat {1})\n",
        binary().display(),
        lab.scratch().join("pid").display(),
        file.display()
    );
    write_script(&hook, &text);
    let exec = format!("\n[hook]\nexec = \"{}\"\n", hook.display());
    lab.serve(&with_name_servers(&exec));
    let servers = "server=100.66.0.1@ppp0\nserver=100.66.0.1@ppp1\nserver=100.66.0.1@ppp2\n";
    assert_eq!(lab.wanpool(["pools", "--dns"]).ok().stdout, servers);
    fs::write(&file, servers).unwrap();
    let resolver = lab.gateway_dnsmasq(&[format!("--servers-file={}", file.display())]);
    fs::write(lab.scratch().join("pid"), format!("{}\n", resolver.pid)).unwrap();
    assert_resolves_through_failover(&lab);
    lab.wanpool(["failover", "ppp1"]).ok();
    let servers = lab.wanpool(["-j", "pools", "--dns"]).json();
    let expected = serde_json::json!([
        {"uplink": "ppp0", "server": "100.66.0.1"},
        {"uplink": "ppp2", "server": "100.66.0.1"},
    ]);
    assert_eq!(servers, expected);
    // It is the peer where the configuration says so, and what a hook told where it says nothing.
    lab.config(&with_name_servers("").replacen("[\"100.66.0.1\"]", "\"peer\"", 1));
    assert!(lab.wanpool(["pools", "--dns"]).ok().stdout.starts_with("server=10.64.1.1@ppp0\n"));
    lab.config(&three(""));
    lab.wanpool(["pools", "--dns"]).silent();
    lab.run("--hook restore ppp2 --dns 9.9.3.53,2001:db8::53").ok();
    assert_eq!(lab.wanpool(["pools", "--dns"]).ok().stdout, "server=9.9.3.53@ppp2\n");
    lab.run("restore ppp2 --dns 9.9.3").refused(2).naming(&["--dns", "9.9.3"]);
}

#[test]
fn dnsmasq_with_multipath_resolves_through_failover() {
    let lab = Lab::new();
    let _far = lab.far_name_server();
    lab.serve(&(three("") + "\n[multipath]\nenable = true\n"));
    let _resolver = lab.gateway_dnsmasq(&["--server=100.66.0.1".to_owned()]);
    assert_resolves_through_failover(&lab);
    lab.check().clean();
}

fn unbound(lab: &Lab, interfaces: &str) -> ChildGuard {
    let installed = Path::new("/usr/sbin/unbound");
    assert!(installed.exists(), "the lab needs {} (apt install unbound)", installed.display());
    // AppArmor lets the installed one read no file of the lab.
    let program = lab.scratch().join("unbound");
    copy(installed, &program);
    let file = lab.scratch().join("unbound.conf");
    let text = format!(
        "server:
  interface: 192.168.7.1
  access-control: 192.168.7.0/24 allow
  do-ip6: no
  username: \"\"
  chroot: \"\"
  pidfile: \"\"
  use-syslog: no
  logfile: unbound.log
  directory: \"{}\"
  do-daemonize: no
  do-not-query-localhost: no
  msg-cache-size: 0
  rrset-cache-size: 0
  module-config: \"iterator\"
  infra-keep-probing: yes
{interfaces}
forward-zone:
  name: \".\"
  forward-addr: 100.66.0.1
",
        lab.scratch().display()
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-d").arg("-c").arg(&file);
    let resolver = ChildGuard::start(&lab.gateway, &command);
    await_listening(&lab.gateway);
    resolver
}

#[test]
fn unbound_resolves_through_failover_in_both_ways() {
    let addresses: String =
        (1..=3).map(|number| format!("  outgoing-interface: 10.64.{number}.2\n")).collect();
    for (config, interfaces) in
        [(three(""), addresses.as_str()), (three("") + "\n[multipath]\nenable = true\n", "")]
    {
        let lab = Lab::new();
        let _far = lab.far_name_server();
        lab.serve(&config);
        let _resolver = unbound(&lab, interfaces);
        wait_until("unbound answers", || lab.resolve(lab.member(1, 0)) == Some(NAMED));
        assert_resolves_through_failover(&lab);
    }
}
