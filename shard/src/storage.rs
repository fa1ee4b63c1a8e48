//! The real data folder behind the engine's boot storage: plain, synchronous, before any core runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use klamm_engine::storage::{Storage, StorageError, Unflushed, Unwritten};
use klamm_model::TopicId;
use klamm_os::disk::{self, AppendFile, OnceFile};

use crate::data_folders::{DataFolders, FileSystems};
use crate::drivers::files::Folders;

/// Largest file that boot reads as a whole.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// More flushes than this are made one, of the whole file system.
const FLUSHES_MAX: usize = 1024;

/// A node's data folders, as the one that they are for the engine.
#[derive(Debug)]
pub(crate) struct DataFolder {
    folders: DataFolders,
    /// Opened before anything is written, so that they are told every error of writing back.
    file_systems: FileSystems,
    /// Where names change hands: nothing is written, renamed or removed once the folder of a
    /// partition is another topic's.
    only: Option<(Folders, Arc<str>, TopicId)>,
}

impl DataFolder {
    /// The folder at this path alone, which must exist.
    pub(crate) fn open(root: PathBuf) -> Result<Self, StorageError> {
        Self::of(DataFolders::single(root))
    }

    /// These folders.
    pub(crate) fn of(folders: DataFolders) -> Result<Self, StorageError> {
        Ok(Self {
            file_systems: FileSystems::of(&folders)?,
            folders,
            only: None,
        })
    }

    /// The data folder while it runs, for one partition's folder, as long as that is this topic's.
    pub(crate) fn within(
        folders: Folders,
        name: &Arc<str>,
        topic: TopicId,
    ) -> Result<Self, StorageError> {
        let opened = Self::of(folders.data().clone())?;
        Ok(Self {
            only: Some((folders, Arc::clone(name), topic)),
            ..opened
        })
    }

    /// Changes something, unless it is another topic's by now.
    fn change<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Some((folders, name, topic)) = &self.only else {
            return change();
        };
        let changed = folders.enter(name, *topic, |_| change())?;
        changed.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the folder is gone"))
    }

    /// Replaces small files and makes everything written so far durable: the new content of all of
    /// them before the first is put in its place.
    fn settle_at_once(&self, replaced: &[(PathBuf, &Vec<u8>)]) -> Result<(), StorageError> {
        disk::together(replaced, |(path, new)| disk::write_new(beside(path), new))
            .map_err(|((path, _), error)| failed("write", path, &error))?;
        let flush = || {
            let flushed = self.file_systems.flush();
            flushed.map_err(|error| failed("flush", self.folders.main(), &error))
        };
        flush()?;
        if replaced.is_empty() {
            return Ok(());
        }
        disk::together(replaced, |(path, _)| disk::rename(beside(path), path))
            .map_err(|((path, _), error)| failed("replace", path, &error))?;
        flush()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folders.path(path)
    }

    /// The folders that a relative path names: all of them where it is empty.
    fn all_at(&self, path: &str) -> Vec<PathBuf> {
        match path.is_empty() {
            true => self.folders.roots().to_vec(),
            false => vec![self.at(path)],
        }
    }
}

fn write_pieces(path: &Path, unwritten: &Unwritten) -> io::Result<()> {
    let pieces: Vec<&[u8]> = unwritten.pieces.iter().map(AsRef::as_ref).collect();
    AppendFile::open(path, 0)?.write_at(unwritten.at, &pieces)
}

/// Where the new content of a file lies until it is durable.
fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("tmp")
}

