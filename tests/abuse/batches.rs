//! Produce with batches that are wrong in one way each.

use klamm_wire::produce;

use crate::harness::{
    Broker, Client, Codec, Produced, Random, RawBatch, Record, Topic, produced, production, varint,
};

/// Sends a batch and checks the code, and that nothing was appended by it.
fn check(client: &mut Client, topic: &Topic, batch: &[u8], code: i16, what: &str) {
    let before = client.list_offset(topic, 0, -1).offset;
    let found = client.produce(topic, 0, batch);
    assert_eq!(found.error_code, code, "{what}: {:?}", found.message);
    if code != 0 {
        assert_eq!(
            client.list_offset(topic, 0, -1).offset,
            before,
            "{what} was appended"
        );
    }
}

fn ask(client: &mut Client, request: &produce::Request<'_>, version: i16) -> Vec<Produced> {
    let reply = client.call(request, version);
    produced(&reply.view())
}

/// A14
#[test]
fn acks_that_do_not_exist_are_refused_and_nothing_is_appended() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("acks", 1);
    let batch = RawBatch::one("x").encode();
    for acks in [2, -2, i16::MAX, i16::MIN] {
        let parts = ask(&mut client, &production(&topic, acks, &[(0, &batch)]), 9);
        assert_eq!(parts[0].error_code, 21, "acks={acks}");
    }
    assert_eq!(client.list_offset(&topic, 0, -1).offset, 0);
    broker.is_healthy();
}

/// A15: closing is the only way to tell.
#[test]
fn failed_append_without_acks_closes() {
    let mut broker = Broker::start();
    let topic = broker.client().create_topic("silent", 1);
    let good = RawBatch::one("x").encode();
    let bad = RawBatch {
        crc: Some(1),
        ..RawBatch::one("x")
    }
    .encode();
    for (part, batch) in [(0, &bad), (7, &good)] {
        let mut client = broker.client();
        let from = broker.log_length();
        client.begin(&production(&topic, 0, &[(part, batch)]), 9);
        crate::check_is_closed(&broker, &mut client, from, "acks=0");
    }
    broker.is_healthy();
}

/// A16
#[test]
fn transactional_batch_without_a_transactional_id_is_refused() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("transactional", 1);
    let (id, epoch) = client.init_producer_id();
    let mut batch = RawBatch::one("x").of_producer(id, epoch, 0);
    batch.attributes |= 1 << 4;
    check(
        &mut client,
        &topic,
        &batch.encode(),
        53,
        "transactional batch",
    );
    broker.is_healthy();
}

/// A17: Kafka keeps one of the two and tells nobody.
#[test]
fn partition_named_twice_is_refused_both_times() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("twice", 2);
    let batch = RawBatch::one("x").encode();
    let parts = [(0, batch.as_slice()), (1, &batch), (0, &batch)];
    let codes = |parts: Vec<Produced>| parts.iter().map(|part| part.error_code).collect::<Vec<_>>();
    assert_eq!(
        codes(ask(&mut client, &production(&topic, -1, &parts), 9)),
        [42, 0, 42]
    );
    let mut apart = production(&topic, -1, &parts[..1]);
    apart
        .topic_data
        .extend(production(&topic, -1, &parts[..1]).topic_data);
    assert_eq!(codes(ask(&mut client, &apart, 9)), [42, 42]);
    assert_eq!(client.list_offset(&topic, 0, -1).offset, 0);
    assert_eq!(client.list_offset(&topic, 1, -1).offset, 1);
    broker.is_healthy();
}

