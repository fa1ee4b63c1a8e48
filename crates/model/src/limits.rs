//! Every ceiling that more than one room respects. A queue, loop, map or buffer without a line
//! here, or in its own room's limits, is a bug.

/// Longest legal topic name in bytes.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Fixed part of a record batch of format 2 in bytes, base offset included.
pub const BATCH_HEADER_BYTES: usize = 61;

/// Largest number of batches that an idempotent producer may have in flight (KIP-98).
pub const PRODUCER_BATCHES_REMEMBERED: usize = 5;

/// Largest number of partitions that one CreateTopics request may ask for in all.
pub const CREATE_PARTITIONS_MAX: usize = 100_000;

/// Largest number of topics that one CreateTopics or DeleteTopics request may name.
pub const ADMIN_TOPICS_MAX: usize = 100_000;

/// Largest total of bytes that one Fetch response may carry, whatever the client asks for.
pub const FETCH_RESPONSE_BYTES_MAX: usize = 55 * 1024 * 1024;

/// Largest number of partitions that one Fetch request may name, those that it forgets included:
/// twice what a fetch session may hold.
pub const FETCH_PARTITIONS_MAX: usize = 200_000;

/// Longest time that a Fetch may be parked.
pub const FETCH_WAIT_MS_MAX: u64 = 600_000;

const _: () = assert!(PRODUCER_BATCHES_REMEMBERED == 5);
const _: () = assert!(BATCH_HEADER_BYTES == 61);
