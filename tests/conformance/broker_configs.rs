//! Broker keys that change while the broker runs: for one and for all, what beats what, what is
//! refused; and ListConfigResources.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use klamm_wire::list_config_resources;

use crate::harness::configs::{
    ALL_BROKERS, BROKER, Change, DEFAULT, FILE, OWN_BROKER, OWN_TOPIC, Outcome, TOPIC,
};
use crate::harness::{Broker, Client, Options, RawBatch, unique, wait_for};

const DONE: Outcome = (0, None);
const KEY: &str = "message.max.bytes";

fn refused(code: i16, message: &str) -> Outcome {
    (code, Some(message.to_owned()))
}

fn set(client: &mut Client, name: &str, key: &str, value: &str) {
    let change = [(key, Change::Set(value))];
    assert_eq!(client.change(BROKER, name, &change), DONE, "{key}={value}");
}

fn remove(client: &mut Client, name: &str, key: &str) {
    let change = [(key, Change::Delete)];
    assert_eq!(client.change(BROKER, name, &change), DONE, "{key}");
}

/// Value, and who could have set it, in order.
type Layers = (Option<String>, Vec<(String, i8)>);

fn layers(client: &mut Client, kind: i8, name: &str, key: &str) -> Layers {
    let found = client.described(kind, name);
    let found = &found[key];
    let synonyms = found.synonyms.iter();
    let synonyms = synonyms.map(|(name, value, source)| {
        let value = value.clone().unwrap_or_default();
        (format!("{name}={value}"), *source)
    });
    (found.value.clone(), synonyms.collect())
}

fn expect(client: &mut Client, kind: i8, name: &str, key: &str, value: &str, rows: &[(&str, i8)]) {
    let rows: Vec<_> = rows
        .iter()
        .map(|(text, source)| ((*text).to_owned(), *source))
        .collect();
    let expected = (Some(value.to_owned()), rows);
    wait_for(key, || {
        let found = layers(client, kind, name, key);
        (found == expected).then_some(())
    });
}

#[test]
fn the_own_value_beats_that_for_all_and_that_beats_the_file() {
    let test = "the_own_value_beats_that_for_all_and_that_beats_the_file";
    let Some(broker) = Broker::own(test, Options::new().set(KEY, 4000)) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("layers", 3);
    let own = client.create_topic_with("own", 1, &[("max.message.bytes", "9000")]);
    let default = ("message.max.bytes=1048588", DEFAULT);
    let file = ("message.max.bytes=4000", FILE);
    let for_all = ("message.max.bytes=3000", ALL_BROKERS);
    let mine = ("message.max.bytes=2000", OWN_BROKER);
    let check = |client: &mut Client, value: &str, rows: &[(&str, i8)]| {
        expect(client, BROKER, "1", KEY, value, rows);
        expect(client, TOPIC, &topic.name, "max.message.bytes", value, rows);
        let mut over = vec![("max.message.bytes=9000", OWN_TOPIC)];
        over.extend(rows);
        expect(client, TOPIC, &own.name, "max.message.bytes", "9000", &over);
        let limit: usize = value.parse().expect("a number");
        for (size, code) in [(limit - 200, 0), (limit, 10)] {
            let batch = RawBatch::one(&"x".repeat(size)).encode();
            for part in 0..3 {
                let produced = client.produce(&topic, part, &batch);
                assert_eq!(produced.error_code, code, "{size} under {limit}");
            }
            assert_eq!(client.produce(&own, 0, &batch).error_code, 0);
        }
    };
    check(&mut client, "4000", &[file, default]);
    set(&mut client, "", KEY, "3000");
    check(&mut client, "3000", &[for_all, file, default]);
    set(&mut client, "1", KEY, "2000");
    check(&mut client, "2000", &[mine, for_all, file, default]);
    remove(&mut client, "", KEY);
    check(&mut client, "2000", &[mine, file, default]);
    remove(&mut client, "1", KEY);
    check(&mut client, "4000", &[file, default]);
}

