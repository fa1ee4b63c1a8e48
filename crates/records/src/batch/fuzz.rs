//! Fuzz functions for batches: any bytes, no panic, and what validation accepts can be read.

use bytes::Bytes;
use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{Compression, TimestampType, WallTime};

use super::{InvalidBatch, ValidateOptions, Validated, batches, layout, records, validate};
use crate::checksum::crc32c;
use crate::compress::{Compressor, Scratch};
use crate::fields::{i16_at, put};

/// Output limit that a fuzz run can afford.
const LIMIT: usize = 1024 * 1024;

/// Bits of the attributes that name the codec.
const CODEC_BITS: i16 = 7;

/// Validates `data` as it is, once more with length and checksum put right, so that the walk is
/// reached, and once more with its records compressed; reads the records of whatever was accepted.
///
/// # Panics
/// If an accepted batch cannot be read back with the same number of records, or compression makes
/// a bad batch good.
pub fn fuzz_batch(data: &[u8]) {
    check_batch(data, validate);
}

/// Puts length, format and checksum of a batch right. True where there are enough bytes for one.
pub(crate) fn mend_batch(batch: &mut [u8]) -> bool {
    let length = batch.len().wrapping_sub(layout::LENGTH_COUNTS_FROM);
    let (true, Ok(length)) = (batch.len() >= BATCH_HEADER_BYTES, i32::try_from(length)) else {
        return false;
    };
    put(batch, layout::LENGTH, &length.to_be_bytes());
    put(batch, layout::MAGIC, &layout::MAGIC_V2.to_be_bytes());
    let checksum = crc32c(&batch[layout::CHECKSUM_COVERS_FROM..]);
    put(batch, layout::CHECKSUM, &checksum.to_be_bytes());
    true
}

/// What [`validate`] is.
trait Validate: Fn(&[u8], &ValidateOptions, &mut Scratch) -> Result<Validated, InvalidBatch> {}

impl<F> Validate for F where
    F: Fn(&[u8], &ValidateOptions, &mut Scratch) -> Result<Validated, InvalidBatch>
{
}

fn check_batch(data: &[u8], validate: impl Validate) {
    let _as_it_is = check(data, &validate);
    let mut mended = data.to_vec();
    if !mend_batch(&mut mended) {
        return;
    }
    let plain = check(&mended, &validate);
    let attributes = i16_at(&mended, layout::ATTRIBUTES);
    if attributes & CODEC_BITS == 0 {
        // All codecs in turn would cost four fifths of the runs, so the checksum draws one.
        let drawn = usize::from(mended[layout::CHECKSUM]) % Compression::ALL.len();
        let codec = Compression::ALL[drawn];
        let (head, section) = mended.split_at(BATCH_HEADER_BYTES);
        let mut packed = head.to_vec();
        put(
            &mut packed,
            layout::ATTRIBUTES,
            &(attributes | codec.number()).to_be_bytes(),
        );
        packed.extend_from_slice(&Compressor::from(codec).compress(section));
        mend_batch(&mut packed);
        let packed = check(&packed, &validate);
        assert_eq!(
            plain.is_ok(),
            packed.is_ok(),
            "nothing hides behind {codec:?}: {plain:?}, {packed:?}"
        );
    }
}

fn check(data: &[u8], validate: &impl Validate) -> Result<Validated, InvalidBatch> {
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
    let verdict = validate(data, &options, &mut scratch);
    if let Ok(validated) = &verdict {
        assert_eq!(validated.header.size, data.len(), "exactly one batch");
        if validated.records_bytes <= LIMIT {
            let count = usize::try_from(validated.header.record_count).ok();
            assert_eq!(read, count, "every record of a valid batch can be read");
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{InvalidReason, read};
    use crate::testdata::{JAVA, Random};

    /// Gives `fuzz` thousands of mutated batches of the Java client.
    fn run(mut fuzz: impl FnMut(&[u8])) -> usize {
        let mut random = Random(0x1234_5678_9abc_def1);
        let mut inputs = 0;
        for (_, golden) in JAVA {
            for _ in 0..800 {
                let mut bytes = golden.to_vec();
                random.mutate(&mut bytes);
                fuzz(&bytes);
                inputs += 1;
            }
        }
        inputs
    }

    #[test]
    fn thousands_of_mutated_batches_keep_every_claim() {
        assert_eq!(run(fuzz_batch), 4000);
    }

    #[test]
    #[should_panic(expected = "every record of a valid batch can be read")]
    fn canary_a_validator_that_does_not_walk_the_records_is_caught() {
        let careless = |bytes: &[u8], options: &ValidateOptions, scratch: &mut Scratch| {
            validate(bytes, options, scratch).or_else(|refused| match refused {
                InvalidBatch::Invalid(InvalidReason::Record { .. }) => Ok(Validated {
                    header: read(bytes).expect("the head was read"),
                    max_timestamp: klamm_model::Timestamp::NONE,
                    max_timestamp_delta: klamm_model::OffsetDelta(0),
                    records_bytes: 0,
                }),
                other => Err(other),
            })
        };
        run(|data| check_batch(data, careless));
    }

    #[test]
    #[should_panic(expected = "nothing hides behind")]
    fn canary_a_validator_that_refuses_a_codec_is_caught() {
        let partial = |bytes: &[u8], options: &ValidateOptions, scratch: &mut Scratch| {
            let without_zstd = ValidateOptions {
                zstd_known: false,
                ..*options
            };
            validate(bytes, &without_zstd, scratch)
        };
        run(|data| check_batch(data, partial));
    }
}
