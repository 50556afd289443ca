//! What users of `ip` expect: help, version, colours, column widths, `--`, JSON for every command.

use std::process::Stdio;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use crate::lab::{Lab, binary, run_alone, three, uplinks};

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
    assert!(!plain.contains('\x1b'), "{plain}");
    let colored = plain
        .replace("  up  ", "  \x1b[32mup\x1b[0m  ")
        .replace("  failed-over  ", "  \x1b[33mfailed-over\x1b[0m  ")
        .replace("  down  ", "  \x1b[31mdown\x1b[0m  ");
    assert_eq!(colored.matches("\x1b[0m").count(), 3, "{plain}");
    assert_eq!(on_a_terminal(&lab, "", "pools"), colored);
    assert_eq!(on_a_terminal(&lab, "NO_COLOR=", "pools"), colored, "empty is unset");
    for args in ["-c pools", "pools --color", "-c=always", "--color=always"] {
        assert_eq!(on_a_terminal(&lab, "NO_COLOR=1", args), colored, "{args}: the option wins");
        assert_eq!(lab.run(args).ok().stdout, colored);
    }
    for (vars, args) in [
        ("NO_COLOR=1", "pools"),
        ("TERM=dumb", "pools"),
        ("", "--color=never pools"),
        ("", "-c=never"),
        ("NO_COLOR=1", "--color=auto"),
    ] {
        assert_eq!(on_a_terminal(&lab, vars, args), plain, "{vars} {args}");
    }
    assert_eq!(lab.wanpool(["--color=auto"]).ok().stdout, plain);
    lab.wanpool(["--color=sometimes"]).refused(2).naming(&["sometimes"]);
}

#[test]
fn nothing_else_is_coloured() {
    let lab = three_states();
    let json = on_a_terminal(&lab, "", "-c -j pools");
    serde_json::from_str::<serde_json::Value>(&json).expect("JSON");
    for args in ["-c help", "-c scan", "-c pools nosuch", "-c --nosuch"] {
        let output = on_a_terminal(&lab, "", args);
        assert!(!output.is_empty() && !output.contains('\x1b'), "{args}: {output}");
    }
}

#[test]
fn columns_fit_80_characters_and_numbers_are_right_aligned() {
    let lab = three_states();
    lab.hang_up(1);
    lab.redial(3);
    lab.wanpool(["restore", "ppp1"]).ok();
    lab.wanpool(["restore", "ppp2"]).ok();
    for command in ["pools", "pools 1", "scan"] {
        let run = lab.run(command);
        assert!(run.ok().lines().iter().all(|line| line.chars().count() <= 80), "{run}");
    }
    let pools = lab.wanpool(["pools"]);
    let ends = |line: &str, word: &str| line.find(word).map(|at| at + word.len());
    let head = pools.lines()[0];
    for (row, column, cell) in [(1, "pool", "1"), (1, "clients", "10"), (1, "share", "33.3/33.3")] {
        let line = pools.lines()[row];
        let of_column = ends(head, column).expect("the column");
        assert!(line[..of_column].ends_with(cell), "{column}: {pools}");
    }
    lab.wanpool(["assign", "192.168.7.10", "--release"]).ok();
    let share = lab.wanpool(["pools"]);
    let width = share.lines()[0].len();
    assert!(share.lines().iter().all(|line| line.len() == width), "{share}");
}

#[test]
fn text_names_two_active_uplinks_and_json_all() {
    let lab = Lab::with().point_to_point(6).client_addresses(2).raise();
    let devs = ["ppp0", "ppp1", "ppp2", "ppp3", "ppp4", "ppp5", "eth1"];
    lab.serve(&(uplinks("", &devs) + "via = \"10.65.4.1\"\n"));
    for (out, text, json) in [
        (1, "ppp1,ppp2,+4", "ppp1,ppp2,ppp3,ppp4,ppp5,eth1"),
        (2, "ppp2,ppp3,+3", "ppp2,ppp3,ppp4,ppp5,eth1"),
        (3, "ppp3,ppp4,+2", "ppp3,ppp4,ppp5,eth1"),
        (4, "ppp4,ppp5,eth1", "ppp4,ppp5,eth1"),
    ] {
        lab.wanpool(["failover", &out.to_string()]).ok();
        let pools = lab.wanpool(["pools"]);
        assert_eq!(pools.rows()[0][3], text, "{pools}");
        assert!(pools.lines().iter().all(|line| line.len() <= 80), "{pools}");
        assert_eq!(lab.wanpool(["-j", "pools"]).json()[0]["carried_by"], json);
    }
}

#[test]
fn every_command_prints_json() {
    let lab = Lab::new();
    lab.config(&three(""));
    lab.hear(&lab.everyone());
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
    ] {
        let run = lab.run(&format!("-j {args}"));
        assert_eq!(run.lines().len(), 1, "{run}");
        let report = run.json();
        assert!(report.is_array() || report.is_object(), "{run}");
    }
    lab.wanpool(["-j", "pools", "--metrics"]).refused(2).naming(&["--json"]);
}

#[test]
fn json_is_one_line_and_pretty_indents() {
    let lab = Lab::three_uplinks();
    let (plain, pretty) = (lab.wanpool(["-j", "pools"]), lab.wanpool(["-j", "-p", "pools"]));
    assert_eq!(plain.lines().len(), 1);
    assert!(pretty.lines().len() > 3);
    assert_eq!(plain.json(), pretty.json());
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
