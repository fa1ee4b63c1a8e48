//! What the broker's configuration says about groups.

use std::time::Duration;

use super::consumer::config::ConsumerConfig;

/// The bounds within which groups live. Each field is one key of Kafka's, its default Kafka's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max: Duration,
    /// `group.initial.rebalance.delay.ms`: for how long the first round of an empty group waits for
    /// more members.
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`: most members of one group.
    pub members_max: usize,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_check_interval: Duration,
    /// What concerns groups of the consumer protocol alone.
    pub consumer: ConsumerConfig,
    /// Most bytes of keys and values that one batch of the partition takes, its `max.message.bytes`
    /// less what batches and records add.
    pub batch_bytes_max: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(1_800),
            initial_rebalance_delay: Duration::from_secs(3),
            members_max: i32::MAX as usize,
            offset_metadata_bytes_max: 4_096,
            offsets_retention: Duration::from_secs(10_080 * 60),
            offsets_check_interval: Duration::from_secs(600),
            consumer: ConsumerConfig::default(),
            batch_bytes_max: 1_000_000,
        }
    }
}
