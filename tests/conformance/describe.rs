//! What a broker says of its partitions: where reigns ended, what topics are like, what they take
//! on disk, which producers they remember; and of the quorum.

use klamm_wire::{
    describe_log_dirs, describe_producers, describe_quorum, describe_topic_partitions,
    offset_for_leader_epoch,
};

use crate::harness::{Broker, Client, End, Options, RawBatch, Record, now_ms, unique};

/// Error, epoch and end of the answer to one question about a reign.
fn epoch_end(
    client: &mut Client,
    topic: &str,
    partition: i32,
    (current, asked): (i32, i32),
    version: i16,
) -> (i16, i32, i64) {
    let part = offset_for_leader_epoch::OffsetForLeaderPartition {
        partition,
        current_leader_epoch: if version >= 2 { current } else { -1 },
        leader_epoch: asked,
    };
    let request = offset_for_leader_epoch::Request {
        replica_id: if version >= 3 { -1 } else { -2 },
        topics: vec![offset_for_leader_epoch::OffsetForLeaderTopic {
            topic: topic.to_owned().into(),
            partitions: vec![part],
        }],
    };
    let reply = client.call(&request, version);
    let view = reply.view();
    let found = view.topics().iter().next().expect("one topic");
    assert_eq!(found.topic(), topic);
    let part = found.partitions().iter().next().expect("one partition");
    assert_eq!(part.partition(), partition);
    (part.error_code(), part.leader_epoch(), part.end_offset())
}

#[test]
fn a_reign_ends_where_the_next_one_begins() {
    let test = "a_reign_ends_where_the_next_one_begins";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("reigns", 1);
    let append = |client: &mut Client| {
        let batch = RawBatch::one("x").encode();
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    };
    // Reign 0 has records 0 and 1; reign 1 none; reign 2 has record 2; reign 3 none yet.
    append(&mut client);
    append(&mut client);
    broker.end(End::Kill);
    broker.start_again();
    broker.end(End::Stop);
    broker.start_again();
    append(&mut broker.client());
    broker.end(End::Kill);
    broker.start_again();
    let mut client = broker.client();
    for version in 0..=4 {
        let mut ask = |current, asked| {
            let found = epoch_end(&mut client, &topic.name, 0, (current, asked), version);
            // Version 0 cannot name the reign.
            (found.0, (version > 0).then_some(found.1), found.2)
        };
        let epoch = |number| (version > 0).then_some(number);
        assert_eq!(ask(-1, 0), (0, epoch(0), 2), "version {version}");
        // The largest reign with records that is not above the one asked for.
        assert_eq!(ask(-1, 1), (0, epoch(0), 2), "version {version}");
        assert_eq!(ask(-1, 2), (0, epoch(2), 3), "version {version}");
        assert_eq!(ask(-1, 3), (0, epoch(3), 3), "version {version}");
        // Not known yet, and none.
        assert_eq!(ask(-1, 4), (0, epoch(-1), -1), "version {version}");
        assert_eq!(ask(-1, -1), (0, epoch(-1), -1), "version {version}");
        if version >= 2 {
            assert_eq!(ask(3, 0), (0, epoch(0), 2), "version {version}");
            assert_eq!(ask(2, 0), (74, epoch(-1), -1), "version {version}");
            assert_eq!(ask(4, 0), (75, epoch(-1), -1), "version {version}");
        }
    }
}

#[test]
fn reigns_of_partitions_that_are_not_there_are_unknown() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("one", 1);
    for version in 2..=4 {
        let mut ask =
            |name: &str, partition| epoch_end(&mut client, name, partition, (-1, 0), version);
        assert_eq!(ask(&topic.name, 0), (0, 0, 0));
        assert_eq!(ask(&topic.name, 1), (3, -1, -1));
        assert_eq!(ask(&unique("absent"), 0), (3, -1, -1));
        assert_eq!(ask("a/b", 0), (3, -1, -1));
        // Only -1 is no epoch.
        let fenced = epoch_end(&mut client, &topic.name, 0, (-2, 0), version);
        assert_eq!(fenced, (74, -1, -1));
    }
}

type Cursor = Option<(String, i32)>;

