//! Groups of the consumer protocol with a known course: members that join, let go, take over, and
//! leave, static ones, offsets under their epochs, and what is refused; each request at every
//! version.

use serde_json::{Value, json};

use crate::pair::Pair;

/// A heartbeat that says nothing but who, and where it is.
fn alive(group: &str, member: &str, epoch: i32) -> Value {
    json!({
        "group_id": group, "member_id": member, "member_epoch": epoch, "instance_id": null,
        "rack_id": null, "rebalance_timeout_ms": -1, "subscribed_topic_names": null,
        "subscribed_topic_regex": null, "server_assignor": null, "topic_partitions": null,
    })
}

/// The first heartbeat of a member.
fn joining(group: &str, member: &str, topics: &[&str]) -> Value {
    with(
        alive(group, member, 0),
        &[
            ("rebalance_timeout_ms", json!(60000)),
            ("subscribed_topic_names", json!(topics)),
            ("topic_partitions", json!([])),
        ],
    )
}

fn with(mut body: Value, changes: &[(&str, Value)]) -> Value {
    for (name, value) in changes {
        body[*name] = value.clone();
    }
    body
}

fn owned(topics: &[(&str, &[i32])]) -> Value {
    topics
        .iter()
        .map(|(topic, partitions)| {
            json!({ "topic_id": format!("@id of {topic}"), "partitions": partitions })
        })
        .collect()
}

fn describe(pair: &mut Pair<'_>, group: &str) {
    for asked in [false, true] {
        let body = json!({ "group_ids": [group], "include_authorized_operations": asked });
        pair.at_every_version(69, &body);
    }
    let body = json!({ "groups": [group], "include_authorized_operations": true });
    pair.at_every_version(15, &body);
}

fn committing(group: &str, member: &str, epoch: i32) -> Value {
    json!({
        "group_id": group, "generation_id_or_member_epoch": epoch, "member_id": member,
        "retention_time_ms": -1, "topics": [{
            "name": "one", "topic_id": "@id of one", "partitions": [{
                "partition_index": 0, "committed_offset": 3,
                "committed_leader_epoch": 0, "committed_metadata": "own",
            }],
        }],
    })
}

fn fetching(group: &str, member: Value, epoch: i32) -> Value {
    let topics = json!([{ "name": "one", "topic_id": "@id of one", "partition_indexes": [0, 7] }]);
    json!({
        "group_id": group, "topics": topics, "require_stable": false,
        "groups": [{ "group_id": group, "topics": topics, "member_id": member, "member_epoch": epoch }],
    })
}

pub(crate) fn run(pair: &mut Pair<'_>) {
    refused(pair);
    members(pair);
    static_members(pair);
    patterns(pair);
    other_protocol(pair);
    without_the_feature(pair);
}

fn refused(pair: &mut Pair<'_>) {
    let join = || joining("r-848", "a", &["one"]);
    for changes in [
        &[("group_id", json!(""))][..],
        &[("member_id", json!(""))],
        &[("member_epoch", json!(-3))],
        &[("member_epoch", json!(-2))],
        &[("member_epoch", json!(-1))],
        &[("member_epoch", json!(1))],
        &[("instance_id", json!(""))],
        &[("rack_id", json!(""))],
        &[("rebalance_timeout_ms", json!(-1))],
        &[("rebalance_timeout_ms", json!(0))],
        &[("subscribed_topic_names", json!(null))],
        &[("subscribed_topic_names", json!([]))],
        &[("topic_partitions", json!(null))],
        &[("topic_partitions", owned(&[("one", &[0])]))],
        &[("server_assignor", json!(""))],
        &[("server_assignor", json!("nothing"))],
    ] {
        pair.at_every_version(68, &with(join(), changes));
        let group = changes.first().filter(|(name, _)| *name == "group_id");
        let leave = alive(
            group.map_or("r-848", |(_, name)| name.as_str().expect("a text")),
            "a",
            -1,
        );
        pair.at_every_version(68, &leave);
    }
    for (epoch, instance) in [(-1, json!(null)), (-2, json!("i")), (5, json!(null))] {
        let body = with(alive("never-848", "a", epoch), &[("instance_id", instance)]);
        pair.at_every_version(68, &body);
    }
    for group in ["", "never-848", "o"] {
        describe(pair, group);
    }
    pair.at_every_version(69, &json!({ "group_ids": [] }));
    let many = json!({ "group_ids": ["never-848", "", "o"] });
    pair.at_every_version(69, &many);
}

/// The last epoch of a member, or one that many after it.
fn epoch(group: &str, member: &str, more: i64) -> Value {
    json!(format!("@epoch {group} {more} {member}"))
}

/// A heartbeat under that epoch.
fn beat(group: &str, member: &str, more: i64) -> Value {
    with(
        alive(group, member, 0),
        &[("member_epoch", epoch(group, member, more))],
    )
}

