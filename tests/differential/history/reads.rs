//! What is read: records, offsets and epochs, and sessions of fetches.

use serde_json::{Value, json};

use crate::pair::Pair;

/// A Fetch of one partition, without a session.
pub(super) fn fetch(name: &str, partition: i32, offset: i64, epoch: i32) -> Value {
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

pub(super) fn records(pair: &mut Pair<'_>) {
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
pub(super) fn offset_of(name: &str, partition: i32, timestamp: i64, epoch: i32) -> Value {
    json!({
        "replica_id": -1, "timeout_ms": 5000,
        "topics": [{ "name": name, "partitions": [{
            "partition_index": partition, "timestamp": timestamp, "current_leader_epoch": epoch,
        }] }],
    })
}

pub(super) fn positions(pair: &mut Pair<'_>) {
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

pub(super) fn sessions(pair: &mut Pair<'_>) {
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
pub(super) fn empty_session(pair: &mut Pair<'_>) {
    let mut nothing = fetch("absent", 0, 0, -1);
    nothing["session_epoch"] = json!(0);
    nothing["topics"][0]["partitions"] = json!([]);
    pair.at(1, 12, nothing);
}
