//! Fuzz functions for segments and their neighbours: any bytes, no panic, and what is accepted is
//! consistent.

use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{Offset, Timestamp};

use super::{
    Checkpoint, MetaProperties, SegmentEnd, check_offset_index, check_time_index, offset_lookup,
    parse_leader_epochs, parse_partition_metadata, parse_segment_file, rebuild_indexes, recover,
    time_lookup,
};
use crate::batch::layout::CHECKSUM;
use crate::batch::{mend_batch, size_of};
use crate::checksum::crc32c;

/// Recovers `data` as a segment, as it is and with the checksums of its batches put right, and
/// looks things up in it as if it were indexes.
///
/// # Panics
/// If a rebuilt index does not pass its own check.
pub fn fuzz_segment(data: &[u8]) {
    check_segment(data);
    let mut mended = data.to_vec();
    let mut rest = &mut mended[..];
    while rest.len() >= BATCH_HEADER_BYTES {
        let size = size_of(rest).unwrap_or(rest.len()).min(rest.len());
        let (batch, behind) = rest.split_at_mut(size);
        // One in 256 stays bad.
        if batch[CHECKSUM] != 0xff {
            mend_batch(batch);
        }
        rest = behind;
    }
    check_segment(&mended);
}

fn check_segment(data: &[u8]) {
    let base = Offset::ZERO;
    let rebuilt = rebuild_indexes(data, base, 64);
    let bytes = match rebuilt.end {
        SegmentEnd::Whole { bytes } => bytes,
        SegmentEnd::Torn { at, .. } => at,
        SegmentEnd::Damage { .. } => unreachable!("nothing was known to be durable"),
    };
    assert!(bytes <= data.len(), "recovery stays inside the segment");
    check_offset_index(&rebuilt.offset_index, base, bytes).expect("a rebuilt index is in order");
    let mut at = 0;
    while at < data.len() {
        let end = recover(&data[at..], at, base, base, data.len(), |_, _| {});
        let SegmentEnd::Damage { from, to, .. } = end else {
            break;
        };
        assert!(
            from < to && at < to && to <= data.len(),
            "damage has a range and moves on"
        );
        at = to;
    }
    let _ = offset_lookup(data, base, Offset(1000));
    let _ = time_lookup(data, base, Timestamp(1000));
    let _ = check_offset_index(data, base, data.len());
    let _ = check_time_index(data, base, Offset(1000));
}

/// Reads `data` as every small file.
///
/// # Panics
/// If an accepted checkpoint does not encode to the same bytes.
pub fn fuzz_checkpoint(data: &[u8]) {
    check_checkpoint(data);
    if let Some(body) = data.get(16..) {
        let checksum = crc32c(body).to_be_bytes();
        check_checkpoint(&[&data[..12], &checksum, body].concat());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = parse_leader_epochs(text);
        let _ = parse_partition_metadata(text);
        let _ = MetaProperties::parse(text);
        let _ = parse_segment_file(text);
    }
}

fn check_checkpoint(data: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::decode(data) {
        assert_eq!(checkpoint.encode(), data, "decode is the inverse of encode");
    }
}
