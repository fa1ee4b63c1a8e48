//! A history with a known course: topics made, records written in every codec, read, cut off at
//! their start, configurations changed, everything described; each request at every version.

use serde_json::{Value, json};

use crate::pair::Pair;

/// The topics that later requests rely on: name and partitions.
pub(crate) const TOPICS: &[(&str, i32)] = &[("one", 1), ("three", 3), ("compacted", 1), ("odd", 4)];

pub(crate) fn run(pair: &mut Pair<'_>) {
    pair.at_every_version(
        18,
        &json!({
            "client_software_name": "diff", "client_software_version": "1",
        }),
    );
    topics(pair);
    records(pair);
    refused_records(pair);
    reads(pair);
    positions(pair);
    sessions(pair);
    empty_session(pair);
    configs(pair);
    described(pair);
    decided(pair);
    ended(pair);
}

fn topic(name: &str, partitions: i32, configs: Value) -> Value {
    json!({
        "name": name, "num_partitions": partitions, "replication_factor": 1, "configs": configs,
    })
}

fn topics(pair: &mut Pair<'_>) {
    let all: Vec<Value> = TOPICS
        .iter()
        .map(|(name, partitions)| match *name {
            "compacted" => topic(
                name,
                *partitions,
                json!([{ "name": "cleanup.policy", "value": "compact" }]),
            ),
            _ => topic(name, *partitions, json!([])),
        })
        .collect();
    pair.at_newest(19, json!({ "topics": all, "timeout_ms": 30000 }));
    let made = |more: Value| json!({ "topics": [more], "timeout_ms": 30000 });
    pair.at_every_version(19, &made(topic("made-{v}", 2, json!([]))));
    pair.at_every_version(19, &made(topic("default-{v}", -1, json!([]))));
    pair.at_every_version(
        19,
        &made(topic(
            "configured-{v}",
            1,
            json!([
                { "name": "retention.ms", "value": "3600000" },
                { "name": "cleanup.policy", "value": "compact,delete" },
                { "name": "max.message.bytes", "value": "2000" },
            ]),
        )),
    );
    let valid = json!({
        "topics": [topic("only-tried-{v}", 4, json!([]))], "timeout_ms": 30000,
        "validate_only": true,
    });
    pair.at_every_version(19, &valid);
    for refused in refused_topics() {
        pair.at_every_version(19, &made(refused));
    }
    let twice = json!({
        "topics": [topic("twice", 1, json!([])), topic("twice", 1, json!([])),
                   topic("beside-{v}", 1, json!([]))],
        "timeout_ms": 30000,
    });
    pair.at_every_version(19, &twice);
    pair.at_every_version(19, &json!({ "topics": [], "timeout_ms": 30000 }));
    pair.at_every_version(
        3,
        &json!({ "topics": null, "allow_auto_topic_creation": false }),
    );
}

fn refused_topics() -> Vec<Value> {
    let assigned = |brokers: Value| {
        json!({
            "name": "assigned-{v}", "num_partitions": -1, "replication_factor": -1,
            "assignments": brokers,
        })
    };
    let mut refused = vec![
        topic("one", 1, json!([])),
        topic("", 1, json!([])),
        topic(".", 1, json!([])),
        topic("..", 1, json!([])),
        topic("a b", 1, json!([])),
        topic("gr\u{fc}n", 1, json!([])),
        topic(&"n".repeat(250), 1, json!([])),
        topic("none", 0, json!([])),
        topic("negative", -2, json!([])),
        topic(
            "unknown-key",
            1,
            json!([{ "name": "no.such.key", "value": "1" }]),
        ),
        topic(
            "bad-value",
            1,
            json!([{ "name": "retention.ms", "value": "soon" }]),
        ),
        topic(
            "null-value",
            1,
            json!([{ "name": "retention.ms", "value": null }]),
        ),
        topic(
            "low-value",
            1,
            json!([{ "name": "segment.bytes", "value": "1" }]),
        ),
        topic(
            "bad-policy",
            1,
            json!([{ "name": "cleanup.policy", "value": "burn" }]),
        ),
        topic(
            "same-key",
            1,
            json!([
                { "name": "retention.ms", "value": "1" }, { "name": "retention.ms", "value": "2" },
            ]),
        ),
        json!({ "name": "three-copies", "num_partitions": 1, "replication_factor": 3 }),
        json!({ "name": "no-copy", "num_partitions": 1, "replication_factor": 0 }),
        json!({ "name": "less-copies", "num_partitions": 1, "replication_factor": -2 }),
        assigned(json!([{ "partition_index": 0, "broker_ids": [1] }])),
        assigned(json!([{ "partition_index": 0, "broker_ids": [9] }])),
        assigned(json!([{ "partition_index": 0, "broker_ids": [] }])),
        assigned(json!([{ "partition_index": 0, "broker_ids": [1, 1] }])),
        assigned(json!([{ "partition_index": 1, "broker_ids": [1] }])),
        assigned(json!([
            { "partition_index": 0, "broker_ids": [1] }, { "partition_index": 0, "broker_ids": [1] },
        ])),
    ];
    refused.push(json!({
        "name": "assigned-and-counted", "num_partitions": 2, "replication_factor": 1,
        "assignments": [{ "partition_index": 0, "broker_ids": [1] }],
    }));
    refused.push(topic("ones", 1, json!([])));
    refused.push(topic("on.es", 1, json!([])));
    refused.push(topic("on_es", 1, json!([])));
    refused
}

