//! Configuration of groups: every key that there is, set to what is legal and what is not, at every
//! version; groups that there are not, and the list of those that have any.

use serde_json::{Value, json};

use crate::pair::Pair;

/// Kafka's number of this kind of resource.
const GROUP: i8 = 32;

fn change(group: &str, configs: &Value) -> Value {
    json!({ "resources": [
        { "resource_type": GROUP, "resource_name": group, "configs": configs },
    ] })
}

fn one(key: &str, operation: i8, value: Value) -> Value {
    json!([{ "name": key, "config_operation": operation, "value": value }])
}

fn describe(pair: &mut Pair<'_>, group: &str) {
    let body = json!({ "include_synonyms": true, "resources": [
        { "resource_type": GROUP, "resource_name": group },
    ] });
    pair.at_every_version(32, &body);
}

pub(crate) fn run(pair: &mut Pair<'_>) {
    describe(pair, "nobody");
    describe(pair, "");
    for (key, value) in [
        ("consumer.session.timeout.ms", "50000"),
        ("consumer.session.timeout.ms", " 51000 "),
        ("consumer.session.timeout.ms", "44999"),
        ("consumer.session.timeout.ms", "60001"),
        ("consumer.session.timeout.ms", "0"),
        ("consumer.session.timeout.ms", "x"),
        ("consumer.session.timeout.ms", ""),
        ("consumer.heartbeat.interval.ms", "15000"),
        ("consumer.heartbeat.interval.ms", "4999"),
        ("consumer.heartbeat.interval.ms", "15001"),
        ("consumer.assignment.interval.ms", "0"),
        ("consumer.assignment.interval.ms", "15001"),
        ("consumer.assignment.interval.ms", "-1"),
        ("share.session.timeout.ms", "60001"),
        ("share.heartbeat.interval.ms", "4999"),
        ("share.record.lock.duration.ms", "999"),
        ("share.record.lock.duration.ms", "14999"),
        ("share.delivery.count.limit", "1"),
        ("share.delivery.count.limit", "11"),
        ("share.delivery.count.limit", "3"),
        ("share.partition.max.record.locks", "99"),
        ("share.partition.max.record.locks", "4001"),
        ("share.auto.offset.reset", "earliest"),
        ("share.auto.offset.reset", "EARLIEST"),
        ("share.auto.offset.reset", "by_duration:PT1H"),
        ("share.auto.offset.reset", "by_duration:-PT1H"),
        ("share.auto.offset.reset", "by_duration:x"),
        ("share.isolation.level", "read_committed"),
        ("share.isolation.level", "x"),
        ("share.renew.acknowledge.enable", "FALSE"),
        ("share.renew.acknowledge.enable", "maybe"),
        ("share.assignment.interval.ms", "15001"),
        ("streams.session.timeout.ms", "44999"),
        ("streams.heartbeat.interval.ms", "15001"),
        ("streams.num.standby.replicas", "3"),
        ("streams.num.standby.replicas", "2"),
        ("streams.initial.rebalance.delay.ms", "-1"),
        ("streams.assignment.interval.ms", "15001"),
        ("consumer.assignor.offload.enable", "true"),
        ("no.such.key", "1"),
        ("", "1"),
    ] {
        let body = change("configured", &one(key, 0, json!(value)));
        pair.at_every_version(44, &body);
    }
    describe(pair, "configured");
    for operation in [2, 3] {
        let body = change(
            "configured",
            &one("consumer.session.timeout.ms", operation, json!("1")),
        );
        pair.at_every_version(44, &body);
    }
    for (key, operation, value) in [
        ("consumer.session.timeout.ms", 1, json!(null)),
        ("no.such.key", 1, json!(null)),
        ("consumer.session.timeout.ms", 0, json!(null)),
    ] {
        pair.at_every_version(44, &change("configured", &one(key, operation, value)));
    }
    let mut only = change(
        "configured",
        &one("consumer.session.timeout.ms", 0, json!("55000")),
    );
    only["validate_only"] = json!(true);
    pair.at_every_version(44, &only);
    describe(pair, "configured");
    let legal = one("consumer.session.timeout.ms", 0, json!("50000"));
    pair.at_every_version(44, &change("", &legal));
    pair.at_every_version(33, &change("", &legal));
    pair.at_every_version(33, &change("replaced", &legal));
    pair.at_every_version(
        33,
        &change(
            "replaced",
            &one("share.auto.offset.reset", 0, json!("earliest")),
        ),
    );
    describe(pair, "replaced");
    let both = json!({ "resources": [
        { "resource_type": GROUP, "resource_name": "configured", "configuration_keys": ["consumer.session.timeout.ms", "nothing"] },
        { "resource_type": GROUP, "resource_name": "", "configuration_keys": [] },
        { "resource_type": 2, "resource_name": "one", "configuration_keys": ["retention.ms"] },
    ] });
    pair.at_every_version(32, &both);
    pair.at_every_version(74, &json!({ "resource_types": [GROUP] }));
    // A default that changes while brokers run.
    for (operation, value) in [(0, json!("2000")), (1, json!(null))] {
        let body = json!({ "resources": [{ "resource_type": 4, "resource_name": "", "configs":
            one("group.consumer.assignment.interval.ms", operation, value) }] });
        pair.at_every_version(44, &body);
        describe(pair, "nobody");
    }
    pair.at_every_version(33, &change("replaced", &json!([])));
    pair.at_every_version(33, &change("configured", &json!([])));
    pair.at_every_version(74, &json!({ "resource_types": [GROUP] }));
}
