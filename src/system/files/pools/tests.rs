//! The pool files on a real file system, in a folder of their own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::super::{Lock, RuntimeState};
use super::commit::NEXT;
use super::*;
use crate::model::Client;

fn store() -> (tempfile::TempDir, PoolFiles) {
    let dir = tempfile::tempdir().unwrap();
    let store = PoolFiles::new(dir.path().join("state"));
    (dir, store)
}

fn lock(store: &PoolFiles, wait: Duration) -> Result<Lock> {
    Lock::take(store, &RuntimeState::of(store.dir.path(), store.dir.path()), wait)
}

fn pools(list: &[(u8, &[&str])]) -> Pools {
    let mut pools = Pools::default();
    for &(number, clients) in list {
        let number = UplinkNo::new(number).unwrap();
        pools.create(number);
        for client in clients {
            pools.insert(client.parse::<Client>().unwrap(), number).unwrap();
        }
    }
    pools
}

fn write(store: &PoolFiles, name: &str, text: &str) {
    fs::create_dir_all(store.dir.path()).unwrap();
    fs::write(store.dir.path().join(name), text).unwrap();
}

#[test]
fn without_a_folder_there_are_no_pools() {
    assert_eq!(store().1.read().unwrap(), Pools::default());
}

#[test]
fn a_commit_is_read_back_and_leaves_no_other_files() {
    let (_dir, store) = store();
    let lock = lock(&store, Duration::ZERO).unwrap();
    let one = pools(&[(1, &["10.0.0.1"]), (2, &[])]);
    store.commit(&lock, &Pools::default(), &one).unwrap();
    assert_eq!(fs::read_to_string(store.dir.path().join("pool1")).unwrap(), "10.0.0.1\n");
    assert_eq!(fs::read_to_string(store.dir.path().join("pool2")).unwrap(), "");
    let two = pools(&[(1, &[])]);
    store.commit(&lock, &one, &two).unwrap();
    assert_eq!(store.read().unwrap(), two);
    let mut names: Vec<_> = fs::read_dir(store.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [".lock", "pool1"]);
}

#[test]
fn all_may_read_the_files_and_only_the_owner_may_write_them() {
    let (_dir, store) = store();
    let lock = lock(&store, Duration::ZERO).unwrap();
    store.commit(&lock, &Pools::default(), &pools(&[(1, &["10.0.0.1"])])).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&store.dir.path().join("pool1")), 0o644);
    assert_eq!(mode(store.dir.path()), 0o755);
}

#[test]
fn a_commit_is_finished_and_a_preparation_is_discarded() {
    let (_dir, store) = store();
    write(&store, "pool1", "10.0.0.1\n");
    write(&store, "pool2", "10.0.0.2\n");
    fs::create_dir(store.dir.path().join(COMMIT)).unwrap();
    fs::create_dir(store.dir.path().join(NEXT)).unwrap();
    write(&store, ".commit/pool2", "10.0.0.2\n10.0.0.1\n");
    write(&store, ".commit/pool1", "");
    write(&store, ".next/pool1", "10.0.0.9\n");
    let wanted = pools(&[(1, &[]), (2, &["10.0.0.2", "10.0.0.1"])]);
    assert_eq!(store.read().unwrap(), wanted, "readers see the commit as finished");
    store.recover(&lock(&store, Duration::ZERO).unwrap()).unwrap();
    assert_eq!(store.read().unwrap(), wanted);
    assert!(!store.dir.path().join(COMMIT).exists() && !store.dir.path().join(NEXT).exists());
}

#[test]
fn an_address_that_is_in_the_pools_twice_is_an_error_that_names_both_lines() {
    let (_dir, store) = store();
    write(&store, "pool1", "10.0.0.1\n10.0.0.2\n");
    write(&store, "pool2", "10.0.0.3\n10.0.0.2\n");
    let error = store.read().unwrap_err().to_string();
    assert!(error.contains("pool2:2:1: 10.0.0.2 is in ") && error.contains("pool1:2 already"));
    write(&store, "pool2", "10.0.0.3\n10.0.0.3\n");
    let error = store.read().unwrap_err().to_string();
    assert!(error.contains("pool2:2:1: 10.0.0.3 is in ") && error.contains("pool2:1 already"));
}

