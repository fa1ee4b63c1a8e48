//! The small synchronous storage that a node uses at boot, before any core runs: the same code
//! recovers from the real disk and from the simulated one. At run time the engine does no I/O; it
//! returns effects.

use std::fmt;

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

    /// Cuts a file.
    ///
    /// # Errors
    /// The file was not cut.
    fn truncate(&mut self, path: &str, length: u64) -> Result<(), StorageError>;

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

    /// Creates a folder with its parents.
    ///
    /// # Errors
    /// It was not created.
    fn create_folder(&mut self, folder: &str) -> Result<(), StorageError>;

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
