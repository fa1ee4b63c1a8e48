//! Administrative requests that name too much, or much too long.

use std::borrow::Cow;

use klamm_wire::{
    alter_configs, alter_partition_reassignments, create_partitions, delete_records,
    describe_configs, describe_quorum, elect_leaders, incremental_alter_configs, update_features,
};

use crate::harness::configs::{BROKER, Change, TOPIC};
use crate::harness::{Broker, frame_of};

/// Longest string that an old version can carry.
const STRING_BYTES_MAX: usize = 32_767;

const NAMED_MAX: usize = 200_000;

fn names(count: usize) -> impl Iterator<Item = Cow<'static, str>> {
    (0..count).map(|number| format!("n{number}").into())
}

/// A30
#[test]
fn administration_that_names_more_than_anybody_has_is_closed() {
    let mut broker = Broker::start();
    let many = NAMED_MAX + 1;
    let keys = names(many).map(|name| incremental_alter_configs::AlterableConfig {
        name,
        config_operation: 0,
        value: Some("1".into()),
    });
    let incremental = incremental_alter_configs::Request {
        resources: vec![incremental_alter_configs::AlterConfigsResource {
            resource_type: BROKER,
            resource_name: "".into(),
            configs: keys.collect(),
        }],
        validate_only: true,
    };
    let resources = names(many).map(|resource_name| alter_configs::AlterConfigsResource {
        resource_type: TOPIC,
        resource_name,
        configs: Vec::new(),
    });
    let replacing = alter_configs::Request {
        resources: resources.collect(),
        validate_only: true,
    };
    let topics = names(many).map(|name| create_partitions::CreatePartitionsTopic {
        name,
        count: 1,
        assignments: None,
    });
    let growing = create_partitions::Request {
        topics: topics.collect(),
        timeout_ms: 1,
        validate_only: true,
    };
    let nodes = create_partitions::CreatePartitionsAssignment {
        broker_ids: vec![1; many],
    };
    let placing = create_partitions::Request {
        topics: vec![create_partitions::CreatePartitionsTopic {
            name: "t".into(),
            count: 2,
            assignments: Some(vec![nodes]),
        }],
        timeout_ms: 1,
        validate_only: true,
    };
    // Without a partition.
    let topics = names(many).map(|name| delete_records::DeleteRecordsTopic {
        name,
        partitions: Vec::new(),
    });
    let trimming = delete_records::Request {
        topics: topics.collect(),
        timeout_ms: 1,
    };
    let topics = names(many).map(|topic_name| describe_quorum::RequestTopicData {
        topic_name,
        partitions: Vec::new(),
    });
    let asking = describe_quorum::Request {
        topics: topics.collect(),
    };
    for frame in [
        frame_of(&incremental, 1, 1),
        frame_of(&replacing, 2, 1),
        frame_of(&growing, 3, 1),
        frame_of(&placing, 3, 1),
        frame_of(&trimming, 2, 1),
        frame_of(&asking, 2, 1),
    ] {
        let told = "expected at most 200000 names, found 20000";
        crate::check_closed(&broker, &frame, told);
    }
    broker.is_healthy();
}

/// A30
#[test]
fn as_many_features_as_may_be_named_are_answered_at_once() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let updates = names(NAMED_MAX).map(|feature| update_features::FeatureUpdateKey {
        feature,
        max_version_level: 0,
        upgrade_type: 1,
        ..Default::default()
    });
    let request = update_features::Request {
        feature_updates: updates.collect(),
        validate_only: true,
        ..Default::default()
    };
    // The client waits for so long and no longer.
    let reply = client.call(&request, 1);
    assert_eq!(reply.view().error_code(), 0);
    assert_eq!(reply.view().results().len(), NAMED_MAX);
    broker.is_healthy();
}

