//! What users of `ip` expect: help, version, colours, column widths, `--`, JSON for every command.

use std::process::Stdio;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use crate::lab::{Lab, binary, run_alone, three};

const COMMANDS: [&str; 8] =
    ["scan", "assign", "pools", "failover", "restore", "multipath", "flush", "help"];

#[test]
fn help_works_for_every_command_and_prefix_without_a_config() {
    let list = run_alone("help").ok().stdout.clone();
    for command in COMMANDS {
        let help = run_alone(&format!("help {command}"));
        assert!(help.ok().stdout.contains(&format!("Usage: wanpool {command}")), "{help}");
        assert_eq!(run_alone(&format!("{command} --help")).ok().stdout, help.stdout);
        assert!(list.contains(&format!("\n  {command} ")));
        assert!(help.lines().iter().all(|line| line.chars().count() <= 80), "{help}");
    }
    assert_eq!(run_alone("he po").ok().stdout, run_alone("help pools").stdout);
    assert_eq!(run_alone("--help").ok().stdout, list);
    for unknown in ["help nosuch", "help f"] {
        run_alone(unknown).refused(2);
    }
    let version = concat!("wanpool ", env!("CARGO_PKG_VERSION"), "\n");
    for option in ["-V", "--version"] {
        assert_eq!(run_alone(option).ok().stdout, version);
    }
}

#[test]
fn two_dashes_end_the_options() {
    let lab = Lab::three_uplinks();
    assert_eq!(lab.wanpool(["pools", "--", "ppp0"]).ok().rows().len(), 10);
    assert_eq!(lab.wanpool(["assign", "--", "192.168.7.99"]).ok().lines().len(), 1);
    lab.wanpool(["failover", "--", "--probe"]).refused(2).naming(&["--probe"]);
    lab.wanpool(["assign", "--", "-n"]).refused(2).naming(&["-n"]);
}

/// One uplink up, one failed over, one down.
fn three_states() -> Lab {
    let lab = Lab::three_uplinks();
    lab.wanpool(["failover", "ppp1"]).ok();
    lab.hang_up(3);
    lab
}

/// The output of the program on a terminal, with these variables.
fn on_a_terminal(lab: &Lab, vars: &str, args: &str) -> String {
    let env = format!("env -u NO_COLOR TERM=xterm {vars}");
    let run = lab.script(&format!("{env} script -qc \"$WANPOOL {args}\" /dev/null"));
    run.stdout.replace("\r\n", "\n")
}

#[test]
fn states_are_coloured_on_a_terminal_or_on_request() {
    let lab = three_states();
    let plain = lab.wanpool(["pools"]).ok().stdout.clone();
    assert!(plain.lines().all(|line| line.len() <= 80 && !line.contains('\x1b')), "{plain}");
    let colored = plain
        .replace("  up  ", "  \x1b[32mup\x1b[0m  ")
        .replace("  failed-over  ", "  \x1b[33mfailed-over\x1b[0m  ")
        .replace("  down  ", "  \x1b[31mdown\x1b[0m  ");
    assert_eq!(colored.matches("\x1b[0m").count(), 3, "{plain}");
    assert_eq!(lab.wanpool(["--color=always"]).ok().stdout, colored);
    for (vars, args, output) in [
        ("", "pools", &colored),
        ("NO_COLOR=", "pools", &colored),
        ("NO_COLOR=1", "-c pools", &colored),
        ("NO_COLOR=1", "--color=always", &colored),
        ("NO_COLOR=1", "pools", &plain),
        ("TERM=dumb", "--color=auto", &plain),
        ("", "-c=never", &plain),
    ] {
        assert_eq!(on_a_terminal(&lab, vars, args), *output, "{vars} {args}");
    }
    for args in ["-c help", "-c scan", "-c pools nosuch", "-c -j pools"] {
        let output = on_a_terminal(&lab, "", args);
        assert!(!output.is_empty() && !output.contains('\x1b'), "{args}: {output}");
    }
}

#[test]
fn every_command_prints_json() {
    let lab = Lab::new();
    lab.config(&three(""));
    lab.discover(&lab.everyone());
    for args in [
        "restore",
        "scan",
        "scan --new",
        "assign",
        "assign 192.168.7.10 --pool 2",
        "pools",
        "pools 1",
        "pools 192.168.7.10",
        "pools --check",
        "failover ppp0",
        "restore ppp0",
        "failover --probe",
        "multipath",
        "multipath on",
        "multipath off",
        "-n restore",
        "-n flush",
        "flush",
        // Nothing is left to probe, and a hook names a device that is no uplink.
        "failover --probe",
        "--hook failover eth99",
        "--hook restore eth99",
    ] {
        let run = lab.run(&format!("-j {args}"));
        assert_eq!(run.lines().len(), 1, "{run}");
        let report = run.json();
        assert!(report.is_array() || report.is_object(), "{run}");
    }
    assert!(lab.wanpool(["-j", "-p", "pools"]).lines().len() > 3, "indented");
    lab.wanpool(["-j", "pools", "--metrics"]).refused(2).naming(&["--json"]);
}

#[test]
fn quiet_prints_nothing_and_verbose_each_step() {
    let lab = Lab::new();
    lab.config(&three(""));
    lab.wanpool(["-q", "assign", "192.168.7.10"]).silent();
    let verbose = lab.wanpool(["-v", "assign", "192.168.7.11"]);
    assert_eq!(verbose.status, 0);
    assert!(verbose.to_string().contains("192.168.7.11 pool 2 ppp1"), "{verbose}");
    assert!(verbose.to_string().contains("ipset"), "{verbose}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let lab = Lab::three_uplinks();
    for command in ["scan", "pools"] {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        drop(reader);
        let mut run = lab.gateway.command(&binary().display().to_string());
        run.arg(command).stdout(writer).stderr(Stdio::piped());
        let output = lab.gateway.enter(|| run.output()).unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{command}: {output:?}");
    }
}
