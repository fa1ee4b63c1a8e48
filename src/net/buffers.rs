//! Receive buffers of one core, used again. A connection holds one only while a part of a frame
//! lies in it.

use std::cell::{Cell, RefCell};

use bytes::BytesMut;
use klamm_wire::frame::SIZE_PREFIX;

/// Bytes of a fresh buffer.
const FRESH_BYTES: usize = 64 * 1024;

/// Least room worth a read.
const ROOM_MIN: usize = 4 * 1024;

/// A frame that lacks this much is waited for as a whole, as far as its buffer goes.
pub(crate) const LARGE_BYTES: usize = 64 * 1024;

/// A frame of at least this many bytes is read apart from the next one.
const APART_BYTES: usize = 32 * 1024;

/// A frame's buffer grows at most by this factor of what has arrived.
const GROWTH: usize = 4;

/// Buffers kept for later; more are given back to the allocator. A first touch of fresh memory
/// costs more than everything else that is done with a byte, so large ones are kept, too.
const KEPT_MAX: usize = 64;

/// Largest buffer kept.
const KEPT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The buffers that no connection holds.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    free: RefCell<Vec<BytesMut>>,
    /// Bytes of frames that had to move to have room.
    moved_bytes: Cell<u64>,
}

impl BufferPool {
    /// An empty buffer with room for a read.
    pub(crate) fn take(&self) -> BytesMut {
        self.take_with(ROOM_MIN)
            .unwrap_or_else(|| BytesMut::with_capacity(FRESH_BYTES))
    }

    /// An empty buffer with this much room, if one is at hand: the one given back last.
    fn take_with(&self, room: usize) -> Option<BytesMut> {
        let mut free = self.free.borrow_mut();
        // Wins the whole memory back if no frame refers to it any more.
        let place = free
            .iter_mut()
            .rposition(|buffer| buffer.try_reclaim(room))?;
        let mut buffer = free.remove(place);
        begin_at_front(&mut buffer);
        Some(buffer)
    }

    /// Takes a buffer back; it is empty.
    pub(crate) fn give(&self, mut buffer: BytesMut) {
        assert!(
            buffer.is_empty(),
            "a buffer comes back without bytes of a frame"
        );
        let mut free = self.free.borrow_mut();
        if free.len() < KEPT_MAX && !buffer.try_reclaim(KEPT_BYTES_MAX + 1) {
            free.push(buffer);
        }
    }

    /// Makes room for more bytes of a frame of which `wanted` bytes are still to come, 0 if that is
    /// not known yet: for all of them if this buffer, or a free one, is large enough. Otherwise what
    /// a peer claims never reserves more than a few times of what it sent.
    pub(crate) fn make_room(&self, buffer: &mut BytesMut, wanted: usize) {
        if buffer.len() <= SIZE_PREFIX {
            begin_at_front(buffer);
        }
        let room = buffer.capacity() - buffer.len();
        if room >= wanted.max(1) || buffer.try_reclaim(wanted.max(ROOM_MIN)) {
            return;
        }
        if wanted >= APART_BYTES
            && let Some(mut larger) = self.take_with(buffer.len() + wanted)
        {
            larger.extend_from_slice(buffer);
            self.count_moved(buffer.len());
            buffer.clear();
            self.give(std::mem::replace(buffer, larger));
            return;
        }
        if room < wanted.clamp(1, ROOM_MIN) {
            let growth = FRESH_BYTES.max(buffer.len().saturating_mul(GROWTH - 1));
            let place = buffer.as_ptr();
            buffer.reserve(wanted.clamp(ROOM_MIN, growth));
            if place != buffer.as_ptr() {
                self.count_moved(buffer.len());
            }
        }
    }

    fn count_moved(&self, bytes: usize) {
        self.moved_bytes.set(self.moved_bytes.get() + bytes as u64);
    }

    /// Bytes of frames that were copied because their buffer had no room for the rest.
    pub(crate) fn moved_bytes(&self) -> u64 {
        self.moved_bytes.get()
    }
}

