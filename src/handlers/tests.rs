//! What the handlers' tests share: a small cluster and a configuration.

use klamm_model::{
    BrokerEpoch, ClusterId, LeaderEpoch, MetadataOffset, NodeId, PartitionEpoch, PartitionIndex,
    TopicId, TopicName, WallTime,
};
use klamm_shard::api::metadata::{Image, Listener, MetadataRecord, PartitionRecord};

use super::*;
use crate::config::{Config, HostFacts, raw::RawConfig};

/// Brokers 1 and 2 on ports 9001 and 9002, and a topic of one partition with this leader.
pub(crate) fn image_of_two_brokers(topic: &str, leader: NodeId) -> Image {
    let mut image = Image::default();
    let mut records = vec![MetadataRecord::Cluster {
        id: ClusterId([3; 16]),
    }];
    for node in [1, 2] {
        records.push(MetadataRecord::BrokerRegistered {
            node: NodeId(node),
            epoch: Some(BrokerEpoch(1)),
            incarnation: [0; 16],
            listeners: vec![Listener {
                name: "PLAINTEXT".to_owned(),
                host: format!("host{node}"),
                port: 9000 + node as u16,
            }],
            rack: None,
            registered_at: WallTime(0),
        });
    }
    let id = TopicId([9; 16]);
    let name = TopicName::new(topic).expect("legal");
    records.push(MetadataRecord::TopicCreated { id, name });
    let replicas: Arc<[NodeId]> = [NodeId(1), NodeId(2)].into();
    records.push(MetadataRecord::PartitionCreated(PartitionRecord {
        topic: id,
        index: PartitionIndex(0),
        isr: Arc::clone(&replicas),
        replicas,
        leader: Some(leader),
        leader_epoch: LeaderEpoch(4),
        partition_epoch: PartitionEpoch(0),
    }));
    for record in &records {
        image.replay(MetadataOffset(1), record).expect("fits");
    }
    image
}

/// A configuration with all defaults.
pub(crate) fn config() -> Config {
    let host = HostFacts {
        cores: vec![0],
        core_limit: None,
        memory_bytes: 1 << 30,
        hostname: None,
    };
    let mut raw = RawConfig::default();
    raw.set("node.id=1").expect("legal");
    let (config, _) = Config::from_raw(&raw, &host).expect("legal");
    config
}

#[test]
fn a_topic_is_found_by_name_and_by_id_and_its_absence_has_two_codes() {
    let image = image_of_two_brokers("flights", NodeId(1));
    let by_name = TopicKey::of(&image, false, "flights", [0; 16]);
    let by_id = TopicKey::of(&image, true, "", [9; 16]);
    assert_eq!(by_name.find(&image), by_id.find(&image));
    assert!(by_name.find(&image).is_some());
    let illegal = TopicKey::of(&image, false, "a/b", [0; 16]);
    assert_eq!(illegal.wire_name(), "a/b");
    assert_eq!(illegal.unknown(), ErrorCode::UnknownTopicOrPartition);
    let unknown = TopicKey::of(&image, true, "", [8; 16]);
    assert!(unknown.find(&image).is_none());
    assert_eq!(unknown.unknown(), ErrorCode::UnknownTopicId);
}

#[test]
fn only_partitions_that_this_node_leads_are_served_here() {
    let image = image_of_two_brokers("flights", NodeId(2));
    let topic = image.topic("flights").expect("there");
    assert!(led_partition(topic, 0, NodeId(2)).is_ok());
    assert_eq!(
        led_partition(topic, 0, NodeId(1)),
        Err(ErrorCode::NotLeaderOrFollower)
    );
    assert_eq!(
        led_partition(topic, 1, NodeId(2)),
        Err(ErrorCode::UnknownTopicOrPartition)
    );
    let key = TopicKey::of(&image, false, "flights", [0; 16]);
    assert_eq!(leader_hint(&image, &key, 0), (2, 4));
    assert_eq!(leader_hint(&image, &key, 1), (-1, -1));
}
