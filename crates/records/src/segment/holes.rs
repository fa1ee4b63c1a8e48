//! Holes that Apache Kafka's cleaner leaves between batches. Here offsets of a segment follow on
//! each other, and a hole means a loss: in a log that is taken over, batches without records fill
//! them, as our own compaction has it.

use klamm_model::{LeaderEpoch, Offset};

use super::recover::SegmentFault;
use crate::batch;

/// Offsets that one batch can name.
const BATCH_OFFSETS_MAX: i64 = 1 << 31;

/// A segment whose holes are filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// The segment; `None` if it has no hole, and is right as it is.
    pub bytes: Option<Vec<u8>>,
    /// How many offsets the holes had.
    pub offsets: u64,
    /// Leader epoch of its last batch, or of the one before the segment if it has none.
    pub leader_epoch: LeaderEpoch,
}

/// Fills the holes of a segment that begins with offset `base`, up to the next one's, if there is
/// one. Every checksum is proved. `leader_epoch` is that of the last batch before it.
///
/// # Errors
/// Where, from the segment's first byte, and why the bytes are no batches in order.
pub fn fill_holes(
    segment: &[u8],
    base: Offset,
    next: Option<Offset>,
    leader_epoch: LeaderEpoch,
) -> Result<Filled, (usize, SegmentFault)> {
    let mut filled = Filled {
        bytes: None,
        offsets: 0,
        leader_epoch,
    };
    let (mut at, mut end) = (0, base);
    while at < segment.len() {
        let header = batch::verify(&segment[at..]);
        let header = header.map_err(|error| (at, SegmentFault::Batch(error)))?;
        if header.base_offset < end {
            let fault = SegmentFault::Offset {
                least: end,
                found: header.base_offset,
            };
            return Err((at, fault));
        }
        filled.leader_epoch = header.leader_epoch;
        fill(&mut filled, &segment[..at], end..header.base_offset);
        if let Some(bytes) = &mut filled.bytes {
            bytes.extend_from_slice(&segment[at..at + header.size]);
        }
        at += header.size;
        end = header.end_offset();
    }
    if let Some(next) = next {
        fill(&mut filled, segment, end..next);
    }
    Ok(filled)
}

/// Writes what stands for a hole behind `before`, which is written first if it is the first one.
fn fill(filled: &mut Filled, before: &[u8], hole: std::ops::Range<Offset>) {
    let mut from = hole.start;
    while from < hole.end {
        let end = hole
            .end
            .min(Offset(from.0.saturating_add(BATCH_OFFSETS_MAX)));
        let bytes = filled.bytes.get_or_insert_with(|| before.to_vec());
        let last = Offset(end.0 - 1);
        bytes.extend_from_slice(&batch::without_records(from, last, filled.leader_epoch));
        filled.offsets += end.0.abs_diff(from.0);
        from = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, BatchOptions};
    use crate::segment::{SegmentEnd, Succession, recover};
    use klamm_model::Timestamp;

    fn one(base: i64, records: usize, epoch: i32) -> Vec<u8> {
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: Offset(base),
            leader_epoch: LeaderEpoch(epoch),
            ..BatchOptions::default()
        });
        for _ in 0..records {
            builder.append(Timestamp(7), Some(b"key"), Some(b"value"), &[]);
        }
        builder.build().expect("small")
    }

    #[test]
    fn holes_are_filled_and_everything_else_stays_byte_by_byte() {
        let kept = [one(12, 2, 1), one(20, 1, 1), one(21, 3, 4)];
        let segment = kept.concat();
        let filled = fill_holes(&segment, Offset(10), Some(Offset(30)), LeaderEpoch(0));
        let filled = filled.expect("sound");
        assert_eq!((filled.offsets, filled.leader_epoch), (14, LeaderEpoch(4)));
        let bytes = filled.bytes.expect("holes");
        for batch in &kept {
            assert!(bytes.windows(batch.len()).any(|part| part == batch));
        }
        let mut found = Vec::new();
        let mut succession = Succession::from_start(Offset(10));
        let end = recover(
            &bytes,
            0,
            Offset(10),
            &mut succession,
            bytes.len(),
            |_, header| {
                found.push((
                    header.base_offset.0,
                    header.end_offset().0,
                    header.record_count,
                ));
            },
        );
        assert_eq!(end, SegmentEnd::Whole { bytes: bytes.len() });
        let expected = [
            (10, 12, 0),
            (12, 14, 2),
            (14, 20, 0),
            (20, 21, 1),
            (21, 24, 3),
            (24, 30, 0),
        ];
        assert_eq!(found, expected);
        let again = fill_holes(&bytes, Offset(10), Some(Offset(30)), LeaderEpoch(0));
        assert_eq!(again.expect("sound").bytes, None);
    }

    #[test]
    fn a_hole_wider_than_a_batch_can_name_takes_several() {
        let wide = Offset(3 << 31);
        let filled = fill_holes(&[], Offset(0), Some(wide), LeaderEpoch(2)).expect("sound");
        let bytes = filled.bytes.expect("a hole");
        let ends: Vec<_> = batch::batches(&bytes)
            .map(|batch| batch.expect("sound").0.end_offset())
            .collect();
        assert_eq!(ends, [Offset(1 << 31), Offset(2 << 31), wide]);
    }

    #[test]
    fn damage_and_offsets_that_fall_are_named_with_their_place() {
        let good = one(0, 2, 1);
        let mut torn = [good.clone(), one(2, 1, 1)].concat();
        let last = torn.len() - 1;
        torn[last] ^= 1;
        let error = fill_holes(&torn, Offset(0), None, LeaderEpoch(0)).expect_err("damaged");
        assert_eq!(error.0, good.len());
        let falling = [good.clone(), one(1, 1, 1)].concat();
        let error = fill_holes(&falling, Offset(0), None, LeaderEpoch(0)).expect_err("falling");
        assert!(matches!(error, (at, SegmentFault::Offset { .. }) if at == good.len()));
    }
}
