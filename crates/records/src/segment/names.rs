//! Names of the files and folders of a log directory, as Kafka gives them.

use klamm_model::{Offset, PartitionIndex, TopicName};

/// Leader epochs with their first offsets, in each partition's folder.
pub const LEADER_EPOCH_FILE: &str = "leader-epoch-checkpoint";

/// A newer list of leader epochs while it is being flushed, before it takes the other's place.
pub const LEADER_EPOCH_FLUSHING_FILE: &str = "leader-epoch-checkpoint.flushing";

/// Ends the name of a segment's file that is about to be deleted, as in Kafka.
pub const REMOVED_SUFFIX: &str = ".deleted";

/// Ends the name of a file of a compacted segment that is not complete yet, as in Kafka.
pub const CLEANED_SUFFIX: &str = ".cleaned";

/// Ends the name of a compacted segment that is complete and takes the place of others.
pub const SWAP_SUFFIX: &str = ".swap";

/// Up to where each partition was compacted, in the log directory.
pub const CLEANED_OFFSETS_FILE: &str = "cleaner-offset-checkpoint";

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

/// True for the name of any file of a segment, complete or not, whose base offset lies before `end`.
#[must_use]
pub fn begins_before(name: &str, end: Offset) -> bool {
    let digits = name
        .get(..OFFSET_DIGITS)
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse().ok())
        .is_some_and(|base| Offset(base) < end)
}

/// `00000000000000000000-00000000000000000300.swap`: the batches of a compacted segment that takes
/// the place of every segment from its base up to an end.
#[must_use]
pub fn swap_file(base: Offset, end: Offset) -> String {
    format!(
        "{:0OFFSET_DIGITS$}-{:0OFFSET_DIGITS$}{SWAP_SUFFIX}",
        base.0, end.0
    )
}

/// The base offset and the end that a file name means; `None` if it is no compacted segment's.
#[must_use]
pub fn parse_swap_file(name: &str) -> Option<(Offset, Offset)> {
    let (base, end) = name.strip_suffix(SWAP_SUFFIX)?.split_once('-')?;
    let offset = |digits: &str| {
        let is_number = digits.len() == OFFSET_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| digits.parse().ok().map(Offset)).flatten()
    };
    let (base, end) = (offset(base)?, offset(end)?);
    (base < end).then_some((base, end))
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