/// A18
#[test]
fn batch_that_is_not_what_its_checksum_or_length_says_is_corrupt() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("corrupt", 1);
    let good = RawBatch::one("x");
    let length = good.encode().len() as i32 - 12;
    let with = |length: i32| {
        RawBatch {
            length: Some(length),
            ..good.clone()
        }
        .encode()
    };
    let crc = RawBatch {
        crc: Some(7),
        ..good.clone()
    }
    .encode();
    check(&mut client, &topic, &crc, 2, "wrong checksum");
    for (bit, what) in [
        (61 * 8, "first bit of the records"),
        (23 * 8 + 1, "a bit of the head"),
    ] {
        let mut flipped = good.encode();
        flipped[bit / 8] ^= 1 << (bit % 8);
        check(&mut client, &topic, &flipped, 2, what);
    }
    for wrong in [0, 1, 48, -1, i32::MIN, i32::MAX, length + 1, length + 1000] {
        check(
            &mut client,
            &topic,
            &with(wrong),
            2,
            &format!("length {wrong}"),
        );
    }
    check(
        &mut client,
        &topic,
        &good.encode()[..40],
        2,
        "part of a head",
    );
    broker.is_healthy();
}

/// A19
#[test]
fn request_with_two_batches_or_an_old_format_is_invalid() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("formats", 1);
    let good = RawBatch::one("x").encode();
    check(
        &mut client,
        &topic,
        &[good.clone(), good].concat(),
        87,
        "two batches",
    );
    for magic in [0, 1] {
        let old = RawBatch {
            magic,
            ..RawBatch::one("x")
        }
        .encode();
        check(&mut client, &topic, &old, 87, &format!("format {magic}"));
    }
    check(&mut client, &topic, &[], 87, "no batch");
    broker.is_healthy();
}

/// A20
#[test]
fn counts_and_deltas_that_disagree_are_invalid() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("counts", 1);
    let records = [
        Record::new("a", "1"),
        Record::new("b", "2"),
        Record::new("c", "3"),
    ];
    for codec in [Codec::None, Codec::Lz4] {
        let good = RawBatch::compressed(&records, codec);
        for (what, batch) in [
            (
                "more records than there are",
                RawBatch {
                    count: 4,
                    last_offset_delta: 3,
                    ..good.clone()
                },
            ),
            (
                "fewer records than there are",
                RawBatch {
                    count: 2,
                    last_offset_delta: 1,
                    ..good.clone()
                },
            ),
            (
                "a delta too large",
                RawBatch {
                    last_offset_delta: 3,
                    ..good.clone()
                },
            ),
            (
                "a delta too small",
                RawBatch {
                    last_offset_delta: 1,
                    ..good.clone()
                },
            ),
            (
                "a delta below zero",
                RawBatch {
                    last_offset_delta: -1,
                    ..good.clone()
                },
            ),
            (
                "no record",
                RawBatch {
                    count: 0,
                    ..good.clone()
                },
            ),
            (
                "a count below zero",
                RawBatch {
                    count: -3,
                    ..good.clone()
                },
            ),
            (
                "a count of 2^31 - 1",
                RawBatch {
                    count: i32::MAX,
                    last_offset_delta: i32::MAX - 1,
                    ..good.clone()
                },
            ),
        ] {
            check(
                &mut client,
                &topic,
                &batch.encode(),
                87,
                &format!("{what}, {codec:?}"),
            );
        }
    }
    broker.is_healthy();
}

