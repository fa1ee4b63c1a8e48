//! CreatePartitions: what is refused in which words, and that new partitions serve at once.

use std::collections::BTreeSet;

use klamm_wire::{create_partitions, metadata};

use crate::harness::{Broker, Client, Options, RawBatch, unique, wait_for};

type Outcome = (String, i16, Option<String>);

/// Replicas of each new partition, if the request names them.
type Replicas<'a> = Option<&'a [&'a [i32]]>;

fn wanted(
    topic: &str,
    count: i32,
    replicas: Replicas<'_>,
) -> create_partitions::CreatePartitionsTopic<'static> {
    let assignments = replicas.map(|all| {
        let all = all
            .iter()
            .map(|nodes| create_partitions::CreatePartitionsAssignment {
                broker_ids: nodes.to_vec(),
            });
        all.collect()
    });
    create_partitions::CreatePartitionsTopic {
        name: topic.to_owned().into(),
        count,
        assignments,
    }
}

fn ask(
    client: &mut Client,
    topics: Vec<create_partitions::CreatePartitionsTopic<'_>>,
    validate_only: bool,
    version: i16,
) -> BTreeSet<Outcome> {
    let request = create_partitions::Request {
        topics,
        timeout_ms: 30_000,
        validate_only,
    };
    let reply = client.call(&request, version);
    let view = reply.view();
    let results = view.results().iter().map(|result| {
        let message = result.error_message().map(str::to_owned);
        (result.name().to_owned(), result.error_code(), message)
    });
    results.collect()
}

/// Asks for one topic.
fn grow(
    client: &mut Client,
    topic: &str,
    count: i32,
    replicas: Replicas<'_>,
) -> (i16, Option<String>) {
    let found = ask(client, vec![wanted(topic, count, replicas)], false, 3);
    let (name, code, message) = found.into_iter().next().expect("one topic");
    assert_eq!(name, topic);
    (code, message)
}

/// Partitions that the broker names to clients, with a leader each.
fn led(client: &mut Client, topic: &str) -> usize {
    let asked = metadata::MetadataRequestTopic {
        name: Some(topic.to_owned().into()),
        ..Default::default()
    };
    let request = metadata::Request {
        topics: Some(vec![asked]),
        ..Default::default()
    };
    let reply = client.call(&request, 12);
    let view = reply.view();
    let topic = view.topics().iter().next().expect("one topic");
    let partitions = topic.partitions();
    partitions
        .iter()
        .filter(|part| part.leader_id() >= 0 && part.error_code() == 0)
        .count()
}

#[test]
fn every_version_adds_partitions() {
    let broker = Broker::start();
    let mut client = broker.client();
    let (min, max) = client.api_versions()[&37];
    assert_eq!((min, max), (0, 3));
    let topic = client.create_topic("grown", 1);
    for (version, count) in (min..=max).zip(2..) {
        let found = ask(
            &mut client,
            vec![wanted(&topic.name, count, None)],
            false,
            version,
        );
        assert_eq!(found, [(topic.name.clone(), 0, None)].into());
        wait_for("the new partition", || {
            (led(&mut client, &topic.name) == count as usize).then_some(())
        });
    }
}

#[test]
fn new_partitions_take_and_give_records_beside_the_old_ones() {
    let broker = Broker::start_with(Options::new().set("klamm.shards", 3));
    let (mut client, mut other) = (broker.client(), broker.client());
    let topic = client.create_topic("served", 2);
    for part in 0..2 {
        let batch = RawBatch::one(&format!("old {part}")).encode();
        assert_eq!(client.produce(&topic, part, &batch).error_code, 0);
    }
    let batch = RawBatch::one("too early").encode();
    assert_eq!(client.produce(&topic, 2, &batch).error_code, 3);
    assert_eq!(grow(&mut client, &topic.name, 20, None), (0, None));
    for part in 0..20 {
        let batch = RawBatch::one(&format!("new {part}")).encode();
        wait_for("the new partition", || {
            let code = client.produce(&topic, part, &batch).error_code;
            assert!([0, 3, 6].contains(&code), "{code}");
            (code == 0).then_some(())
        });
        let values = other.read_all(&topic, part).into_iter();
        let values: Vec<_> = values.map(|read| read.record.value).collect();
        let old = (part < 2).then(|| format!("old {part}").into_bytes());
        let expected = old.into_iter().chain([format!("new {part}").into_bytes()]);
        assert_eq!(values, expected.map(Some).collect::<Vec<_>>(), "{part}");
    }
}

