//! Claims about batches: golden bytes of the Java client, stamping, round trips, hostile bytes.

use bytes::Bytes;
use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{
    Compression, LeaderEpoch, Offset, OffsetDelta, ProducerEpoch, ProducerId, ProducerStamp,
    Sequence, Timestamp, TimestampType, WallTime,
};

use super::*;
use crate::checksum::crc32c;
use crate::compress::{Compressor, Scratch};
use crate::fields::{bytes_at, put, put_bytes};
use crate::testdata::*;

pub(super) fn verdict(batch: &[u8], options: &ValidateOptions) -> Result<Validated, InvalidBatch> {
    validate(batch, options, &mut Scratch::new())
}

/// Changes a field and puts the checksum right again.
pub(super) fn with(batch: &[u8], at: usize, field: &[u8]) -> Vec<u8> {
    let mut changed = batch.to_vec();
    put_bytes(&mut changed, at, field);
    mend(changed)
}

/// Puts length and checksum right.
pub(super) fn mend(mut batch: Vec<u8>) -> Vec<u8> {
    let length = i32::try_from(batch.len() - layout::LENGTH_COUNTS_FROM).expect("small");
    put(&mut batch, layout::LENGTH, &length.to_be_bytes());
    let checksum = crc32c(&batch[layout::CHECKSUM_COVERS_FROM..]);
    put(&mut batch, layout::CHECKSUM, &checksum.to_be_bytes());
    batch
}

#[test]
fn java_batches_of_every_codec_are_valid() {
    for (codec, batch) in JAVA {
        let validated = verdict(batch, &options()).expect("valid");
        let header = validated.header;
        assert_eq!(header.attributes.compression(), Some(codec));
        assert_eq!((header.record_count, header.last_offset_delta.0), (6, 5));
        assert_eq!(header.size, batch.len());
        assert_eq!(validated.max_timestamp, Timestamp(NOW + 70_000));
        assert_eq!(validated.max_timestamp_delta, OffsetDelta(4));
        assert_eq!(header.max_timestamp, validated.max_timestamp);
        assert_eq!(
            validated.records_bytes,
            JAVA_NONE.len() - BATCH_HEADER_BYTES
        );
        let stamp = ProducerStamp {
            id: ProducerId(4711),
            epoch: ProducerEpoch(3),
            base_sequence: Sequence(17),
        };
        assert_eq!(header.producer, Some(stamp));
    }
}

#[test]
fn java_batches_of_several_blocks_are_valid() {
    let mut scratch = Scratch::new();
    for (codec, batch) in BIG {
        let validated = validate(batch, &options(), &mut scratch).expect("valid");
        assert_eq!(validated.header.record_count, 300, "{codec:?}");
        assert_eq!(validated.max_timestamp_delta, OffsetDelta(299));
        assert!(validated.records_bytes > 3 * 64 * 1024);
    }
}

#[test]
fn java_records_are_read_as_they_were_written() {
    let expected_long: Vec<u8> = (0..3000).map(|at| (at % 251) as u8).collect();
    for (_, batch) in JAVA {
        let bytes = Bytes::from_static(batch);
        let found: Vec<Record> = records(&bytes, 1 << 20, &mut Scratch::new())
            .expect("whole")
            .map(|record| record.expect("well formed"))
            .collect();
        let offsets: Vec<i64> = found.iter().map(|record| record.offset.0).collect();
        assert_eq!(offsets, [0, 1, 2, 3, 4, 5]);
        let deltas: Vec<i64> = found
            .iter()
            .map(|record| record.timestamp.0 - NOW)
            .collect();
        assert_eq!(deltas, [0, 5, 3, 3, 70_000, 1]);
        let keys: Vec<Option<&[u8]>> = found.iter().map(|record| record.key.as_deref()).collect();
        let names: [Option<&[u8]>; 6] = [
            Some(b"key-0"),
            None,
            Some(b"tombstone"),
            None,
            Some(b""),
            Some(b"long"),
        ];
        assert_eq!(keys, names);
        assert_eq!(found[2].value, None);
        assert_eq!(found[4].value.as_deref(), Some(&b""[..]));
        assert_eq!(found[5].value.as_deref(), Some(&expected_long[..]));
        let headers: Vec<(&[u8], Option<&[u8]>)> = found[0]
            .headers
            .iter()
            .map(|header| (&header.key[..], header.value.as_deref()))
            .collect();
        let written: [(&[u8], Option<&[u8]>); 3] = [
            (b"trace", Some(&[1, 2, 3])),
            (b"empty", Some(b"")),
            (b"null", None),
        ];
        assert_eq!(headers, written);
    }
}