/// A Produce of one batch to one partition.
fn produce(name: &str, partition: i32, acks: i16, records: &str) -> Value {
    json!({
        "acks": acks, "timeout_ms": 5000,
        "topic_data": [{
            "name": name, "topic_id": format!("@id of {name}"),
            "partition_data": [{ "index": partition, "records": records }],
        }],
    })
}

fn records(pair: &mut Pair<'_>) {
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

fn refused_records(pair: &mut Pair<'_>) {
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

/// A Fetch of one partition, without a session.
pub(crate) fn fetch(name: &str, partition: i32, offset: i64, epoch: i32) -> Value {
    json!({
        "replica_id": -1, "max_wait_ms": 0, "min_bytes": 1, "max_bytes": 1_000_000,
        "topics": [{
            "topic": name, "topic_id": format!("@id of {name}"),
            "partitions": [{
                "partition": partition, "fetch_offset": offset, "current_leader_epoch": epoch,
                "partition_max_bytes": 1_000_000,
            }],
        }],
    })
}

fn reads(pair: &mut Pair<'_>) {
    for (name, partition) in [
        ("one", 0),
        ("three", 0),
        ("three", 1),
        ("three", 2),
        ("compacted", 0),
    ] {
        pair.at_every_version(1, &fetch(name, partition, 0, -1));
    }
    for (offset, epoch) in [
        (1, -1),
        (7, 0),
        (-1, -1),
        (-2, -1),
        (100_000, -1),
        (0, 1),
        (0, -5),
    ] {
        pair.at_every_version(1, &fetch("one", 0, offset, epoch));
    }
    pair.at_every_version(1, &fetch("absent", 0, 0, -1));
    pair.at_every_version(1, &fetch("three", 9, 0, -1));
    pair.at_every_version(1, &fetch("three", -1, 0, -1));
    for (field, value) in [
        ("max_bytes", json!(1)),
        ("max_bytes", json!(0)),
        ("max_bytes", json!(-1)),
        ("min_bytes", json!(0)),
        ("min_bytes", json!(-1)),
        ("isolation_level", json!(1)),
        ("isolation_level", json!(2)),
        ("isolation_level", json!(-1)),
        ("replica_id", json!(-2)),
        ("replica_id", json!(7)),
        ("session_id", json!(5)),
        ("session_epoch", json!(3)),
        ("session_epoch", json!(-2)),
        ("max_wait_ms", json!(-1)),
        ("rack_id", json!("a rack")),
    ] {
        let mut body = fetch("one", 0, 0, -1);
        body[field] = value;
        pair.at_every_version(1, &body);
    }
    for (field, value) in [
        ("partition_max_bytes", json!(1)),
        ("partition_max_bytes", json!(0)),
        ("partition_max_bytes", json!(-1)),
        ("partition_max_bytes", json!(200)),
        ("last_fetched_epoch", json!(0)),
        ("last_fetched_epoch", json!(5)),
        ("log_start_offset", json!(5)),
    ] {
        let mut body = fetch("one", 0, 0, -1);
        body["topics"][0]["partitions"][0][field] = value;
        pair.at_every_version(1, &body);
    }
}

/// A ListOffsets of one partition.
pub(crate) fn offset_of(name: &str, partition: i32, timestamp: i64, epoch: i32) -> Value {
    json!({
        "replica_id": -1, "timeout_ms": 5000,
        "topics": [{ "name": name, "partitions": [{
            "partition_index": partition, "timestamp": timestamp, "current_leader_epoch": epoch,
        }] }],
    })
}

fn positions(pair: &mut Pair<'_>) {
    let times = [
        -1,
        -2,
        -3,
        -4,
        -5,
        -6,
        -7,
        -100,
        0,
        1_700_000_000_000,
        1_700_000_001_500,
        1_700_000_002_001,
        i64::MAX,
    ];
    for time in times {
        pair.at_every_version(2, &offset_of("one", 0, time, -1));
        pair.at_every_version(2, &offset_of("three", 1, time, 0));
    }
    for epoch in [1, -5] {
        pair.at_every_version(2, &offset_of("one", 0, -1, epoch));
    }
    for (name, partition) in [
        ("absent", 0),
        ("three", 9),
        ("three", -1),
        ("", 0),
        ("a b", 0),
    ] {
        pair.at_every_version(2, &offset_of(name, partition, -1, -1));
    }
    for (field, value) in [
        ("replica_id", 7),
        ("replica_id", -2),
        ("isolation_level", 1),
        ("isolation_level", 3),
    ] {
        let mut body = offset_of("one", 0, -1, -1);
        body[field] = json!(value);
        pair.at_every_version(2, &body);
    }
    let mut twice = offset_of("one", 0, -1, -1);
    let partition = twice["topics"][0]["partitions"][0].clone();
    twice["topics"][0]["partitions"] = json!([partition, partition]);
    pair.at_every_version(2, &twice);
    for (name, partition, current, wanted) in [
        ("one", 0, -1, 0),
        ("one", 0, 0, 0),
        ("one", 0, 5, 0),
        ("one", 0, -1, 7),
        ("one", 0, -1, -1),
        ("three", 9, -1, 0),
        ("absent", 0, -1, 0),
    ] {
        pair.at_every_version(
            23,
            &json!({
                "replica_id": -1,
                "topics": [{ "topic": name, "partitions": [{
                    "partition": partition, "current_leader_epoch": current, "leader_epoch": wanted,
                }] }],
            }),
        );
    }
    for (name, partition, offset) in [
        ("one", 0, 4),
        ("one", 0, 2),
        ("one", 0, -1),
        ("one", 0, -2),
        ("one", 0, 1_000_000),
        ("three", 0, 0),
        ("three", 9, 0),
        ("absent", 0, 0),
        ("compacted", 0, 1),
        ("one", 0, 9),
    ] {
        pair.at_every_version(21, &json!({
            "timeout_ms": 10000,
            "topics": [{ "name": name, "partitions": [{ "partition_index": partition, "offset": offset }] }],
        }));
    }
    for time in [-2, -1, -3, 0] {
        pair.at_every_version(2, &offset_of("one", 0, time, -1));
    }
    for offset in [0, 8, 9, 10] {
        pair.at_every_version(1, &fetch("one", 0, offset, -1));
    }
}

fn sessions(pair: &mut Pair<'_>) {
    for version in pair.versions(1) {
        if version < 7 {
            continue;
        }
        let mut begin = fetch("one", 0, 100, -1);
        begin["session_epoch"] = json!(0);
        begin["topics"][0]["partitions"]
            .as_array_mut()
            .expect("a list")
            .push(json!({
                "partition": 4, "fetch_offset": 0, "partition_max_bytes": 1000,
            }));
        begin["topics"]
            .as_array_mut()
            .expect("a list")
            .push(fetch("three", 1, 0, -1)["topics"][0].clone());
        pair.at(1, version, begin);
        let place = usize::from(version as u16 - 7);
        let next = |epoch: i32, topics: Value, forgotten: Value| {
            json!({
                "replica_id": -1, "max_wait_ms": 0, "min_bytes": 1, "max_bytes": 1_000_000,
                "session_id": format!("@session {place}"), "session_epoch": epoch,
                "topics": topics, "forgotten_topics_data": forgotten,
            })
        };
        pair.at(1, version, next(1, json!([]), json!([])));
        pair.at(
            1,
            version,
            next(2, fetch("three", 0, 0, -1)["topics"].clone(), json!([])),
        );
        let forgotten =
            json!([{ "topic": "three", "topic_id": "@id of three", "partitions": [0, 1] }]);
        pair.at(1, version, next(3, json!([]), forgotten));
        pair.at(1, version, next(4, json!([]), json!([])));
        pair.at(1, version, next(9, json!([]), json!([])));
        pair.at(
            1,
            version,
            next(5, fetch("one", 0, 12, -1)["topics"].clone(), json!([])),
        );
        pair.at(1, version, next(-1, json!([]), json!([])));
        pair.at(1, version, next(6, json!([]), json!([])));
    }
}

/// A session of nothing.
fn empty_session(pair: &mut Pair<'_>) {
    let mut nothing = fetch("absent", 0, 0, -1);
    nothing["session_epoch"] = json!(0);
    nothing["topics"][0]["partitions"] = json!([]);
    pair.at(1, 12, nothing);
}

fn configs(pair: &mut Pair<'_>) {
    let resource = |kind: i8, name: &str, key: &str, operation: i8, value: Value| {
        json!({
            "resources": [{ "resource_type": kind, "resource_name": name, "configs": [
                { "name": key, "config_operation": operation, "value": value },
            ] }],
        })
    };
    let describe = json!({ "include_synonyms": true, "include_documentation": true,
        "resources": [{ "resource_type": 2, "resource_name": "made-7" }] });
    for (key, operation, value) in [
        ("retention.ms", 0, json!("5000")),
        ("retention.ms", 0, json!("never")),
        ("retention.ms", 0, json!(null)),
        ("retention.ms", 0, json!("")),
        ("retention.ms", 2, json!("1")),
        ("retention.ms", 9, json!("1")),
        ("retention.ms", 1, json!(null)),
        ("cleanup.policy", 2, json!("compact")),
        ("cleanup.policy", 2, json!("compact")),
        ("cleanup.policy", 3, json!("delete")),
        ("cleanup.policy", 3, json!("compact")),
        ("cleanup.policy", 1, json!("")),
        ("no.such.key", 0, json!("1")),
        ("", 0, json!("1")),
        ("compression.type", 0, json!("lz4")),
        ("min.insync.replicas", 0, json!("0")),
        ("message.timestamp.type", 0, json!("LogAppendTime")),
        ("message.timestamp.type", 1, json!(null)),
        ("segment.bytes", 0, json!("1048576")),
        ("unclean.leader.election.enable", 0, json!("maybe")),
    ] {
        pair.at_every_version(44, &resource(2, "made-7", key, operation, value));
        pair.at_every_version(32, &describe);
    }
    for (kind, name) in [
        (2, "absent"),
        (2, ""),
        (2, "a b"),
        (4, "9"),
        (4, "x"),
        (3, "one"),
        (0, "one"),
        (99, "one"),
        (-1, "one"),
    ] {
        pair.at_every_version(44, &resource(kind, name, "retention.ms", 0, json!("5000")));
        pair.at_every_version(33, &resource(kind, name, "retention.ms", 0, json!("5000")));
        pair.at_every_version(
            32,
            &json!({ "resources": [{ "resource_type": kind, "resource_name": name }] }),
        );
    }
    for (key, value) in [
        ("retention.ms", json!("7000")),
        ("retention.ms", json!("x")),
        ("no.such.key", json!("1")),
        ("retention.ms", json!(null)),
    ] {
        pair.at_every_version(33, &resource(2, "made-6", key, 0, value));
        pair.at_every_version(
            32,
            &json!({ "resources": [{ "resource_type": 2, "resource_name": "made-6" }] }),
        );
    }
    for name in ["1", ""] {
        for (key, value) in [
            ("log.cleaner.threads", "2"),
            ("log.cleaner.threads", "x"),
            ("node.id", "4"),
            ("log.retention.ms", "99999"),
            ("no.such.key", "1"),
        ] {
            let mut body = resource(4, name, key, 0, json!(value));
            pair.at_every_version(44, &body);
            body["validate_only"] = json!(true);
            pair.at_every_version(33, &body);
            pair.at_every_version(44, &resource(4, name, key, 1, json!(null)));
        }
        pair.at_every_version(32, &json!({ "include_synonyms": true,
            "resources": [{ "resource_type": 4, "resource_name": name,
                "configuration_keys": ["log.retention.ms", "log.cleaner.threads", "no.such.key", "node.id", "log.segment.bytes"] }] }));
    }
    let same = json!({ "resources": [
        { "resource_type": 2, "resource_name": "one", "configs": [] },
        { "resource_type": 2, "resource_name": "one", "configs": [] },
    ] });
    // Not of AlterConfigs: Apache Kafka never answers one that names a resource twice.
    for key in [32, 44] {
        pair.at_every_version(key, &same);
    }
    for key in [32, 33, 44] {
        pair.at_every_version(key, &json!({ "resources": [] }));
    }
    let keys = json!({ "resources": [
        { "resource_type": 2, "resource_name": "one", "configuration_keys": ["retention.ms", "retention.ms", "nothing", ""] },
        { "resource_type": 2, "resource_name": "three", "configuration_keys": [] },
    ] });
    pair.at_every_version(32, &keys);
    pair.at_every_version(
        32,
        &json!({ "resources": [
        { "resource_type": 2, "resource_name": "one", "configuration_keys": ["segment.ms"] },
        { "resource_type": 99, "resource_name": "one", "configuration_keys": null },
    ] }),
    );
    for types in [
        json!([]),
        json!([2]),
        json!([4]),
        json!([2, 2]),
        json!([8]),
        json!([16]),
        json!([32]),
        json!([99]),
        json!([0]),
    ] {
        pair.at_every_version(74, &json!({ "resource_types": types }));
    }
}

fn described(pair: &mut Pair<'_>) {
    for topics in [
        json!([]),
        json!([{ "name": "one" }]),
        json!([{ "name": "one" }, { "name": "one" }]),
        json!([{ "name": "absent" }]),
        json!([{ "name": "" }]),
        json!([{ "name": "a b" }]),
        json!([{ "name": "n".repeat(250) }]),
        json!([{ "name": null, "topic_id": "@id of three" }]),
        json!([{ "name": null, "topic_id": "@id of absent" }]),
        json!([{ "name": null }]),
        json!([{ "name": "one", "topic_id": "@id of three" }]),
        json!([{ "name": null, "topic_id": "@id of three" }, { "name": "one" }]),
        json!([{ "name": null, "topic_id": "@id of three" }, { "name": null, "topic_id": "@id of three" }]),
    ] {
        for flags in [false, true] {
            pair.at_every_version(
                3,
                &json!({
                    "topics": topics, "allow_auto_topic_creation": flags,
                    "include_cluster_authorized_operations": flags,
                    "include_topic_authorized_operations": flags,
                }),
            );
        }
    }
    for (kind, flag) in [(1, false), (1, true), (2, false), (0, false), (3, true)] {
        pair.at_every_version(60, &json!({
            "endpoint_type": kind, "include_cluster_authorized_operations": flag, "include_fenced_brokers": flag,
        }));
    }
    for (names, limit) in [
        (json!([]), 2000),
        (json!([{ "name": "three" }]), 2),
        (json!([{ "name": "three" }]), 0),
        (json!([{ "name": "three" }]), -1),
        (json!([{ "name": "absent" }]), 2000),
        (json!([{ "name": "" }]), 2000),
        (json!([{ "name": "a b" }]), 2000),
        (
            json!([{ "name": "three" }, { "name": "one" }, { "name": "one" }]),
            2000,
        ),
        (json!([{ "name": "three" }, { "name": "one" }]), 1),
    ] {
        for cursor in [
            json!(null),
            json!({ "topic_name": "three", "partition_index": 1 }),
            json!({ "topic_name": "three", "partition_index": 9 }),
            json!({ "topic_name": "three", "partition_index": -1 }),
            json!({ "topic_name": "absent", "partition_index": 0 }),
            json!({ "topic_name": "", "partition_index": 0 }),
        ] {
            pair.at_every_version(
                75,
                &json!({ "topics": names, "response_partition_limit": limit, "cursor": cursor }),
            );
        }
    }
    for topics in [
        json!(null),
        json!([]),
        json!([{ "topic": "one", "partitions": [0] }]),
        json!([{ "topic": "three", "partitions": [1, 1, 7, -1] }]),
        json!([{ "topic": "absent", "partitions": [0] }]),
        json!([{ "topic": "three", "partitions": [] }]),
        json!([{ "topic": "three", "partitions": [0] }, { "topic": "three", "partitions": [1] }]),
    ] {
        pair.at_every_version(35, &json!({ "topics": topics }));
    }
    for (name, partitions) in [
        ("one", json!([0])),
        ("three", json!([0, 1, 9, -1])),
        ("absent", json!([0])),
        ("", json!([0])),
        ("three", json!([])),
    ] {
        pair.at_every_version(
            61,
            &json!({ "topics": [{ "name": name, "partition_indexes": partitions }] }),
        );
        pair.at_every_version(
            46,
            &json!({ "topics": [{ "name": name, "partition_indexes": partitions }] }),
        );
    }
    pair.at_every_version(46, &json!({ "topics": null }));
    pair.at_every_version(46, &json!({ "topics": [] }));
    for (name, partitions) in [
        ("__cluster_metadata", json!([{ "partition_index": 0 }])),
        ("__cluster_metadata", json!([{ "partition_index": 1 }])),
        ("one", json!([{ "partition_index": 0 }])),
        ("absent", json!([{ "partition_index": 0 }])),
        ("__cluster_metadata", json!([])),
    ] {
        pair.at_every_version(
            55,
            &json!({ "topics": [{ "topic_name": name, "partitions": partitions }] }),
        );
    }
    pair.at_every_version(55, &json!({ "topics": [] }));
    pair.at_every_version(
        55,
        &json!({ "topics": [
        { "topic_name": "__cluster_metadata", "partitions": [{ "partition_index": 0 }] },
        { "topic_name": "one", "partitions": [{ "partition_index": 0 }] },
    ] }),
    );
}

fn decided(pair: &mut Pair<'_>) {
    for (name, count, assignments) in [
        ("made-2", 4, json!(null)),
        ("made-2", 4, json!(null)),
        ("made-2", 3, json!(null)),
        ("made-2", 0, json!(null)),
        ("made-2", -1, json!(null)),
        ("absent", 4, json!(null)),
        ("", 4, json!(null)),
        ("made-3", 3, json!([{ "broker_ids": [1] }])),
        ("made-3", 5, json!([{ "broker_ids": [1] }])),
        (
            "made-3",
            5,
            json!([{ "broker_ids": [9] }, { "broker_ids": [1] }]),
        ),
        (
            "made-3",
            5,
            json!([{ "broker_ids": [1, 1] }, { "broker_ids": [1] }]),
        ),
        (
            "made-3",
            5,
            json!([{ "broker_ids": [] }, { "broker_ids": [1] }]),
        ),
        ("made-3", 5, json!([])),
        ("made-4", 20000, json!(null)),
    ] {
        let mut body = json!({ "timeout_ms": 30000, "validate_only": true,
            "topics": [{ "name": name, "count": count, "assignments": assignments }] });
        pair.at_every_version(37, &body);
        if count < 100 {
            body["validate_only"] = json!(false);
            pair.at_every_version(37, &body);
        }
    }
    pair.at_every_version(37, &json!({ "timeout_ms": 30000, "topics": [
        { "name": "one", "count": 5, "assignments": null }, { "name": "one", "count": 6, "assignments": null }] }));
    for kind in [0, 1, 2, -1] {
        for topics in [
            json!([]),
            json!([{ "topic": "one", "partitions": [0] }]),
            json!([{ "topic": "three", "partitions": [1, 1, 9, -1] }]),
            json!([{ "topic": "absent", "partitions": [0] }]),
            json!(null),
        ] {
            pair.at_every_version(
                43,
                &json!({ "election_type": kind, "topic_partitions": topics, "timeout_ms": 10000 }),
            );
        }
    }
    for (name, partition, replicas) in [
        ("one", 0, json!([1])),
        ("one", 0, json!(null)),
        ("one", 0, json!([])),
        ("one", 0, json!([1, 1])),
        ("one", 0, json!([-1])),
        ("one", 9, json!([1])),
        ("one", -1, json!([1])),
        ("absent", 0, json!([1])),
        ("", 0, json!(null)),
    ] {
        for change in [true, false] {
            pair.at_every_version(45, &json!({ "timeout_ms": 10000, "allow_replication_factor_change": change,
                "topics": [{ "name": name, "partitions": [{ "partition_index": partition, "replicas": replicas }] }] }));
        }
    }
    pair.at_every_version(45, &json!({ "timeout_ms": 10000, "topics": [] }));
    for (path, name, partitions) in [
        ("@log dir", "one", json!([0])),
        ("@log dir", "three", json!([0, 9, -1])),
        ("@log dir", "absent", json!([0])),
        ("/no/such/folder", "one", json!([0])),
        ("relative", "one", json!([0])),
        ("", "one", json!([0])),
        ("@log dir", "", json!([0])),
    ] {
        pair.at_every_version(34, &json!({ "dirs": [{ "path": path, "topics": [{ "name": name, "partitions": partitions }] }] }));
    }
    for (feature, level, kind) in [
        ("metadata.version", 30, 1),
        ("metadata.version", 99, 1),
        ("metadata.version", 0, 1),
        ("metadata.version", -1, 1),
        ("metadata.version", 20, 1),
        ("no.such.feature", 1, 1),
        ("no.such.feature", 0, 1),
        ("", 1, 1),
        ("metadata.version", 20, 0),
        ("metadata.version", 20, 9),
        ("kraft.version", 9, 1),
    ] {
        pair.at_every_version(57, &json!({ "timeout_ms": 10000, "validate_only": true,
            "feature_updates": [{ "feature": feature, "max_version_level": level, "upgrade_type": kind }] }));
    }
    pair.at_every_version(
        57,
        &json!({ "timeout_ms": 10000, "validate_only": true, "feature_updates": [] }),
    );
    for body in [
        json!({ "transactional_id": null, "transaction_timeout_ms": 0 }),
        json!({ "transactional_id": null, "transaction_timeout_ms": -1 }),
        json!({ "transactional_id": "", "transaction_timeout_ms": 1000 }),
        json!({ "transactional_id": null, "transaction_timeout_ms": 1000, "producer_id": "@producer 0", "producer_epoch": 0 }),
        json!({ "transactional_id": null, "transaction_timeout_ms": 1000, "producer_id": "@producer 0", "producer_epoch": -1 }),
        json!({ "transactional_id": null, "transaction_timeout_ms": 1000, "producer_id": -1, "producer_epoch": 3 }),
    ] {
        pair.at_every_version(22, &body);
    }
}

fn ended(pair: &mut Pair<'_>) {
    let by_name = |name: &str| {
        json!({ "timeout_ms": 30000, "topic_names": [name],
        "topics": [{ "name": name }] })
    };
    pair.at_every_version(20, &by_name("made-{v}"));
    for name in ["absent", "", "a b"] {
        pair.at_every_version(20, &by_name(name));
    }
    for topics in [
        json!([{ "name": null, "topic_id": "@id of default-2" }]),
        json!([{ "name": null, "topic_id": "@id of absent" }]),
        json!([{ "name": null }]),
        json!([{ "name": "one", "topic_id": "@id of one" }]),
        json!([{ "name": "default-3" }, { "name": "default-3" }]),
        json!([{ "name": "default-4" }, { "name": null, "topic_id": "@id of default-4" }]),
        json!([{ "name": null, "topic_id": "@id of default-5" }, { "name": null, "topic_id": "@id of default-5" }]),
        json!([]),
    ] {
        pair.at(20, 6, json!({ "timeout_ms": 30000, "topics": topics }));
    }
    pair.at(
        20,
        5,
        json!({ "timeout_ms": 30000, "topic_names": ["default-6", "default-6", "default-7"] }),
    );
    pair.at(20, 5, json!({ "timeout_ms": 30000, "topic_names": [] }));
    pair.at_every_version(
        3,
        &json!({ "topics": null, "allow_auto_topic_creation": false }),
    );
    pair.at_every_version(1, &fetch("made-2", 0, 0, -1));
    pair.at_every_version(0, &produce("made-2", 0, -1, "none 1"));
}
