//! Administrative requests that name too much, or much too long.

use std::borrow::Cow;

use klamm_wire::{
    alter_client_quotas, alter_configs, alter_partition_reassignments, create_partitions,
    delete_records, describe_client_quotas, describe_configs, describe_quorum, elect_leaders,
    incremental_alter_configs, update_features,
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
    let update = |feature, max_version_level| update_features::FeatureUpdateKey {
        feature,
        max_version_level,
        upgrade_type: 1,
        ..Default::default()
    };
    let unknown = names(NAMED_MAX).map(|feature| update(feature, 0));
    let known = (0..NAMED_MAX).map(|_| update("metadata.version".into(), 30));
    let lists: [(i16, usize, Vec<_>); 2] =
        [(95, 0, unknown.collect()), (0, NAMED_MAX, known.collect())];
    for (code, results, feature_updates) in lists {
        let request = update_features::Request {
            feature_updates,
            validate_only: true,
            ..Default::default()
        };
        // The client waits for so long and no longer.
        let reply = client.call(&request, 1);
        assert_eq!(reply.view().error_code(), code);
        assert_eq!(reply.view().results().len(), results);
    }
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

fn quota(
    name: Cow<'static, str>,
    keys: Vec<Cow<'static, str>>,
) -> alter_client_quotas::RequestEntryData<'static> {
    let ops = keys.into_iter().map(|key| alter_client_quotas::OpData {
        key,
        value: 1.0,
        remove: false,
    });
    alter_client_quotas::RequestEntryData {
        entity: vec![alter_client_quotas::RequestEntityData {
            entity_type: "client-id".into(),
            entity_name: Some(name),
        }],
        ops: ops.collect(),
    }
}

fn quotas(
    entries: Vec<alter_client_quotas::RequestEntryData<'static>>,
) -> alter_client_quotas::Request<'static> {
    alter_client_quotas::Request {
        entries,
        validate_only: false,
    }
}

/// A30
#[test]
fn quotas_without_number_are_bounded_and_what_is_repeated_is_answered_once() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let too_many = quotas(vec![quota("a".into(), names(NAMED_MAX).collect())]);
    let told = "expected at most 200000 names, found 20000";
    crate::check_closed(&broker, &frame_of(&too_many, 1, 1), told);

    // One entity again and again: the answer names it once.
    let entry = |_| quota("again".into(), vec!["nonsense".into()]);
    let reply = client.call(&quotas((0..NAMED_MAX / 2).map(entry).collect()), 1);
    let view = reply.view();
    let codes: Vec<i16> = view.entries().iter().map(|one| one.error_code()).collect();
    assert_eq!(codes, [42]);

    // One key again and again, and a key as long as it can be.
    let again = vec!["producer_byte_rate".into(); NAMED_MAX - 1];
    let long: Cow<'static, str> = "k".repeat(STRING_BYTES_MAX).into();
    let entries = vec![
        quota("keys".into(), again),
        quota("k".into(), vec![long.clone()]),
    ];
    // Each alone: together they name too much.
    for (entry, most) in entries.into_iter().zip([200, 4_200]) {
        let reply = client.call(&quotas(vec![entry]), 1);
        let view = reply.view();
        let one = view.entries().iter().next().expect("one entity");
        assert_eq!(one.error_code(), 42);
        assert!(one.error_message().expect("a text").len() < most);
    }
    let reply = client.call(
        &quotas(vec![quota(long, vec!["producer_byte_rate".into()])]),
        1,
    );
    let view = reply.view();
    assert_eq!(view.entries().iter().next().expect("one").error_code(), 42);

    // As many entities as are kept, and one more.
    let name = |number: usize| format!("e{number}").into();
    let all = (0..20_001).map(|number| quota(name(number), vec!["producer_byte_rate".into()]));
    let reply = client.call(&quotas(all.collect()), 1);
    let view = reply.view();
    let refused = view.entries().iter().filter(|one| one.error_code() != 0);
    let refused: Vec<i16> = refused.map(|one| one.error_code()).collect();
    assert_eq!(refused, [44]);

    let component = describe_client_quotas::ComponentData {
        entity_type: "user".into(),
        match_type: 2,
        r#match: None,
    };
    let filter = describe_client_quotas::Request {
        components: vec![component; NAMED_MAX],
        strict: false,
    };
    let reply = client.call(&filter, 1);
    assert_eq!(reply.view().error_code(), 42);
    let reply = client.call(&describe_client_quotas::Request::default(), 1);
    assert_eq!(reply.view().entries().expect("a list").len(), 20_000);
    crate::check_peak(&broker);
    broker.is_healthy();
}