#[test]
fn only_plain_files_are_read() {
    let (_dir, store) = store();
    fs::create_dir_all(store.dir.path().join("pool1")).unwrap();
    assert!(store.read().unwrap_err().to_string().ends_with("not a plain file; move it away"));
    fs::remove_dir(store.dir.path().join("pool1")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", store.dir.path().join("pool1")).unwrap();
    assert!(store.read().unwrap_err().to_string().ends_with("not a plain file; move it away"));
}

#[test]
fn files_that_are_not_pool_files_are_ignored() {
    let (_dir, store) = store();
    for name in ["pool", "pool0", "pool51", "pool01", "poolx", "pool1.bak", "pooltmp"] {
        write(&store, name, "not an address\n");
    }
    assert_eq!(store.read().unwrap(), Pools::default());
}

#[test]
fn a_run_waits_only_a_limited_time_for_the_lock() {
    let (_dir, store) = store();
    let held = lock(&store, Duration::ZERO).unwrap();
    let error = lock(&store, Duration::from_millis(20)).err().unwrap();
    assert_eq!(crate::error::exit_code(&error), crate::error::LOCKED, "{error}");
    drop(held);
    lock(&store, Duration::ZERO).unwrap();
}

#[test]
fn a_commit_that_another_user_can_have_made_is_an_error() {
    use std::os::unix::fs::{PermissionsExt, chown};
    const MALLORY: u32 = 12346;
    let (_dir, store) = store();
    write(&store, "pool1", "10.0.0.1\n");
    let commit = store.dir.path().join(COMMIT);
    for (dir_owner, file_owner, mode, reason) in [
        (MALLORY, 0, 0o755, "it belongs to user 12346; chown root "),
        (0, MALLORY, 0o755, "it belongs to user 12346; chown root "),
        (0, 0, 0o777, "other users may write it; chmod go-w "),
    ] {
        fs::create_dir(&commit).unwrap();
        write(&store, ".commit/pool1", "10.6.6.6\n");
        chown(&commit, Some(dir_owner), None).unwrap();
        chown(commit.join("pool1"), Some(file_owner), None).unwrap();
        fs::set_permissions(&commit, fs::Permissions::from_mode(mode)).unwrap();
        let lock = lock(&store, Duration::ZERO).unwrap();
        for error in [store.read().unwrap_err(), store.recover(&lock).unwrap_err()] {
            let text = format!("{error:#}");
            assert!(text.starts_with("checking ") && text.contains(reason), "{text}");
        }
        assert_eq!(fs::read_to_string(store.dir.path().join("pool1")).unwrap(), "10.0.0.1\n");
        fs::remove_dir_all(&commit).unwrap();
    }
}

#[test]
fn no_symlink_in_the_folder_is_followed() {
    use std::os::unix::fs::symlink;
    let (dir, store) = store();
    let (file, folder) = (dir.path().join("file"), dir.path().join("folder"));
    fs::write(&file, "10.0.0.7\n").unwrap();
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("pool1"), "10.0.0.8\n").unwrap();
    write(&store, "pool1", "10.0.0.1\n");

    symlink(&file, store.dir.path().join(".lock")).unwrap();
    let error = lock(&store, Duration::ZERO).err().unwrap().to_string();
    assert!(error.ends_with("it is a symlink, not a plain file; move it away"), "{error}");
    fs::remove_file(store.dir.path().join(".lock")).unwrap();
    let lock = lock(&store, Duration::ZERO).unwrap();

    symlink(&folder, store.dir.path().join(COMMIT)).unwrap();
    let error = store.recover(&lock).unwrap_err().to_string();
    assert!(error.ends_with(".commit: it is not a folder; move it away"), "{error}");
    fs::remove_file(store.dir.path().join(COMMIT)).unwrap();

    for target in [&file, &folder, Path::new("/nonexistent")] {
        symlink(target, store.dir.path().join(NEXT)).unwrap();
        store.recover(&lock).unwrap();
        assert!(fs::symlink_metadata(store.dir.path().join(NEXT)).is_err());
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "10.0.0.7\n");
    assert_eq!(fs::read_to_string(folder.join("pool1")).unwrap(), "10.0.0.8\n");
}

#[test]
fn a_commit_that_holds_other_files_is_an_error() {
    let (_dir, store) = store();
    fs::create_dir_all(store.dir.path().join(COMMIT)).unwrap();
    write(&store, ".commit/notes", "");
    let error = store.recover(&lock(&store, Duration::ZERO).unwrap()).unwrap_err().to_string();
    assert!(error.ends_with("files that wanpool did not create; move them away"), "{error}");
}

#[test]
fn the_shell_commands_do_what_a_commit_does() {
    let (_dir, store) = store();
    let before = pools(&[(1, &["10.0.0.1", "10.0.0.2"]), (2, &["10.0.0.3"]), (3, &["10.0.0.4"])]);
    let after = pools(&[(1, &["10.0.0.2", "10.0.0.3"]), (2, &[]), (4, &["10.0.0.5"]), (5, &[])]);
    let commands = store.commands(&before, &after).join("\n");
    assert_eq!(
        commands.replace(store.dir.path().to_str().unwrap(), "DIR"),
        "mkdir -p DIR\n\
         sed -i '/^10\\.0\\.0\\.1$/d' DIR/pool1\n\
         echo 10.0.0.3 >>DIR/pool1\n\
         sed -i '/^10\\.0\\.0\\.3$/d' DIR/pool2\n\
         echo 10.0.0.5 >>DIR/pool4\n\
         touch DIR/pool5\n\
         sed -i '/^10\\.0\\.0\\.4$/d' DIR/pool3\n\
         rm DIR/pool3"
    );
    write(&store, "pool1", "10.0.0.1\n10.0.0.2");
    let commands = store.commands(&pools(&[(1, &["10.0.0.1"])]), &after);
    assert!(commands[1].starts_with("echo >>"), "the last line gets its newline: {commands:?}");
    assert!(store.commands(&after, &after).is_empty());
}
