//! What the leader writes into a batch that it appends. Offset and epoch lie outside the
//! checksum; timestamps do not, so changing them recomputes it.

use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{Attributes, LeaderEpoch, Offset, Timestamp, TimestampType, WallTime};

use super::layout;
use super::validate::Validated;
use crate::checksum::crc32c;
use crate::fields::{i16_at, put};

/// Sets base offset and leader epoch of a whole batch. The checksum stays valid.
///
/// # Panics
/// If `batch` is shorter than a batch's head.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    assert!(batch.len() >= BATCH_HEADER_BYTES, "a batch has a head");
    put(batch, layout::BASE_OFFSET, &base_offset.0.to_be_bytes());
    put(batch, layout::LEADER_EPOCH, &leader_epoch.0.to_be_bytes());
}

/// Turns the batch into one of [`TimestampType::LogAppendTime`] at `now`: every record then has
/// that time, whatever its own field says. Recomputes the checksum.
///
/// # Panics
/// If `batch` is shorter than a batch's head.
pub fn stamp_log_append_time(batch: &mut [u8], now: WallTime) {
    stamp_timestamps(batch, TimestampType::LogAppendTime, Timestamp(now.0));
}

/// Sets the largest timestamp of a batch of [`TimestampType::CreateTime`], and recomputes the
/// checksum: the broker's own count replaces what the producer claimed.
///
/// # Panics
/// If `batch` is shorter than a batch's head.
pub fn stamp_max_timestamp(batch: &mut [u8], max_timestamp: Timestamp) {
    stamp_timestamps(batch, TimestampType::CreateTime, max_timestamp);
}

/// Does for a validated batch what Kafka's leader does before the append: log-append time where
/// the topic asks for it, otherwise the largest timestamp that was found, if the head claims
/// another. `validated` is changed alike, so that its header is again that of the bytes.
///
/// # Panics
/// If `batch` is not the batch that was validated.
pub fn stamp_validated(
    batch: &mut [u8],
    validated: &mut Validated,
    timestamp_type: TimestampType,
    now: WallTime,
) {
    assert_eq!(batch.len(), validated.header.size, "the validated batch");
    match timestamp_type {
        TimestampType::LogAppendTime => {
            stamp_log_append_time(batch, now);
            validated.max_timestamp = Timestamp(now.0);
            validated.max_timestamp_delta = validated.header.last_offset_delta;
        }
        TimestampType::CreateTime => {
            if validated.header.max_timestamp == validated.max_timestamp {
                return;
            }
            stamp_max_timestamp(batch, validated.max_timestamp);
        }
    }
    validated.header.max_timestamp = validated.max_timestamp;
    validated.header.attributes = validated
        .header
        .attributes
        .with_timestamp_type(timestamp_type);
    validated.header.checksum = crate::fields::u32_at(batch, layout::CHECKSUM);
}

fn stamp_timestamps(batch: &mut [u8], kind: TimestampType, max_timestamp: Timestamp) {
    assert!(batch.len() >= BATCH_HEADER_BYTES, "a batch has a head");
    let attributes = Attributes(i16_at(batch, layout::ATTRIBUTES)).with_timestamp_type(kind);
    put(batch, layout::ATTRIBUTES, &attributes.0.to_be_bytes());
    put(batch, layout::MAX_TIMESTAMP, &max_timestamp.0.to_be_bytes());
    let checksum = crc32c(&batch[layout::CHECKSUM_COVERS_FROM..]);
    put(batch, layout::CHECKSUM, &checksum.to_be_bytes());
}
