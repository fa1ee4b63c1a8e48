//! Claims about segments, their indexes, the small files and the checkpoint.

use klamm_model::{
    ClusterId, LeaderEpoch, NodeId, Offset, OffsetDelta, PartitionIndex, ProducerEpoch, ProducerId,
    Sequence, ShardId, Timestamp, TopicId, TopicName, TopicPartition,
};

use super::*;
use crate::batch::{BatchBuilder, BatchOptions, batches};
use crate::testdata::{NOW, Random, batch_of};
use crate::wal::WalPosition;

const BASE: Offset = Offset(1000);
const INTERVAL: usize = 4096;

fn from_start() -> Succession {
    Succession::from_start(BASE)
}

/// A segment of `count` batches of ten records each.
fn segment(count: i64, value_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..count {
        let options = BatchOptions {
            base_offset: Offset(BASE.0 + number * 10),
            leader_epoch: LeaderEpoch(1),
            ..BatchOptions::default()
        };
        bytes.extend_from_slice(&batch_of(options, 10, value_bytes));
    }
    bytes
}

/// Indexes as they grow while batches are appended.
fn appended(segment: &[u8], mut builder: IndexBuilder) -> (Vec<u8>, Vec<u8>, IndexBuilder) {
    let (mut offset_index, mut time_index) = (Vec::new(), Vec::new());
    for batch in batches(segment) {
        let (header, _) = batch.expect("whole");
        let entries = builder.on_batch(&header).expect("in range");
        offset_index.extend(entries.offset.into_iter().flatten());
        time_index.extend(entries.time.into_iter().flatten());
    }
    (offset_index, time_index, builder)
}

#[test]
fn every_file_of_a_segment_begins_where_its_name_says() {
    for name in [
        "00000000000000000012.log",
        "00000000000000000012.timeindex",
        "00000000000000000012.log.deleted",
        "00000000000000000012-00000000000000000300.swap",
    ] {
        let before = [12, 13].map(|end| begins_before(name, Offset(end)));
        assert_eq!(before, [false, true], "{name}");
    }
    for name in [
        "partition.metadata",
        "12.log",
        "",
        "leader-epoch-checkpoint",
    ] {
        assert!(!begins_before(name, Offset(i64::MAX)), "{name}");
    }
}

#[test]
fn file_names_are_kafkas() {
    let name = segment_file(Offset(42), SegmentFile::TimeIndex);
    assert_eq!(name, "00000000000000000042.timeindex");
    for file in [
        SegmentFile::Log,
        SegmentFile::OffsetIndex,
        SegmentFile::TimeIndex,
    ] {
        for offset in [0, 42, i64::MAX] {
            let name = segment_file(Offset(offset), file);
            assert_eq!(parse_segment_file(&name), Some((Offset(offset), file)));
        }
    }
    for name in [
        "",
        "42.log",
        "0000000000000000004x.log",
        "99999999999999999999.log",
        "é".repeat(20).as_str(),
        "00000000000000000042.snapshot",
    ] {
        assert_eq!(parse_segment_file(name), None, "{name}");
    }
}

#[test]
fn folder_names_are_kafkas() {
    let topic = TopicName::new("my-topic.v2").expect("legal");
    let folder = partition_folder(&topic, PartitionIndex(11));
    assert_eq!(folder, "my-topic.v2-11");
    assert_eq!(
        parse_partition_folder(&folder),
        Some((topic, PartitionIndex(11)))
    );
    for name in [
        "",
        "-1",
        "topic",
        "topic-",
        "topic-x",
        "topic-99999999999",
        "a/b-1",
    ] {
        assert_eq!(parse_partition_folder(name), None, "{name}");
    }
}

