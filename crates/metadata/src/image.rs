//! The whole metadata at one position, immutable once shared: a clone is a pointer, and a change
//! to a clone shares with the original whatever it does not touch.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use klamm_model::{
    BrokerEpoch, ClusterId, LeaderEpoch, MetadataOffset, NodeId, PartitionEpoch, PartitionIndex,
    ProducerId, TOPIC_CONFIG_KEYS, TopicConfig, TopicId, TopicName, TopicPartition, WallTime,
};

use crate::chunked::ChunkedMap;
use crate::quota::ClientQuotas;
use crate::record::{ConfigResource, Listener, MetadataRecord, PartitionRecord};

/// Keys and values of one resource's configuration, as texts.
pub type ConfigMap = BTreeMap<String, String>;

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// The broker.
    pub node: NodeId,
    /// Version of its registration.
    pub epoch: BrokerEpoch,
    /// Random id of its process.
    pub incarnation: [u8; 16],
    /// Where it is reached.
    pub listeners: Vec<Listener>,
    /// Where it stands.
    pub rack: Option<String>,
    /// When it registered; informative.
    pub registered_at: WallTime,
}

/// A partition's registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The nodes meant to hold it, the preferred leader first.
    pub replicas: Arc<[NodeId]>,
    /// The nodes in sync.
    pub isr: Arc<[NodeId]>,
    /// Who leads, if anybody can.
    pub leader: Option<NodeId>,
    /// Reign of that leader.
    pub leader_epoch: LeaderEpoch,
    /// Version of this registration.
    pub partition_epoch: PartitionEpoch,
}

impl Partition {
    fn from_record(record: &PartitionRecord) -> Self {
        Self {
            replicas: Arc::clone(&record.replicas),
            isr: Arc::clone(&record.isr),
            leader: record.leader,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        }
    }

    /// Its leader leads it anew. At the end of the number line the epochs stay where they are:
    /// only a log that nobody can have written gets there, and replay must not fail on it.
    const fn begin_reign(&mut self) {
        self.leader_epoch = LeaderEpoch(self.leader_epoch.0.saturating_add(1));
        self.partition_epoch = PartitionEpoch(self.partition_epoch.0.saturating_add(1));
    }

    pub(crate) fn to_record(&self, partition: TopicPartition) -> PartitionRecord {
        PartitionRecord {
            topic: partition.topic,
            index: partition.index,
            replicas: Arc::clone(&self.replicas),
            isr: Arc::clone(&self.isr),
            leader: self.leader,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
        }
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    id: TopicId,
    name: TopicName,
    partitions: ChunkedMap<PartitionIndex, Partition>,
    overrides: Arc<ConfigMap>,
}

impl Topic {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> TopicId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &TopicName {
        &self.name
    }

    /// How many partitions it has, numbered from 0 without a gap.
    #[must_use]
    pub const fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// One partition.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(&index)
    }

    /// Every partition, by number.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionIndex, &Partition)> {
        self.partitions
            .iter()
            .map(|(&index, partition)| (index, partition))
    }

    /// The number of replicas of its first partition, as Kafka reports it.
    #[must_use]
    pub fn replication_factor(&self) -> usize {
        self.partition(PartitionIndex(0))
            .map_or(0, |partition| partition.replicas.len())
    }

    /// The configuration set on the topic itself.
    #[must_use]
    pub fn overrides(&self) -> &ConfigMap {
        &self.overrides
    }

    /// The configuration in force on a broker with this layer (see [`Image::broker_layer`]).
    /// Reads some fifteen keys: keep the result, do not ask per record.
    #[must_use]
    pub fn config(&self, broker_layer: &ConfigMap) -> TopicConfig {
        TopicConfig::from_layers(&self.overrides, broker_layer)
    }

    fn is_led_by(&self, node: NodeId) -> bool {
        let mut partitions = self.partitions.iter();
        partitions.any(|(_, partition)| partition.leader == Some(node))
    }

    pub(crate) fn shares_overrides(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.overrides, &other.overrides) || self.overrides == other.overrides
    }

    pub(crate) const fn partition_map(&self) -> &ChunkedMap<PartitionIndex, Partition> {
        &self.partitions
    }
}

/// A record does not fit the image: the log is damaged, or was written by a wrong program. Fatal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// The position goes back.
    Position {
        /// The image's version.
        version: MetadataOffset,
        /// The record's position.
        found: MetadataOffset,
    },
    /// The topic exists already, by name or by id.
    TopicExists {
        /// Its name.
        name: TopicName,
    },
    /// No topic has this id.
    UnknownTopic {
        /// The id.
        id: TopicId,
    },
    /// No topic has this name.
    UnknownTopicName {
        /// The name.
        name: TopicName,
    },
    /// A partition was created twice, changed before it was created, or out of order.
    Partition {
        /// Which.
        partition: TopicPartition,
    },
    /// Producer ids would be given out twice.
    ProducerIds {
        /// The next free one before.
        next: ProducerId,
        /// The one in the record.
        found: ProducerId,
    },
    /// The cluster would change its id.
    Cluster {
        /// The id in the record.
        found: ClusterId,
    },
}

