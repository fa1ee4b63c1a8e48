//! The bytes of metadata records, klamm's own format.
//!
//! ```text
//! payload  format:u8 = 1, then records to the end
//! record   kind:u8  version:u8  length:u32  fields[length]      all numbers big-endian
//! ```
//!
//! A kind or version that this program does not know is refused: skipping it would give this node
//! another image than the others (R12). Old versions stay readable for ever.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use klamm_model::{
    BrokerEpoch, ClusterId, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, ProducerId,
    TopicId, TopicName, WallTime,
};

use super::{ConfigResource, Listener, MetadataRecord, PartitionRecord};
use crate::quota::{QuotaEntity, QuotaKey, QuotaName, QuotaValue};

const FORMAT: u8 = 1;
const VERSION: u8 = 0;
const HEAD_BYTES: usize = 6;

const CLUSTER: u8 = 1;
const BROKER_REGISTERED: u8 = 2;
const TOPIC_CREATED: u8 = 3;
const PARTITION_CREATED: u8 = 4;
const PARTITION_CHANGED: u8 = 5;
const TOPIC_DELETED: u8 = 6;
const CONFIG_SET: u8 = 7;
const PRODUCER_IDS_ALLOCATED: u8 = 8;
const FEATURE_LEVEL: u8 = 9;
const LEADER_EPOCHS_RAISED: u8 = 10;
const CLIENT_QUOTA_SET: u8 = 11;

/// The bytes are no metadata records of a version that this program knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The payload has another format.
    Format {
        /// The number found.
        found: u8,
    },
    /// A kind of record that this program does not know: written by a newer one.
    Kind {
        /// The number found.
        found: u8,
    },
    /// A newer version of a record than this program knows.
    Version {
        /// The record's kind.
        kind: u8,
        /// The version found.
        found: u8,
    },
    /// The bytes end too early.
    Short {
        /// Where, from the start of the payload.
        position: usize,
    },
    /// A record has bytes after its last field.
    Trailing {
        /// The record's kind.
        kind: u8,
    },
    /// A field's value is not legal.
    Field {
        /// The record's kind.
        kind: u8,
        /// The field.
        field: &'static str,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format { found } => write!(
                formatter,
                "expected metadata payload of format {FORMAT}, found {found}"
            ),
            Self::Kind { found } => write!(
                formatter,
                "metadata record of unknown kind {found}: written by a newer release"
            ),
            Self::Version { kind, found } => write!(
                formatter,
                "metadata record of kind {kind} has version {found}, newest known is {VERSION}"
            ),
            Self::Short { position } => {
                write!(formatter, "metadata payload ends early at byte {position}")
            }
            Self::Trailing { kind } => write!(
                formatter,
                "metadata record of kind {kind} has bytes after its last field"
            ),
            Self::Field { kind, field } => write!(
                formatter,
                "metadata record of kind {kind} has an illegal {field}"
            ),
        }
    }
}

impl std::error::Error for RecordError {}

/// Writes the records of one decision as one payload.
#[must_use]
pub fn encode(records: &[MetadataRecord]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + records.iter().map(size_hint).sum::<usize>());
    out.put_u8(FORMAT);
    for record in records {
        put_record(&mut out, record);
    }
    out.freeze()
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// If the bytes are anything else; then none of the records may be used.
pub fn decode(payload: &[u8]) -> Result<Vec<MetadataRecord>, RecordError> {
    let mut reader = Reader {
        bytes: payload,
        read: 0,
        kind: 0,
    };
    let format = reader.u8()?;
    if format != FORMAT {
        return Err(RecordError::Format { found: format });
    }
    let mut records = Vec::new();
    while !reader.bytes.is_empty() {
        let (kind, version) = (reader.u8()?, reader.u8()?);
        let length = reader.u32()? as usize;
        let fields = reader.take(length)?;
        if !(CLUSTER..=CLIENT_QUOTA_SET).contains(&kind) {
            return Err(RecordError::Kind { found: kind });
        }
        if version > VERSION {
            return Err(RecordError::Version {
                kind,
                found: version,
            });
        }
        let mut fields = Reader {
            bytes: fields,
            read: reader.read - length,
            kind,
        };
        records.push(read_record(&mut fields)?);
        if !fields.bytes.is_empty() {
            return Err(RecordError::Trailing { kind });
        }
    }
    Ok(records)
}

