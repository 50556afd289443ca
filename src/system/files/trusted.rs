//! Files that decide what is done as root: read only if nobody else could have written them, with a
//! bound on what they take of memory; and made so that all may read them and their owner alone may
//! write, whatever the umask.
//!
//! Knows nothing of what is in them.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
};
use std::path::Path;

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::geteuid;

/// The most that is read of a list of clients: four million addresses.
const MOST: u64 = 64 << 20;
/// The most that is read of a file that a parser then takes many times the memory for: pins for
/// more than a hundred thousand clients.
const MOST_NAMED: u64 = 4 << 20;

const ROOT: u32 = 0;

/// Reads a file in a folder of ours, which belongs to `owner`. Symlinks are not followed, and what
/// others may write is refused.
pub fn read_ours(path: &Path, owner: u32) -> io::Result<Vec<u8>> {
    // To open a device, if only to look at it, may do something.
    require_plain(&fs::symlink_metadata(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path)?;
    require_ours(&file, path, &[ROOT, owner])?;
    read_list(file)
}

/// Reads a file that the user named, or a link to one. What others may write is refused; a pipe
/// that our caller opened for us (`/dev/stdin`, `/dev/fd/63`) is taken as it is.
pub fn read_named(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() && is_descriptor(path) {
        return read_at_most(MOST_NAMED, File::open(path)?);
    }
    require_plain(&fs::metadata(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
    require_ours(&file, path, &[ROOT])?;
    read_at_most(MOST_NAMED, file)
}

fn is_descriptor(path: &Path) -> bool {
    ["/dev/fd", "/proc/self/fd"].iter().any(|dir| path.parent() == Some(Path::new(dir)))
        || path == Path::new("/dev/stdin")
}

/// Judged by what was opened, whatever has become of its name.
fn require_ours(file: &File, path: &Path, owners: &[u32]) -> io::Result<()> {
    let meta = file.metadata()?;
    require_plain(&meta)?;
    require_trusted(&meta, path, owners)
}

/// Reads a list of clients to its end, from wherever it comes; one that is longer than any that
/// there can be is an error.
pub fn read_list(source: impl Read) -> io::Result<Vec<u8>> {
    read_at_most(MOST, source)
}

fn read_at_most(most: u64, source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(refusal(format!("longer than {} MiB; is it the right file?", most >> 20)));
    }
    Ok(bytes)
}

/// A FIFO would block us, a symlink could lead anywhere.
pub fn require_plain(meta: &Metadata) -> io::Result<()> {
    let kind = meta.file_type();
    let kind = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a folder",
        () if kind.is_symlink() => "a symlink",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(refusal(format!("it is {kind}, not a plain file; move it away")))
}

/// An error where anybody but root, ourselves and these owners could have written it.
pub fn require_trusted(meta: &Metadata, path: &Path, owners: &[u32]) -> io::Result<()> {
    let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
    let path = path.display();
    if mode & 0o002 != 0 {
        return Err(refusal(format!("others may write it; chmod o-w {path}")));
    }
    // A group of one's own, with one's own number, is nobody else.
    if mode & 0o020 != 0 && gid != ROOT && gid != uid {
        return Err(refusal(format!("group {gid} may write it; chmod g-w {path}")));
    }
    if uid != geteuid().as_raw() && !owners.contains(&uid) {
        return Err(refusal(format!("it belongs to user {uid}; chown root {path}")));
    }
    Ok(())
}

fn refusal(why: String) -> io::Error {
    io::Error::other(why)
}

/// Makes a folder, and those above it, that all may read; one that is there is left as it is.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(above) = dir.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_dir(above)?;
    }
    match make_new_dir(dir) {
        // Another run was quicker.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        made => made,
    }
}

/// Makes a folder where nothing is yet.
pub fn make_new_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(dir)?;
    // The umask may have taken some of it.
    fs::set_permissions(dir, Permissions::from_mode(0o755))
}

/// Makes a file where nothing is yet.
pub fn make_new(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Gives what we have just made to the owner of the folder it is in, who may be another user with
/// the capabilities that we need: what root leaves there must not lock him out.
pub fn give(made: impl AsFd, owner: u32) {
    if geteuid().is_root() && owner != ROOT {
        // Without CAP_CHOWN it stays ours, which does no harm to ourselves.
        let _ = fchown(made, Some(owner), None);
    }
}

#[cfg(test)]
mod tests;
