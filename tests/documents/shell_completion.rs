//! Shell completions, typed into each shell, and the candidates that the program prints.

use std::fmt::Write;
use std::fs;

use crate::lab::{Lab, Run, four};

const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Four uplinks and three clients; nothing is in the kernel.
fn lab() -> Lab {
    let lab = Lab::with().client_addresses(1).raise();
    lab.config(&four(""));
    fs::create_dir(lab.pool_dir()).unwrap();
    fs::write(lab.pool_dir().join("pool1"), "192.168.7.10\n192.168.7.37\n").unwrap();
    fs::write(lab.pool_dir().join("pool4"), "192.168.7.20\n").unwrap();
    let other = "[uplink.7]\ndev = \"wwan9\"\n";
    fs::write(lab.scratch().join("other.toml"), other).unwrap();
    lab
}

/// What is typed before TAB, and the line after it.
const TYPED: [(&str, &str); 10] = [
    ("wanpool failo", "wanpool failover"),
    ("wanpool assign --reb", "wanpool assign --rebalance"),
    ("wanpool -w 5 failover ppp2 --to e", "wanpool -w 5 failover ppp2 --to eth1"),
    ("wanpool failover p", "wanpool failover ppp"),
    ("wanpool po 192.168.7.2", "wanpool po 192.168.7.20"),
    ("wanpool assign 192.168.7.10 --pool=e", "wanpool assign 192.168.7.10 --pool=eth1"),
    ("wanpool --config oth", "wanpool --config other.toml"),
    ("wanpool --config other.toml restore w", "wanpool --config other.toml restore wwan9"),
    ("wanpool --config=other.toml restore w", "wanpool --config=other.toml restore wwan9"),
    ("wanpool restore w --config other.toml", "wanpool restore w --config other.toml"),
];

fn completes_what_is_typed(shell: &str) {
    let lab = lab();
    let mut terminal = lab.terminal(shell);
    for (typed, completed) in TYPED {
        assert_eq!(terminal.completed(typed), completed, "{shell}: {typed}");
    }
    fs::remove_file(lab.config_file()).unwrap();
    assert_eq!(terminal.completed("wanpool failover p"), "wanpool failover p");
}

#[test]
fn bash_completes_what_is_typed() {
    completes_what_is_typed("bash");
}

#[test]
fn zsh_completes_what_is_typed() {
    completes_what_is_typed("zsh");
}

#[test]
fn fish_completes_what_is_typed() {
    completes_what_is_typed("fish");
}

/// The candidates after these words.
#[track_caller]
fn candidates(lab: &Lab, words: &str) -> Vec<String> {
    let run = lab.script(&format!("$WANPOOL --complete wanpool {words}"));
    values(&run)
}

#[track_caller]
fn values(run: &Run) -> Vec<String> {
    let value = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
    run.ok().stdout.lines().map(value).collect()
}

#[test]
fn only_valid_words_are_offered() {
    let lab = lab();
    let uplinks = ["ppp0", "ppp1", "ppp2", "eth1", "1", "2", "3", "4"];
    for words in ["failover ''", "restore ''", "fa --probe ''", "assign 1.2.3.4 --pool ''"] {
        assert_eq!(candidates(&lab, words), uplinks, "{words}");
    }
    assert_eq!(candidates(&lab, "failover 1 --to ''"), uplinks);
    let clients = ["192.168.7.10", "192.168.7.20", "192.168.7.37"];
    assert_eq!(candidates(&lab, "assign ''"), clients);
    assert_eq!(candidates(&lab, "pools ''"), [&uplinks[..], &clients].concat());
    assert_eq!(candidates(&lab, "scan --dev ''"), ["br0"], "LAN devices");
    let commands = ["scan", "assign", "pools", "failover", "restore", "multipath", "flush", "help"];
    assert_eq!(candidates(&lab, "''"), commands);
    assert_eq!(candidates(&lab, "help ''"), commands);
    assert_eq!(candidates(&lab, "-j multipath ''"), ["show", "on", "off"]);
    assert!(candidates(&lab, "flush ''").contains(&"--dry-run".to_owned()));
    let run = lab.script("$WANPOOL --complete wanpool pools 192.168.7.2");
    assert_eq!(run.ok().stdout, "192.168.7.20\tpool 4\n");
}

#[test]
fn at_most_256_candidates_are_offered() {
    let lab = lab();
    let mut text = String::new();
    for at in 0..=u16::MAX {
        writeln!(text, "10.9.{}.{}", at >> 8, at & 255).unwrap();
    }
    fs::write(lab.pool_dir().join("pool2"), text).unwrap();
    assert_eq!(candidates(&lab, "assign ''"), ["10.", "192."]);
    assert_eq!(candidates(&lab, "assign 10."), ["10.9."]);
    assert_eq!(candidates(&lab, "assign 10.9.").len(), 256);
    assert_eq!(candidates(&lab, "assign 10.9.25")[1..3], ["10.9.250.", "10.9.251."]);
    let last = candidates(&lab, "assign 10.9.77.");
    assert_eq!(
        (last.len(), last[0].as_str(), last[255].as_str()),
        (256, "10.9.77.0", "10.9.77.255")
    );
    for shell in SHELLS {
        // After the first TAB there is no blank.
        let line = lab.terminal(shell).completed("wanpool assign 10\t9.77.25\t4");
        assert_eq!(line, "wanpool assign 10.9.77.254", "{shell}");
    }
}

#[test]
fn completion_is_silent_on_errors_and_never_blocks() {
    let lab = lab();
    let silent = |prelude: &str, words: &str| {
        // Waiting for a writer of the FIFO would never end.
        let run = lab.script(&format!("{prelude}\ntimeout 60 $WANPOOL --complete wanpool {words}"));
        assert_eq!(run.ok().stdout, "", "{prelude}: {words}");
    };
    let dir = lab.scratch().display();
    silent("", "");
    silent("", "nosuch ''");
    silent("", "failover ppp0 ppp1 --to nosuch");
    silent("export WANPOOL_CONFIG=/nowhere", "failover p");
    silent(&format!("mkfifo {dir}/fifo; export WANPOOL_CONFIG={dir}/fifo"), "failover p");
    silent(&format!("echo 'uplink = 1' >{dir}/bad; export WANPOOL_CONFIG={dir}/bad"), "failover p");
    silent("export WANPOOL_STATE_DIR=/nowhere", "assign 1");
    silent("", "assign \"$(printf '\\377')\"");
    fs::write(lab.pool_dir().join("pool2"), "nobody\n").unwrap();
    silent("", "assign 1");
    let full = "exec >/dev/full; ";
    lab.script(&format!("{full}$WANPOOL --complete wanpool ''")).ok();
}

#[test]
fn completion_needs_no_root_and_takes_no_lock() {
    let lab = lab();
    let _lock = lab.hold_lock();
    let ask = |words: &str| values(&lab.run_as_nobody(&format!("--complete wanpool {words}")));
    assert_eq!(ask("pools p"), ["ppp0", "ppp1", "ppp2"]);
    assert_eq!(ask("assign 192.168.7.3"), ["192.168.7.37"]);
    assert_eq!(ask("scan --dev ''"), ["br0"]);
}

#[test]
fn every_shell_has_completions() {
    let dir = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/completions")).unwrap();
    assert_eq!(dir.count(), SHELLS.len());
    for shell in SHELLS {
        let found = std::process::Command::new(shell).arg("--version").output();
        assert!(found.is_ok(), "the tests need {shell} (apt install {shell})");
    }
}
