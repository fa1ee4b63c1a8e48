//! What must differ between any two brokers is made equal before answers are compared: each rule
//! says which field of which answers, what of it is left to compare, and why.

use serde_json::{Map, Value, json};

use crate::codec::unhex;
use crate::peer::Peer;

/// What is left of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Which topic's id, not the id.
    Topic,
    /// Whether it is the own port.
    Port,
    /// Whether it is the own cluster's id.
    Cluster,
    /// Which producer in the order of their ids, not the id.
    Producer,
    /// Which member in the order of their ids, not the id.
    Member,
    /// Whether it is a session at all.
    Session,
    /// Whether it is the own folder.
    Folder,
    /// Whether it is null, empty or a text.
    Presence,
    /// Whether it is below zero.
    Sign,
    /// The batches, as `Peer::summary` tells them.
    Batches,
    /// The elements in the order of these fields.
    Sorted,
    /// Nothing but that it is there.
    Nothing,
}

/// One rule; an empty list of keys is every API.
struct Rule {
    keys: &'static [i16],
    field: &'static str,
    left: Left,
    #[allow(dead_code, reason = "written for readers")]
    reason: &'static str,
}

const fn rule(keys: &'static [i16], field: &'static str, left: Left, reason: &'static str) -> Rule {
    Rule {
        keys,
        field,
        left,
        reason,
    }
}

const RULES: &[Rule] = &[
    rule(&[], "topic_id", Left::Topic, "ids of topics are random"),
    rule(&[], "port", Left::Port, "each broker has a port of its own"),
    rule(
        &[],
        "cluster_id",
        Left::Cluster,
        "ids of clusters are random",
    ),
    rule(
        &[22, 61],
        "producer_id",
        Left::Producer,
        "each cluster hands out blocks of its own",
    ),
    rule(
        &[11, 13, 15, 68, 69],
        "member_id",
        Left::Member,
        "ids of members are random",
    ),
    rule(&[11], "leader", Left::Member, "ids of members are random"),
    rule(
        &[1],
        "session_id",
        Left::Session,
        "ids of fetch sessions are random",
    ),
    rule(
        &[1],
        "records",
        Left::Batches,
        "the last batch may be cut at the limit",
    ),
    rule(
        &[68, 69],
        "group_epoch",
        Left::Sign,
        "groups begin with another epoch",
    ),
    rule(
        &[68, 69],
        "assignment_epoch",
        Left::Sign,
        "groups begin with another epoch",
    ),
    rule(
        &[68, 69],
        "member_epoch",
        Left::Sign,
        "groups begin with another epoch",
    ),
    rule(
        &[68, 69],
        "heartbeat_interval_ms",
        Left::Sign,
        "members that wait for others come more often",
    ),
    rule(
        &[],
        "error_message",
        Left::Presence,
        "sentences are for people, codes for programs",
    ),
    rule(
        &[0],
        "batch_index_error_message",
        Left::Presence,
        "sentences are for people",
    ),
    rule(
        &[32],
        "documentation",
        Left::Presence,
        "sentences are for people",
    ),
    rule(
        &[35],
        "log_dir",
        Left::Folder,
        "each broker has a folder of its own",
    ),
    rule(
        &[35],
        "total_bytes",
        Left::Sign,
        "other programs use the same disk",
    ),
    rule(
        &[35],
        "usable_bytes",
        Left::Sign,
        "other programs use the same disk",
    ),
    rule(
        &[55],
        "replica_directory_id",
        Left::Nothing,
        "ids of folders are random",
    ),
    rule(
        &[55],
        "leader_epoch",
        Left::Sign,
        "elections before the first answer are not counted",
    ),
    rule(
        &[55],
        "high_watermark",
        Left::Sign,
        "metadata records are each broker's own",
    ),
    rule(
        &[55],
        "log_end_offset",
        Left::Sign,
        "metadata records are each broker's own",
    ),
    rule(&[55], "last_fetch_timestamp", Left::Sign, "a time of now"),
    rule(
        &[55],
        "last_caught_up_timestamp",
        Left::Sign,
        "a time of now",
    ),
    rule(
        &[18],
        "finalized_features_epoch",
        Left::Sign,
        "an offset of each broker's own metadata",
    ),
    rule(
        &[3, 75],
        "topics",
        Left::Sorted,
        "all topics come in the order of a hash table",
    ),
    rule(
        &[18],
        "api_keys",
        Left::Sorted,
        "an order means nothing here",
    ),
    rule(
        &[18],
        "supported_features",
        Left::Sorted,
        "features come in the order of a hash table",
    ),
    rule(
        &[18],
        "finalized_features",
        Left::Sorted,
        "features come in the order of a hash table",
    ),
    rule(
        &[32],
        "configs",
        Left::Sorted,
        "keys come in the order of a hash table",
    ),
    rule(
        &[19],
        "configs",
        Left::Sorted,
        "keys come in the order of a hash table",
    ),
    rule(
        &[
            0, 1, 2, 8, 9, 10, 15, 16, 19, 20, 21, 23, 32, 33, 34, 35, 37, 42, 43, 44, 45, 47, 48,
            49, 57, 61, 68, 69, 74,
        ],
        "*",
        Left::Sorted,
        "what a request names is answered in the order of a hash table",
    ),
];

