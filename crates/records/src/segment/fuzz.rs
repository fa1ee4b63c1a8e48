//! Fuzz functions for segments and their neighbours: any bytes, no panic, and what is accepted is
//! consistent.

use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{BatchHeader, Offset, Timestamp};

use super::{
    Checkpoint, MetaProperties, RebuiltIndexes, SegmentEnd, Succession, check_offset_index,
    check_time_index, offset_lookup, parse_leader_epochs, parse_partition_metadata,
    parse_segment_file, rebuild_indexes, recover, time_lookup,
};
use crate::batch::layout::CHECKSUM;
use crate::batch::{mend_batch, size_of};
use crate::checksum::crc32c;

/// Recovers `data` as a segment, as it is and with the checksums of its batches put right, and
/// looks things up in it as if it were indexes.
///
/// # Panics
/// If a rebuilt index does not pass its own check, or leads past what is searched.
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
    let batches = check_damage(data, base);
    let whole = batches.partition_point(|(position, _)| *position < bytes);
    check_indexes(&rebuilt, base, bytes, &batches[..whole]);
    let _ = offset_lookup(data, base, Offset(1000));
    let _ = time_lookup(data, base, Timestamp(1000));
    let _ = check_offset_index(data, base, data.len());
    let _ = check_time_index(data, base, Offset(1000));
}

/// Recovers as if every byte had been durable; gives the batches with their positions.
fn check_damage(data: &[u8], base: Offset) -> Vec<(usize, BatchHeader)> {
    let mut batches = Vec::new();
    let mut at = 0;
    let mut succession = Succession::from_start(base);
    while at < data.len() {
        let end = recover(
            &data[at..],
            at,
            base,
            &mut succession,
            data.len(),
            |position, header| {
                batches.push((position, *header));
            },
        );
        let SegmentEnd::Damage { from, to, .. } = end else {
            break;
        };
        assert!(
            from < to && at < to && to <= data.len(),
            "damage has a range and moves on"
        );
        at = to;
    }
    batches
}

/// No lookup in rebuilt indexes leads past what it is asked for.
fn check_indexes(
    rebuilt: &RebuiltIndexes,
    base: Offset,
    bytes: usize,
    batches: &[(usize, BatchHeader)],
) {
    let recovered = batches.last().map_or(0, |(at, header)| at + header.size);
    assert_eq!(
        recovered, bytes,
        "the batches before the first fault are there"
    );
    let end = batches.last().map_or(base, |(_, last)| last.end_offset());
    let (offsets, times) = (&rebuilt.offset_index, &rebuilt.time_index);
    check_offset_index(offsets, base, bytes).expect("a rebuilt index is in order");
    check_time_index(times, base, end).expect("a rebuilt index is in order");
    for (position, header) in batches {
        for target in [header.base_offset, header.last_offset()] {
            if let Some(entry) = offset_lookup(offsets, base, target) {
                assert!(
                    entry.position as usize <= *position,
                    "an offset is not before where its search begins"
                );
            }
        }
        let target = header.max_timestamp;
        let late = |batch: &&(usize, BatchHeader)| batch.1.max_timestamp >= target;
        let (_, first) = batches.iter().find(late).expect("this one at least");
        if let Some(entry) = time_lookup(times, base, target) {
            assert!(
                first.last_offset() >= entry.offset,
                "a time is not before where its search begins"
            );
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchOptions;
    use crate::testdata::batch_of;

    /// Checks the indexes of a valid segment after `spoil` has been at them.
    fn check_spoilt(spoil: impl Fn(&mut RebuiltIndexes)) {
        let segment: Vec<u8> = (0..6)
            .flat_map(|number| {
                let options = BatchOptions {
                    base_offset: Offset(number * 2),
                    ..BatchOptions::default()
                };
                batch_of(options, 2, 30)
            })
            .collect();
        let mut rebuilt = rebuild_indexes(&segment, Offset::ZERO, 64);
        let batches = check_damage(&segment, Offset::ZERO);
        assert_eq!(batches.len(), 6);
        spoil(&mut rebuilt);
        check_indexes(&rebuilt, Offset::ZERO, segment.len(), &batches);
    }

    #[test]
    fn the_indexes_of_a_valid_segment_pass() {
        check_spoilt(|_| {});
    }

    #[test]
    #[should_panic(expected = "an offset is not before where its search begins")]
    fn canary_an_offset_index_that_runs_ahead_is_caught() {
        // Every entry names the batch behind its own.
        check_spoilt(|rebuilt| {
            let positions: Vec<Vec<u8>> = rebuilt
                .offset_index
                .chunks(8)
                .map(|at| at[4..].to_vec())
                .collect();
            for (entry, position) in rebuilt.offset_index.chunks_mut(8).zip(&positions[1..]) {
                entry[4..].copy_from_slice(position);
            }
            let kept = rebuilt.offset_index.len() - 8;
            rebuilt.offset_index.truncate(kept);
        });
    }

    #[test]
    #[should_panic(expected = "a time is not before where its search begins")]
    fn canary_a_time_index_that_runs_ahead_is_caught() {
        check_spoilt(|rebuilt| {
            let last = rebuilt.time_index.len() - 4;
            let later = rebuilt.time_index[last..].to_vec();
            rebuilt.time_index.truncate(12);
            rebuilt.time_index[8..].copy_from_slice(&later);
        });
    }
}
