//! The small synchronous storage that a node uses at boot, before any core runs: the same code
//! recovers from the real disk and from the simulated one. At run time the engine does no I/O; it
//! returns effects.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;

/// Unit of positions in [`Storage::write_once`]: no disk's sectors are larger.
pub const BLOCK_BYTES: usize = 4096;

/// What boot changed and has not made durable yet. All of it is settled at once, before the
/// checkpoint that relies on it: one flush after the other costs the disk's latency for every file
/// of every partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unflushed {
    /// What is still to be written, and where; each of these files is among `files`, too.
    pub unwritten: BTreeMap<String, Unwritten>,
    /// Files that were written or cut.
    pub files: BTreeSet<String>,
    /// Small files that are to be replaced as a whole, with their new content.
    pub replaced: BTreeMap<String, Vec<u8>>,
    /// Folders in which names appeared.
    pub folders: BTreeSet<String>,
}

/// Pieces that belong behind each other into a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unwritten {
    /// Where the first of them begins.
    pub at: u64,
    /// The pieces, as they lie in memory.
    pub pieces: Vec<Bytes>,
}

/// Files and folders under one data folder. Paths are relative, with forward slashes.
///
/// Nothing is durable before [`flush`](Storage::flush), except what
/// [`replace`](Storage::replace) wrote. A new name is durable after
/// [`flush_folder`](Storage::flush_folder) of its folder.
pub trait Storage {
    /// Names in a folder, sorted; empty if there is no such folder.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn list(&mut self, folder: &str) -> Result<Vec<String>, StorageError>;

    /// The whole file, or `None` if there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, StorageError>;

    /// Up to `length` bytes from `at`; fewer only at the end of the file.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read_at(&mut self, path: &str, at: u64, length: usize) -> Result<Vec<u8>, StorageError>;

    /// [`read_at`](Storage::read_at) for much: the bytes may lie in memory that is the file's, and
    /// must not be written to while they are held.
    ///
    /// # Errors
    /// The file cannot be read.
    fn view(&mut self, path: &str, at: u64, length: usize) -> Result<Bytes, StorageError> {
        self.read_at(path, at, length).map(Bytes::from)
    }

    /// [`read_at`](Storage::read_at) for what is large and read once: it should leave no trace in the
    /// system's memory.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read_once(&mut self, path: &str, at: u64, length: usize) -> Result<Bytes, StorageError> {
        self.read_at(path, at, length).map(Bytes::from)
    }

    /// Length of a file, or `None` if there is none.
    ///
    /// # Errors
    /// The file's facts cannot be read.
    fn length(&mut self, path: &str) -> Result<Option<u64>, StorageError>;

    /// Writes at a position, and creates the file if need be. Its folder must exist.
    ///
    /// # Errors
    /// The bytes were not all written.
    fn write_at(&mut self, path: &str, at: u64, bytes: &[u8]) -> Result<(), StorageError>;

    /// [`write_at`](Storage::write_at) for what is large and not read soon, behind all that the file
    /// has, at a multiple of [`BLOCK_BYTES`].
    ///
    /// # Errors
    /// The bytes were not all written.
    fn write_once(&mut self, path: &str, at: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.write_at(path, at, bytes)
    }

    /// Writes pieces behind each other, and creates the file if need be, also for none of them.
    ///
    /// # Errors
    /// The bytes were not all written.
    fn write_pieces(&mut self, path: &str, unwritten: &Unwritten) -> Result<(), StorageError> {
        let mut at = unwritten.at;
        if unwritten.pieces.is_empty() {
            return self.write_at(path, at, &[]);
        }
        for piece in &unwritten.pieces {
            self.write_at(path, at, piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Cuts a file, durably.
    ///
    /// # Errors
    /// The file was not cut.
    fn truncate(&mut self, path: &str, length: u64) -> Result<(), StorageError>;

    /// Cuts a file; the cut is durable once the file is flushed.
    ///
    /// # Errors
    /// The file was not cut.
    fn cut(&mut self, path: &str, length: u64) -> Result<(), StorageError>;

    /// Makes a file's bytes and length durable.
    ///
    /// # Errors
    /// They may not be durable; nothing must be acknowledged on them.
    fn flush(&mut self, path: &str) -> Result<(), StorageError>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// They may not be durable.
    fn flush_folder(&mut self, folder: &str) -> Result<(), StorageError>;

    /// Replaces a whole file so that after a crash either the old or the new content is there,
    /// durably.
    ///
    /// # Errors
    /// Either content may be there.
    fn replace(&mut self, path: &str, bytes: &[u8]) -> Result<(), StorageError>;

    /// Writes what is still to be written, then makes all of it durable: the files, the
    /// replacements, then the names in the folders. A storage that can works on many at a time.
    ///
    /// # Errors
    /// Some of it may not be durable.
    fn settle(&mut self, unflushed: &Unflushed) -> Result<(), StorageError> {
        for (path, unwritten) in &unflushed.unwritten {
            self.write_pieces(path, unwritten)?;
        }
        for path in &unflushed.files {
            self.flush(path)?;
        }
        for (path, bytes) in &unflushed.replaced {
            self.replace(path, bytes)?;
        }
        for folder in &unflushed.folders {
            self.flush_folder(folder)?;
        }
        Ok(())
    }

    /// Creates a folder with its parents.
    ///
    /// # Errors
    /// It was not created.
    fn create_folder(&mut self, folder: &str) -> Result<(), StorageError>;

    /// Gives a file another name in its folder, in place of what has it; durable once the folder is
    /// flushed.
    ///
    /// # Errors
    /// It has its old name.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), StorageError>;

    /// Removes a file; none is fine.
    ///
    /// # Errors
    /// It is still there.
    fn remove(&mut self, path: &str) -> Result<(), StorageError>;

    /// Removes a folder with all its files; none is fine.
    ///
    /// # Errors
    /// Some of it is still there.
    fn remove_folder(&mut self, folder: &str) -> Result<(), StorageError>;
}

/// A storage operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageError {
    /// What was tried.
    pub operation: &'static str,
    /// On which file or folder.
    pub path: String,
    /// What the system said.
    pub reason: String,
    /// It failed because there is no room: the same may succeed when there is some.
    pub out_of_space: bool,
}

impl fmt::Display for StorageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "could not {} {}: {}",
            self.operation, self.path, self.reason
        )
    }
}

impl std::error::Error for StorageError {}
