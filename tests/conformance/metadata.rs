//! What Metadata says of the cluster and of topics that exist, do not, or could.

use klamm_wire::{describe_cluster, metadata};

use crate::harness::{Broker, Client, Options, Topic, UNKNOWN_TOPIC, unique, wait_for};

/// What was said of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    error_code: i16,
    name: Option<String>,
    id: [u8; 16],
    partitions: usize,
}

fn by_name(name: &str) -> metadata::MetadataRequestTopic<'static> {
    metadata::MetadataRequestTopic {
        name: Some(name.to_owned().into()),
        ..Default::default()
    }
}

fn ask(
    client: &mut Client,
    topics: Option<Vec<metadata::MetadataRequestTopic<'_>>>,
    create: bool,
    version: i16,
) -> Vec<Told> {
    // Before version 4 every Metadata made what it missed.
    let allow_auto_topic_creation = create || version < 4;
    let request = metadata::Request {
        topics,
        allow_auto_topic_creation,
        ..Default::default()
    };
    let reply = client.call(&request, version);
    let view = reply.view();
    let topics = view.topics().iter().map(|topic| Told {
        error_code: topic.error_code(),
        name: topic.name().map(str::to_owned),
        id: topic.topic_id(),
        partitions: topic.partitions().len(),
    });
    topics.collect()
}

fn names(told: &[Told]) -> Vec<&str> {
    told.iter()
        .filter_map(|topic| topic.name.as_deref())
        .collect()
}

#[test]
fn null_asks_for_all_topics_and_an_empty_list_for_none() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("all", 2);
    for version in 1..=13 {
        let all = ask(&mut client, None, false, version);
        assert!(
            names(&all).contains(&topic.name.as_str()),
            "version {version}"
        );
        assert!(ask(&mut client, Some(Vec::new()), false, version).is_empty());
    }
    // Version 0 had no null: an empty list asks for all.
    let all = ask(&mut client, Some(Vec::new()), true, 0);
    assert!(names(&all).contains(&topic.name.as_str()));
}

/// What was shown to one client may serve the next, as long as it is true.
#[test]
fn all_topics_are_shown_alike_to_all_who_ask_until_something_changes() {
    let broker = Broker::start();
    let (mut one, mut two) = (broker.client(), broker.client());
    let before = one.create_topic("before", 2);
    let sees = |told: &[Told], name: &str| names(told).contains(&name);
    for version in 1..=13 {
        let first = ask(&mut one, None, false, version);
        assert!(sees(&first, &before.name), "version {version}");
        for _ in 0..2 {
            assert_eq!(ask(&mut one, None, false, version), first);
            assert_eq!(ask(&mut two, None, false, version), first);
        }
        let after = two.create_topic("after", 1);
        let told = ask(&mut two, None, false, version);
        assert!(sees(&told, &after.name), "version {version}");
        assert_eq!(two.delete_topic(&after), 0);
        let told = ask(&mut two, None, false, version);
        assert!(!sees(&told, &after.name), "version {version}");
    }
}

#[test]
fn every_version_describes_a_topic_and_its_leader() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("described", 3);
    for version in 0..=13 {
        let request = metadata::Request {
            topics: Some(vec![by_name(&topic.name)]),
            allow_auto_topic_creation: true,
            ..Default::default()
        };
        let reply = client.call(&request, version);
        let view = reply.view();
        let brokers: Vec<_> = view.brokers().iter().collect();
        let [node] = brokers.as_slice() else {
            panic!("{} brokers", brokers.len())
        };
        assert_eq!(node.host(), "127.0.0.1");
        assert_eq!(node.port(), i32::from(broker.address().port()));
        if version >= 1 {
            assert_eq!(view.controller_id(), node.node_id());
        }
        if version >= 2 {
            assert!(
                view.cluster_id().is_some_and(|id| !id.is_empty()),
                "version {version}"
            );
        }
        let told = view.topics().iter().next().expect("one topic");
        assert_eq!(
            (told.error_code(), told.name()),
            (0, Some(topic.name.as_str()))
        );
        assert_eq!(
            told.topic_id(),
            if version >= 10 { topic.id } else { [0; 16] }
        );
        assert!(!told.is_internal());
        let mut indexes = Vec::new();
        for part in told.partitions() {
            indexes.push(part.partition_index());
            assert_eq!(part.error_code(), 0);
            assert_eq!(part.leader_id(), node.node_id());
            assert!(part.replica_nodes().iter().eq([node.node_id()]));
            assert!(part.isr_nodes().iter().eq([node.node_id()]));
            assert!(part.offline_replicas().is_empty());
            assert!(version < 7 || part.leader_epoch() >= 0);
        }
        indexes.sort_unstable();
        assert_eq!(indexes, [0, 1, 2]);
    }
}

