//! AlterConfigs and IncrementalAlterConfigs of topics: what is refused in which words, what is
//! changed, and that it holds at once.

use klamm_wire::incremental_alter_configs;

use crate::harness::configs::{Change, DEFAULT, OWN_TOPIC, Outcome, TOPIC, changing};
use crate::harness::{Broker, Client, Options, RawBatch, Record, now_ms, unique, wait_for};

fn refused(code: i16, message: &str) -> Outcome {
    (code, Some(message.to_owned()))
}

const DONE: Outcome = (0, None);

/// Value and source of a topic's key.
fn value(client: &mut Client, topic: &str, key: &str) -> (Option<String>, i8) {
    let described = client.described(TOPIC, topic);
    (described[key].value.clone(), described[key].source)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Asks until the key is as expected: other brokers than klamm follow the metadata a moment later.
fn expect_value(client: &mut Client, topic: &str, key: &str, expected: (Option<String>, i8)) {
    wait_for(key, || {
        (value(client, topic, key) == expected).then_some(())
    });
}

#[test]
fn every_version_sets_and_removes_keys_and_leaves_the_others() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic_with("changed", 1, &[("retention.ms", "3600000")]);
    let (min, max) = client.api_versions()[&44];
    assert_eq!((min, max), (0, 1));
    for version in min..=max {
        let key = "segment.ms";
        let set = Change::Set("70000000");
        let request = |change| incremental_alter_configs::Request {
            resources: vec![changing(TOPIC, &topic.name, &[(key, change)])],
            validate_only: false,
        };
        assert_eq!(client.change_all(&request(set), version), [DONE]);
        expect_value(&mut client, &topic.name, key, (some("70000000"), OWN_TOPIC));
        assert_eq!(client.change_all(&request(Change::Delete), version), [DONE]);
        expect_value(&mut client, &topic.name, key, (some("604800000"), DEFAULT));
    }
    let retention = value(&mut client, &topic.name, "retention.ms");
    assert_eq!(retention, (some("3600000"), OWN_TOPIC));
}

#[test]
fn every_version_of_the_old_way_replaces_all_keys() {
    let broker = Broker::start();
    let mut client = broker.client();
    let (min, max) = client.api_versions()[&33];
    assert_eq!((min, max), (0, 2));
    for version in min..=max {
        let keys = [
            ("delete.retention.ms", "3600000"),
            ("segment.ms", "70000000"),
        ];
        let topic = client.create_topic_with("replaced", 1, &keys);
        let new = [("segment.ms", Some("80000000")), ("flush.ms", Some("9000"))];
        assert_eq!(client.replace(TOPIC, &topic.name, &new, version), DONE);
        expect_value(
            &mut client,
            &topic.name,
            "flush.ms",
            (some("9000"), OWN_TOPIC),
        );
        let found = client.described(TOPIC, &topic.name);
        assert_eq!(found["segment.ms"].value, some("80000000"));
        assert_eq!(found["delete.retention.ms"].source, DEFAULT);
        let null = client.replace(TOPIC, &topic.name, &[("flush.ms", None)], version);
        assert_eq!(null, refused(42, "Null value not supported for : flush.ms"));
        let logger = client.replace(8, "1", &[("root", Some("INFO"))], version);
        assert_eq!(logger, refused(42, "Unknown resource type 8"));
    }
}

#[test]
fn words_are_added_to_lists_and_taken_out_of_them() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("lists", 1);
    let key = "cleanup.policy";
    for (change, expected) in [
        // What nobody set is the default list.
        (Change::Append("compact"), "delete,compact"),
        (Change::Append("compact"), "delete,compact"),
        (Change::Subtract("delete"), "compact"),
        (Change::Append("delete"), "compact,delete"),
        (Change::Set("delete"), "delete"),
    ] {
        assert_eq!(client.change(TOPIC, &topic.name, &[(key, change)]), DONE);
        expect_value(&mut client, &topic.name, key, (some(expected), OWN_TOPIC));
    }
}

