//! The abuse list for produced batches, claim by claim: what a client may send, and the only answer
//! it gets.

use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{Compression, WallTime};

use super::tests::{mend, verdict, with};
use super::*;
use crate::compress::{Compressor, DecompressError, Scratch};
use crate::fields::put;
use crate::testdata::*;
use crate::varint::{put_i32, put_i64};

/// A batch with one hand-made record section, compressed by `codec`.
fn raw(codec: Compression, count: i32, section: &[u8]) -> Vec<u8> {
    let options = BatchOptions {
        compressor: codec.into(),
        ..BatchOptions::default()
    };
    let head = batch_of(options, 1, 1);
    let mut batch = head[..BATCH_HEADER_BYTES].to_vec();
    put(&mut batch, layout::RECORD_COUNT, &count.to_be_bytes());
    put(
        &mut batch,
        layout::LAST_OFFSET_DELTA,
        &(count - 1).to_be_bytes(),
    );
    batch.extend_from_slice(&Compressor::from(codec).compress(section));
    mend(batch)
}

/// A record's bytes with its parts open to change.
struct RawRecord {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Vec<u8>,
    tail: Vec<u8>,
    length_off_by: i32,
}

impl Default for RawRecord {
    fn default() -> Self {
        Self {
            timestamp_delta: 0,
            offset_delta: 0,
            // length 1, "k"
            key: vec![2, b'k'],
            // value of length 1, no headers
            tail: vec![2, b'v', 0],
            length_off_by: 0,
        }
    }
}

impl RawRecord {
    fn bytes(&self) -> Vec<u8> {
        let mut body = vec![0];
        put_i64(&mut body, self.timestamp_delta);
        put_i32(&mut body, self.offset_delta);
        body.extend_from_slice(&self.key);
        body.extend_from_slice(&self.tail);
        let mut record = Vec::new();
        put_i32(&mut record, body.len() as i32 + self.length_off_by);
        record.extend_from_slice(&body);
        record
    }
}

/// The same refusal is expected whatever the codec: nothing hides behind compression.
fn check_section(count: i32, section: &[u8], expected: &InvalidReason) {
    for codec in Compression::ALL {
        let refused = verdict(&raw(codec, count, section), &options()).expect_err("refused");
        assert_eq!(
            refused,
            InvalidBatch::Invalid(expected.clone()),
            "{codec:?}"
        );
    }
}

fn fault(fault: RecordFault) -> InvalidReason {
    InvalidReason::Record { index: 0, fault }
}

#[test]
fn a18_a_bad_checksum_is_corrupt_wherever_it_strikes() {
    for at in 17..JAVA_NONE.len() {
        let mut batch = JAVA_NONE.to_vec();
        batch[at] ^= 0x10;
        let refused = verdict(&batch, &options()).expect_err("refused");
        assert!(
            matches!(
                refused,
                InvalidBatch::Corrupt(InvalidReason::Batch(BatchError::Checksum { .. }))
            ),
            "{at}: {refused:?}"
        );
    }
}

#[test]
fn a18_a_length_below_the_head_or_beyond_the_bytes_is_corrupt() {
    for length in [i32::MIN, -1, 0, 48, JAVA_NONE.len() as i32, i32::MAX] {
        let mut batch = JAVA_NONE.to_vec();
        put(&mut batch, layout::LENGTH, &length.to_be_bytes());
        let refused = verdict(&batch, &options()).expect_err("refused");
        assert!(
            matches!(refused, InvalidBatch::Corrupt(_)),
            "{length}: {refused:?}"
        );
    }
    for end in 1..JAVA_NONE.len() {
        let refused = verdict(&JAVA_NONE[..end], &options()).expect_err("truncated");
        assert!(
            matches!(refused, InvalidBatch::Corrupt(_)),
            "{end}: {refused:?}"
        );
    }
}

#[test]
fn a19_anything_but_one_batch_is_an_invalid_record() {
    let refused = verdict(b"", &options()).expect_err("no batch");
    assert_eq!(refused, InvalidBatch::Invalid(InvalidReason::Empty));
    let twice = [JAVA_NONE, JAVA_NONE].concat();
    let count = JAVA_NONE.len();
    let refused = verdict(&twice, &options()).expect_err("two batches");
    assert_eq!(
        refused,
        InvalidBatch::Invalid(InvalidReason::BytesAfter { count })
    );
    for magic in [0, 1] {
        let mut old = JAVA_NONE.to_vec();
        old[layout::MAGIC] = magic;
        let refused = verdict(&old, &options()).expect_err("old format");
        assert!(matches!(refused, InvalidBatch::Invalid(_)), "{refused:?}");
    }
    let mut garbage = JAVA_NONE.to_vec();
    garbage[layout::MAGIC] = 77;
    let refused = verdict(&garbage, &options()).expect_err("no format");
    assert!(matches!(refused, InvalidBatch::Corrupt(_)), "{refused:?}");
}

