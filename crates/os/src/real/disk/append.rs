//! The write-ahead log's file: preallocated, recycled, written through the page cache by a
//! synchronous call or as memory, flushed by the ring.

use std::{
    cell::RefCell,
    fs::{File, Metadata},
    io::{self, IoSlice},
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    rc::Rc,
};

use bytes::Bytes;
use io_uring::{opcode, types};

use super::{MappedFile, Poison, flush_failed, open_or_create};
use crate::real::{exec, stats, sys};

/// A file written at given positions and flushed as a whole.
///
/// The first write or flush error makes it unusable; recovery reads what is on disk.
#[derive(Debug)]
pub struct AppendFile {
    file: Rc<File>,
    path: RefCell<PathBuf>,
    poison: Poison,
}

/// Makes sure that the first `length` bytes of a file have their place on the disk: what is stored
/// into their memory later must not find it full.
fn reserve_blocks(file: &File, found: &Metadata, length: u64) -> io::Result<()> {
    const BLOCK_BYTES: u64 = 512;
    let has_blocks = found.blocks().saturating_mul(BLOCK_BYTES) >= length;
    if found.len() >= length && has_blocks {
        return Ok(());
    }
    match sys::allocate(file.as_raw_fd(), length, false) {
        // No preallocation in this file system: what is written has its place.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            let mut at = found.len();
            while at < length {
                let count = length.saturating_sub(at).min(ZEROS.len() as u64);
                file.write_all_at(&ZEROS[..count as usize], at)?;
                at += count;
            }
            Ok(())
        }
        allocated => allocated,
    }
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A file that was opened on another thread, on its way to the shard that will write to it.
#[derive(Debug)]
pub struct OpenedAppendFile {
    file: File,
    path: PathBuf,
}

impl From<OpenedAppendFile> for AppendFile {
    fn from(opened: OpenedAppendFile) -> Self {
        Self {
            file: Rc::new(opened.file),
            path: RefCell::new(opened.path),
            poison: Poison::default(),
        }
    }
}

impl AppendFile {
    /// [`Self::open_elsewhere`] on the shard's own thread.
    pub fn open(path: impl AsRef<Path>, reserve: u64) -> io::Result<Self> {
        Self::open_elsewhere(path, reserve).map(Self::from)
    }

    /// Opens or creates the file (mode 0600) and reserves `reserve` bytes on disk; a shorter file
    /// grows to that length and reads as zeros there, a longer one stays, and holes are filled where
    /// the file system can. Where there is no room, no new file stays behind. The creation is durable
    /// after `sync_dir` of the folder. Blocks; any thread may do it.
    pub fn open_elsewhere(path: impl AsRef<Path>, reserve: u64) -> io::Result<OpenedAppendFile> {
        let path = path.as_ref();
        let file = open_or_create(path)?;
        if reserve > 0 {
            let found = file.metadata()?;
            let reserved = reserve_blocks(&file, &found, reserve);
            if reserved.is_err() && found.len() == 0 {
                // What it got of the disk helps nobody.
                drop(std::fs::remove_file(path));
            }
            reserved?;
        }
        let path = path.to_owned();
        Ok(OpenedAppendFile { file, path })
    }

    /// Writes all of `bytes` at `position`, through the page cache, without making the caller's
    /// thread wait for it. The write begins at the call. Whoever drops the future before it is done
    /// does not learn how it ended, and must not use the file any more.
    pub fn write_later(
        &self,
        position: u64,
        bytes: Bytes,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let (file, poison) = (self.file.clone(), self.poison.clone());
        let length = bytes.len();
        let begin = move |from: usize| {
            let rest = &bytes[from..];
            let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            let write = opcode::Write::new(types::Fd(file.as_raw_fd()), rest.as_ptr(), length)
                .offset(position + from as u64)
                .build();
            let kept = (file.clone(), bytes.clone());
            exec::ring().operate(write, kept, None)
        };
        let first = self.poison.check().map(|()| begin(0));
        async move {
            let (mut pending, mut written) = (first?, 0);
            loop {
                let more = match pending.finish().await.0 {
                    Ok(0) if written < length => Err(io::ErrorKind::WriteZero.into()),
                    other => other,
                };
                written += poison.note(more)?;
                if written >= length {
                    return Ok(());
                }
                pending = begin(written);
            }
        }
    }

    /// Writes all of `slices` at `position`, through the page cache, before it returns. A short
    /// write is continued; no progress or an error makes the file unusable.
    pub fn write_at(&self, position: u64, slices: &[&[u8]]) -> io::Result<()> {
        self.poison.check()?;
        self.poison.note(self.write_all(position, slices))
    }

    fn write_all(&self, mut position: u64, slices: &[&[u8]]) -> io::Result<()> {
        let mut batch = [IoSlice::new(&[]); 64];
        for group in slices.chunks(batch.len()) {
            for (place, slice) in batch.iter_mut().zip(group) {
                *place = IoSlice::new(slice);
            }
            let mut rest = &mut batch[..group.len()];
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                let fd = self.file.as_raw_fd();
                let written = sys::write_gathered_at(fd, rest, position)?;
                stats::with(|s| {
                    s.gathered_writes.add(1);
                    s.gathered_write_bytes.add(written as u64);
                });
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                position += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
        }
        Ok(())
    }

    /// Makes durable what was written before this call (fdatasync). The flush is under way when
    /// this returns; dropping the future neither cancels it nor hides its error from the next
    /// call on this file.
    pub fn flush(&self) -> impl Future<Output = io::Result<()>> + use<> {
        let checked = self.poison.check();
        let pending = checked.map(|()| {
            let sync = opcode::Fsync::new(types::Fd(self.file.as_raw_fd()))
                .flags(types::FsyncFlags::DATASYNC)
                .build();
            let failed = Some(self.poison.0.clone());
            exec::ring().operate(sync, self.file.clone(), failed)
        });
        async move {
            let (result, _file) = pending?.finish().await;
            result.map(drop).map_err(flush_failed)
        }
    }

    /// Fills `buffer` from `position`; fewer bytes at the end of the file. Blocks.
    pub fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        super::folder::read_fully(&self.file, position, buffer)
    }

    /// The first `length` bytes as memory. What is stored there is a write: the next flush makes it
    /// durable, and an error of the file ends its use. Blocks.
    pub fn map(&self, length: usize) -> io::Result<MappedFile> {
        self.poison.check()?;
        if self.size()? < length as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        MappedFile::new(self.file.clone(), self.poison.clone(), length)
    }

    /// Renames the file, replacing `to`; durable after `sync_dir` of the folder. Blocks.
    pub fn rename(&self, to: impl AsRef<Path>) -> io::Result<()> {
        let to = to.as_ref();
        std::fs::rename(&*self.path.borrow(), to)?;
        self.path.replace(to.to_owned());
        Ok(())
    }

    /// Where the file is.
    pub fn path(&self) -> PathBuf {
        self.path.borrow().clone()
    }

    /// Length of the file in bytes, the reserved part included.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}