/// A20
#[test]
fn records_that_break_their_own_lengths_are_invalid() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("lengths", 1);
    let good = Record::new("key", "value").encode(0, 1_700_000_000_000);
    // length | attributes | time | offset | key length ...
    let changed = |at: usize, value: i64| {
        let mut section = good[..at].to_vec();
        varint(&mut section, value);
        section.extend(&good[at + 1..]);
        section
    };
    let headers = good.len() - 1;
    let of_two = |first: i32, second: i32| {
        let base = 1_700_000_000_000;
        let records = [Record::new("a", "1"), Record::new("b", "2")];
        [
            records[0].encode(first, base),
            records[1].encode(second, base),
        ]
        .concat()
    };
    for codec in [Codec::None, Codec::Zstd] {
        let with = |section: &[u8], count: i32| {
            let mut batch = RawBatch::compressed(&[Record::new("key", "value")], codec);
            (batch.count, batch.last_offset_delta) = (count, count - 1);
            batch.section = if codec == Codec::None {
                section.to_vec()
            } else {
                codec.compress(section)
            };
            batch.encode()
        };
        for (what, section, count) in [
            ("record longer than the batch", changed(0, 60), 1),
            ("record shorter than its fields", changed(0, 5), 1),
            ("record of a negative length", changed(0, -5), 1),
            ("key beyond the record", changed(4, 1000), 1),
            ("headers beyond the record", changed(headers, 5), 1),
            ("headers below zero", changed(headers, -1), 1),
            ("2^31 - 1 headers", changed(headers, i64::from(i32::MAX)), 1),
            ("offsets with a hole", of_two(0, 2), 2),
            ("offsets backwards", of_two(1, 0), 2),
            ("the same offset twice", of_two(0, 0), 2),
            (
                "bytes behind the last record",
                [good.as_slice(), &[0; 9]].concat(),
                1,
            ),
        ] {
            let batch = with(&section, count);
            check(
                &mut client,
                &topic,
                &batch,
                87,
                &format!("{what}, {codec:?}"),
            );
        }
    }
    broker.is_healthy();
}

/// A21
#[test]
fn control_batch_of_a_client_is_invalid() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("control", 1);
    let mut batch = RawBatch::of(&[Record::new([0, 0, 0, 1], [0; 6])]);
    batch.attributes |= 1 << 5;
    check(&mut client, &topic, &batch.encode(), 87, "control batch");
    broker.is_healthy();
}

/// A22
#[test]
fn producer_without_a_sequence_is_invalid() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("sequence", 1);
    let (id, epoch) = client.init_producer_id();
    for sequence in [-1, -2, i32::MIN] {
        let batch = RawBatch::one("x").of_producer(id, epoch, sequence).encode();
        check(
            &mut client,
            &topic,
            &batch,
            87,
            &format!("sequence {sequence}"),
        );
    }
    broker.is_healthy();
}

/// A23
#[test]
fn codec_that_does_not_exist_is_unsupported() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("codec", 1);
    for codec in 5..=7 {
        let batch = RawBatch {
            attributes: codec,
            ..RawBatch::one("x")
        }
        .encode();
        check(&mut client, &topic, &batch, 76, &format!("codec {codec}"));
    }
    broker.is_healthy();
}

/// A23
#[test]
fn zstd_before_version_7_of_produce_is_unsupported() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("zstd", 1);
    let batch = RawBatch::compressed(&[Record::new("k", "v")], Codec::Zstd).encode();
    for version in 3..=7 {
        let parts = ask(
            &mut client,
            &production(&topic, -1, &[(0, &batch)]),
            version,
        );
        let expected = if version < 7 { 76 } else { 0 };
        assert_eq!(parts[0].error_code, expected, "version {version}");
    }
    assert_eq!(client.list_offset(&topic, 0, -1).offset, 1);
    broker.is_healthy();
}

/// A24
#[test]
fn decompression_bomb_is_refused_without_being_held() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("bomb", 1);
    let memory = crate::Memory::of(&broker);
    // 300 MB of zeros as one record; the budget is 100 times the largest batch.
    let bomb = Record::new("", vec![0; 300 << 20]).encode(0, 0);
    for codec in [Codec::Gzip, Codec::Zstd] {
        let section = codec.compress(&bomb);
        assert!(
            section.len() < 1 << 20,
            "{codec:?} makes {} bytes",
            section.len()
        );
        let batch = RawBatch {
            section,
            ..RawBatch::compressed(&[Record::new("", "")], codec)
        };
        check(
            &mut client,
            &topic,
            &batch.encode(),
            10,
            &format!("{codec:?}"),
        );
    }
    memory.check_peak(&broker, 96 << 20);
    broker.is_healthy();
}