#[test]
fn a_produced_batch_starts_at_offset_zero() {
    for found in [1, -1, i64::MAX, i64::MIN] {
        let batch = with(JAVA_NONE, layout::BASE_OFFSET, &found.to_be_bytes());
        let refused = verdict(&batch, &options()).expect_err("refused");
        assert_eq!(
            refused,
            InvalidBatch::Invalid(InvalidReason::BaseOffset { found })
        );
    }
}

#[test]
fn a20_count_and_last_offset_delta_must_agree() {
    for (count, delta) in [
        (0, -1),
        (-1, -2),
        (6, 6),
        (7, 5),
        (i32::MIN, i32::MAX),
        (0, 0),
    ] {
        let batch = with(JAVA_NONE, layout::RECORD_COUNT, &i32::to_be_bytes(count));
        let batch = with(&batch, layout::LAST_OFFSET_DELTA, &i32::to_be_bytes(delta));
        let reason = InvalidReason::Count {
            count,
            last_offset_delta: delta,
        };
        let refused = verdict(&batch, &options()).expect_err("refused");
        assert_eq!(refused, InvalidBatch::Invalid(reason));
    }
}

#[test]
fn a20_a_false_count_is_found_by_the_walk() {
    for (_, batch) in JAVA {
        let more = with(batch, layout::RECORD_COUNT, &7_i32.to_be_bytes());
        let more = with(&more, layout::LAST_OFFSET_DELTA, &6_i32.to_be_bytes());
        let reason = InvalidReason::Record {
            index: 6,
            fault: RecordFault::Short,
        };
        assert_eq!(
            verdict(&more, &options()),
            Err(InvalidBatch::Invalid(reason))
        );
        let fewer = with(batch, layout::RECORD_COUNT, &5_i32.to_be_bytes());
        let fewer = with(&fewer, layout::LAST_OFFSET_DELTA, &4_i32.to_be_bytes());
        let reason = InvalidReason::RecordsAfterLast;
        assert_eq!(
            verdict(&fewer, &options()),
            Err(InvalidBatch::Invalid(reason))
        );
    }
}

#[test]
fn a20_a_count_of_two_billion_costs_nothing() {
    let batch = with(JAVA_ZSTD, layout::RECORD_COUNT, &i32::MAX.to_be_bytes());
    let batch = with(
        &batch,
        layout::LAST_OFFSET_DELTA,
        &(i32::MAX - 1).to_be_bytes(),
    );
    let refused = verdict(&batch, &options()).expect_err("refused");
    assert!(matches!(
        refused,
        InvalidBatch::Invalid(InvalidReason::Record { index: 6, .. })
    ));
}

#[test]
fn a20_record_lengths_beyond_the_batch_are_refused() {
    let short = |length_off_by| {
        RawRecord {
            length_off_by,
            ..RawRecord::default()
        }
        .bytes()
    };
    check_section(1, &short(1), &fault(RecordFault::Short));
    check_section(1, &short(i32::MAX - 100), &fault(RecordFault::Short));
    check_section(1, &short(-1000), &fault(RecordFault::Length));
    check_section(1, &short(-1), &fault(RecordFault::Short));
    let mut leftover = RawRecord::default();
    leftover.tail.push(0);
    check_section(1, &leftover.bytes(), &fault(RecordFault::Leftover));
    check_section(1, &[0xff; 5], &fault(RecordFault::Varint));
    check_section(1, &[0x80, 0x80], &fault(RecordFault::Short));
    let after = [RawRecord::default().bytes(), vec![0]].concat();
    check_section(1, &after, &InvalidReason::RecordsAfterLast);
}

