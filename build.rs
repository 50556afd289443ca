//! Tells the tests which Debian the machine is: they run what is built here inside fresh Debians.
//! What Debian 13's Rust builds asks for glibc 2.39, and does not start on Debian 12.

use std::fs;

const RELEASE: &str = "/etc/os-release";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(runs_on_debian_12)");
    println!("cargo::rerun-if-changed={RELEASE}");
    let text = fs::read_to_string(RELEASE).unwrap_or_default();
    if text.lines().any(|line| line == "VERSION_ID=\"12\"") {
        println!("cargo::rustc-cfg=runs_on_debian_12");
    }
}
