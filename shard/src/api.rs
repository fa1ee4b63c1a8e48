//! The words that the front speaks with a shard, re-exported: plain calls and replies, and the
//! read-only image. The front learns no other type of the rooms below.

pub use klamm_engine::api::{
    ActiveProducer, AppendCall, AppendError, AppendOutcome, AppendPartition, Appended,
    CoordinateError, CoordinateOutcome, EpochEnd, EpochOutcome, EpochQuestion, LogSize, MoveFiles,
    OffsetFound, OffsetOutcome, OffsetPosition, OffsetQuestion, QuorumFacts, ReadCall, ReadError,
    ReadOutcome, ReadPartition, ReadPositions, SharedImage, TrimError, TrimOutcome, TrimPartition,
    TrimTo,
};
pub use klamm_engine::boot::{BASE_CHECKPOINT, BootError, Finding, TAKEOVER_MARK};
pub use klamm_engine::compaction::CompactionOptions;
pub use klamm_engine::engine::{EngineGauges, EngineStats};
pub use klamm_engine::placement::FolderNumber;
pub use klamm_engine::space::reserve_of;
pub use klamm_engine::{
    GroupGauges, GroupOptions, GroupReport, LagOptions, PartitionGauges, Traffic,
};
pub use klamm_engine::{batch, coord, metadata, replica};

/// What says whose a data folder is.
pub mod segment {
    pub use klamm_records::segment::{DirectoryId, META_PROPERTIES_FILE, MetaProperties};

    /// Whether a folder's name is that of a partition.
    #[must_use]
    pub fn is_partition_folder(name: &str) -> bool {
        klamm_records::segment::parse_partition_folder(name).is_some()
    }
}
