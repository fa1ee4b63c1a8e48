//! Fuzz functions for batches: any bytes, no panic, and what validation accepts can be read.

use bytes::Bytes;
use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{TimestampType, WallTime};

use super::{ValidateOptions, batches, records, validate};
use crate::compress::Scratch;
use crate::fields::put;

/// Output limit that a fuzz run can afford.
const LIMIT: usize = 1024 * 1024;

/// Validates `data` as it is and once more with length and checksum put right, so that the walk
/// is reached; reads the records of whatever was accepted.
///
/// # Panics
/// If an accepted batch cannot be read back with the same number of records.
pub fn fuzz_batch(data: &[u8]) {
    check(data);
    if data.len() >= BATCH_HEADER_BYTES {
        let mut mended = data.to_vec();
        let length = (data.len() - 12) as i32;
        put(&mut mended, 8, &length.to_be_bytes());
        mended[16] = 2;
        let checksum = crate::checksum::crc32c(&mended[21..]);
        put(&mut mended, 17, &checksum.to_be_bytes());
        check(&mended);
    }
}

fn check(data: &[u8]) {
    let mut scratch = Scratch::new();
    let options = ValidateOptions {
        batch_bytes_max: LIMIT,
        compacted: false,
        timestamp_type: TimestampType::LogAppendTime,
        timestamp_before_ms_max: i64::MAX,
        timestamp_after_ms_max: i64::MAX,
        now: WallTime(1_700_000_000_000),
        zstd_known: true,
    };
    let steps = batches(data).count();
    assert!(
        steps <= data.len() / BATCH_HEADER_BYTES + 1,
        "a step needs a head"
    );
    let bytes = Bytes::copy_from_slice(data);
    let read = records(&bytes, LIMIT, &mut scratch)
        .ok()
        .map(|records| records.take_while(Result::is_ok).count());
    if let Ok(validated) = validate(data, &options, &mut scratch) {
        assert_eq!(validated.header.size, data.len(), "exactly one batch");
        if validated.records_bytes <= LIMIT {
            let count = usize::try_from(validated.header.record_count).ok();
            assert_eq!(read, count, "every record of a valid batch can be read");
        }
    }
}
