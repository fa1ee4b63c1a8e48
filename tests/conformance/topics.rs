//! CreateTopics, DeleteTopics, DescribeConfigs.

use std::collections::BTreeMap;

use klamm_wire::{create_topics, delete_topics, describe_configs};

use crate::harness::{Broker, Client, Options, RawBatch, Topic, creation, unique, wait_for};

fn create(client: &mut Client, request: &create_topics::Request<'_>, version: i16) -> Vec<i16> {
    let reply = client.call(request, version);
    let view = reply.view();
    view.topics()
        .iter()
        .map(|topic| topic.error_code())
        .collect()
}

fn delete(client: &mut Client, topic: &Topic, version: i16) -> i16 {
    let mut request = delete_topics::Request {
        timeout_ms: 30_000,
        ..Default::default()
    };
    if version >= 6 {
        request.topics.push(delete_topics::DeleteTopicState {
            name: Some(topic.name.clone().into()),
            topic_id: [0; 16],
        });
    } else {
        request.topic_names.push(topic.name.clone().into());
    }
    let reply = client.call(&request, version);
    let view = reply.view();
    view.responses()
        .iter()
        .next()
        .expect("one topic")
        .error_code()
}

fn configs(client: &mut Client, topic: &Topic) -> BTreeMap<String, (Option<String>, i8)> {
    let resource = describe_configs::DescribeConfigsResource {
        resource_type: 2,
        resource_name: topic.name.clone().into(),
        configuration_keys: None,
    };
    let request = describe_configs::Request {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: true,
    };
    let reply = client.call(&request, 4);
    let view = reply.view();
    let result = view.results().iter().next().expect("one resource");
    assert_eq!(result.error_code(), 0, "{:?}", result.error_message());
    let rows = result.configs().iter().map(|row| {
        (
            row.name().to_owned(),
            (row.value().map(str::to_owned), row.config_source()),
        )
    });
    rows.collect()
}

#[test]
fn every_version_creates_and_deletes_a_topic() {
    let broker = Broker::start();
    let mut client = broker.client();
    let keys = client.api_versions();
    let (created, deleted) = (keys[&19], keys[&20]);
    for version in created.0..=created.1 {
        let name = unique("created");
        assert_eq!(
            create(&mut client, &creation(&name, 1, 1, &[]), version),
            [0]
        );
        assert_eq!(
            create(&mut client, &creation(&name, 1, 1, &[]), version),
            [36]
        );
        let topic = Topic { name, id: [0; 16] };
        let last = deleted.1.min(version.max(deleted.0));
        assert_eq!(
            delete(&mut client, &topic, last),
            0,
            "DeleteTopics version {last}"
        );
        wait_for("deletion", || {
            (delete(&mut client, &topic, last) == 3).then_some(())
        });
    }
}

#[test]
fn new_topic_answers_with_what_it_got() {
    let options = Options::new().set("num.partitions", 3);
    let broker = Broker::start_with(options);
    let mut client = broker.client();
    let name = unique("got");
    let configs = [("retention.ms", "86400000"), ("cleanup.policy", "compact")];
    let reply = client.call(&creation(&name, -1, -1, &configs), 7);
    let view = reply.view();
    let told = view.topics().iter().next().expect("one topic");
    assert_eq!(told.error_code(), 0, "{:?}", told.error_message());
    assert_eq!((told.num_partitions(), told.replication_factor()), (3, 1));
    assert_ne!(told.topic_id(), [0; 16]);
    let set: BTreeMap<_, _> = told
        .configs()
        .expect("configs are told")
        .iter()
        .filter(|row| row.config_source() == 1)
        .map(|row| (row.name(), row.value()))
        .collect();
    assert_eq!(
        set,
        [
            ("cleanup.policy", Some("compact")),
            ("retention.ms", Some("86400000"))
        ]
        .into()
    );
}

#[test]
fn impossible_topics_are_refused_with_their_own_codes() {
    let broker = Broker::start();
    let mut client = broker.client();
    let name = || unique("refused");
    for (code, request) in [
        (17, creation("", 1, 1, &[])),
        (17, creation(".", 1, 1, &[])),
        (17, creation("..", 1, 1, &[])),
        (17, creation("a/b", 1, 1, &[])),
        (17, creation("with space", 1, 1, &[])),
        (17, creation(&"x".repeat(250), 1, 1, &[])),
        (37, creation(&name(), 0, 1, &[])),
        (37, creation(&name(), -2, 1, &[])),
        (38, creation(&name(), 1, 0, &[])),
        (38, creation(&name(), 1, 2, &[])),
        (40, creation(&name(), 1, 1, &[("no.such.key", "1")])),
        (40, creation(&name(), 1, 1, &[("retention.ms", "soon")])),
        (40, creation(&name(), 1, 1, &[("segment.bytes", "1")])),
        (40, creation(&name(), 1, 1, &[("cleanup.policy", "burn")])),
    ] {
        assert_eq!(
            create(&mut client, &request, 7),
            [code],
            "{:?}",
            request.topics[0]
        );
    }
}

