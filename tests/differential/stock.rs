//! Record batches by a few words, so that a request that holds some can be printed and repeated:
//! `gzip 3 producer=0 sequence=7` is three records in gzip by the first producer id that was given
//! out. Words of the form `field=number` make a field what it should not be.

use crate::harness::{Codec, RawBatch, Record};

/// The time of the first record of every batch: long ago, but the same on both brokers.
pub(crate) const TIME: i64 = 1_700_000_000_000;

/// The bytes of all batches that the words name, `+` between one and the next.
pub(crate) fn batches(words: &str, producer: &dyn Fn(&str) -> i64) -> Vec<u8> {
    let batches = words.split('+').map(str::trim);
    batches.flat_map(|words| batch(words, producer)).collect()
}

fn batch(words: &str, producer: &dyn Fn(&str) -> i64) -> Vec<u8> {
    let mut parts = words.split_whitespace();
    let codec = match parts.next() {
        None => return Vec::new(),
        Some("junk") => return vec![0x5a; 80],
        Some("none") => Codec::None,
        Some("gzip") => Codec::Gzip,
        Some("snappy") => Codec::Snappy,
        Some("lz4") => Codec::Lz4,
        Some("zstd") => Codec::Zstd,
        Some(other) => panic!("no codec {other:?}"),
    };
    let count: i64 = parts.next().map_or(1, |word| word.parse().expect(words));
    let options: Vec<(&str, &str)> = parts
        .map(|part| part.split_once('=').unwrap_or((part, "1")))
        .collect();
    let option = |name: &str| {
        let found = options.iter().rev().find(|(other, _)| *other == name);
        found.map(|(_, value)| *value)
    };
    let number = |name: &str| option(name).map(|value| value.parse::<i64>().expect(words));
    let records: Vec<Record> = (0..count).map(|index| record(index, &option)).collect();
    let mut batch = RawBatch::compressed(&records, codec);
    if let Some(of) = option("producer") {
        batch.producer_id = producer(of);
        batch.producer_epoch = 0;
        batch.base_sequence = 0;
    }
    set(&mut batch, &number);
    let mut bytes = batch.encode();
    if let Some(cut) = number("cut") {
        bytes.truncate(bytes.len().saturating_sub(cut as usize));
    }
    if let Some(more) = number("behind") {
        bytes.extend(vec![0; more as usize]);
    }
    bytes
}

fn record<'a>(index: i64, option: &dyn Fn(&str) -> Option<&'a str>) -> Record {
    let size = option("size").map_or(10, |size| size.parse().expect("a size"));
    let mut record = Record::new(format!("key {index}"), "v".repeat(size));
    record.timestamp = TIME + index * 1000;
    if let Some(time) = option("time") {
        record.timestamp = time.parse().expect("a time");
    }
    if option("nokey").is_some() {
        record.key = None;
    }
    if option("tombstone").is_some() {
        record.value = None;
    }
    if option("headers").is_some() {
        record.headers = vec![
            ("one".to_owned(), Some(b"1".to_vec())),
            ("none".to_owned(), None),
        ];
    }
    record
}

fn set(batch: &mut RawBatch, number: &dyn Fn(&str) -> Option<i64>) {
    let set_i32 = |name: &str, field: &mut i32| {
        if let Some(value) = number(name) {
            *field = value as i32;
        }
    };
    set_i32("sequence", &mut batch.base_sequence);
    set_i32("delta", &mut batch.last_offset_delta);
    set_i32("count", &mut batch.count);
    set_i32("leader", &mut batch.leader_epoch);
    if let Some(value) = number("epoch") {
        batch.producer_epoch = value as i16;
    }
    if let Some(value) = number("id") {
        batch.producer_id = value;
    }
    if let Some(value) = number("base") {
        batch.base_offset = value;
    }
    if let Some(value) = number("maxtime") {
        batch.max_time = value;
    }
    if let Some(value) = number("magic") {
        batch.magic = value as u8;
    }
    if let Some(value) = number("attributes") {
        batch.attributes |= value as i16;
    }
    if let Some(value) = number("crc") {
        batch.crc = Some(value as u32);
    }
    if let Some(value) = number("length") {
        batch.length = Some(value as i32);
    }
}
