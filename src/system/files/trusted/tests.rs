//! Which files are trusted, case by case, and which are never opened. The tests run as root.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::super::dir::LazyDir;
use super::*;

const ALICE: u32 = 1234;

/// Reads a file as one in wanpool's own folders is read.
fn read_own(path: &Path) -> io::Result<Vec<u8>> {
    let dir = LazyDir::new(path.parent().unwrap().to_owned());
    dir.open()?.unwrap().read(path.file_name().unwrap().to_str().unwrap())
}

fn file(mode: u32, uid: u32, gid: u32) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "10.0.0.1\n").unwrap();
    chown(&path, Some(uid), Some(gid)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    (dir, path)
}

#[test]
fn a_file_that_another_user_can_have_written_is_refused_with_the_next_step() {
    for (mode, uid, gid, reason) in [
        (0o644, 0, 0, None),
        (0o600, 0, ALICE, None),
        (0o640, 0, 100, None),
        (0o666, 0, 0, Some("other users may write it; chmod go-w ")),
        (0o602, 0, 0, Some("other users may write it; chmod go-w ")),
        (0o664, 0, 0, Some("other users may write it; chmod go-w ")),
        (0o620, 0, 100, Some("other users may write it; chmod go-w ")),
        (0o644, ALICE, 0, Some("it belongs to user 1234; chown root ")),
        (0o400, ALICE, ALICE, Some("it belongs to user 1234; chown root ")),
    ] {
        let (dir, path) = file(mode, uid, gid);
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        for (read, path) in [(read_own(&path), &path), (read_config(&link), &link)] {
            let refused = read.err().map(|error| error.to_string());
            let expected = reason.map(|reason| format!("{reason}{}", path.display()));
            assert_eq!(refused, expected, "{mode:o} {uid}:{gid}");
        }
    }
}

#[test]
fn only_a_plain_file_is_opened() {
    let (dir, path) = file(0o644, 0, 0);
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    symlink(&path, at("symlink")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(at("FIFO")).status().unwrap();
    assert!(made.success());
    for kind in ["folder", "symlink", "socket", "FIFO"] {
        let error = read_own(&at(kind)).unwrap_err().to_string();
        assert_eq!(error, format!("it is a {kind}, not a plain file; move it away"));
    }
    assert_eq!(read_config(&at("symlink")).unwrap(), b"10.0.0.1\n");
    for kind in ["folder", "socket", "FIFO"] {
        assert!(read_config(&at(kind)).is_err(), "{kind}");
    }
    assert!(read_own(Path::new("/dev/null")).is_err());
    assert!(read_config(Path::new("/dev/zero")).is_err());
}

#[test]
fn a_list_that_is_too_long_is_refused() {
    let read = |length: u64| read_list(io::repeat(b'1').take(length)).map(|bytes| bytes.len());
    assert_eq!(read(MAX_LIST_BYTES).unwrap() as u64, MAX_LIST_BYTES);
    let error = read(MAX_LIST_BYTES + 1).unwrap_err().to_string();
    assert_eq!(error, "it is longer than 64 MiB; check that it is the right file");
    assert!(read_list(io::repeat(0)).is_err(), "a list without an end");
}