fn described(
    client: &mut Client,
    names: &[&str],
    cursor: Option<(&str, i32)>,
    limit: i32,
) -> (Vec<(i16, String, Vec<i32>)>, Cursor) {
    let topic = |name: &&str| describe_topic_partitions::TopicRequest {
        name: (*name).to_owned().into(),
    };
    let request = describe_topic_partitions::Request {
        topics: names.iter().map(topic).collect(),
        response_partition_limit: limit,
        cursor: cursor.map(
            |(topic, partition_index)| describe_topic_partitions::RequestCursor {
                topic_name: topic.to_owned().into(),
                partition_index,
            },
        ),
    };
    let reply = client.call(&request, 0);
    let view = reply.view();
    let topics = view.topics().iter().map(|topic| {
        let name = topic.name().expect("named").to_owned();
        let parts = topic.partitions().iter();
        let parts = parts.map(|part| part.partition_index()).collect();
        (topic.error_code(), name, parts)
    });
    let topics = topics.collect();
    let next = view
        .next_cursor()
        .map(|next| (next.topic_name().to_owned(), next.partition_index()));
    (topics, next)
}

#[test]
fn topics_are_described_page_by_page_in_the_order_of_their_names() {
    let broker = Broker::start();
    let mut client = broker.client();
    let (a, b) = (client.create_topic("aa", 3), client.create_topic("bb", 2));
    let (a, b) = (a.name.as_str(), b.name.as_str());
    let absent = unique("ac");
    let absent = absent.as_str();
    let all = |error, name: &str, parts: &[i32]| (error, name.to_owned(), parts.to_vec());
    let mut page = |names: &[&str], cursor, limit| described(&mut client, names, cursor, limit);

    let whole = vec![
        all(0, a, &[0, 1, 2]),
        all(3, absent, &[]),
        all(0, b, &[0, 1]),
    ];
    assert_eq!(page(&[b, absent, a, b], None, 2000), (whole, None));
    // A page ends inside a topic, or between two.
    let next = |name: &str, part| Some((name.to_owned(), part));
    assert_eq!(
        page(&[a, b], None, 2),
        (vec![all(0, a, &[0, 1])], next(a, 2))
    );
    assert_eq!(
        page(&[a, b], None, 3),
        (vec![all(0, a, &[0, 1, 2])], next(b, 0))
    );
    assert_eq!(
        page(&[a, absent], None, 3),
        (vec![all(0, a, &[0, 1, 2])], next(absent, 0))
    );
    let rest = vec![all(0, a, &[2]), all(0, b, &[0])];
    assert_eq!(page(&[a, b], Some((a, 2)), 2), (rest, next(b, 1)));
    assert_eq!(
        page(&[a, b], Some((b, 1)), 2),
        (vec![all(0, b, &[1])], None)
    );
    // Beyond the last partition there is nothing, which is no error.
    assert_eq!(page(&[a], Some((a, 9)), 2), (vec![all(0, a, &[])], None));
    // At least one partition is described, whatever the limit says.
    for limit in [0, -1, i32::MIN] {
        assert_eq!(page(&[a], None, limit), (vec![all(0, a, &[0])], next(a, 1)));
    }
    // A cursor that no answer gave.
    let refused = vec![all(42, a, &[]), all(42, b, &[])];
    assert_eq!(page(&[a, b], Some((absent, 0)), 9), (refused, None));
    assert_eq!(page(&[a], Some((a, -1)), 9), (vec![all(42, a, &[])], None));
    assert_eq!(page(&["a/b"], None, 9), (vec![all(17, "a/b", &[])], None));
    // All topics, from one on.
    let (found, _) = page(&[], Some((a, 1)), 2000);
    assert_eq!(found.first(), Some(&all(0, a, &[1, 2])));
    assert!(found.contains(&all(0, b, &[0, 1])), "{found:?}");
    assert!(found.is_sorted_by(|one, two| one.1 < two.1), "{found:?}");
}

#[test]
fn a_described_partition_has_its_leader_and_replicas() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("whole", 1);
    let request = describe_topic_partitions::Request {
        topics: vec![describe_topic_partitions::TopicRequest {
            name: topic.name.clone().into(),
        }],
        response_partition_limit: 10,
        ..Default::default()
    };
    let reply = client.call(&request, 0);
    let view = reply.view();
    let found = view.topics().iter().next().expect("one topic");
    assert_eq!((found.topic_id(), found.is_internal()), (topic.id, false));
    // Read, write, create, delete, alter, describe, and configs: nobody is kept from anything.
    assert_eq!(found.topic_authorized_operations(), 3576);
    let part = found.partitions().iter().next().expect("one partition");
    let leader = part.leader_id();
    assert!(leader >= 0);
    assert_eq!((part.error_code(), part.leader_epoch()), (0, 0));
    let nodes = |list: klamm_wire::Array<'_, i32>| list.iter().collect::<Vec<_>>();
    assert_eq!(nodes(part.replica_nodes()), [leader]);
    assert_eq!(nodes(part.isr_nodes()), [leader]);
    assert!(nodes(part.offline_replicas()).is_empty());
    assert_eq!(part.eligible_leader_replicas().map(nodes), Some(vec![]));
    assert_eq!(part.last_known_elr().map(nodes), Some(vec![]));
}

