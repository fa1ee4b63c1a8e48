//! Configurations: changed, refused and described.

use serde_json::{Value, json};

use crate::pair::Pair;

pub(super) fn run(pair: &mut Pair<'_>) {
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
        ("cleanup.policy", 2, json!("")),
        ("cleanup.policy", 3, json!("")),
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
        if kind == 2 {
            pair.at_every_version(44, &resource(kind, name, "retention.ms", 3, json!("5000")));
            pair.at_every_version(44, &resource(kind, name, "retention.ms", -1, json!("5000")));
        }
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
