//! Sizes that are fixed in a real node and small in a simulated one, so that a short history meets
//! every boundary: chunk, portion, segment.

use klamm_model::TopicConfig;

use crate::storage::BLOCK_BYTES;

/// Sizes by which the engine divides its work. Production uses [`Scale::default`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Bytes of an ordinary chunk of the tail. A batch that does not fit gets a chunk of its own.
    pub chunk_bytes: usize,
    /// Batches for a spill are handed out in portions of about this many bytes.
    pub spill_bytes: usize,
    /// A partition whose memory holds this much that is not in its segments is spilled.
    pub spill_backlog_bytes: usize,
    /// Batches of at least this many bytes are placed, as far as sectors go, as they will lie in their
    /// segment, so that they can be written there without a copy.
    pub aligned_batch_bytes: usize,
    /// Ceiling over `segment.bytes`, which itself cannot be set below 1 MiB.
    pub segment_bytes_max: u32,
    /// What a segment takes of the disk besides its batches: blocks that are not full, indexes, and
    /// what its folder holds.
    pub segment_overhead_bytes: u64,
    /// Bytes of a segment that compaction reads in one step, unless a batch needs more.
    pub compaction_window_bytes: usize,
    /// Replayed entries of the metadata log stay in memory until they are this large together, or
    /// as large as the image that replaces them.
    pub metadata_entries_bytes: usize,
}

impl Default for Scale {
    fn default() -> Self {
        Self {
            chunk_bytes: 1 << 20,
            spill_bytes: 4 << 20,
            spill_backlog_bytes: 1 << 20,
            aligned_batch_bytes: 8 << 10,
            segment_bytes_max: u32::MAX,
            segment_overhead_bytes: 32 << 10,
            // With the block in which it begins, a huge page of memory that is used again and again.
            compaction_window_bytes: (2 << 20) - BLOCK_BYTES,
            metadata_entries_bytes: 1 << 20,
        }
    }
}

impl Scale {
    /// The configuration with segments no larger than the ceiling.
    #[must_use]
    pub(crate) fn bounded(&self, mut config: TopicConfig) -> TopicConfig {
        config.segment_bytes = config.segment_bytes.min(self.segment_bytes_max);
        config
    }
}
