//! klamm's vocabulary: ids, offsets, epochs, error codes, batch headers as plain data, topic
//! configuration, and the ceilings that every room respects.
//!
//! A type lives here only when two or more rooms need it. No behaviour beyond constructors,
//! parsing and arithmetic; no I/O, no clock, no allocation policy.
//!
//! Ends are exclusive: every `*_end`, `high_watermark` and `last_stable` names the first position
//! that is *not* covered.
#![forbid(unsafe_code)]

mod batch;
mod epochs;
mod error_code;
mod group_config;
mod group_place;
mod host_port;
mod ids;
pub mod limits;
mod offsets;
mod policy;
mod producer;
mod random;
mod time;
mod topic_config;
mod topic_name;

pub use batch::{Attributes, BatchHeader, Compression, TimestampType};
pub use epochs::{BrokerEpoch, LeaderEpoch, PartitionEpoch};
pub use error_code::{ErrorCode, Retriability};
pub use group_config::{
    GROUP_CONFIG_BOUNDS, GROUP_CONFIG_KEYS, GroupConfigKey, check_group_config, group_config_key,
};
pub use group_place::partition_of_group;
pub use host_port::HostPort;
pub use ids::{ClusterId, NodeId, ParseIdError, PartitionIndex, ShardId, TopicId, TopicPartition};
pub use offsets::{Cursors, MetadataOffset, Offset, OffsetDelta};
pub use policy::{Acks, Durability, IsolationLevel, UnknownAcks};
pub use producer::{ProducerEpoch, ProducerId, ProducerStamp, Sequence};
pub use random::Random;
pub use time::{Instant, Timestamp, WallTime};
pub use topic_config::{
    CleanupPolicy, ConfigDefault, ConfigKind, ConfigValueError, Served, Shown, TOPIC_CONFIG_KEYS,
    TopicCompression, TopicConfig, TopicConfigKey, check_config_value, topic_config_key,
};
pub use topic_name::{OFFSETS_TOPIC, TopicName, TopicNameError};