#[test]
fn l4_every_index_equals_its_rebuild() {
    for (count, value_bytes) in [(0, 10), (1, 10), (7, 400), (100, 37), (200, 10)] {
        for interval in [0, 1000, INTERVAL] {
            let bytes = segment(count, value_bytes);
            let (offset_index, time_index, builder) =
                appended(&bytes, IndexBuilder::new(BASE, interval));
            let rebuilt = rebuild_indexes(&bytes, BASE, interval);
            assert_eq!(rebuilt.offset_index, offset_index);
            assert_eq!(rebuilt.time_index, time_index);
            assert_eq!(rebuilt.builder, builder);
            assert_eq!(rebuilt.end, SegmentEnd::Whole { bytes: bytes.len() });
            check_offset_index(&offset_index, BASE, bytes.len()).expect("in order");
            let log_end = Offset(BASE.0 + count * 10);
            check_time_index(&time_index, BASE, log_end).expect("in order");
            assert_eq!(builder.offset_index_bytes(), offset_index.len());
            assert_eq!(builder.time_index_bytes(), time_index.len());
        }
    }
}

#[test]
fn a_resumed_index_goes_on_as_if_it_had_never_stopped() {
    let bytes = segment(120, 50);
    let (offset_index, time_index, builder) = appended(&bytes, IndexBuilder::new(BASE, INTERVAL));
    for keep in 0..=offset_index.len() / OFFSET_ENTRY_BYTES {
        let mut head = offset_index[..keep * OFFSET_ENTRY_BYTES].to_vec();
        let mut times = time_index[..keep * TIME_ENTRY_BYTES].to_vec();
        let resumed = IndexBuilder::resume(BASE, INTERVAL, &head, &times);
        let (more, more_times, resumed) = appended(&bytes[resumed.position() as usize..], resumed);
        head.extend_from_slice(&more);
        times.extend_from_slice(&more_times);
        assert_eq!((&head, &times), (&offset_index, &time_index), "{keep}");
        assert_eq!(resumed, builder);
    }
}

#[test]
fn the_first_batch_is_never_indexed_and_entries_lie_an_interval_apart() {
    let bytes = segment(100, 50);
    let (index, _, _) = appended(&bytes, IndexBuilder::new(BASE, INTERVAL));
    let mut before = 0;
    for number in 0..index.len() / OFFSET_ENTRY_BYTES {
        let entries = &index[..(number + 1) * OFFSET_ENTRY_BYTES];
        let entry = last_offset_entry(entries, BASE).expect("one at least");
        assert!(entry.position - before > INTERVAL as u32);
        before = entry.position;
    }
    assert!(before > 0);
    assert_eq!(offset_lookup(&index, BASE, BASE), None);
}

#[test]
fn a_lookup_finds_the_greatest_entry_at_or_before() {
    let bytes = segment(300, 50);
    let (index, times, _) = appended(&bytes, IndexBuilder::new(BASE, INTERVAL));
    let entries: Vec<OffsetEntry> = (1..=index.len() / OFFSET_ENTRY_BYTES)
        .filter_map(|count| last_offset_entry(&index[..count * OFFSET_ENTRY_BYTES], BASE))
        .collect();
    for target in BASE.0 - 5..BASE.0 + 3010 {
        let expected = entries.iter().rfind(|entry| entry.offset.0 <= target);
        assert_eq!(
            offset_lookup(&index, BASE, Offset(target)).as_ref(),
            expected
        );
    }
    let entries: Vec<TimeEntry> = (1..=times.len() / TIME_ENTRY_BYTES)
        .filter_map(|count| last_time_entry(&times[..count * TIME_ENTRY_BYTES], BASE))
        .collect();
    assert!(entries.len() > 5);
    for target in NOW + BASE.0 - 5..NOW + BASE.0 + 3010 {
        let expected = entries.iter().rfind(|entry| entry.timestamp.0 <= target);
        assert_eq!(
            time_lookup(&times, BASE, Timestamp(target)).as_ref(),
            expected
        );
    }
}

