//! The store on a real file system, in a folder of its own.

use std::time::Duration;

use super::commit::NEXT;
use super::*;
use crate::model::Client;

fn store() -> (tempfile::TempDir, PoolFiles) {
    let dir = tempfile::tempdir().unwrap();
    let store = PoolFiles::new(dir.path().join("state"));
    (dir, store)
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
    fs::create_dir_all(&store.dir).unwrap();
    fs::write(store.dir.join(name), text).unwrap();
}

#[test]
fn no_folder_is_no_pools() {
    assert_eq!(store().1.read().unwrap(), Pools::default());
}

#[test]
fn what_is_committed_is_read_and_nothing_else_is_left() {
    let (_dir, store) = store();
    let lock = store.lock(Duration::ZERO).unwrap();
    let one = pools(&[(1, &["10.0.0.1"]), (2, &[])]);
    store.commit(&lock, &Pools::default(), &one).unwrap();
    assert_eq!(fs::read_to_string(store.dir.join("pool1")).unwrap(), "10.0.0.1\n");
    assert_eq!(fs::read_to_string(store.dir.join("pool2")).unwrap(), "");
    let two = pools(&[(1, &[])]);
    store.commit(&lock, &one, &two).unwrap();
    assert_eq!(store.read().unwrap(), two);
    let mut names: Vec<_> = fs::read_dir(&store.dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [".lock", "pool1"]);
}

#[test]
fn files_can_be_read_by_all_and_written_by_the_owner() {
    let (_dir, store) = store();
    let lock = store.lock(Duration::ZERO).unwrap();
    store.commit(&lock, &Pools::default(), &pools(&[(1, &["10.0.0.1"])])).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&store.dir.join("pool1")), 0o644);
    assert_eq!(mode(&store.dir), 0o755);
}

#[test]
fn a_killed_run_is_finished_after_its_commit_point_and_forgotten_before() {
    let (_dir, store) = store();
    write(&store, "pool1", "10.0.0.1\n");
    write(&store, "pool2", "10.0.0.2\n");
    fs::create_dir(store.dir.join(COMMIT)).unwrap();
    fs::create_dir(store.dir.join(NEXT)).unwrap();
    write(&store, ".commit/pool2", "10.0.0.2\n10.0.0.1\n");
    write(&store, ".commit/pool1", "");
    write(&store, ".next/pool1", "10.0.0.9\n");
    let wanted = pools(&[(1, &[]), (2, &["10.0.0.2", "10.0.0.1"])]);
    assert_eq!(store.read().unwrap(), wanted, "a reader sees the commit as done");
    store.recover(&store.lock(Duration::ZERO).unwrap()).unwrap();
    assert_eq!(store.read().unwrap(), wanted);
    assert!(!store.dir.join(COMMIT).exists() && !store.dir.join(NEXT).exists());
}

#[test]
fn an_address_in_two_pools_or_twice_in_one_is_an_error_that_names_both_lines() {
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
    fs::create_dir_all(store.dir.join("pool1")).unwrap();
    assert!(store.read().unwrap_err().to_string().ends_with("not a plain file; move it away"));
    fs::remove_dir(store.dir.join("pool1")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", store.dir.join("pool1")).unwrap();
    assert!(store.read().unwrap_err().to_string().ends_with("not a plain file; move it away"));
}

#[test]
fn files_that_are_no_pools_are_left_alone() {
    let (_dir, store) = store();
    for name in ["pool", "pool0", "pool51", "pool01", "poolx", "pool1.bak", "pooltmp"] {
        write(&store, name, "not an address\n");
    }
    assert_eq!(store.read().unwrap(), Pools::default());
}

#[test]
fn a_held_lock_is_waited_for_only_so_long() {
    let (_dir, store) = store();
    let held = store.lock(Duration::ZERO).unwrap();
    let error = store.lock(Duration::from_millis(20)).err().unwrap();
    assert_eq!(crate::error::exit_code(&error), crate::error::LOCKED, "{error}");
    drop(held);
    store.lock(Duration::ZERO).unwrap();
}
