//! The core's write-ahead files, each of them memory: entries are placed in the kernel's page cache
//! by the engine itself. What is left to do is to begin files, to make them ahead of that beside
//! the core, and to flush them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use klamm_engine::effects::{WalBegin, WalPrepare};
use klamm_engine::memory::{WalMemory, WalSpace, Wanting};
use klamm_os::disk::{
    self, AppendFile, MappedFile, MappedWriter, OpenedAppendFile, is_out_of_space,
};
use klamm_os::exec;

use super::is_out_of_files;
use crate::turn::must;

/// The open write-ahead files of one core. A file's name says nothing about its place in the log:
/// its head does, so that a file is used again without renaming it.
#[derive(Debug)]
pub(crate) struct WalFiles {
    folder: PathBuf,
    open: BTreeMap<u64, WalFile>,
    /// Written since the last flush began.
    unflushed: BTreeMap<u64, Rc<AppendFile>>,
    /// What is wanting was told, and has not ended yet.
    told: Option<Wanting>,
    /// Files that were made on the core's own thread, which waited for the device.
    made_waiting: u64,
}

#[derive(Debug)]
struct WalFile {
    file: Rc<AppendFile>,
    /// Made when the file is first used.
    memory: Option<MappedFile>,
}

/// The files as the engine sees them.
#[derive(Clone, Debug)]
pub(crate) struct SharedWalFiles(Rc<RefCell<WalFiles>>);

impl SharedWalFiles {
    pub(crate) fn new(files: WalFiles) -> Self {
        Self(Rc::new(RefCell::new(files)))
    }

    /// Makes a file the next of the log, by its head.
    pub(crate) fn begin(&self, begin: &WalBegin) -> io::Result<()> {
        self.0.borrow_mut().write_head(begin)
    }

    /// Makes a file that will be needed, beside the core. False if there is no room or descriptor
    /// for it: it is made when it is needed then, and whoever needs it is told.
    pub(crate) async fn prepare(&self, prepare: WalPrepare) -> io::Result<bool> {
        let folder = self.0.borrow().folder.clone();
        let made = exec::spawn_flush(move || make_ahead(&folder, prepare)).await?;
        let Some(opened) = made else {
            return Ok(false);
        };
        let file = Rc::new(AppendFile::from(opened));
        let memory = None;
        let mut files = self.0.borrow_mut();
        files.open.insert(prepare.file, WalFile { file, memory });
        Ok(true)
    }

    /// Removes a file that nothing needs any more, beside the core. Its memory stays until nobody
    /// holds a slice of it, and its bytes on the device with it.
    pub(crate) async fn remove(&self, file: u64) -> io::Result<()> {
        let Some(removed) = self.0.borrow_mut().open.remove(&file) else {
            return Ok(());
        };
        let path = removed.file.path();
        drop(removed);
        exec::spawn_flush(move || disk::remove_file(path)).await
    }

    /// Files that were made on the core's own thread.
    pub(crate) fn made_waiting(&self) -> u64 {
        self.0.borrow().made_waiting
    }

    /// Takes note of entries that were placed in a file's memory.
    pub(crate) fn placed(&self, file: u64) -> io::Result<()> {
        self.0.borrow_mut().mark(file).map(drop)
    }

    /// Begins to flush everything placed so far.
    pub(crate) fn flush(&self) -> impl Future<Output = io::Result<()>> + use<> {
        self.0.borrow_mut().flush()
    }
}

impl WalMemory for SharedWalFiles {
    fn is_idle(&mut self, file: u64) -> bool {
        let mut files = self.0.borrow_mut();
        let memory = files.open.get_mut(&file).map(|open| open.memory.as_mut());
        memory.is_some_and(|memory| memory.is_none_or(MappedFile::is_idle))
    }

    fn begin(
        &mut self,
        file: u64,
        recycle: Option<u64>,
        at: u64,
        length: u64,
    ) -> Result<Box<dyn WalSpace>, Wanting> {
        let mut files = self.0.borrow_mut();
        let writer = files.writer(file, recycle, at, length);
        let wanting = match &writer {
            Err(error) if is_out_of_files(error) => Some(Wanting::Descriptor),
            Err(error) if is_out_of_space(error) => Some(Wanting::Room),
            _ => None,
        };
        if let (Some(wanting), Err(error)) = (wanting, &writer) {
            files.tell(wanting, length, error);
            return Err(wanting);
        }
        files.told = None;
        Ok(Box::new(Space(must("begin a write-ahead file", writer))))
    }
}

