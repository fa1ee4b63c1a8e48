//! What stays of which batches, byte by byte where it matters.

use bytes::Bytes;
use klamm_model::{ProducerEpoch, ProducerId, ProducerStamp, Sequence};

use super::*;
use crate::batch::{self, BatchBuilder, BatchOptions, RecordHeader};
use crate::compact::HashKey;

const DAY_MS: i64 = 86_400_000;

/// A record of a test: key, value, time.
type Short = (&'static str, Option<&'static str>, i64);

fn options(base: i64, codec: Compression) -> BatchOptions {
    BatchOptions {
        compressor: Compressor::from(codec),
        base_offset: Offset(base),
        leader_epoch: LeaderEpoch(3),
        ..BatchOptions::default()
    }
}

fn build(options: BatchOptions, records: &[Short]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for &(key, value, time) in records {
        let header = RecordHeader {
            key: Bytes::from_static(b"h"),
            value: Some(Bytes::from(key)),
        };
        let headers = [header];
        let key = (!key.is_empty()).then_some(key.as_bytes());
        builder.append(Timestamp(time), key, value.map(str::as_bytes), &headers);
    }
    builder.build().expect("small")
}

/// A cleaning as a test sees it.
struct Cleaning {
    map: OffsetMap,
    first_dirty: Offset,
    mapped_end: Offset,
    now: i64,
    producers_last: BTreeSet<Offset>,
}

impl Cleaning {
    /// Maps these batches from `first_dirty` on.
    fn of(batches: &[Vec<u8>], first_dirty: i64) -> Self {
        let mut map = OffsetMap::new(HashKey(9), 1 << 20);
        let mut end = Offset(first_dirty);
        for bytes in batches {
            let header = batch::verify(bytes).expect("whole");
            let mapped =
                Filter::default().map(&mut map, Offset(first_dirty), usize::MAX, &header, bytes);
            assert_eq!(mapped, Ok(true));
            end = end.max(header.end_offset());
        }
        Self {
            map,
            first_dirty: Offset(first_dirty),
            mapped_end: end,
            now: 10_000,
            producers_last: BTreeSet::new(),
        }
    }

    fn clean(&self, batches: &[Vec<u8>]) -> (Vec<Vec<u8>>, FilterStats) {
        let rules = Rules {
            map: &self.map,
            mapped_end: self.mapped_end,
            first_dirty: self.first_dirty,
            now: Timestamp(self.now),
            delete_retention_ms: DAY_MS,
            producers_last: &self.producers_last,
            decompressed_bytes_max: usize::MAX,
        };
        let (mut filter, mut out) = (Filter::default(), Vec::new());
        for bytes in batches {
            let header = batch::verify(bytes).expect("whole");
            filter
                .batch(&rules, &header, bytes, &mut out)
                .expect("readable");
        }
        filter.finish(&mut out);
        let mut found: Vec<Vec<u8>> = Vec::new();
        let mut next = None;
        for item in batch::batches(&out) {
            let (header, bytes) = item.expect("whole");
            assert_eq!(batch::verify(bytes), Ok(header), "its checksum is right");
            assert!(
                next.is_none_or(|next| next == header.base_offset),
                "offsets have no hole"
            );
            next = Some(header.end_offset());
            found.push(bytes.to_vec());
        }
        let last = batches.last().and_then(|last| batch::read(last).ok());
        assert_eq!(next, last.map(|last| last.end_offset()));
        (found, filter.stats())
    }
}

/// Offset, key, value and time of every record.
fn shown(batches: &[Vec<u8>]) -> Vec<String> {
    let mut scratch = Scratch::default();
    let mut all = Vec::new();
    for bytes in batches {
        let bytes = Bytes::from(bytes.clone());
        let records = batch::records(&bytes, usize::MAX, &mut scratch).expect("readable");
        for record in records {
            let record = record.expect("readable");
            let text = |bytes: &Option<Bytes>| {
                let bytes = bytes.as_deref();
                bytes
                    .map_or_else(|| "-".into(), String::from_utf8_lossy)
                    .into_owned()
            };
            assert_eq!(record.headers.len(), 1);
            assert_eq!(record.headers[0].value, record.key, "its own headers");
            all.push(format!(
                "{} {}={} @{}",
                record.offset,
                text(&record.key),
                text(&record.value),
                record.timestamp.0
            ));
        }
    }
    all
}

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

