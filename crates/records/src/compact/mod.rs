//! Compaction of a log to the latest record of each key, on bytes: which offset each key has last
//! ([`OffsetMap`]), and batches rewritten by that ([`Filter`]). Reads no file and no clock.
//!
//! Offsets of a compacted segment have no holes: where batches were removed, one batch without
//! records stands for all of them. So a hole still means that something was lost, here as anywhere.

mod filter;
mod hash;
mod map;

pub use filter::{Filter, FilterError, FilterStats, Rules};
pub use hash::{HashKey, KeyHash, hash_of};
pub use map::{OffsetMap, SLOT_BYTES};
