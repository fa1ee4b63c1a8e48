//! Segment data: appends of any length become block-aligned writes past the page cache. Owner of
//! the last, partial block and of the order of writes and flushes.
//!
//! ```text
//!   file:   [ whole blocks, written once ......... ][ partial ]
//!                                          aligned ^          ^ length
//! ```
//! The partial block is kept in memory, and written again, padded with zeros, with the next append.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fs::{File, OpenOptions},
    future::poll_fn,
    io,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::Path,
    rc::Rc,
    task::{Poll, Waker},
};

use bytes::Bytes;
use io_uring::{opcode, types};

use super::{
    Poison,
    buffer::{BLOCK, Buffer, PIECE},
    read::{open_direct, read_until},
};
use crate::real::{exec, sys};

/// Positions that the disk sees are multiples of this.
pub const BLOCK_BYTES: usize = BLOCK;

/// Most pieces of one append in flight.
const PIECES_IN_FLIGHT: usize = 4;

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
/// future is dropped. The first error makes the file unusable for writing.
pub struct BlockFile {
    inner: Rc<Inner>,
}

struct Inner {
    file: Rc<File>,
    caching: Caching,
    /// Logical length, counting appends that still run.
    length: Cell<u64>,
    /// Bytes of the last block before `length`.
    partial: RefCell<Vec<u8>>,
    /// Appends that ended: readers may go up to here.
    written: Cell<u64>,
    jobs: RefCell<VecDeque<Job>>,
    running: Cell<bool>,
    /// Whether the file on disk ends with padding.
    padded: Cell<bool>,
    poison: Poison,
}

struct Job {
    work: Work,
    done: Rc<Done>,
}

enum Work {
    Write {
        position: u64,
        pieces: VecDeque<Buffer>,
        length_after: u64,
    },
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

impl BlockFile {
    /// Opens or creates the file (mode 0600), cuts it to `length`, reads the partial block back,
    /// and reserves `reserve` bytes on disk without changing the length. Blocks.
    ///
    /// A file shorter than `length` is an error (`UnexpectedEof`).
    pub fn open(
        path: impl AsRef<Path>,
        length: u64,
        reserve: u64,
        caching: Caching,
    ) -> io::Result<Self> {
        let path = path.as_ref();
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let plain = options.open(path)?;
        let found = plain.metadata()?.len();
        if found < length {
            let reason = format!(
                "expected {length} bytes in {}, found {found}",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        plain.set_len(length)?;
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
        let read = super::folder::read_fully(&plain, aligned, &mut partial)?;
        if read < partial.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (file, caching) = open_direct(&mut options, path, caching)?;
        Ok(Self {
            inner: Rc::new(Inner {
                file: Rc::new(file),
                caching,
                length: Cell::new(length),
                partial: RefCell::new(partial),
                written: Cell::new(length),
                jobs: RefCell::default(),
                running: Cell::new(false),
                padded: Cell::new(false),
                poison: Poison::default(),
            }),
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

    /// Appends the slices at `position`, which must be [`Self::length`]. The bytes are copied
    /// before this returns.
    pub fn write_at(
        &self,
        position: u64,
        slices: &[&[u8]],
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let inner = &self.inner;
        let started = inner.poison.check().and_then(|()| {
            if position != inner.length.get() {
                let length = inner.length.get();
                let reason = format!("expected an append at {length}, found one at {position}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
            }
            Ok(inner.enqueue(inner.cut(slices)))
        });
        async move { started?.wait().await }
    }

    /// Makes all earlier appends durable, and the length on disk exact.
    pub fn flush(&self) -> impl Future<Output = io::Result<()>> + use<> {
        let started = self
            .inner
            .poison
            .check()
            .map(|()| self.inner.enqueue(Work::Flush));
        async move { started?.wait().await }
    }

    /// Up to `length` bytes from `position`, of appends that have ended.
    pub async fn read_at(&self, position: u64, length: usize) -> io::Result<Bytes> {
        let (file, caching) = (self.inner.file.clone(), self.inner.caching);
        read_until(&file, caching, position, length, self.inner.written.get()).await
    }
}

impl Inner {
    /// Copies the partial block and the slices into aligned pieces.
    fn cut(&self, slices: &[&[u8]]) -> Work {
        let mut partial = self.partial.borrow_mut();
        let added: usize = slices.iter().map(|slice| slice.len()).sum();
        let position = self.length.get() - partial.len() as u64;
        let mut rest = partial.len() + added;
        let mut pieces = VecDeque::with_capacity(rest.div_ceil(PIECE));
        let mut piece = Buffer::with_room(rest.min(PIECE));
        piece.fill(&partial);
        rest -= partial.len();
        for slice in slices {
            let mut slice = *slice;
            while !slice.is_empty() {
                let count = piece.fill(slice);
                if count == 0 {
                    let next = Buffer::with_room(rest.min(PIECE));
                    pieces.push_back(std::mem::replace(&mut piece, next));
                }
                rest -= count;
                slice = &slice[count..];
            }
        }
        let length_after = self.length.get() + added as u64;
        let last = piece.as_ref();
        let border = last.len() / BLOCK * BLOCK;
        partial.clear();
        partial.extend_from_slice(&last[border..]);
        piece.pad();
        if !piece.as_ref().is_empty() {
            pieces.push_back(piece);
        }
        self.length.set(length_after);
        Work::Write {
            position,
            pieces,
            length_after,
        }
    }

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
            Work::Write {
                position,
                pieces,
                length_after,
            } => {
                self.write_pieces(position, pieces).await?;
                self.padded.set(!length_after.is_multiple_of(BLOCK as u64));
                self.written.set(length_after);
                Ok(())
            }
            Work::Flush => {
                if self.padded.get() {
                    self.file.set_len(self.written.get())?;
                    self.padded.set(false);
                }
                let sync = opcode::Fsync::new(types::Fd(self.file.as_raw_fd()))
                    .flags(types::FsyncFlags::DATASYNC)
                    .build();
                let failed = Some(self.poison.0.clone());
                let pending = exec::ring().operate(sync, self.file.clone(), failed);
                pending.finish().await.0.map(drop)
            }
        }
    }

    async fn write_pieces(
        &self,
        mut position: u64,
        mut pieces: VecDeque<Buffer>,
    ) -> io::Result<()> {
        let ring = exec::ring();
        let start = |position: u64, piece: Buffer, from: usize| {
            let bytes = &piece.as_ref()[from..];
            let size = u32::try_from(bytes.len()).expect("a piece is at most 1 MiB");
            let write = opcode::Write::new(types::Fd(self.file.as_raw_fd()), bytes.as_ptr(), size)
                .offset(position)
                .build();
            let kept = (self.file.clone(), piece);
            (position, from, ring.operate(write, kept, None))
        };
        let mut flying = VecDeque::with_capacity(PIECES_IN_FLIGHT);
        loop {
            while flying.len() < PIECES_IN_FLIGHT {
                let Some(piece) = pieces.pop_front() else {
                    break;
                };
                let length = piece.as_ref().len() as u64;
                flying.push_back(start(position, piece, 0));
                position += length;
            }
            let Some((begin, from, pending)) = flying.pop_front() else {
                return Ok(());
            };
            let (result, (_, piece)) = pending.finish().await;
            let written = match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                other => other?,
            };
            let left = piece.as_ref().len() - from - written;
            if left > 0 {
                // Only whole blocks count, or the rest could not be written directly.
                let whole = written / BLOCK * BLOCK;
                if whole == 0 && written > 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                flying.push_front(start(begin + whole as u64, piece, from + whole));
            }
        }
    }
}
