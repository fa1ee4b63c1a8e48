//! How fast one core compacts, without a disk: `cargo run --release -p klamm-records --example
//! clean`. Batches of 64 records with values of 200 bytes; both passes, checksums included.

use std::collections::BTreeSet;

use klamm_model::{Compression, Offset, Timestamp};
use klamm_records::batch::{self, BatchBuilder, BatchOptions};
use klamm_records::compact::{Filter, HashKey, OffsetMap, Rules};

const BATCHES: i64 = 16_384;
const RECORDS: i64 = 64;
const VALUE_BYTES: usize = 200;
const WRITTEN_AT_ONCE: usize = 2 << 20;

/// A log in which each key is written `times` times; values compress to about half.
fn log(codec: Compression, times: u64) -> Vec<u8> {
    let keys = (BATCHES * RECORDS) as u64 / times;
    let mut random = klamm_model::Random::new(7);
    let mut all = Vec::new();
    let mut value = [0; VALUE_BYTES];
    for number in 0..BATCHES {
        let mut builder = BatchBuilder::new(BatchOptions {
            compressor: codec.into(),
            base_offset: Offset(number * RECORDS),
            ..BatchOptions::default()
        });
        for _ in 0..RECORDS {
            for chunk in value.chunks_mut(8).step_by(2) {
                chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
            }
            let key = format!("customer-{:012}", random.next() % keys);
            builder.append(Timestamp(number), Some(key.as_bytes()), Some(&value), &[]);
        }
        all.extend_from_slice(&builder.build().expect("small"));
    }
    all
}

/// Cleans it; gives the bytes that are left, and how many keys there were.
fn clean(log: &[u8]) -> (usize, usize) {
    let mut map = OffsetMap::new(HashKey(1), 128 << 20);
    let (mut filter, mut out, mut left) = (Filter::default(), Vec::new(), 0);
    let each = |visit: &mut dyn FnMut(&klamm_model::BatchHeader, &[u8])| {
        for item in batch::batches(log) {
            let (_, bytes) = item.expect("whole");
            let header = batch::verify(bytes).expect("sound");
            visit(&header, bytes);
        }
    };
    each(&mut |header, bytes| {
        let mapped = filter.map(&mut map, Offset::ZERO, usize::MAX, header, bytes);
        assert_eq!(mapped, Ok(true), "there is room for every key");
    });
    let producers_last = BTreeSet::new();
    let rules = Rules {
        map: &map,
        mapped_end: Offset(BATCHES * RECORDS),
        first_dirty: Offset::ZERO,
        now: Timestamp(0),
        delete_retention_ms: 0,
        producers_last: &producers_last,
        decompressed_bytes_max: usize::MAX,
    };
    each(&mut |header, bytes| {
        let cleaned = filter.batch(&rules, header, bytes, &mut out);
        assert_eq!(cleaned, Ok(()), "every batch can be read");
        // As a broker does: memory that was touched before costs nothing.
        if out.len() >= WRITTEN_AT_ONCE {
            left += out.len();
            out.clear();
        }
    });
    filter.finish(&mut out);
    (left + out.len(), map.len())
}

/// How long this thread ran on a processor: others on the machine do not count.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let nanos = text
        .split(' ')
        .next()
        .and_then(|word| word.parse::<f64>().ok());
    nanos.expect("a number") / 1e9
}

fn main() {
    for codec in [Compression::None, Compression::Lz4, Compression::Zstd] {
        for times in [1, 2, 10] {
            let log = log(codec, times);
            let mut best = f64::MAX;
            let mut found = (0, 0);
            for _ in 0..3 {
                let began = processor_seconds();
                found = clean(&log);
                best = best.min(processor_seconds() - began);
            }
            let mib = log.len() as f64 / f64::from(1 << 20);
            println!(
                "{codec:?}, each key {times} times: {:.0} MiB/s of log cleaned ({mib:.0} MiB to {:.0} MiB, {} keys)",
                mib / best,
                found.0 as f64 / f64::from(1 << 20),
                found.1
            );
        }
    }
}