#[test]
fn closing_appends_the_largest_timestamp_once() {
    let bytes = segment(30, 50);
    let (_, times, mut builder) = appended(&bytes, IndexBuilder::new(BASE, INTERVAL));
    let last = builder.close().expect("the last batch is not indexed");
    let times = [&times[..], &last].concat();
    let entry = last_time_entry(&times, BASE).expect("just added");
    assert_eq!(entry.timestamp, Timestamp(NOW + BASE.0 + 290 + 9));
    assert_eq!(entry.offset, Offset(BASE.0 + 299));
    assert_eq!(entry, builder.max_timestamp());
    assert_eq!(builder.close(), None);
    let mut empty = IndexBuilder::new(BASE, INTERVAL);
    assert_eq!(empty.close(), None);
}

#[test]
fn an_offset_beyond_32_bits_asks_for_a_new_segment() {
    let mut builder = IndexBuilder::new(BASE, INTERVAL);
    let before = builder;
    for base_offset in [BASE.0 + i64::from(i32::MAX), BASE.0 - 100] {
        let options = BatchOptions {
            base_offset: Offset(base_offset),
            ..BatchOptions::default()
        };
        let bytes = batch_of(options, 2, 1);
        let header = crate::batch::read(&bytes).expect("whole");
        builder.on_batch(&header).expect_err("out of range");
        assert_eq!(builder, before);
    }
    assert_eq!(
        relative_offset(BASE, Offset(BASE.0 + i64::from(i32::MAX))),
        Ok(i32::MAX)
    );
}

#[test]
fn an_index_that_cannot_be_trusted_is_named() {
    let bytes = segment(100, 50);
    let (index, times, _) = appended(&bytes, IndexBuilder::new(BASE, INTERVAL));
    let end = Offset(BASE.0 + 1000);
    assert_eq!(
        check_offset_index(&index[1..], BASE, bytes.len()),
        Err(IndexFault::Length)
    );
    assert_eq!(
        check_time_index(&times[1..], BASE, end),
        Err(IndexFault::Length)
    );
    let twice = [&index[..8], &index[..8]].concat();
    let order = Err(IndexFault::Order { entry: 1 });
    assert_eq!(check_offset_index(&twice, BASE, bytes.len()), order);
    let twice = [&times[..12], &times[..12]].concat();
    assert_eq!(check_time_index(&twice, BASE, end), order);
    let range = |result| matches!(result, Err(IndexFault::Range { .. }));
    assert!(range(check_offset_index(&index, BASE, 5000)));
    assert!(range(check_time_index(&times, BASE, Offset(BASE.0 + 50))));
    // Zeros, as a preallocated index that was never trimmed has them.
    assert!(check_offset_index(&[&index[..], &[0; 8]].concat(), BASE, bytes.len()).is_err());
}

#[test]
fn a_segment_torn_at_any_byte_is_cut_at_its_batch() {
    let bytes = segment(3, 20);
    let size = bytes.len() / 3;
    for end in 0..bytes.len() {
        let mut seen = 0;
        let verdict = recover(&bytes[..end], 0, BASE, &mut from_start(), 0, |_, _| {
            seen += 1
        });
        assert_eq!(seen, end / size);
        let at = end / size * size;
        match verdict {
            SegmentEnd::Whole { bytes } => assert_eq!((bytes, end % size), (end, 0)),
            SegmentEnd::Torn { at: torn, .. } => assert_eq!(torn, at),
            SegmentEnd::Damage { .. } => panic!("nothing was durable"),
        }
    }
}