fn members(pair: &mut Pair<'_>) {
    for version in pair.versions(68) {
        let group = format!("k-{version}");
        let group = group.as_str();
        let (first, second) = match version {
            0 => ("", ""),
            _ => ("first", "second"),
        };
        pair.at(68, version, joining(group, first, &["one", "three"]));
        let first = if version == 0 { "@member" } else { first };
        describe(pair, group);
        let has = |member: &str, what: &Value| {
            with(
                beat(group, member, 0),
                &[("topic_partitions", what.clone())],
            )
        };
        let all = owned(&[("one", &[0]), ("three", &[0, 1, 2])]);
        pair.at(68, version, has(first, &all));
        for more in [0, 1, 7] {
            pair.at(68, version, beat(group, first, more));
        }
        pair.at(68, version, alive(group, "stranger", 1));
        for (member, at) in [
            (first, epoch(group, first, 0)),
            (first, epoch(group, first, 5)),
            (first, json!(-1)),
            ("stranger", json!(1)),
            ("", json!(-1)),
        ] {
            let mut commit = committing(group, member, 0);
            commit["generation_id_or_member_epoch"] = at.clone();
            pair.at_every_version(8, &commit);
            let mut fetch = fetching(group, json!(member), 0);
            fetch["groups"][0]["member_epoch"] = at;
            pair.at_every_version(9, &fetch);
        }
        pair.at_every_version(9, &fetching(group, json!(null), -1));
        pair.at_every_version(42, &json!({ "groups_names": [group] }));
        let some = json!([{ "name": "one", "partitions": [{ "partition_index": 0 }] }]);
        pair.at_every_version(47, &json!({ "group_id": group, "topics": some }));
        // Which part of one topic a member gets is each broker's own choice: these read others.
        pair.at(68, version, joining(group, second, &["odd"]));
        let (first, second) = match version {
            0 => ("@member before", "@member"),
            _ => (first, second),
        };
        pair.at(68, version, beat(group, first, 0));
        let odd = owned(&[("odd", &[0, 1, 2, 3])]);
        pair.at(68, version, has(second, &odd));
        describe(pair, group);
        // The second is told to let go, does, and gets the other topic.
        let other = [("subscribed_topic_names", json!(["compacted", "absent"]))];
        pair.at(68, version, with(beat(group, second, 0), &other));
        pair.at(68, version, beat(group, second, 0));
        describe(pair, group);
        pair.at(68, version, has(second, &owned(&[])));
        pair.at(68, version, has(second, &owned(&[("compacted", &[0])])));
        let range = [("server_assignor", json!("range"))];
        pair.at(68, version, with(beat(group, first, 0), &range));
        pair.at(68, version, beat(group, second, 0));
        describe(pair, group);
        pair.at_every_version(
            16,
            &json!({ "states_filter": [], "types_filter": ["Consumer"] }),
        );
        let leave = |member: &str| alive(group, member, -1);
        pair.at(68, version, leave(second));
        pair.at(68, version, leave(second));
        describe(pair, group);
        pair.at(68, version, leave(first));
        describe(pair, group);
    }
    let types = json!({ "states_filter": ["Empty"], "types_filter": ["consumer", "x"] });
    pair.at_every_version(16, &types);
    pair.at_every_version(42, &json!({ "groups_names": ["k-0"] }));
    describe(pair, "k-0");
}

fn static_members(pair: &mut Pair<'_>) {
    let version = *pair.versions(68).end();
    let named = |body, instance: &str| with(body, &[("instance_id", json!(instance))]);
    let group = "s-848";
    let join = |member: &str| named(joining(group, member, &["three"]), "i");
    pair.at(68, version, join("a"));
    describe(pair, group);
    pair.at(68, version, named(beat(group, "a", 0), "i"));
    pair.at(68, version, named(beat(group, "a", 0), "other"));
    pair.at(68, version, named(alive(group, "b", 1), "i"));
    // Nobody takes the name of one that is there.
    pair.at(68, version, join("b"));
    pair.at(68, version, named(alive(group, "a", -2), "i"));
    describe(pair, group);
    pair.at(68, version, join("b"));
    describe(pair, group);
    pair.at(68, version, beat(group, "b", 0));
    pair.at(68, version, named(alive(group, "a", -1), "i"));
    pair.at(68, version, named(alive(group, "b", -1), "i"));
    describe(pair, group);
}

fn patterns(pair: &mut Pair<'_>) {
    let version = *pair.versions(68).end();
    for (place, pattern) in ["(", "[a-", "a{2,1}", "*", "(?<name"].iter().enumerate() {
        let group = format!("bad-pattern-{place}");
        let body = with(
            joining(&group, "a", &[]),
            &[
                ("subscribed_topic_names", json!(null)),
                ("subscribed_topic_regex", json!(pattern)),
            ],
        );
        pair.at(68, version, body);
        describe(pair, &group);
    }
}

fn other_protocol(pair: &mut Pair<'_>) {
    let version = *pair.versions(68).end();
    // A group of the classic protocol that has offsets alone becomes one of this protocol.
    pair.at(8, 8, committing("kept", "", -1));
    describe(pair, "kept");
    pair.at(68, version, joining("kept", "a", &["one"]));
    describe(pair, "kept");
    let mut fetch = fetching("kept", json!("a"), 0);
    fetch["groups"][0]["member_epoch"] = epoch("kept", "a", 0);
    pair.at(9, 9, fetch);
    pair.at(68, version, alive("kept", "a", -1));
}

/// Nothing is served while the feature is not in use.
fn without_the_feature(pair: &mut Pair<'_>) {
    let update = |level: i16, kind: i8| {
        json!({ "timeout_ms": 5000, "validate_only": false, "feature_updates": [
            { "feature": "group.version", "max_version_level": level, "upgrade_type": kind,
              "allow_downgrade": true },
        ] })
    };
    for (level, kind) in [(2, 1), (-1, 1), (0, 1), (0, 2)] {
        pair.at_newest(57, update(level, kind));
    }
    pair.at_every_version(68, &joining("f-848", "a", &["one"]));
    pair.at_every_version(69, &json!({ "group_ids": ["f-848", "kept", ""] }));
    pair.at_newest(57, update(1, 1));
    pair.at_newest(57, update(1, 1));
}