#[test]
fn the_builder_writes_the_very_bytes_of_javas_builder() {
    let bytes = Bytes::from_static(JAVA_NONE);
    let source = records(&bytes, 1 << 20, &mut Scratch::new()).expect("whole");
    let mut builder = BatchBuilder::new(BatchOptions {
        producer: source.header().producer,
        ..BatchOptions::default()
    });
    for record in source {
        let record = record.expect("well formed");
        builder.append(
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            &record.headers,
        );
    }
    assert_eq!(builder.size_uncompressed(), JAVA_NONE.len());
    assert_eq!(builder.build().expect("small"), JAVA_NONE);
}

#[test]
fn a_batch_is_equal_after_any_codec_and_back() {
    let mut scratch = Scratch::new();
    for codec in Compression::ALL {
        for level in [None, Some(1), Some(9)] {
            let packed = recompress(
                JAVA_NONE,
                Compressor { codec, level },
                1 << 20,
                &mut scratch,
            )
            .expect("whole");
            validate(&packed, &options(), &mut scratch).expect("valid");
            let plain = recompress(&packed, Compression::None.into(), 1 << 20, &mut scratch)
                .expect("whole");
            assert_eq!(plain, JAVA_NONE, "{codec:?} {level:?}");
        }
    }
}

#[test]
fn a_control_batch_is_read_but_not_produced() {
    let header = verify(JAVA_CONTROL).expect("whole");
    assert!(header.attributes.is_control() && header.attributes.is_transactional());
    assert_eq!(
        (header.base_offset, header.leader_epoch),
        (Offset(40), LeaderEpoch(2))
    );
    let produced = with(JAVA_CONTROL, layout::BASE_OFFSET, &0_i64.to_be_bytes());
    let refused = verdict(&produced, &options()).expect_err("A21: control batch from a client");
    assert_eq!(refused, InvalidBatch::Invalid(InvalidReason::Control));
}

#[test]
fn a_transactional_batch_needs_a_producer() {
    let validated = verdict(JAVA_TRANSACTIONAL, &options()).expect("valid");
    assert!(validated.header.attributes.is_transactional());
    let anonymous = with(
        JAVA_TRANSACTIONAL,
        layout::PRODUCER_ID,
        &(-1_i64).to_be_bytes(),
    );
    let refused = verdict(&anonymous, &options()).expect_err("refused");
    let reason = InvalidReason::TransactionWithoutProducer;
    assert_eq!(refused, InvalidBatch::Invalid(reason));
}

#[test]
fn a_record_without_a_timestamp_is_valid() {
    let validated = verdict(JAVA_NO_TIMESTAMP, &options()).expect("valid");
    assert_eq!(validated.max_timestamp, Timestamp::NONE);
    assert_eq!(validated.max_timestamp_delta, OffsetDelta(0));
}

#[test]
fn a_producer_must_not_claim_log_append_time() {
    let mut claimed = JAVA_NONE.to_vec();
    stamp_log_append_time(&mut claimed, WallTime(NOW));
    for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
        let options = ValidateOptions {
            timestamp_type,
            ..options()
        };
        let refused = verdict(&claimed, &options).expect_err("refused");
        assert!(matches!(refused, InvalidBatch::Timestamp(_)), "{refused:?}");
        assert_eq!(refused.record_errors().len(), 6);
    }
}

