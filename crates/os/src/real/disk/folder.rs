//! Plain operations on files and folders for boot and rare moments. They block the caller.

use std::{
    ffi::CString,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Seek, Write},
    os::fd::AsRawFd,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use super::{flush_failed, is_out_of_space, open_or_create};
use crate::real::{exec, sys};

/// The file in a folder by which it is locked.
const LOCK_FILE: &str = ".lock";

/// Creates the folder and its parents, readable by this user only (0700); fine if it exists.
pub fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// [`create_dir_all`], with the names of all that it made durable when it returns. A folder above them
/// that this user may write to and not read, or whose file system has no flush, is passed over.
pub fn create_dir_all_durably(path: impl AsRef<Path>) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let mut above = Vec::new();
    for folder in path.ancestors() {
        let is_there = folder.exists();
        above.extend(folder.parent());
        // Its name, too: whoever made it may not have lived to make it durable.
        if is_there {
            break;
        }
    }
    create_dir_all(&path)?;
    for folder in above {
        match sync_dir(folder) {
            Err(error) if has_no_flush(error.kind()) => {}
            flushed => flushed?,
        }
    }
    Ok(())
}

const fn has_no_flush(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

/// A folder that was opened once, whatever its path leads to later: its disk may be unmounted while
/// files in it are open, and what is made by its path lies on another one then.
#[derive(Debug)]
pub struct HeldFolder {
    path: PathBuf,
    file: File,
}

impl HeldFolder {
    /// Opens the folder, which must exist.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let file = File::open(&path)?;
        Ok(Self { path, file })
    }

    /// Creates a folder in it, readable by this user only (0700); fine if it exists. An error if the
    /// path leads elsewhere by now.
    pub fn create_dir(&self, name: &str) -> io::Result<()> {
        self.check()?;
        match DirBuilder::new().mode(0o700).create(self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            created => created,
        }
    }

    /// Makes creations, renames and removals in it durable.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_all().map_err(flush_failed)
    }

    fn check(&self) -> io::Result<()> {
        let (held, found) = (self.file.metadata()?, fs::metadata(&self.path));
        if found.is_ok_and(|found| (found.dev(), found.ino()) == (held.dev(), held.ino())) {
            return Ok(());
        }
        let path = self.path.display();
        let reason = format!("{path} is not the folder any more that it was: is its disk mounted?");
        Err(io::Error::other(reason))
    }
}

/// Names in the folder, sorted; names that are not UTF-8 are an error, for none of ours is.
pub fn list(path: impl AsRef<Path>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name().into_string().map_err(|name| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("file name {name:?} is not UTF-8"),
            )
        })?;
        names.push(name);
    }
    names.sort();
    Ok(names)
}

/// Copies a file's bytes to a new one of this user only, and makes them durable; an older file of
/// that name is replaced. The name is durable after [`sync_dir`]. Blocks.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut copy = options.open(to)?;
    io::copy(&mut source, &mut copy)?;
    copy.sync_all().map_err(flush_failed)
}

/// Renames, replacing `to`; durable after [`sync_dir`] of the folder.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    fs::rename(from, to)
}

/// Removes a file; fine if there is none. Durable after [`sync_dir`].
pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a folder and all in it; fine if there is none.
pub fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes creations, renames and removals in the folder durable.
pub fn sync_dir(path: impl AsRef<Path>) -> io::Result<()> {
    File::open(path)?.sync_all().map_err(flush_failed)
}

/// Makes a file's bytes and length durable. Blocks.
pub fn sync_file(path: impl AsRef<Path>) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.sync_all().map_err(flush_failed)
}