/// A24
#[test]
fn compressed_section_that_is_cut_or_noise_is_refused() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("cut", 1);
    let records: Vec<_> = (0..50)
        .map(|n| Record::new(n.to_string(), "value ".repeat(9)))
        .collect();
    let noise = Random::new(5).bytes(200);
    for codec in &Codec::ALL[1..] {
        let good = RawBatch::compressed(&records, *codec);
        let mut cut = good.section[..good.section.len() / 2].to_vec();
        for (what, section) in [
            ("cut in half", cut.clone()),
            ("noise", noise.clone()),
            ("empty", Vec::new()),
            ("noise behind the head", {
                cut.truncate(12);
                cut.extend(&noise);
                cut
            }),
        ] {
            let batch = RawBatch {
                section,
                ..good.clone()
            }
            .encode();
            let before = client.list_offset(&topic, 0, -1).offset;
            let found = client.produce(&topic, 0, &batch);
            // Which of the two depends on whether the codec or the records notice first.
            assert!(
                [2, 87].contains(&found.error_code),
                "{what}, {codec:?}: {found:?}"
            );
            assert_eq!(client.list_offset(&topic, 0, -1).offset, before);
        }
    }
    broker.is_healthy();
}

/// A25
#[test]
fn batch_larger_than_the_topic_allows_is_refused() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic_with("small", 1, &[("max.message.bytes", "1000")]);
    let of = |length: usize| RawBatch::one(&"x".repeat(length)).encode();
    check(&mut client, &topic, &of(900), 0, "below the limit");
    check(&mut client, &topic, &of(1000), 10, "above the limit");
    let default = client.create_topic("default", 1);
    check(
        &mut client,
        &default,
        &of(1_048_588),
        10,
        "above the default limit",
    );
    broker.is_healthy();
}

/// A25
#[test]
fn batch_larger_than_a_segment_is_refused() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let configs = [
        ("max.message.bytes", "5000000"),
        ("segment.bytes", "1048576"),
    ];
    let topic = client.create_topic_with("segment", 1, &configs);
    let of = |length: usize| RawBatch::one(&"x".repeat(length)).encode();
    check(
        &mut client,
        &topic,
        &of(1_000_000),
        0,
        "smaller than a segment",
    );
    check(
        &mut client,
        &topic,
        &of(1_100_000),
        18,
        "larger than a segment",
    );
    broker.is_healthy();
}

/// A26
#[test]
fn record_without_key_is_invalid_where_the_topic_is_compacted() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic_with("compacted", 1, &[("cleanup.policy", "compact")]);
    let keyless = Record {
        key: None,
        ..Record::new("", "v")
    };
    for codec in Codec::ALL {
        let batch = RawBatch::compressed(&[Record::new("k", "v"), keyless.clone()], codec);
        check(
            &mut client,
            &topic,
            &batch.encode(),
            87,
            &format!("{codec:?}"),
        );
        let keyed = RawBatch::compressed(&[Record::new("", "v")], codec);
        check(
            &mut client,
            &topic,
            &keyed.encode(),
            0,
            "an empty key is one",
        );
    }
    broker.is_healthy();
}

/// A26: which records are at fault is told since KIP-467, so that clients can send the others.
#[test]
fn records_at_fault_are_told_one_by_one() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic_with("told", 1, &[("cleanup.policy", "compact")]);
    let mut records = vec![Record::new("k", "v"); 6];
    for bad in [1, 4] {
        records[bad].key = None;
    }
    let batch = RawBatch::of(&records).encode();
    let reply = client.call(&production(&topic, -1, &[(0, &batch)]), 9);
    let view = reply.view();
    let answer = view.responses().iter().next().expect("one topic");
    let part = answer
        .partition_responses()
        .iter()
        .next()
        .expect("one partition");
    assert_eq!(part.error_code(), 87);
    let told = part.record_errors().iter().map(|error| error.batch_index());
    assert!(told.eq([1, 4]));
}

