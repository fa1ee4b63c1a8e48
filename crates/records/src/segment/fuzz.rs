//! Fuzz functions for segments and their neighbours: any bytes, no panic, and what is accepted is
//! consistent.

use klamm_model::{Offset, Timestamp};

use super::{
    Checkpoint, MetaProperties, SegmentEnd, check_offset_index, check_time_index, offset_lookup,
    parse_leader_epochs, parse_partition_metadata, parse_segment_file, rebuild_indexes, recover,
    time_lookup,
};

/// Recovers `data` as a segment, and looks things up in it as if it were indexes.
///
/// # Panics
/// If a rebuilt index does not pass its own check.
pub fn fuzz_segment(data: &[u8]) {
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
    if let Ok(checkpoint) = Checkpoint::decode(data) {
        assert_eq!(checkpoint.encode(), data, "decode is the inverse of encode");
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = parse_leader_epochs(text);
        let _ = parse_partition_metadata(text);
        let _ = MetaProperties::parse(text);
        let _ = parse_segment_file(text);
    }
}