/// Reads a whole file of at most `limit` bytes; a longer one is an error (`FileTooLarge`).
pub fn read(path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let too_large = |length: u64| {
        let path = path.display();
        let reason = format!("expected at most {limit} bytes in {path}, found {length}");
        io::Error::new(io::ErrorKind::FileTooLarge, reason)
    };
    if length > limit {
        return Err(too_large(length));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// [`read`], as text.
pub fn read_to_string(path: impl AsRef<Path>, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Replaces the file so that after a crash the old or the new content is there, whole: temporary
/// file, flush, rename, folder flush. Durable when it returns. Mode 0600.
pub fn write_atomically(path: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
    let path = path.as_ref();
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_owned();
    name.push(".tmp");
    let temporary = folder_of(path).join(name);
    let file = write_whole(&temporary, content)?;
    file.sync_all().map_err(flush_failed)?;
    fs::rename(&temporary, path)?;
    sync_dir(folder_of(path))
}

/// Writes a file as a whole, in its place: after a crash any part of the new content is there, and
/// nothing of the old. Durable after [`sync_file`]. Mode 0600.
pub fn write_new(path: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
    write_whole(path.as_ref(), content).map(drop)
}

/// Writes the end of a file, which is made if need be (mode 0600), from `position` on: nothing lies
/// behind it then. A file that is shorter than that is an error (`UnexpectedEof`).
pub fn write_end(path: impl AsRef<Path>, mut position: u64, slices: &[&[u8]]) -> io::Result<()> {
    let path = path.as_ref();
    let file = open_or_create(path)?;
    let found = file.metadata()?.len();
    if found < position {
        let reason = format!(
            "expected {position} bytes in {}, found {found}",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
    }
    if found > position {
        file.set_len(position)?;
    }
    for slice in slices {
        file.write_all_at(slice, position)?;
        position += slice.len() as u64;
    }
    Ok(())
}

fn write_whole(path: &Path, content: &[u8]) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The file system that holds a folder, to be flushed as a whole: for many small files that is one
/// wait where their own flushes would be thousands.
///
/// Whoever relies on a flush has a handle of its own: an error is told once to each.
#[derive(Debug)]
pub struct FileSystem {
    /// A plain file in it.
    file: File,
}

impl FileSystem {
    /// The file system of `folder`. Errors of writing back are told to this handle from now on.
    pub fn of(folder: impl AsRef<Path>) -> io::Result<Self> {
        let file = open_or_create(&folder.as_ref().join(LOCK_FILE))?;
        Ok(Self { file })
    }

    /// Makes durable everything written before this call, names and lengths included (`syncfs`). An
    /// error says that anything written since the last call may be lost. Blocks.
    pub fn flush(&self) -> io::Result<()> {
        sys::sync_file_system(self.file.as_raw_fd()).map_err(flush_failed)?;
        // A file system whose own log had nothing to write may leave direct writes in the cache of
        // the device (XFS); the flush of a plain file empties that in any case.
        self.file.sync_all().map_err(flush_failed)
    }
}

/// [`write_atomically`] on the shard's side thread for flushes. It runs to its end even if the future is
/// dropped after its first poll. Writes to the same path run in the order of their first polls.
pub async fn write_atomically_later(
    path: impl Into<PathBuf>,
    content: impl AsRef<[u8]> + Send + 'static,
) -> io::Result<()> {
    let path = path.into();
    exec::spawn_flush(move || write_atomically(path, content.as_ref())).await
}

/// Length of a file in bytes.
pub fn file_len(path: impl AsRef<Path>) -> io::Result<u64> {
    Ok(fs::metadata(path)?.len())
}

/// What tells a file from another of the same name, and its length in bytes.
pub fn identity(path: impl AsRef<Path>) -> io::Result<(u64, u64)> {
    let found = fs::metadata(path)?;
    Ok((found.ino(), found.len()))
}

/// Cuts (or extends with zeros) a file to `length`; durable after [`sync_file`].
pub fn cut(path: impl AsRef<Path>, length: u64) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.set_len(length)
}

/// [`cut`], durable when it returns.
pub fn truncate(path: impl AsRef<Path>, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all().map_err(flush_failed)
}

/// Makes a file readable by this user only (0600), a folder likewise (0700).
pub fn restrict_file(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let mode = if fs::metadata(path)?.is_dir() {
        0o700
    } else {
        0o600
    };
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Fills `buffer` from `position`; fewer bytes at the end of the file.
pub(super) fn read_fully(file: &File, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Room in a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What this user may still write.
    pub free: u64,
    /// Size of the file system.
    pub total: u64,
}

/// Room in the file system that holds `path`.
pub fn free_space(path: impl AsRef<Path>) -> io::Result<Space> {
    let path = CString::new(path.as_ref().as_os_str().as_bytes())?;
    let (free, total) = sys::space(&path)?;
    Ok(Space { free, total })
}

/// As [`free_space`], on a side thread: a file system that does not answer holds up nobody else.
pub async fn free_space_later(path: impl Into<PathBuf>) -> io::Result<Space> {
    let path = path.into();
    exec::spawn_blocking(move || free_space(path)).await
}

/// The lock of a folder, held until dropped or until the process ends, however it ends.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
}

/// Why a folder cannot be locked.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it.
    Held {
        /// The lock file.
        path: PathBuf,
        /// The holder, as it wrote itself.
        process: Option<u32>,
    },
    /// The lock file cannot be made.
    Failed {
        /// The lock file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held {
                path,
                process: Some(process),
            } => {
                write!(f, "{} is locked by the process {process}", path.display())
            }
            Self::Held {
                path,
                process: None,
            } => {
                write!(f, "{} is locked by another process", path.display())
            }
            Self::Failed { path, error } => write!(f, "cannot lock {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for LockError {}

/// Takes the exclusive lock of `folder` (flock on its file `.lock`), without waiting.
pub fn lock_folder(folder: impl AsRef<Path>) -> Result<FolderLock, LockError> {
    let path = folder.as_ref().join(LOCK_FILE);
    let failed = |error| LockError::Failed {
        path: path.clone(),
        error,
    };
    let mut file = open_or_create(&path).map_err(failed)?;
    match sys::lock_exclusively(file.as_raw_fd()) {
        Ok(true) => {}
        Err(error) => return Err(failed(error)),
        Ok(false) => {
            let mut holder = String::new();
            let read = (&file).take(16).read_to_string(&mut holder);
            let process = read.ok().and_then(|_| holder.trim().parse().ok());
            return Err(LockError::Held { path, process });
        }
    }
    match name_holder(&mut file) {
        // Nobody needs the name to respect the lock.
        Err(error) if is_out_of_space(&error) => {}
        named => named.map_err(failed)?,
    }
    Ok(FolderLock { file })
}

/// Writes who holds the lock, in place of who held it: that needs no room.
fn name_holder(file: &mut File) -> io::Result<()> {
    let name = format!("{}\n", std::process::id());
    file.rewind()?;
    file.write_all(name.as_bytes())?;
    file.set_len(name.len() as u64)
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing would release it too; a duplicate in a child process must not keep it.
        sys::unlock(self.file.as_raw_fd());
    }
}
