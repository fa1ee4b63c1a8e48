//! Topics: made, and refused with every fault that Kafka names.

use serde_json::{Value, json};

use super::TOPICS;
use crate::pair::Pair;

fn topic(name: &str, partitions: i32, configs: Value) -> Value {
    json!({
        "name": name, "num_partitions": partitions, "replication_factor": 1, "configs": configs,
    })
}

pub(super) fn run(pair: &mut Pair<'_>) {
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
