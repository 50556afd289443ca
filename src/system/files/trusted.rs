//! Files that decide what wanpool does as root. Such a file is read only if it is a plain file that
//! belongs to root or to the user who runs wanpool, only its owner may write it, and it is not
//! longer than any such file needs to be.
//!
//! Knows nothing of what the files contain.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::O_NONBLOCK;
use nix::sys::stat::{FileStat, SFlag, fstat, stat};
use nix::unistd::geteuid;

/// The longest list of clients that is read: four million addresses.
const MAX_LIST_BYTES: u64 = 64 << 20;
/// The longest configuration that is read: pins for more than a hundred thousand clients. The
/// parser needs many times this much memory.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Write permission of the group and of others.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// In a folder with this bit, users can rename and delete only files of their own.
const STICKY: u32 = 0o1000;

/// Reads the configuration, which may be a symlink.
pub fn read_config(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a FIFO can block, and opening a device can have effects.
    require_plain(&stat(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
    // Another file may have taken its place before it was opened.
    let meta = fstat(&file)?;
    require_plain(&meta)?;
    require_trusted(&meta, path)?;
    read_at_most(MAX_CONFIG_BYTES, file)
}

/// Reads a list of clients from any source to its end.
pub fn read_list(source: impl Read) -> io::Result<Vec<u8>> {
    read_at_most(MAX_LIST_BYTES, source)
}

fn read_at_most(limit: u64, source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let mib = limit >> 20;
        return Err(io::Error::other(format!(
            "it is longer than {mib} MiB; check that it is the right file"
        )));
    }
    Ok(bytes)
}

/// Returns an error for anything but a plain file.
pub fn require_plain(meta: &FileStat) -> io::Result<()> {
    let name = match kind(meta) {
        SFlag::S_IFREG => return Ok(()),
        SFlag::S_IFDIR => "a folder",
        SFlag::S_IFLNK => "a symlink",
        SFlag::S_IFIFO => "a FIFO",
        SFlag::S_IFSOCK => "a socket",
        _ => "a device",
    };
    Err(io::Error::other(format!("it is {name}, not a plain file; move it away")))
}

pub fn kind(meta: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(meta.st_mode) & SFlag::S_IFMT
}

/// Returns an error if anyone but root and the user who runs wanpool can have written the file.
///
/// No group is trusted, not even a group with one member: root's umask is 022, and `sudo` and
/// pam_umask(8) do not widen it, so a file that root creates or edits is not writable by its group.
pub fn require_trusted(meta: &FileStat, path: &Path) -> io::Result<()> {
    let path = path.display();
    if meta.st_mode & WRITABLE_BY_OTHERS != 0 {
        return Err(io::Error::other(format!("other users may write it; chmod go-w {path}")));
    }
    let uid = meta.st_uid;
    if !is_trusted_user(uid) {
        return Err(io::Error::other(format!("it belongs to user {uid}; chown root {path}")));
    }
    Ok(())
}

/// Returns an error if anyone but root and the user who runs wanpool can have written the program, or
/// can exchange it: a program is started by its path, after it was checked.
pub fn require_trusted_program(path: &Path) -> io::Result<()> {
    let program = path.canonicalize()?;
    require_trusted(&stat(&program)?, &program)?;
    for folder in program.ancestors().skip(1) {
        let meta = stat(folder)?;
        // In a folder like /tmp, only the owner of a file can exchange it.
        let is_sticky = meta.st_mode & STICKY != 0;
        if !is_sticky || !is_trusted_user(meta.st_uid) {
            require_trusted(&meta, folder)?;
        }
    }
    Ok(())
}

/// Root, and the user who runs wanpool.
pub fn is_trusted_user(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

#[cfg(test)]
mod tests;
