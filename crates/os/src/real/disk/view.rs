//! Much of a file as memory, to be read once: on a virtual machine every page of fresh memory is
//! dear, and what a process wrote before it was killed still lies in the page cache.

use std::{fs::File, io, os::fd::AsRawFd, path::Path, ptr::NonNull, slice};

use bytes::Bytes;

use super::folder::read_fully;
use crate::real::sys;

/// Less than this is copied.
const VIEWED_MIN: usize = 256 << 10;

/// Up to `length` bytes of a file from `at` on; fewer only at its end. Blocks.
///
/// They may be the page cache itself: nobody may change them while they are held, or shorten the
/// file. All of them are read before this returns, and stay in memory.
///
/// # Errors
/// The file is not there, or its device cannot read it.
pub fn view(path: impl AsRef<Path>, at: u64, length: usize) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let left = file.metadata()?.len().saturating_sub(at);
    let length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
    if length >= VIEWED_MIN
        && let Ok(view) = View::new(&file, at, length)
    {
        return Ok(Bytes::from_owner(view));
    }
    let mut bytes = vec![0; length];
    let read = read_fully(&file, at, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes.into())
}

/// Locked pages of a file, so that no later access can fail.
struct View {
    start: NonNull<u8>,
    mapped: usize,
    skip: usize,
}

// SAFETY: the pages are only read, and stay where they are until the view is dropped.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl View {
    /// Fails also where so much memory may not be locked.
    fn new(file: &File, at: u64, length: usize) -> io::Result<Self> {
        let skip = (at % sys::PAGE_BYTES) as usize;
        let mapped = skip + length;
        let start = sys::map_to_read(file.as_raw_fd(), at - skip as u64, mapped)?;
        let view = Self {
            start,
            mapped,
            skip,
        };
        sys::lock_mapped(start.as_ptr(), mapped)?;
        Ok(view)
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the range is mapped and locked until the drop, and whoever asked for it promised
        // that it does not change. What lies before it may.
        unsafe {
            slice::from_raw_parts(self.start.as_ptr().add(self.skip), self.mapped - self.skip)
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        sys::unmap(self.start.as_ptr(), self.mapped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn view_is_what_the_file_holds_from_any_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..1_200_000_u32)
            .map(|number| number as u8 ^ (number >> 8) as u8)
            .collect();
        std::fs::write(&path, &content).expect("written");
        for at in [0_usize, 1, 4095, 4096, 5000, 700_000, 1_199_999, 1_200_000] {
            for length in [0, 1, VIEWED_MIN - 1, VIEWED_MIN, 600_000, usize::MAX] {
                let end = at.saturating_add(length).min(content.len());
                let found = view(&path, at as u64, length).expect("readable");
                assert!(found == content[at..end], "{length} from {at}");
            }
        }
        assert_eq!(view(&path, 2_000_000, 10).expect("readable"), Bytes::new());
    }

    #[test]
    fn view_outlives_the_name_of_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; 1 << 20]).expect("written");
        let found = view(&path, 0, 1 << 20).expect("readable");
        std::fs::remove_file(&path).expect("removed");
        assert!(found.iter().all(|&byte| byte == 7));
    }
}
