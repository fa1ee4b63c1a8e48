//! What is appended: in every version, every codec, byte for byte, once.

use klamm_wire::{MessageView, fetch};

use crate::harness::{
    Broker, Codec, End, Options, Random, RawBatch, Record, Topic, fetched, fetching, produced,
    production, records_of,
};

/// Records with all that a record may have: no key, no value, empty ones, headers of one name.
fn odd_records() -> Vec<Record> {
    let mut random = Random::new(1);
    let with = |key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]| {
        let headers = headers
            .iter()
            .map(|(key, value)| (key.to_string(), value.map(<[u8]>::to_vec)));
        Record {
            timestamp: 1_700_000_000_000,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        }
    };
    let noise = random.bytes(20_000);
    let mut records = vec![
        with(None, None, &[]),
        with(Some(b""), Some(b""), &[]),
        with(None, Some(b"value without key"), &[]),
        with(Some(b"key without value"), None, &[]),
        with(
            Some(b"k"),
            Some(b"v"),
            &[("a", Some(b"1")), ("a", None), ("a", Some(b""))],
        ),
        with(
            Some(b"\xff\x00\xfe"),
            Some(&noise),
            &[("", Some(b"\x00")), ("z", Some(b"a"))],
        ),
        with(Some(b"\xc3\xa4"), Some("größer".as_bytes()), &[]),
    ];
    for (number, record) in records.iter_mut().enumerate() {
        // Times need not grow.
        record.timestamp += [0, 5, -3, 1000, 0, 7, -1000][number];
    }
    records
}

#[test]
fn records_come_back_byte_for_byte_in_every_codec() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("codecs", 1);
    let records = odd_records();
    let mut sent = Vec::new();
    for (number, codec) in Codec::ALL.into_iter().enumerate() {
        let batch = RawBatch::compressed(&records, codec).encode();
        let produced = client.produce(&topic, 0, &batch);
        assert_eq!(produced.error_code, 0, "{codec:?}: {:?}", produced.message);
        assert_eq!(produced.base_offset, (number * records.len()) as i64);
        sent.push(batch);
    }
    let stored = client.fetch(&topic, 0, 0).records;
    let mut rest = stored.as_slice();
    for (batch, codec) in sent.iter().zip(Codec::ALL) {
        let (found, behind) = rest.split_at(batch.len());
        // The broker writes the base offset (8 bytes) and the leader epoch (4), and nothing else.
        assert_eq!(found[8..12], batch[8..12], "{codec:?}");
        assert_eq!(found[16..], batch[16..], "{codec:?}");
        rest = behind;
    }
    let read = client.read_all(&topic, 0);
    for (position, found) in read.iter().enumerate() {
        assert_eq!(found.offset, position as i64);
        assert_eq!(
            found.record,
            records[position % records.len()],
            "offset {position}"
        );
    }
    assert_eq!(read.len(), 5 * records.len());
}

#[test]
fn every_version_of_produce_is_read_by_every_version_of_fetch() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("versions", 1);
    for (number, version) in (3..=13).enumerate() {
        let batch = RawBatch::one(&format!("from version {version}")).encode();
        let reply = client.call(&production(&topic, -1, &[(0, &batch)]), version);
        let part = &produced(&reply.view())[0];
        assert_eq!(
            (part.error_code, part.base_offset),
            (0, number as i64),
            "version {version}"
        );
        assert_eq!(part.log_start_offset, if version >= 5 { 0 } else { -1 });
        assert_eq!(part.log_append_time, -1, "the client's times are kept");
    }
    for version in 4..=18 {
        let reply = client.call(&fetching(&topic, 0, 0), version);
        let view = reply.view();
        assert_eq!(view.error_code(), 0);
        let part = &fetched(&view)[0];
        assert_eq!(
            (part.error_code, part.high_watermark),
            (0, 11),
            "version {version}"
        );
        let values = records_of(&part.records);
        assert_eq!(values.len(), 11, "version {version}");
        assert_eq!(
            values[0].record.value.as_deref(),
            Some(&b"from version 3"[..])
        );
    }
}

