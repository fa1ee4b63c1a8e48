//! The memory in which a core's newest write-ahead entries lie, chunk by chunk, in append order.
//! One placement copy brings a batch here; the same bytes are then written to the write-ahead
//! file, spilled into segments and sent to consumers.
//!
//! ```text
//!  chunk 7 (retiring)   chunk 8            chunk 9 (open)
//!  [e e e e e e e e ]   [e e e e e e e e]  [e e e e|pending…|     ]
//!                                                  ^sealed  ^filled
//! ```

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Chunks of one core. Owns the memory; hands out shared slices.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Free part of the newest chunk, preceded by what was appended since the last seal.
    open: BytesMut,
    /// Chunks that partitions may point into, oldest first; the last one is open.
    chunks: VecDeque<Chunk>,
    /// Bytes of all chunks.
    bytes: usize,
    /// Chunks that left the tail but may still be on their way to a socket.
    retired: Vec<Keeper>,
    /// Bytes of an ordinary chunk. A batch that does not fit gets a chunk of its own.
    chunk_bytes: usize,
    /// Bytes above which the oldest chunk is let go.
    bytes_max: usize,
    /// Number of the next chunk.
    next_number: u64,
}

#[derive(Debug)]
struct Chunk {
    number: u64,
    capacity: usize,
    keeper: Keeper,
}

/// An empty handle on a chunk's memory, through which it is won back for another chunk once
/// nobody else holds a slice of it.
#[derive(Debug)]
struct Keeper(BytesMut);

/// Most chunks that wait to be used again. More are given back to the allocator.
const RETIRED_CHUNKS_MAX: usize = 64;

impl Tail {
    /// A tail that keeps about `bytes_max` bytes, and never less than two chunks.
    #[must_use]
    pub(crate) fn new(bytes_max: usize, chunk_bytes: usize) -> Self {
        Self {
            open: BytesMut::new(),
            chunks: VecDeque::new(),
            bytes: 0,
            retired: Vec::new(),
            chunk_bytes,
            bytes_max: bytes_max.max(2 * chunk_bytes),
            next_number: 0,
        }
    }

    /// True if `length` more bytes fit into the open chunk.
    #[must_use]
    pub(crate) fn has_room(&self, length: usize) -> bool {
        self.open.capacity() - self.open.len() >= length
    }

    /// Opens a chunk with room for at least `length` bytes.
    ///
    /// # Panics
    /// If the open chunk holds bytes that were not sealed.
    pub(crate) fn open_chunk(&mut self, length: usize) {
        assert!(
            self.open.is_empty(),
            "a chunk is sealed before the next is opened"
        );
        let wanted = length.max(self.chunk_bytes);
        self.open = self
            .reclaim(wanted)
            .unwrap_or_else(|| BytesMut::with_capacity(wanted));
        let capacity = self.open.capacity();
        // The split turns the buffer into shared memory; its empty front half is the keeper.
        let keeper = Keeper(self.open.split_to(0));
        self.chunks.push_back(Chunk {
            number: self.next_number,
            capacity,
            keeper,
        });
        self.next_number += 1;
        self.bytes += capacity;
    }

    fn reclaim(&mut self, wanted: usize) -> Option<BytesMut> {
        let place = self
            .retired
            .iter_mut()
            .position(|keeper| keeper.0.try_reclaim(wanted))?;
        Some(self.retired.swap_remove(place).0)
    }

    /// The open chunk, to be appended to within its room.
    pub(crate) fn open_mut(&mut self) -> &mut BytesMut {
        &mut self.open
    }

    /// Bytes appended since the last seal.
    #[must_use]
    pub(crate) fn unsealed(&self) -> usize {
        self.open.len()
    }

    /// Number of the open chunk, if one was ever opened.
    #[must_use]
    pub(crate) fn open_number(&self) -> Option<u64> {
        self.chunks.back().map(|chunk| chunk.number)
    }

    /// Takes what was appended since the last seal as shared bytes.
    pub(crate) fn seal(&mut self) -> Bytes {
        self.open.split().freeze()
    }

    /// The oldest chunk, if it must leave so that the ceiling holds; never the open one.
    #[must_use]
    pub(crate) fn surplus(&self) -> Option<u64> {
        if self.bytes <= self.bytes_max || self.chunks.len() < 2 {
            return None;
        }
        self.chunks.front().map(|chunk| chunk.number)
    }

    /// Lets the oldest chunk go. Partitions must have dropped their slices of it, or its memory
    /// stays until they do.
    pub(crate) fn retire_oldest(&mut self) {
        let Some(chunk) = self.chunks.pop_front() else {
            return;
        };
        self.bytes -= chunk.capacity;
        // Ordinary chunks are used again; one made for a huge batch goes back to the allocator.
        if chunk.capacity < 2 * self.chunk_bytes && self.retired.len() < RETIRED_CHUNKS_MAX {
            self.retired.push(chunk.keeper);
        }
    }

    /// Bytes of memory in the tail's chunks.
    #[must_use]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK_BYTES: usize = 1 << 20;

    #[test]
    fn a_retired_chunk_is_used_again_only_after_its_last_slice_is_gone() {
        let mut tail = Tail::new(0, CHUNK_BYTES);
        tail.open_chunk(1);
        tail.open_mut().extend_from_slice(b"first");
        let slice = tail.seal();
        tail.open_chunk(1);
        tail.open_chunk(1);
        assert_eq!(tail.surplus(), Some(0));
        tail.retire_oldest();
        assert_eq!(tail.retired.len(), 1);

        tail.open_chunk(1);
        assert_eq!(tail.retired.len(), 1, "the slice still holds the memory");
        assert_eq!(&slice[..], b"first");
        drop(slice);
        tail.open_chunk(1);
        assert_eq!(tail.retired.len(), 0, "the memory was won back");
        assert!(tail.has_room(CHUNK_BYTES));
    }

    #[test]
    fn a_batch_larger_than_a_chunk_gets_one_of_its_own() {
        let mut tail = Tail::new(0, CHUNK_BYTES);
        tail.open_chunk(3 * CHUNK_BYTES);
        assert!(tail.has_room(3 * CHUNK_BYTES));
        assert_eq!(tail.open_number(), Some(0));
    }
}