#[test]
fn of_each_key_the_latest_record_stays_with_its_offset_time_and_headers() {
    for codec in CODECS {
        let batches = [
            build(
                options(0, codec),
                &[
                    ("a", Some("1"), 100),
                    ("b", Some("2"), 101),
                    ("c", Some("3"), 99),
                ],
            ),
            build(options(3, codec), &[("a", Some("4"), 103)]),
            build(
                options(4, codec),
                &[("d", Some("5"), 104), ("b", Some("6"), 90)],
            ),
        ];
        let (cleaned, stats) = Cleaning::of(&batches, 0).clean(&batches);
        assert_eq!(
            shown(&cleaned),
            ["2 c=3 @99", "3 a=4 @103", "4 d=5 @104", "5 b=6 @90"]
        );
        assert_eq!(&cleaned[1..], &batches[1..], "untouched byte for byte");
        let (before, after) = (batch::read(&batches[0]), batch::read(&cleaned[0]));
        let (before, after) = (before.expect("whole"), after.expect("whole"));
        assert_eq!(after.last_offset_delta, before.last_offset_delta);
        assert_eq!(after.leader_epoch, before.leader_epoch);
        assert_eq!(after.attributes, before.attributes);
        assert_eq!(after.record_count, 1);
        assert_eq!(after.max_timestamp, Timestamp(99));
        assert_eq!((stats.records, stats.records_kept), (6, 4));
        assert!(stats.is_changed);
    }
}

#[test]
fn batches_that_are_gone_leave_one_without_records_for_all_of_them() {
    let one = |base, key, value| build(options(base, Compression::None), &[(key, Some(value), 5)]);
    let batches = [
        one(0, "a", "1"),
        one(1, "a", "2"),
        one(2, "b", "3"),
        one(3, "a", "4"),
        one(4, "a", "5"),
    ];
    let cleaning = Cleaning::of(&batches, 0);
    let (cleaned, _) = cleaning.clean(&batches);
    assert_eq!(shown(&cleaned), ["2 b=3 @5", "4 a=5 @5"]);
    let spans: Vec<_> = cleaned
        .iter()
        .map(|bytes| batch::read(bytes).expect("whole"))
        .map(|head| (head.base_offset.0, head.last_offset().0, head.record_count))
        .collect();
    assert_eq!(spans, [(0, 1, 0), (2, 2, 1), (3, 3, 0), (4, 4, 1)]);
    let empty = batch::read(&cleaned[0]).expect("whole");
    assert_eq!((empty.size, empty.max_timestamp), (61, Timestamp::NONE));
    assert_eq!((empty.producer, empty.attributes), (None, Attributes(0)));

    let (again, stats) = cleaning.clean(&cleaned);
    assert_eq!(again, cleaned);
    assert!(!stats.is_changed, "there was nothing left to do");
    // More goes: neighbours without records become one.
    let more = [cleaned, vec![one(5, "b", "6")]].concat();
    let (cleaned, stats) = Cleaning::of(&more, 0).clean(&more);
    assert!(stats.is_changed);
    assert_eq!(shown(&cleaned), ["4 a=5 @5", "5 b=6 @5"]);
    assert_eq!(cleaned.len(), 3);
}

#[test]
fn empty_batches_of_two_reigns_stay_two() {
    let mut later = options(1, Compression::None);
    later.leader_epoch = LeaderEpoch(4);
    let mut last = options(2, Compression::None);
    last.leader_epoch = LeaderEpoch(4);
    let batches = [
        build(options(0, Compression::None), &[("a", Some("1"), 5)]),
        build(later, &[("a", Some("2"), 5)]),
        build(last, &[("a", Some("3"), 5)]),
    ];
    let (cleaned, _) = Cleaning::of(&batches, 0).clean(&batches);
    let epochs: Vec<i32> = cleaned
        .iter()
        .map(|bytes| batch::read(bytes).expect("whole").leader_epoch.0)
        .collect();
    assert_eq!(epochs, [3, 4, 4]);
}

