//! Whether systemd-networkd runs in this network namespace and deletes routing rules or routes of
//! other programs. Does not know the rules and routes of wanpool.

use std::fs;
use std::path::Path;

/// Both settings must be off for wanpool's rules and routes to survive.
const SETTINGS: [&str; 2] = ["ManageForeignRoutingPolicyRules", "ManageForeignRoutes"];

pub fn deletes_foreign_objects() -> bool {
    is_running() && deletes(&configuration(Path::new("/")))
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

/// The text of networkd.conf and of its drop-in files below `root`, in the order in which they are
/// applied.
fn configuration(root: &Path) -> String {
    let mut drop_ins = Vec::new();
    for dir in ["usr/lib", "run", "etc"] {
        let dir = root.join(dir).join("systemd/networkd.conf.d");
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            drop_ins.push(entry.path());
        }
    }
    drop_ins.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
    let mut files = vec![root.join("etc/systemd/networkd.conf")];
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

    const RULES: &str = "ManageForeignRoutingPolicyRules";
    const ROUTES: &str = "ManageForeignRoutes";

    #[test]
    fn networkd_keeps_foreign_objects_only_if_both_settings_are_off() {
        for (rules, routes, is_deleted) in [
            (None, None, true),
            (Some("no"), None, true),
            (None, Some("no"), true),
            (Some("yes"), Some("no"), true),
            (Some("no"), Some("true"), true),
            (Some("maybe"), Some("no"), true),
            (Some("no"), Some("no"), false),
            (Some("False"), Some("0"), false),
            (Some("off"), Some("NO"), false),
            (Some("n"), Some("f"), false),
        ] {
            let mut text = String::from("[Network]\n");
            for (setting, value) in [(RULES, rules), (ROUTES, routes)] {
                if let Some(value) = value {
                    text += &format!("{setting}={value}\n");
                }
            }
            assert_eq!(deletes(&text), is_deleted, "{text}");
        }
    }

    #[test]
    fn the_last_line_that_sets_a_key_counts() {
        let both = |value: &str| format!("[Network]\n{RULES}={value}\n{ROUTES}={value}\n");
        for (text, is_deleted) in [
            (String::new(), true),
            (format!("#{RULES}=no\n;{ROUTES}=no\n"), true),
            (format!("  {RULES} = Off\n{ROUTES}\t=  0  \n"), false),
            (both("no") + &format!("{ROUTES}=yes\n"), true),
            (both("no") + &format!("{RULES}=yes\n"), true),
            (both("yes") + &both("no"), false),
            (format!("{RULES}=yes\n{ROUTES}=no\n{RULES}=false\n"), false),
        ] {
            assert_eq!(deletes(&text), is_deleted, "{text}");
        }
    }

    #[test]
    fn drop_in_files_are_read_after_the_main_file_in_the_order_of_their_names() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(configuration(root.path()), "\n", "there is no file");
        // Without a newline at the end of the file.
        write("etc/systemd/networkd.conf", "main");
        write("etc/systemd/networkd.conf.d/20.conf", "20");
        write("usr/lib/systemd/networkd.conf.d/30.conf", "30");
        write("run/systemd/networkd.conf.d/10.conf", "10");
        assert_eq!(configuration(root.path()), "main\n10\n20\n30\n");
    }
}