#[test]
fn each_wrong_change_of_a_topic_has_its_code_and_its_words() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("wrong", 1);
    let own = |client: &mut Client, changes: &[(&str, Change<'_>)]| {
        client.change(TOPIC, &topic.name, changes)
    };
    let set = Change::Set;
    let invalid = |key: &str, value: &str, rule: &str| {
        refused(
            40,
            &format!("Invalid value {value} for configuration {key}: {rule}"),
        )
    };
    let huge = "x".repeat(32_767);
    for (changes, expected) in [
        (
            vec![("cleanup.policy", Change::Append(&huge))],
            refused(
                40,
                "The configuration value cannot be added because it exceeds the maximum value \
                 size of 32767 bytes.",
            ),
        ),
        (
            vec![("zap", set("1"))],
            refused(40, "Unknown topic config name: zap"),
        ),
        (
            vec![("retention.ms", set("x"))],
            invalid("retention.ms", "x", "Not a number of type LONG"),
        ),
        (
            vec![("retention.ms", set("-2"))],
            invalid("retention.ms", "-2", "Value must be at least -1"),
        ),
        (
            vec![("segment.bytes", set("14"))],
            invalid("segment.bytes", "14", "Value must be at least 1048576"),
        ),
        (
            vec![("min.insync.replicas", set("0"))],
            invalid("min.insync.replicas", "0", "Value must be at least 1"),
        ),
        (
            vec![("preallocate", set("perhaps"))],
            invalid(
                "preallocate",
                "perhaps",
                "Expected value to be either true or false",
            ),
        ),
        (
            vec![("message.timestamp.type", set("Never"))],
            invalid(
                "message.timestamp.type",
                "Never",
                "String must be one of: CreateTime, LogAppendTime",
            ),
        ),
        (
            vec![("compression.gzip.level", set("0"))],
            invalid(
                "compression.gzip.level",
                "0",
                "Value must be between 1 and 9 or equal to -1",
            ),
        ),
        (
            vec![("compression.zstd.level", set("23"))],
            invalid(
                "compression.zstd.level",
                "23",
                "Value must be no more than 22",
            ),
        ),
        (
            vec![("cleanup.policy", Change::Append("zap"))],
            invalid(
                "cleanup.policy",
                "zap",
                "String must be one of: compact, delete",
            ),
        ),
        (
            vec![("retention.ms", Change::Append("1"))],
            refused(
                40,
                "Can't APPEND to key retention.ms because its type is not LIST.",
            ),
        ),
        (
            vec![("retention.ms", Change::Subtract("1"))],
            refused(
                40,
                "Can't SUBTRACT to key retention.ms because its type is not LIST.",
            ),
        ),
        (
            vec![("retention.ms", Change::Raw(0, None))],
            refused(42, "Null value not supported for : retention.ms"),
        ),
        (
            vec![
                ("retention.ms", Change::Raw(0, None)),
                ("cleanup.policy", Change::Raw(2, None)),
            ],
            refused(
                42,
                "Null value not supported for : retention.ms, cleanup.policy",
            ),
        ),
        (
            vec![("retention.ms", set("1")), ("retention.ms", set("2"))],
            refused(42, "Error due to duplicate config keys"),
        ),
        (
            vec![
                ("min.compaction.lag.ms", set("10")),
                ("max.compaction.lag.ms", set("5")),
            ],
            refused(
                40,
                "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)",
            ),
        ),
        // Nothing is there to be taken out.
        (vec![("zap", Change::Delete)], DONE),
    ] {
        let found = own(&mut client, &changes);
        assert_eq!(found, expected, "{:.200}", format!("{changes:?}"));
    }
    let untouched = client.described(TOPIC, &topic.name);
    assert!(untouched.values().all(|key| key.source != OWN_TOPIC));
}