/// An answer without what must differ.
pub(crate) fn neutral(peer: &Peer<'_>, key: i16, answer: &Value) -> Value {
    turn(peer, key, answer)
}

fn turn(peer: &Peer<'_>, key: i16, value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(|value| turn(peer, key, value)).collect(),
        Value::Object(fields) => {
            let turned = fields.iter().map(|(name, value)| {
                let inner = turn(peer, key, value);
                (name.clone(), turn_field(peer, key, name, inner))
            });
            Value::Object(turned.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

fn turn_field(peer: &Peer<'_>, key: i16, name: &str, value: Value) -> Value {
    let value = match (key, name) {
        // What is wrong is answered apart from what was read.
        (1, "responses") | (8, "topics") => merged(value),
        // How large records of groups are depends on names that each broker gives.
        (35, "topics") => without_groups(value),
        _ => value,
    };
    let is_for = |rule: &&Rule| {
        (rule.keys.is_empty() || rule.keys.contains(&key))
            && (rule.field == name || (rule.field == "*" && value.is_array()))
    };
    match RULES.iter().find(is_for) {
        Some(rule) => keep(peer, rule.left, value),
        None => value,
    }
}

fn keep(peer: &Peer<'_>, left: Left, value: Value) -> Value {
    match (left, &value) {
        (Left::Topic, Value::String(id)) => {
            let id: [u8; 16] = unhex(id).try_into().expect("16 bytes");
            peer.topic_of(&id).map_or(value, Value::String)
        }
        (Left::Port, Value::Number(_)) if value == json!(peer.address.port()) => json!("own"),
        (Left::Cluster, Value::String(id)) if *id == peer.cluster => json!("own"),
        (Left::Producer, Value::Number(id)) => id
            .as_i64()
            .and_then(|id| peer.producer_of(id))
            .map_or(value, Value::String),
        (Left::Member, Value::String(id)) => peer.member_of(id).map_or(value, Value::String),
        (Left::Session, Value::Number(_)) if value != json!(0) => json!("a session"),
        (Left::Folder, Value::String(path)) if *path == peer.data => json!("own"),
        (Left::Presence, Value::String(text)) if !text.is_empty() => json!("a text"),
        (Left::Sign, Value::Number(number)) if number.as_i64() >= Some(0) => json!("0 or more"),
        (Left::Batches, Value::String(bytes)) => peer.summary(&unhex(bytes)),
        // Keys of klamm's own are left out besides.
        (Left::Sorted, Value::Array(values)) => {
            let mut values = values.clone();
            values.retain(|value| !is_own_key(value));
            values.sort_by_cached_key(order_of);
            Value::Array(values)
        }
        (Left::Nothing, _) => json!("anything"),
        _ => value,
    }
}

fn without_groups(topics: Value) -> Value {
    let Value::Array(mut topics) = topics else {
        return topics;
    };
    topics.retain(|topic| topic["name"] != json!("__consumer_offsets"));
    Value::Array(topics)
}

/// Topics that are answered in several parts, as one.
fn merged(topics: Value) -> Value {
    let Value::Array(topics) = topics else {
        return topics;
    };
    let mut whole: Vec<Value> = Vec::new();
    for topic in topics {
        let is_same = |other: &&mut Value| {
            other.get("topic") == topic.get("topic")
                && other.get("name") == topic.get("name")
                && other.get("topic_id") == topic.get("topic_id")
        };
        let partitions = topic["partitions"].as_array().cloned();
        match whole.iter_mut().find(is_same) {
            Some(known) => {
                let list = known["partitions"].as_array_mut().expect("a list");
                list.extend(partitions.into_iter().flatten());
                list.sort_by_cached_key(order_of);
            }
            None => whole.push(topic),
        }
    }
    Value::Array(whole)
}

/// True for a key of klamm's own among those of a configuration: the page names them all.
fn is_own_key(value: &Value) -> bool {
    let name = value.get("name").and_then(Value::as_str);
    name.is_some_and(|name| name.starts_with("klamm."))
}

/// By what names an element first, then by everything.
fn order_of(value: &Value) -> String {
    let names = [
        "name",
        "topic",
        "topic_name",
        "topic_id",
        "feature",
        "api_key",
        "resource_type",
        "resource_name",
        "partition_index",
        "partition",
        "index",
        "partition_id",
        "producer_id",
        "group_id",
        "key",
        "member_id",
    ];
    let mut key = String::new();
    for name in names {
        if let Some(value) = value.get(name) {
            match value.as_i64() {
                Some(number) => key.push_str(&format!("{:020} ", number - i64::from(i32::MIN))),
                None => key.push_str(&format!("{value} ")),
            }
        }
    }
    key + &value.to_string()
}