/// Folder, room, and the partitions with their bytes.
type Folder = (String, (i64, i64), Vec<(String, i32, i64)>);

fn folder(client: &mut Client, topics: Option<&[(&str, &[i32])]>, version: i16) -> Folder {
    let topic = |&(name, partitions): &(&str, &[i32])| describe_log_dirs::DescribableLogDirTopic {
        topic: name.to_owned().into(),
        partitions: partitions.to_vec(),
    };
    let request = describe_log_dirs::Request {
        topics: topics.map(|topics| topics.iter().map(topic).collect()),
    };
    let reply = client.call(&request, version);
    let view = reply.view();
    assert_eq!(view.error_code(), 0);
    let results: Vec<_> = view.results().iter().collect();
    let [result] = &results[..] else {
        panic!("{} folders", results.len());
    };
    assert_eq!(result.error_code(), 0);
    assert!(!result.is_cordoned());
    let mut found = Vec::new();
    for topic in result.topics() {
        for part in topic.partitions() {
            assert_eq!((part.offset_lag(), part.is_future_key()), (0, false));
            let name = topic.name().to_owned();
            found.push((name, part.partition_index(), part.partition_size()));
        }
    }
    found.sort();
    let room = (result.total_bytes(), result.usable_bytes());
    (result.log_dir().to_owned(), room, found)
}

#[test]
fn every_partition_tells_what_it_takes_in_the_data_folder() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("sized", 2);
    let batch = RawBatch::one(&"x".repeat(1000)).encode();
    for _ in 0..3 {
        assert_eq!(client.produce(&topic, 1, &batch).error_code, 0);
    }
    let name = topic.name.as_str();
    let expected = [
        (name.to_owned(), 0, 0),
        (name.to_owned(), 1, 3 * batch.len() as i64),
    ];
    let versions = client.api_versions()[&35];
    for version in versions.0..=versions.1 {
        let wanted: &[(&str, &[i32])] = &[(name, &[1, 0, 1, 7]), ("absent", &[0])];
        let (path, (total, usable), found) = folder(&mut client, Some(wanted), version);
        assert!(path.starts_with('/'), "{path}");
        assert_eq!(found, expected, "version {version}");
        if version >= 4 {
            assert!(0 < usable && usable <= total, "{usable} of {total}");
        } else {
            assert_eq!((total, usable), (-1, -1), "version {version}");
        }
        assert_eq!(folder(&mut client, Some(&[]), version).2, []);
        let all = folder(&mut client, None, version).2;
        assert!(expected.iter().all(|one| all.contains(one)), "{all:?}");
        assert!(
            all.iter().all(|one| one.0 != "__cluster_metadata"),
            "{all:?}"
        );
    }
}

/// Error, message, and producers with epoch, last sequence, last time, coordinator and open
/// transaction.
type Listed = (i16, Option<String>, Vec<(i64, i32, i32, i64, i32, i64)>);

fn producers(client: &mut Client, topic: &str, partition: i32) -> Listed {
    let request = describe_producers::Request {
        topics: vec![describe_producers::TopicRequest {
            name: topic.to_owned().into(),
            partition_indexes: vec![partition],
        }],
    };
    let reply = client.call(&request, 0);
    let view = reply.view();
    let found = view.topics().iter().next().expect("one topic");
    assert_eq!(found.name(), topic);
    let part = found.partitions().iter().next().expect("one partition");
    assert_eq!(part.partition_index(), partition);
    let mut states: Vec<_> = part
        .active_producers()
        .iter()
        .map(|one| {
            (
                one.producer_id(),
                one.producer_epoch(),
                one.last_sequence(),
                one.last_timestamp(),
                one.coordinator_epoch(),
                one.current_txn_start_offset(),
            )
        })
        .collect();
    states.sort_unstable();
    let message = part.error_message().map(str::to_owned);
    (part.error_code(), message, states)
}

