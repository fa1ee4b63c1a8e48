//! Segment data: appends of any length become block-aligned writes past the page cache. Owner of
//! the last, partial block and of the order of writes and flushes.
//!
//! ```text
//!   file:   [ whole blocks, written once ......... ][ partial ]
//!                                          aligned ^          ^ length
//! ```
//! The partial block is kept in memory, and written again, padded with zeros, with the next append.
//! Large appends make the file longer ahead of themselves; [`BlockFile::trim`] gives it its own length
//! again, which is dear, and so not a part of each flush.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fs::{File, OpenOptions},
    future::poll_fn,
    io,
    os::fd::AsRawFd,
    path::Path,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
};

use bytes::Bytes;
use io_uring::{opcode, types};

use super::{
    Poison,
    buffer::BLOCK,
    flush_failed,
    gather::{Gather, SECTOR, Source},
    open_or_create, out_of_space,
    read::{open_direct, read_until},
};
use crate::real::{exec, stats, sys};

/// Positions that the disk sees are multiples of this.
pub const BLOCK_BYTES: usize = BLOCK;

/// Most operations of one append in flight.
const WRITES_IN_FLIGHT: usize = 2;

/// An append of at least this much makes room ahead of itself.
const AHEAD_FROM: u64 = 256 << 10;

/// Most bytes by which a file is made longer than it has to be.
const AHEAD_MAX: u64 = 32 << 20;

/// How a file meets the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// Past it (`O_DIRECT`), where the file system can; else through it.
    Direct,
    /// Through it.
    Buffered,
}

/// A file that grows by appends and is read at any position.
///
/// Appends and flushes run in the order of the calls, begin at the call, and end even if their
/// future is dropped. The first error makes the file unusable for writing, unless it is only that
/// there was no room for an append: that did not happen then, nor did those asked for behind it,
/// and they may be asked for again.
pub struct BlockFile {
    inner: Rc<Inner>,
}

struct Inner {
    file: Arc<File>,
    caching: Caching,
    /// Logical length, counting appends that still run.
    length: Cell<u64>,
    /// Bytes of the last block before `written`.
    partial: RefCell<Vec<u8>>,
    /// Appends that ended: readers may go up to here.
    written: Cell<u64>,
    jobs: RefCell<VecDeque<Job>>,
    running: Cell<bool>,
    /// Length of the file on disk, padding and room ahead included.
    disk_length: Cell<u64>,
    /// Large appends make the file longer ahead of themselves.
    reserves_ahead: Cell<bool>,
    /// Whether this device takes memory that is aligned to sectors only.
    takes_sectors: bool,
    poison: Poison,
}

struct Job {
    work: Work,
    done: Rc<Done>,
}

enum Work {
    /// At this position.
    Write(u64, Vec<Bytes>),
    Trim,
    Flush,
}

#[derive(Default)]
struct Done {
    result: Cell<Option<io::Result<()>>>,
    waiter: Cell<Option<Waker>>,
}

