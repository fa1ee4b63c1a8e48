//! The C allocator: its settings, process-wide and made once before any thread exists, and a count
//! of what each thread asks of it.
//!
//! On virtual machines the first touch of a page is dear (about 2.8 CPU-seconds per GiB here: the
//! host takes freed guest pages back). By default glibc unmaps every buffer above 128 KiB when it
//! is freed, so each recycled megabyte would be touched for the first time again.

use std::alloc::{GlobalAlloc, Layout, System};

use super::{stats, sys};

/// The C allocator with a count for each thread, in [`stats::Stats::allocations`]. A program makes
/// it its global allocator so that "nothing is allocated for a request" can be seen from outside.
#[derive(Debug)]
pub struct Counting;

// SAFETY: every call goes to the system's allocator with the caller's own arguments; counting
// neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        stats::count_allocation();
        // SAFETY: the caller keeps `alloc`'s contract, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        stats::count_allocation();
        // SAFETY: as in `alloc`.
        let start = unsafe { System.alloc_zeroed(layout) };
        if layout.size() >= HUGE_FROM_BYTES && !start.is_null() {
            // Nobody has looked at it yet; it begins and ends within pages of others.
            let skip = start.align_offset(HUGE_PAGE_BYTES);
            if let Some(rest) = layout.size().checked_sub(skip) {
                let whole = rest / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
                sys::prefer_huge_pages(start.wrapping_add(skip), whole);
            }
        }
        start
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        stats::count_allocation();
        // SAFETY: `old` came from this allocator, and so from the system's.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Tables of at least so many bytes, which come zeroed, are asked for as huge pages: who looks up
/// places in them at random waits for the walk through small pages more than for the memory.
const HUGE_FROM_BYTES: usize = 8 << 20;

const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Buffers up to this many bytes are kept by the allocator for reuse instead of being unmapped.
pub const KEPT_BUFFER_BYTES: usize = 32 << 20;

/// Free memory at the top of the heap that is kept before it goes back to the kernel.
pub const KEPT_FREE_BYTES: usize = 512 << 20;

/// Makes the allocator keep large freed buffers; `false` if it refused (not glibc).
///
/// Threshold values are fixed from then on, which also ends glibc's own guessing of them.
pub fn keep_memory() -> bool {
    const {
        assert!(
            KEPT_BUFFER_BYTES <= 32 << 20,
            "glibc's DEFAULT_MMAP_THRESHOLD_MAX"
        );
        assert!(KEPT_FREE_BYTES <= i32::MAX as usize);
    }
    set_options()
}

#[cfg(target_env = "gnu")]
fn set_options() -> bool {
    // SAFETY: mallopt takes two integers and changes settings under the allocator's own lock.
    let kept = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT_BUFFER_BYTES as libc::c_int) };
    // SAFETY: as above.
    let trimmed = unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_FREE_BYTES as libc::c_int) };
    kept == 1 && trimmed == 1
}

#[cfg(not(target_env = "gnu"))]
fn set_options() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_env = "gnu")]
    fn glibc_takes_the_settings() {
        assert!(keep_memory());
    }
}
