//! The memory in which a core's newest write-ahead entries lie, in append order: the memory of the
//! write-ahead files themselves, counted in chunks. One placement copy brings a batch here; the same
//! bytes are spilled into segments and sent to consumers.
//!
//! ```text
//!  file 7                                   file 8 (open)
//!  chunk 21 (oldest)    chunk 22            chunk 23 (open)
//!  [e e e e e e e e ]   [e e e e e e e e]   [e e e e|pending…|     ]
//!                                                  ^sealed  ^filled
//! ```

use std::collections::VecDeque;

use bytes::Bytes;

use crate::memory::{WalMemory, WalSpace, Wanting};

/// Chunks of one core. Hands out shared slices of the files' memory.
#[derive(Debug)]
pub(crate) struct Tail {
    memory: Box<dyn WalMemory>,
    /// The file that takes entries.
    open: Option<Box<dyn WalSpace>>,
    /// Chunks that partitions may point into, oldest first; the last one is open.
    chunks: VecDeque<Chunk>,
    /// Bytes of all chunks.
    bytes: usize,
    /// Bytes of an ordinary chunk. A batch that does not fit gets a chunk of its own.
    chunk_bytes: usize,
    /// Bytes above which the oldest chunk is let go.
    bytes_max: usize,
    /// Only the open file's chunks are kept, so that the others can be used again.
    is_squeezed: bool,
    /// Number of the next chunk.
    next_number: u64,
}

#[derive(Debug)]
struct Chunk {
    number: u64,
    /// The file in whose memory it lies.
    file: u64,
    bytes: usize,
}

impl Tail {
    /// A tail that keeps about `bytes_max` bytes, and never less than two chunks.
    #[must_use]
    pub(crate) fn new(bytes_max: usize, chunk_bytes: usize, memory: Box<dyn WalMemory>) -> Self {
        Self {
            memory,
            open: None,
            chunks: VecDeque::new(),
            bytes: 0,
            chunk_bytes,
            bytes_max: bytes_max.max(2 * chunk_bytes),
            is_squeezed: false,
            next_number: 0,
        }
    }

    /// Keeps as little as possible from now on, or as much as it may.
    pub(crate) const fn squeeze(&mut self, is_squeezed: bool) {
        self.is_squeezed = is_squeezed;
    }

    /// True if the file's memory is neither part of the tail nor held by anybody else.
    pub(crate) fn is_free(&mut self, file: u64) -> bool {
        let oldest = self.chunks.front().map(|chunk| chunk.file);
        oldest.is_none_or(|oldest| file < oldest) && self.memory.is_idle(file)
    }

    /// Goes on in the memory of another file, whose entries begin at `at`.
    ///
    /// # Errors
    /// It cannot be had now; nothing has changed then.
    ///
    /// # Panics
    /// If something was not sealed.
    pub(crate) fn open_file(
        &mut self,
        file: u64,
        recycle: Option<u64>,
        at: u64,
        length: u64,
    ) -> Result<(), Wanting> {
        assert_eq!(self.unsealed(), 0, "a file is sealed before the next");
        self.open = Some(self.memory.begin(file, recycle, at, length)?);
        self.open_chunk(file);
        Ok(())
    }

    /// Takes nothing more before a file is opened.
    ///
    /// # Panics
    /// If something was not sealed, or a chunk was not retired.
    pub(crate) fn close(&mut self) {
        assert_eq!(self.unsealed(), 0, "a file is sealed before it is closed");
        assert!(self.chunks.is_empty(), "all chunks are retired before");
        self.open = None;
    }

    /// True if the open chunk takes `length` more bytes.
    #[must_use]
    pub(crate) fn has_room(&self, length: usize) -> bool {
        self.chunks
            .back()
            .is_some_and(|chunk| chunk.bytes == 0 || chunk.bytes + length <= self.chunk_bytes)
    }

