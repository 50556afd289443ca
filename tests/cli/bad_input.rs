//! Files and names that are broken or malicious: refused with one clear line, and nothing changes. Each
//! kind of file, line and name has a row in the tables of `src`.

use std::fs;
use std::net::Ipv4Addr;

use crate::lab::{Lab, Run, three};

/// A run that must not hang, with the memory of a small gateway.
fn bounded(lab: &Lab, command: &str) -> Run {
    lab.script(&format!("exec timeout 300 prlimit --as=419430400 \"$WANPOOL\" {command}"))
}

#[test]
fn a_pool_file_or_config_that_is_no_regular_file_is_refused() {
    let lab = Lab::three_uplinks();
    let before = lab.kernel_state();
    let [pool, config] = [lab.pool_dir().join("pool2"), lab.scratch().join("odd.toml")];
    let [pool, config] = [pool, config].map(|path| path.display().to_string());
    for (make, kind) in [("mkfifo", "a FIFO"), ("ln -s /etc/hostname", "a symlink")] {
        lab.gateway.sh(&format!("mv {pool} {pool}.bak\n{make} {pool}"));
        for command in ["pools 2", "restore", "assign 192.168.7.99", "-n assign 192.168.7.99"] {
            bounded(&lab, command).refused(1).naming(&["pool2", kind, "not a plain file"]);
        }
        lab.gateway.sh(&format!("mv {pool}.bak {pool}"));
    }
    lab.gateway.sh(&format!("mkfifo {config}"));
    let run = bounded(&lab, &format!("--config {config} restore"));
    run.refused(2).naming(&["odd.toml", "a FIFO", "not a plain file"]);
    lab.kernel_state().assert_is(&before, "after the refusals");
}

#[test]
fn a_config_may_be_a_symlink_or_standard_input_from_a_file() {
    let lab = Lab::three_uplinks();
    let right = lab.wanpool(["pools"]).ok().stdout.clone();
    let file = lab.config_file().display().to_string();
    for script in [
        format!("ln -s {file} {file}.link; exec \"$WANPOOL\" --config {file}.link pools"),
        format!("exec \"$WANPOOL\" --config /dev/stdin pools <{file}"),
    ] {
        assert_eq!(lab.script(&script).ok().stdout, right, "{script}");
    }
    let pipe = format!("cat {file} | \"$WANPOOL\" --config /dev/stdin pools");
    lab.script(&pipe).refused(2).naming(&["/dev/stdin", "a FIFO"]);
}

#[test]
fn huge_files_are_refused_with_little_memory() {
    let lab = Lab::three_uplinks();
    let before = lab.kernel_state();
    let huge = lab.pool_dir().join("pool3").display().to_string();
    lab.gateway.sh(&format!("cp {huge} {huge}.bak"));
    for (make, word) in [
        ("truncate -s 100M", "longer than 64 MiB"),
        // Below the limit: a line that is no address, and one address again and again.
        ("truncate -s 60M", "pool3:1:1: not an IPv4 or IPv6 address"),
        ("yes 192.168.7.77 | head -c 3900000 >", "pool3:2:1: 192.168.7.77 is in"),
    ] {
        lab.gateway.sh(&format!("rm {huge}\n{make} {huge}"));
        for command in ["pools 3", "assign 192.168.7.99"] {
            let run = bounded(&lab, command);
            run.refused(1).naming(&["pool3", word]);
            assert!(run.stderr.len() < 1000, "{} bytes", run.stderr.len());
        }
        let config = bounded(&lab, &format!("--config {huge} pools"));
        assert!(config.refused(2).stderr.len() < 1500, "{config}");
    }
    bounded(&lab, "scan --from /dev/zero").refused(1).naming(&["/dev/zero", "longer than 64 MiB"]);
    lab.gateway.sh(&format!("mv {huge}.bak {huge}"));
    lab.kernel_state().assert_is(&before, "huge files");
}

#[test]
fn a_million_clients_fit_into_little_memory() {
    let lab = Lab::new();
    lab.config(&three(""));
    let lines: String = (0..1_000_000u32)
        .map(|at| format!("{}\n", Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 100, 100, 0)) + at)))
        .collect();
    fs::create_dir(lab.pool_dir()).unwrap();
    fs::write(lab.pool_dir().join("pool1"), lines).unwrap();
    let pools = bounded(&lab, "-j pools").json();
    assert_eq!(pools[0]["clients"], 1_000_000);
}

#[test]
fn a_bad_line_of_a_pool_file_is_named_by_file_line_and_column() {
    let lab = Lab::three_uplinks();
    fs::write(lab.pool_dir().join("pool9"), "10.0.0.1\n\x1b[2Jx\n").unwrap();
    let before = lab.state();
    for command in ["pools 1", "restore", "assign 192.168.7.99", "pools --check"] {
        let run = lab.run(command);
        run.refused(1).naming(&["pool9:2:1: not an IPv4 or IPv6 address: \"\\u{1b}[2Jx\""]);
    }
    lab.state().assert_is(&before, "a bad line");
}

#[test]
fn invalid_device_names_are_refused() {
    let lab = Lab::three_uplinks();
    let before = lab.state();
    let one_line = |run: Run| {
        run.failed();
        assert_eq!(run.stderr.lines().count(), 1, "{run}");
        assert!(!run.stderr.trim_end().contains(char::is_control), "{run}");
    };
    for name in ["../../etc/passwd", "ppp0\n", "\u{1b}[2J", "%n%s%d"] {
        for command in ["failover", "restore", "pools", "assign"] {
            one_line(lab.wanpool([command, name]));
        }
        one_line(lab.wanpool(["failover", "ppp0", "--to", name]));
        one_line(lab.wanpool(["scan", "--dev", name]));
        let quoted = serde_json::to_string(name).expect("JSON");
        let file = lab.scratch().join("odd.toml");
        fs::write(&file, format!("[uplink.1]\ndev = {quoted}\n")).unwrap();
        let run = lab.wanpool(["--config", &file.display().to_string(), "pools"]);
        run.refused(2).naming(&["odd.toml:", "no device name"]);
        one_line(run);
    }
    lab.state().assert_is(&before, "invalid names");
}

#[test]
fn a_lan_device_with_special_characters_works() {
    let lab = Lab::new();
    // What the kernel allows: no slash, no space, fifteen bytes.
    let name = "x\";$(id)'é+";
    lab.gateway.sh(&format!(
        "name=$(cat <<'END'\n{name}\nEND\n)
         ip link add name \"$name\" type veth peer name odd1
         ip addr add 10.77.0.1/24 dev \"$name\"
         ip link set \"$name\" up\nip link set odd1 up
         ip neigh add 10.77.0.9 lladdr 02:00:00:00:00:09 nud permanent dev \"$name\""
    ));
    lab.config(&three("").replace("lan = [\"br0\"]", ""));
    let scan = lab.wanpool(["-j", "scan"]).json();
    assert_eq!((&scan[0]["address"], &scan[0]["dev"]), (&"10.77.0.9".into(), &name.into()));
    lab.wanpool(["restore"]).ok();
    lab.wanpool(["assign"]).ok();
    assert_eq!(lab.pool_of(Ipv4Addr::new(10, 77, 0, 9)), Some(1));
    lab.check().clean();
    lab.wanpool(["pools", "1"]).ok();
    lab.wanpool(["pools", "10.77.0.9"]).ok();
    lab.wanpool(["flush"]).ok();
}
