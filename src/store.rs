//! The state folder: `pool1`, `pool2` …, read and written whole, and the lock that lets one run
//! change things at a time.
//!
//! A change that touches several files is one commit: the new files are written to `.next/` and
//! synced, `.next` is renamed to `.commit` (from here on the change has happened), then each file
//! is renamed into place. A run that was killed is finished or forgotten by the next one
//! ([`Store::recover`]); readers, who take no lock, see a `.commit` as if it were in place.
//!
//! Knows nothing of the kernel or of who belongs where.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::model::{Client, UplinkNo};
use crate::pools::Pools;

mod format;

const LOCK: &str = ".lock";
/// Nobody else may hold the lock: whoever can open the file could keep us waiting for ever.
const LOCK_MODE: u32 = 0o600;
const NEXT: &str = ".next";
const COMMIT: &str = ".commit";

/// How often a reader starts over when a writer commits under its eyes.
const READ_ATTEMPTS: usize = 100;

pub struct Store {
    dir: PathBuf,
}

/// Held while a run changes things; the kernel lets go of it when the process ends, however it ends.
pub struct Lock {
    _file: File,
}

/// Another run held the lock for all the time we had: exit status 4.
#[derive(Debug)]
pub struct LockTimeout {
    path: PathBuf,
    waited: Duration,
}

impl fmt::Display for LockTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "locking {}: another run holds it, waited {} s; try again or wait longer with --wait",
            self.path.display(),
            self.waited.as_secs_f32()
        )
    }
}

impl std::error::Error for LockTimeout {}

impl Store {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub fn pool_path(&self, pool: UplinkNo) -> PathBuf {
        self.dir.join(pool_name(pool))
    }

    /// Takes the lock, waiting at most `wait` for it; makes the folder if there is none.
    pub fn lock(&self, wait: Duration) -> Result<Lock> {
        make_dir(&self.dir)?;
        let path = self.dir.join(LOCK);
        refuse_odd(&path)?;
        let tried = || format!("locking {}", path.display());
        let file = open_lock(&path).with_context(tried)?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) if start.elapsed() < wait => {
                    // flock(2) has no time-out of its own.
                    std::thread::sleep(Duration::from_millis(5).min(wait));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(LockTimeout { path, waited: wait }.into());
                }
                Err(TryLockError::Error(error)) => return Err(error).with_context(tried),
            }
        }
    }

    /// Finishes the commit and forgets the preparations of a run that was killed.
    pub fn recover(&self, _lock: &Lock) -> Result<()> {
        self.finish_commit()?;
        self.discard_next()
    }

    /// Reads all pools. A writer at work is no hindrance: what is read is the state before or
    /// after its commit, never a mixture.
    pub fn read(&self) -> Result<Pools> {
        for _ in 0..READ_ATTEMPTS {
            let before = self.signature()?;
            match self.read_once(&before) {
                // A file went away between listing and reading: a writer is at work.
                Err(error) if self.signature()? == before => return Err(error),
                Ok(pools) if self.signature()? == before => return Ok(pools),
                _ => {}
            }
        }
        bail!("reading {}: the files do not stop changing", self.dir.display());
    }

    /// Makes the files hold `after`. `before` is what they hold now.
    pub fn commit(&self, _lock: &Lock, before: &Pools, after: &Pools) -> Result<()> {
        // A pool that goes is emptied first, in the same commit: a run that is killed before its
        // file is removed leaves nobody in two pools.
        let gone =
            before.iter().filter(|&(pool, members)| !has(after, pool) && !members.is_empty());
        let changed: Vec<(UplinkNo, &[Client])> = after
            .iter()
            .filter(|&(pool, members)| !has(before, pool) || before.members(pool) != members)
            .chain(gone.map(|(pool, _)| (pool, [].as_slice())))
            .collect();
        if !changed.is_empty() {
            self.prepare(&changed).inspect_err(|_| {
                // The disk is full or worse; what we leave is discarded by the next run anyway.
                let _ = fs::remove_dir_all(self.dir.join(NEXT));
            })?;
            self.finish_commit()?;
        }
        for (pool, _) in before.iter().filter(|&(pool, _)| !has(after, pool)) {
            let path = self.pool_path(pool);
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(())
    }

    /// What [`Store::commit`] does, as the shell commands that would do it.
    pub fn commands(&self, before: &Pools, after: &Pools) -> Vec<String> {
        let mut commands = Vec::new();
        if !self.dir.is_dir() && after.iter().any(|(pool, _)| !has(before, pool)) {
            commands.push(format!("mkdir -p {}", quoted(&self.dir)));
        }
        let gone: Vec<_> = before.iter().filter(|&(pool, _)| !has(after, pool)).collect();
        let differs = |&(pool, members): &(UplinkNo, &[Client])| {
            !has(before, pool) || before.members(pool) != members || !has(after, pool)
        };
        for (pool, _) in after.iter().chain(gone.iter().copied()).filter(differs) {
            let file = quoted(&self.pool_path(pool));
            let left = |client: &&Client| after.place(**client) != Some(pool);
            let pattern = |client: &Client| client.to_string().replace('.', "\\.");
            for client in before.members(pool).iter().filter(left) {
                commands.push(format!("sed -i '/^{}$/d' {file}", pattern(client)));
            }
            let came = |client: &&Client| before.place(**client) != Some(pool);
            let adds = after.members(pool).iter().any(|client| came(&client));
            if adds && lacks_newline(&self.pool_path(pool)) {
                commands.push(format!("echo >>{file}"));
            }
            for client in after.members(pool).iter().filter(came) {
                commands.push(format!("echo {client} >>{file}"));
            }
            if !has(before, pool) && after.members(pool).is_empty() {
                commands.push(format!("touch {file}"));
            }
        }
        commands.extend(
            gone.into_iter().map(|(pool, _)| format!("rm {}", quoted(&self.pool_path(pool)))),
        );
        commands
    }

    /// Writes `.next/` whole and turns it into `.commit/`: the commit point.
    fn prepare(&self, changed: &[(UplinkNo, &[Client])]) -> Result<()> {
        let next = self.dir.join(NEXT);
        make_dir(&next)?;
        for &(pool, members) in changed {
            let path = next.join(pool_name(pool));
            write_synced(&path, format::write(members).as_bytes())
                .with_context(|| format!("writing {}", path.display()))?;
        }
        sync_dir(&next)?;
        rename(&next, &self.dir.join(COMMIT))?;
        sync_dir(&self.dir)
    }

    /// Moves the files of `.commit/`, if there is one, into place.
    fn finish_commit(&self) -> Result<()> {
        let commit = self.dir.join(COMMIT);
        for (_, path) in pool_files(&commit)? {
            let name = path.file_name().unwrap_or_default();
            rename(&path, &self.dir.join(name))?;
        }
        match fs::remove_dir(&commit) {
            Ok(()) => sync_dir(&self.dir),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| {
                format!("removing {}; it holds what is not ours", commit.display())
            }),
        }
    }

    fn discard_next(&self) -> Result<()> {
        let next = self.dir.join(NEXT);
        match fs::remove_dir_all(&next) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", next.display()))
            }
            _ => Ok(()),
        }
    }

    /// The files that hold the pools now, and what changes about each when it is replaced.
    fn signature(&self) -> Result<BTreeMap<UplinkNo, Version>> {
        let mut files = pool_files(&self.dir)?;
        files.extend(pool_files(&self.dir.join(COMMIT))?);
        let version = |(pool, path): (UplinkNo, PathBuf)| {
            let meta = fs::symlink_metadata(&path).ok();
            let change =
                meta.map(|meta| (meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()));
            (pool, Version { path, change })
        };
        Ok(files.into_iter().map(version).collect())
    }

    fn read_once(&self, files: &BTreeMap<UplinkNo, Version>) -> Result<Pools> {
        let mut pools = Pools::default();
        for (&pool, Version { path, .. }) in files {
            refuse_odd(path)?;
            let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            let clients = format::parse(&bytes).map_err(|bad| {
                anyhow::anyhow!("{}:{}:{}: {}", path.display(), bad.line, bad.column, bad.why)
            })?;
            pools.create(pool);
            for (index, client) in clients.into_iter().enumerate() {
                if let Err(other) = pools.insert(client, pool) {
                    let at = pools.members(other).iter().position(|&known| known == client);
                    bail!(
                        "{}:{}:1: {client} is in {}:{} already; take one of the two lines out",
                        path.display(),
                        index + 1,
                        files[&other].path.display(),
                        at.unwrap_or_default() + 1,
                    );
                }
            }
        }
        Ok(pools)
    }
}