/// About how many bytes a record takes; never less than it does.
pub(crate) fn size_hint(record: &MetadataRecord) -> usize {
    HEAD_BYTES
        + match record {
            MetadataRecord::Cluster { .. } | MetadataRecord::TopicDeleted { .. } => 16,
            MetadataRecord::BrokerRegistered {
                listeners, rack, ..
            } => {
                let ends = listeners
                    .iter()
                    .map(|listener| 6 + listener.name.len() + listener.host.len());
                45 + ends.sum::<usize>() + rack.as_ref().map_or(0, String::len)
            }
            MetadataRecord::TopicCreated { name, .. } => 18 + name.as_str().len(),
            MetadataRecord::PartitionCreated(partition)
            | MetadataRecord::PartitionChanged(partition) => {
                37 + 4 * (partition.replicas.len() + partition.isr.len())
            }
            MetadataRecord::ConfigSet {
                resource,
                key,
                value,
            } => {
                let named = match resource {
                    ConfigResource::Topic(name) => name.as_str().len(),
                    ConfigResource::ClientMetrics(name) | ConfigResource::Group(name) => name.len(),
                    ConfigResource::BrokerDefault | ConfigResource::Broker(_) => 4,
                };
                10 + named + key.len() + value.as_ref().map_or(0, String::len)
            }
            MetadataRecord::ProducerIdsAllocated { .. } => 8,
            MetadataRecord::FeatureLevel { name, .. } => 4 + name.len(),
            MetadataRecord::LeaderEpochsRaised { .. } => 4,
            MetadataRecord::ClientQuotaSet { entity, .. } => {
                let named = entity.parts().map(|(_, name)| 3 + name.text().len());
                11 + named.sum::<usize>()
            }
        }
}

fn put_record(out: &mut BytesMut, record: &MetadataRecord) {
    let start = out.len();
    out.put_bytes(0, HEAD_BYTES);
    let kind = match record {
        MetadataRecord::Cluster { id } => {
            out.put_slice(&id.0);
            CLUSTER
        }
        MetadataRecord::BrokerRegistered {
            node,
            incarnation,
            listeners,
            rack,
            epoch,
            registered_at,
        } => {
            out.put_i32(node.0);
            out.put_slice(incarnation);
            out.put_u8(u8::from(epoch.is_some()));
            if let Some(epoch) = epoch {
                out.put_i64(epoch.0);
            }
            out.put_i64(registered_at.0);
            put_option(out, rack.as_deref());
            put_listeners(out, listeners);
            BROKER_REGISTERED
        }
        MetadataRecord::TopicCreated { id, name } => {
            out.put_slice(&id.0);
            put_text(out, name.as_str());
            TOPIC_CREATED
        }
        MetadataRecord::PartitionCreated(partition) => {
            put_partition(out, partition);
            PARTITION_CREATED
        }
        MetadataRecord::PartitionChanged(partition) => {
            put_partition(out, partition);
            PARTITION_CHANGED
        }
        MetadataRecord::TopicDeleted { id } => {
            out.put_slice(&id.0);
            TOPIC_DELETED
        }
        MetadataRecord::ConfigSet {
            resource,
            key,
            value,
        } => {
            put_resource(out, resource);
            put_text(out, key);
            put_option(out, value.as_deref());
            CONFIG_SET
        }
        MetadataRecord::ProducerIdsAllocated { next } => {
            out.put_i64(next.0);
            PRODUCER_IDS_ALLOCATED
        }
        MetadataRecord::FeatureLevel { name, level } => {
            put_text(out, name);
            out.put_i16(*level);
            FEATURE_LEVEL
        }
        MetadataRecord::LeaderEpochsRaised { leader } => {
            out.put_i32(leader.0);
            LEADER_EPOCHS_RAISED
        }
        MetadataRecord::ClientQuotaSet { entity, key, value } => {
            put_entity(out, entity);
            out.put_u8(key.number());
            put_quota_value(out, *value);
            CLIENT_QUOTA_SET
        }
    };
    let length = u32::try_from(out.len() - start - HEAD_BYTES).expect("limits keep records small");
    out[start] = kind;
    out[start + 1] = VERSION;
    out[start + 2..start + HEAD_BYTES].copy_from_slice(&length.to_be_bytes());
}

fn count(length: usize) -> u16 {
    u16::try_from(length).expect("limits keep lists and texts below 65 536")
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u16(count(text.len()));
    out.put_slice(text.as_bytes());
}

fn put_resource(out: &mut BytesMut, resource: &ConfigResource) {
    match resource {
        ConfigResource::BrokerDefault => out.put_u8(0),
        ConfigResource::Broker(node) => {
            out.put_u8(1);
            out.put_i32(node.0);
        }
        ConfigResource::Topic(name) => {
            out.put_u8(2);
            put_text(out, name.as_str());
        }
        ConfigResource::ClientMetrics(name) => {
            out.put_u8(3);
            put_text(out, name);
        }
        ConfigResource::Group(name) => {
            out.put_u8(4);
            put_text(out, name);
        }
    }
}