pub(crate) fn failed(operation: &'static str, path: &Path, error: &io::Error) -> StorageError {
    StorageError {
        operation,
        path: path.display().to_string(),
        reason: error.to_string(),
        out_of_space: disk::is_out_of_space(error),
    }
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Storage for DataFolder {
    fn list(&mut self, relative: &str) -> Result<Vec<String>, StorageError> {
        let path = self.at(relative);
        let mut names = absent_is_none(disk::list(&path))
            .map_err(|error| failed("list", &path, &error))?
            .unwrap_or_default();
        if relative.is_empty() {
            names.extend(self.folders.elsewhere());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let path = self.at(path);
        absent_is_none(disk::read(&path, FILE_BYTES_MAX))
            .map_err(|error| failed("read", &path, &error))
    }

    fn read_at(&mut self, path: &str, at: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        let path = self.at(path);
        let read = || -> io::Result<Vec<u8>> {
            let file = AppendFile::open(&path, 0)?;
            let left = usize::try_from(file.size()?.saturating_sub(at)).unwrap_or(usize::MAX);
            let mut bytes = vec![0; length.min(left)];
            let read = file.read_at(at, &mut bytes)?;
            bytes.truncate(read);
            Ok(bytes)
        };
        read().map_err(|error| failed("read", &path, &error))
    }

    fn view(&mut self, path: &str, at: u64, length: usize) -> Result<Bytes, StorageError> {
        let path = self.at(path);
        disk::view(&path, at, length).map_err(|error| failed("read", &path, &error))
    }

    fn read_once(&mut self, path: &str, at: u64, length: usize) -> Result<Bytes, StorageError> {
        let path = self.at(path);
        disk::read_once(&path, at, length).map_err(|error| failed("read", &path, &error))
    }

    fn length(&mut self, path: &str) -> Result<Option<u64>, StorageError> {
        let path = self.at(path);
        absent_is_none(disk::file_len(&path)).map_err(|error| failed("look at", &path, &error))
    }

    fn write_at(&mut self, path: &str, at: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let path = self.at(path);
        self.change(|| AppendFile::open(&path, 0)?.write_at(at, &[bytes]))
            .map_err(|error| failed("write", &path, &error))
    }

    fn write_once(&mut self, path: &str, at: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let path = self.at(path);
        // Nobody waits for the device who waits for names.
        self.change(|| OnceFile::open(&path))
            .and_then(|file| file.write_end(at, bytes))
            .map_err(|error| failed("write", &path, &error))
    }

    fn write_pieces(&mut self, path: &str, unwritten: &Unwritten) -> Result<(), StorageError> {
        let path = self.at(path);
        write_pieces(&path, unwritten).map_err(|error| failed("write", &path, &error))
    }

    fn truncate(&mut self, path: &str, length: u64) -> Result<(), StorageError> {
        let path = self.at(path);
        disk::truncate(&path, length).map_err(|error| failed("cut", &path, &error))
    }

    fn cut(&mut self, path: &str, length: u64) -> Result<(), StorageError> {
        let path = self.at(path);
        disk::cut(&path, length).map_err(|error| failed("cut", &path, &error))
    }

    fn settle(&mut self, unflushed: &Unflushed) -> Result<(), StorageError> {
        let unwritten = unflushed.unwritten.iter();
        let unwritten: Vec<_> = unwritten
            .map(|(path, unwritten)| (self.at(path), unwritten))
            .collect();
        let files = unflushed.files.iter();
        let files = files.filter(|&path| !unflushed.unwritten.contains_key(path));
        let files: Vec<_> = files.map(|path| self.at(path)).collect();
        let replaced = unflushed.replaced.iter();
        let replaced: Vec<_> = replaced.map(|(path, new)| (self.at(path), new)).collect();
        let folders = unflushed.folders.iter();
        let folders: Vec<_> = folders.flat_map(|path| self.all_at(path)).collect();
        if unwritten.len() + files.len() + replaced.len() + folders.len() > FLUSHES_MAX {
            disk::together(&unwritten, |(path, unwritten)| {
                write_pieces(path, unwritten)
            })
            .map_err(|((path, _), error)| failed("write", path, &error))?;
            return self.settle_at_once(&replaced);
        }
        // Each as soon as it is written, so that the disk is busy while the next ones are copied.
        disk::together(&unwritten, |(path, unwritten)| {
            write_pieces(path, unwritten)?;
            disk::sync_file(path)
        })
        .map_err(|((path, _), error)| failed("write", path, &error))?;
        disk::together(&files, |path| disk::sync_file(path))
            .map_err(|(path, error)| failed("flush", path, &error))?;
        disk::together(&replaced, |(path, new)| disk::write_atomically(path, new))
            .map_err(|((path, _), error)| failed("replace", path, &error))?;
        disk::together(&folders, |path| disk::sync_dir(path))
            .map_err(|(path, error)| failed("flush", path, &error))
    }

    fn flush(&mut self, path: &str) -> Result<(), StorageError> {
        let path = self.at(path);
        disk::sync_file(&path).map_err(|error| failed("flush", &path, &error))
    }

    fn flush_folder(&mut self, path: &str) -> Result<(), StorageError> {
        let mut paths = self.all_at(path).into_iter();
        paths.try_for_each(|path| {
            disk::sync_dir(&path).map_err(|error| failed("flush", &path, &error))
        })
    }

    fn replace(&mut self, path: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let path = self.at(path);
        disk::write_atomically(&path, bytes).map_err(|error| failed("replace", &path, &error))
    }

    fn create_folder(&mut self, relative: &str) -> Result<(), StorageError> {
        let created = self.folders.create(relative);
        created.map_err(|error| failed("create", &self.at(relative), &error))
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), StorageError> {
        let from = self.at(from);
        self.change(|| disk::rename(&from, self.at(to)))
            .map_err(|error| failed("rename", &from, &error))
    }

    fn remove(&mut self, path: &str) -> Result<(), StorageError> {
        let path = self.at(path);
        absent_is_none(self.change(|| disk::remove_file(&path)))
            .map(drop)
            .map_err(|error| failed("remove", &path, &error))
    }

    fn remove_folder(&mut self, relative: &str) -> Result<(), StorageError> {
        let path = self.at(relative);
        absent_is_none(disk::remove_dir_all(&path))
            .map_err(|error| failed("remove", &path, &error))?;
        self.folders.leave(relative);
        Ok(())
    }
}
