//! `compression.type` of a topic: in which codec batches are kept, whatever they came in.

use crate::harness::configs::{Change, TOPIC};
use crate::harness::{Broker, Client, Codec, RawBatch, Record, Topic, wait_for};

const WORDS: [(&str, Codec); 5] = [
    ("uncompressed", Codec::None),
    ("gzip", Codec::Gzip),
    ("snappy", Codec::Snappy),
    ("lz4", Codec::Lz4),
    ("zstd", Codec::Zstd),
];

fn records(hint: &str) -> Vec<Record> {
    let text = "the same words again and again ".repeat(5);
    (0..20)
        .map(|n| Record::new(format!("{hint} {n}"), format!("{n} {text}")))
        .collect()
}

/// The codecs of a partition's batches, in order.
fn codecs(client: &mut Client, topic: &Topic) -> Vec<Codec> {
    let bytes = client.fetch(topic, 0, 0).records;
    let mut found = Vec::new();
    let mut rest = &bytes[..];
    while let Some(head) = rest.first_chunk::<23>() {
        let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        found.push(Codec::ALL[usize::from(head[22] & 7)]);
        rest = &rest[12 + length as usize..];
    }
    found
}

#[test]
fn batches_are_kept_in_the_topics_codec_and_their_records_stay() {
    let broker = Broker::start();
    let mut client = broker.client();
    for (word, codec) in WORDS {
        let topic = client.create_topic_with("kept-in", 1, &[("compression.type", word)]);
        let mut expected = Vec::new();
        for from in Codec::ALL {
            let came = records(&format!("{from:?}"));
            let batch = RawBatch::compressed(&came, from).encode();
            let produced = client.produce(&topic, 0, &batch);
            assert_eq!((produced.error_code, produced.message), (0, None));
            assert_eq!(produced.base_offset, expected.len() as i64);
            expected.extend(came);
        }
        assert_eq!(codecs(&mut client, &topic), [codec; 5], "{word}");
        let found = client.read_all(&topic, 0).into_iter();
        let (offsets, found): (Vec<i64>, Vec<Record>) =
            found.map(|read| (read.offset, read.record)).unzip();
        assert_eq!(found, expected, "{word}");
        assert!(offsets.into_iter().eq(0..100));
    }
}

#[test]
fn a_new_codec_holds_for_the_batches_that_come_after_it() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("recoded", 1);
    let batch = RawBatch::compressed(&records("x"), Codec::Lz4).encode();
    assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    let change = [("compression.type", Change::Set("zstd"))];
    assert_eq!(client.change(TOPIC, &topic.name, &change), (0, None));
    wait_for("a batch in the new codec", || {
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
        let found = codecs(&mut client, &topic);
        assert_eq!(found[0], Codec::Lz4);
        (found.last() == Some(&Codec::Zstd)).then_some(())
    });
}

#[test]
fn the_level_of_a_codec_is_obeyed() {
    let broker = Broker::start();
    let mut client = broker.client();
    let mut sizes = Vec::new();
    for level in ["1", "9"] {
        let configs = [
            ("compression.type", "gzip"),
            ("compression.gzip.level", level),
        ];
        let topic = client.create_topic_with("level", 1, &configs);
        let records: Vec<_> = (0..2000_u64)
            .map(|n| Record::new(format!("{n}"), format!("{:x}", n.wrapping_mul(0x9e37_79b9))))
            .collect();
        let batch = RawBatch::of(&records).encode();
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
        assert_eq!(codecs(&mut client, &topic), [Codec::Gzip]);
        sizes.push(client.fetch(&topic, 0, 0).records.len());
    }
    assert!(sizes[0] > sizes[1], "{sizes:?}");
}

#[test]
fn a_batch_sent_again_is_known_though_it_is_kept_in_another_codec() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic_with("again", 1, &[("compression.type", "snappy")]);
    let (id, epoch) = client.init_producer_id();
    let batch = |sequence| {
        let batch = RawBatch::compressed(&records("x"), Codec::Gzip);
        batch.of_producer(id, epoch, sequence).encode()
    };
    for (sequence, offset) in [(0, 0), (0, 0), (20, 20), (20, 20)] {
        let produced = client.produce(&topic, 0, &batch(sequence));
        assert_eq!((produced.error_code, produced.base_offset), (0, offset));
    }
    let read = client.read_all(&topic, 0);
    assert_eq!(read.len(), 40);
    assert!(read.iter().all(|read| read.producer_id == id));
}

#[test]
fn a_batch_that_is_too_large_in_the_topics_codec_is_refused() {
    let broker = Broker::start();
    let mut client = broker.client();
    let configs = [
        ("compression.type", "uncompressed"),
        ("max.message.bytes", "2000"),
    ];
    let topic = client.create_topic_with("outgrown", 1, &configs);
    let batch = RawBatch::compressed(&records("x"), Codec::Gzip).encode();
    assert!(batch.len() < 2000);
    assert_eq!(client.produce(&topic, 0, &batch).error_code, 10);
    let small = RawBatch::compressed(&records("x")[..2], Codec::Gzip).encode();
    assert_eq!(client.produce(&topic, 0, &small).error_code, 0);
    assert_eq!(codecs(&mut client, &topic), [Codec::None]);
}
