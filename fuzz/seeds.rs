//! Writes a small valid corpus for every target: `cargo run --bin seeds`, in this folder. Only
//! what our own encoders make; the fuzzer finds the rest.

use std::fs;
use std::io;
use std::path::Path;

use bytes::BytesMut;
use klamm_model::{
    Compression, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, ProducerStamp,
    Sequence, ShardId, Timestamp, TopicId, TopicName, TopicPartition,
};
use klamm_records::batch::{BatchBuilder, BatchOptions, RecordHeader, stamp};
use klamm_records::segment::{
    Checkpoint, PartitionCheckpoint, ProducerBatch, ProducerCheckpoint, ShardCheckpoint,
};
use klamm_records::wal::{EntryHead, EntryStamp, Incarnation, WalPosition, encode_entry};
use klamm_wire::{
    ApiKey, Message, Records, api_versions, create_topics, encode_request, encode_response, fetch,
    metadata, produce,
};

const NOW: i64 = 1_700_000_000_000;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let targets = [
        ("frames", frames()),
        ("requests", requests()),
        ("responses", responses()),
        ("produce", produce_bodies()),
        ("fetch", fetch_bodies()),
        ("batch", batches()),
        ("scan", vec![[&[0; 16], &wal()[..]].concat()]),
        ("segment", vec![segment()]),
        ("checkpoint", checkpoints()),
    ];
    for (target, seeds) in targets {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        println!("{target}: {} seeds", seeds.len());
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}

fn batch(codec: Compression, base_offset: i64, count: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions {
        compressor: codec.into(),
        producer: Some(ProducerStamp {
            id: ProducerId(7),
            epoch: ProducerEpoch(0),
            base_sequence: Sequence(0),
        }),
        base_offset: Offset(base_offset),
        ..BatchOptions::default()
    });
    let header = RecordHeader {
        key: "h".into(),
        value: None,
    };
    for number in 0..count {
        let headers = std::slice::from_ref(&header);
        let time = Timestamp(NOW + i64::from(number));
        builder.append(time, Some(b"key"), Some(b"value value value"), headers);
    }
    builder.build().expect("a small batch")
}

fn batches() -> Vec<Vec<u8>> {
    let codecs = Compression::ALL.into_iter();
    codecs
        .flat_map(|codec| [batch(codec, 0, 1), batch(codec, 0, 5)])
        .collect()
}

fn segment() -> Vec<u8> {
    (0..6)
        .flat_map(|number| batch(Compression::None, number * 2, 2))
        .collect()
}

fn partition() -> TopicPartition {
    TopicPartition {
        topic: TopicId([7; 16]),
        index: PartitionIndex(0),
    }
}

/// Entries of incarnation 0, which is the one that the target scans for.
fn wal() -> BytesMut {
    let mut area = BytesMut::new();
    let mut flushed = WalPosition::ZERO;
    for number in 0..7 {
        let at = EntryStamp {
            position: WalPosition::ZERO.plus(area.len()),
            incarnation: Incarnation(0),
            flushed,
        };
        let offset = Offset(number);
        let epoch = LeaderEpoch(4);
        let (head, payload) = match number {
            3 => (EntryHead::log_start(at, partition(), offset), vec![]),
            4 => (EntryHead::truncate(at, partition(), offset), vec![]),
            6 => (EntryHead::flush_mark(at), vec![]),
            _ => {
                let mut batch = batch(Compression::None, 0, 1);
                stamp(&mut batch, offset, epoch);
                (
                    EntryHead::batch(at, partition(), epoch, offset, batch.len()),
                    batch,
                )
            }
        };
        encode_entry(&mut area, head, &payload);
        flushed = at.position;
    }
    area.resize(area.len() + 256, 0);
    area
}

fn checkpoints() -> Vec<Vec<u8>> {
    let remembered = ProducerBatch {
        base_sequence: Sequence(0),
        last_sequence: Sequence(1),
        base_offset: Offset(0),
        offset_delta: klamm_model::OffsetDelta(1),
        timestamp: Timestamp(NOW),
    };
    let shard = ShardCheckpoint {
        shard: ShardId(1),
        flushed: WalPosition(800),
        partitions: vec![PartitionCheckpoint {
            partition: partition(),
            topic_name: TopicName::new("orders").expect("a lawful name"),
            segment_base: Offset(0),
            segment_bytes: 300,
            flushed_end: Offset(2),
            log_start: Offset(0),
            covered: WalPosition(400),
            producers: vec![ProducerCheckpoint {
                id: ProducerId(7),
                epoch: ProducerEpoch(0),
                last_timestamp: Timestamp(NOW),
                batches: vec![remembered],
            }],
        }],
    };
    let texts = [
        "0\n1\n4 17\n",
        "version: 0\ntopic_id: BwcHBwcHBwcHBwcHBwcHBw\n",
        "version=1\nnode.id=1\ncluster.id=BwcHBwcHBwcHBwcHBwcHBw\n",
        "00000000000000000042.timeindex",
    ];
    let mut seeds = vec![
        Checkpoint {
            shards: vec![shard],
        }
        .encode(),
    ];
    seeds.extend(texts.map(|text| text.as_bytes().to_vec()));
    seeds
}