#[test]
fn resources_that_cannot_be_changed_have_their_codes_and_words() {
    let broker = Broker::start();
    let mut client = broker.client();
    let key = [("retention.ms", Change::Set("1"))];
    let absent = unique("absent");
    assert_eq!(
        client.change(TOPIC, &absent, &key),
        refused(3, &format!("The topic '{absent}' does not exist."))
    );
    // A wrong value is said before that.
    let zap = [("zap", Change::Set("1"))];
    assert_eq!(
        client.change(TOPIC, &absent, &zap),
        refused(40, "Unknown topic config name: zap")
    );
    assert_eq!(
        client.change(TOPIC, "", &key),
        refused(42, "Default topic resources are not allowed.")
    );
    assert_eq!(
        client.change(TOPIC, "a/b", &key),
        refused(
            17,
            "Topic name is invalid: 'a/b' contains one or more characters other than ASCII \
             alphanumerics, '.', '_' and '-'"
        )
    );
    assert_eq!(
        client.change(3, "x", &key),
        refused(42, "Unknown resource type 3")
    );
    let logger = |change| [("no.such.Logger", change)];
    assert_eq!(
        client.change(8, "1", &logger(Change::Set("DEBUG"))),
        refused(40, "Logger no.such.Logger does not exist!")
    );
    assert_eq!(
        client.change(8, "x", &logger(Change::Set("DEBUG"))),
        refused(42, "Node id must be an integer, but it is: x")
    );
    assert_eq!(
        client.change(8, "1", &logger(Change::Append("DEBUG"))),
        refused(
            42,
            "APPEND operation is not allowed for the BROKER_LOGGER resource"
        )
    );
}

#[test]
fn a_resource_that_is_named_twice_is_changed_by_neither() {
    let broker = Broker::start();
    let mut client = broker.client();
    let (twice, once) = (
        client.create_topic("twice", 1),
        client.create_topic("once", 1),
    );
    let key = |value| [("segment.ms", Change::Set(value))];
    let request = incremental_alter_configs::Request {
        resources: vec![
            changing(TOPIC, &twice.name, &key("70000001")),
            changing(TOPIC, &once.name, &key("70000002")),
            changing(TOPIC, &twice.name, &key("70000003")),
        ],
        validate_only: false,
    };
    let repeated = refused(42, "Each resource must appear at most once.");
    let outcomes = client.change_all(&request, 1);
    assert_eq!(outcomes, [repeated.clone(), DONE, repeated]);
    expect_value(
        &mut client,
        &once.name,
        "segment.ms",
        (some("70000002"), OWN_TOPIC),
    );
    let untouched = value(&mut client, &twice.name, "segment.ms");
    assert_eq!(untouched, (some("604800000"), DEFAULT));
}

#[test]
fn a_change_that_is_only_validated_changes_nothing() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("validated", 1);
    for (number, expected) in [
        ("70000000", DONE),
        (
            "x",
            refused(
                40,
                "Invalid value x for configuration segment.ms: Not a number of type LONG",
            ),
        ),
    ] {
        let key = [("segment.ms", Change::Set(number))];
        let request = incremental_alter_configs::Request {
            resources: vec![changing(TOPIC, &topic.name, &key)],
            validate_only: true,
        };
        assert_eq!(client.change_all(&request, 1), [expected]);
    }
    // What is really changed afterwards shows that the other would have come through.
    let real = [("flush.ms", Change::Set("9000"))];
    assert_eq!(client.change(TOPIC, &topic.name, &real), DONE);
    expect_value(
        &mut client,
        &topic.name,
        "flush.ms",
        (some("9000"), OWN_TOPIC),
    );
    let untouched = value(&mut client, &topic.name, "segment.ms");
    assert_eq!(untouched, (some("604800000"), DEFAULT));
}

