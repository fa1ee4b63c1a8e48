//! Memory that is a file: what is stored there is in the kernel's page cache at once, and outlives
//! the process without a write. The file's blocks were reserved, so that no store wants for space.
//!
//! ```text
//! | shared slices, never changed | placed, the writer's | free, the writer's |
//! 0                           sealed                 filled              length
//! ```

use std::{cell::Cell, fs::File, io, os::fd::AsRawFd, ptr::NonNull, rc::Rc, slice, sync::Arc};

use bytes::Bytes;

use super::Poison;
use crate::real::sys;

/// Memory is readied in steps of this many bytes.
const STEP: usize = 1 << 20;

/// The page cache keeps what one write brings as one piece. Larger pieces are dear to store into
/// after the kernel has written them back, smaller ones make more faults.
const FILL: usize = 64 << 10;

static ZEROS: [u8; FILL] = [0; FILL];

/// Addresses at which a file's bytes appear. Slices keep it alive.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is plain memory. Who may touch which part is ruled by the types below: one
// writer, and readers of what lies behind it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        sys::unmap(self.start.as_ptr(), self.length);
    }
}

/// A file as memory, filled from the front by one writer at a time, again and again.
///
/// Nobody else may shorten the file or write to it: the folder is locked.
#[derive(Debug)]
pub struct MappedFile {
    mapping: Arc<Mapping>,
    backing: Backing,
}

#[derive(Clone, Debug)]
struct Backing {
    file: Rc<File>,
    poison: Poison,
    /// Bytes from the front whose pages are in the cache, as far as we know.
    ready: Rc<Cell<usize>>,
    /// A flush was asked for since the writer began.
    flushed: Rc<Cell<bool>>,
}

impl MappedFile {
    pub(super) fn new(file: Rc<File>, poison: Poison, length: usize) -> io::Result<Self> {
        let start = sys::map_shared(file.as_raw_fd(), length)?;
        Ok(Self {
            mapping: Arc::new(Mapping { start, length }),
            backing: Backing {
                file,
                poison,
                ready: Rc::default(),
                flushed: Rc::default(),
            },
        })
    }

    /// Bytes of memory.
    pub fn length(&self) -> usize {
        self.mapping.length
    }

    /// True if there is no writer, and nobody holds a slice.
    pub fn is_idle(&mut self) -> bool {
        Arc::get_mut(&mut self.mapping).is_some()
    }

    /// A writer that begins at `from`.
    ///
    /// # Panics
    /// If the file is not idle, or shorter.
    pub fn writer(&mut self, from: usize) -> MappedWriter {
        assert!(self.is_idle(), "one writer at a time, and no readers");
        assert!(from <= self.mapping.length, "a writer begins inside");
        if self.backing.flushed.replace(false) {
            // Written back pages are protected one by one; forgotten, they come back in pieces.
            sys::forget_mapped(self.mapping.start.as_ptr(), self.mapping.length);
        }
        let ready = &self.backing.ready;
        ready.set(ready.get().max(from));
        MappedWriter {
            mapping: Arc::clone(&self.mapping),
            backing: self.backing.clone(),
            sealed: from,
            filled: from,
        }
    }

    /// To be told when a flush of the file was asked for.
    pub fn note_flush(&self) {
        self.backing.flushed.set(true);
    }
}

/// The only one that stores into a mapped file.
#[derive(Debug)]
pub struct MappedWriter {
    mapping: Arc<Mapping>,
    backing: Backing,
    sealed: usize,
    filled: usize,
}

impl MappedWriter {
    /// Places `length` bytes of any content behind the others.
    ///
    /// # Errors
    /// The file failed while its pages were readied; it is unusable then.
    ///
    /// # Panics
    /// If there is no room.
    pub fn add(&mut self, length: usize) -> io::Result<()> {
        let filled = self.filled.checked_add(length);
        let filled = filled.filter(|filled| *filled <= self.mapping.length);
        self.filled = filled.expect("the caller looked after the room");
        if self.filled > self.backing.ready.get() {
            self.backing.poison.check()?;
            let readied = self.make_ready();
            self.backing.poison.note(readied)?;
        }
        Ok(())
    }

    /// Brings pages into the cache by writing zeros: a store into a page that is not there would
    /// first have to wait for the disk.
    fn make_ready(&self) -> io::Result<()> {
        let ready = &self.backing.ready;
        let until = self.filled.next_multiple_of(STEP).min(self.mapping.length);
        // Everything placed so far lies before: this runs whenever the end of it is passed.
        let mut at = ready.get();
        while at < until {
            let count = (FILL - at % FILL).min(until - at);
            let slices = [io::IoSlice::new(&ZEROS[..count])];
            let written =
                sys::write_gathered_at(self.backing.file.as_raw_fd(), &slices, at as u64)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            at += written;
        }
        ready.set(until);
        Ok(())
    }

    /// Bytes placed since the last seal.
    pub fn unsealed(&self) -> usize {
        self.filled - self.sealed
    }

    /// What was placed since the last seal.
    pub fn unsealed_mut(&mut self) -> &mut [u8] {
        // SAFETY: the range lies inside the mapping; it is initialised, for it is a file's; nobody
        // else has a reference to anything behind `sealed`, for there is one writer.
        unsafe {
            let start = self.mapping.start.as_ptr().add(self.sealed);
            slice::from_raw_parts_mut(start, self.filled - self.sealed)
        }
    }

    /// Shares what was placed since the last seal.
    pub fn seal(&mut self) -> Bytes {
        let sealed = Sealed {
            mapping: Arc::clone(&self.mapping),
            from: self.sealed,
            to: self.filled,
        };
        self.sealed = self.filled;
        Bytes::from_owner(sealed)
    }
}

/// A part that does not change until the mapping is idle.
struct Sealed {
    mapping: Arc<Mapping>,
    from: usize,
    to: usize,
}

impl AsRef<[u8]> for Sealed {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the range lies inside the mapping; no writer goes back behind what it sealed, and
        // a new one begins only when this is gone.
        unsafe {
            slice::from_raw_parts(
                self.mapping.start.as_ptr().add(self.from),
                self.to - self.from,
            )
        }
    }
}
