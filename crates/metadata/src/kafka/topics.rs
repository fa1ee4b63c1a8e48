//! Topics and partitions as Kafka's records describe them.

use std::collections::BTreeMap;
use std::sync::Arc;

use klamm_model::{LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, TopicId, TopicName};

use super::KafkaMetadataError;
use super::fields::Fields;
use crate::record::{MetadataRecord, PartitionRecord};

/// `Leader` of a PartitionChangeRecord that does not change it.
const LEADER_STAYS: i32 = -2;

const TAG_LEADER: u32 = 1;
const TAG_REPLICAS: u32 = 2;

#[derive(Clone, Debug)]
pub(super) struct Topic {
    id: TopicId,
    pub(super) name: TopicName,
    partitions: BTreeMap<i32, Partition>,
}

#[derive(Clone, Debug)]
struct Partition {
    replicas: Arc<[NodeId]>,
    leader_epoch: i32,
    partition_epoch: i32,
}

impl Topic {
    /// klamm's records for a topic all of whose partitions lie on `node`.
    pub(super) fn into_records(
        self,
        node: NodeId,
    ) -> Result<Vec<MetadataRecord>, KafkaMetadataError> {
        let mut records = vec![MetadataRecord::TopicCreated {
            id: self.id,
            name: self.name.clone(),
        }];
        let alone: Arc<[NodeId]> = Arc::new([node]);
        for (index, partition) in self.partitions {
            if partition.replicas != alone {
                return Err(KafkaMetadataError::Replicas {
                    topic: self.name,
                    partition: index,
                    replicas: partition.replicas.to_vec(),
                });
            }
            records.push(MetadataRecord::PartitionCreated(PartitionRecord {
                topic: self.id,
                index: PartitionIndex(index),
                replicas: Arc::clone(&alone),
                isr: Arc::clone(&alone),
                leader: Some(node),
                leader_epoch: LeaderEpoch(partition.leader_epoch),
                partition_epoch: PartitionEpoch(partition.partition_epoch),
            }));
        }
        Ok(records)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Topics(BTreeMap<TopicId, Topic>);

impl Topics {
    pub(super) fn into_list(self) -> impl Iterator<Item = Topic> {
        self.0.into_values()
    }

    pub(super) fn create(&mut self, fields: &mut Fields<'_>) -> Result<(), KafkaMetadataError> {
        let name = fields.string("topic name")?;
        let illegal = KafkaMetadataError::Field {
            kind: fields.kind,
            field: "topic name",
        };
        let name = TopicName::new(&name).map_err(|_| illegal)?;
        let id = fields.topic_id()?;
        let topic = Topic {
            id,
            name,
            partitions: BTreeMap::new(),
        };
        self.0.insert(id, topic);
        Ok(())
    }

    pub(super) fn remove(
        &mut self,
        fields: &mut Fields<'_>,
    ) -> Result<TopicName, KafkaMetadataError> {
        let id = fields.topic_id()?;
        let topic = self.0.remove(&id);
        Ok(topic.ok_or(KafkaMetadataError::Topic { id })?.name)
    }

    fn topic(&mut self, id: TopicId) -> Result<&mut Topic, KafkaMetadataError> {
        self.0.get_mut(&id).ok_or(KafkaMetadataError::Topic { id })
    }

    pub(super) fn add_partition(
        &mut self,
        fields: &mut Fields<'_>,
        version: u32,
    ) -> Result<(), KafkaMetadataError> {
        let index = fields.i32()?;
        let id = fields.topic_id()?;
        let replicas = fields.nodes()?.unwrap_or_default();
        // In sync, being removed, being added.
        for _ in 0..3 {
            fields.nodes()?;
        }
        let _leader = fields.i32()?;
        let partition = Partition {
            replicas,
            leader_epoch: fields.i32()?,
            partition_epoch: fields.i32()?,
        };
        if version >= 1 {
            fields.skip_ids()?;
        }
        let is_legal = index >= 0 && partition.leader_epoch >= 0 && partition.partition_epoch >= 0;
        if !is_legal {
            return Err(KafkaMetadataError::Field {
                kind: fields.kind,
                field: "partition",
            });
        }
        self.topic(id)?.partitions.insert(index, partition);
        Ok(())
    }

    /// A change names what is new alone. Each grows the partition epoch, and each that has a leader
    /// the leader epoch, as Kafka's own replay has it.
    pub(super) fn change_partition(
        &mut self,
        fields: &mut Fields<'_>,
    ) -> Result<(), KafkaMetadataError> {
        let index = fields.i32()?;
        let id = fields.topic_id()?;
        let topic = self.topic(id)?;
        let partition = topic
            .partitions
            .get_mut(&index)
            .ok_or(KafkaMetadataError::Topic { id })?;
        let mut leader = LEADER_STAYS;
        fields.tagged(|tag, field| {
            match tag {
                TAG_LEADER => leader = field.i32()?,
                TAG_REPLICAS => {
                    if let Some(replicas) = field.nodes()? {
                        partition.replicas = replicas;
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        if leader != LEADER_STAYS {
            partition.leader_epoch = partition.leader_epoch.saturating_add(1);
        }
        partition.partition_epoch = partition.partition_epoch.saturating_add(1);
        Ok(())
    }
}