#[test]
fn record_errors_are_counted_beyond_those_kept() {
    let batch = batch_of(BatchOptions::default(), 500, 1);
    let options = ValidateOptions {
        now: WallTime(0),
        timestamp_after_ms_max: 0,
        ..options()
    };
    let refused = verdict(&batch, &options).expect_err("refused");
    assert_eq!(refused.record_errors().len(), RECORD_ERRORS_KEPT_MAX);
    let InvalidBatch::Timestamp(InvalidReason::Records { count, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(count, 500);
}

#[test]
fn stamping_leaves_the_checksum_valid() {
    let mut batch = JAVA_LZ4.to_vec();
    stamp(&mut batch, Offset(1 << 40), LeaderEpoch(77));
    let header = verify(&batch).expect("valid");
    assert_eq!(
        (header.base_offset, header.leader_epoch),
        (Offset(1 << 40), LeaderEpoch(77))
    );
    assert_eq!(header.last_offset(), Offset((1 << 40) + 5));
    stamp(&mut batch, Offset::ZERO, LeaderEpoch(-1));
    assert_eq!(batch, JAVA_LZ4, "nothing else was written");
}

#[test]
fn log_append_time_covers_every_record() {
    let options = ValidateOptions {
        timestamp_type: TimestampType::LogAppendTime,
        // Records outside of the window do not matter when their time is replaced.
        timestamp_after_ms_max: 0,
        now: WallTime(NOW + 5),
        ..options()
    };
    for (_, golden) in JAVA {
        let mut batch = golden.to_vec();
        let mut validated = verdict(&batch, &options).expect("valid");
        let kind = TimestampType::LogAppendTime;
        stamp_validated(&mut batch, &mut validated, kind, options.now);
        assert_eq!(verify(&batch), Ok(validated.header));
        let bytes = Bytes::from(batch);
        for record in records(&bytes, 1 << 20, &mut Scratch::new()).expect("whole") {
            assert_eq!(record.expect("well formed").timestamp, Timestamp(NOW + 5));
        }
    }
}

#[test]
fn a_false_largest_timestamp_is_put_right_as_kafka_does() {
    for (_, golden) in JAVA {
        let mut batch = with(golden, layout::MAX_TIMESTAMP, &i64::MAX.to_be_bytes());
        let mut validated = verdict(&batch, &options()).expect("valid");
        assert_eq!(validated.max_timestamp, Timestamp(NOW + 70_000));
        stamp_validated(
            &mut batch,
            &mut validated,
            TimestampType::CreateTime,
            WallTime(NOW),
        );
        assert_eq!(batch, golden);
        assert_eq!(verify(&batch), Ok(validated.header));
    }
}

#[test]
fn batches_of_a_run_are_stepped_over_until_the_torn_one() {
    let run = [JAVA_NONE, JAVA_ZSTD, &JAVA_LZ4[..40]].concat();
    let steps: Vec<Result<usize, BatchError>> = batches(&run)
        .map(|step| step.map(|(_, bytes)| bytes.len()))
        .collect();
    let torn = BatchError::Incomplete {
        needed: JAVA_LZ4.len(),
        found: 40,
    };
    assert_eq!(steps, [Ok(JAVA_NONE.len()), Ok(JAVA_ZSTD.len()), Err(torn)]);
}

#[test]
fn a_record_over_many_chunks_is_walked() {
    let mut scratch = Scratch::new();
    for codec in Compression::ALL {
        for value_bytes in [65_520, 65_536, 131_072, 400_000] {
            let options_of = BatchOptions {
                compressor: codec.into(),
                ..BatchOptions::default()
            };
            let batch = batch_of(options_of, 5, value_bytes);
            let large = ValidateOptions {
                batch_bytes_max: 8 << 20,
                ..options()
            };
            let validated = validate(&batch, &large, &mut scratch).expect("valid");
            assert!(validated.records_bytes > 5 * value_bytes, "{codec:?}");
        }
    }
}

#[test]
fn hostile_bytes_never_panic() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let goldens: Vec<&[u8]> = JAVA
        .iter()
        .chain(&BIG[..])
        .map(|(_, batch)| *batch)
        .collect();
    for golden in &goldens {
        for _ in 0..if golden.len() < 4000 { 1500 } else { 150 } {
            let mut bytes = golden.to_vec();
            random.mutate(&mut bytes);
            fuzz_batch(&bytes);
        }
    }
    for length in 0..200 {
        let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        fuzz_batch(&bytes);
    }
}

#[test]
fn the_canary_dies_so_the_fuzz_function_reaches_valid_batches() {
    // The fuzz function asserts on accepted batches only. If mutation never left one valid, it
    // would check nothing.
    let mut random = Random(99);
    let mut accepted = 0;
    for _ in 0..2000 {
        let mut bytes = JAVA_NONE.to_vec();
        let at = 200 + random.below(2500);
        bytes[at] ^= 1;
        accepted += usize::from(verdict(&mend(bytes), &options()).is_ok());
    }
    assert!(accepted > 1000, "{accepted}");
    let length = i32::from_be_bytes(bytes_at(JAVA_NONE, layout::LENGTH));
    assert_eq!(
        length as usize + layout::LENGTH_COUNTS_FROM,
        JAVA_NONE.len()
    );
}