#[test]
fn producers_meet_the_new_rules_of_a_topic_at_once() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("rules", 3);
    let large = RawBatch::one(&"x".repeat(2000)).encode();
    let set = |client: &mut Client, key: &str, value: &str| {
        let change = [(key, Change::Set(value))];
        assert_eq!(client.change(TOPIC, &topic.name, &change), DONE);
    };
    let answered = |client: &mut Client, batch: &[u8], code: i16| {
        for part in 0..3 {
            wait_for("the new rule", || {
                let found = client.produce(&topic, part, batch).error_code;
                (found == code).then_some(())
            });
        }
    };
    answered(&mut client, &large, 0);
    set(&mut client, "max.message.bytes", "1000");
    answered(&mut client, &large, 10);
    set(&mut client, "max.message.bytes", "100000");
    answered(&mut client, &large, 0);

    // A record that is three days old.
    let old = Record {
        timestamp: now_ms() - 3 * 86_400_000,
        ..Record::new("key", "old")
    };
    let old = RawBatch::of(&[old]).encode();
    set(&mut client, "message.timestamp.before.max.ms", "86400000");
    answered(&mut client, &old, 32);
    set(&mut client, "message.timestamp.type", "LogAppendTime");
    answered(&mut client, &old, 0);
    let before = now_ms() - 60_000;
    assert!(client.produce(&topic, 0, &old).log_append_time > before);

    let keyless = Record {
        key: None,
        ..Record::new("", "v")
    };
    let keyless = RawBatch::of(&[keyless]).encode();
    answered(&mut client, &keyless, 0);
    set(&mut client, "cleanup.policy", "compact");
    answered(&mut client, &keyless, 87);
}

#[test]
fn a_topics_new_values_survive_a_restart() {
    let test = "a_topics_new_values_survive_a_restart";
    let Some(mut broker) = Broker::own(test, Options::new().set("klamm.shards", 2)) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic_with("kept", 2, &[("segment.ms", "70000000")]);
    let changes = [
        ("max.message.bytes", Change::Set("1000")),
        ("segment.ms", Change::Delete),
    ];
    assert_eq!(client.change(TOPIC, &topic.name, &changes), DONE);
    broker.kill();
    broker.start_again();
    let mut client = broker.client();
    let found = client.described(TOPIC, &topic.name);
    assert_eq!(found["max.message.bytes"].value, some("1000"));
    assert_eq!(found["segment.ms"].source, DEFAULT);
    let large = RawBatch::one(&"x".repeat(2000)).encode();
    for part in 0..2 {
        assert_eq!(client.produce(&topic, part, &large).error_code, 10);
    }
}