#[test]
fn topic_can_be_asked_for_by_its_id() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("by-id", 1);
    for version in 12..=13 {
        let known = metadata::MetadataRequestTopic {
            topic_id: topic.id,
            ..Default::default()
        };
        let told = ask(&mut client, Some(vec![known]), false, version);
        assert_eq!(told[0].name.as_deref(), Some(topic.name.as_str()));
        assert_eq!((told[0].error_code, told[0].partitions), (0, 1));
        let unknown = metadata::MetadataRequestTopic {
            topic_id: [7; 16],
            ..Default::default()
        };
        let told = ask(&mut client, Some(vec![unknown]), false, version);
        assert_eq!(
            (told[0].error_code, told[0].id),
            (100, [7; 16]),
            "version {version}"
        );
    }
}

#[test]
fn unknown_topic_is_not_made_where_the_client_does_not_want_it() {
    let broker = Broker::start();
    let mut client = broker.client();
    let name = unique("absent");
    for version in 4..=13 {
        let told = ask(&mut client, Some(vec![by_name(&name)]), false, version);
        assert_eq!(told[0].error_code, UNKNOWN_TOPIC, "version {version}");
        assert_eq!(told[0].name.as_deref(), Some(name.as_str()));
    }
    assert!(!names(&ask(&mut client, None, false, 12)).contains(&name.as_str()));
}

#[test]
fn unknown_topic_is_made_where_client_and_broker_want_it() {
    let broker = Broker::start_with(Options::new().set("num.partitions", 3));
    let mut client = broker.client();
    let name = unique("made");
    let made = wait_for("made topic", || {
        let told = ask(&mut client, Some(vec![by_name(&name)]), true, 12);
        // Kafka says 3 or 5 until the topic is there; clients ask again.
        assert!([0, 3, 5].contains(&told[0].error_code), "{told:?}");
        (told[0].error_code == 0 && told[0].partitions == 3).then(|| told[0].clone())
    });
    assert_ne!(made.id, [0; 16]);
}

#[test]
fn unknown_topic_is_not_made_where_the_broker_does_not_want_it() {
    let options = Options::new().set("auto.create.topics.enable", false);
    let Some(broker) = Broker::own("unknown_topic_is_not_made_where_the_broker…", options) else {
        return;
    };
    let mut client = broker.client();
    let name = unique("unwanted");
    let told = ask(&mut client, Some(vec![by_name(&name)]), true, 12);
    assert_eq!(told[0].error_code, UNKNOWN_TOPIC);
    assert!(ask(&mut client, None, false, 12).is_empty());
}

#[test]
fn cluster_is_described_as_metadata_describes_it() {
    let broker = Broker::start();
    let mut client = broker.client();
    let reply = client.call(&metadata::Request::default(), 10);
    let cluster_id = reply.view().cluster_id().map(str::to_owned);
    for version in 0..=2 {
        let reply = client.call(&describe_cluster::Request::default(), version);
        let view = reply.view();
        assert_eq!(view.error_code(), 0);
        assert_eq!(Some(view.cluster_id()), cluster_id.as_deref());
        let brokers: Vec<_> = view.brokers().iter().collect();
        assert_eq!(brokers.len(), 1);
        assert_eq!(brokers[0].port(), i32::from(broker.address().port()));
        assert_eq!(brokers[0].broker_id(), view.controller_id());
    }
}

#[test]
fn identity_of_cluster_and_topics_survives_a_restart() {
    let test = "identity_of_cluster_and_topics_survives_a_restart";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let topic = broker.client().create_topic("kept", 4);
    let identity = |broker: &Broker, topic: &Topic| {
        let request = metadata::Request {
            topics: Some(vec![by_name(&topic.name)]),
            ..Default::default()
        };
        let reply = broker.client().call(&request, 12);
        let view = reply.view();
        let told = view.topics().iter().next().expect("one topic");
        let cluster = view.cluster_id().map(str::to_owned);
        let nodes: Vec<_> = view.brokers().iter().map(|node| node.node_id()).collect();
        (cluster, nodes, told.topic_id(), told.partitions().len())
    };
    let before = identity(&broker, &topic);
    assert_eq!(before.2, topic.id);
    broker.stop();
    broker.start_again();
    assert_eq!(identity(&broker, &topic), before);
    broker.kill();
    broker.start_again();
    assert_eq!(identity(&broker, &topic), before);
}