#[test]
fn rot_in_what_was_durable_is_damage_up_to_the_next_batch() {
    let clean = segment(3, 20);
    let size = clean.len() / 3;
    for at in size..2 * size {
        let mut bytes = clean.clone();
        bytes[at] ^= 0x80;
        let mut seen = Vec::new();
        let mut succession = from_start();
        let verdict = recover(
            &bytes,
            0,
            BASE,
            &mut succession,
            clean.len(),
            |position, _| seen.push(position),
        );
        // Bytes 12 to 15 are the leader epoch, which no checksum of a batch covers.
        if (12..16).contains(&(at - size)) {
            assert_eq!(verdict, SegmentEnd::Whole { bytes: clean.len() });
            continue;
        }
        assert_eq!(seen, [0], "{at}");
        let SegmentEnd::Damage { from, to, .. } = verdict else {
            panic!("{at}: {verdict:?}");
        };
        assert_eq!((from, to), (size, 2 * size), "{at}");
        let rest = recover(
            &bytes[to..],
            to,
            BASE,
            &mut succession,
            clean.len(),
            |_, _| {},
        );
        assert_eq!(rest, SegmentEnd::Whole { bytes: clean.len() });
        let torn = recover(&bytes, 0, BASE, &mut from_start(), size, |_, _| {});
        assert!(matches!(torn, SegmentEnd::Torn { at, .. } if at == size));
    }
}

#[test]
fn a_segment_shorter_than_what_was_durable_is_damage() {
    let bytes = segment(2, 20);
    let half = bytes.len() / 2;
    let verdict = recover(
        &bytes[..half],
        0,
        BASE,
        &mut from_start(),
        bytes.len(),
        |_, _| {},
    );
    let range =
        matches!(verdict, SegmentEnd::Damage { from, to, .. } if from == half && to == bytes.len());
    assert!(range, "{verdict:?}");
}

#[test]
fn batches_out_of_order_are_not_recovered() {
    let bytes = segment(2, 20);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let swapped = [second, first].concat();
    let verdict = recover(&swapped, 0, BASE, &mut from_start(), 0, |_, _| {});
    let fault = SegmentFault::Offset {
        least: BASE,
        found: Offset(BASE.0 + 10),
    };
    assert_eq!(verdict, SegmentEnd::Torn { at: 0, fault });
    let early = recover(
        &bytes,
        0,
        Offset(BASE.0 + 1),
        &mut Succession::from_start(Offset(BASE.0 + 1)),
        0,
        |_, _| {},
    );
    assert!(matches!(early, SegmentEnd::Torn { at: 0, .. }));
}

#[test]
fn leader_epochs_have_kafkas_text() {
    let epochs = [(0, 0), (3, 17), (4, 17)].map(|(epoch, start)| EpochStart {
        epoch: LeaderEpoch(epoch),
        start: Offset(start),
    });
    let text = format_leader_epochs(&epochs);
    assert_eq!(text, "0\n3\n0 0\n3 17\n4 17\n");
    assert_eq!(parse_leader_epochs(&text).as_deref(), Ok(&epochs[..]));
    assert_eq!(parse_leader_epochs("0\n0\n"), Ok(Vec::new()));
    for (text, line) in [
        ("", 1),
        ("1\n0\n", 1),
        ("0\n", 2),
        ("0\n-1\n", 2),
        ("0\n2\n0 0\n", 4),
        ("0\n1\n0 0\n1 5\n", 5),
        ("0\n2\n1 0\n1 5\n", 4),
        ("0\n2\n1 9\n2 5\n", 4),
        ("0\n1\n1 x\n", 3),
        ("0\n1\n-1 0\n", 3),
        ("0\n99999999999999999999\n", 2),
    ] {
        let error = parse_leader_epochs(text).expect_err(text);
        assert_eq!(error.line, line, "{text:?}");
    }
}

#[test]
fn partition_metadata_has_kafkas_text() {
    let topic: TopicId = "vPeOCWypqUOSepEvx0cbog".parse().expect("22 characters");
    let text = format_partition_metadata(topic);
    assert_eq!(text, "version: 0\ntopic_id: vPeOCWypqUOSepEvx0cbog");
    assert_eq!(parse_partition_metadata(&text), Ok(topic));
    assert_eq!(parse_partition_metadata(&format!("{text}\n")), Ok(topic));
    for text in [
        "",
        "version: 1\ntopic_id: vPeOCWypqUOSepEvx0cbog",
        "version: 0",
        "version: 0\ntopic_id: x",
        "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA",
        "version: 0\ntopic_id: vPeOCWypqUOSepEvx0cbog\nmore",
    ] {
        assert!(parse_partition_metadata(text).is_err(), "{text:?}");
    }
}