    /// Begins a chunk in the open file.
    pub(crate) fn open_chunk(&mut self, file: u64) {
        self.chunks.push_back(Chunk {
            number: self.next_number,
            file,
            bytes: 0,
        });
        self.next_number += 1;
    }

    /// Places `length` bytes of any content in the open chunk; returns their number, and the bytes.
    ///
    /// # Panics
    /// If no file was opened.
    pub(crate) fn place(&mut self, length: usize) -> (u64, usize, &mut [u8]) {
        let (Some(open), Some(chunk)) = (self.open.as_mut(), self.chunks.back_mut()) else {
            panic!("a file is opened before anything is placed");
        };
        chunk.bytes += length;
        self.bytes += length;
        let start = open.unsealed();
        open.add(length);
        (chunk.number, start, &mut open.unsealed_mut()[start..])
    }

    /// Bytes placed since the last seal.
    #[must_use]
    pub(crate) fn unsealed(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.unsealed())
    }

    /// What was placed since the last seal.
    pub(crate) fn unsealed_bytes(&mut self) -> &[u8] {
        self.open.as_mut().map_or(&[], |open| open.unsealed_mut())
    }

    /// Takes what was placed since the last seal as shared bytes.
    pub(crate) fn seal(&mut self) -> Bytes {
        self.open
            .as_mut()
            .map_or_else(Bytes::new, |open| open.seal())
    }

    /// The oldest chunk, if it must leave so that the ceiling holds; never the open one.
    #[must_use]
    pub(crate) fn surplus(&self) -> Option<u64> {
        let (oldest, open) = (self.chunks.front()?, self.chunks.back()?);
        let is_wanted_back = self.is_squeezed && oldest.file != open.file;
        let is_too_much = self.bytes > self.bytes_max && self.chunks.len() >= 2;
        (is_too_much || is_wanted_back).then_some(oldest.number)
    }

    /// The oldest chunk, whether or not it must leave.
    #[must_use]
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.chunks.front().map(|chunk| chunk.number)
    }

    /// Lets the oldest chunk go. Partitions must have dropped their slices of it, or its file's
    /// memory is not used again until they do.
    pub(crate) fn retire_oldest(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.bytes -= chunk.bytes;
        }
    }

    /// Bytes of entries in the tail's chunks.
    #[must_use]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Heap;

    const CHUNK_BYTES: usize = 1 << 20;

    #[test]
    fn a_file_is_used_again_only_after_the_last_of_its_chunks_left() {
        let mut tail = Tail::new(0, CHUNK_BYTES, Box::new(Heap));
        tail.open_file(7, None, 0, 4 << 20).expect("room");
        for _ in 0..2 {
            tail.place(CHUNK_BYTES);
            assert!(!tail.has_room(1));
            tail.seal();
            tail.open_chunk(7);
        }
        tail.open_file(8, None, 0, 4 << 20).expect("room");
        tail.place(CHUNK_BYTES);
        assert_eq!((tail.surplus(), tail.is_free(7)), (Some(0), false));
        tail.retire_oldest();
        assert_eq!(tail.surplus(), None, "two chunks are kept");
        assert!(!tail.is_free(7), "its second chunk is in use");
        tail.retire_oldest();
        tail.retire_oldest();
        assert!(tail.is_free(7) && !tail.is_free(8));
        assert_eq!(tail.bytes(), CHUNK_BYTES);
    }

    #[test]
    fn a_batch_larger_than_a_chunk_gets_one_of_its_own() {
        let mut tail = Tail::new(0, CHUNK_BYTES, Box::new(Heap));
        tail.open_file(1, None, 0, 8 << 20).expect("room");
        assert!(tail.has_room(3 * CHUNK_BYTES));
        let (number, start, bytes) = tail.place(3 * CHUNK_BYTES);
        assert_eq!((number, start, bytes.len()), (0, 0, 3 * CHUNK_BYTES));
        assert!(!tail.has_room(1));
    }
}
