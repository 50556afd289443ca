//! The lock that lets one run change things at a time.

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

use super::pools::make_dir;
use super::{PoolFiles, trusted};
use crate::error::Error;

const LOCK: &str = ".lock";
/// Nobody else may hold the lock: whoever can open the file could keep us waiting for ever.
const LOCK_MODE: u32 = 0o600;

/// Held while a run changes things; the kernel lets go of it when the process ends, however it ends.
pub struct Lock {
    held: Option<Flock<File>>,
}

impl Drop for Lock {
    /// `Flock` alone would panic where unlocking fails. The end of the process unlocks as well.
    fn drop(&mut self) {
        if let Some(Err((held, _))) = self.held.take().map(Flock::unlock) {
            mem::forget(held);
        }
    }
}

impl PoolFiles {
    /// Takes the lock, waiting at most `wait` for it; makes the folder if there is none.
    pub fn lock(&self, wait: Duration) -> Result<Lock> {
        make_dir(self.dir())?;
        let path = self.dir().join(LOCK);
        let tried = || format!("locking {}", path.display());
        let mut file = open_lock(&path, self.owner()).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => {
                let dir = self.dir().display();
                anyhow!("{}: {error}; be the owner of {dir}, and of the lock in it", tried())
            }
            _ => anyhow!("{}: {error}", tried()),
        })?;
        let start = Instant::now();
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Lock { held: Some(held) }),
                Err((unlocked, Errno::EWOULDBLOCK)) if start.elapsed() < wait => {
                    file = unlocked;
                    // flock(2) has no time-out of its own.
                    std::thread::sleep(Duration::from_millis(5).min(wait));
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    return Err(Error::Locked { path, waited: wait }.into());
                }
                Err((_, errno)) => return Err(io::Error::from(errno)).with_context(tried),
            }
        }
    }
}

fn open_lock(path: &Path, owner: u32) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Ok(meta) => trusted::require_plain(&meta)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            match trusted::make_new(path, LOCK_MODE) {
                Ok(made) => {
                    trusted::give(&made, owner);
                    return Ok(made);
                }
                // Another run was quicker.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(error) => return Err(error),
    }
    let flags = O_NOFOLLOW | O_NONBLOCK;
    match OpenOptions::new().write(true).custom_flags(flags).open(path) {
        // On a disk that has become read-only it must still be had: a dead line wants taking out.
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {
            OpenOptions::new().read(true).custom_flags(flags).open(path)
        }
        opened => opened,
    }
}