/// One state of a pool file: where it lies, and its inode, size and time of change.
#[derive(PartialEq, Eq)]
struct Version {
    path: PathBuf,
    change: Option<(u64, u64, i64, i64)>,
}

/// On a disk that has become read-only the lock must still be had: a dead line wants taking out.
fn open_lock(path: &Path) -> std::io::Result<File> {
    let opened =
        OpenOptions::new().create(true).truncate(false).write(true).mode(LOCK_MODE).open(path);
    match opened {
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => File::open(path),
        opened => opened,
    }
}

fn has(pools: &Pools, wanted: UplinkNo) -> bool {
    pools.iter().any(|(pool, _)| pool == wanted)
}

/// Whether an editor left the last line without its end.
fn lacks_newline(file: &Path) -> bool {
    fs::read(file).is_ok_and(|bytes| bytes.last().is_some_and(|&last| last != b'\n'))
}

/// A path as a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

fn pool_name(pool: UplinkNo) -> String {
    format!("pool{pool}")
}

/// The pool files of a folder; a folder that is not there has none. A file `pool51` or `poolx` is
/// none of ours.
fn pool_files(dir: &Path) -> Result<BTreeMap<UplinkNo, PathBuf>> {
    let tried = || format!("reading {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.with_context(tried)?,
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let entry = entry.with_context(tried)?;
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix("pool"))
            .and_then(|number| number.parse().ok());
        if let Some(number) = number {
            files.insert(number, entry.path());
        }
    }
    Ok(files)
}

/// An error where something other than a plain file stands: a FIFO would block us, a symlink could
/// lead anywhere.
fn refuse_odd(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_file() => bail!("{}: not a plain file; move it away", path.display()),
        _ => Ok(()),
    }
}

/// Makes a folder that all may read, whatever the umask; one that is there is left as it is.
fn make_dir(dir: &Path) -> Result<()> {
    let tried = || format!("making {}", dir.display());
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).with_context(tried)?;
    fs::set_permissions(dir, Permissions::from_mode(0o755)).with_context(tried)
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.sync_all()
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("renaming {} to {}", from.display(), to.display()))
}

fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .with_context(|| format!("syncing {}", dir.display()))
}

#[cfg(test)]
mod tests;