#[test]
fn changed_values_that_do_nothing_are_named_in_the_log() {
    let test = "changed_values_that_do_nothing_are_named_in_the_log";
    let Some(broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("said", 1);
    let from = broker.log_length();
    let changes = [
        ("preallocate", Change::Set("true")),
        ("segment.ms", Change::Set("70000000")),
    ];
    assert_eq!(client.change(TOPIC, &topic.name, &changes), DONE);
    broker.expect_log(
        from,
        &["WARN", &topic.name, "without effect", "preallocate"],
    );
}

#[test]
fn levels_of_loggers_are_told_and_changed_from_the_next_line_on() {
    let Some(broker) = Broker::own("levels of loggers", Options::new()) else {
        return;
    };
    const LOGGER: i8 = 8;
    let mut client = broker.client();
    let level = |client: &mut Client, name: &str| {
        let described = client.described(LOGGER, "1");
        let row = &described[name];
        assert_eq!((row.source, row.kind, row.read_only), (6, 0, false));
        row.value.clone()
    };
    let described = client.described(LOGGER, "1");
    let names: Vec<&str> = described.keys().map(String::as_str).collect();
    let expected = ["klamm", "klamm_engine", "klamm_os", "klamm_shard", "root"];
    assert_eq!(names, expected);
    assert_eq!(level(&mut client, "klamm"), some("INFO"));
    // A torn frame is told at this level, and not above it.
    let tear = || broker.client().send(&[0, 0, 0, 9, 1]);
    let from = broker.log_length();
    let set = |client: &mut Client, name: &str, value| {
        assert_eq!(client.change(LOGGER, "1", &[(name, value)]), DONE);
    };
    set(&mut client, "klamm", Change::Set("DEBUG"));
    assert_eq!(level(&mut client, "klamm"), some("DEBUG"));
    assert_eq!(level(&mut client, "klamm_shard"), some("INFO"));
    tear();
    broker.expect_log(from, &["connection ended", "the peer left after 5 bytes"]);

    // What only an error may say is not said of a request that no client sends.
    set(&mut client, "klamm", Change::Set("ERROR"));
    let from = broker.log_length();
    let refused = || {
        let mut other = broker.client();
        other.send(&crate::harness::request_bytes(77, 0, 1, &[]));
        other.until_closed(std::time::Duration::from_secs(10));
    };
    refused();
    set(&mut client, "klamm", Change::Delete);
    assert_eq!(level(&mut client, "klamm"), some("INFO"));
    wait_for("a line about the second connection", || {
        refused();
        let process = broker.process().expect("ours");
        let second = std::time::Duration::from_millis(200);
        let is_closed = |line: &str| line.contains("connection closed").then_some(());
        process.log.find(from, second, is_closed)
    });
    set(&mut client, "root", Change::Set("WARN"));
    assert_eq!(level(&mut client, "klamm_os"), some("WARN"));
}

#[test]
fn no_change_of_a_broker_locks_everybody_out() {
    let broker = Broker::start();
    let mut client = broker.client();
    let text = "Invalid value org.apache.kafka.common.config.ConfigException: Invalid \
                max.connections 0 for configuration Invalid dynamic configuration";
    let none = [("max.connections", Change::Set("0"))];
    assert_eq!(client.change(4, "1", &none), refused(42, text));
    let text = "requirement failed: max.connections.per.ip can be set to zero only if \
                max.connections.per.ip.overrides property is set.";
    let none = [("max.connections.per.ip", Change::Set("0"))];
    assert_eq!(client.change(4, "", &none), refused(42, text));
}

#[test]
fn subscriptions_to_client_metrics_are_kept_listed_and_described() {
    const METRICS: i8 = 16;
    let broker = Broker::start();
    let mut client = broker.client();
    let name = unique("subscription");
    let listed = |client: &mut Client, version| {
        let request = klamm_wire::list_config_resources::Request {
            resource_types: vec![METRICS],
        };
        let version: i16 = version;
        let request = match version {
            0 => klamm_wire::list_config_resources::Request::default(),
            _ => request,
        };
        let reply = client.call(&request, version);
        let view = reply.view();
        let mut found = view.config_resources().iter();
        found.any(|one| one.resource_name() == name)
    };
    let found = client.described(METRICS, &name);
    assert_eq!(found["interval.ms"].value, some("300000"));
    assert_eq!(found["interval.ms"].source, DEFAULT);
    assert!(!listed(&mut client, 1));
    let interval = |change| [("interval.ms", change)];
    let text = "Invalid value 1 for interval.ms, interval must be between 100 and 3600000 (1 hour)";
    let answer = client.change(METRICS, &name, &interval(Change::Set("1")));
    assert_eq!(answer, refused(42, text));
    let answer = client.change(METRICS, "", &interval(Change::Set("5000")));
    assert_eq!(answer, refused(42, "Subscription name can't be empty"));
    assert_eq!(
        client.change(METRICS, &name, &interval(Change::Set("5000"))),
        DONE
    );
    wait_for("the subscription", || {
        let found = client.described(METRICS, &name);
        let row = &found["interval.ms"];
        (row.value == some("5000") && row.source == 7 && row.kind == 3).then_some(())
    });
    assert!(listed(&mut client, 0) && listed(&mut client, 1));
    assert_eq!(
        client.change(METRICS, &name, &interval(Change::Delete)),
        DONE
    );
    wait_for("the end of the subscription", || {
        (!listed(&mut client, 1)).then_some(())
    });
}
