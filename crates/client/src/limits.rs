//! Every ceiling of this room: what one client may hold at most.

/// Requests in flight and responses unread on one connection.
pub const IN_FLIGHT_MAX: usize = 64;

/// Rows of an ApiVersions answer that are kept; Kafka 4.3 has 90.
pub const API_KEYS_MAX: usize = 512;

/// Largest response in bytes, unless the caller says otherwise. A Fetch answer may pass
/// `fetch.max.bytes` (50 MiB) by one batch.
pub const RESPONSE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Bytes to which one fetched batch may decompress.
pub const BATCH_DECOMPRESSED_MAX: usize = 256 * 1024 * 1024;

/// Fetched bytes, compressed, that wait for the reader; no Fetch is sent above it.
pub const FETCHED_BYTES_MAX: usize = 64 * 1024 * 1024;
