//! Claims about administrative requests and answers, against bytes of the wire room's encoders.

use bytes::BytesMut;
use klamm_model::{ErrorCode, NodeId, Offset, PartitionIndex, TopicName};
use klamm_wire::{
    Message, MessageView, alter_client_quotas as limit_wire, create_partitions,
    delete_records as trim_wire, describe_client_quotas as quotas_wire,
    describe_cluster as cluster_wire, describe_configs as configs_wire,
    describe_log_dirs as dirs_wire, incremental_alter_configs as alter_wire,
};

use super::*;
use crate::metadata::PartitionName;

fn encoded(message: &dyn Message, version: i16) -> BytesMut {
    let mut bytes = BytesMut::new();
    message
        .encode(version, &mut bytes)
        .expect("it has this version");
    bytes
}

fn name(text: &str) -> TopicName {
    TopicName::new(text).expect("legal")
}

#[test]
fn changes_of_configuration_carry_kafkas_operations() {
    let changes = [
        ConfigChange::set("a", "1"),
        ConfigChange::delete("b"),
        ConfigChange {
            name: "c".to_owned(),
            operation: ConfigOperation::Append("x".to_owned()),
        },
        ConfigChange {
            name: "d".to_owned(),
            operation: ConfigOperation::Subtract("y".to_owned()),
        },
    ];
    let request = alter_configs(ConfigResource::Topic, "t", &changes, Apply::ValidateOnly);
    let bytes = encoded(&request, 1);
    let view = alter_wire::RequestView::parse(&bytes, 1).expect("what was encoded");
    assert!(view.validate_only());
    let resource = view.resources().iter().next().expect("one");
    assert_eq!(
        (resource.resource_type(), resource.resource_name()),
        (2, "t")
    );
    let rows: Vec<(String, i8, Option<String>)> = resource
        .configs()
        .iter()
        .map(|row| {
            let value = row.value().map(str::to_owned);
            (row.name().to_owned(), row.config_operation(), value)
        })
        .collect();
    let row = |name: &str, number, value: Option<&str>| {
        (name.to_owned(), number, value.map(str::to_owned))
    };
    assert_eq!(
        rows,
        [
            row("a", 0, Some("1")),
            row("b", 1, None),
            row("c", 2, Some("x")),
            row("d", 3, Some("y"))
        ]
    );
}

#[test]
fn a_refused_change_says_what_it_was_about() {
    let response = alter_wire::Response {
        responses: vec![alter_wire::AlterConfigsResourceResponse {
            error_code: ErrorCode::InvalidConfig.code(),
            error_message: Some("no such key".into()),
            resource_type: 2,
            resource_name: "t".into(),
        }],
        ..Default::default()
    };
    let bytes = encoded(&response, 1);
    let view = alter_wire::ResponseView::parse(&bytes, 1).expect("what was encoded");
    let error = altered_configs(&view).expect_err("refused");
    assert_eq!(error.code, ErrorCode::InvalidConfig);
    assert_eq!(error.subject, "configuration of t");
    assert_eq!(error.message.as_deref(), Some("no such key"));
}