#[test]
fn names_that_metrics_cannot_tell_apart_collide() {
    let broker = Broker::start();
    let mut client = broker.client();
    let name = unique("a.b");
    assert_eq!(create(&mut client, &creation(&name, 1, 1, &[]), 7), [0]);
    let alike = name.replace('.', "_");
    assert_eq!(create(&mut client, &creation(&alike, 1, 1, &[]), 7), [17]);
}

#[test]
fn topic_named_twice_in_one_request_is_made_by_neither() {
    let broker = Broker::start();
    let mut client = broker.client();
    let (twice, once) = (unique("twice"), unique("once"));
    let mut request = creation(&twice, 1, 1, &[]);
    request.topics.extend(creation(&twice, 2, 1, &[]).topics);
    request.topics.extend(creation(&once, 1, 1, &[]).topics);
    let reply = client.call(&request, 7);
    let view = reply.view();
    for topic in view.topics() {
        let expected = if topic.name() == once { 0 } else { 42 };
        assert_eq!(topic.error_code(), expected, "{}", topic.name());
    }
    assert_eq!(create(&mut client, &creation(&twice, 1, 1, &[]), 7), [0]);
}

#[test]
fn assignment_by_hand_is_followed_or_refused() {
    let broker = Broker::start();
    let mut client = broker.client();
    let node = {
        let reply = client.call(&klamm_wire::metadata::Request::default(), 9);
        let view = reply.view();
        view.brokers().iter().next().expect("a broker").node_id()
    };
    let mut with = |partitions: i32, replication: i16, assignments: &[(i32, &[i32])]| {
        let mut request = creation(&unique("assigned"), partitions, replication, &[]);
        let rows =
            assignments
                .iter()
                .map(|(index, nodes)| create_topics::CreatableReplicaAssignment {
                    partition_index: *index,
                    broker_ids: nodes.to_vec(),
                });
        request.topics[0].assignments = rows.collect();
        create(&mut client, &request, 7)[0]
    };
    assert_eq!(with(-1, -1, &[(0, &[node]), (1, &[node])]), 0);
    assert_eq!(
        with(-1, -1, &[(0, &[node + 77])]),
        39,
        "a broker that is not there"
    );
    assert_eq!(
        with(-1, -1, &[(0, &[node, node])]),
        39,
        "the same broker twice"
    );
    assert_eq!(
        with(-1, -1, &[(1, &[node])]),
        39,
        "partitions do not begin at 0"
    );
    assert_eq!(
        with(1, -1, &[(0, &[node])]),
        42,
        "both a count and an assignment"
    );
}

#[test]
fn validation_alone_makes_nothing() {
    let broker = Broker::start();
    let mut client = broker.client();
    let name = unique("validated");
    let mut request = creation(&name, 2, 1, &[]);
    request.validate_only = true;
    assert_eq!(create(&mut client, &request, 7), [0]);
    assert_eq!(
        create(&mut client, &request, 7),
        [0],
        "the first one made nothing"
    );
    request.topics[0].num_partitions = -5;
    assert_eq!(create(&mut client, &request, 7), [37]);
}

#[test]
fn recreated_topic_is_a_new_topic_without_the_old_records() {
    let broker = Broker::start();
    let mut client = broker.client();
    let old = client.create_topic("again", 1);
    for number in 0..5 {
        assert_eq!(
            client
                .produce(&old, 0, &RawBatch::one("old").encode())
                .base_offset,
            number
        );
    }
    assert_eq!(delete(&mut client, &old, 5), 0);
    let created = wait_for("new topic of the old name", || {
        let reply = client.call(&creation(&old.name, 1, 1, &[]), 7);
        let view = reply.view();
        let topic = view.topics().iter().next().expect("one topic");
        (topic.error_code() == 0).then(|| topic.topic_id())
    });
    assert_ne!(created, old.id);
    let new = Topic {
        name: old.name,
        id: created,
    };
    let produced = wait_for("leader", || {
        let produced = client.produce(&new, 0, &RawBatch::one("new").encode());
        (produced.error_code == 0).then_some(produced)
    });
    assert_eq!(produced.base_offset, 0);
    let read = client.read_all(&new, 0);
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].record.value.as_deref(), Some(&b"new"[..]));
}

