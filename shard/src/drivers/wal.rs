//! Writes the core's write-ahead files: synchronously into recycled page cache within the turn,
//! one flush at a time for everything written before it.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use klamm_engine::effects::WalBegin;
use klamm_os::disk::{self, AppendFile};

/// The open write-ahead files of one core. A file's name says nothing about its place in the log:
/// its head does, so that a file is used again without renaming it.
pub(crate) struct WalFiles {
    folder: PathBuf,
    open: BTreeMap<u64, Rc<AppendFile>>,
    /// Written since the last flush began.
    unflushed: BTreeMap<u64, Rc<AppendFile>>,
}

impl WalFiles {
    /// Takes the folder, and the files in it that may be used again: number and name.
    pub(crate) fn new(folder: PathBuf, recyclable: &[(u64, String)]) -> io::Result<Self> {
        let mut open = BTreeMap::new();
        for (number, name) in recyclable {
            open.insert(*number, Rc::new(AppendFile::open(folder.join(name), 0)?));
        }
        Ok(Self {
            folder,
            open,
            unflushed: BTreeMap::new(),
        })
    }

    /// Makes a file the next of the log: one that is free, or a new one.
    pub(crate) fn begin(&mut self, begin: &WalBegin) -> io::Result<()> {
        let recycled = begin.recycle.and_then(|number| self.open.remove(&number));
        let file = match recycled {
            Some(file) => file,
            None => {
                let name = format!("{:020}.wal", begin.file);
                let file = AppendFile::open(self.folder.join(name), begin.length)?;
                disk::sync_dir(&self.folder)?;
                Rc::new(file)
            }
        };
        file.write_at(0, &[&begin.head])?;
        self.unflushed.insert(begin.file, Rc::clone(&file));
        self.open.insert(begin.file, file);
        Ok(())
    }

    /// Writes into a file that was begun.
    pub(crate) fn write(&mut self, file: u64, at: u64, bytes: &Bytes) -> io::Result<()> {
        let open = self.open.get(&file).ok_or(io::ErrorKind::NotFound)?;
        open.write_at(at, &[bytes])?;
        self.unflushed
            .entry(file)
            .or_insert_with(|| Rc::clone(open));
        Ok(())
    }

    /// Begins to flush everything written so far.
    pub(crate) fn flush(&mut self) -> impl Future<Output = io::Result<()>> + use<> {
        let files = std::mem::take(&mut self.unflushed);
        let flushes: Vec<_> = files.values().map(|file| file.flush()).collect();
        async move {
            for flush in flushes {
                flush.await?;
            }
            Ok(())
        }
    }
}
