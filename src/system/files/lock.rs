//! The lock of the state folder: only one run at a time can change the pools and the kernel. Does not
//! know what is changed.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use super::dir::LazyDir;
use super::{PoolFiles, RuntimeState, trusted};
use crate::error::Error;

const LOCK: &str = ".lock";
/// Only the owner may open the file: another user who holds the lock could block every run.
const LOCK_MODE: u32 = 0o600;
/// flock(2) has no time limit, so the lock is tried at intervals.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// The lock is held until this value is dropped. The kernel releases it when the process ends,
/// however it ends.
pub struct Lock {
    held: Option<Flock<File>>,
}

impl Drop for Lock {
    /// `Flock` alone would panic if the lock cannot be released, but the end of the process releases
    /// it anyway.
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            if let Err((held, _)) = held.unlock() {
                mem::forget(held);
            }
        }
    }
}

impl Lock {
    /// Takes the lock and waits at most `wait` for it. Creates the folder if it does not exist.
    ///
    /// If the disk is read-only and has no lock file, the lock is in the folder of the runtime state:
    /// such a disk must not prevent the failover of an unhealthy uplink.
    pub fn take(pool_files: &PoolFiles, runtime: &RuntimeState, wait: Duration) -> Result<Self> {
        match open_lock(&pool_files.dir) {
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {
                lock_file(open_lock(&runtime.dir), runtime.dir.path().join(LOCK), wait)
            }
            opened => lock_file(opened, pool_files.dir.path().join(LOCK), wait),
        }
    }
}

fn lock_file(opened: io::Result<File>, path: PathBuf, wait: Duration) -> Result<Lock> {
    let mut file = opened.map_err(|error| {
        let step = match error.kind() {
            ErrorKind::PermissionDenied => {
                "; run wanpool as root, or as the owner of the folder and of the lock in it"
            }
            _ => "",
        };
        anyhow!("locking {}: {error}{step}", path.display())
    })?;
    let start = Instant::now();
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => return Ok(Lock { held: Some(held) }),
            Err((unlocked, Errno::EWOULDBLOCK)) => {
                if start.elapsed() >= wait {
                    return Err(Error::Locked { path, waited: wait }.into());
                }
                file = unlocked;
                std::thread::sleep(RETRY_INTERVAL.min(wait));
            }
            Err((_, errno)) => {
                return Err(io::Error::from(errno))
                    .with_context(|| format!("locking {}", path.display()));
            }
        }
    }
}

/// Opens the lock file of a folder. Creates both if they do not exist.
fn open_lock(dir: &LazyDir) -> io::Result<File> {
    let dir = dir.create()?;
    match dir.metadata(LOCK)? {
        Some(meta) => trusted::require_plain(&meta)?,
        None => match dir.create_file(LOCK, LOCK_MODE) {
            // Another run created it at the same time.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            created => return created,
        },
    }
    match dir.open_file(LOCK, OFlag::O_WRONLY) {
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {
            dir.open_file(LOCK, OFlag::O_RDONLY)
        }
        opened => opened,
    }
}
