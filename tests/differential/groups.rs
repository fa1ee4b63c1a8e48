//! Groups with a known course: where they are coordinated, offsets kept and forgotten, a member
//! that comes, lives, and goes, a static one, and what is refused; each request at every version.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::compare::tree_of;
use crate::pair::Pair;
use crate::peer::{Ask, Bend};

/// Groups whose coordinators are waited for before anything is compared.
pub(crate) const GROUPS: &[&str] = &["g", "h", "absent", ""];

/// How long Apache Kafka may take to make its topic and read it.
const READY: Duration = Duration::from_secs(20);

/// Has both make the topic of groups, and waits until all coordinators answer.
pub(crate) fn warm_up(pair: &mut Pair<'_>) {
    let ask = |key, version, body| Ask {
        key,
        version,
        body,
        bend: Bend::Nothing,
    };
    let find = ask(10, 3, json!({ "key": "g", "key_type": 0 }));
    let list = ask(16, 4, json!({ "states_filter": [] }));
    pair.klamm.ask(&find);
    let deadline = Instant::now() + READY;
    while Instant::now() < deadline {
        let mut codes = Vec::new();
        for question in [&find, &list] {
            let outcome = pair.kafka.ask(question);
            let answer = tree_of(&pair.kafka, question.key, &outcome);
            codes.push(answer["answer"]["error_code"].clone());
        }
        let groups: Vec<String> = (0..200).map(|number| format!("warm-{number}")).collect();
        let described = ask(15, 4, json!({ "groups": groups }));
        let outcome = pair.kafka.ask(&described);
        let answer = tree_of(&pair.kafka, 15, &outcome);
        let all = answer["answer"]["groups"].as_array().into_iter().flatten();
        codes.extend(all.map(|group| group["error_code"].clone()));
        if codes.iter().all(|code| *code == json!(0)) {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    pair.settle_topics();
}

pub(crate) fn run(pair: &mut Pair<'_>) {
    coordinators(pair);
    offsets(pair);
    members(pair);
    static_member(pair);
    refused(pair);
    empty_handed(pair);
    forgotten(pair);
}

fn coordinators(pair: &mut Pair<'_>) {
    for group in GROUPS {
        let body = json!({ "key": group, "key_type": 0, "coordinator_keys": [group, "g"] });
        pair.at_every_version(10, &body);
    }
    pair.at_every_version(10, &json!({ "key_type": 0, "coordinator_keys": [] }));
    for version in pair.versions(10).filter(|version| (1..6).contains(version)) {
        for kind in [2, 7, -1] {
            let body = json!({ "key": "g", "key_type": kind, "coordinator_keys": ["g", "h"] });
            pair.at(10, version, body);
        }
    }
}

fn committing(group: &str, member: &str, generation: Value, topics: Value) -> Value {
    json!({
        "group_id": group, "generation_id_or_member_epoch": generation, "member_id": member,
        "retention_time_ms": -1, "topics": topics,
    })
}

fn committed(topic: &str, partition: i32, offset: i64, metadata: Value) -> Value {
    json!({
        "name": topic, "topic_id": format!("@id of {topic}"), "partitions": [{
            "partition_index": partition, "committed_offset": offset,
            "committed_leader_epoch": 0, "committed_metadata": metadata,
        }],
    })
}

fn fetching(group: &str, topics: Value) -> Value {
    json!({
        "group_id": group, "topics": topics, "require_stable": false,
        "groups": [{ "group_id": group, "topics": topics, "member_epoch": -1 }],
    })
}

fn fetched(topic: &str, partitions: Value) -> Value {
    json!({ "name": topic, "topic_id": format!("@id of {topic}"), "partition_indexes": partitions })
}

fn offsets(pair: &mut Pair<'_>) {
    let all_of = |pair: &mut Pair<'_>, group: &str| {
        let some = json!([fetched("one", json!([0, 7])), fetched("three", json!([2]))]);
        pair.at_every_version(9, &fetching(group, some));
        let absent = json!([fetched("absent", json!([0]))]);
        pair.at_every_version(9, &fetching(group, absent));
        pair.at_every_version(9, &fetching(group, json!([])));
        for version in pair.versions(9).filter(|&version| version >= 2) {
            pair.at(9, version, fetching(group, Value::Null));
        }
    };
    all_of(pair, "o");
    let long = "m".repeat(5000);
    for topics in [
        json!([
            committed("one", 0, 5, json!("five")),
            committed("three", 2, 6, Value::Null)
        ]),
        json!([
            committed("one", 0, 4, json!("")),
            committed("absent", 0, 6, json!("x"))
        ]),
        json!([
            committed("one", 9, 4, json!("")),
            committed("three", 1, 6, json!("x"))
        ]),
        json!([
            committed("three", 0, 6, json!(long)),
            committed("three", 1, 7, json!("x"))
        ]),
        json!([committed("absent", 0, 1, json!(""))]),
        json!([committed("one", 0, 0, json!(""))]),
        json!([]),
    ] {
        pair.at_every_version(8, &committing("o", "", json!(-1), topics));
    }
    all_of(pair, "o");
    let one = || json!([committed("one", 0, 8, json!(""))]);
    pair.at_every_version(8, &committing("", "", json!(-1), one()));
    pair.at_every_version(8, &committing("o", "stranger", json!(-1), one()));
    pair.at_every_version(8, &committing("o", "stranger", json!(5), one()));
    pair.at_every_version(8, &committing("never", "stranger", json!(5), one()));
    all_of(pair, "");
    all_of(pair, "never");
    pair.at_every_version(
        15,
        &json!({ "groups": ["o"], "include_authorized_operations": true }),
    );
    pair.at_every_version(16, &json!({ "states_filter": [], "types_filter": [] }));
}

fn joining(group: &str, member: &str, instance: Value) -> Value {
    json!({
        "group_id": group, "session_timeout_ms": 60000, "rebalance_timeout_ms": 60000,
        "member_id": member, "group_instance_id": instance, "protocol_type": "consumer",
        "protocols": [{ "name": "range", "metadata": "" }, { "name": "roundrobin", "metadata": "" }],
    })
}

fn syncing(group: &str, member: &str, generation: i32, protocol: &str) -> Value {
    json!({
        "group_id": group, "generation_id": generation, "member_id": member,
        "protocol_type": "consumer", "protocol_name": protocol,
        "assignments": [{ "member_id": member, "assignment": "" }],
    })
}

fn beating(group: &str, member: &str, generation: i32) -> Value {
    json!({ "group_id": group, "generation_id": generation, "member_id": member })
}

fn leaving(group: &str, member: &str, instance: Value) -> Value {
    json!({
        "group_id": group, "member_id": member,
        "members": [{ "member_id": member, "group_instance_id": instance, "reason": "enough" }],
    })
}

fn describe(pair: &mut Pair<'_>, group: &str) {
    let body = json!({ "groups": [group], "include_authorized_operations": true });
    pair.at_every_version(15, &body);
}

fn members(pair: &mut Pair<'_>) {
    for version in pair.versions(11) {
        let group = format!("j-{version}");
        pair.at(11, version, joining(&group, "", Value::Null));
        describe(pair, &group);
        if version >= 4 {
            pair.at(11, version, joining(&group, "@member", Value::Null));
        }
        describe(pair, &group);
        let own = json!([committed("one", 0, 3, json!("own"))]);
        pair.at_every_version(8, &committing(&group, "@member", json!(1), own));
        for generation in [0, 2] {
            pair.at_every_version(14, &syncing(&group, "@member", generation, "range"));
        }
        pair.at_every_version(14, &syncing(&group, "stranger", 1, "range"));
        pair.at_every_version(14, &syncing(&group, "@member", 1, "range"));
        describe(pair, &group);
        for (member, generation) in [
            ("@member", 1),
            ("@member", 0),
            ("@member", 7),
            ("stranger", 1),
        ] {
            pair.at_every_version(12, &beating(&group, member, generation));
            let own = json!([committed("one", 0, 3, json!("own"))]);
            pair.at_every_version(8, &committing(&group, member, json!(generation), own));
        }
        let admin = json!([committed("one", 0, 3, json!("own"))]);
        pair.at_every_version(8, &committing(&group, "", json!(-1), admin));
        pair.at_every_version(42, &json!({ "groups_names": [group] }));
        let some = json!([{ "name": "one", "partitions": [{ "partition_index": 0 }] }]);
        pair.at_every_version(47, &json!({ "group_id": group, "topics": some }));
        let filters = json!({ "states_filter": ["Stable", "x"], "types_filter": ["Classic"] });
        pair.at_every_version(16, &filters);
        pair.at_every_version(13, &leaving(&group, "stranger", Value::Null));
        let last = version.min(*pair.versions(13).end());
        pair.at(13, last, leaving(&group, "@member", Value::Null));
        pair.at(13, last, leaving(&group, "@member", Value::Null));
        describe(pair, &group);
    }
}

fn static_member(pair: &mut Pair<'_>) {
    let named = || json!("i");
    for version in pair.versions(11).filter(|&version| version >= 5) {
        let group = format!("s-{version}");
        pair.at(11, version, joining(&group, "", named()));
        pair.at_newest(14, syncing(&group, "@member", 1, "range"));
        describe(pair, &group);
        pair.at(11, version, joining(&group, "", named()));
        pair.at_newest(14, syncing(&group, "@member", 1, "range"));
        describe(pair, &group);
        for (member, instance) in [
            ("@member before", named()),
            ("@member", named()),
            ("@member", json!("other")),
            ("stranger", named()),
        ] {
            let mut body = beating(&group, member, 1);
            body["group_instance_id"] = instance;
            pair.at_newest(12, body);
        }
        pair.at_newest(13, leaving(&group, "@member before", named()));
        pair.at_newest(13, leaving(&group, "", named()));
        pair.at_newest(13, leaving(&group, "", named()));
        describe(pair, &group);
    }
}

fn refused(pair: &mut Pair<'_>) {
    let with = |changes: &[(&str, Value)]| {
        let mut body = joining("r", "stranger", Value::Null);
        for (name, value) in changes {
            body[*name] = value.clone();
        }
        body
    };
    for body in [
        with(&[]),
        with(&[("group_id", json!(""))]),
        with(&[("session_timeout_ms", json!(5))]),
        with(&[("session_timeout_ms", json!(-1))]),
        with(&[("session_timeout_ms", json!(i32::MAX))]),
        with(&[("protocols", json!([])), ("member_id", json!(""))]),
        with(&[("protocol_type", json!("")), ("member_id", json!(""))]),
    ] {
        pair.at_every_version(11, &body);
    }
    for group in ["", "r"] {
        pair.at_every_version(12, &beating(group, "stranger", 1));
        pair.at_every_version(13, &leaving(group, "stranger", Value::Null));
        pair.at_every_version(14, &syncing(group, "stranger", 1, "range"));
    }
    let mut nameless = syncing("r", "stranger", 1, "range");
    nameless["protocol_name"] = Value::Null;
    pair.at_every_version(14, &nameless);
    describe(pair, "");
    describe(pair, "r");
    pair.at_every_version(15, &json!({ "groups": [] }));
    pair.at_every_version(15, &json!({ "groups": ["r", "o", "r"] }));
}

fn forgotten(pair: &mut Pair<'_>) {
    let part = |indexes: &[i32]| -> Vec<Value> {
        let indexes = indexes.iter();
        indexes
            .map(|index| json!({ "partition_index": index }))
            .collect()
    };
    for (group, topics) in [
        (
            "o",
            json!([{ "name": "one", "partitions": part(&[0, 9]) }, { "name": "absent", "partitions": part(&[0]) }]),
        ),
        (
            "o",
            json!([{ "name": "three", "partitions": part(&[0, 1, 2]) }]),
        ),
        ("o", json!([])),
        ("r", json!([{ "name": "three", "partitions": part(&[0]) }])),
        ("", json!([{ "name": "three", "partitions": part(&[0]) }])),
        ("j-9", json!([{ "name": "one", "partitions": part(&[0]) }])),
    ] {
        pair.at_every_version(47, &json!({ "group_id": group, "topics": topics }));
        pair.at_every_version(9, &fetching(group, json!([fetched("one", json!([0]))])));
    }
    // Nothing is left of it.
    pair.at_newest(42, json!({ "groups_names": ["o"] }));
    for groups in [
        json!(["r"]),
        json!(["j-9", "j-9", "r"]),
        json!(["j-9"]),
        json!([]),
        json!([""]),
        json!([""]),
    ] {
        pair.at_every_version(42, &json!({ "groups_names": groups }));
    }
    describe(pair, "j-9");
    pair.at_every_version(
        16,
        &json!({ "states_filter": ["empty"], "types_filter": ["x"] }),
    );
}

/// Requests that name nothing, or nothing that there is.
fn empty_handed(pair: &mut Pair<'_>) {
    let without = |topic: &str| json!({ "name": topic, "topic_id": format!("@id of {topic}"), "partitions": [] });
    for topics in [
        json!([without("absent")]),
        json!([without("one")]),
        json!([
            without("absent"),
            committed("one", 0, 4, json!("")),
            without("three")
        ]),
    ] {
        pair.at_every_version(8, &committing("e", "", json!(-1), topics));
    }
    let nowhere = json!({ "topic_id": null, "name": "absent", "partition_indexes": [0, 1] });
    pair.at_newest(
        9,
        fetching("e", json!([nowhere, fetched("one", json!([0]))])),
    );
    let part = || json!([{ "partition_index": 7 }]);
    for topics in [
        json!([{ "name": "absent", "partitions": [] }, { "name": "one", "partitions": [] }]),
        json!([{ "name": "one", "partitions": part() }, { "name": "one", "partitions": part() }]),
        // Twice, in two answers.
        json!([{ "name": "one", "partitions": [{ "partition_index": 0 }] },
            { "name": "one", "partitions": [{ "partition_index": 0 }] }]),
    ] {
        pair.at_every_version(47, &json!({ "group_id": "e", "topics": topics }));
    }
    for group in ["e", "r"] {
        for version in pair.versions(13).filter(|&version| version >= 3) {
            pair.at(13, version, json!({ "group_id": group, "members": [] }));
        }
    }
}
