//! Who is trusted, case by case, and what is never read. The suite runs as root.

use std::os::unix::fs::{chown, symlink};
use std::os::unix::net::UnixListener;

use super::*;

const ALICE: u32 = 1234;

fn file(mode: u32, uid: u32, gid: u32) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "10.0.0.1\n").unwrap();
    chown(&path, Some(uid), Some(gid)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    (dir, path)
}

#[test]
fn what_others_may_write_is_refused_with_the_next_step() {
    for (mode, uid, gid, why) in [
        (0o644, 0, 0, None),
        (0o600, ALICE, ALICE, None),
        (0o664, 0, 0, None),
        (0o664, ALICE, 0, None),
        (0o664, ALICE, ALICE, None),
        (0o640, 0, 100, None),
        (0o666, 0, 0, Some("others may write it; chmod o-w ")),
        (0o602, 0, 0, Some("others may write it; chmod o-w ")),
        (0o664, 0, 100, Some("group 100 may write it; chmod g-w ")),
        (0o620, ALICE, 100, Some("group 100 may write it; chmod g-w ")),
        (0o644, 4321, 4321, Some("it belongs to user 4321; chown root ")),
        (0o400, 4321, 0, Some("it belongs to user 4321; chown root ")),
    ] {
        let (_dir, path) = file(mode, uid, gid);
        let read = read_ours(&path, ALICE).map_err(|error| error.to_string());
        let refused = read.as_ref().err().cloned();
        let wanted = why.map(|why| format!("{why}{}", path.display()));
        assert_eq!(refused, wanted, "{mode:o} {uid}:{gid}");
    }
}

#[test]
fn a_file_that_the_user_named_must_be_roots_or_ones_own() {
    let (_dir, path) = file(0o644, ALICE, ALICE);
    let error = read_named(&path).unwrap_err().to_string();
    assert!(error.starts_with("it belongs to user 1234; chown root"), "{error}");
    chown(&path, Some(0), None).unwrap();
    let link = path.with_file_name("link");
    symlink(&path, &link).unwrap();
    assert_eq!(read_named(&link).unwrap(), b"10.0.0.1\n", "a link leads to it");
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    assert!(read_named(&link).is_err(), "a link to what others may write");
}

#[test]
fn nothing_but_a_plain_file_is_opened() {
    let (dir, path) = file(0o644, 0, 0);
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    symlink(&path, at("symlink")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(at("FIFO")).status().unwrap();
    assert!(made.success());
    for kind in ["folder", "symlink", "socket", "FIFO"] {
        let error = read_ours(&at(kind), ROOT).unwrap_err().to_string();
        assert_eq!(error, format!("it is a {kind}, not a plain file; move it away"));
    }
    for kind in ["folder", "socket", "FIFO"] {
        assert!(read_named(&at(kind)).is_err(), "{kind}");
    }
    assert!(read_ours(Path::new("/dev/null"), ROOT).is_err());
    assert!(read_named(Path::new("/dev/zero")).is_err());
}

#[test]
fn no_more_is_read_than_there_can_be_clients() {
    let bytes = |length: u64| read_list(io::repeat(b'1').take(length)).map(|read| read.len());
    assert_eq!(bytes(MOST).unwrap() as u64, MOST);
    let error = bytes(MOST + 1).unwrap_err().to_string();
    assert_eq!(error, "longer than 64 MiB; is it the right file?");
    assert!(read_list(io::repeat(0)).is_err(), "one without an end");
}
