//! Files: a recycled write-ahead log, segment data with direct I/O, cold reads, and the plain
//! folder operations of boot and of rare moments.

mod append;
mod block;
mod buffer;
mod folder;
mod gather;
mod mapped;
mod once;
mod read;
mod together;
mod view;

use std::{
    cell::Cell,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    rc::Rc,
};

pub use append::{AppendFile, OpenedAppendFile};
pub use block::{BLOCK_BYTES, BlockFile, Caching, OpenedBlockFile};
pub use folder::{
    FileSystem, FolderLock, HeldFolder, LockError, Space, copy, create_dir_all,
    create_dir_all_durably, cut, file_len, free_space, free_space_later, identity, list,
    lock_folder, read, read_to_string, remove_dir_all, remove_file, rename, restrict_file,
    sync_dir, sync_file, truncate, write_atomically, write_atomically_later, write_end, write_new,
};
pub use mapped::{MappedFile, MappedWriter};
pub use once::{OnceFile, read_once};
pub use read::ReadFile;
pub use together::together;
pub use view::view;

/// Opens a file of ours to read and write, as it is; a new one is nobody else's (mode 0600).
fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(path)
}

/// True if a write, or the making of a file or name, failed because the file system is full or the
/// user's part of it used up (ENOSPC, EDQUOT): what was asked for is not done, and may be asked for
/// again. A flush that fails is never told so, whatever its reason.
pub fn is_out_of_space(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// There is no room for a write.
fn out_of_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

/// The error of a flush: whatever its reason, nobody knows what of the data was kept, and asking
/// again proves nothing. It must not be taken for a want that passes.
fn flush_failed(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the flush failed: {error}"))
}

/// Set by the first failure of a file's write or flush, for good: the kernel may have dropped the
/// data and marked the pages clean, so a retry that "succeeds" proves nothing. A write for which
/// there was no room is none of these: it may be repeated.
#[derive(Clone, Debug, Default)]
struct Poison(Rc<Cell<bool>>);

impl Poison {
    fn check(&self) -> io::Result<()> {
        if self.0.get() {
            return Err(io::Error::other(
                "file is unusable after an earlier write or flush error",
            ));
        }
        Ok(())
    }

    /// Passes the result on, and remembers a failure.
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && !is_out_of_space(error)
        {
            self.0.set(true);
        }
        result
    }
}