/// A30
#[test]
fn a_long_name_is_not_kept_once_for_each_partition_named_of_it() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let name = "n".repeat(STRING_BYTES_MAX);
    let partitions = 0..NAMED_MAX as i32;
    let electing = elect_leaders::Request {
        topic_partitions: Some(vec![elect_leaders::TopicPartitions {
            topic: name.as_str().into(),
            partitions: partitions.clone().collect(),
        }]),
        timeout_ms: 1000,
        ..Default::default()
    };
    let reply = client.call(&electing, 2);
    let view = reply.view();
    let topic = view.replica_election_results().iter().next();
    let topic = topic.expect("one topic");
    assert_eq!(topic.topic(), name);
    assert_eq!(topic.partition_result().len(), NAMED_MAX);
    assert!(
        topic
            .partition_result()
            .iter()
            .all(|one| one.error_code() == 3)
    );
    crate::check_peak(&broker);

    let parts =
        partitions.map(
            |partition_index| alter_partition_reassignments::ReassignablePartition {
                partition_index,
                replicas: None,
            },
        );
    let moving = alter_partition_reassignments::Request {
        topics: vec![alter_partition_reassignments::ReassignableTopic {
            name: name.as_str().into(),
            partitions: parts.collect(),
        }],
        timeout_ms: 1000,
        ..Default::default()
    };
    let reply = client.call(&moving, 0);
    let view = reply.view();
    let topic = view.responses().iter().next().expect("one topic");
    assert_eq!(topic.name(), name);
    assert_eq!(topic.partitions().len(), NAMED_MAX);
    assert!(topic.partitions().iter().all(|one| one.error_code() == 3));
    crate::check_peak(&broker);
    broker.is_healthy();
}

/// A30
#[test]
fn what_is_wrong_with_a_long_value_can_be_told_in_every_version() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let value = "x".repeat(STRING_BYTES_MAX);
    for kind in [BROKER, TOPIC] {
        let (name, key) = match kind {
            BROKER => ("", "max.connections"),
            _ => ("some-topic", "retention.ms"),
        };
        let changes = [(key, Change::Set(&value))];
        let request = incremental_alter_configs::Request {
            resources: vec![crate::harness::configs::changing(kind, name, &changes)],
            validate_only: true,
        };
        for version in [0, 1] {
            let [(code, text)] = client
                .change_all(&request, version)
                .try_into()
                .expect("one resource");
            assert!(code == 40 || code == 42, "{code}");
            assert!(text.is_some_and(|text| text.starts_with("Invalid value x")));
        }
    }
    broker.is_healthy();
}

/// A30
#[test]
fn keys_that_nobody_knows_do_not_pile_up() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let keys: Vec<String> = (0..2_001)
        .map(|number| format!("unknown.{number}"))
        .collect();
    let set: Vec<_> = keys
        .iter()
        .map(|key| (key.as_str(), Change::Set("x")))
        .collect();
    let (code, text) = client.change(BROKER, "", &set);
    assert_eq!(code, 44, "{text:?}");
    // As many as there may be, and not one more beside them.
    assert_eq!(client.change(BROKER, "", &set[..2_000]), (0, None));
    assert_eq!(client.change(BROKER, "", &set[2_000..]).0, 44);
    assert_eq!(client.change(BROKER, "", &set[..1]), (0, None));
    let gone: Vec<_> = set[..2_000]
        .iter()
        .map(|(key, _)| (*key, Change::Delete))
        .collect();
    assert_eq!(client.change(BROKER, "", &gone), (0, None));
    broker.is_healthy();
}

/// A30
#[test]
fn a_broker_that_is_named_again_and_again_is_described_once() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    // Each of these is the broker's number.
    let spelled = (0..5_000).map(|zeros| format!("{}1", "0".repeat(zeros % 500)));
    let resources = spelled.map(|name| describe_configs::DescribeConfigsResource {
        resource_type: BROKER,
        resource_name: name.into(),
        configuration_keys: None,
    });
    let request = describe_configs::Request {
        resources: resources.collect(),
        include_synonyms: true,
        include_documentation: true,
    };
    let reply = client.call(&request, 4);
    let view = reply.view();
    assert_eq!(view.results().len(), 1);
    let described = view.results().iter().next().expect("this broker");
    assert_eq!(described.error_code(), 0);
    assert!(described.configs().len() > 200);
    crate::check_peak(&broker);
    broker.is_healthy();
}