fn put_listeners(out: &mut BytesMut, listeners: &[Listener]) {
    out.put_u16(count(listeners.len()));
    for listener in listeners {
        put_text(out, &listener.name);
        put_text(out, &listener.host);
        out.put_u16(listener.port);
    }
}

fn put_quota_value(out: &mut BytesMut, value: Option<QuotaValue>) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        out.put_u64(value.get().to_bits());
    }
}

/// The kind of entity, then the names that this kind has.
fn put_entity(out: &mut BytesMut, entity: &QuotaEntity) {
    out.put_u8(match entity {
        QuotaEntity::User(_) => 0,
        QuotaEntity::Client(_) => 1,
        QuotaEntity::UserClient(..) => 2,
        QuotaEntity::Ip(_) => 3,
    });
    for (_, name) in entity.parts() {
        let named = match name {
            QuotaName::Default => None,
            QuotaName::Named(text) => Some(text.as_str()),
        };
        put_option(out, named);
    }
}

fn put_option(out: &mut BytesMut, text: Option<&str>) {
    out.put_u8(u8::from(text.is_some()));
    if let Some(text) = text {
        put_text(out, text);
    }
}

fn put_nodes(out: &mut BytesMut, nodes: &[NodeId]) {
    out.put_u16(count(nodes.len()));
    for node in nodes {
        out.put_i32(node.0);
    }
}

fn put_partition(out: &mut BytesMut, partition: &PartitionRecord) {
    out.put_slice(&partition.topic.0);
    out.put_i32(partition.index.0);
    out.put_u8(u8::from(partition.leader.is_some()));
    if let Some(leader) = partition.leader {
        out.put_i32(leader.0);
    }
    out.put_i32(partition.leader_epoch.0);
    out.put_i32(partition.partition_epoch.0);
    put_nodes(out, &partition.replicas);
    put_nodes(out, &partition.isr);
}

struct Reader<'a> {
    bytes: &'a [u8],
    read: usize,
    kind: u8,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let Some((taken, rest)) = self.bytes.split_at_checked(length) else {
            return Err(RecordError::Short {
                position: self.read + self.bytes.len(),
            });
        };
        self.bytes = rest;
        self.read += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, RecordError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, RecordError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_be_bytes)
    }

    fn i16(&mut self) -> Result<i16, RecordError> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    fn illegal<T>(&self, field: &'static str) -> Result<T, RecordError> {
        Err(RecordError::Field {
            kind: self.kind,
            field,
        })
    }

    fn flag(&mut self, field: &'static str) -> Result<bool, RecordError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => self.illegal(field),
        }
    }

    fn text(&mut self, field: &'static str) -> Result<String, RecordError> {
        let length = usize::from(self.u16()?);
        match std::str::from_utf8(self.take(length)?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => self.illegal(field),
        }
    }

    fn option(&mut self, field: &'static str) -> Result<Option<String>, RecordError> {
        match self.flag(field)? {
            true => self.text(field).map(Some),
            false => Ok(None),
        }
    }

    fn node(&mut self) -> Result<NodeId, RecordError> {
        match self.i32()? {
            number if number >= 0 => Ok(NodeId(number)),
            _ => self.illegal("node id"),
        }
    }

    fn nodes(&mut self) -> Result<Arc<[NodeId]>, RecordError> {
        let count = self.u16()?;
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(self.node()?);
        }
        Ok(nodes.into())
    }

    fn topic_name(&mut self) -> Result<TopicName, RecordError> {
        let text = self.text("topic name")?;
        match TopicName::new(&text) {
            Ok(name) => Ok(name),
            Err(_) => self.illegal("topic name"),
        }
    }

    fn number(&mut self, field: &'static str) -> Result<i32, RecordError> {
        match self.i32()? {
            number if number >= 0 => Ok(number),
            _ => self.illegal(field),
        }
    }

    fn partition(&mut self) -> Result<PartitionRecord, RecordError> {
        Ok(PartitionRecord {
            topic: TopicId(self.array()?),
            index: PartitionIndex(self.number("partition index")?),
            leader: match self.flag("leader")? {
                true => Some(self.node()?),
                false => None,
            },
            leader_epoch: LeaderEpoch(self.number("leader epoch")?),
            partition_epoch: PartitionEpoch(self.number("partition epoch")?),
            replicas: self.nodes()?,
            isr: self.nodes()?,
        })
    }

    fn listeners(&mut self) -> Result<Vec<Listener>, RecordError> {
        let count = self.u16()?;
        let mut listeners = Vec::new();
        for _ in 0..count {
            listeners.push(Listener {
                name: self.text("listener name")?,
                host: self.text("listener host")?,
                port: self.u16()?,
            });
        }
        Ok(listeners)
    }

    fn resource(&mut self) -> Result<ConfigResource, RecordError> {
        Ok(match self.u8()? {
            0 => ConfigResource::BrokerDefault,
            1 => ConfigResource::Broker(self.node()?),
            2 => ConfigResource::Topic(self.topic_name()?),
            3 => ConfigResource::ClientMetrics(self.text("subscription name")?),
            4 => ConfigResource::Group(self.text("group")?),
            _ => return self.illegal("configuration resource"),
        })
    }
}

