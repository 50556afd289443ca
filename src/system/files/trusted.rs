//! Files that decide what wanpool does as root. Such a file is read only if it is a plain file that
//! belongs to root or to the user who runs wanpool, only its owner may write it, and it is not
//! longer than any such file needs to be. All users may read what wanpool creates, and only its
//! owner may write it, whatever the umask is.
//!
//! Knows nothing of what the files contain.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::libc::{O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

/// The longest list of clients that is read: four million addresses.
const MAX_LIST_BYTES: u64 = 64 << 20;
/// The longest configuration that is read: pins for more than a hundred thousand clients. The
/// parser needs many times this much memory.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Write permission of the group and of others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Reads a file in one of wanpool's own folders. A symlink is refused.
pub fn read_own(path: &Path) -> io::Result<Vec<u8>> {
    require_plain(&fs::symlink_metadata(path)?)?;
    read_list(open_trusted(path, O_NOFOLLOW)?)
}

/// Reads the configuration, which may be a symlink.
pub fn read_config(path: &Path) -> io::Result<Vec<u8>> {
    require_plain(&fs::metadata(path)?)?;
    read_at_most(MAX_CONFIG_BYTES, open_trusted(path, 0)?)
}

/// Opens a file that is already known to be a plain one, because opening a FIFO can block and
/// opening a device can have effects.
fn open_trusted(path: &Path, flags: i32) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | flags).open(path)?;
    // Another file may have taken its place before it was opened.
    let meta = file.metadata()?;
    require_plain(&meta)?;
    require_trusted(&meta, path)?;
    Ok(file)
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
pub fn require_plain(meta: &Metadata) -> io::Result<()> {
    let kind = meta.file_type();
    let name = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a symlink"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::other(format!("it is {name}, not a plain file; move it away")))
}

/// Returns an error if anyone but root and the user who runs wanpool can have written the file.
///
/// No group is trusted, not even a group with one member: root's umask is 022, and `sudo` and
/// pam_umask(8) do not widen it, so a file that root creates or edits is not writable by its group.
pub fn require_trusted(meta: &Metadata, path: &Path) -> io::Result<()> {
    let path = path.display();
    if meta.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(io::Error::other(format!("other users may write it; chmod go-w {path}")));
    }
    let uid = meta.uid();
    if uid != 0 && uid != geteuid().as_raw() {
        return Err(io::Error::other(format!("it belongs to user {uid}; chown root {path}")));
    }
    Ok(())
}

/// Creates a folder that all users may read, and the folders above it. Does not change folders that
/// exist.
pub fn create_dir_all(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        if !parent.as_os_str().is_empty() {
            create_dir_all(parent)?;
        }
    }
    match create_dir(dir) {
        // Another run created it at the same time.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        created => created.map(drop),
    }
}

/// Creates a folder that all users may read. It must not exist yet.
///
/// The owner of the folder above it can exchange it at any time for a symlink. So nothing follows its
/// path again: what comes next goes by the descriptor that is returned.
pub fn create_dir(dir: &Path) -> io::Result<File> {
    DirBuilder::new().mode(0o755).create(dir)?;
    let opened = open_dir(dir)?;
    if opened.metadata()?.uid() != geteuid().as_raw() {
        return Err(io::Error::other("another user has exchanged it"));
    }
    // The umask may have removed bits of the mode.
    opened.set_permissions(Permissions::from_mode(0o755))?;
    Ok(opened)
}

/// Opens a folder that is no symlink.
pub fn open_dir(dir: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(O_DIRECTORY | O_NOFOLLOW).open(dir)
}

/// Creates a file with this mode in an open folder. It must not exist yet.
pub fn create_file_in(dir: &File, name: &str, mode: u32) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let file = loop {
        match openat(dir, name, flags, Mode::from_bits_truncate(mode)) {
            // As the standard library does.
            Err(Errno::EINTR) => {}
            opened => break File::from(opened?),
        }
    };
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Creates a file with this mode. It must not exist yet.
pub fn create_file(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

#[cfg(test)]
mod tests;