impl fmt::Display for ReplayError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position { version, found } => write!(
                formatter,
                "record at position {} after position {}",
                found.0, version.0
            ),
            Self::TopicExists { name } => write!(formatter, "topic {name} is created twice"),
            Self::UnknownTopic { id } => write!(formatter, "no topic has the id {id}"),
            Self::UnknownTopicName { name } => write!(formatter, "no topic is called {name}"),
            Self::Partition { partition } => write!(
                formatter,
                "partition {partition} is created twice, out of order, or changed before creation"
            ),
            Self::ProducerIds { next, found } => {
                write!(formatter, "producer ids go back from {next} to {found}")
            }
            Self::Cluster { found } => {
                write!(formatter, "the cluster id changes to {found}")
            }
        }
    }
}

impl std::error::Error for ReplayError {}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    version: MetadataOffset,
    cluster: Option<ClusterId>,
    brokers: Arc<BTreeMap<NodeId, Broker>>,
    topics: ChunkedMap<TopicName, Arc<Topic>>,
    names: ChunkedMap<TopicId, TopicName>,
    partition_count: usize,
    broker_defaults: Arc<ConfigMap>,
    broker_overrides: Arc<BTreeMap<NodeId, ConfigMap>>,
    features: Arc<BTreeMap<String, i16>>,
    client_quotas: ClientQuotas,
    client_metrics: Arc<BTreeMap<String, ConfigMap>>,
    group_configs: ChunkedMap<String, Arc<ConfigMap>>,
    next_producer: ProducerId,
}

/// The metadata at one position. A clone costs one reference count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    inner: Arc<Inner>,
}

impl Default for Image {
    /// The image before the first record.
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                version: MetadataOffset::default(),
                cluster: None,
                brokers: Arc::default(),
                topics: ChunkedMap::default(),
                names: ChunkedMap::default(),
                partition_count: 0,
                broker_defaults: Arc::default(),
                broker_overrides: Arc::default(),
                features: Arc::default(),
                client_quotas: ClientQuotas::default(),
                client_metrics: Arc::default(),
                group_configs: ChunkedMap::default(),
                next_producer: ProducerId(0),
            }),
        }
    }
}

impl Image {
    /// Position of the last record replayed; 0 before the first.
    #[must_use]
    pub fn version(&self) -> MetadataOffset {
        self.inner.version
    }