#[test]
fn topics_are_deleted_by_name_and_by_id() {
    let broker = Broker::start();
    let mut client = broker.client();
    let (named, by_id) = (
        client.create_topic("named", 2),
        client.create_topic("by-id", 2),
    );
    let state = |name: Option<&str>, id| delete_topics::DeleteTopicState {
        name: name.map(|name| name.to_owned().into()),
        topic_id: id,
    };
    let absent = unique("absent");
    let request = delete_topics::Request {
        topics: vec![
            state(Some(&named.name), [0; 16]),
            state(None, by_id.id),
            state(Some(&absent), [0; 16]),
            state(None, [9; 16]),
        ],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let reply = client.call(&request, 6);
    let view = reply.view();
    let mut told: Vec<_> = view
        .responses()
        .iter()
        .map(|row| {
            (
                row.error_code(),
                row.name().map(str::to_owned),
                row.topic_id(),
            )
        })
        .collect();
    told.sort();
    let id_of_absent = told[2].2;
    assert_eq!(told, {
        let mut rows = vec![
            (0, Some(by_id.name.clone()), by_id.id),
            (0, Some(named.name.clone()), named.id),
            (3, Some(absent), id_of_absent),
            (100, None, [9; 16]),
        ];
        rows.sort();
        rows
    });
    wait_for("end of both topics", || {
        let reply = client.call(&klamm_wire::metadata::Request::default(), 12);
        let view = reply.view();
        let gone = !view
            .topics()
            .iter()
            .any(|topic| topic.name() == Some(&*named.name) || topic.name() == Some(&*by_id.name));
        gone.then_some(())
    });
    assert_eq!(
        client
            .produce(&named, 0, &RawBatch::one("x").encode())
            .error_code,
        3
    );
}

#[test]
fn configs_of_a_topic_are_its_own_and_the_defaults() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic_with(
        "configured",
        1,
        &[
            ("retention.ms", "3600000"),
            ("max.message.bytes", "2000000"),
        ],
    );
    let found = configs(&mut client, &topic);
    // 1: the topic's own. 5: nobody set it.
    assert_eq!(found["retention.ms"], (Some("3600000".to_owned()), 1));
    assert_eq!(found["max.message.bytes"], (Some("2000000".to_owned()), 1));
    assert_eq!(found["cleanup.policy"], (Some("delete".to_owned()), 5));
    assert_eq!(found["compression.type"], (Some("producer".to_owned()), 5));
    for key in [
        "segment.bytes",
        "min.insync.replicas",
        "message.timestamp.type",
        "retention.bytes",
    ] {
        assert!(found.contains_key(key), "{key}");
    }
}

#[test]
fn configs_of_a_topic_that_does_not_exist_are_unknown() {
    let broker = Broker::start();
    let resource = describe_configs::DescribeConfigsResource {
        resource_type: 2,
        resource_name: unique("absent").into(),
        configuration_keys: None,
    };
    let request = describe_configs::Request {
        resources: vec![resource],
        ..Default::default()
    };
    let reply = broker.client().call(&request, 4);
    let view = reply.view();
    assert_eq!(view.results().iter().next().expect("one").error_code(), 3);
}

#[test]
fn topic_of_a_test_may_have_segments_below_a_mebibyte() {
    let broker = Broker::start();
    let mut client = broker.client();
    let keys = [("internal.segment.bytes", "1000")];
    let topic = client.create_topic_with("tiny", 1, &keys);
    let described = configs(&mut client, &topic);
    let (value, source) = &described["internal.segment.bytes"];
    assert_eq!((value.as_deref(), *source), (Some("1000"), 1));
    assert_eq!(described["segment.bytes"].0.as_deref(), Some("1073741824"));
    let plain = client.create_topic("plain", 1);
    assert!(!configs(&mut client, &plain).contains_key("internal.segment.bytes"));

    let large = RawBatch::one(&"x".repeat(1000)).encode();
    assert_eq!(client.produce(&topic, 0, &large).error_code, 18);
    let small = RawBatch::one(&"x".repeat(400)).encode();
    for number in 0..6 {
        let produced = client.produce(&topic, 0, &small);
        assert_eq!((produced.error_code, produced.base_offset), (0, number));
    }
    assert_eq!(client.read_all(&topic, 0).len(), 6);
    if broker.process().is_some() {
        let folder = broker.folder().join(format!("{}-0", topic.name));
        wait_for("three segments of two batches", || {
            let names = std::fs::read_dir(&folder).ok()?.flatten();
            let names = names.map(|entry| entry.file_name());
            let logs = names.filter(|name| name.to_string_lossy().ends_with(".log"));
            (logs.count() == 3).then_some(())
        });
    }
}

#[test]
fn new_topics_with_values_that_do_nothing_are_named_in_the_log() {
    let broker = Broker::start();
    let mut client = broker.client();
    let from = broker.log_length();
    let keys = [
        ("cleanup.policy", "compact"),
        ("max.message.bytes", "2000"),
        ("segment.jitter.ms", "1000"),
    ];
    let topic = client.create_topic_with("kept", 1, &keys);
    let said = "not served yet: segment.jitter.ms";
    broker.expect_log(from, &["WARN", &topic.name, "without effect", said]);
}
