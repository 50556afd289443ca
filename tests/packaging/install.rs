//! `scripts/install` installs every file under the prefix and removes it again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::lab::binary;

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

#[track_caller]
fn install(root: &Path, prefix: Option<&str>, args: &[&str]) {
    let mut command = Command::new(format!("{PROJECT}/scripts/install"));
    command.env_remove("PREFIX").env("DESTDIR", root).args(args);
    prefix.map(|prefix| command.env("PREFIX", prefix));
    let output = command.output().expect("scripts/install");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.is_empty() && output.stdout.is_empty(), "{printed}");
}

/// Every file below the root, as an absolute path.
fn files(root: &Path) -> Vec<String> {
    let mut files = vec![];
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(format!("/{}", path.strip_prefix(root).unwrap().display()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn each_file_is_installed_under_the_prefix_and_names_the_program_there() {
    let root = tempfile::tempdir().expect("a folder");
    let program = binary().display().to_string();
    for (prefix, at) in
        [(None, "/usr/local"), (Some("/opt/wan"), "/opt/wan"), (Some("/usr"), "/usr")]
    {
        let root = root.path().join(at.trim_start_matches('/').replace('/', "-"));
        install(&root, prefix, &["--binary", &program]);
        let files = files(&root);
        for wanted in [
            format!("{at}/sbin/wanpool"),
            format!("{at}/share/man/man8/wanpool.8"),
            format!("{at}/share/bash-completion/completions/wanpool"),
            format!("{at}/lib/systemd/system/wanpool-assign.timer"),
            "/etc/wanpool.toml".to_owned(),
            "/etc/ppp/ip-up.d/wanpool".to_owned(),
        ] {
            assert!(files.contains(&wanted), "no {wanted} in {files:#?}");
        }
        let at_prefix = format!("{at}/sbin/wanpool");
        for file in files.iter().filter(|file| !file.ends_with("/sbin/wanpool")) {
            let text = fs::read_to_string(root.join(&file[1..])).expect("a text");
            let elsewhere = text.replace(&at_prefix, "").contains("/sbin/wanpool");
            assert!(!elsewhere, "{file} names another program than {at_prefix}");
        }
        for file in ["/etc/ppp/ip-up.d/wanpool", "/etc/network/if-up.d/wanpool", &at_prefix] {
            let mode = fs::metadata(root.join(&file[1..])).expect("it").permissions().mode();
            assert_eq!(mode & 0o777, 0o755, "{file}");
        }
    }
}

#[test]
fn configuration_and_pool_files_survive_install_and_uninstall() {
    let dir = tempfile::tempdir().expect("a folder");
    let (root, program) = (dir.path(), binary().display().to_string());
    let put = || install(root, None, &["--binary", &program]);
    let take_away = || install(root, None, &["--uninstall"]);
    put();
    take_away();
    assert_eq!(files(root), [""; 0]);

    put();
    let config = root.join("etc/wanpool.toml");
    let pool = root.join("var/lib/wanpool/pool1");
    fs::create_dir_all(pool.parent().unwrap()).unwrap();
    fs::write(&pool, "192.168.7.10\n").unwrap();
    fs::write(&config, "[uplink.1]\ndev = \"ppp0\"\n").unwrap();
    put();
    assert_eq!(fs::read_to_string(&config).unwrap(), "[uplink.1]\ndev = \"ppp0\"\n");
    take_away();
    assert_eq!(files(root), ["/etc/wanpool.toml", "/var/lib/wanpool/pool1"]);
}
