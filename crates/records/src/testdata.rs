//! What the tests of this crate share: golden batches, options, and a small generator.

use klamm_model::{Compression, Timestamp, TimestampType, WallTime};

use crate::batch::{BatchBuilder, BatchOptions, ValidateOptions};

/// The time at which the golden batches were written.
pub(crate) const NOW: i64 = 1_700_000_000_000;

macro_rules! golden {
    ($($name:ident: $file:literal),* $(,)?) => {
        $(pub(crate) const $name: &[u8] = include_bytes!(concat!("../testdata/", $file));)*
    };
}

golden! {
    JAVA_NONE: "java-none.batch",
    JAVA_GZIP: "java-gzip.batch",
    JAVA_SNAPPY: "java-snappy.batch",
    JAVA_LZ4: "java-lz4.batch",
    JAVA_ZSTD: "java-zstd.batch",
    BIG_GZIP: "big-gzip.batch",
    BIG_SNAPPY: "big-snappy.batch",
    BIG_LZ4: "big-lz4.batch",
    BIG_ZSTD: "big-zstd.batch",
    JAVA_TRANSACTIONAL: "java-transactional.batch",
    JAVA_NO_TIMESTAMP: "java-no-timestamp.batch",
    JAVA_CONTROL: "java-control.batch",
    GZIP_DISTANCE_TOO_FAR: "gzip-distance-too-far.batch",
}

pub(crate) const JAVA: [(Compression, &[u8]); 5] = [
    (Compression::None, JAVA_NONE),
    (Compression::Gzip, JAVA_GZIP),
    (Compression::Snappy, JAVA_SNAPPY),
    (Compression::Lz4, JAVA_LZ4),
    (Compression::Zstd, JAVA_ZSTD),
];

pub(crate) const BIG: [(Compression, &[u8]); 4] = [
    (Compression::Gzip, BIG_GZIP),
    (Compression::Snappy, BIG_SNAPPY),
    (Compression::Lz4, BIG_LZ4),
    (Compression::Zstd, BIG_ZSTD),
];

/// Options of a topic with Kafka's defaults.
pub(crate) fn options() -> ValidateOptions {
    ValidateOptions {
        batch_bytes_max: 1_048_588,
        compacted: false,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_ms_max: i64::MAX,
        timestamp_after_ms_max: 3_600_000,
        now: WallTime(NOW),
        zstd_known: true,
    }
}

/// A batch of `count` records of `value_bytes`, from `base_offset` on, a millisecond apart.
pub(crate) fn batch_of(options: BatchOptions, count: i32, value_bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for number in 0..count {
        let value: Vec<u8> = (0..value_bytes)
            .map(|at| ((at * 7 + number as usize) % 251) as u8)
            .collect();
        let timestamp = Timestamp(NOW + options.base_offset.0 + i64::from(number));
        builder.append(timestamp, Some(b"key"), Some(&value), &[]);
    }
    builder.build().expect("a small batch")
}

/// xorshift64*, so that hostile inputs are the same on every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Changes one to four bytes, or cuts, or doubles a part.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self.below(8) {
            0 => bytes.truncate(self.below(bytes.len())),
            1 => {
                let at = self.below(bytes.len());
                let tail = bytes[at..].to_vec();
                bytes.extend_from_slice(&tail);
            }
            _ => {
                for _ in 0..=self.below(4) {
                    let at = self.below(bytes.len());
                    bytes[at] = self.next() as u8;
                }
            }
        }
    }
}