/// A27
#[test]
fn time_too_far_away_is_refused() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let configs = [
        ("message.timestamp.before.max.ms", "3600000"),
        ("message.timestamp.after.max.ms", "3600000"),
    ];
    let topic = client.create_topic_with("times", 1, &configs);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("after 1970").as_millis() as i64;
    let hour = 3_600_000;
    let at = |time: i64, codec| {
        RawBatch::compressed(
            &[Record {
                timestamp: time,
                ..Record::new("k", "v")
            }],
            codec,
        )
        .encode()
    };
    for codec in [Codec::None, Codec::Snappy] {
        for (time, code) in [
            (now, 0),
            (now - 2 * hour, 32),
            (now + 2 * hour, 32),
            (now - hour / 2, 0),
            (0, 32),
        ] {
            check(
                &mut client,
                &topic,
                &at(time, codec),
                code,
                &format!("{} ms", time - now),
            );
        }
    }
    broker.is_healthy();
}

/// A27
#[test]
fn time_below_minus_one_is_refused() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("below", 1);
    for (time, code) in [(-1, 0), (-2, 32), (i64::MIN, 32)] {
        let record = Record {
            timestamp: time,
            ..Record::new("k", "v")
        };
        check(
            &mut client,
            &topic,
            &RawBatch::of(&[record]).encode(),
            code,
            &format!("time {time}"),
        );
    }
    broker.is_healthy();
}

/// A28
#[test]
fn gap_in_a_sequence_and_an_old_producer_epoch_are_refused() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("gap", 1);
    let (id, epoch) = client.init_producer_id();
    let batch =
        |epoch: i16, sequence: i32| RawBatch::one("x").of_producer(id, epoch, sequence).encode();
    check(&mut client, &topic, &batch(epoch + 1, 0), 0, "the first");
    check(&mut client, &topic, &batch(epoch + 1, 1), 0, "the second");
    check(&mut client, &topic, &batch(epoch + 1, 3), 45, "a gap");
    check(
        &mut client,
        &topic,
        &batch(epoch + 1, i32::MAX),
        45,
        "a large gap",
    );
    check(&mut client, &topic, &batch(epoch, 2), 47, "an old epoch");
    check(
        &mut client,
        &topic,
        &batch(epoch + 2, 5),
        45,
        "a new epoch that does not begin at 0",
    );
    check(&mut client, &topic, &batch(epoch + 2, 0), 0, "a new epoch");
    broker.is_healthy();
}

/// A28: of the same batch only; a part of one is out of order.
#[test]
fn repeated_batch_gets_the_first_one_s_offset_and_a_part_of_it_does_not() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("repeated", 1);
    let (id, epoch) = client.init_producer_id();
    let batch = |count: usize, sequence: i32| {
        let records = vec![Record::new("k", "v"); count];
        RawBatch::of(&records)
            .of_producer(id, epoch, sequence)
            .encode()
    };
    assert_eq!(client.produce(&topic, 0, &batch(3, 0)).base_offset, 0);
    assert_eq!(client.produce(&topic, 0, &batch(2, 3)).base_offset, 3);
    let again = client.produce(&topic, 0, &batch(3, 0));
    assert_eq!((again.error_code, again.base_offset), (0, 0));
    check(&mut client, &topic, &batch(2, 0), 45, "a part of the first");
    assert_eq!(client.list_offset(&topic, 0, -1).offset, 5);
    broker.is_healthy();
}

/// A58
#[test]
fn records_may_hold_any_bytes_and_reach_no_log() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("bytes", 1);
    let secret = "s3cr3t-payload\n\x1b[31m";
    let record = Record {
        headers: vec![(secret.to_owned(), Some(secret.into()))],
        ..Record::new(secret, secret)
    };
    check(
        &mut client,
        &topic,
        &RawBatch::of(std::slice::from_ref(&record)).encode(),
        0,
        "odd bytes",
    );
    let mut bad = RawBatch::of(&[record]);
    bad.crc = Some(3);
    check(&mut client, &topic, &bad.encode(), 2, "a wrong checksum");
    if let Some(process) = broker.process() {
        assert!(
            !process.log.text().contains("s3cr3t"),
            "{}",
            process.log.text()
        );
    }
    broker.is_healthy();
}