#[test]
fn each_ack_level_keeps_the_batch_and_zero_is_not_answered() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("acks", 1);
    for acks in [0, 1, -1] {
        let batch = RawBatch::one(&format!("acks {acks}")).encode();
        let request = production(&topic, acks, &[(0, &batch)]);
        if acks == 0 {
            client.begin(&request, 9);
        } else {
            let reply = client.call(&request, 9);
            assert_eq!(produced(&reply.view())[0].error_code, 0);
        }
    }
    let read = client.read_all(&topic, 0);
    let values: Vec<_> = read.iter().map(|read| read.record.value.clone()).collect();
    let expected = ["acks 0", "acks 1", "acks -1"].map(|text| Some(text.as_bytes().to_vec()));
    assert_eq!(values, expected);
}

#[test]
fn one_request_appends_to_many_partitions_and_fails_where_it_must() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("many", 12);
    let batches: Vec<_> = (0..14)
        .map(|part| (part, RawBatch::one(&format!("to {part}")).encode()))
        .collect();
    let parts: Vec<_> = batches
        .iter()
        .map(|(part, batch)| (*part, batch.as_slice()))
        .collect();
    let reply = client.call(&production(&topic, -1, &parts), 9);
    let codes: Vec<_> = produced(&reply.view())
        .iter()
        .map(|part| part.error_code)
        .collect();
    assert_eq!(codes, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 3]);
    for part in 0..12 {
        let read = client.read_all(&topic, part);
        assert_eq!(read.len(), 1);
        assert_eq!(
            read[0].record.value,
            Some(format!("to {part}").into_bytes())
        );
    }
}

#[test]
fn unknown_topic_is_told_by_name_and_by_id() {
    let broker = Broker::start();
    let mut client = broker.client();
    let absent = Topic {
        name: crate::harness::unique("absent"),
        id: [5; 16],
    };
    let batch = RawBatch::one("x").encode();
    for (version, code) in [(3, 3), (12, 3), (13, 100)] {
        let reply = client.call(&production(&absent, -1, &[(0, &batch)]), version);
        assert_eq!(
            produced(&reply.view())[0].error_code,
            code,
            "version {version}"
        );
    }
    for (version, code) in [(4, 3), (12, 3), (13, 100), (18, 100)] {
        let reply = client.call(&fetching(&absent, 0, 0), version);
        assert_eq!(
            fetched(&reply.view())[0].error_code,
            code,
            "version {version}"
        );
    }
}

#[test]
fn repeated_batch_of_an_idempotent_producer_gets_the_first_one_s_offset() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("idempotent", 1);
    let (id, epoch) = client.init_producer_id();
    let batch = |sequence: i32, text: &str| {
        let records = [Record::new("k", text), Record::new("k", text)];
        RawBatch::of(&records)
            .of_producer(id, epoch, sequence)
            .encode()
    };
    for number in 0..5 {
        let produced = client.produce(&topic, 0, &batch(number * 2, &format!("{number}")));
        assert_eq!(
            (produced.error_code, produced.base_offset),
            (0, i64::from(number) * 2)
        );
    }
    // The last five batches of a producer are remembered.
    for number in 0..5 {
        let produced = client.produce(&topic, 0, &batch(number * 2, &format!("{number}")));
        assert_eq!(
            (produced.error_code, produced.base_offset),
            (0, i64::from(number) * 2)
        );
    }
    assert_eq!(
        client.read_all(&topic, 0).len(),
        10,
        "nothing was appended twice"
    );
}

#[test]
fn producer_ids_are_never_given_twice_even_across_restarts() {
    let test = "producer_ids_are_never_given_twice_even_across_restarts";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut ids = Vec::new();
    for end in [End::Kill, End::Stop, End::Stop] {
        let mut client = broker.client();
        ids.extend((0..20).map(|_| client.init_producer_id().0));
        broker.end(end);
        broker.start_again();
    }
    let given = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), given);
    assert!(ids[0] >= 0);
}