#[test]
fn a20_key_and_header_lengths_beyond_the_record_are_refused() {
    let key = |key: &[u8]| {
        RawRecord {
            key: key.to_vec(),
            ..RawRecord::default()
        }
        .bytes()
    };
    let tail = |tail: &[u8]| {
        RawRecord {
            tail: tail.to_vec(),
            ..RawRecord::default()
        }
        .bytes()
    };
    // A key of i32::MAX bytes, of one byte too many, and a varint that never ends.
    check_section(
        1,
        &key(&[0xfe, 0xff, 0xff, 0xff, 0x0f]),
        &fault(RecordFault::Short),
    );
    check_section(1, &key(&[20, b'k']), &fault(RecordFault::Short));
    check_section(1, &key(&[0xff; 6]), &fault(RecordFault::Varint));
    // Two billion headers, a negative count, a negative key length, a missing header.
    let many = [2, b'v', 0xfe, 0xff, 0xff, 0xff, 0x0f];
    check_section(1, &tail(&many), &fault(RecordFault::HeaderCount));
    check_section(1, &tail(&[2, b'v', 1]), &fault(RecordFault::HeaderCount));
    check_section(
        1,
        &tail(&[2, b'v', 2, 1, 1]),
        &fault(RecordFault::HeaderKey),
    );
    check_section(
        1,
        &tail(&[2, b'v', 4, 2, b'h', 1]),
        &fault(RecordFault::Short),
    );
}

#[test]
fn a20_offset_deltas_count_up_from_zero() {
    let record = |offset_delta| {
        RawRecord {
            offset_delta,
            ..RawRecord::default()
        }
        .bytes()
    };
    for (deltas, index, found) in [
        ([0, 2], 1, 2),
        ([1, 1], 0, 1),
        ([0, 0], 1, 0),
        ([0, -1], 1, -1),
    ] {
        let section: Vec<u8> = deltas.iter().flat_map(|&delta| record(delta)).collect();
        let kind = RecordErrorKind::OffsetDelta { found };
        let reason = InvalidReason::Records {
            errors: vec![RecordError { index, kind }],
            count: 1,
        };
        check_section(2, &section, &reason);
    }
}

#[test]
fn a22_a_producer_id_needs_epoch_and_sequence() {
    for (at, field) in [
        (layout::BASE_SEQUENCE, &(-1_i32).to_be_bytes()[..]),
        (layout::BASE_SEQUENCE, &i32::MIN.to_be_bytes()),
        (layout::PRODUCER_EPOCH, &(-1_i16).to_be_bytes()),
    ] {
        let refused = verdict(&with(JAVA_NONE, at, field), &options()).expect_err("refused");
        assert!(
            matches!(
                refused,
                InvalidBatch::Invalid(InvalidReason::Producer { id: 4711, .. })
            ),
            "{refused:?}"
        );
    }
}

#[test]
fn a23_an_unknown_codec_is_unsupported() {
    for bits in 5..8 {
        let batch = with(JAVA_NONE, layout::ATTRIBUTES, &i16::to_be_bytes(bits));
        let refused = verdict(&batch, &options()).expect_err("refused");
        assert_eq!(
            refused,
            InvalidBatch::Compression(InvalidReason::Codec { bits })
        );
    }
}

#[test]
fn a23_zstd_is_unsupported_in_requests_that_do_not_know_it() {
    let old = ValidateOptions {
        zstd_known: false,
        ..options()
    };
    let refused = verdict(JAVA_ZSTD, &old).expect_err("refused");
    assert_eq!(
        refused,
        InvalidBatch::Compression(InvalidReason::ZstdUnknown)
    );
    verdict(JAVA_LZ4, &old).expect("every other codec is known");
}

#[test]
fn a24_a_bomb_is_stopped_at_the_budget_without_being_held() {
    let limit = DECOMPRESSED_BYTES_FLOOR;
    let mut section = Vec::new();
    let value = limit as i32 + 1;
    let mut body = vec![0, 0, 0, 1];
    put_i32(&mut body, value);
    put_i32(&mut section, body.len() as i32 + value + 1);
    section.extend_from_slice(&body);
    section.resize(section.len() + value as usize + 1, 0);
    let options = ValidateOptions {
        batch_bytes_max: 600_000,
        ..options()
    };
    for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let bomb = raw(codec, 1, &section);
        assert!(bomb.len() < 600_000, "{codec:?} {}", bomb.len());
        let mut scratch = Scratch::new();
        let refused = validate(&bomb, &options, &mut scratch).expect_err("refused");
        let reason = InvalidReason::Decompress(DecompressError::TooLarge { limit });
        assert_eq!(refused, InvalidBatch::TooLarge(reason), "{codec:?}");
        assert!(
            scratch.held_bytes() <= 1 << 20,
            "{codec:?} holds {}",
            scratch.held_bytes()
        );
    }
}