#[test]
fn a_partition_names_the_producers_that_it_remembers() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("idempotent", 2);
    let mut expected = Vec::new();
    for records in 1..=3 {
        let (id, epoch) = client.init_producer_id();
        let time = now_ms() + i64::from(records);
        let one = Record {
            timestamp: time,
            ..Record::new("k", "v")
        };
        let batch = RawBatch::of(&vec![one; records as usize]);
        let batch = batch.of_producer(id, epoch, 0).encode();
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
        expected.push((id, i32::from(epoch), records - 1, time, -1, -1));
    }
    client.produce(&topic, 0, &RawBatch::one("of nobody").encode());
    expected.sort_unstable();
    let told = producers(&mut client, &topic.name, 0);
    assert_eq!(told, (0, None, expected.clone()));
    assert_eq!(producers(&mut client, &topic.name, 1), (0, None, vec![]));
    if broker.process().is_some() {
        let mut broker = broker;
        for end in End::BOTH {
            broker.end(end);
            broker.start_again();
            let told = producers(&mut broker.client(), &topic.name, 0);
            assert_eq!(told, (0, None, expected.clone()), "{end:?}");
        }
    }
}

#[test]
fn producers_of_partitions_that_are_not_there_are_refused() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("two", 2);
    assert_eq!(producers(&mut client, &topic.name, 2), (3, None, vec![]));
    let absent = producers(&mut client, &unique("absent"), 0);
    let not_hosted = "This server does not host this topic-partition.";
    assert_eq!(absent, (3, Some(not_hosted.to_owned()), vec![]));
    let (code, message, _) = producers(&mut client, "a/b", 0);
    assert_eq!((code, message.is_some()), (17, true));
}

fn quorum_request(topics: &[(&'static str, &[i32])]) -> describe_quorum::Request<'static> {
    let part = |&partition_index: &i32| describe_quorum::RequestPartitionData { partition_index };
    let topic = |&(name, parts): &(&'static str, &[i32])| describe_quorum::RequestTopicData {
        topic_name: name.into(),
        partitions: parts.iter().map(part).collect(),
    };
    describe_quorum::Request {
        topics: topics.iter().map(topic).collect(),
    }
}

#[test]
fn the_quorum_of_one_names_its_leader_and_how_far_it_is() {
    let broker = Broker::start();
    let mut client = broker.client();
    client.create_topic("in-metadata", 1);
    let mut before = 0;
    for version in 0..=2 {
        let asked_at = now_ms();
        let reply = client.call(&quorum_request(&[("__cluster_metadata", &[0])]), version);
        let view = reply.view();
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let refused = (view.error_code(), text(view.error_message()));
        assert_eq!(refused, (0, String::new()));
        let topic = view.topics().iter().next().expect("one topic");
        assert_eq!(topic.topic_name(), "__cluster_metadata");
        let part = topic.partitions().iter().next().expect("one partition");
        assert_eq!((part.error_code(), part.partition_index()), (0, 0));
        assert_eq!(text(part.error_message()), "");
        assert!(part.leader_epoch() > 0);
        assert!(
            part.high_watermark() > before.min(1),
            "{}",
            part.high_watermark()
        );
        before = part.high_watermark();
        assert_eq!(part.observers().len(), 0);
        let voters: Vec<_> = part.current_voters().iter().collect();
        let [voter] = &voters[..] else {
            panic!("{} voters", voters.len());
        };
        assert_eq!(voter.replica_id(), part.leader_id());
        assert!(voter.log_end_offset() >= part.high_watermark());
        if version >= 1 {
            assert!(voter.last_fetch_timestamp() >= asked_at);
            assert!(voter.last_caught_up_timestamp() >= asked_at);
        }
        let nodes: Vec<_> = view.nodes().iter().collect();
        if version < 2 {
            assert!(nodes.is_empty());
            continue;
        }
        let [node] = &nodes[..] else {
            panic!("{} nodes", nodes.len());
        };
        assert_eq!(node.node_id(), part.leader_id());
        let listener = node.listeners().iter().next().expect("a listener");
        assert!(listener.port() > 0 && !listener.host().is_empty());
        if broker.process().is_some() {
            let path = broker.folder().join("meta.properties");
            let text = std::fs::read_to_string(path).expect("readable");
            let id = klamm_model::TopicId(voter.replica_directory_id());
            assert!(text.contains(&format!("directory.id={id}\n")), "{text}");
            assert_eq!(listener.port(), broker.address().port());
        }
    }
}

#[test]
fn there_is_no_quorum_but_that_of_the_metadata() {
    let broker = Broker::start();
    let mut client = broker.client();
    for version in 0..=2 {
        for topics in [
            &[("__cluster_metadata", &[1][..])][..],
            &[("flights", &[0])],
            &[("__cluster_metadata", &[0, 0])],
        ] {
            let reply = client.call(&quorum_request(topics), version);
            let view = reply.view();
            assert_eq!(view.error_code(), 0);
            let topic = view.topics().iter().next().expect("one topic");
            for part in topic.partitions() {
                assert_eq!(part.error_code(), 3, "{topics:?}");
            }
            assert_eq!(topic.partitions().len(), topics[0].1.len());
        }
    }
}
