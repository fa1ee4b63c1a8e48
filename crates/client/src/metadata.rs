//! What the client knows of the cluster: brokers, topics, leaders. Replaced topic by topic by
//! Metadata answers, corrected by the leader hints of Produce and Fetch answers (KIP-951).

use std::collections::BTreeMap;
use std::fmt;

use klamm_model::{ErrorCode, HostPort, LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName};
use klamm_wire::metadata;

use crate::error::check;

/// One partition of one topic, by the topic's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionName {
    /// The topic.
    pub topic: TopicName,
    /// The partition's number inside it.
    pub index: PartitionIndex,
}

impl PartitionName {
    /// Names a partition.
    #[must_use]
    pub const fn new(topic: TopicName, index: PartitionIndex) -> Self {
        Self { topic, index }
    }
}

impl fmt::Display for PartitionName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.topic, self.index)
    }
}

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: NodeId,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Rack, if it has one.
    pub rack: Option<String>,
}

impl fmt::Display for Broker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.host.as_str(), self.port);
        HostPort { host, port }.fmt(formatter)
    }
}

/// A partition as a broker described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its number.
    pub index: PartitionIndex,
    /// What is wrong with it, if anything.
    pub error: Option<ErrorCode>,
    /// Its leader, if it has one.
    pub leader: Option<NodeId>,
    /// The leader's reign; -1 where the version does not tell.
    pub leader_epoch: LeaderEpoch,
    /// The nodes meant to hold it; the first is preferred as leader.
    pub replicas: Vec<NodeId>,
    /// Those of them that are in sync.
    pub isr: Vec<NodeId>,
    /// Those of them that are offline.
    pub offline: Vec<NodeId>,
}

/// A topic as a broker described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: TopicName,
    /// Its id; zero where the version does not tell.
    pub id: TopicId,
    /// True for topics that Kafka keeps for itself.
    pub internal: bool,
    /// What is wrong with it, if anything.
    pub error: Option<ErrorCode>,
    /// Its partitions in the order of their numbers.
    pub partitions: Vec<PartitionInfo>,
}

impl TopicInfo {
    /// The partition with this number.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionInfo> {
        let at = self
            .partitions
            .binary_search_by_key(&index, |partition| partition.index)
            .ok()?;
        self.partitions.get(at)
    }

    fn from_view(view: &metadata::MetadataResponseTopicView<'_>) -> Option<Self> {
        // A name that no broker could have accepted is not worth a place in the cache.
        let name = TopicName::new(view.name()?).ok()?;
        let nodes = |list: klamm_wire::Array<'_, i32>| list.iter().map(NodeId).collect();
        let mut partitions: Vec<PartitionInfo> = view
            .partitions()
            .iter()
            .filter(|partition| partition.partition_index() >= 0)
            .map(|partition| PartitionInfo {
                index: PartitionIndex(partition.partition_index()),
                error: check(partition.error_code()).err(),
                leader: Some(partition.leader_id())
                    .filter(|&id| id >= 0)
                    .map(NodeId),
                leader_epoch: LeaderEpoch(partition.leader_epoch()),
                replicas: nodes(partition.replica_nodes()),
                isr: nodes(partition.isr_nodes()),
                offline: nodes(partition.offline_replicas()),
            })
            .collect();
        partitions.sort_by_key(|partition| partition.index);
        partitions.dedup_by_key(|partition| partition.index);
        Some(Self {
            name,
            id: TopicId(view.topic_id()),
            internal: view.is_internal(),
            error: check(view.error_code()).err(),
            partitions,
        })
    }
}

/// The client's picture of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's id.
    pub id: Option<String>,
    /// The broker that takes administrative requests.
    pub controller: Option<NodeId>,
    brokers: BTreeMap<NodeId, Broker>,
    topics: BTreeMap<TopicName, TopicInfo>,
}

impl Cluster {
    /// Takes an answer: brokers are replaced, topics that it names too. Gives the topics named,
    /// those with an error included; they leave the cache.
    pub fn apply(&mut self, view: &metadata::ResponseView<'_>) -> Vec<TopicInfo> {
        self.id = view.cluster_id().map(str::to_owned);
        self.controller = Some(view.controller_id()).filter(|&id| id >= 0).map(NodeId);
        let brokers = view.brokers().iter().filter_map(|row| {
            let id = NodeId(row.node_id());
            let broker = Broker {
                id,
                host: row.host().to_owned(),
                port: u16::try_from(row.port()).ok()?,
                rack: row.rack().map(str::to_owned),
            };
            Some((id, broker))
        });
        self.brokers = brokers.collect();
        let mut named = Vec::new();
        for row in view.topics() {
            let Some(topic) = TopicInfo::from_view(&row) else {
                continue;
            };
            match topic.error {
                Some(_) => self.topics.remove(&topic.name),
                None => self.topics.insert(topic.name.clone(), topic.clone()),
            };
            named.push(topic);
        }
        named
    }

    /// All brokers in the order of their ids.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values()
    }

    /// The broker with this id.
    #[must_use]
    pub fn broker(&self, id: NodeId) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// All topics known, by name.
    pub fn topics(&self) -> impl Iterator<Item = &TopicInfo> {
        self.topics.values()
    }

    /// The topic with this name, if it is known.
    #[must_use]
    pub fn topic(&self, name: &TopicName) -> Option<&TopicInfo> {
        self.topics.get(name)
    }

    /// The topic with this id, if it is known.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&TopicInfo> {
        self.topics.values().find(|topic| topic.id == id)
    }

    /// What is known of a partition.
    #[must_use]
    pub fn partition(&self, name: &PartitionName) -> Option<&PartitionInfo> {
        self.topics.get(&name.topic)?.partition(name.index)
    }

    /// Leader of a partition, if it is known and its address too.
    #[must_use]
    pub fn leader(&self, name: &PartitionName) -> Option<NodeId> {
        let leader = self.partition(name)?.leader?;
        self.brokers.contains_key(&leader).then_some(leader)
    }

    /// Forgets a partition's leader: whoever answered said that it is not.
    pub fn forget_leader(&mut self, name: &PartitionName) {
        if let Some(partition) = self.partition_mut(name) {
            partition.leader = None;
        }
    }

    /// Takes a leader from a Produce or Fetch answer, unless an older reign than the known one.
    pub fn hint_leader(&mut self, name: &PartitionName, leader: NodeId, epoch: LeaderEpoch) {
        if let Some(partition) = self.partition_mut(name)
            && epoch >= partition.leader_epoch
        {
            partition.leader = Some(leader);
            partition.leader_epoch = epoch;
        }
    }

    fn partition_mut(&mut self, name: &PartitionName) -> Option<&mut PartitionInfo> {
        let partitions = &mut self.topics.get_mut(&name.topic)?.partitions;
        let at = partitions
            .binary_search_by_key(&name.index, |partition| partition.index)
            .ok()?;
        partitions.get_mut(at)
    }
}

/// A Metadata request about `topics`, or about all of them. Topics are never created by it.
#[must_use]
pub fn request(topics: Option<&[TopicName]>) -> metadata::Request<'static> {
    let topics = topics.map(|names| {
        let name = |name: &TopicName| metadata::MetadataRequestTopic {
            name: Some(name.as_str().to_owned().into()),
            ..Default::default()
        };
        names.iter().map(name).collect()
    });
    metadata::Request {
        topics,
        allow_auto_topic_creation: false,
        ..Default::default()
    }
}