    /// The cluster's id, once it has one.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.inner.cluster
    }

    /// The registered brokers.
    #[must_use]
    pub fn brokers(&self) -> &BTreeMap<NodeId, Broker> {
        &self.inner.brokers
    }

    /// A topic by name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.inner.topics.get(name)
    }

    /// A topic by id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        let name = self.inner.names.get(&id)?;
        self.inner.topics.get(name)
    }

    /// One partition.
    #[must_use]
    pub fn partition(&self, partition: TopicPartition) -> Option<&Partition> {
        self.topic_by_id(partition.topic)?
            .partition(partition.index)
    }

    /// Every topic, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.inner.topics.iter().map(|(_, topic)| topic)
    }

    /// Every topic whose name comes after this one, by name.
    pub fn topics_after(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        let after = self.inner.topics.iter_after(name);
        after.map(|(_, topic)| topic)
    }

    /// How many topics there are.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.inner.topics.len()
    }

    /// How many partitions all topics have together.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.inner.partition_count
    }

    /// The finalised feature levels by name. Level 0 is of one that was taken out of use, and that
    /// no start shall finalise anew.
    #[must_use]
    pub fn features(&self) -> &BTreeMap<String, i16> {
        &self.inner.features
    }

    /// What clients are held to.
    #[must_use]
    pub fn client_quotas(&self) -> &ClientQuotas {
        &self.inner.client_quotas
    }

    /// Subscriptions to metrics of clients, by name.
    #[must_use]
    pub fn client_metrics(&self) -> &BTreeMap<String, ConfigMap> {
        &self.inner.client_metrics
    }

    /// What is configured of groups, by their ids. A group that nothing is configured of is not
    /// among them.
    pub fn group_configs(&self) -> impl Iterator<Item = (&String, &ConfigMap)> {
        let all = self.inner.group_configs.iter();
        all.map(|(group, configs)| (group, &**configs))
    }

    /// What is configured of one group.
    #[must_use]
    pub fn group_config(&self, group: &str) -> Option<&ConfigMap> {
        self.inner
            .group_configs
            .get(group)
            .map(|configs| &**configs)
    }

    /// Of how many groups anything is configured.
    #[must_use]
    pub fn group_config_count(&self) -> usize {
        self.inner.group_configs.len()
    }

    /// Configuration set for all brokers.
    #[must_use]
    pub fn broker_defaults(&self) -> &ConfigMap {
        &self.inner.broker_defaults
    }

    /// Configuration set for one broker.
    #[must_use]
    pub fn broker_overrides(&self, node: NodeId) -> Option<&ConfigMap> {
        self.inner.broker_overrides.get(&node)
    }

    /// What is in force on a broker, for [`Topic::config`]: of the keys that set topics' defaults its
    /// own dynamic ones over those for all brokers over its file.
    #[must_use]
    pub fn broker_layer(&self, node: NodeId, file: &ConfigMap) -> ConfigMap {
        let mut layer = file.clone();
        let own = self.broker_overrides(node);
        for key in TOPIC_CONFIG_KEYS
            .iter()
            .filter_map(|row| row.broker_synonym)
        {
            let own = own.and_then(|keys| keys.get(key));
            if let Some(value) = own.or_else(|| self.broker_defaults().get(key)) {
                layer.insert(key.to_owned(), value.clone());
            }
        }
        layer
    }

    /// The first producer id not yet given out.
    #[must_use]
    pub fn next_producer(&self) -> ProducerId {
        self.inner.next_producer
    }

    /// True if both are the same memory: a cheap way to see that nothing changed.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// True if the node leads any partition.
    #[must_use]
    pub fn leads_any(&self, node: NodeId) -> bool {
        self.topics().any(|topic| topic.is_led_by(node))
    }

    pub(crate) fn topic_map(&self) -> &ChunkedMap<TopicName, Arc<Topic>> {
        &self.inner.topics
    }

    pub(crate) fn group_config_map(&self) -> &ChunkedMap<String, Arc<ConfigMap>> {
        &self.inner.group_configs
    }

    pub(crate) fn all_broker_overrides(&self) -> &BTreeMap<NodeId, ConfigMap> {
        &self.inner.broker_overrides
    }

    /// Changes the image by one record. Records of one payload share its position.
    ///
    /// # Errors
    /// If the record does not fit; the image is then of no more use.
    pub fn replay(
        &mut self,
        position: MetadataOffset,
        record: &MetadataRecord,
    ) -> Result<(), ReplayError> {
        let inner = Arc::make_mut(&mut self.inner);
        if position < inner.version {
            return Err(ReplayError::Position {
                version: inner.version,
                found: position,
            });
        }
        inner.replay(position, record)?;
        inner.version = position;
        Ok(())
    }

    /// Notes that everything up to `position` is replayed, where a payload had no records.
    pub fn advance(&mut self, position: MetadataOffset) {
        if position > self.inner.version {
            Arc::make_mut(&mut self.inner).version = position;
        }
    }
}

impl Inner {
    fn replay(
        &mut self,
        position: MetadataOffset,
        record: &MetadataRecord,
    ) -> Result<(), ReplayError> {
        match record {
            MetadataRecord::Cluster { id } => {
                if self.cluster.is_some_and(|known| known != *id) {
                    return Err(ReplayError::Cluster { found: *id });
                }
                self.cluster = Some(*id);
            }
            MetadataRecord::BrokerRegistered {
                node,
                incarnation,
                listeners,
                rack,
                epoch,
                registered_at,
            } => {
                let broker = Broker {
                    node: *node,
                    epoch: epoch.unwrap_or(BrokerEpoch(position.0)),
                    incarnation: *incarnation,
                    listeners: listeners.clone(),
                    rack: rack.clone(),
                    registered_at: *registered_at,
                };
                Arc::make_mut(&mut self.brokers).insert(*node, broker);
            }
            MetadataRecord::TopicCreated { id, name } => self.create_topic(*id, name)?,
            MetadataRecord::PartitionCreated(record) => self.create_partition(record)?,
            MetadataRecord::PartitionChanged(record) => self.change_partition(record)?,
            MetadataRecord::TopicDeleted { id } => self.delete_topic(*id)?,
            MetadataRecord::ConfigSet {
                resource,
                key,
                value,
            } => self.set_config(resource, key, value.as_deref())?,
            MetadataRecord::ProducerIdsAllocated { next } => {
                if *next < self.next_producer {
                    return Err(ReplayError::ProducerIds {
                        next: self.next_producer,
                        found: *next,
                    });
                }
                self.next_producer = *next;
            }
            MetadataRecord::LeaderEpochsRaised { leader } => self.raise_leader_epochs(*leader),
            MetadataRecord::ClientQuotaSet { entity, key, value } => {
                self.client_quotas.set(entity, *key, *value);
            }
            MetadataRecord::FeatureLevel { name, level } => {
                Arc::make_mut(&mut self.features).insert(name.clone(), *level);
            }
        }
        Ok(())
    }