impl Done {
    async fn wait(self: Rc<Self>) -> io::Result<()> {
        poll_fn(|cx| match self.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                self.waiter.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    fn end(&self, result: io::Result<()>) {
        self.result.set(Some(result));
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }
}

/// A file that was opened on another thread, on its way to the shard that will write to it.
#[derive(Debug)]
pub struct OpenedBlockFile {
    file: File,
    caching: Caching,
    length: u64,
    partial: Vec<u8>,
    takes_sectors: bool,
}

impl From<OpenedBlockFile> for BlockFile {
    fn from(opened: OpenedBlockFile) -> Self {
        let length = opened.length;
        Self {
            inner: Rc::new(Inner {
                file: Arc::new(opened.file),
                caching: opened.caching,
                length: Cell::new(length),
                partial: RefCell::new(opened.partial),
                written: Cell::new(length),
                jobs: RefCell::default(),
                running: Cell::new(false),
                disk_length: Cell::new(length),
                reserves_ahead: Cell::new(true),
                takes_sectors: opened.takes_sectors,
                poison: Poison::default(),
            }),
        }
    }
}

impl BlockFile {
    /// [`Self::open_elsewhere`] on the shard's own thread.
    pub fn open(
        path: impl AsRef<Path>,
        length: u64,
        reserve: u64,
        caching: Caching,
    ) -> io::Result<Self> {
        Self::open_elsewhere(path, length, reserve, caching).map(Self::from)
    }

    /// Opens or creates the file (mode 0600), cuts it to `length`, reads the partial block back,
    /// and reserves `reserve` bytes on disk without changing the length. Blocks; any thread may do
    /// it.
    ///
    /// A file shorter than `length` is an error (`UnexpectedEof`).
    pub fn open_elsewhere(
        path: impl AsRef<Path>,
        length: u64,
        reserve: u64,
        caching: Caching,
    ) -> io::Result<OpenedBlockFile> {
        let path = path.as_ref();
        let plain = open_or_create(path)?;
        let found = plain.metadata()?.len();
        if found < length {
            let reason = format!(
                "expected {length} bytes in {}, found {found}",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        if found > length {
            plain.set_len(length)?;
        }
        if reserve > length {
            match sys::allocate(plain.as_raw_fd(), reserve, true) {
                Ok(()) => {}
                // Reserving only makes later writes cheaper.
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
                Err(error) => return Err(error),
            }
        }
        let aligned = length / BLOCK as u64 * BLOCK as u64;
        let mut partial = vec![0; (length - aligned) as usize];
        let takes_sectors = sys::direct_memory_alignment(plain.as_raw_fd())
            .is_some_and(|alignment| SECTOR.is_multiple_of(alignment));
        let read = super::folder::read_fully(&plain, aligned, &mut partial)?;
        if read < partial.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (file, caching) =
            open_direct(OpenOptions::new().read(true).write(true), path, caching)?;
        Ok(OpenedBlockFile {
            file,
            caching,
            length,
            partial,
            takes_sectors,
        })
    }

    /// How the file system let us open it.
    pub fn caching(&self) -> Caching {
        self.inner.caching
    }

    /// Logical length in bytes, counting appends under way.
    pub fn length(&self) -> u64 {
        self.inner.length.get()
    }

    /// Whether large appends make the file longer than it has to be, ahead of those to come.
    pub fn reserve_ahead(&self, is_wanted: bool) {
        self.inner.reserves_ahead.set(is_wanted);
    }

    /// Appends the slices at `position`, which must be [`Self::length`]. Slices that lie in memory
    /// as they will lie in the file, as far as sectors go, are not copied.
    pub fn write_at(
        &self,
        position: u64,
        slices: Vec<Bytes>,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let inner = &self.inner;
        let started = inner.poison.check().and_then(|()| {
            let length = inner.length.get();
            if position != length {
                let reason = format!("expected an append at {length}, found one at {position}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
            }
            let added: usize = slices.iter().map(Bytes::len).sum();
            inner.length.set(length + added as u64);
            Ok(inner.enqueue(Work::Write(position, slices)))
        });
        async move { started?.wait().await }
    }

    /// Makes all earlier appends durable. The file on disk may be longer: see [`Self::trim`].
    pub fn flush(&self) -> impl Future<Output = io::Result<()>> + use<> {
        let started = self
            .inner
            .poison
            .check()
            .map(|()| self.inner.enqueue(Work::Flush));
        async move { started?.wait().await }
    }

    /// Gives the file on disk its own length after all earlier appends.
    pub fn trim(&self) -> impl Future<Output = io::Result<()>> + use<> {
        let inner = &self.inner;
        let started = inner.poison.check();
        let started = started.map(|()| (!self.is_trim()).then(|| inner.enqueue(Work::Trim)));
        async move {
            match started? {
                Some(done) => done.wait().await,
                None => Ok(()),
            }
        }
    }

    /// Whether nothing is under way, and the file on disk has its own length.
    pub fn is_trim(&self) -> bool {
        let inner = &self.inner;
        !inner.running.get() && inner.disk_length.get() == inner.written.get()
    }

    /// Up to `length` bytes from `position`, of appends that have ended.
    pub async fn read_at(&self, position: u64, length: usize) -> io::Result<Bytes> {
        let (file, caching) = (self.inner.file.clone(), self.inner.caching);
        read_until(&file, caching, position, length, self.inner.written.get()).await
    }
}

impl Inner {
    fn enqueue(self: &Rc<Self>, work: Work) -> Rc<Done> {
        let done = Rc::<Done>::default();
        self.jobs.borrow_mut().push_back(Job {
            work,
            done: done.clone(),
        });
        if !self.running.replace(true) {
            exec::spawn_local(self.clone().run_jobs()).detach();
        }
        done
    }

    async fn run_jobs(self: Rc<Self>) {
        loop {
            let next = self.jobs.borrow_mut().pop_front();
            let Some(Job { work, done }) = next else {
                self.running.set(false);
                return;
            };
            let result = match self.poison.check() {
                Err(error) => Err(error),
                Ok(()) => self.run_job(work).await,
            };
            done.end(self.poison.note(result));
        }
    }

    async fn run_job(&self, work: Work) -> io::Result<()> {
        match work {
            Work::Write(position, slices) => self.append(position, slices).await,
            Work::Trim => self.trim().await,
            Work::Flush => {
                let sync = opcode::Fsync::new(types::Fd(self.file.as_raw_fd()))
                    .flags(types::FsyncFlags::DATASYNC)
                    .build();
                let failed = Some(self.poison.0.clone());
                let pending = exec::ring().operate(sync, self.file.clone(), failed);
                pending.finish().await.0.map(drop).map_err(flush_failed)
            }
        }
    }

    async fn trim(&self) -> io::Result<()> {
        let length = self.written.get();
        if self.disk_length.get() != length {
            let file = Arc::clone(&self.file);
            exec::spawn_blocking(move || file.set_len(length)).await?;
            self.disk_length.set(length);
        }
        Ok(())
    }

    async fn append(&self, begin: u64, slices: Vec<Bytes>) -> io::Result<()> {
        let added: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
        let end = begin + added;
        if begin != self.written.get() {
            // There was no room for what is to stand before.
            return Err(out_of_space());
        }
        if added == 0 {
            return Ok(());
        }
        self.make_room(end, added).await;
        let before = Bytes::from(self.partial.take());
        let partial = last_bytes(&before, &slices, (end % BLOCK as u64) as usize);
        let position = begin - before.len() as u64;
        let rest = std::iter::once(before.clone()).chain(slices);
        let source = Source::new(rest, self.takes_sectors);
        let written = self.write_all(position, source).await;
        let padded = end.next_multiple_of(BLOCK as u64);
        self.disk_length.set(self.disk_length.get().max(padded));
        if let Err(error) = written {
            // Where there was no room, the same may be appended again.
            self.partial.replace(before.to_vec());
            self.length.set(begin);
            return Err(error);
        }
        self.partial.replace(partial);
        self.written.set(end);
        Ok(())
    }

    /// Makes the file longer than it has to be, so that writes change no length: those that do wait
    /// for each other, and are carried out by threads of the kernel.
    async fn make_room(&self, end: u64, added: u64) {
        let present = self.disk_length.get();
        let is_wanted = self.reserves_ahead.get() && self.caching == Caching::Direct;
        if end <= present || added < AHEAD_FROM || !is_wanted {
            return;
        }
        let wanted = (end + end.clamp(added, AHEAD_MAX)).next_multiple_of(BLOCK as u64);
        let room = opcode::Fallocate::new(types::Fd(self.file.as_raw_fd()), wanted - present)
            .offset(present)
            .build();
        let pending = exec::ring().operate(room, self.file.clone(), None);
        // Room ahead only makes writes cheaper: where there is none, the write itself finds out. Some
        // of it may have been found and stays until the file gets its own length.
        let (_result, _file) = pending.finish().await;
        self.disk_length.set(wanted);
    }

    async fn write_all(&self, mut position: u64, mut source: Source) -> io::Result<()> {
        let ring = exec::ring();
        let start = |position: u64, gather: Gather, from: usize| {
            let vectors = gather.vectors(from);
            let count = u32::try_from(vectors.len()).expect("a write has few runs");
            let write =
                opcode::Writev::new(types::Fd(self.file.as_raw_fd()), vectors.as_ptr(), count)
                    .offset(position)
                    .build();
            let kept = (self.file.clone(), vectors, gather);
            (position, from, ring.operate(write, kept, None))
        };
        let mut flying = VecDeque::with_capacity(WRITES_IN_FLIGHT);
        loop {
            while flying.len() < WRITES_IN_FLIGHT && !source.is_empty() {
                let gather = source.next(position);
                stats::with(|s| s.block_bytes_copied.add(gather.copied() as u64));
                let length = gather.len() as u64;
                flying.push_back(start(position, gather, 0));
                position += length;
            }
            let Some((begin, from, pending)) = flying.pop_front() else {
                return Ok(());
            };
            let (result, (_, _, gather)) = pending.finish().await;
            let written = match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                // Only whole blocks count, or the rest could not be written directly.
                Ok(written) if written < BLOCK && written < gather.len() - from => {
                    Err(out_of_space())
                }
                other => other,
            };
            match written {
                Ok(written) if written < gather.len() - from => {
                    let whole = written / BLOCK * BLOCK;
                    flying.push_front(start(begin + whole as u64, gather, from + whole));
                }
                Ok(_) => {}
                Err(error) => {
                    // Nothing of it is under way any more when it is tried again.
                    for (_, _, pending) in flying {
                        drop(pending.finish().await);
                    }
                    return Err(error);
                }
            }
        }
    }
}

/// The last `count` bytes of the slices, `before` being the first.
fn last_bytes(before: &Bytes, slices: &[Bytes], count: usize) -> Vec<u8> {
    let mut parts = Vec::new();
    let mut left = count;
    for slice in slices.iter().rev().chain(std::iter::once(before)) {
        let part = left.min(slice.len());
        parts.push(&slice[slice.len() - part..]);
        left -= part;
        if left == 0 {
            break;
        }
    }
    parts.reverse();
    parts.concat()
}
