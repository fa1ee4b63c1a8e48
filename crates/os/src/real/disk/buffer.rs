//! Memory for direct I/O: aligned to blocks, recycled within a shard, because fresh pages are
//! dear. State: a small pool in a thread-local.

use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    cell::RefCell,
    ptr::NonNull,
};

use crate::real::sys;

/// Alignment of memory, positions and lengths: suits every disk with sectors up to 4 KiB.
pub(super) const BLOCK: usize = 4096;

/// Largest size that is recycled: a huge page, which direct I/O takes as one run.
pub(super) const PIECE: usize = 2 << 20;

/// Buffers kept of each size.
const KEPT: usize = 4;

const SIZES: usize = (PIECE / BLOCK).ilog2() as usize + 1;

thread_local! {
    static POOL: RefCell<[Vec<NonNull<u8>>; SIZES]> = const {
        RefCell::new([const { Vec::new() }; SIZES])
    };
}

/// Block-aligned memory; its first `length` bytes are initialised.
pub(super) struct Buffer {
    start: NonNull<u8>,
    capacity: usize,
    length: usize,
}

// SAFETY: the buffer owns its memory alone; the pool is only an optimisation of the thread that
// happens to drop it, and memory of the global allocator may be freed by any thread.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads the initialised bytes.
unsafe impl Sync for Buffer {}

fn layout(capacity: usize) -> Layout {
    let alignment = if capacity == PIECE { PIECE } else { BLOCK };
    Layout::from_size_align(capacity, alignment).expect("a capacity far below isize::MAX")
}

fn size_class(capacity: usize) -> Option<usize> {
    (capacity <= PIECE).then(|| (capacity / BLOCK).ilog2() as usize)
}

impl Buffer {
    /// Room for at least `bytes`: a power of two of blocks up to [`PIECE`], whole blocks above.
    pub(super) fn with_room(bytes: usize) -> Self {
        let capacity = bytes.max(1).next_multiple_of(BLOCK);
        let capacity = if capacity <= PIECE {
            capacity.next_power_of_two()
        } else {
            capacity
        };
        let recycled = size_class(capacity).and_then(|class| {
            POOL.try_with(|pool| pool.borrow_mut()[class].pop())
                .ok()
                .flatten()
        });
        let start = recycled.unwrap_or_else(|| {
            // SAFETY: the layout has a size above zero.
            let start = unsafe { alloc(layout(capacity)) };
            let start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout(capacity)));
            if capacity == PIECE {
                sys::prefer_huge_pages(start.as_ptr(), capacity);
            }
            start
        });
        Self {
            start,
            capacity,
            length: 0,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Appends as much of `bytes` as there is room for; returns how much.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.capacity - self.length);
        // SAFETY: `count` bytes fit behind `length`; `bytes` cannot overlap our own memory,
        // which is borrowed mutably.
        unsafe {
            let place = self.start.as_ptr().add(self.length);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, count);
        }
        self.length += count;
        count
    }

    /// Declares that the kernel initialised the bytes up to `length`.
    ///
    /// # Safety
    /// The first `length` bytes are initialised and `length` is at most the capacity.
    pub(super) unsafe fn set_length(&mut self, length: usize) {
        debug_assert!(length <= self.capacity);
        self.length = length;
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the first `length` bytes are initialised and ours.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let kept = size_class(self.capacity).is_some_and(|class| {
            POOL.try_with(|pool| {
                let shelf = &mut pool.borrow_mut()[class];
                let room = shelf.len() < KEPT;
                if room {
                    shelf.push(self.start);
                }
                room
            })
            .unwrap_or(false)
        });
        if !kept {
            // SAFETY: allocated with this very layout, and not used any more.
            unsafe { dealloc(self.start.as_ptr(), layout(self.capacity)) };
        }
    }
}
