//! `scripts/bench` works; its results are not tested.

use std::process::{Command, Output};

use serde_json::Value;

use crate::lab::binary;

fn bench(args: &[&str]) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/bench");
    Command::new(script).arg("--wanpool").arg(binary()).args(args).output().expect("to run it")
}

fn printed(args: &[&str]) -> String {
    let output = bench(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_bench_prints_a_row_of_a_markdown_table() {
    let table = printed(&["--quick", "--only", "version"]);
    let row = table.lines().find(|line| line.starts_with("| `wanpool -V` / `ip -V` |"));
    let cells: Vec<&str> = row.unwrap_or_else(|| panic!("{table}")).split(" | ").collect();
    assert_eq!(cells.len(), 6, "{table}");
    let ratio = cells[3].split(' ').next().unwrap();
    assert!(ratio.parse::<f64>().is_ok_and(|ratio| ratio > 0.0), "{table}");
}

#[test]
fn the_bench_measures_a_gateway_in_namespaces() {
    let results: Value =
        serde_json::from_str(&printed(&["--quick", "--json", "--only", "hook"])).expect("JSON");
    let row = &results["rows"][0];
    assert_eq!(row["name"], "hook", "{results}");
    let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key}: {results}"));
    assert!(number("wanpool") > 0.0 && number("baseline") > 0.0, "{results}");
}

#[test]
fn the_bench_says_in_one_line_why_it_cannot_measure() {
    // A folder in memory, a folder that is not writable, a program that does nothing.
    for (args, why) in [
        (["--only", "version", "--dir", "/dev/shm"], "lies in memory"),
        (["--only", "version", "--dir", "/proc/self"], "/proc/self"),
        (["--only", "hook", "--wanpool", "/bin/true"], "set with the given name does not exist"),
    ] {
        let output = bench(&args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(output.stdout.is_empty() && !errors.contains("Traceback"), "{errors}");
        assert!(errors.lines().last().is_some_and(|line| line.contains(why)), "{errors}");
    }
}
