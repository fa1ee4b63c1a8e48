//! The names of fields mean what the other codec means by them: distinct values written by it are
//! found under the same names by ours.

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{self as theirs, BrokerId, ProducerId, TopicName, TransactionalId},
    protocol::{Encodable, StrBytes},
};

use crate::{
    MessageView, api_versions, create_topics, delete_topics, describe_cluster, describe_configs,
    fetch, init_producer_id, list_offsets, metadata, produce,
};

fn written(message: &impl Encodable, version: i16) -> BytesMut {
    let mut out = BytesMut::new();
    message
        .encode(&mut out, version)
        .expect("the other codec writes its own message");
    out
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic(name: &'static str) -> TopicName {
    TopicName(text(name))
}

#[test]
fn produce_fields_have_their_names() {
    let partition = theirs::produce_request::PartitionProduceData::default()
        .with_index(4)
        .with_records(Some(Bytes::from_static(b"batch")));
    let data = theirs::produce_request::TopicProduceData::default()
        .with_name(topic("t"))
        .with_partition_data(vec![partition]);
    let request = theirs::ProduceRequest::default()
        .with_transactional_id(Some(TransactionalId(text("x"))))
        .with_acks(-1)
        .with_timeout_ms(7)
        .with_topic_data(vec![data]);
    for version in [3, 8, 9, 12] {
        let body = written(&request, version);
        let view = produce::RequestView::parse(&body, version).expect("a valid body");
        assert_eq!(
            (view.transactional_id(), view.acks(), view.timeout_ms()),
            (Some("x"), -1, 7)
        );
        let data = view.topic_data().iter().next().expect("one topic");
        let partition = data.partition_data().iter().next().expect("one partition");
        assert_eq!((data.name(), partition.index()), ("t", 4));
        assert_eq!(partition.records(), Some(&b"batch"[..]));
    }
}

#[test]
fn fetch_response_fields_have_their_names() {
    let partition = theirs::fetch_response::PartitionData::default()
        .with_partition_index(1)
        .with_error_code(2)
        .with_high_watermark(30)
        .with_last_stable_offset(20)
        .with_log_start_offset(10)
        .with_records(Some(Bytes::from_static(b"batch")));
    let data = theirs::fetch_response::FetchableTopicResponse::default()
        .with_topic(topic("t"))
        .with_partitions(vec![partition]);
    let response = theirs::FetchResponse::default()
        .with_throttle_time_ms(9)
        .with_session_id(8)
        .with_responses(vec![data]);
    for version in [7, 11, 12] {
        let body = written(&response, version);
        let view = fetch::ResponseView::parse(&body, version).expect("a valid body");
        assert_eq!((view.throttle_time_ms(), view.session_id()), (9, 8));
        let data = view.responses().iter().next().expect("one topic");
        let partition = data.partitions().iter().next().expect("one partition");
        assert_eq!(
            (partition.partition_index(), partition.error_code()),
            (1, 2)
        );
        let offsets = (
            partition.log_start_offset(),
            partition.last_stable_offset(),
            partition.high_watermark(),
        );
        assert_eq!((data.topic(), offsets), ("t", (10, 20, 30)));
        assert_eq!(partition.records(), Some(&b"batch"[..]));
    }
}

#[test]
fn fetch_request_fields_have_their_names() {
    let request = theirs::FetchRequest::default()
        .with_max_wait_ms(1)
        .with_min_bytes(2)
        .with_max_bytes(3)
        .with_isolation_level(1)
        .with_session_id(4)
        .with_session_epoch(5)
        .with_rack_id(text("r"));
    for version in [11, 12, 18] {
        let body = written(&request, version);
        let view = fetch::RequestView::parse(&body, version).expect("a valid body");
        assert_eq!(
            (view.max_wait_ms(), view.min_bytes(), view.max_bytes()),
            (1, 2, 3)
        );
        assert_eq!(
            (view.session_id(), view.session_epoch(), view.rack_id()),
            (4, 5, "r")
        );
        assert_eq!(view.isolation_level(), 1);
    }
}

#[test]
fn list_offsets_fields_have_their_names() {
    let partition = theirs::list_offsets_response::ListOffsetsPartitionResponse::default()
        .with_partition_index(1)
        .with_error_code(2)
        .with_timestamp(3)
        .with_offset(4);
    let data = theirs::list_offsets_response::ListOffsetsTopicResponse::default()
        .with_name(topic("t"))
        .with_partitions(vec![partition]);
    let response = theirs::ListOffsetsResponse::default().with_topics(vec![data]);
    for version in [1, 5, 6, 10] {
        let body = written(&response, version);
        let view = list_offsets::ResponseView::parse(&body, version).expect("a valid body");
        let data = view.topics().iter().next().expect("one topic");
        let partition = data.partitions().iter().next().expect("one partition");
        assert_eq!(
            (
                data.name(),
                partition.partition_index(),
                partition.error_code()
            ),
            ("t", 1, 2)
        );
        assert_eq!((partition.timestamp(), partition.offset()), (3, 4));
    }
}

#[test]
fn metadata_fields_have_their_names() {
    let broker = theirs::metadata_response::MetadataResponseBroker::default()
        .with_node_id(BrokerId(1))
        .with_host(text("h"))
        .with_port(9092)
        .with_rack(Some(text("r")));
    let partition = theirs::metadata_response::MetadataResponsePartition::default()
        .with_partition_index(2)
        .with_leader_id(BrokerId(3))
        .with_replica_nodes(vec![BrokerId(3), BrokerId(4)])
        .with_isr_nodes(vec![BrokerId(3)]);
    let data = theirs::metadata_response::MetadataResponseTopic::default()
        .with_name(Some(topic("t")))
        .with_is_internal(true)
        .with_partitions(vec![partition]);
    let response = theirs::MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_controller_id(BrokerId(7))
        .with_topics(vec![data]);
    for version in [1, 8, 9, 12] {
        let body = written(&response, version);
        let view = metadata::ResponseView::parse(&body, version).expect("a valid body");
        let broker = view.brokers().iter().next().expect("one broker");
        assert_eq!(
            (broker.node_id(), broker.host(), broker.port()),
            (1, "h", 9092)
        );
        assert_eq!((broker.rack(), view.controller_id()), (Some("r"), 7));
        let data = view.topics().iter().next().expect("one topic");
        assert_eq!((data.name(), data.is_internal()), (Some("t"), true));
        let partition = data.partitions().iter().next().expect("one partition");
        assert_eq!((partition.partition_index(), partition.leader_id()), (2, 3));
        assert_eq!(partition.replica_nodes().iter().collect::<Vec<_>>(), [3, 4]);
        assert_eq!(partition.isr_nodes().iter().collect::<Vec<_>>(), [3]);
    }
}

#[test]
fn api_versions_and_init_producer_id_fields_have_their_names() {
    let row = theirs::api_versions_response::ApiVersion::default()
        .with_api_key(18)
        .with_min_version(1)
        .with_max_version(4);
    let response = theirs::ApiVersionsResponse::default()
        .with_error_code(35)
        .with_api_keys(vec![row]);
    for version in [0, 2, 3, 4] {
        let body = written(&response, version);
        let view = api_versions::ResponseView::parse(&body, version).expect("a valid body");
        let row = view.api_keys().iter().next().expect("one row");
        assert_eq!(
            (row.api_key(), row.min_version(), row.max_version()),
            (18, 1, 4)
        );
        assert_eq!(view.error_code(), 35);
    }
    let response = theirs::InitProducerIdResponse::default()
        .with_error_code(1)
        .with_producer_id(ProducerId(2))
        .with_producer_epoch(3);
    for version in [0, 2, 5] {
        let body = written(&response, version);
        let view = init_producer_id::ResponseView::parse(&body, version).expect("a valid body");
        assert_eq!(
            (view.error_code(), view.producer_id(), view.producer_epoch()),
            (1, 2, 3)
        );
    }
}

#[test]
fn topic_administration_fields_have_their_names() {
    let creatable = theirs::create_topics_request::CreatableTopic::default()
        .with_name(topic("t"))
        .with_num_partitions(3)
        .with_replication_factor(2);
    let request = theirs::CreateTopicsRequest::default()
        .with_topics(vec![creatable])
        .with_timeout_ms(9)
        .with_validate_only(true);
    for version in [2, 4, 5, 7] {
        let body = written(&request, version);
        let view = create_topics::RequestView::parse(&body, version).expect("a valid body");
        let topic = view.topics().iter().next().expect("one topic");
        let counts = (topic.num_partitions(), topic.replication_factor());
        assert_eq!((topic.name(), counts), ("t", (3, 2)));
        assert_eq!((view.timeout_ms(), view.validate_only()), (9, true));
    }
    let request = theirs::DeleteTopicsRequest::default()
        .with_topic_names(vec![topic("t")])
        .with_timeout_ms(9);
    for version in [1, 4, 5] {
        let body = written(&request, version);
        let view = delete_topics::RequestView::parse(&body, version).expect("a valid body");
        assert_eq!(view.topic_names().iter().collect::<Vec<_>>(), ["t"]);
        assert_eq!(view.timeout_ms(), 9);
    }
}

#[test]
fn description_fields_have_their_names() {
    let resource = theirs::describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("t"))
        .with_configuration_keys(Some(vec![text("k")]));
    let request = theirs::DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true);
    for version in [1, 3, 4] {
        let body = written(&request, version);
        let view = describe_configs::RequestView::parse(&body, version).expect("a valid body");
        let resource = view.resources().iter().next().expect("one resource");
        assert_eq!(
            (resource.resource_type(), resource.resource_name()),
            (2, "t")
        );
        let keys = resource.configuration_keys().expect("not null");
        assert_eq!(keys.iter().collect::<Vec<_>>(), ["k"]);
        assert!(view.include_synonyms());
    }
    let response = theirs::DescribeClusterResponse::default()
        .with_cluster_id(text("c"))
        .with_controller_id(BrokerId(5))
        .with_error_code(1);
    for version in [0, 1, 2] {
        let body = written(&response, version);
        let view = describe_cluster::ResponseView::parse(&body, version).expect("a valid body");
        let found = (view.cluster_id(), view.controller_id(), view.error_code());
        assert_eq!(found, ("c", 5, 1));
    }
}