fn records() -> Records {
    let mut records = Records::default();
    records.push(batch(Compression::None, 0, 1).into());
    records
}

fn produce_request() -> produce::Request<'static> {
    produce::Request {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![produce::TopicProduceData {
            partition_data: vec![produce::PartitionProduceData {
                records: Some(records()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn produce_response() -> produce::Response<'static> {
    produce::Response {
        responses: vec![produce::TopicProduceResponse {
            partition_responses: vec![produce::PartitionProduceResponse::default()],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn fetch_request() -> fetch::Request<'static> {
    fetch::Request {
        topics: vec![fetch::FetchTopic {
            partitions: vec![fetch::FetchPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn fetch_response() -> fetch::Response<'static> {
    fetch::Response {
        responses: vec![fetch::FetchableTopicResponse {
            partitions: vec![fetch::PartitionData {
                records: Some(records()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// One byte of direction and version, then the body: as the targets for one key take it.
fn bodies(key: ApiKey, request: &dyn Message, response: &dyn Message) -> Vec<Vec<u8>> {
    let range = key.versions().expect("a key with messages");
    let mut seeds = Vec::new();
    for version in range.first..=range.last {
        for (bit, message) in [(0, request), (0x80, response)] {
            let mut body = BytesMut::new();
            // A field of this seed that the version lacks is a reason to leave the version out.
            if message.encode(version, &mut body).is_ok() {
                let choice = bit | u8::try_from(version - range.first).expect("few versions");
                seeds.push([&[choice], &body[..]].concat());
            }
        }
    }
    seeds
}

fn produce_bodies() -> Vec<Vec<u8>> {
    bodies(ApiKey::Produce, &produce_request(), &produce_response())
}

fn fetch_bodies() -> Vec<Vec<u8>> {
    bodies(ApiKey::Fetch, &fetch_request(), &fetch_response())
}

/// Size and frame of requests of several keys.
fn request_stream() -> Vec<BytesMut> {
    let topic = create_topics::CreatableTopic {
        name: "orders".into(),
        num_partitions: 3,
        replication_factor: 1,
        ..Default::default()
    };
    let create = create_topics::Request {
        topics: vec![topic],
        ..Default::default()
    };
    let messages: [(&dyn Message, i16); 7] = [
        (&api_versions::Request::default(), 3),
        (&api_versions::Request::default(), 0),
        (&metadata::Request::default(), 12),
        (&metadata::Request::default(), 1),
        (&create, 7),
        (&produce_request(), 9),
        (&fetch_request(), 12),
    ];
    messages
        .into_iter()
        .map(|(message, version)| {
            let mut frame = BytesMut::new();
            encode_request(message, version, 7, Some("me"), &mut frame)
                .expect("the version knows it");
            frame
        })
        .collect()
}

fn requests() -> Vec<Vec<u8>> {
    request_stream()
        .iter()
        .map(|frame| frame[4..].to_vec())
        .collect()
}

fn frames() -> Vec<Vec<u8>> {
    let stream = request_stream();
    let mut seeds: Vec<Vec<u8>> = stream.iter().map(|frame| frame.to_vec()).collect();
    seeds.push(stream.concat());
    seeds
}

/// Key and version, then the frame of a response.
fn responses() -> Vec<Vec<u8>> {
    let messages: [(&dyn Message, i16); 4] = [
        (&api_versions::Response::default(), 3),
        (&metadata::Response::default(), 12),
        (&produce_response(), 9),
        (&fetch_response(), 12),
    ];
    messages
        .into_iter()
        .map(|(message, version)| {
            let mut frame = BytesMut::new();
            encode_response(message, version, 7, &mut frame).expect("the version knows it");
            let key = message.schema().key.number();
            [&key.to_be_bytes(), &version.to_be_bytes(), &frame[4..]].concat()
        })
        .collect()
}
