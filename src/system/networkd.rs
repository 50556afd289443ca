//! Whether systemd-networkd runs in this network namespace and deletes routing rules or routes of
//! other programs. Does not know the rules and routes of wanpool.

use std::fs;
use std::path::PathBuf;

/// Both settings must be off for wanpool's rules and routes to survive.
const SETTINGS: [&str; 2] = ["ManageForeignRoutingPolicyRules", "ManageForeignRoutes"];

pub fn deletes_foreign_objects() -> bool {
    is_running() && deletes(&configuration())
}

/// Searches for the process: the run-time folder of networkd exists even if it does not run.
fn is_running() -> bool {
    let namespace = fs::read_link("/proc/self/ns/net").ok();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        // The kernel keeps 15 characters of a name.
        let comm = fs::read(process.path().join("comm"));
        if !comm.is_ok_and(|name| name == b"systemd-network\n") {
            continue;
        }
        // A networkd in a container does not see the rules of this namespace.
        if fs::read_link(process.path().join("ns/net")).ok() == namespace {
            return true;
        }
    }
    false
}

/// The text of networkd.conf and of its drop-in files, in the order in which they are applied.
fn configuration() -> String {
    let mut drop_ins: Vec<PathBuf> = Vec::new();
    for dir in ["/usr/lib", "/run", "/etc"] {
        let entries = fs::read_dir(format!("{dir}/systemd/networkd.conf.d")).into_iter().flatten();
        drop_ins.extend(entries.flatten().map(|entry| entry.path()));
    }
    drop_ins.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
    let mut files = vec![PathBuf::from("/etc/systemd/networkd.conf")];
    files.extend(drop_ins);
    let mut text = String::new();
    for file in files {
        text += &fs::read_to_string(file).unwrap_or_default();
        text.push('\n');
    }
    text
}

/// Whether a configuration lets networkd delete the rules or routes of others. It does so by
/// default, and the last line that sets a key counts (networkd.conf(5)).
fn deletes(configuration: &str) -> bool {
    for setting in SETTINGS {
        let mut keeps = false;
        for line in configuration.lines() {
            let Some(rest) = line.trim().strip_prefix(setting) else { continue };
            if let Some(value) = rest.trim_start().strip_prefix('=') {
                let value = value.trim().to_lowercase();
                keeps = ["no", "n", "false", "f", "off", "0"].contains(&value.as_str());
            }
        }
        if !keeps {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networkd_keeps_foreign_objects_only_if_both_settings_are_off() {
        let rules = "ManageForeignRoutingPolicyRules";
        let routes = "ManageForeignRoutes";
        for (text, wanted) in [
            (String::new(), true),
            (format!("[Network]\n{rules}=no\n"), true),
            (format!("[Network]\n{routes}=no\n"), true),
            (format!("[Network]\n{rules}=no\n{routes}=no\n"), false),
            (format!("  {rules} = Off\n{routes}=0\n"), false),
            (format!("{rules}=no\n{routes}=no\n{rules}=yes\n"), true),
            (format!("{rules}=yes\n{routes}=no\n{rules}=false\n"), false),
            (format!("#{rules}=no\n#{routes}=no\n"), true),
            (format!("{rules}=maybe\n{routes}=no\n"), true),
        ] {
            assert_eq!(deletes(&text), wanted, "{text}");
        }
    }
}