impl Reader<'_> {
    fn quota_name(&mut self) -> Result<QuotaName, RecordError> {
        Ok(match self.option("quota entity name")? {
            None => QuotaName::Default,
            Some(name) => QuotaName::Named(name),
        })
    }

    fn quota_entity(&mut self) -> Result<QuotaEntity, RecordError> {
        Ok(match self.u8()? {
            0 => QuotaEntity::User(self.quota_name()?),
            1 => QuotaEntity::Client(self.quota_name()?),
            2 => QuotaEntity::UserClient(self.quota_name()?, self.quota_name()?),
            3 => QuotaEntity::Ip(self.quota_name()?),
            _ => return self.illegal("quota entity"),
        })
    }

    fn quota_key(&mut self) -> Result<QuotaKey, RecordError> {
        match QuotaKey::from_number(self.u8()?) {
            Some(key) => Ok(key),
            None => self.illegal("quota key"),
        }
    }

    fn quota_value(&mut self) -> Result<Option<QuotaValue>, RecordError> {
        if !self.flag("quota value")? {
            return Ok(None);
        }
        match QuotaValue::new(f64::from_bits(u64::from_be_bytes(self.array()?))) {
            Some(value) => Ok(Some(value)),
            None => self.illegal("quota value"),
        }
    }
}