impl WalFiles {
    /// Takes the folder, and the files in it that may be used again: number and name.
    /// They have room for `file_bytes`.
    pub(crate) fn new(
        folder: PathBuf,
        recyclable: &[(u64, String)],
        file_bytes: u64,
    ) -> io::Result<Self> {
        let mut open = BTreeMap::new();
        for (number, name) in recyclable {
            let file = Rc::new(AppendFile::open(folder.join(name), file_bytes)?);
            open.insert(*number, WalFile { file, memory: None });
        }
        Ok(Self {
            folder,
            open,
            unflushed: BTreeMap::new(),
            told: None,
            made_waiting: 0,
        })
    }

    /// Says once why records are refused.
    fn tell(&mut self, wanting: Wanting, length: u64, error: &io::Error) {
        if self.told.replace(wanting) == Some(wanting) {
            return;
        }
        match wanting {
            Wanting::Descriptor => {
                tracing::warn!(%error, "cannot open the next file of the log yet, and refuse records meanwhile; raise the limit of open files");
            }
            Wanting::Room => {
                let free = disk::free_space(&self.folder).map_or(0, |space| space.free);
                tracing::warn!(
                    folder = %self.folder.display(), free, wanted = length, %error,
                    "the disk has no room for the next file of the log, and records are refused meanwhile. Delete topics or other files, or make the file system larger"
                );
            }
        }
    }

    /// Finds the file to be used again, or makes a new one, and its memory.
    fn writer(
        &mut self,
        number: u64,
        recycle: Option<u64>,
        at: u64,
        length: u64,
    ) -> io::Result<MappedWriter> {
        let recycled = recycle.and_then(|number| self.open.remove(&number));
        let mut open = match recycled {
            Some(open) => open,
            None => {
                let name = format!("{number:020}.wal");
                let file = AppendFile::open(self.folder.join(name), length)?;
                disk::sync_dir(&self.folder)?;
                self.made_waiting += 1;
                let file = Rc::new(file);
                WalFile { file, memory: None }
            }
        };
        let size = |bytes| usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory);
        let mut memory = match open.memory.take() {
            Some(memory) => memory,
            None => open.file.map(size(length)?)?,
        };
        let writer = memory.writer(size(at)?);
        open.memory = Some(memory);
        self.open.insert(number, open);
        Ok(writer)
    }

    fn write_head(&mut self, begin: &WalBegin) -> io::Result<()> {
        self.mark(begin.file)?.write_at(0, &[&begin.head])
    }

    fn mark(&mut self, number: u64) -> io::Result<Rc<AppendFile>> {
        let open = self.open.get(&number).ok_or(io::ErrorKind::NotFound)?;
        let unflushed = self.unflushed.entry(number);
        Ok(Rc::clone(
            unflushed.or_insert_with(|| Rc::clone(&open.file)),
        ))
    }

    fn flush(&mut self) -> impl Future<Output = io::Result<()>> + use<> {
        let files = std::mem::take(&mut self.unflushed);
        for number in files.keys() {
            if let Some(memory) = self.open.get(number).and_then(|open| open.memory.as_ref()) {
                memory.note_flush();
            }
        }
        let flushes: Vec<_> = files.values().map(|file| file.flush()).collect();
        async move {
            for flush in flushes {
                flush.await?;
            }
            Ok(())
        }
    }
}

/// Makes a file and its name durable. None if there is no room or descriptor for it. Blocks.
fn make_ahead(folder: &Path, prepare: WalPrepare) -> io::Result<Option<OpenedAppendFile>> {
    let path = folder.join(prepare.file_name());
    match AppendFile::open_elsewhere(&path, prepare.length) {
        Ok(opened) => {
            disk::sync_dir(folder)?;
            Ok(Some(opened))
        }
        Err(error) if is_out_of_files(&error) => Ok(None),
        Err(error) if is_out_of_space(&error) => {
            // What there is of it would only take room; a start removes it otherwise.
            if let Err(error) = disk::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "could not remove an unfinished file of the log; the next start does");
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The open file's memory.
#[derive(Debug)]
struct Space(MappedWriter);

impl WalSpace for Space {
    fn add(&mut self, length: usize) {
        must("write to the write-ahead log", self.0.add(length));
    }

    fn unsealed(&self) -> usize {
        self.0.unsealed()
    }

    fn unsealed_mut(&mut self) -> &mut [u8] {
        self.0.unsealed_mut()
    }

    fn seal(&mut self) -> Bytes {
        self.0.seal()
    }
}