/// How many bytes to read behind `arrived` ones of a frame that lacks `wanted` more, 0 if that is not
/// known yet. A large frame is read alone, but for the size of the next one: that one begins at the
/// front of a buffer then, and nothing of it has to be moved to make room for the rest.
pub(crate) const fn bytes_to_read(arrived: usize, wanted: usize) -> usize {
    if wanted > 0 && arrived + wanted >= APART_BYTES {
        wanted + SIZE_PREFIX
    } else {
        usize::MAX
    }
}

/// Moves what is in the buffer to the front of its memory, if no frame lies in that any more: all of
/// it can be used then, and the next frame lies where the processor's caches know the last one.
fn begin_at_front(buffer: &mut BytesMut) {
    let more_than_is_left = buffer.capacity() - buffer.len() + 1;
    // False where it began there already, or a frame is in the way.
    let _ = buffer.try_reclaim(more_than_is_left);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_size_reserves_little_until_bytes_arrive() {
        let pool = BufferPool::default();
        let mut buffer = BytesMut::new();
        buffer.extend_from_slice(&[0; 8]);
        pool.make_room(&mut buffer, 100 * 1024 * 1024);
        assert!(
            buffer.capacity() <= 2 * FRESH_BYTES,
            "{}",
            buffer.capacity()
        );
        let arrived = buffer.capacity();
        buffer.resize(arrived, 0);
        pool.make_room(&mut buffer, 100 * 1024 * 1024);
        assert!(buffer.capacity() > arrived);
        assert!(
            buffer.capacity() <= 2 * GROWTH * arrived,
            "{}",
            buffer.capacity()
        );
    }

    #[test]
    fn the_last_bytes_of_a_frame_get_no_more_room_than_they_need() {
        let mut buffer = BytesMut::with_capacity(100);
        buffer.resize(90, 0);
        let capacity = buffer.capacity();
        BufferPool::default().make_room(&mut buffer, 10);
        assert_eq!(buffer.capacity(), capacity);
    }

    #[test]
    fn a_large_frame_gets_a_large_buffer_that_was_used_before_at_once() {
        let pool = BufferPool::default();
        let mut used = BytesMut::with_capacity(1024 * 1024);
        let memory = used.as_ptr();
        used.resize(1024 * 1024, 7);
        drop(used.split().freeze());
        pool.give(used);
        let mut buffer = BytesMut::from(&b"begin"[..]);
        pool.make_room(&mut buffer, 1024 * 1024 - 5);
        assert_eq!(buffer.as_ptr(), memory);
        assert_eq!(
            (&buffer[..], buffer.capacity()),
            (&b"begin"[..], 1024 * 1024)
        );
        assert_eq!(pool.moved_bytes(), 5, "what was there is copied");
    }

    #[test]
    fn a_large_frame_begins_at_the_front_of_a_buffer_and_is_read_alone() {
        const FRAME: usize = 100_000;
        let pool = BufferPool::default();
        let mut buffer = BytesMut::with_capacity(FRAME + FRAME / 2);
        let memory = buffer.as_ptr();
        for _ in 0..100 {
            // The size of the next one came along with the last one.
            buffer.extend_from_slice(&[0; SIZE_PREFIX]);
            pool.make_room(&mut buffer, FRAME - SIZE_PREFIX);
            let most = bytes_to_read(buffer.len(), FRAME - SIZE_PREFIX);
            assert_eq!((buffer.as_ptr(), most), (memory, FRAME));
            buffer.resize(FRAME, 7);
            drop(buffer.split().freeze());
        }
        assert_eq!(bytes_to_read(SIZE_PREFIX, APART_BYTES / 2), usize::MAX);
        assert_eq!(bytes_to_read(0, 0), usize::MAX);
    }

    #[test]
    fn a_buffer_whose_frames_are_done_is_used_again_without_new_memory() {
        let pool = BufferPool::default();
        let mut buffer = pool.take();
        let start = buffer.as_ptr();
        for _ in 0..100 {
            buffer.resize(buffer.capacity().min(1000), 1);
            drop(buffer.split().freeze());
            pool.give(buffer);
            buffer = pool.take();
            assert!(buffer.capacity() >= ROOM_MIN);
        }
        let distance = (buffer.as_ptr() as usize).abs_diff(start as usize);
        assert!(distance <= FRESH_BYTES, "moved by {distance}");
    }
}
