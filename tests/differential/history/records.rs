//! Records: written in every codec and form, and refused.

use serde_json::{Value, json};

use crate::pair::Pair;

/// A Produce of one batch to one partition.
pub(super) fn produce(name: &str, partition: i32, acks: i16, records: &str) -> Value {
    json!({
        "acks": acks, "timeout_ms": 5000,
        "topic_data": [{
            "name": name, "topic_id": format!("@id of {name}"),
            "partition_data": [{ "index": partition, "records": records }],
        }],
    })
}

pub(super) fn written(pair: &mut Pair<'_>) {
    pair.at_every_version(
        22,
        &json!({ "transactional_id": null, "transaction_timeout_ms": 1000 }),
    );
    for codec in ["none", "gzip", "snappy", "lz4"] {
        pair.at_every_version(0, &produce("one", 0, -1, &format!("{codec} 3 headers")));
        pair.at_every_version(0, &produce("three", 1, 1, &format!("{codec} 2 size=300")));
    }
    // Since KIP-110 only from version 7 on.
    pair.at_every_version(0, &produce("one", 0, -1, "zstd 3"));
    pair.at_every_version(0, &produce("three", 2, 0, "none 1"));
    pair.at_every_version(0, &produce("compacted", 0, -1, "none 2"));
    pair.at_every_version(0, &json!({
        "acks": -1, "timeout_ms": 5000,
        "topic_data": [
            { "name": "one", "topic_id": "@id of one",
              "partition_data": [{ "index": 0, "records": "none 1" }, { "index": 5, "records": "none 1" }] },
            { "name": "absent", "topic_id": "@id of absent",
              "partition_data": [{ "index": 0, "records": "none 1" }] },
            { "name": "three", "topic_id": "@id of three",
              "partition_data": [{ "index": 0, "records": "none 1" }, { "index": -1, "records": "none 1" }] },
        ],
    }));
}

/// Batches that are not taken, or for a reason of their own.
const REFUSED: &[&str] = &[
    "",
    "junk",
    "none 0",
    "none 2 crc=1",
    "none 2 magic=1",
    "none 2 magic=0",
    "none 2 magic=3",
    "none 2 length=20",
    "none 2 length=-1",
    "none 2 count=3",
    "none 2 count=1",
    "none 2 count=-1",
    "none 2 delta=5",
    "none 2 delta=0",
    "none 2 attributes=16",
    "none 2 attributes=32",
    "none 2 attributes=128",
    "none 2 maxtime=5",
    "none 2 base=7",
    "none 2 leader=9",
    "none 1 time=-1",
    "none 1 time=4000000000000",
    "none 1+none 1",
    "gzip 2+none 1",
    "none 2 id=5",
    "none 2 id=5 epoch=0",
    "none 2 id=5 epoch=0 sequence=0",
    "none 2 id=-2",
    "none 2 producer=0 sequence=5",
    "none 2 producer=0",
    "none 2 producer=0",
    "none 2 producer=0 sequence=2",
    "none 2 producer=0 sequence=9",
    "none 2 producer=0 epoch=1",
    "none 2 producer=0 epoch=1 sequence=1",
    "none 2 producer=0 epoch=1 sequence=2",
    "none 2 producer=0",
    "none 2 producer=0 sequence=-1",
    "none 2 producer=1 sequence=4",
    "none 2 producer=1",
    "none 2 producer=1 sequence=2+none 2 producer=1 sequence=4",
    "none 1 size=1100000",
    "gzip 1 size=1100000",
];

/// Batches with which the brokers deal in ways of their own. What becomes of the topic that they
/// are sent to is not compared, and it goes away behind them.
const ODD: &[&str] = &[
    "none 2 producer=0 epoch=-1",
    "none 2 length=5000",
    "none 2 cut=3",
    "none 2 behind=4",
    "none 2 attributes=8",
    "none 2 attributes=7",
    "none 2 attributes=1",
    "zstd 2 attributes=8",
];

pub(super) fn refused(pair: &mut Pair<'_>) {
    for (at, records) in REFUSED.iter().enumerate() {
        // An old version, the newest that names topics, and the newest.
        for version in [3, 7, 12, 13] {
            let acks = if at % 3 == 0 { 1 } else { -1 };
            pair.at(0, version, produce("three", 0, acks, records));
        }
    }
    for records in ODD {
        for version in [3, 7, 12, 13] {
            pair.at(0, version, produce("odd", 0, -1, records));
        }
    }
    for records in ["none 2 nokey", "none 2 tombstone", "zstd 2 nokey"] {
        pair.at_newest(0, produce("compacted", 0, -1, records));
        pair.at(0, 3, produce("compacted", 0, -1, records));
        pair.at(0, 7, produce("compacted", 0, -1, records));
    }
    for acks in [2, -2, 0] {
        pair.at_every_version(0, &produce("three", 0, acks, "none 1"));
        pair.at_every_version(0, &produce("three", 0, acks, "none 1 crc=1"));
        pair.at_every_version(0, &produce("absent", 0, acks, "none 1"));
    }
    pair.at_every_version(
        0,
        &json!({
            "transactional_id": "t", "acks": -1, "timeout_ms": 5000,
            "topic_data": [{ "name": "one", "topic_id": "@id of one",
                "partition_data": [{ "index": 0, "records": "none 1" }] }],
        }),
    );
    // No null records: Apache Kafka never answers a request that has some.
    for (index, records) in [(1, "none 2"), (2, "junk"), (3, "none 2 magic=1")] {
        let again = if index == 1 { 1 } else { 0 };
        pair.at_every_version(
            0,
            &json!({
                "acks": -1, "timeout_ms": 5000,
                "topic_data": [{ "name": "odd", "topic_id": "@id of odd", "partition_data": [
                    { "index": index, "records": records }, { "index": again, "records": "none 1" },
                ] }],
            }),
        );
    }
    pair.at_newest(
        20,
        json!({ "timeout_ms": 30000, "topics": [{ "name": "odd" }] }),
    );
    pair.at_every_version(
        0,
        &json!({ "acks": -1, "timeout_ms": 5000, "topic_data": [] }),
    );
}
