//! What the file says about groups and about the topic that keeps them.

use klamm_model::Compression;

use super::reader::Reader;

/// Groups, as the file configures them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`.
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_ms_max: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`.
    pub members_max: i32,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_bytes_max: i32,
    /// `offsets.retention.minutes`.
    pub offsets_retention_minutes: i32,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_ms: u64,
    /// `offsets.topic.num.partitions`.
    pub topic_partitions: i32,
    /// `offsets.topic.segment.bytes`.
    pub topic_segment_bytes: i32,
    /// `offsets.topic.compression.codec`.
    pub topic_codec: Compression,
}

/// Reads the keys of groups.
pub(super) fn read_groups(reader: &mut Reader<'_>) -> GroupSettings {
    let codec_key = "offsets.topic.compression.codec";
    let codec: i32 = reader.number(codec_key);
    let topic_codec = Compression::ALL
        .into_iter()
        .find(|known| i32::from(known.number()) == codec);
    if topic_codec.is_none() {
        reader.refuse(
            codec_key,
            format!("no codec has the number {codec}"),
            "use 0 (none), 1 (gzip), 2 (snappy), 3 (lz4) or 4 (zstd)".to_owned(),
        );
    }
    GroupSettings {
        session_timeout_ms_min: reader.number("group.min.session.timeout.ms"),
        session_timeout_ms_max: reader.number("group.max.session.timeout.ms"),
        initial_rebalance_delay_ms: reader.number("group.initial.rebalance.delay.ms"),
        members_max: reader.number("group.max.size"),
        offset_metadata_bytes_max: reader.number("offset.metadata.max.bytes"),
        offsets_retention_minutes: reader.number("offsets.retention.minutes"),
        offsets_retention_check_ms: reader.number("offsets.retention.check.interval.ms"),
        topic_partitions: reader.number("offsets.topic.num.partitions"),
        topic_segment_bytes: reader.number("offsets.topic.segment.bytes"),
        topic_codec: topic_codec.unwrap_or(Compression::None),
    }
}
