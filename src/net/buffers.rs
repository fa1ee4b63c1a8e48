//! Receive buffers of one core, used again. A connection holds one only while a part of a frame
//! lies in it.

use std::cell::RefCell;

use bytes::BytesMut;

/// Bytes of a fresh buffer.
const FRESH_BYTES: usize = 64 * 1024;

/// Least room worth a read.
const ROOM_MIN: usize = 4 * 1024;

/// A frame's buffer grows at most by this factor of what has arrived.
const GROWTH: usize = 4;

/// Buffers kept for later; more are given back to the allocator.
const KEPT_MAX: usize = 64;

/// Largest buffer kept.
const KEPT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The buffers that no connection holds.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    free: RefCell<Vec<BytesMut>>,
}

impl BufferPool {
    /// An empty buffer with room for a read.
    pub(crate) fn take(&self) -> BytesMut {
        let mut buffer = self.free.borrow_mut().pop().unwrap_or_default();
        if buffer.capacity() < ROOM_MIN {
            // Takes the old memory again if no frame refers to it any more.
            buffer.reserve(FRESH_BYTES);
        }
        buffer
    }

    /// Takes a buffer back; it is empty.
    pub(crate) fn give(&self, buffer: BytesMut) {
        assert!(
            buffer.is_empty(),
            "a buffer comes back without bytes of a frame"
        );
        let mut free = self.free.borrow_mut();
        if free.len() < KEPT_MAX && buffer.capacity() <= KEPT_BYTES_MAX {
            free.push(buffer);
        }
    }
}

/// Makes room for more bytes of a frame of which `wanted` bytes are still to come. What a peer
/// claims never reserves more than a few times of what it sent.
pub(crate) fn make_room(buffer: &mut BytesMut, wanted: usize) {
    let room = buffer.capacity() - buffer.len();
    if room >= wanted.clamp(1, ROOM_MIN) {
        return;
    }
    let growth = FRESH_BYTES.max(buffer.len().saturating_mul(GROWTH - 1));
    buffer.reserve(wanted.clamp(ROOM_MIN, growth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_size_reserves_little_until_bytes_arrive() {
        let mut buffer = BytesMut::new();
        buffer.extend_from_slice(&[0; 8]);
        make_room(&mut buffer, 100 * 1024 * 1024);
        assert!(
            buffer.capacity() <= 2 * FRESH_BYTES,
            "{}",
            buffer.capacity()
        );
        let arrived = buffer.capacity();
        buffer.resize(arrived, 0);
        make_room(&mut buffer, 100 * 1024 * 1024);
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
        make_room(&mut buffer, 10);
        assert_eq!(buffer.capacity(), capacity);
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