#[test]
fn a24_a_truncated_or_garbled_stream_is_refused_at_every_byte() {
    let mut scratch = Scratch::new();
    for (codec, batch) in JAVA.into_iter().skip(1) {
        for end in BATCH_HEADER_BYTES..batch.len() {
            let refused = validate(&mend(batch[..end].to_vec()), &options(), &mut scratch)
                .expect_err("truncated");
            let known = matches!(
                refused,
                InvalidBatch::Corrupt(InvalidReason::Decompress(_))
                    | InvalidBatch::Invalid(InvalidReason::Record { .. })
            );
            assert!(known, "{codec:?} {end}: {refused:?}");
        }
        // The context is as good as new after every failure.
        validate(batch, &options(), &mut scratch).expect("valid");
    }
}

#[test]
fn a24_a_gzip_copy_from_before_the_stream_is_corrupt() {
    // A decoder that takes it stores what no consumer can read, and may copy from the window of
    // the batch before. So the context is used for another batch first.
    let mut scratch = Scratch::new();
    validate(BIG_GZIP, &options(), &mut scratch).expect("valid");
    for scratch in [&mut Scratch::new(), &mut scratch] {
        let refused = validate(GZIP_DISTANCE_TOO_FAR, &options(), scratch).expect_err("refused");
        assert!(matches!(refused, InvalidBatch::Corrupt(_)), "{refused:?}");
    }
}

#[test]
fn a25_a_batch_beyond_max_message_bytes_is_too_large() {
    let size = JAVA_NONE.len();
    let fits = ValidateOptions {
        batch_bytes_max: size,
        ..options()
    };
    verdict(JAVA_NONE, &fits).expect("exactly as large as allowed");
    let small = ValidateOptions {
        batch_bytes_max: size - 1,
        ..options()
    };
    let reason = InvalidReason::BatchBytes {
        size,
        max: size - 1,
    };
    assert_eq!(
        verdict(JAVA_NONE, &small),
        Err(InvalidBatch::TooLarge(reason))
    );
}

#[test]
fn a26_a_compacted_topic_refuses_records_without_a_key() {
    let compacted = ValidateOptions {
        compacted: true,
        ..options()
    };
    for (_, batch) in JAVA {
        let refused = verdict(batch, &compacted).expect_err("refused");
        let kind = RecordErrorKind::KeyMissing;
        let errors = [
            RecordError { index: 1, kind },
            RecordError { index: 3, kind },
        ];
        assert_eq!(refused.record_errors(), errors);
        assert!(matches!(refused, InvalidBatch::Invalid(_)), "{refused:?}");
    }
}

#[test]
fn a27_timestamps_outside_of_the_window_are_refused() {
    // The golden batch spans NOW to NOW + 70,000.
    let check = |now: i64, before: i64, after: i64, expected: &[i32]| {
        let options = ValidateOptions {
            now: WallTime(now),
            timestamp_before_ms_max: before,
            timestamp_after_ms_max: after,
            ..options()
        };
        for (_, batch) in JAVA {
            let found: Vec<i32> = match verdict(batch, &options) {
                Ok(_) => Vec::new(),
                Err(refused) => {
                    assert!(matches!(refused, InvalidBatch::Timestamp(_)), "{refused:?}");
                    refused
                        .record_errors()
                        .iter()
                        .map(|error| error.index)
                        .collect()
                }
            };
            assert_eq!(found, expected, "now {now} before {before} after {after}");
        }
    };
    check(NOW, 0, 70_000, &[]);
    check(NOW, 0, 69_999, &[4]);
    check(NOW, 0, 0, &[1, 2, 3, 4, 5]);
    check(NOW + 70_000, 70_000, 0, &[]);
    check(NOW + 70_000, 69_998, 0, &[0, 5]);
    check(NOW, i64::MAX, i64::MAX, &[]);
    check(i64::MAX, i64::MAX, i64::MAX, &[]);
}

#[test]
fn a27_negative_timestamps_other_than_none_are_refused() {
    for (delta, allowed) in [
        (-NOW, true),
        (-NOW - 1, true),
        (-NOW - 2, false),
        (i64::MIN, false),
    ] {
        let section = RawRecord {
            timestamp_delta: delta,
            ..RawRecord::default()
        }
        .bytes();
        let batch = raw(Compression::None, 1, &section);
        match verdict(&batch, &options()) {
            Ok(_) => assert!(allowed, "{delta}"),
            Err(refused) => {
                assert!(
                    !allowed && matches!(refused, InvalidBatch::Timestamp(_)),
                    "{delta}"
                );
            }
        }
    }
}
