//! Segments of a partition's log as Apache Kafka lays them out, so that its tools read them: the
//! `.log` file is nothing but batches, `.index` and `.timeindex` are sparse. Also the small files
//! beside them, and klamm's own checkpoint.

mod agreement;
mod checkpoint;
mod fuzz;
mod holes;
mod index;
mod names;
mod recover;
mod succession;
mod texts;

pub use agreement::{Agreement, Disagreement, Place};
pub use checkpoint::{
    Checkpoint, CheckpointError, PartitionCheckpoint, ProducerBatch, ProducerCheckpoint,
    ShardCheckpoint,
};
pub use fuzz::{fuzz_checkpoint, fuzz_segment};
pub use holes::{Filled, fill_holes};
pub use index::{
    IndexBuilder, IndexEntries, IndexFault, Landings, OFFSET_ENTRY_BYTES, OffsetEntry,
    OffsetOutOfRange, TIME_ENTRY_BYTES, TimeEntry, check_offset_index, check_time_index,
    last_offset_entry, last_time_entry, offset_entries, offset_lookup, relative_offset,
    time_entries, time_lookup,
};
pub use names::{
    CHECKPOINT_FILE, CLEANED_OFFSETS_FILE, CLEANED_SUFFIX, LEADER_EPOCH_FILE,
    LEADER_EPOCH_FLUSHING_FILE, META_PROPERTIES_FILE, PARTITION_METADATA_FILE, REMOVED_SUFFIX,
    SWAP_SUFFIX, SegmentFile, begins_before, parse_partition_folder, parse_segment_file,
    parse_swap_file, partition_folder, segment_file, swap_file,
};
pub use recover::{RebuiltIndexes, SegmentEnd, SegmentFault, rebuild_indexes, recover};
pub use succession::Succession;
pub use texts::{
    DirectoryId, EpochStart, FolderInUse, FoldersInUse, MetaProperties, PartitionOffsets,
    TextError, format_folders_in_use, format_leader_epochs, format_partition_metadata,
    format_partition_offsets, parse_folders_in_use, parse_leader_epochs, parse_partition_metadata,
    parse_partition_offsets,
};

#[cfg(test)]
mod tests;