#[test]
fn values_for_brokers_survive_a_restart() {
    let test = "values_for_brokers_survive_a_restart";
    let Some(mut broker) = Broker::own(test, Options::new().set("klamm.shards", 2)) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("kept", 2);
    set(&mut client, "1", KEY, "2000");
    set(&mut client, "", "log.segment.bytes", "2097152");
    set(&mut client, "", "klamm.durability", "written");
    broker.kill();
    broker.start_again();
    let mut client = broker.client();
    let found = client.described(BROKER, "1");
    let of = |key: &str| (found[key].value.as_deref(), found[key].source);
    assert_eq!(of(KEY), (Some("2000"), OWN_BROKER));
    assert_eq!(of("log.segment.bytes"), (Some("2097152"), ALL_BROKERS));
    assert_eq!(of("klamm.durability"), (Some("written"), ALL_BROKERS));
    let batch = RawBatch::one(&"x".repeat(2000)).encode();
    assert_eq!(client.produce(&topic, 1, &batch).error_code, 10);
}

#[test]
fn only_what_is_set_for_all_is_described_where_no_broker_is_named() {
    let test = "only_what_is_set_for_all_is_described_where_no_broker_is_named";
    let Some(broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    assert!(client.described(BROKER, "").is_empty());
    set(&mut client, "1", KEY, "2000");
    set(&mut client, "", "max.connections", "500");
    let rows = [("max.connections=500", ALL_BROKERS)];
    expect(&mut client, BROKER, "", "max.connections", "500", &rows);
    assert_eq!(client.described(BROKER, "").len(), 1);
    assert_eq!(client.described(BROKER, "1")[KEY].source, OWN_BROKER);
}

#[test]
fn keys_of_brokers_say_whether_they_change_and_what_they_are() {
    let broker = Broker::start();
    let mut client = broker.client();
    let found = client.described(BROKER, "1");
    for (key, read_only, kind) in [
        (KEY, false, 3),
        ("log.retention.ms", false, 5),
        ("log.cleanup.policy", false, 7),
        ("log.preallocate", false, 1),
        ("log.cleaner.min.cleanable.ratio", false, 6),
        ("compression.type", false, 2),
        ("max.connections", false, 3),
        ("num.io.threads", false, 3),
        ("log.retention.hours", true, 3),
        ("node.id", true, 3),
        ("num.partitions", true, 3),
        ("auto.create.topics.enable", true, 1),
    ] {
        let row = &found[key];
        assert_eq!(
            (row.read_only, row.kind, row.sensitive),
            (read_only, kind, false),
            "{key}"
        );
    }
    let password = &found["ssl.key.password"];
    assert!(password.sensitive && password.kind == 9 && password.value.is_none());
}

#[test]
fn each_wrong_change_of_a_broker_has_its_code_and_its_words() {
    let broker = Broker::start();
    let mut client = broker.client();
    let set = Change::Set;
    let at_start = |keys: &str| {
        refused(
            42,
            &format!("Cannot update these configs dynamically: {keys}"),
        )
    };
    for (name, key, change, expected) in [
        ("1", "node.id", set("7"), at_start("[node.id]")),
        (
            "",
            "log.retention.hours",
            set("7"),
            at_start("[log.retention.hours]"),
        ),
        (
            "1",
            "log.segment.bytes",
            set("x"),
            refused(
                42,
                "Invalid value x for configuration log.segment.bytes: Not a number of type INT",
            ),
        ),
        (
            "",
            "log.segment.bytes",
            set("14"),
            refused(
                42,
                "Invalid value 14 for configuration log.segment.bytes: Value must be at least 1048576",
            ),
        ),
        (
            "",
            KEY,
            Change::Append("5"),
            refused(
                40,
                "Config value append is not allowed for config key: message.max.bytes",
            ),
        ),
        (
            "",
            KEY,
            Change::Subtract("5"),
            refused(
                40,
                "Config value subtract is not allowed for config key: message.max.bytes",
            ),
        ),
        (
            "",
            KEY,
            Change::Raw(7, Some("5")),
            refused(42, "Unknown operations type 7"),
        ),
        (
            "",
            KEY,
            Change::Raw(0, None),
            refused(42, "Null value not supported for : message.max.bytes"),
        ),
        (
            "x",
            KEY,
            set("5000"),
            refused(42, "Node id must be an integer, but it is: x"),
        ),
        (
            "77",
            KEY,
            set("5000"),
            refused(42, "Unexpected broker id, expected 1, but received 77"),
        ),
    ] {
        let found = client.change(BROKER, name, &[(key, change)]);
        assert_eq!(found, expected, "{name:?} {key} {change:?}");
    }
    let both = [("node.id", set("7")), ("node.id", Change::Delete)];
    assert_eq!(
        client.change(BROKER, "1", &both),
        refused(42, "Error due to duplicate config keys")
    );
    for (name, message) in [
        ("x", "Broker id must be an integer, but it is: x"),
        (
            "77",
            "Unexpected broker id, expected 1 or empty string, but received 77",
        ),
    ] {
        let found = client.try_described(BROKER, name);
        assert_eq!(found, Err(refused(42, message)));
    }
}

#[test]
fn the_old_way_replaces_all_values_of_a_broker() {
    let test = "the_old_way_replaces_all_values_of_a_broker";
    let Some(broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    set(&mut client, "1", KEY, "2000");
    set(&mut client, "1", "log.roll.ms", "70000000");
    let new = [("log.roll.ms", Some("80000000"))];
    assert_eq!(client.replace(BROKER, "1", &new, 2), DONE);
    let found = client.described(BROKER, "1");
    assert_eq!(found["log.roll.ms"].value.as_deref(), Some("80000000"));
    assert_eq!(found[KEY].source, DEFAULT);
    let wrong = [("node.id", Some("7"))];
    let message = "Cannot update these configs dynamically: [node.id]";
    assert_eq!(client.replace(BROKER, "1", &wrong, 2), refused(42, message));
    assert_eq!(
        client.described(BROKER, "1")["log.roll.ms"].source,
        OWN_BROKER
    );
}

/// True if the broker keeps a new connection.
fn is_let_in(address: SocketAddr) -> bool {
    Client::try_connect(address).is_ok_and(|mut client| {
        let request = klamm_wire::api_versions::Request::default();
        client.try_call(&request, 0).is_ok()
    })
}

#[test]
fn limits_of_connections_hold_from_the_next_one_on() {
    let test = "limits_of_connections_hold_from_the_next_one_on";
    let Some(broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    assert!(is_let_in(broker.address()));
    for key in ["max.connections", "max.connections.per.ip"] {
        set(&mut client, "", key, "1");
        wait_for("a refused connection", || {
            (!is_let_in(broker.address())).then_some(())
        });
        // Who is in already stays.
        remove(&mut client, "", key);
        wait_for("an accepted connection", || {
            is_let_in(broker.address()).then_some(())
        });
    }
}

#[test]
fn both_versions_list_resources_of_the_kinds_that_they_know() {
    let broker = Broker::start();
    let mut client = broker.client();
    assert_eq!(client.api_versions()[&74], (0, 1));
    let topic = client.create_topic("listed", 1);
    let mut ask = |version: i16, kinds: &[i8]| {
        let request = list_config_resources::Request {
            resource_types: kinds.to_vec(),
        };
        let reply = client.call(&request, version);
        let view = reply.view();
        let found = view.config_resources().iter();
        let found: BTreeSet<_> = found
            .map(|one| (one.resource_type(), one.resource_name().to_owned()))
            .collect();
        (view.error_code(), found)
    };
    assert_eq!(ask(0, &[]), (0, BTreeSet::new()));
    assert_eq!(ask(1, &[BROKER]), (0, [(4, "1".to_owned())].into()));
    assert_eq!(ask(1, &[8]), (0, [(8, "1".to_owned())].into()));
    let (code, topics) = ask(1, &[TOPIC]);
    assert_eq!(code, 0);
    assert!(topics.contains(&(TOPIC, topic.name.clone())));
    assert!(topics.iter().all(|(kind, _)| *kind == TOPIC));
    let (code, all) = ask(1, &[]);
    assert_eq!(code, 0);
    let of_topics = topics.len();
    assert!(all.len() >= of_topics + 2, "{all:?}");
    assert!(all.contains(&(BROKER, "1".to_owned())) && all.contains(&(TOPIC, topic.name)));
    assert_eq!(ask(1, &[3]), (35, BTreeSet::new()));
    let absent = unique("absent");
    assert!(!all.iter().any(|(_, name)| *name == absent));
}
