//! Names of the files and folders of a log directory, as Kafka gives them.

use klamm_model::{Offset, PartitionIndex, TopicName};

/// Leader epochs with their first offsets, in each partition's folder.
pub const LEADER_EPOCH_FILE: &str = "leader-epoch-checkpoint";

/// A newer list of leader epochs while it is being flushed, before it takes the other's place.
pub const LEADER_EPOCH_FLUSHING_FILE: &str = "leader-epoch-checkpoint.flushing";

/// Ends the name of a segment's file that is about to be deleted, as in Kafka.
pub const REMOVED_SUFFIX: &str = ".deleted";

/// Topic id of the partition's folder.
pub const PARTITION_METADATA_FILE: &str = "partition.metadata";

/// Identity of the log directory.
pub const META_PROPERTIES_FILE: &str = "meta.properties";

/// klamm's checkpoint in the log directory.
pub const CHECKPOINT_FILE: &str = "klamm.checkpoint";

/// Digits of a base offset in a file name.
const OFFSET_DIGITS: usize = 20;

/// The files of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentFile {
    /// The batches.
    Log,
    /// Sparse index from offset to position.
    OffsetIndex,
    /// Sparse index from timestamp to offset.
    TimeIndex,
}

impl SegmentFile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Log, Self::OffsetIndex, Self::TimeIndex];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::OffsetIndex => ".index",
            Self::TimeIndex => ".timeindex",
        }
    }
}

/// `00000000000000000042.log` and its like.
#[must_use]
pub fn segment_file(base_offset: Offset, file: SegmentFile) -> String {
    format!("{:0OFFSET_DIGITS$}{}", base_offset.0, file.suffix())
}

/// The base offset and kind that a file name means; `None` if it is no segment's.
#[must_use]
pub fn parse_segment_file(name: &str) -> Option<(Offset, SegmentFile)> {
    let digits = name.get(..OFFSET_DIGITS)?;
    let suffix = name.get(OFFSET_DIGITS..)?;
    let file = SegmentFile::ALL
        .into_iter()
        .find(|file| file.suffix() == suffix)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((Offset(digits.parse().ok()?), file))
}

/// `orders-3`: the folder of a partition.
#[must_use]
pub fn partition_folder(topic: &TopicName, index: PartitionIndex) -> String {
    format!("{topic}-{index}")
}

/// The partition that a folder's name means; `None` if it is none's.
#[must_use]
pub fn parse_partition_folder(name: &str) -> Option<(TopicName, PartitionIndex)> {
    let (topic, index) = name.rsplit_once('-')?;
    if !index.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((
        TopicName::new(topic).ok()?,
        PartitionIndex(index.parse().ok()?),
    ))
}