#[test]
fn the_list_of_folders_in_use_reads_back_and_a_folder_can_be_given_up_by_hand() {
    let folder = |path: &str, is_lost| FolderInUse {
        path: path.to_owned(),
        is_lost,
    };
    let mut folders = FoldersInUse::from([
        (DirectoryId([1; 16]), folder("/disk 1/klamm", false)),
        (DirectoryId([2; 16]), folder("/disk2", false)),
    ]);
    let text = format_folders_in_use(&folders);
    assert_eq!(parse_folders_in_use(&text), Ok(folders.clone()));
    let given_up = text.replace("\nAgIC", "\nlost AgIC");
    folders.insert(DirectoryId([2; 16]), folder("/disk2", true));
    assert_eq!(parse_folders_in_use(&given_up), Ok(folders.clone()));
    assert_eq!(format_folders_in_use(&folders), given_up);
    assert_eq!(parse_folders_in_use(""), Ok(FoldersInUse::new()));
    let wrong = parse_folders_in_use("# no\n\nx /disk").expect_err("no id");
    assert_eq!(wrong.line, 3);
}

#[test]
fn meta_properties_are_read_as_java_writes_them() {
    let properties = MetaProperties {
        cluster: ClusterId([1; 16]),
        node: NodeId(7),
        directory: DirectoryId([2; 16]),
        metadata: None,
    };
    assert_eq!(MetaProperties::parse(&properties.format()), Ok(properties));
    let beside = MetaProperties {
        metadata: Some(DirectoryId([3; 16])),
        ..properties
    };
    assert_eq!(MetaProperties::parse(&beside.format()), Ok(beside));
    let java = "#\n#Sat Nov 21 13:17:41 UTC 2026\nnode.id=7\nversion=1\ndirectory.id=AgICAgICAgICAgICAgICAg\ncluster.id=AQEBAQEBAQEBAQEBAQEBAQ\n";
    assert_eq!(MetaProperties::parse(java), Ok(properties));
    for (text, line) in [
        ("", 1),
        ("version=0\n", 1),
        ("version=1\nnode.id=x\n", 2),
        ("version=1\n", 2),
        ("nonsense\n", 1),
    ] {
        assert_eq!(
            MetaProperties::parse(text).expect_err(text).line,
            line,
            "{text:?}"
        );
    }
}

fn checkpoint() -> Checkpoint {
    let producers = vec![
        ProducerCheckpoint {
            id: ProducerId(4711),
            epoch: ProducerEpoch(3),
            last_timestamp: Timestamp(NOW),
            batches: (0..5)
                .map(|number| ProducerBatch {
                    base_sequence: Sequence(number * 10),
                    last_sequence: Sequence(number * 10 + 9),
                    base_offset: Offset(i64::from(number) * 10),
                    offset_delta: OffsetDelta(9),
                    timestamp: Timestamp(NOW),
                })
                .collect(),
        },
        ProducerCheckpoint {
            id: ProducerId(0),
            epoch: ProducerEpoch(0),
            last_timestamp: Timestamp::NONE,
            batches: Vec::new(),
        },
    ];
    let partition = |index, producers| PartitionCheckpoint {
        partition: TopicPartition {
            topic: TopicId([9; 16]),
            index: PartitionIndex(index),
        },
        topic_name: TopicName::new("orders").expect("legal"),
        segment_base: Offset(100),
        segment_bytes: 123_456,
        flushed_end: Offset(250),
        log_start: Offset(10),
        covered: WalPosition(1 << 33),
        producers,
    };
    Checkpoint {
        shards: vec![
            ShardCheckpoint {
                shard: ShardId(0),
                flushed: WalPosition(1 << 34),
                partitions: vec![partition(0, producers), partition(2, Vec::new())],
            },
            ShardCheckpoint {
                shard: ShardId(1),
                flushed: WalPosition(0),
                partitions: Vec::new(),
            },
        ],
    }
}