#[test]
fn a_deletion_marker_stays_until_its_horizon_and_what_it_deletes_goes_before() {
    for codec in CODECS {
        let batches = [
            build(
                options(0, codec),
                &[("a", Some("1"), 100), ("b", Some("2"), 101)],
            ),
            build(
                options(2, codec),
                &[("a", None, 102), ("c", Some("3"), 103)],
            ),
        ];
        let mut cleaning = Cleaning::of(&batches, 0);
        let (cleaned, _) = cleaning.clean(&batches);
        let left = ["1 b=2 @101", "2 a=- @102", "3 c=3 @103"];
        assert_eq!(shown(&cleaned), left);
        let head = batch::read(&cleaned[1]).expect("whole");
        assert!(head.attributes.has_delete_horizon());
        assert_eq!(head.base_timestamp, Timestamp(10_000 + DAY_MS));
        assert_eq!(head.max_timestamp, Timestamp(103));
        assert_eq!(head.attributes.compression(), Some(codec));

        cleaning.first_dirty = Offset(4);
        cleaning.now += DAY_MS - 1;
        let (again, stats) = cleaning.clean(&cleaned);
        assert_eq!((again, stats.is_changed), (cleaned.clone(), false));
        cleaning.now += 1;
        let (gone, stats) = cleaning.clean(&cleaned);
        assert_eq!(shown(&gone), ["1 b=2 @101", "3 c=3 @103"]);
        assert_eq!(stats.markers_removed, 1);
    }
}

#[test]
fn a_marker_gets_its_horizon_only_where_the_map_knows_everything() {
    let batches = [build(
        options(4, Compression::None),
        &[("a", None, 100), ("b", Some("1"), 101)],
    )];
    let mut cleaning = Cleaning::of(&batches, 4);
    cleaning.first_dirty = Offset(6);
    assert!(
        !cleaning.clean(&batches).1.is_changed,
        "it was cleaned before"
    );
    cleaning.first_dirty = Offset(0);
    cleaning.mapped_end = Offset(4);
    assert!(!cleaning.clean(&batches).1.is_changed, "it was not mapped");
    cleaning.mapped_end = Offset(6);
    assert!(cleaning.clean(&batches).1.is_changed);
}

#[test]
fn the_last_batch_of_a_producer_stays_without_records() {
    let by = |base, sequence| {
        let mut options = options(base, Compression::Lz4);
        options.producer = Some(ProducerStamp {
            id: ProducerId(7),
            epoch: ProducerEpoch(2),
            base_sequence: Sequence(sequence),
        });
        build(options, &[("a", Some("1"), 100), ("a", Some("2"), 100)])
    };
    let batches = [
        by(0, 0),
        by(2, 2),
        build(options(4, Compression::None), &[("a", Some("3"), 100)]),
    ];
    let mut cleaning = Cleaning::of(&batches, 0);
    cleaning.producers_last.insert(Offset(3));
    let (cleaned, _) = cleaning.clean(&batches);
    assert_eq!(cleaned.len(), 3);
    let first = batch::read(&cleaned[0]).expect("whole");
    assert_eq!((first.producer, first.last_offset()), (None, Offset(1)));
    let (before, kept) = (batch::read(&batches[1]), batch::read(&cleaned[1]));
    let (before, kept) = (before.expect("whole"), kept.expect("whole"));
    assert_eq!(kept.producer, before.producer);
    assert_eq!(kept.last_offset_delta, before.last_offset_delta);
    assert_eq!((kept.record_count, kept.size), (0, 61));
    assert_eq!(shown(&cleaned), ["4 a=3 @100"]);
    // As long as it is the producer's last, and no longer.
    assert!(!cleaning.clean(&cleaned).1.is_changed);
    cleaning.producers_last.clear();
    let (cleaned, _) = cleaning.clean(&cleaned);
    assert_eq!(cleaned.len(), 2);
}

#[test]
fn what_the_map_does_not_reach_stays_and_records_without_key_go() {
    let batches = [
        build(
            options(0, Compression::Zstd),
            &[("", Some("1"), 100), ("b", Some("2"), 101)],
        ),
        build(options(2, Compression::None), &[("b", Some("3"), 102)]),
        build(options(3, Compression::None), &[("b", Some("4"), 103)]),
    ];
    let mut cleaning = Cleaning::of(&batches[..2], 0);
    assert_eq!(cleaning.mapped_end, Offset(3));
    let (cleaned, stats) = cleaning.clean(&batches);
    assert_eq!(shown(&cleaned), ["2 b=3 @102", "3 b=4 @103"]);
    assert_eq!(stats.records_without_key, 1);
    // A map that knows of records behind its end: the older ones go, those stay.
    assert!(cleaning.map.put(b"b", Offset(3)));
    let (cleaned, _) = cleaning.clean(&batches);
    assert_eq!(shown(&cleaned), ["3 b=4 @103"]);
}