#[test]
fn new_partitions_survive_the_death_of_the_process() {
    let test = "new_partitions_survive_the_death_of_the_process";
    let Some(mut broker) = Broker::own(test, Options::new().set("klamm.shards", 2)) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("survives", 1);
    assert_eq!(grow(&mut client, &topic.name, 5, None), (0, None));
    let batch = RawBatch::one("kept").encode();
    for part in 0..5 {
        assert_eq!(client.produce(&topic, part, &batch).error_code, 0);
    }
    broker.kill();
    broker.start_again();
    let mut client = broker.client();
    assert_eq!(led(&mut client, &topic.name), 5);
    for part in 0..5 {
        assert_eq!(client.read_all(&topic, part).len(), 1, "{part}");
    }
}

#[test]
fn each_wrong_count_and_assignment_has_its_code_and_its_words() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("refused", 3);
    let name = topic.name.as_str();
    let fewer = |count: i32| {
        format!("The topic {name} currently has 3 partition(s); {count} would not be an increase.")
    };
    let nobody = "The manual partition assignment includes broker 77, but no such broker is \
                  registered.";
    let twice = "The manual partition assignment includes the broker 1 more than once.";
    let empty = "The manual partition assignment includes an empty replica list.";
    let count = |additional, given| {
        format!(
            "Attempted to add {additional} additional partition(s), but only {given} \
             assignment(s) were specified."
        )
    };
    let cases: [(i32, Replicas<'_>, i16, String); 10] = [
        (3, None, 37, "Topic already has 3 partition(s).".to_owned()),
        (2, None, 37, fewer(2)),
        (0, None, 37, fewer(0)),
        (-1, None, 37, fewer(-1)),
        (
            3,
            Some(&[]),
            37,
            "Topic already has 3 partition(s).".to_owned(),
        ),
        (5, Some(&[&[1]]), 39, count(2, 1)),
        (4, Some(&[]), 39, count(1, 0)),
        (4, Some(&[&[77]]), 39, nobody.to_owned()),
        (4, Some(&[&[1, 1]]), 39, twice.to_owned()),
        (4, Some(&[&[]]), 39, empty.to_owned()),
    ];
    for (count, replicas, code, message) in cases {
        let found = grow(&mut client, name, count, replicas);
        assert_eq!(found, (code, Some(message)), "{count} {replicas:?}");
    }
    let absent = unique("absent");
    let (code, _) = grow(&mut client, &absent, 4, None);
    assert_eq!(code, 3);
    assert_eq!(led(&mut client, name), 3);
    let by_hand: &[&[i32]] = &[&[1], &[1]];
    assert_eq!(grow(&mut client, name, 5, Some(by_hand)), (0, None));
    wait_for("two more", || (led(&mut client, name) == 5).then_some(()));
}

#[test]
fn a_topic_that_is_named_twice_gets_none_and_the_others_get_theirs() {
    let broker = Broker::start();
    let mut client = broker.client();
    let (twice, once) = (
        client.create_topic("twice", 1),
        client.create_topic("once", 1),
    );
    let topics = vec![
        wanted(&twice.name, 2, None),
        wanted(&once.name, 2, None),
        wanted(&twice.name, 3, None),
    ];
    let found = ask(&mut client, topics, false, 3);
    let repeated = Some("Duplicate topic name.".to_owned());
    let expected = [
        (twice.name.clone(), 42, repeated),
        (once.name.clone(), 0, None),
    ];
    assert_eq!(found, expected.into());
    wait_for("one more", || {
        (led(&mut client, &once.name) == 2).then_some(())
    });
    assert_eq!(led(&mut client, &twice.name), 1);
}

#[test]
fn a_count_that_is_only_validated_adds_nothing() {
    let broker = Broker::start();
    let mut client = broker.client();
    let (one, other) = (
        client.create_topic("validated", 1),
        client.create_topic("real", 1),
    );
    let found = ask(&mut client, vec![wanted(&one.name, 9, None)], true, 3);
    assert_eq!(found, [(one.name.clone(), 0, None)].into());
    let found = ask(&mut client, vec![wanted(&one.name, 1, None)], true, 3);
    assert_eq!(found.first().map(|one| one.1), Some(37));
    // What is really added afterwards shows that the other would have come through.
    assert_eq!(grow(&mut client, &other.name, 2, None), (0, None));
    wait_for("one more", || {
        (led(&mut client, &other.name) == 2).then_some(())
    });
    assert_eq!(led(&mut client, &one.name), 1);
}
