//! What is decided about leaders, replicas and features, on the one node there is: elections,
//! reassignments, moves between folders, levels. The texts are those that Kafka's users see.

use klamm_wire::{
    alter_partition_reassignments, alter_replica_log_dirs, api_versions, describe_log_dirs,
    elect_leaders, list_partition_reassignments, metadata, update_features,
};

use crate::harness::{Broker, Client, Options, unique};

type Answer = (i32, i16, Option<String>);

fn shown(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

fn elect(
    client: &mut Client,
    version: i16,
    kind: i8,
    topics: Option<&[(&str, &[i32])]>,
) -> (i16, Vec<(String, Vec<Answer>)>) {
    let topic = |&(name, partitions): &(&str, &[i32])| elect_leaders::TopicPartitions {
        topic: name.to_owned().into(),
        partitions: partitions.to_vec(),
    };
    let request = elect_leaders::Request {
        election_type: kind,
        topic_partitions: topics.map(|topics| topics.iter().map(topic).collect()),
        timeout_ms: 30_000,
    };
    let reply = client.call(&request, version);
    let view = reply.view();
    let topics = view.replica_election_results().iter().map(|topic| {
        let parts = topic.partition_result().iter();
        let parts = parts.map(|part| {
            let text = shown(part.error_message());
            (part.partition_id(), part.error_code(), text)
        });
        (topic.topic().to_owned(), parts.collect())
    });
    (view.error_code(), topics.collect())
}

#[test]
fn the_only_replica_leads_already() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("led", 2);
    let absent = unique("absent");
    let not_needed = "Leader election not needed for topic partition.";
    for version in 0..=2 {
        for kind in [0, 1] {
            let kind = if version == 0 { 0 } else { kind };
            let asked: &[(&str, &[i32])] = &[(&topic.name, &[1, 0, 5]), (&absent, &[0])];
            let (code, found) = elect(&mut client, version, kind, Some(asked));
            assert_eq!((code, found.len()), (0, 2), "version {version}");
            for (name, mut answers) in found {
                answers.sort();
                if name == absent {
                    let text = format!("No such topic as {absent}");
                    assert_eq!(answers, [(0, 3, Some(text))]);
                    continue;
                }
                let text = format!("No such partition as {}-5", topic.name);
                let expected = [
                    (0, 84, Some(not_needed.to_owned())),
                    (1, 84, Some(not_needed.to_owned())),
                    (5, 3, Some(text)),
                ];
                assert_eq!(answers, expected, "version {version}");
            }
            // Of all partitions, only those that needed an election are told of.
            let (code, found) = elect(&mut client, version, kind, None);
            assert_eq!(code, 0);
            assert!(found.iter().any(|one| *one == (topic.name.clone(), vec![])));
            assert!(
                found.iter().all(|(_, answers)| answers.is_empty()),
                "{found:?}"
            );
        }
    }
    for version in 1..=2 {
        let (code, found) = elect(&mut client, version, 7, Some(&[(&topic.name, &[0])]));
        let text = Some("Unknown election type 7".to_owned());
        assert_eq!(
            (code, found),
            (42, vec![(topic.name.clone(), vec![(0, 42, text)])])
        );
    }
}

fn reassign(
    client: &mut Client,
    version: i16,
    allow: bool,
    topic: &str,
    partition_index: i32,
    replicas: Option<&[i32]>,
) -> (i16, Option<String>) {
    let partition = alter_partition_reassignments::ReassignablePartition {
        partition_index,
        replicas: replicas.map(<[i32]>::to_vec),
    };
    let request = alter_partition_reassignments::Request {
        timeout_ms: 30_000,
        allow_replication_factor_change: allow,
        topics: vec![alter_partition_reassignments::ReassignableTopic {
            name: topic.to_owned().into(),
            partitions: vec![partition],
        }],
    };
    let reply = client.call(&request, version);
    let view = reply.view();
    assert_eq!((view.error_code(), view.error_message()), (0, None));
    let found = view.responses().iter().next().expect("one topic");
    assert_eq!(found.name(), topic);
    let part = found.partitions().iter().next().expect("one partition");
    assert_eq!(part.partition_index(), partition_index);
    (part.error_code(), shown(part.error_message()))
}

fn own_id(client: &mut Client) -> i32 {
    let reply = client.call(&metadata::Request::default(), 9);
    let view = reply.view();
    view.brokers().iter().next().expect("one broker").node_id()
}