    fn create_topic(&mut self, id: TopicId, name: &TopicName) -> Result<(), ReplayError> {
        if self.topics.contains(name) || self.names.contains(&id) {
            return Err(ReplayError::TopicExists { name: name.clone() });
        }
        let topic = Topic {
            id,
            name: name.clone(),
            partitions: ChunkedMap::default(),
            overrides: Arc::default(),
        };
        self.topics.insert(name.clone(), Arc::new(topic));
        self.names.insert(id, name.clone());
        Ok(())
    }

    fn topic_mut(&mut self, id: TopicId) -> Result<&mut Topic, ReplayError> {
        self.names
            .get(&id)
            .and_then(|name| self.topics.get_mut(name))
            .map(Arc::make_mut)
            .ok_or(ReplayError::UnknownTopic { id })
    }

    fn create_partition(&mut self, record: &PartitionRecord) -> Result<(), ReplayError> {
        let topic = self.topic_mut(record.topic)?;
        if usize::try_from(record.index.0) != Ok(topic.partitions.len()) {
            return Err(ReplayError::Partition {
                partition: record.partition(),
            });
        }
        topic
            .partitions
            .insert(record.index, Partition::from_record(record));
        self.partition_count += 1;
        Ok(())
    }

    fn change_partition(&mut self, record: &PartitionRecord) -> Result<(), ReplayError> {
        let topic = self.topic_mut(record.topic)?;
        match topic.partitions.get_mut(&record.index) {
            Some(partition) => {
                *partition = Partition::from_record(record);
                Ok(())
            }
            None => Err(ReplayError::Partition {
                partition: record.partition(),
            }),
        }
    }

    fn raise_leader_epochs(&mut self, leader: NodeId) {
        let led = |partition: &Partition| partition.leader == Some(leader);
        self.topics.change_where(
            |topic| topic.is_led_by(leader),
            |topic| {
                let partitions = &mut Arc::make_mut(topic).partitions;
                partitions.change_where(led, Partition::begin_reign);
            },
        );
    }

    fn delete_topic(&mut self, id: TopicId) -> Result<(), ReplayError> {
        let name = self
            .names
            .remove(&id)
            .ok_or(ReplayError::UnknownTopic { id })?;
        let topic = self
            .topics
            .remove(&name)
            .ok_or(ReplayError::UnknownTopicName { name })?;
        self.partition_count -= topic.partition_count();
        Ok(())
    }

    fn set_config(
        &mut self,
        resource: &ConfigResource,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), ReplayError> {
        let map = match resource {
            ConfigResource::Group(name) => {
                self.set_group_config(name, key, value);
                return Ok(());
            }
            ConfigResource::BrokerDefault => Arc::make_mut(&mut self.broker_defaults),
            ConfigResource::Broker(node) => {
                let all = Arc::make_mut(&mut self.broker_overrides);
                all.entry(*node).or_default()
            }
            ConfigResource::Topic(name) => {
                let topic = self.topics.get_mut(name).map(Arc::make_mut);
                let topic =
                    topic.ok_or_else(|| ReplayError::UnknownTopicName { name: name.clone() })?;
                Arc::make_mut(&mut topic.overrides)
            }
            ConfigResource::ClientMetrics(name) => {
                let all = Arc::make_mut(&mut self.client_metrics);
                all.entry(name.clone()).or_default()
            }
        };
        match value {
            Some(value) => map.insert(key.to_owned(), value.to_owned()),
            None => map.remove(key),
        };
        // An empty map and no map must not be two states: a snapshot could not tell them apart.
        if let ConfigResource::Broker(node) = resource
            && self
                .broker_overrides
                .get(node)
                .is_some_and(BTreeMap::is_empty)
        {
            Arc::make_mut(&mut self.broker_overrides).remove(node);
        }
        if let ConfigResource::ClientMetrics(name) = resource
            && self
                .client_metrics
                .get(name)
                .is_some_and(BTreeMap::is_empty)
        {
            Arc::make_mut(&mut self.client_metrics).remove(name);
        }
        Ok(())
    }

    fn set_group_config(&mut self, group: &str, key: &str, value: Option<&str>) {
        let known = self.group_configs.get(group);
        let mut configs = known.map_or_else(ConfigMap::new, |configs| (**configs).clone());
        match value {
            Some(value) => configs.insert(key.to_owned(), value.to_owned()),
            None => configs.remove(key),
        };
        if configs.is_empty() {
            self.group_configs.remove(group);
        } else {
            let group = group.to_owned();
            self.group_configs.insert(group, Arc::new(configs));
        }
    }
}

impl PartitionRecord {
    /// Which partition it is about.
    #[must_use]
    pub const fn partition(&self) -> TopicPartition {
        TopicPartition {
            topic: self.topic,
            index: self.index,
        }
    }
}