#[test]
fn duplicates_are_known_after_a_crash() {
    let test = "duplicates_are_known_after_a_crash";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("known", 1);
    let (id, epoch) = client.init_producer_id();
    let batch = |sequence| RawBatch::one("x").of_producer(id, epoch, sequence).encode();
    assert_eq!(client.produce(&topic, 0, &batch(0)).base_offset, 0);
    assert_eq!(client.produce(&topic, 0, &batch(1)).base_offset, 1);
    for end in End::BOTH {
        broker.end(end);
        broker.start_again();
        let mut client = broker.client();
        let again = client.produce(&topic, 0, &batch(1));
        assert_eq!((again.error_code, again.base_offset), (0, 1));
        assert_eq!(client.produce(&topic, 0, &batch(7)).error_code, 45, "a gap");
    }
    let mut client = broker.client();
    assert_eq!(client.produce(&topic, 0, &batch(2)).base_offset, 2);
    assert_eq!(client.read_all(&topic, 0).len(), 3);
}

#[test]
fn topic_with_append_time_tells_the_broker_s_time() {
    let broker = Broker::start();
    let mut client = broker.client();
    let configs = [("message.timestamp.type", "LogAppendTime")];
    let topic = client.create_topic_with("stamped", 1, &configs);
    for codec in Codec::ALL {
        let batch = RawBatch::compressed(&odd_records(), codec).encode();
        let produced = client.produce(&topic, 0, &batch);
        assert_eq!(produced.error_code, 0, "{codec:?}");
        let now = std::time::SystemTime::now();
        let now = now
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_millis() as i64;
        assert!(
            (now - 60_000..=now).contains(&produced.log_append_time),
            "{produced:?}"
        );
        let read = client.read_all(&topic, 0);
        let last = read.last().expect("records");
        assert_eq!(last.record.timestamp, produced.log_append_time);
    }
}

#[test]
fn batch_up_to_the_limit_is_kept_whole() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("large", 1);
    // Kafka's default limit is 1,048,588 bytes with the batch's head.
    let noise = Random::new(7).bytes(1_048_588 - 61 - 20);
    let record = Record::new("key", &noise);
    let batch = RawBatch::of(std::slice::from_ref(&record)).encode();
    assert!(batch.len() <= 1_048_588, "{}", batch.len());
    assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    // A batch larger than what was asked for is given all the same, or nobody would ever read it.
    let mut request = fetching(&topic, 0, 0);
    (
        request.max_bytes,
        request.topics[0].partitions[0].partition_max_bytes,
    ) = (1000, 1000);
    let reply = client.call(&request, 12);
    let read = records_of(&fetched(&reply.view())[0].records);
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].record, record);
}

#[test]
fn order_of_a_partition_is_the_order_of_pipelined_requests() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("pipelined", 2);
    let count = 500;
    for number in 0..count {
        let batch = RawBatch::one(&number.to_string()).encode();
        client.begin(&production(&topic, 1, &[(number % 2, &batch)]), 9);
    }
    for number in 0..count {
        let frame = client.read_frame().expect("readable").expect("an answer");
        let view = klamm_wire::produce::ResponseView::parse(&frame[5..], 9).expect("an answer");
        let part = &produced(&view)[0];
        assert_eq!(
            (part.error_code, part.base_offset),
            (0, i64::from(number / 2))
        );
    }
    for part in 0..2 {
        let read = client.read_all(&topic, part);
        for (position, read) in read.iter().enumerate() {
            let expected = (position as i32 * 2 + part).to_string().into_bytes();
            assert_eq!(read.record.value, Some(expected));
        }
    }
    let empty = client.call(
        &fetch::Request {
            max_wait_ms: 0,
            ..Default::default()
        },
        12,
    );
    assert!(empty.view().responses().is_empty());
}