#[test]
fn a_checkpoint_reads_back_and_every_bit_counts() {
    let checkpoint = checkpoint();
    let bytes = checkpoint.encode();
    assert_eq!(Checkpoint::decode(&bytes).as_ref(), Ok(&checkpoint));
    let empty = Checkpoint::default();
    assert_eq!(Checkpoint::decode(&empty.encode()), Ok(empty));
    for at in 0..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 4;
        assert!(Checkpoint::decode(&broken).is_err(), "{at}");
        assert!(Checkpoint::decode(&bytes[..at]).is_err(), "{at}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Checkpoint::decode(&longer), Err(CheckpointError::Checksum));
}

#[test]
fn a_checkpoint_of_another_version_is_refused() {
    let mut bytes = checkpoint().encode();
    bytes[11] = 2;
    assert_eq!(Checkpoint::decode(&bytes), Err(CheckpointError::Version(2)));
}

#[test]
fn a_rightly_checksummed_checkpoint_with_false_counts_is_refused() {
    let mut random = Random(5);
    let bytes = checkpoint().encode();
    for _ in 0..5000 {
        let mut body = bytes[16..].to_vec();
        random.mutate(&mut body);
        let mut broken = bytes[..12].to_vec();
        broken.extend_from_slice(&crate::checksum::crc32c(&body).to_be_bytes());
        broken.extend_from_slice(&body);
        fuzz_checkpoint(&broken);
    }
    let mut huge = bytes[..12].to_vec();
    huge.extend_from_slice(&crate::checksum::crc32c(&[0xff; 4]).to_be_bytes());
    huge.extend_from_slice(&[0xff; 4]);
    assert_eq!(
        Checkpoint::decode(&huge),
        Err(CheckpointError::Field("count"))
    );
}

/// A segment of ten batches at offsets 0 to 9, the second of which holds `value`; and where that
/// one begins.
fn segment_with(value: &[u8]) -> (Vec<u8>, usize) {
    let batch = |offset: i64, value: &[u8]| {
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: Offset(offset),
            ..BatchOptions::default()
        });
        builder.append(Timestamp(NOW), None, Some(value), &[]);
        builder.build().expect("a small batch")
    };
    let mut segment = batch(0, b"first");
    let at = segment.len();
    segment.extend(batch(1, value));
    segment.extend((2..10).flat_map(|offset| batch(offset, &[b'x'; 200])));
    (segment, at)
}

#[test]
fn what_a_record_quotes_is_neither_served_nor_costs_what_follows() {
    // A value with a batch of another log in it, and one with heads that claim too much.
    let (quoted, _) = segment_with(b"quoted");
    let quoted = quoted[quoted.len() - 200..].to_vec();
    let (other, other_at) = segment_with(b"another log's");
    let mut false_heads = Vec::new();
    for _ in 0..8 {
        let mut head = [0; 61];
        head[8..12].copy_from_slice(&1500_i32.to_be_bytes());
        head[16] = 2;
        false_heads.extend_from_slice(&head);
    }
    for value in [&quoted[..], &other[other_at..], &false_heads] {
        let (clean, at) = segment_with(value);
        // Every bit of what says where the batch ends, and one of its records.
        for bit in (8 * 8..12 * 8).chain(16 * 8..17 * 8).chain([70 * 8]) {
            let mut segment = clean.clone();
            segment[at + bit / 8] ^= 1 << (bit % 8);
            let (mut offsets, mut damages, mut from) = (Vec::new(), 0, 0);
            let mut succession = Succession::from_start(Offset::ZERO);
            while let SegmentEnd::Damage { to, .. } = recover(
                &segment[from..],
                from,
                Offset::ZERO,
                &mut succession,
                segment.len(),
                |_, header| offsets.push(header.base_offset),
            ) {
                damages += 1;
                from = to;
                offsets.clear();
            }
            let expected: Vec<Offset> = (2..10).map(Offset).collect();
            assert_eq!((damages, offsets), (1, expected), "bit {bit}");
        }
    }
}