#[test]
fn replicas_stay_where_they_are() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("placed", 1);
    let name = topic.name.as_str();
    let own = own_id(&mut client);
    let absent = unique("absent");
    let assignment = |rest: &str| Some(format!("The manual partition assignment includes {rest}"));
    for version in 0..=1 {
        let mut ask = |topic: &str, part, replicas: Option<&[i32]>| {
            reassign(&mut client, version, true, topic, part, replicas)
        };
        assert_eq!(ask(name, 0, Some(&[own])), (0, None));
        assert_eq!(ask(name, 0, None), (85, None));
        let unknown = assignment("broker 4711, but no such broker is registered.");
        assert_eq!(ask(name, 0, Some(&[4711])), (39, unknown.clone()));
        assert_eq!(ask(name, 0, Some(&[own, 4711])), (39, unknown));
        let twice = assignment(&format!("the broker {own} more than once."));
        assert_eq!(ask(name, 0, Some(&[own, own])), (39, twice));
        assert_eq!(
            ask(name, 0, Some(&[])),
            (39, assignment("an empty replica list."))
        );
        let no_part = format!("Unable to find partition {name}:3.");
        assert_eq!(ask(name, 3, Some(&[own])), (3, Some(no_part)));
        let no_topic = format!("Unable to find a topic named {absent}.");
        assert_eq!(ask(&absent, 0, None), (3, Some(no_topic)));
    }
    let mut fixed = |replicas: &[i32]| reassign(&mut client, 1, false, name, 0, Some(replicas));
    assert_eq!(fixed(&[own]), (0, None));
    // One node can be named once, so that nothing is left that would change the number.
    let twice = assignment(&format!("the broker {own} more than once."));
    assert_eq!(fixed(&[own, own]), (39, twice));
}

#[test]
fn nothing_is_being_reassigned() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("listed", 1);
    let named = list_partition_reassignments::ListPartitionReassignmentsTopics {
        name: topic.name.into(),
        partition_indexes: vec![0, 9],
    };
    for topics in [None, Some(Vec::new()), Some(vec![named])] {
        let request = list_partition_reassignments::Request {
            timeout_ms: 30_000,
            topics,
        };
        let reply = client.call(&request, 0);
        let view = reply.view();
        assert_eq!((view.error_code(), view.error_message()), (0, None));
        assert_eq!(view.topics().len(), 0);
    }
}

#[test]
fn a_replica_moves_to_no_folder_that_is_none_of_the_brokers() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("moved", 1);
    let absent = unique("absent");
    let reply = client.call(&describe_log_dirs::Request::default(), 4);
    let view = reply.view();
    let folder = view.results().iter().next().expect("one folder");
    let folder = folder.log_dir().to_owned();
    for version in 1..=2 {
        let mut ask = |path: &str, topic: &str, partition| {
            let asked = alter_replica_log_dirs::AlterReplicaLogDirTopic {
                name: topic.to_owned().into(),
                partitions: vec![partition],
            };
            let request = alter_replica_log_dirs::Request {
                dirs: vec![alter_replica_log_dirs::AlterReplicaLogDir {
                    path: path.to_owned().into(),
                    topics: vec![asked],
                }],
            };
            let reply = client.call(&request, version);
            let view = reply.view();
            let found = view.results().iter().next().expect("one topic");
            assert_eq!(found.topic_name(), topic);
            let part = found.partitions().iter().next().expect("one partition");
            assert_eq!(part.partition_index(), partition);
            part.error_code()
        };
        assert_eq!(ask(&folder, &topic.name, 0), 0);
        assert_eq!(ask("/not/a/log/dir", &topic.name, 0), 57);
        assert_eq!(ask("/not/a/log/dir", &absent, 0), 57);
        assert_eq!(ask(&folder, &topic.name, 1), 3);
        assert_eq!(ask(&folder, &absent, 0), 3);
        assert_eq!(ask(&folder, &"x".repeat(249), 0), 17);
    }
}

fn update(
    client: &mut Client,
    version: i16,
    validate_only: bool,
    updates: &[(&str, i16, i8)],
) -> (i16, Option<String>, Vec<(String, i16)>) {
    let update = |&(feature, level, kind): &(&str, i16, i8)| update_features::FeatureUpdateKey {
        feature: feature.to_owned().into(),
        max_version_level: level,
        allow_downgrade: version == 0 && kind != 1,
        upgrade_type: if version == 0 { 1 } else { kind },
    };
    let request = update_features::Request {
        timeout_ms: 30_000,
        feature_updates: updates.iter().map(update).collect(),
        validate_only,
    };
    let reply = client.call(&request, version);
    let view = reply.view();
    let results = view.results().iter();
    let results = results.map(|one| (one.feature().to_owned(), one.error_code()));
    let message = view.error_message().filter(|text| !text.is_empty());
    (view.error_code(), shown(message), results.collect())
}

