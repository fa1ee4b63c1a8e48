//! Apache Kafka's metadata records, read to take a folder over from it: what they build up to, and
//! klamm's records that build the same. Kafka's tables are `common/metadata/*.json` of its release.
//!
//! ```text
//! value  frame version:uvarint = 1  kind:uvarint  version:uvarint  fields, tagged fields
//! ```

mod fields;
mod topics;

use std::collections::BTreeMap;
use std::fmt;

use klamm_model::{ClusterId, NodeId, ProducerId, TopicId, TopicName};

use crate::image::{Image, ReplayError};
use crate::quota::{QuotaEntity, QuotaKey, QuotaKind, QuotaName, QuotaValue};
use crate::record::{ConfigResource, MetadataRecord};
use fields::Fields;
use topics::Topics;

const FRAME_VERSION: u32 = 1;

const TOPIC: u32 = 2;
const PARTITION: u32 = 3;
const CONFIG: u32 = 4;
const PARTITION_CHANGE: u32 = 5;
const ACCESS_CONTROL_ENTRY: u32 = 18;
const REMOVE_TOPIC: u32 = 9;
const DELEGATION_TOKEN: u32 = 10;
const USER_SCRAM_CREDENTIAL: u32 = 11;
const CLIENT_QUOTA: u32 = 14;
const PRODUCER_IDS: u32 = 15;
const BEGIN_TRANSACTION: u32 = 23;
const END_TRANSACTION: u32 = 24;
const ABORT_TRANSACTION: u32 = 25;

/// Kinds that say nothing that outlives a takeover: registrations of brokers and controllers,
/// fencing, levels of features (this program has its own), removals of what is not taken over.
const PASSED_OVER: [u32; 12] = [0, 1, 7, 8, 12, 17, 19, 20, 21, 22, 26, 27];

/// Removes the eligible leaders of a topic, of which one node has none.
const CLEAR_ELR: u32 = 28;

/// Types of resources as numbers, of KIP-133.
const RESOURCE_TOPIC: u8 = 2;
const RESOURCE_BROKER: u8 = 4;
const RESOURCE_GROUP: u8 = 32;

/// Kafka's metadata cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KafkaMetadataError {
    /// A value ends too early.
    Short {
        /// The kind of record.
        kind: u32,
    },
    /// A record is of a kind or version that this program does not know.
    Unknown {
        /// What it says of itself.
        found: String,
    },
    /// A field's value is not legal.
    Field {
        /// The kind of record.
        kind: u32,
        /// The field.
        field: &'static str,
    },
    /// A record speaks of a topic that no record before it created.
    Topic {
        /// The topic.
        id: TopicId,
    },
    /// A partition lies on other nodes, or on several: this is no folder of a single node.
    Replicas {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: i32,
        /// Its replicas.
        replicas: Vec<NodeId>,
    },
    /// The records contradict each other.
    Contradiction(ReplayError),
}

impl fmt::Display for KafkaMetadataError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { kind } => write!(formatter, "a record of kind {kind} ends too early"),
            Self::Unknown { found } => write!(
                formatter,
                "expected metadata records of Apache Kafka 3.3 to 4.3, found {found}"
            ),
            Self::Field { kind, field } => {
                write!(formatter, "a record of kind {kind} has an illegal {field}")
            }
            Self::Topic { id } => {
                write!(formatter, "a record names topic {id}, which is not there")
            }
            Self::Replicas {
                topic,
                partition,
                replicas,
            } => write!(
                formatter,
                "expected a cluster of this node alone, found partition {topic}-{partition} on \
                 nodes {replicas:?}"
            ),
            Self::Contradiction(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for KafkaMetadataError {}

/// What is not taken over, and how much of it there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftBehind {
    /// Entries by what they are, in Kafka's words.
    pub counts: BTreeMap<&'static str, usize>,
}