#[test]
fn log_append_time_stays_the_time_of_all_records() {
    let mut bytes = build(
        options(0, Compression::None),
        &[("a", Some("1"), 100), ("b", None, 5)],
    );
    batch::stamp_log_append_time(&mut bytes, klamm_model::WallTime(777));
    let batches = [
        bytes,
        build(options(2, Compression::None), &[("a", Some("2"), 1)]),
    ];
    let (cleaned, _) = Cleaning::of(&batches, 0).clean(&batches);
    assert_eq!(shown(&cleaned), ["1 b=- @777", "2 a=2 @1"]);
}

#[test]
fn bytes_that_are_no_records_are_an_error_and_write_nothing() {
    let sound = build(
        options(0, Compression::None),
        &[("a", Some("1"), 100), ("a", Some("2"), 100)],
    );
    let map = OffsetMap::new(HashKey(1), 1 << 16);
    let producers_last = BTreeSet::new();
    let rules = Rules {
        map: &map,
        mapped_end: Offset(100),
        first_dirty: Offset(0),
        now: Timestamp(0),
        delete_retention_ms: 0,
        producers_last: &producers_last,
        decompressed_bytes_max: 1 << 20,
    };
    for at in BATCH_HEADER_BYTES..sound.len() {
        for flip in [1_u8, 0x80, 0xff] {
            let mut bytes = sound.clone();
            bytes[at] ^= flip;
            let header = batch::read(&bytes).expect("its head is whole");
            let (mut filter, mut out) = (Filter::default(), Vec::new());
            if filter.batch(&rules, &header, &bytes, &mut out).is_err() {
                assert!(out.is_empty());
            }
            let mut map = OffsetMap::new(HashKey(1), 1 << 16);
            let _ = filter.map(&mut map, Offset(0), 1 << 20, &header, &bytes);
        }
    }
    let mut header = batch::read(&sound).expect("whole");
    header.record_count = 3;
    let more = Filter::default().batch(&rules, &header, &sound, &mut Vec::new());
    assert_eq!(more, Err(FilterError::Record(RecordFault::Short)));
    header.record_count = 1;
    let fewer = Filter::default().batch(&rules, &header, &sound, &mut Vec::new());
    assert_eq!(fewer, Err(FilterError::AfterLast));
}

#[test]
fn records_of_the_usual_shape_are_known_as_all_others_are() {
    let keys = [
        None,
        Some(&b""[..]),
        Some(b"k"),
        Some(&[7; 70]),
        Some(&[8; 9000]),
    ];
    let values = [None, Some(&b""[..]), Some(b"v"), Some(&[1; 500])];
    let header = RecordHeader {
        key: Bytes::from_static(b"h"),
        value: None,
    };
    let mut builder = BatchBuilder::new(options(1 << 40, Compression::None));
    let mut number = 0;
    for key in keys {
        for value in values {
            for headers in [&[][..], std::slice::from_ref(&header)] {
                number += 1;
                builder.append(Timestamp(number * number * 50), key, value, headers);
            }
        }
    }
    let bytes = builder.build().expect("small");
    let header = batch::verify(&bytes).expect("whole");
    let records = &bytes[BATCH_HEADER_BYTES..];
    let (map, mut found) = (OffsetMap::new(HashKey(9), 1 << 20), Vec::new());
    look(&map, &header, records, &mut found).expect("sound");
    assert_eq!(found.len() as i64, number);
    let mut rest = records;
    for facts in &found {
        let record = take_record(&mut rest).expect("sound");
        assert_eq!(facts.end, records.len() - rest.len());
        assert_eq!(facts.offset, record.offset(&header));
        assert_eq!(facts.time, header.base_timestamp.0 + record.timestamp_delta);
        assert_eq!(facts.key, record.key.map(|key| map.hash(key)));
        assert_eq!(facts.has_value, record.has_value);
    }
    assert!(rest.is_empty());
    let cut = &records[..records.len() - 1];
    look(&map, &header, cut, &mut found).expect_err("the last record ends early");
    let longer = [records, &[0]].concat();
    let refused = look(&map, &header, &longer, &mut found);
    assert_eq!(refused, Err(FilterError::AfterLast));
}
