//! Batches of topics whose `compression.type` names a codec: what came in another one is compressed
//! anew before it gets a place. What came in that codec, and everything where the type is
//! `producer`, stays as it is and is not touched here.

use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{Compression, TopicCompression, TopicConfig};
use klamm_records::batch::{self, InvalidBatch, InvalidReason, Validated};
use klamm_records::compress::{Compressor, Scratch};

use crate::api::AppendError;

/// The batch as its topic keeps it, with `validated` changed alike; `None` if that is how it came.
///
/// # Errors
/// The batch is larger than `max.message.bytes` once it is compressed so, as Kafka has it too.
pub(crate) fn recompressed(
    config: &TopicConfig,
    records: &[u8],
    validated: &mut Validated,
    scratch: &mut Scratch,
) -> Result<Option<Vec<u8>>, AppendError> {
    let TopicCompression::Codec { codec, level } = config.compression else {
        return Ok(None);
    };
    if validated.header.attributes.compression() == Some(codec) {
        return Ok(None);
    }
    if codec == Compression::None {
        // Known before any memory is taken for it.
        check_size(config, BATCH_HEADER_BYTES + validated.records_bytes)?;
    }
    let compressor = Compressor { codec, level };
    let bytes = batch::recompress(records, compressor, validated.records_bytes, scratch)
        .map_err(|_| AppendError::Malformed)?;
    check_size(config, bytes.len())?;
    validated.header = batch::read(&bytes).map_err(|_| AppendError::Malformed)?;
    Ok(Some(bytes))
}

fn check_size(config: &TopicConfig, size: usize) -> Result<(), AppendError> {
    let max = config.message_bytes_max as usize;
    if size <= max {
        return Ok(());
    }
    let reason = InvalidReason::BatchBytes { size, max };
    Err(AppendError::Invalid(InvalidBatch::TooLarge(reason)))
}

#[cfg(test)]
mod tests {
    use klamm_model::{Timestamp, TimestampType, WallTime};
    use klamm_records::batch::{BatchBuilder, BatchOptions, ValidateOptions};

    use super::*;

    fn config(word: &str, message_bytes_max: u32) -> TopicConfig {
        let set = [("compression.type".to_owned(), word.to_owned())];
        TopicConfig {
            message_bytes_max,
            ..TopicConfig::from_layers(&set.into(), &Default::default())
        }
    }

    fn batch_in(codec: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(BatchOptions {
            compressor: codec.into(),
            ..BatchOptions::default()
        });
        for number in 0..50 {
            let value = format!("{number} is a value that can be made smaller, smaller, smaller");
            builder.append(Timestamp(1000 + number), None, Some(value.as_bytes()), &[]);
        }
        builder.build().expect("small")
    }

    fn validated(records: &[u8], scratch: &mut Scratch) -> Validated {
        let options = ValidateOptions {
            batch_bytes_max: 1 << 20,
            compacted: false,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_ms_max: i64::MAX,
            timestamp_after_ms_max: i64::MAX,
            now: WallTime(5000),
            zstd_known: true,
        };
        batch::validate(records, &options, scratch).expect("sound")
    }

    #[test]
    fn a_batch_is_kept_in_the_topics_codec_with_the_same_records() {
        let mut scratch = Scratch::new();
        let plain = batch_in(Compression::None);
        for from in Compression::ALL {
            let came = batch_in(from);
            for (word, to) in [
                ("uncompressed", Compression::None),
                ("gzip", Compression::Gzip),
                ("snappy", Compression::Snappy),
                ("lz4", Compression::Lz4),
                ("zstd", Compression::Zstd),
            ] {
                let mut facts = validated(&came, &mut scratch);
                let kept = recompressed(&config(word, 1 << 20), &came, &mut facts, &mut scratch)
                    .expect("fits");
                assert_eq!(kept.is_none(), from == to, "{from:?} {word}");
                let Some(kept) = kept else { continue };
                assert_eq!(facts, validated(&kept, &mut scratch), "{from:?} {word}");
                assert_eq!(facts.header.attributes.compression(), Some(to));
                let back =
                    batch::recompress(&kept, Compression::None.into(), 1 << 20, &mut scratch);
                assert_eq!(back.expect("whole"), plain, "{from:?} {word}");
            }
        }
    }

    #[test]
    fn producers_codec_is_kept_where_the_topic_names_none() {
        let mut scratch = Scratch::new();
        for codec in Compression::ALL {
            let came = batch_in(codec);
            let mut facts = validated(&came, &mut scratch);
            let kept = recompressed(&config("producer", 1), &came, &mut facts, &mut scratch);
            assert_eq!(kept, Ok(None));
        }
    }

    #[test]
    fn a_batch_that_outgrows_the_topic_in_its_codec_is_too_large() {
        let mut scratch = Scratch::new();
        let came = batch_in(Compression::Zstd);
        let size = batch_in(Compression::None).len();
        for (max, fits) in [(size, true), (size - 1, false)] {
            let mut facts = validated(&came, &mut scratch);
            let config = config("uncompressed", max as u32);
            let kept = recompressed(&config, &came, &mut facts, &mut scratch);
            let reason = InvalidReason::BatchBytes { size, max };
            let refused = AppendError::Invalid(InvalidBatch::TooLarge(reason));
            match kept {
                Ok(kept) => assert!(fits && kept.is_some_and(|kept| kept.len() == size)),
                Err(error) => assert!(!fits && error == refused, "{error:?}"),
            }
        }
    }
}
