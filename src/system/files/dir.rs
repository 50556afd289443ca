//! An open folder. Whatever happens in it goes by its descriptor, because its owner, or the owner of a
//! folder above it, can exchange each part of its path at any time. All users may read what is
//! created here, and only its owner may write it, whatever the umask is.
//!
//! Knows nothing of what the files contain.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::trusted;

const DIR_MODE: u32 = 0o755;
pub const FILE_MODE: u32 = 0o644;

/// As many symlinks as the kernel follows in one path.
const MAX_SYMLINKS: u32 = 40;

/// A folder that is opened when it is needed first, and then stays the same one.
pub struct LazyDir {
    path: PathBuf,
    opened: OnceCell<Dir>,
}

impl LazyDir {
    pub fn new(path: PathBuf) -> Self {
        Self { path, opened: OnceCell::new() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `None` if the folder does not exist.
    pub fn open(&self) -> io::Result<Option<&Dir>> {
        if let Some(dir) = self.opened.get() {
            return Ok(Some(dir));
        }
        match walk(&self.path, false) {
            Ok(file) => Ok(Some(self.opened.get_or_init(|| Dir { file, path: self.path.clone() }))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates the folder, and the folders above it, if they do not exist.
    pub fn create(&self) -> io::Result<&Dir> {
        if let Some(dir) = self.opened.get() {
            return Ok(dir);
        }
        let file = walk(&self.path, true)?;
        Ok(self.opened.get_or_init(|| Dir { file, path: self.path.clone() }))
    }
}

pub struct Dir {
    file: File,
    path: PathBuf,
}

impl Dir {
    /// Creates a folder in this one. It must not exist yet.
    pub fn create_dir(&self, name: &str) -> io::Result<Self> {
        let file = create_dir_in(&self.file, name.as_ref())?;
        Ok(Self { file, path: self.path.join(name) })
    }

    /// Opens a folder in this one. A symlink is refused.
    pub fn open_dir(&self, name: &str) -> io::Result<Self> {
        Ok(Self { file: open_for_reading(&self.file, name.as_ref())?, path: self.path.join(name) })
    }

    /// The path of a file in this folder, for messages only.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn own_metadata(&self) -> io::Result<FileStat> {
        Ok(fstat(&self.file)?)
    }

    /// The metadata of a file or of a symlink, if it exists.
    pub fn metadata(&self, name: &str) -> io::Result<Option<FileStat>> {
        match fstatat(&self.file, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(meta) => Ok(Some(meta)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The names of all files that are valid UTF-8, in no order.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let names = names_in(&self.file)?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    /// Reads a plain file that nobody but root and the user who runs wanpool can have written. A
    /// symlink is refused.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let meta = fstatat(&self.file, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        // Opening a FIFO can block, and opening a device can have effects.
        trusted::require_plain(&meta)?;
        let file = self.open_file(name, OFlag::O_RDONLY)?;
        // Another file may have taken its place before it was opened.
        let meta = fstat(&file)?;
        trusted::require_plain(&meta)?;
        trusted::require_trusted(&meta, &self.path_of(name))?;
        trusted::read_list(file)
    }

    /// Opens a file that is already known to be a plain one.
    pub fn open_file(&self, name: &str, flags: OFlag) -> io::Result<File> {
        open_at(&self.file, name.as_ref(), flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK, 0)
    }

    /// Creates a file with this mode. It must not exist yet.
    pub fn create_file(&self, name: &str, mode: u32) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let file = open_at(&self.file, name.as_ref(), flags, mode)?;
        // The umask may have removed bits of the mode.
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(file)
    }

    /// Writes a new file and waits until it is on the disk.
    pub fn write_synced(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.create_file(name, FILE_MODE)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Moves a file into a folder, which may be the same one, and replaces the file there.
    pub fn rename(&self, from: &str, dir: &Dir, to: &str) -> io::Result<()> {
        Ok(renameat(&self.file, from, &dir.file, to)?)
    }

    pub fn remove_file(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.file, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes an empty folder.
    pub fn remove_dir(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.file, name, UnlinkatFlags::RemoveDir)?)
    }

    /// Waits until the names in the folder are on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Opens the folder that a path names, part by part. Follows only symlinks of root and of the user who
/// runs wanpool: with another one, a user could lead root to any folder.
fn walk(path: &Path, create: bool) -> io::Result<File> {
    let mut dir = open_at(AT_FDCWD, OsStr::new("."), PATH_ONLY, 0)?;
    let mut parts = reversed_parts(path);
    let mut symlinks = 0;
    while let Some(part) = parts.pop() {
        match open_at(&dir, &part, PATH_ONLY | OFlag::O_NOFOLLOW, 0) {
            Ok(next) => dir = next,
            Err(error) if error.kind() == ErrorKind::NotFound && create => {
                dir = match create_dir_in(&dir, &part) {
                    // Another run created it at the same time.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                        open_at(&dir, &part, PATH_ONLY | OFlag::O_NOFOLLOW, 0)?
                    }
                    created => created?,
                };
            }
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                symlinks += 1;
                if symlinks > MAX_SYMLINKS {
                    return Err(Errno::ELOOP.into());
                }
                parts.extend(reversed_parts(&follow(&dir, &part)?));
            }
            Err(error) => return Err(error),
        }
    }
    open_for_reading(&dir, OsStr::new("."))
}

/// Such a descriptor only names the folder, so that no permission to read the folder is needed.
const PATH_ONLY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

fn reversed_parts(path: &Path) -> Vec<OsString> {
    let mut parts = Vec::new();
    for component in path.components().rev() {
        if component != Component::CurDir {
            parts.push(component.as_os_str().to_owned());
        }
    }
    parts
}

/// The target of a symlink. An error if it is something else, or belongs to another user.
fn follow(dir: &File, name: &OsStr) -> io::Result<PathBuf> {
    let link = open_at(dir, name, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)?;
    if !link.metadata()?.is_symlink() {
        return Err(Errno::ENOTDIR.into());
    }
    let uid = fstat(&link)?.st_uid;
    if !trusted::is_trusted_user(uid) {
        return Err(io::Error::other(format!(
            "{} is a symlink that belongs to user {uid}; name the folder that it leads to",
            Path::new(name).display()
        )));
    }
    Ok(readlinkat(&link, "")?.into())
}

/// Creates a folder, and opens it. It is empty and belongs to the user who runs wanpool, or another
/// user has exchanged it in the meantime.
fn create_dir_in(dir: &File, name: &OsStr) -> io::Result<File> {
    mkdirat(dir, name, Mode::from_bits_truncate(DIR_MODE))?;
    let created = open_for_reading(dir, name)?;
    let meta = fstat(&created)?;
    if meta.st_uid != geteuid().as_raw() || !names_in(&created)?.is_empty() {
        return Err(io::Error::other("another user has exchanged it"));
    }
    // The umask may have removed bits of the mode.
    if meta.st_mode & 0o777 != DIR_MODE {
        created.set_permissions(Permissions::from_mode(DIR_MODE))?;
    }
    Ok(created)
}

fn names_in(dir: &File) -> io::Result<Vec<OsString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut entries = nix::dir::Dir::openat(dir, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in entries.iter() {
        let name = OsString::from_vec(entry?.file_name().to_bytes().to_owned());
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn open_for_reading(dir: &File, name: &OsStr) -> io::Result<File> {
    open_at(dir, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW, 0)
}

fn open_at(dir: impl AsFd, name: &OsStr, flags: OFlag, mode: u32) -> io::Result<File> {
    loop {
        match openat(
            &dir,
            name.as_bytes(),
            flags | OFlag::O_CLOEXEC,
            Mode::from_bits_truncate(mode),
        ) {
            // As the standard library does.
            Err(Errno::EINTR) => {}
            opened => return Ok(opened?.into()),
        }
    }
}
