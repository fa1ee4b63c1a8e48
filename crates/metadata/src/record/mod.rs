//! Metadata records: what one decision of the controller changed. Their bytes are in `codec.rs`.

mod codec;

use std::sync::Arc;

use klamm_model::{
    BrokerEpoch, ClusterId, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, ProducerId,
    TopicId, TopicName, WallTime,
};

pub(crate) use codec::size_hint;
pub use codec::{RecordError, decode, encode};

use crate::quota::{QuotaEntity, QuotaKey, QuotaValue};

/// Where clients or brokers reach a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The listener's name, for example `PLAINTEXT`.
    pub name: String,
    /// The advertised host.
    pub host: String,
    /// The advertised port.
    pub port: u16,
}

/// What a configuration key belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    /// All brokers (Kafka's default broker resource).
    BrokerDefault,
    /// One broker.
    Broker(NodeId),
    /// One topic.
    Topic(TopicName),
    /// A subscription to metrics of clients (KIP-714).
    ClientMetrics(String),
    /// A group, by its id; whether there is one or not.
    Group(String),
}

/// The registration of one partition, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRecord {
    /// Its topic.
    pub topic: TopicId,
    /// Its number in the topic.
    pub index: PartitionIndex,
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

/// One change of the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataRecord {
    /// The cluster got its id.
    Cluster {
        /// The id.
        id: ClusterId,
    },
    /// A broker registered, or registered again.
    BrokerRegistered {
        /// The broker.
        node: NodeId,
        /// Random id of the broker's process.
        incarnation: [u8; 16],
        /// Where it is reached.
        listeners: Vec<Listener>,
        /// Where it stands, for placement.
        rack: Option<String>,
        /// Its epoch; `None` means the position of this record, known only once it is written.
        epoch: Option<BrokerEpoch>,
        /// When it registered; informative.
        registered_at: WallTime,
    },
    /// A topic exists; its partitions follow in the same decision.
    TopicCreated {
        /// Its id.
        id: TopicId,
        /// Its name.
        name: TopicName,
    },
    /// A partition exists.
    PartitionCreated(PartitionRecord),
    /// A partition's registration is now this.
    PartitionChanged(PartitionRecord),
    /// A topic, its partitions and its configuration are gone.
    TopicDeleted {
        /// The topic.
        id: TopicId,
    },
    /// A configuration key was set, or removed.
    ConfigSet {
        /// Of what.
        resource: ConfigResource,
        /// The key.
        key: String,
        /// The value; `None` removes the key.
        value: Option<String>,
    },
    /// A quota of clients was set, or removed (KIP-546).
    ClientQuotaSet {
        /// Whose.
        entity: QuotaEntity,
        /// Of what.
        key: QuotaKey,
        /// The limit; `None` removes it.
        value: Option<QuotaValue>,
    },
    /// Producer ids below this one are given out.
    ProducerIdsAllocated {
        /// The next free one.
        next: ProducerId,
    },
    /// A node that leads partitions lives anew: each of them begins a new reign, and its leader
    /// epoch and partition epoch grow by one (KIP-320: who acts on an older reign is fenced). One
    /// record for all of them, because a record for each would make every start of a node with
    /// 100 000 partitions write megabytes.
    LeaderEpochsRaised {
        /// The leader.
        leader: NodeId,
    },
    /// A feature's level was finalised.
    FeatureLevel {
        /// The feature, for example `metadata.version`.
        name: String,
        /// Its level; 0 removes the feature.
        level: i16,
    },
}
