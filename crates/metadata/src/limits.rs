//! Ceilings of this room alone; those shared with others are in `klamm_model::limits`.

/// Most records that one command may cause: all partitions of the largest CreateTopics, and twice
/// as many for topics and their configuration (M37: one huge request must not topple the quorum).
pub const OPERATION_RECORDS_MAX: usize = 3 * klamm_model::limits::CREATE_PARTITIONS_MAX;

/// Most encoded bytes that one command may cause.
pub const OPERATION_BYTES_MAX: usize = 48 * 1024 * 1024;

/// Longest configuration value in bytes, as Kafka has it.
pub const CONFIG_VALUE_BYTES_MAX: usize = 32_767;

/// Most keys that are set while brokers run, of one of them or of all: several times as many as
/// there are. Names that no key has are kept as well.
pub const BROKER_KEYS_MAX: usize = 2_000;

/// Most replicas of one partition.
pub const REPLICAS_MAX: usize = 128;

/// Most producer ids in one block.
pub const PRODUCER_ID_BLOCK_MAX: u32 = 1_000_000;

/// Most listeners that one broker may register.
pub const LISTENERS_MAX: usize = 64;

/// Most partitions of one cluster.
pub const CLUSTER_PARTITIONS_MAX: usize = 4_000_000;

/// Most entities that have quotas. One answer of DescribeClientQuotas may name them all.
pub const QUOTA_ENTITIES_MAX: usize = 20_000;

/// Longest name of a user, client or address in a quota, in bytes.
pub const QUOTA_NAME_BYTES_MAX: usize = 512;

/// Most groups of which anything is configured.
pub const GROUP_CONFIGS_MAX: usize = 10_000;

/// Longest name of a group of which anything is configured, in bytes.
pub const GROUP_NAME_BYTES_MAX: usize = 512;

/// Longest value of a group's key, in bytes.
pub const GROUP_VALUE_BYTES_MAX: usize = 100;

/// Most subscriptions to metrics of clients.
pub const CLIENT_METRICS_MAX: usize = 1_000;