fn read_record(fields: &mut Reader<'_>) -> Result<MetadataRecord, RecordError> {
    Ok(match fields.kind {
        CLUSTER => MetadataRecord::Cluster {
            id: ClusterId(fields.array()?),
        },
        BROKER_REGISTERED => MetadataRecord::BrokerRegistered {
            node: fields.node()?,
            incarnation: fields.array()?,
            epoch: match fields.flag("broker epoch")? {
                true => Some(BrokerEpoch(fields.i64()?)),
                false => None,
            },
            registered_at: WallTime(fields.i64()?),
            rack: fields.option("rack")?,
            listeners: fields.listeners()?,
        },
        TOPIC_CREATED => MetadataRecord::TopicCreated {
            id: TopicId(fields.array()?),
            name: fields.topic_name()?,
        },
        PARTITION_CREATED => MetadataRecord::PartitionCreated(fields.partition()?),
        PARTITION_CHANGED => MetadataRecord::PartitionChanged(fields.partition()?),
        TOPIC_DELETED => MetadataRecord::TopicDeleted {
            id: TopicId(fields.array()?),
        },
        CONFIG_SET => MetadataRecord::ConfigSet {
            resource: fields.resource()?,
            key: fields.text("configuration key")?,
            value: fields.option("configuration value")?,
        },
        PRODUCER_IDS_ALLOCATED => MetadataRecord::ProducerIdsAllocated {
            next: match fields.i64()? {
                number if number >= 0 => ProducerId(number),
                _ => return fields.illegal("producer id"),
            },
        },
        FEATURE_LEVEL => MetadataRecord::FeatureLevel {
            name: fields.text("feature name")?,
            level: match fields.i16()? {
                number if number >= 0 => number,
                _ => return fields.illegal("feature level"),
            },
        },
        LEADER_EPOCHS_RAISED => MetadataRecord::LeaderEpochsRaised {
            leader: fields.node()?,
        },
        CLIENT_QUOTA_SET => MetadataRecord::ClientQuotaSet {
            entity: fields.quota_entity()?,
            key: fields.quota_key()?,
            value: fields.quota_value()?,
        },
        found => return Err(RecordError::Kind { found }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn one_of_each_kind() -> Vec<MetadataRecord> {
        let name = TopicName::new("flights").expect("legal");
        let partition = PartitionRecord {
            topic: TopicId([3; 16]),
            index: PartitionIndex(2),
            replicas: [NodeId(1), NodeId(2)].into(),
            isr: [NodeId(2)].into(),
            leader: Some(NodeId(2)),
            leader_epoch: LeaderEpoch(4),
            partition_epoch: PartitionEpoch(5),
        };
        let config = |resource, value: Option<&str>| MetadataRecord::ConfigSet {
            resource,
            key: "retention.ms".to_owned(),
            value: value.map(str::to_owned),
        };
        vec![
            MetadataRecord::Cluster {
                id: ClusterId([9; 16]),
            },
            MetadataRecord::BrokerRegistered {
                node: NodeId(1),
                incarnation: [8; 16],
                listeners: vec![Listener {
                    name: "PLAINTEXT".to_owned(),
                    host: "localhost".to_owned(),
                    port: 9092,
                }],
                rack: Some("a".to_owned()),
                epoch: Some(BrokerEpoch(12)),
                registered_at: WallTime(1_700_000_000_000),
            },
            MetadataRecord::TopicCreated {
                id: TopicId([3; 16]),
                name: name.clone(),
            },
            MetadataRecord::PartitionCreated(partition.clone()),
            MetadataRecord::PartitionChanged(PartitionRecord {
                leader: None,
                ..partition
            }),
            MetadataRecord::TopicDeleted {
                id: TopicId([3; 16]),
            },
            config(ConfigResource::BrokerDefault, Some("1")),
            config(ConfigResource::Broker(NodeId(3)), Some("")),
            config(ConfigResource::Topic(name), None),
            config(ConfigResource::ClientMetrics("m".to_owned()), Some("1")),
            config(ConfigResource::Group("g".to_owned()), Some("1")),
            MetadataRecord::ProducerIdsAllocated {
                next: ProducerId(1000),
            },
            MetadataRecord::FeatureLevel {
                name: "metadata.version".to_owned(),
                level: 29,
            },
            MetadataRecord::LeaderEpochsRaised { leader: NodeId(2) },
            MetadataRecord::ClientQuotaSet {
                entity: QuotaEntity::UserClient(QuotaName::Default, QuotaName::named("shop")),
                key: QuotaKey::ProducerByteRate,
                value: QuotaValue::new(1024.0),
            },
            MetadataRecord::ClientQuotaSet {
                entity: QuotaEntity::Ip(QuotaName::named("10.0.0.1")),
                key: QuotaKey::ConnectionCreationRate,
                value: None,
            },
        ]
    }

    #[test]
    fn every_record_survives_its_bytes_within_its_size_hint() {
        let records = one_of_each_kind();
        assert_eq!(decode(&encode(&records)), Ok(records.clone()));
        for record in records {
            let bytes = encode(std::slice::from_ref(&record));
            assert!(bytes.len() <= 1 + size_hint(&record), "{record:?}");
            assert_eq!(decode(&bytes), Ok(vec![record]));
        }
    }

    #[test]
    fn the_bytes_of_version_0_never_change() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let partition = &one_of_each_kind()[3..4];
        assert_eq!(
            hex(&encode(partition)),
            concat!(
                "01",                               // format
                "0400",                             // kind, version
                "00000031",                         // 49 bytes of fields
                "03030303030303030303030303030303", // topic
                "00000002",                         // index
                "0100000002",                       // leader 2
                "0000000400000005",                 // leader epoch, partition epoch
                "00020000000100000002",             // replicas 1, 2
                "000100000002",                     // in sync: 2
            )
        );
    }

    #[test]
    fn records_of_the_future_are_refused_by_name() {
        let mut bytes = encode(&one_of_each_kind()[..1]).to_vec();
        bytes[1] = 200;
        assert_eq!(decode(&bytes), Err(RecordError::Kind { found: 200 }));
        bytes[1] = CLUSTER;
        bytes[2] = 1;
        let refused = decode(&bytes).expect_err("newer");
        assert_eq!(
            refused.to_string(),
            "metadata record of kind 1 has version 1, newest known is 0"
        );
        bytes[0] = 2;
        assert_eq!(decode(&bytes), Err(RecordError::Format { found: 2 }));
    }

    #[test]
    fn damaged_bytes_are_refused_or_mean_other_records_and_never_panic() {
        let bytes = encode(&one_of_each_kind());
        for length in 0..bytes.len() {
            let cut = decode(&bytes[..length]);
            assert!(cut.is_err() || cut.expect("whole records").len() < 16);
        }
        for place in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes.to_vec();
                damaged[place] = value;
                if let Ok(records) = decode(&damaged) {
                    assert_eq!(encode(&records), damaged, "byte {place}");
                }
            }
        }
    }
}
