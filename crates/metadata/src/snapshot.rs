//! An image as bytes: its position, then the records that build it. Also the image's hash, which is
//! equal on every node at one position (R12).
//!
//! ```text
//! position:i64  payload (see `record::encode`)
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use klamm_model::{MetadataOffset, ProducerId, TopicPartition};

use crate::image::{Image, ReplayError};
use crate::record::{self, ConfigResource, MetadataRecord, RecordError};

/// Bytes are no snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// They do not parse.
    Record(RecordError),
    /// They parse, but contradict each other.
    Replay(ReplayError),
}

impl std::fmt::Display for SnapshotError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Record(error) => error.fmt(formatter),
            Self::Replay(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl Image {
    /// The records that build this image from nothing. Two equal images give the same ones.
    #[must_use]
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        records.extend(self.cluster().map(|id| MetadataRecord::Cluster { id }));
        for (name, &level) in self.features() {
            records.push(MetadataRecord::FeatureLevel {
                name: name.clone(),
                level,
            });
        }
        for broker in self.brokers().values() {
            records.push(MetadataRecord::BrokerRegistered {
                node: broker.node,
                incarnation: broker.incarnation,
                listeners: broker.listeners.clone(),
                rack: broker.rack.clone(),
                epoch: Some(broker.epoch),
                registered_at: broker.registered_at,
            });
        }
        let mut put_configs = |resource: &ConfigResource, map: &crate::ConfigMap| {
            let set = |(key, value): (&String, &String)| MetadataRecord::ConfigSet {
                resource: resource.clone(),
                key: key.clone(),
                value: Some(value.clone()),
            };
            records.extend(map.iter().map(set));
        };
        put_configs(&ConfigResource::BrokerDefault, self.broker_defaults());
        for (&node, map) in self.all_broker_overrides() {
            put_configs(&ConfigResource::Broker(node), map);
        }
        for (name, map) in self.client_metrics() {
            put_configs(&ConfigResource::ClientMetrics(name.clone()), map);
        }
        for (name, map) in self.group_configs() {
            put_configs(&ConfigResource::Group(name.clone()), map);
        }
        for (entity, quotas) in self.client_quotas().entities() {
            for (key, value) in quotas.iter() {
                records.push(MetadataRecord::ClientQuotaSet {
                    entity: entity.clone(),
                    key,
                    value: Some(value),
                });
            }
        }
        if self.next_producer() > ProducerId(0) {
            records.push(MetadataRecord::ProducerIdsAllocated {
                next: self.next_producer(),
            });
        }
        for topic in self.topics() {
            records.push(MetadataRecord::TopicCreated {
                id: topic.id(),
                name: topic.name().clone(),
            });
            for (index, partition) in topic.partitions() {
                let named = TopicPartition {
                    topic: topic.id(),
                    index,
                };
                records.push(MetadataRecord::PartitionCreated(partition.to_record(named)));
            }
            for (key, value) in topic.overrides() {
                records.push(MetadataRecord::ConfigSet {
                    resource: ConfigResource::Topic(topic.name().clone()),
                    key: key.clone(),
                    value: Some(value.clone()),
                });
            }
        }
        records
    }

    /// The image as bytes.
    #[must_use]
    pub fn to_snapshot(&self) -> Bytes {
        let payload = record::encode(&self.to_records());
        let mut out = BytesMut::with_capacity(8 + payload.len());
        out.put_i64(self.version().0);
        out.put_slice(&payload);
        out.freeze()
    }

    /// Reads what [`Image::to_snapshot`] wrote.
    ///
    /// # Errors
    /// If the bytes are anything else.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let Some((position, payload)) = bytes.split_first_chunk::<8>() else {
            return Err(SnapshotError::Record(RecordError::Short {
                position: bytes.len(),
            }));
        };
        let position = MetadataOffset(i64::from_be_bytes(*position));
        let mut image = Self::default();
        for record in record::decode(payload).map_err(SnapshotError::Record)? {
            image
                .replay(position, &record)
                .map_err(SnapshotError::Replay)?;
        }
        image.advance(position);
        Ok(image)
    }

    /// FNV-1a over the snapshot: the same number means the same metadata at the same position.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.to_snapshot()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
    }
}