impl LeftBehind {
    fn add(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

/// Kafka's metadata, as far as its records were read.
#[derive(Clone, Debug, Default)]
pub struct KafkaMetadata {
    topics: Topics,
    /// Values by type and name of their resource, then by key.
    configs: BTreeMap<(u8, String), BTreeMap<String, String>>,
    /// The first producer id that was not given out.
    next_producer: i64,
    quotas: BTreeMap<(QuotaEntity, QuotaKey), QuotaValue>,
    left_behind: LeftBehind,
    /// The state at the beginning of a transaction of the controller (KIP-868) that has not ended.
    before_transaction: Option<Box<Self>>,
}

impl KafkaMetadata {
    /// Takes in the value of the next record of `__cluster_metadata`, control records left out.
    ///
    /// # Errors
    /// [`KafkaMetadataError`]: nothing may be taken over then.
    pub fn take(&mut self, value: &[u8]) -> Result<(), KafkaMetadataError> {
        let mut fields = Fields::of(value);
        let frame = fields.uvarint()?;
        let (kind, version) = (fields.uvarint()?, fields.uvarint()?);
        fields.kind = kind;
        let newest = match kind {
            PARTITION | PARTITION_CHANGE => 2,
            _ => 0,
        };
        // Of what is passed over, a new version says no more to us than an old one.
        if frame != FRAME_VERSION || version > newest && !PASSED_OVER.contains(&kind) {
            return Err(KafkaMetadataError::Unknown {
                found: format!("frame {frame}, kind {kind}, version {version}"),
            });
        }
        match kind {
            TOPIC => self.topics.create(&mut fields),
            PARTITION => self.topics.add_partition(&mut fields, version),
            PARTITION_CHANGE => self.topics.change_partition(&mut fields),
            REMOVE_TOPIC => self.remove_topic(&mut fields),
            CONFIG => self.set_config(&mut fields),
            PRODUCER_IDS => self.advance_producers(&mut fields),
            CLIENT_QUOTA => self.set_quota(&mut fields),
            ACCESS_CONTROL_ENTRY => {
                self.left_behind.add("access control entries");
                Ok(())
            }
            USER_SCRAM_CREDENTIAL => {
                self.left_behind.add("SCRAM credentials");
                Ok(())
            }
            DELEGATION_TOKEN => {
                self.left_behind.add("delegation tokens");
                Ok(())
            }
            BEGIN_TRANSACTION => {
                self.before_transaction = Some(Box::new(self.clone()));
                Ok(())
            }
            END_TRANSACTION => {
                self.before_transaction = None;
                Ok(())
            }
            ABORT_TRANSACTION => {
                self.abort();
                Ok(())
            }
            CLEAR_ELR => Ok(()),
            passed_over if PASSED_OVER.contains(&passed_over) => Ok(()),
            _ => Err(KafkaMetadataError::Unknown {
                found: format!("kind {kind}"),
            }),
        }
    }

    fn abort(&mut self) {
        if let Some(before) = self.before_transaction.take() {
            *self = *before;
        }
    }

    fn remove_topic(&mut self, fields: &mut Fields<'_>) -> Result<(), KafkaMetadataError> {
        let name = self.topics.remove(fields)?;
        self.configs.remove(&(RESOURCE_TOPIC, name.to_string()));
        Ok(())
    }

    fn set_config(&mut self, fields: &mut Fields<'_>) -> Result<(), KafkaMetadataError> {
        let resource = (fields.u8()?, fields.string("resource name")?);
        let key = fields.string("key")?;
        match fields.nullable_string("value")? {
            Some(value) => {
                self.configs.entry(resource).or_default().insert(key, value);
            }
            None => {
                if let Some(values) = self.configs.get_mut(&resource) {
                    values.remove(&key);
                }
            }
        }
        Ok(())
    }

    /// A limit of a client, or its end. What is of a kind that this program does not know is counted.
    fn set_quota(&mut self, fields: &mut Fields<'_>) -> Result<(), KafkaMetadataError> {
        let (mut user, mut client, mut ip) = (None, None, None);
        let mut is_known = true;
        for _ in 0..fields.length()?.unwrap_or(0) {
            let kind = fields.string("entity type")?;
            let name = fields.nullable_string("entity name")?;
            let name = name.map_or(QuotaName::Default, QuotaName::Named);
            match QuotaKind::from_word(&kind) {
                Some(QuotaKind::User) => user = Some(name),
                Some(QuotaKind::ClientId) => client = Some(name),
                Some(QuotaKind::Ip) => ip = Some(name),
                None => is_known = false,
            }
            fields.tagged(|_, _| Ok(()))?;
        }
        let key = fields.string("quota")?;
        let (value, is_gone) = (fields.f64()?, fields.u8()? != 0);
        let entity = QuotaEntity::of(user, client, ip).filter(|_| is_known);
        let key = QuotaKey::ALL.into_iter().find(|known| known.name() == key);
        let (Some(entity), Some(key)) = (entity, key) else {
            self.left_behind.add("client quotas of an unknown kind");
            return Ok(());
        };
        match QuotaValue::new(value).filter(|_| !is_gone) {
            Some(value) => drop(self.quotas.insert((entity, key), value)),
            None => drop(self.quotas.remove(&(entity, key))),
        }
        Ok(())
    }

    fn advance_producers(&mut self, fields: &mut Fields<'_>) -> Result<(), KafkaMetadataError> {
        let (_broker, _epoch, next) = (fields.i32()?, fields.i64()?, fields.i64()?);
        self.next_producer = self.next_producer.max(next);
        Ok(())
    }

    /// The image that klamm shall have of it: topics with their ids, epochs and configurations,
    /// those of brokers, and the producer ids that were given out.
    ///
    /// # Errors
    /// [`KafkaMetadataError`], also if a partition does not lie on `node` alone.
    pub fn adopt(
        mut self,
        cluster: ClusterId,
        node: NodeId,
    ) -> Result<(Image, LeftBehind), KafkaMetadataError> {
        // The controller died in the middle: its transaction never took place.
        self.abort();
        let mut records = vec![MetadataRecord::Cluster { id: cluster }];
        let configs = std::mem::take(&mut self.configs);
        let mut of_topics: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for ((kind, name), values) in configs {
            let resource = match kind {
                RESOURCE_TOPIC => {
                    of_topics.insert(name, values);
                    continue;
                }
                RESOURCE_BROKER if name.is_empty() => Some(ConfigResource::BrokerDefault),
                RESOURCE_BROKER => name
                    .parse()
                    .ok()
                    .map(|id| ConfigResource::Broker(NodeId(id))),
                RESOURCE_GROUP if !name.is_empty() => Some(ConfigResource::Group(name)),
                _ => None,
            };
            match resource {
                Some(resource) => records.extend(set_all(&resource, values)),
                None => self.left_behind.add("configurations of clients"),
            }
        }
        if self.next_producer > 0 {
            records.push(MetadataRecord::ProducerIdsAllocated {
                next: ProducerId(self.next_producer),
            });
        }
        for ((entity, key), value) in std::mem::take(&mut self.quotas) {
            records.push(MetadataRecord::ClientQuotaSet {
                entity,
                key,
                value: Some(value),
            });
        }
        for topic in self.topics.into_list() {
            let name = topic.name.clone();
            records.extend(topic.into_records(node)?);
            if let Some(values) = of_topics.remove(name.as_str()) {
                records.extend(set_all(&ConfigResource::Topic(name), values));
            }
        }
        let mut image = Image::default();
        for record in &records {
            image
                .replay(klamm_model::MetadataOffset(0), record)
                .map_err(KafkaMetadataError::Contradiction)?;
        }
        Ok((image, self.left_behind))
    }
}

fn set_all(
    resource: &ConfigResource,
    values: BTreeMap<String, String>,
) -> impl Iterator<Item = MetadataRecord> {
    values
        .into_iter()
        .map(move |(key, value)| MetadataRecord::ConfigSet {
            resource: resource.clone(),
            key,
            value: Some(value),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_model::{LeaderEpoch, PartitionIndex, TopicPartition};

    const CLUSTER: ClusterId = ClusterId([7; 16]);

    /// A value: frame, kind, version, fields.
    fn value(kind: u8, version: u8, fields: &[&[u8]]) -> Vec<u8> {
        [&[1, kind, version], fields.concat().as_slice()].concat()
    }

    fn text(text: &str) -> Vec<u8> {
        [&[text.len() as u8 + 1], text.as_bytes()].concat()
    }

    fn topic(name: &str, id: u8) -> Vec<u8> {
        value(2, 0, &[&text(name), &[id; 16], &[0]])
    }

    /// Partition 0 on these nodes, led by the first, at leader epoch 4.
    fn partition(id: u8, nodes: &[u8]) -> Vec<u8> {
        let mut list = vec![nodes.len() as u8 + 1];
        for &node in nodes {
            list.extend([0, 0, 0, node]);
        }
        let leader = [0, 0, 0, nodes[0]];
        let (epoch, version) = ([0, 0, 0, 4], [0, 0, 0, 9]);
        let parts: [&[u8]; 11] = [
            &[0; 4],
            &[id; 16],
            &list,
            &list,
            &[1],
            &[1],
            &leader,
            &epoch,
            &version,
            &[1],
            &[0],
        ];
        value(3, 1, &parts)
    }

    /// The partition gets a new leader, or only a new list of those in sync.
    fn change(id: u8, leader: bool) -> Vec<u8> {
        let tagged: &[u8] = match leader {
            true => &[1, 1, 4, 0, 0, 0, 1],
            false => &[1, 0, 5, 2, 0, 0, 0, 1],
        };
        value(5, 2, &[&[0; 4], &[id; 16], tagged])
    }

    fn config(kind: u8, name: &str, key: &str, new: Option<&str>) -> Vec<u8> {
        let new = new.map_or_else(|| vec![0], text);
        value(4, 0, &[&[kind], &text(name), &text(key), &new, &[0]])
    }

    fn taken(values: &[Vec<u8>]) -> KafkaMetadata {
        let mut metadata = KafkaMetadata::default();
        for value in values {
            metadata.take(value).expect("a legal record");
        }
        metadata
    }

    fn image_of(values: &[Vec<u8>]) -> Image {
        let adopted = taken(values).adopt(CLUSTER, NodeId(1));
        adopted.expect("a single node's").0
    }

    #[test]
    fn topics_keep_ids_epochs_and_configurations() {
        let image = image_of(&[
            topic("flights", 5),
            partition(5, &[1]),
            change(5, true),
            change(5, false),
            config(2, "flights", "retention.ms", Some("7")),
            config(2, "flights", "segment.bytes", Some("9")),
            config(2, "flights", "segment.bytes", None),
            config(4, "", "log.retention.ms", Some("8")),
            config(4, "1", "log.cleaner.threads", Some("2")),
            value(
                15,
                0,
                &[&[0; 4], &[0; 8], &[0, 0, 0, 0, 0, 0, 3, 0xe8], &[0]],
            ),
        ]);
        let found = image.topic("flights").expect("taken over");
        assert_eq!(found.id(), TopicId([5; 16]));
        let overrides: Vec<_> = found.overrides().iter().collect();
        assert_eq!(overrides, [(&"retention.ms".to_owned(), &"7".to_owned())]);
        let partition = image.partition(TopicPartition {
            topic: found.id(),
            index: PartitionIndex(0),
        });
        let partition = partition.expect("taken over");
        // Only the change of the leader began a new reign.
        assert_eq!(partition.leader_epoch, LeaderEpoch(5));
        assert_eq!(partition.partition_epoch.0, 11);
        assert_eq!(image.broker_defaults().len(), 1);
        assert_eq!(image.next_producer(), ProducerId(1000));
    }

    #[test]
    fn quotas_hold_the_same_clients_and_removed_ones_nobody() {
        let quota = |kind: &str, name: Option<&str>, key: &str, gone: u8| {
            let name = name.map_or_else(|| vec![0], text);
            let value_of = 1024_f64.to_be_bytes();
            let parts: [&[u8]; 8] = [
                &[2],
                &text(kind),
                &name,
                &[0],
                &text(key),
                &value_of,
                &[gone],
                &[0],
            ];
            value(14, 0, &parts)
        };
        let values = [
            quota("client-id", Some("robot"), "producer_byte_rate", 0),
            quota("user", None, "consumer_byte_rate", 0),
            quota("user", None, "consumer_byte_rate", 1),
            quota("host", Some("a"), "producer_byte_rate", 0),
        ];
        let (image, left) = taken(&values).adopt(CLUSTER, NodeId(1)).expect("sound");
        let found: Vec<_> = image.client_quotas().entities().collect();
        assert_eq!(found.len(), 1);
        let (entity, limits) = found[0];
        assert_eq!(entity, &QuotaEntity::Client(QuotaName::named("robot")));
        let limit = limits.get(QuotaKey::ProducerByteRate);
        assert_eq!(limit.map(|limit| limit.get()), Some(1024.0));
        assert_eq!(
            left.counts.get("client quotas of an unknown kind"),
            Some(&1)
        );
    }

    #[test]
    fn deleted_topics_and_transactions_that_did_not_end_are_gone() {
        let begin = value(23, 0, &[&[0]]);
        let (abort, end) = (value(25, 0, &[&[0]]), value(24, 0, &[&[0]]));
        let gone = value(9, 0, &[&[1; 16], &[0]]);
        let image = image_of(&[
            topic("deleted", 1),
            config(2, "deleted", "retention.ms", Some("7")),
            gone,
            begin.clone(),
            topic("aborted", 2),
            abort,
            begin.clone(),
            topic("kept", 3),
            partition(3, &[1]),
            end,
            begin,
            topic("unfinished", 4),
        ]);
        let names: Vec<_> = image.topics().map(|topic| topic.name().as_str()).collect();
        assert_eq!(names, ["kept"]);
    }

    #[test]
    fn what_cannot_be_taken_over_is_named() {
        let several = taken(&[topic("wide", 1), partition(1, &[1, 2])]);
        let error = several.adopt(CLUSTER, NodeId(1)).expect_err("two nodes");
        assert!(error.to_string().contains("wide-0"), "{error}");
        let mut metadata = KafkaMetadata::default();
        for (unknown, part) in [
            (vec![2, 2, 0], "frame 2"),
            (vec![1, 99, 0], "kind 99"),
            (vec![1, 3, 3], "version 3"),
            (partition(9, &[1]), "not there"),
        ] {
            let error = metadata.take(&unknown).expect_err("unknown");
            assert!(error.to_string().contains(part), "{error}");
        }
        metadata.take(&[1, 18, 0]).expect("passed over");
        let (_, left) = metadata.adopt(CLUSTER, NodeId(1)).expect("empty");
        assert_eq!(left.counts.get("access control entries"), Some(&1));
    }

    #[test]
    fn no_part_of_a_record_and_no_length_it_claims_does_harm() {
        let whole = [
            topic("flights", 5),
            partition(5, &[1]),
            change(5, true),
            config(2, "flights", "retention.ms", Some("7")),
        ];
        for value in &whole {
            for end in 0..value.len() - 1 {
                let mut metadata = taken(&whole[..2]);
                // Too short, or the same without its tagged fields: never a panic.
                drop(metadata.take(&value[..end]));
            }
        }
        let huge = value(3, 0, &[&[0; 4], &[5; 16], &[0xff, 0xff, 0xff, 0xff, 0x0f]]);
        let error = KafkaMetadata::default().take(&huge);
        assert_eq!(error, Err(KafkaMetadataError::Short { kind: 3 }));
    }
}