#[test]
fn hostile_segments_never_panic() {
    let mut random = Random(3);
    let clean = segment(6, 30);
    for _ in 0..1500 {
        let mut bytes = clean.clone();
        random.mutate(&mut bytes);
        // The fuzz function takes base 0: offsets from 1000 on are fine there too.
        fuzz_segment(&bytes);
        fuzz_checkpoint(&bytes);
    }
    for text in ["0\n1\n0 0\n", "version: 0\n", "node.id=1\nversion=1\n"] {
        for _ in 0..500 {
            let mut bytes = text.as_bytes().to_vec();
            random.mutate(&mut bytes);
            fuzz_checkpoint(&bytes);
        }
    }
}

#[test]
fn a_search_tries_lower_entries_and_ends_at_the_first_byte_whatever_the_index_holds() {
    let mut index = Vec::new();
    for number in 1..=20_i32 {
        index.extend_from_slice(&(number * 10).to_be_bytes());
        index.extend_from_slice(&(number * 1000).to_be_bytes());
    }
    let places = |index: &[u8], target: Option<i64>| {
        let mut landings = Landings::new(target.map(Offset));
        let places = std::iter::from_fn(|| landings.next(index, Offset(0)));
        let places: Vec<Option<u32>> = places
            .take(100)
            .map(|place| place.map(|entry| entry.position))
            .collect();
        places
    };
    let lower = [12_000, 11_000, 10_000, 9_000].map(Some);
    assert_eq!(places(&index, Some(125))[..4], lower);
    assert_eq!(places(&index, Some(125))[4..], [None]);
    assert_eq!(places(&index, Some(15)), [Some(1_000), None]);
    assert_eq!(places(&index, Some(5)), [None]);
    assert_eq!(places(&index, None), [None]);
    assert_eq!(places(&[], Some(5)), [None]);
    for seed in 0..1000_u32 {
        let noise = (0..200_u32).map(|at| (at.wrapping_mul(2_654_435_761) ^ (seed << 5)) >> 7);
        let noise: Vec<u8> = noise.map(|word| word as u8).collect();
        let places = places(&noise, Some(i64::from(seed) << 20));
        assert!(
            places.len() <= 5 && places.last() == Some(&None),
            "{places:?}"
        );
    }
}

#[test]
fn how_far_partitions_were_compacted_reads_as_kafka_writes_it() {
    let text = "0\n2\na-b 0 17\norders 12 0\n";
    let offsets = parse_partition_offsets(text).expect("sound");
    assert_eq!(format_partition_offsets(&offsets), text);
    let orders = (TopicName::new("orders").expect("legal"), PartitionIndex(12));
    assert_eq!(offsets.get(&orders), Some(&Offset(0)));
    for (wrong, line) in [
        ("1\n0\n", 1),
        ("0\n-\n", 2),
        ("0\n2\na 0 1\n", 4),
        ("0\n1\na 0\n", 3),
        ("0\n1\na 0 -1\n", 3),
        ("0\n1\na 0 1 2\n", 3),
        ("0\n1\n/ 0 1\n", 3),
    ] {
        let error = parse_partition_offsets(wrong).expect_err(wrong);
        assert_eq!(error.line, line, "{wrong:?}");
    }
}

#[test]
fn the_name_of_a_compacted_segment_says_what_it_takes_the_place_of() {
    let name = swap_file(Offset(7), Offset(300));
    assert_eq!(name, "00000000000000000007-00000000000000000300.swap");
    assert_eq!(parse_swap_file(&name), Some((Offset(7), Offset(300))));
    for wrong in [
        "7-300.swap",
        "00000000000000000007-00000000000000000007.swap",
        "00000000000000000007.log.swap",
        "0000000000000000000x-00000000000000000300.swap",
        "00000000000000000007-00000000000000000300.log",
    ] {
        assert_eq!(parse_swap_file(wrong), None, "{wrong}");
    }
}