fn finalised(client: &mut Client) -> i16 {
    let request = api_versions::Request {
        client_software_name: "black-box".into(),
        client_software_version: "1".into(),
    };
    let reply = client.call(&request, 4);
    let view = reply.view();
    let mut features = view.finalized_features().iter();
    let found = features.find(|feature| feature.name() == "metadata.version");
    found.expect("finalised").max_version_level()
}

const FAILED: &str =
    "The update failed for all features since the following feature had an error: ";

#[test]
fn the_level_of_the_metadata_stays_what_it_is() {
    let broker = Broker::start();
    let mut client = broker.client();
    let own = own_id(&mut client);
    let level = finalised(&mut client);
    for version in 0..=2 {
        let mut ask = |updates: &[(&str, i16, i8)]| {
            let (code, message, results) = update(&mut client, version, false, updates);
            assert!(code == 0 || results.is_empty(), "{results:?}");
            let message = message.map(|text| text.strip_prefix(FAILED).map(str::to_owned));
            (code, message.map(|text| text.expect("Kafka's text")))
        };
        let mv = "metadata.version";
        let refused = |text: &str| (95, Some(text.to_owned()));
        assert_eq!(ask(&[(mv, level, 1)]), (0, None));
        assert_eq!(ask(&[]), (0, None));
        let invalid = |name: &str, level: i16, text: &str| {
            refused(&format!(
                "Invalid update version {level} for feature {name}. {text}"
            ))
        };
        let negative = "A feature version cannot be less than 0.";
        assert_eq!(ask(&[(mv, -1, 1)]), invalid(mv, -1, negative));
        let range = format!("Local controller {own} only supports versions 7-{level}");
        assert_eq!(ask(&[(mv, 6, 1)]), invalid(mv, 6, &range));
        assert_eq!(ask(&[(mv, 99, 1)]), invalid(mv, 99, &range));
        let unknown = format!("Local controller {own} does not support this feature.");
        assert_eq!(ask(&[("no.such", 1, 1)]), invalid("no.such", 1, &unknown));
        let down = "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.";
        assert_eq!(ask(&[(mv, level - 1, 1)]), invalid(mv, level - 1, down));
        // Version 0 cannot say what kind it means, whatever its flag says.
        if version == 0 {
            assert_eq!(ask(&[(mv, level - 1, 2)]), invalid(mv, level - 1, down));
            continue;
        }
        let lossy = "Refusing to perform the requested downgrade because it might delete metadata information.";
        let at = level - 1;
        let from = format!("Unsupported metadata.version downgrade from {level} to {at}.");
        let text = format!("{from} {lossy}");
        assert_eq!(ask(&[(mv, at, 2)]), refused(&text));
        let text = format!("{from} Unsafe metadata downgrade is not supported in this version.");
        assert_eq!(ask(&[(mv, at, 3)]), refused(&text));
        let kind = "The controller does not support the given upgrade type.";
        assert_eq!(ask(&[(mv, level, 0)]), invalid(mv, level, kind));
        assert_eq!(ask(&[(mv, level, 9)]), invalid(mv, level, kind));
        // One that fails takes the others with it.
        assert_eq!(
            ask(&[(mv, level, 1), ("no.such", 1, 1)]),
            invalid("no.such", 1, &unknown)
        );
        let (code, message, _) = update(&mut client, version, true, &[(mv, at, 2)]);
        assert_eq!(
            (code, message),
            (95, Some(format!("{FAILED}{from} {lossy}")))
        );
        assert_eq!(finalised(&mut client), level);
    }
}

#[test]
fn results_of_single_features_are_given_up_to_version_1() {
    let broker = Broker::start();
    let mut client = broker.client();
    let level = finalised(&mut client);
    for version in 0..=2 {
        for validate_only in [false, version > 0] {
            let asked = [("metadata.version", level, 1)];
            let (code, _, results) = update(&mut client, version, validate_only, &asked);
            let expected = if version <= 1 {
                vec![("metadata.version".to_owned(), 0)]
            } else {
                vec![]
            };
            assert_eq!((code, results), (0, expected), "version {version}");
        }
    }
}

#[test]
fn a_page_of_described_partitions_is_as_long_as_the_broker_allows() {
    let test = "a_page_of_described_partitions_is_as_long_as_the_broker_allows";
    let options = Options::new().set("max.request.partition.size.limit", 3);
    let Some(broker) = Broker::own(test, options) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("long", 5);
    let request = klamm_wire::describe_topic_partitions::Request {
        response_partition_limit: 2000,
        ..Default::default()
    };
    let reply = client.call(&request, 0);
    let view = reply.view();
    let next = view.next_cursor().expect("there is more");
    assert_eq!(
        (next.topic_name(), next.partition_index()),
        (topic.name.as_str(), 3)
    );
}
