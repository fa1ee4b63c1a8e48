//! Faults that are planted on purpose, to prove that the checks find them. They live in the fake
//! world's drivers and disk, so that no production code knows of them.

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A flush of the write-ahead log does nothing and is reported as done.
    FlushSkipped,
    /// A flush is reported before it is done.
    FlushReportedEarly,
    /// A flush of the write-ahead log that failed is tried again, and its success believed. Needs a
    /// disk that fails.
    GoesOnAfterFailedFlush,
    /// Recovery takes half-written batches for whole ones.
    TornTailAccepted,
    /// The last batch of a full segment is left to the next one, which does not have it.
    SegmentBoundaryMoved,
    /// Entries of the offset index point one byte too far, but for the last of a portion.
    IndexOffByOne,
    /// A portion is reported as written to its segment before it is.
    SpillReportedEarly,
    /// New names of segments are never made durable.
    FolderFlushSkipped,
    /// A checkpoint is reported as saved before it is.
    CheckpointReportedEarly,
    /// A cold read leaves out one batch.
    ColdReadSkipsBatch,
    /// A folder's list of leader epochs stays as it was when the folder was made.
    LeaderEpochsForgotten,
    /// Small files of a partition are put in place without being flushed.
    SmallFileFlushSkipped,
    /// A write to a segment or a small file for which there was no room is taken for done. Needs a
    /// disk that fills.
    WantOfRoomIgnored,
    /// The whole disk is told to be free, however full it is. Needs a disk that fills.
    FreeSpaceOverstated,
    /// Compaction takes a later record of a key for granted that is not there. Needs compaction.
    CompactionForgetsRecord,
    /// Compacted segments are put in their places without making the steps durable. Needs
    /// compaction.
    SwapNotFlushed,
    /// Compacted segments are not flushed before they are put in their places. Needs compaction.
    CompactedNotFlushed,
}

impl Plant {
    /// Every fault that can be planted.
    pub const ALL: [Self; 17] = [
        Self::FlushSkipped,
        Self::FlushReportedEarly,
        Self::GoesOnAfterFailedFlush,
        Self::TornTailAccepted,
        Self::SegmentBoundaryMoved,
        Self::IndexOffByOne,
        Self::SpillReportedEarly,
        Self::FolderFlushSkipped,
        Self::CheckpointReportedEarly,
        Self::ColdReadSkipsBatch,
        Self::LeaderEpochsForgotten,
        Self::SmallFileFlushSkipped,
        Self::WantOfRoomIgnored,
        Self::FreeSpaceOverstated,
        Self::CompactionForgetsRecord,
        Self::SwapNotFlushed,
        Self::CompactedNotFlushed,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FlushSkipped => "flush-skipped",
            Self::FlushReportedEarly => "flush-reported-early",
            Self::GoesOnAfterFailedFlush => "goes-on-after-failed-flush",
            Self::TornTailAccepted => "torn-tail-accepted",
            Self::SegmentBoundaryMoved => "segment-boundary-moved",
            Self::IndexOffByOne => "index-off-by-one",
            Self::SpillReportedEarly => "spill-reported-early",
            Self::FolderFlushSkipped => "folder-flush-skipped",
            Self::CheckpointReportedEarly => "checkpoint-reported-early",
            Self::ColdReadSkipsBatch => "cold-read-skips-batch",
            Self::LeaderEpochsForgotten => "leader-epochs-forgotten",
            Self::SmallFileFlushSkipped => "small-file-flush-skipped",
            Self::WantOfRoomIgnored => "want-of-room-ignored",
            Self::FreeSpaceOverstated => "free-space-overstated",
            Self::CompactionForgetsRecord => "compaction-forgets-record",
            Self::SwapNotFlushed => "swap-not-flushed",
            Self::CompactedNotFlushed => "compacted-not-flushed",
        }
    }

    /// The fault with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plant| plant.name() == name)
    }
}
