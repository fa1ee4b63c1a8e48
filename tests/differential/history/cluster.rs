//! What the cluster is and decides: described, elected, changed and ended.

use serde_json::json;

use super::reads::fetch;
use super::records::produce;
use crate::pair::Pair;
use crate::peer::{Ask, Bend};

pub(super) fn described(pair: &mut Pair<'_>) {
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

pub(super) fn decided(pair: &mut Pair<'_>) {
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

pub(super) fn ended(pair: &mut Pair<'_>) {
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

/// A length of some million below nothing.
pub(super) fn bent(pair: &mut Pair<'_>) {
    pair.ask(&Ask {
        key: 3,
        version: 1,
        body: json!({ "topics": null }),
        bend: Bend::Byte(434, 16),
    });
}
