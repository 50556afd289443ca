//! Files and names that are broken or malicious: refused with one clear line, and nothing changes.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use crate::lab::{Lab, Run, three};

const NOT_REGULAR: [&str; 5] = ["a symlink", "a FIFO", "a folder", "a socket", "a device"];

/// Puts something that is no regular file at this path.
fn put(lab: &Lab, kind: &str, path: &str) {
    match kind {
        "a symlink" => symlink("/etc/hostname", path).expect("a symlink"),
        "a FIFO" => drop(lab.gateway.sh(&format!("mkfifo {path}"))),
        "a folder" => fs::create_dir(path).expect("a folder"),
        "a socket" => drop(UnixListener::bind(path).expect("a socket")),
        _ => drop(lab.gateway.sh(&format!("mknod {path} c 1 5"))),
    }
}

/// A run that must not hang, with the memory of a small gateway.
fn bounded(lab: &Lab, command: &str) -> Run {
    lab.script(&format!("exec timeout 60 prlimit --as=419430400 \"$WANPOOL\" {command}"))
}

#[test]
fn a_pool_file_that_is_no_regular_file_is_refused() {
    let lab = Lab::three_uplinks();
    let file = lab.pool_dir().join("pool2").display().to_string();
    let before = lab.kernel_state();
    for kind in NOT_REGULAR {
        lab.gateway.sh(&format!("mv {file} {file}.bak"));
        put(&lab, kind, &file);
        for command in ["pools", "scan", "restore", "assign 192.168.7.99", "-n assign 192.168.7.99"]
        {
            bounded(&lab, command).refused(1).naming(&["pool2", kind, "not a plain file"]);
        }
        lab.kernel_state().assert_is(&before, kind);
        lab.gateway.sh(&format!("rm -r {file}\nmv {file}.bak {file}"));
    }
    lab.wanpool(["restore"]).silent();
}

#[test]
fn a_config_that_is_no_regular_file_is_refused() {
    let lab = Lab::three_uplinks();
    let before = lab.state();
    let file = lab.scratch().join("odd.toml").display().to_string();
    for kind in NOT_REGULAR.into_iter().filter(|kind| *kind != "a symlink") {
        put(&lab, kind, &file);
        for command in ["pools", "restore"] {
            let run = bounded(&lab, &format!("--config {file} {command}"));
            run.refused(2).naming(&["odd.toml", kind, "not a plain file"]);
        }
        lab.gateway.sh(&format!("rm -r {file}"));
    }
    lab.state().assert_is(&before, "bad configurations");
}

#[test]
fn a_config_may_be_a_symlink_or_a_pipe() {
    let lab = Lab::three_uplinks();
    let right = lab.wanpool(["pools"]).ok().stdout.clone();
    let file = lab.config_file().display().to_string();
    for script in [
        format!("ln -s {file} {file}.link; exec \"$WANPOOL\" --config {file}.link pools"),
        format!("cat {file} | \"$WANPOOL\" --config /dev/stdin pools"),
        format!("exec \"$WANPOOL\" --config /dev/stdin pools <{file}"),
        format!("cat {file} | \"$WANPOOL\" --config /dev/fd/7 pools 7<&0"),
    ] {
        assert_eq!(lab.script(&script).ok().stdout, right, "{script}");
    }
}

#[test]
fn huge_files_are_refused_with_little_memory() {
    let lab = Lab::three_uplinks();
    let before = lab.kernel_state();
    let huge = lab.pool_dir().join("pool3").display().to_string();
    lab.gateway.sh(&format!("cp {huge} {huge}.bak"));
    for (make, word) in [
        ("truncate -s 100M", "longer than 64 MiB"),
        ("yes 192.168.7.10 | head -c 100000000 >", "longer than 64 MiB"),
        // Below the limit: a line that is no address, and one address again and again.
        ("truncate -s 60M", "pool3:1:1: not an IPv4 address"),
        ("yes 192.168.7.77 | head -c 39000000 >", "pool3:2:1: 192.168.7.77 is in"),
        ("head -c 1000000 /dev/zero | tr '\\0' 9 >", "pool3:1:1: not an IPv4 address"),
    ] {
        lab.gateway.sh(&format!("rm {huge}\n{make} {huge}"));
        for command in ["pools", "assign 192.168.7.99"] {
            let run = bounded(&lab, command);
            run.refused(1).naming(&["pool3", word]);
            assert!(run.stderr.len() < 1000, "{} bytes", run.stderr.len());
        }
        let from = bounded(&lab, &format!("scan --from {huge}"));
        assert!(!word.starts_with("longer") || from.refused(1).stderr.contains(word), "{from}");
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
    for (text, error) in [
        ("10.0.0.1\n\x1b[2Jx\n", "pool9:2:1: not an IPv4 address"),
        ("10.0.0.1\n192.168.7.10\n", "pool9:2:1: 192.168.7.10 is in"),
    ] {
        fs::write(lab.pool_dir().join("pool9"), text).unwrap();
        let before = lab.state();
        for command in ["pools", "restore", "assign 192.168.7.99", "pools --check"] {
            let run = lab.run(command);
            run.refused(1).naming(&[error]);
            assert!(!run.stderr.trim_end().contains(char::is_control), "{:?}", run.stderr);
        }
        lab.state().assert_is(&before, error);
    }
}

const INVALID_NAMES: [&str; 13] = [
    "a b",
    "a\"b",
    "a'b",
    "%n%s%d",
    "../ppp0",
    "../../etc/passwd",
    "sixteen-bytes-00",
    "",
    "$(id)",
    "ppp0;id",
    "ppp0\n",
    "\u{1b}[2J",
    "é",
];

#[test]
fn invalid_device_names_are_refused() {
    let lab = Lab::three_uplinks();
    let before = lab.state();
    let one_line = |run: Run| {
        run.failed();
        assert_eq!(run.stderr.lines().count(), 1, "{run}");
        assert!(!run.stderr.trim_end().contains(char::is_control), "{run}");
    };
    for name in INVALID_NAMES {
        for command in ["failover", "restore", "pools", "assign"] {
            one_line(lab.wanpool([command, name]));
        }
        one_line(lab.wanpool(["failover", "ppp0", "--to", name]));
        one_line(lab.wanpool(["scan", "--dev", name]));
        one_line(lab.wanpool(["assign", "192.168.7.10", "--pool", name]));
        let quoted = serde_json::to_string(name).expect("JSON");
        for config in [
            format!("[uplink.1]\ndev = {quoted}\n"),
            format!("lan = [{quoted}]\n[uplink.1]\ndev = \"ppp0\"\n"),
        ] {
            let file = lab.scratch().join("odd.toml");
            fs::write(&file, config).unwrap();
            let run = lab.wanpool(["--config", &file.display().to_string(), "pools"]);
            run.refused(2).naming(&["odd.toml:", "no device name"]);
            one_line(run);
        }
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
