//! The lock of the state folder: only one run at a time can change the pools and the kernel. Does not
//! know what is changed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};

use super::{PoolFiles, trusted};
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

impl PoolFiles {
    /// Takes the lock and waits at most `wait` for it. Creates the folder if it does not exist.
    pub fn lock(&self, wait: Duration) -> Result<Lock> {
        trusted::create_dir_all(&self.dir)
            .with_context(|| format!("creating {}", self.dir.display()))?;
        let path = self.dir.join(LOCK);
        let mut file =
            open_lock(&path, &self.dir).map_err(|error| self.lock_error(&path, &error))?;
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

    fn lock_error(&self, path: &Path, error: &io::Error) -> anyhow::Error {
        let (path, dir) = (path.display(), self.dir.display());
        if error.kind() == ErrorKind::PermissionDenied {
            return anyhow!(
                "locking {path}: {error}; run wanpool as root, or as the owner of {dir} and of the \
                 lock in it"
            );
        }
        anyhow!("locking {path}: {error}")
    }
}

/// Opens the lock of a folder, or the folder itself if the disk is read-only and has no lock file:
/// this must not prevent the failover of an unhealthy uplink.
fn open_lock(path: &Path, dir: &Path) -> io::Result<File> {
    match open_lock_file(path) {
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => File::open(dir),
        opened => opened,
    }
}

fn open_lock_file(path: &Path) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Ok(meta) => trusted::require_plain(&meta)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            match trusted::create_file(path, LOCK_MODE) {
                // Another run created it at the same time.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                created => return created,
            }
        }
        Err(error) => return Err(error),
    }
    let flags = O_NOFOLLOW | O_NONBLOCK;
    match OpenOptions::new().write(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {
            OpenOptions::new().read(true).custom_flags(flags).open(path)
        }
        opened => opened,
    }
}