#[test]
fn descriptions_tell_layers_and_kinds_where_the_version_does() {
    let response = configs_wire::Response {
        results: vec![configs_wire::DescribeConfigsResult {
            configs: vec![configs_wire::DescribeConfigsResourceResult {
                name: "retention.ms".into(),
                value: Some("7".into()),
                config_source: 1,
                config_type: 5,
                synonyms: vec![configs_wire::DescribeConfigsSynonym {
                    name: "log.retention.ms".into(),
                    value: Some("9".into()),
                    source: 3,
                }],
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let described = |version| {
        let bytes = encoded(&response, version);
        let view = configs_wire::ResponseView::parse(&bytes, version).expect("what was encoded");
        described_configs(&view).expect("described").remove(0)
    };
    let entry = described(4);
    assert_eq!(
        (entry.source, entry.kind),
        (ConfigSource::Topic, Some(ConfigType::Long))
    );
    let layer = ConfigSynonym {
        name: "log.retention.ms".to_owned(),
        value: Some("9".to_owned()),
        source: ConfigSource::DynamicDefault,
    };
    assert_eq!(entry.synonyms, [layer]);
    let entry = described(0);
    assert_eq!((entry.kind, entry.synonyms.len()), (None, 0));
}

#[test]
fn numbers_of_resources_are_read_back() {
    for resource in ConfigResource::ALL {
        assert_eq!(
            ConfigResource::from_number(resource.number()),
            Some(resource)
        );
    }
    assert_eq!(ConfigResource::from_number(3), None);
}

#[test]
fn partitions_are_placed_by_the_broker_unless_the_caller_does() {
    let mut placed = MorePartitions::new(name("b"), 3);
    placed.assignments = vec![vec![NodeId(1), NodeId(2)]];
    let topics = [MorePartitions::new(name("a"), 2), placed];
    let request = create_partitions(&topics, Duration::from_secs(1), Apply::Really);
    let bytes = encoded(&request, 3);
    let view = create_partitions::RequestView::parse(&bytes, 3).expect("what was encoded");
    let placed: Vec<Option<usize>> = view
        .topics()
        .iter()
        .map(|topic| topic.assignments().map(|it| it.iter().count()))
        .collect();
    assert_eq!(placed, [None, Some(1)]);
    assert_eq!(view.timeout_ms(), 1000);
}

#[test]
fn trimming_to_the_end_is_minus_one_on_the_wire() {
    let partition = |index| PartitionName::new(name("t"), PartitionIndex(index));
    let wanted = [
        (partition(0), TrimTo::Offset(Offset(5))),
        (partition(1), TrimTo::End),
    ];
    let bytes = encoded(&delete_records(&wanted, Duration::from_secs(1)), 2);
    let view = trim_wire::RequestView::parse(&bytes, 2).expect("what was encoded");
    let rows: Vec<(i32, i64)> = view
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions().iter().collect::<Vec<_>>())
        .map(|row| (row.partition_index(), row.offset()))
        .collect();
    assert_eq!(rows, [(0, 5), (1, -1)]);
}

#[test]
fn a_trimmed_log_tells_its_start_and_a_refused_one_why() {
    let row =
        |partition_index, low_watermark, code: ErrorCode| trim_wire::DeleteRecordsPartitionResult {
            partition_index,
            low_watermark,
            error_code: code.code(),
        };
    let response = trim_wire::Response {
        topics: vec![trim_wire::DeleteRecordsTopicResult {
            name: "t".into(),
            partitions: vec![
                row(0, 5, ErrorCode::None),
                row(1, -1, ErrorCode::OffsetOutOfRange),
            ],
        }],
        ..Default::default()
    };
    let bytes = encoded(&response, 2);
    let view = trim_wire::ResponseView::parse(&bytes, 2).expect("what was encoded");
    let outcomes = deleted_records(&view);
    assert_eq!(outcomes[0].1, Ok(Offset(5)));
    let refused = outcomes[1].1.as_ref().map_err(|error| error.code);
    assert_eq!(refused, Err(ErrorCode::OffsetOutOfRange));
}

#[test]
fn fenced_brokers_are_told_apart_and_brokers_sorted() {
    let broker = |id, is_fenced| cluster_wire::DescribeClusterBroker {
        broker_id: id,
        host: "h".into(),
        port: 9092,
        rack: None,
        is_fenced,
    };
    let response = cluster_wire::Response {
        cluster_id: "c".into(),
        controller_id: 1,
        brokers: vec![broker(2, true), broker(1, false)],
        ..Default::default()
    };
    let bytes = encoded(&response, 2);
    let view = cluster_wire::ResponseView::parse(&bytes, 2).expect("what was encoded");
    let cluster = described_cluster(&view).expect("described");
    assert_eq!(
        (cluster.id.as_str(), cluster.controller),
        ("c", Some(NodeId(1)))
    );
    let brokers = cluster.brokers.iter();
    let brokers: Vec<(NodeId, bool)> = brokers.map(|it| (it.broker.id, it.fenced)).collect();
    assert_eq!(brokers, [(NodeId(1), false), (NodeId(2), true)]);
    // Versions before 2 cannot ask for fenced brokers.
    assert!(!describe_cluster(1).include_fenced_brokers);
}

#[test]
fn log_folders_tell_sizes_where_the_version_does_and_their_own_errors() {
    let dir = |path: &'static str, code: ErrorCode| dirs_wire::DescribeLogDirsResult {
        error_code: code.code(),
        log_dir: path.into(),
        topics: vec![dirs_wire::DescribeLogDirsTopic {
            name: "t".into(),
            partitions: vec![dirs_wire::DescribeLogDirsPartition {
                partition_index: 3,
                partition_size: 77,
                offset_lag: 0,
                is_future_key: false,
            }],
        }],
        total_bytes: 1000,
        usable_bytes: 500,
        ..Default::default()
    };
    let response = dirs_wire::Response {
        results: vec![
            dir("/a", ErrorCode::None),
            dir("/b", ErrorCode::KafkaStorageError),
        ],
        ..Default::default()
    };
    let described = |version| {
        let bytes = encoded(&response, version);
        let view = dirs_wire::ResponseView::parse(&bytes, version).expect("what was encoded");
        described_log_dirs(&view).expect("described")
    };
    let folders = described(4);
    let whole = folders[0].as_ref().expect("sound");
    assert_eq!(
        (whole.bytes_total, whole.bytes_usable),
        (Some(1000), Some(500))
    );
    assert_eq!(whole.replicas[0].partition.to_string(), "t-3");
    assert_eq!(whole.replicas[0].bytes, 77);
    let broken = folders[1].as_ref().expect_err("broken");
    assert_eq!(broken.code, ErrorCode::KafkaStorageError);
    let old = described(3);
    assert_eq!(old[0].as_ref().map(|it| it.bytes_total), Ok(None));
}

#[test]
fn quotas_name_their_entities_and_limits_as_kafka_does() {
    let entity = QuotaEntity::of([
        (QuotaKind::User, Some("alice".to_owned())),
        (QuotaKind::ClientId, None),
    ]);
    assert_eq!(entity.describe(), "user alice, default client-id");
    let changes = [("a".to_owned(), Some(1.5)), ("b".to_owned(), None)];
    let request = alter_client_quotas(&entity, &changes, Apply::ValidateOnly);
    let bytes = encoded(&request, 1);
    let view = limit_wire::RequestView::parse(&bytes, 1).expect("what was encoded");
    assert!(view.validate_only());
    let entry = view.entries().iter().next().expect("one");
    let parts: Vec<_> = entry
        .entity()
        .iter()
        .map(|part| {
            (
                part.entity_type().to_owned(),
                part.entity_name().map(str::to_owned),
            )
        })
        .collect();
    assert_eq!(parts, entity.0);
    let ops: Vec<_> = entry
        .ops()
        .iter()
        .map(|op| (op.key().to_owned(), (!op.remove()).then(|| op.value())))
        .collect();
    assert_eq!(ops, changes);

    let filter = [
        (QuotaKind::User, QuotaMatch::Named("alice".to_owned())),
        (QuotaKind::ClientId, QuotaMatch::Default),
        (QuotaKind::Ip, QuotaMatch::Any),
    ];
    let bytes = encoded(&describe_client_quotas(&filter, true), 1);
    let view = quotas_wire::RequestView::parse(&bytes, 1).expect("what was encoded");
    let asked: Vec<_> = view
        .components()
        .iter()
        .map(|one| (one.match_type(), one.r#match().map(str::to_owned)))
        .collect();
    let expected = [(0, Some("alice".to_owned())), (1, None), (2, None)];
    assert_eq!((view.strict(), asked), (true, expected.into()));
}

#[test]
fn described_quotas_come_in_order_with_the_user_before_the_client() {
    let part = |kind: &'static str, name: Option<&'static str>| quotas_wire::EntityData {
        entity_type: kind.into(),
        entity_name: name.map(Into::into),
    };
    let entry = |entity| quotas_wire::EntryData {
        entity,
        values: ["z", "a"]
            .map(|key| quotas_wire::ValueData {
                key: key.into(),
                value: 2.0,
            })
            .into(),
    };
    let mut response = quotas_wire::Response {
        entries: Some(vec![
            entry(vec![part("client-id", Some("c")), part("user", None)]),
            entry(vec![part("ip", Some("10.0.0.7"))]),
        ]),
        ..Default::default()
    };
    let described = |response: &quotas_wire::Response<'_>| {
        let bytes = encoded(response, 1);
        let view = quotas_wire::ResponseView::parse(&bytes, 1).expect("what was encoded");
        described_client_quotas(&view)
    };
    let quotas = described(&response).expect("no error");
    let shown: Vec<_> = quotas.iter().map(|quota| quota.entity.describe()).collect();
    assert_eq!(shown, ["ip 10.0.0.7", "default user, client-id c"]);
    assert_eq!(
        quotas[0].limits,
        [("a".to_owned(), 2.0), ("z".to_owned(), 2.0)]
    );
    response.error_code = ErrorCode::InvalidRequest.code();
    let refused = described(&response).expect_err("refused");
    assert_eq!(refused.code, ErrorCode::InvalidRequest);
}
