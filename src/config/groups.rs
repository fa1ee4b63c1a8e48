//! What the file says about groups and about the topic that keeps them.

use std::collections::BTreeMap;

use klamm_model::{Compression, GROUP_CONFIG_BOUNDS, GROUP_CONFIG_KEYS};
use klamm_shard::api::coord::{Assignor, MigrationPolicy};

use super::reader::Reader;

/// Groups, as the file configures them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`.
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_ms_max: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`.
    pub members_max: i32,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_bytes_max: i32,
    /// `offsets.retention.minutes`.
    pub offsets_retention_minutes: i32,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_ms: u64,
    /// `offsets.topic.num.partitions`.
    pub topic_partitions: i32,
    /// `offsets.topic.segment.bytes`.
    pub topic_segment_bytes: i32,
    /// `offsets.topic.compression.codec`.
    pub topic_codec: Compression,
    /// Groups of the consumer protocol.
    pub consumer: ConsumerGroupSettings,
    /// `klamm.group.lag.interval.ms`.
    pub lag_interval_ms: u64,
    /// `klamm.group.stuck.ms`.
    pub stuck_ms: u64,
    /// Defaults of the keys of single groups, and their bounds, by the names of the broker keys.
    pub layer: BTreeMap<String, String>,
}

/// Groups of the consumer protocol (KIP-848), as the file configures them. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupSettings {
    /// `group.coordinator.rebalance.protocols` names it.
    pub is_enabled: bool,
    /// `group.consumer.session.timeout.ms`, with its `min` and `max`.
    pub session_timeout: Bounded,
    /// `group.consumer.heartbeat.interval.ms`, with its `min` and `max`.
    pub heartbeat_interval: Bounded,
    /// `group.consumer.assignment.interval.ms`, with its `min` and `max`.
    pub assignment_interval: Bounded,
    /// `group.consumer.regex.refresh.interval.ms`.
    pub regex_refresh_interval_ms: i32,
    /// `group.consumer.max.size`.
    pub members_max: i32,
    /// `group.consumer.assignors`, the default first.
    pub assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`.
    pub migration: MigrationPolicy,
}

/// A default of groups, and the bounds of what they set themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounded {
    /// Where the group sets nothing.
    pub default: i32,
    /// The least.
    pub min: i32,
    /// The most.
    pub max: i32,
}

/// Reads the keys of groups.
pub(super) fn read_groups(reader: &mut Reader<'_>) -> GroupSettings {
    let codec_key = "offsets.topic.compression.codec";
    let codec: i32 = reader.number(codec_key);
    let topic_codec = Compression::ALL
        .into_iter()
        .find(|known| i32::from(known.number()) == codec);
    if topic_codec.is_none() {
        reader.refuse(
            codec_key,
            format!("no codec has the number {codec}"),
            "use 0 (none), 1 (gzip), 2 (snappy), 3 (lz4) or 4 (zstd)".to_owned(),
        );
    }
    let consumer = read_consumer(reader);
    let layer = read_layer(reader);
    GroupSettings {
        session_timeout_ms_min: reader.number("group.min.session.timeout.ms"),
        session_timeout_ms_max: reader.number("group.max.session.timeout.ms"),
        initial_rebalance_delay_ms: reader.number("group.initial.rebalance.delay.ms"),
        members_max: reader.number("group.max.size"),
        offset_metadata_bytes_max: reader.number("offset.metadata.max.bytes"),
        offsets_retention_minutes: reader.number("offsets.retention.minutes"),
        offsets_retention_check_ms: reader.number("offsets.retention.check.interval.ms"),
        topic_partitions: reader.number("offsets.topic.num.partitions"),
        topic_segment_bytes: reader.number("offsets.topic.segment.bytes"),
        topic_codec: topic_codec.unwrap_or(Compression::None),
        consumer,
        lag_interval_ms: reader.number("klamm.group.lag.interval.ms"),
        stuck_ms: reader.number("klamm.group.stuck.ms"),
        layer,
    }
}

const PROTOCOLS: &str = "group.coordinator.rebalance.protocols";
const ASSIGNORS: &str = "group.consumer.assignors";

fn read_consumer(reader: &mut Reader<'_>) -> ConsumerGroupSettings {
    let protocols = reader.list(PROTOCOLS);
    let has = |name: &str| protocols.iter().any(|protocol| protocol == name);
    if !has("classic") {
        reader.refuse(
            PROTOCOLS,
            "Disabling the 'classic' protocol is not supported.".to_owned(),
            "name classic, too".to_owned(),
        );
    }
    let policy = reader.text("group.consumer.migration.policy");
    let bounded = |reader: &mut Reader<'_>, name: &str| Bounded {
        default: reader.number(&format!("group.consumer.{name}")),
        min: reader.number(&format!("group.consumer.min.{name}")),
        max: reader.number(&format!("group.consumer.max.{name}")),
    };
    ConsumerGroupSettings {
        is_enabled: has("consumer"),
        session_timeout: bounded(reader, "session.timeout.ms"),
        heartbeat_interval: bounded(reader, "heartbeat.interval.ms"),
        assignment_interval: bounded(reader, "assignment.interval.ms"),
        regex_refresh_interval_ms: reader.number("group.consumer.regex.refresh.interval.ms"),
        members_max: reader.number("group.consumer.max.size"),
        assignors: read_assignors(reader),
        migration: policy
            .and_then(|name| MigrationPolicy::named(&name))
            .unwrap_or(MigrationPolicy::Bidirectional),
    }
}

/// Assignors by their names, or by those of Apache Kafka's classes.
fn read_assignors(reader: &mut Reader<'_>) -> Vec<Assignor> {
    let mut assignors = Vec::new();
    for name in reader.list(ASSIGNORS) {
        let plain = match name.as_str() {
            "org.apache.kafka.coordinator.group.assignor.UniformAssignor" => "uniform",
            "org.apache.kafka.coordinator.group.assignor.RangeAssignor" => "range",
            other => other,
        };
        match Assignor::named(plain) {
            Some(assignor) if !assignors.contains(&assignor) => assignors.push(assignor),
            Some(_) => {}
            None => reader.refuse(
                ASSIGNORS,
                format!("no assignor is called {name}, and klamm runs no Java classes"),
                "name uniform, range, or both".to_owned(),
            ),
        }
    }
    if assignors.is_empty() && !reader.has_problem_with(ASSIGNORS) {
        reader.refuse(
            ASSIGNORS,
            "no assignor is named".to_owned(),
            "name uniform, range, or both".to_owned(),
        );
    }
    assignors
}

/// The defaults of the keys of single groups, each within its bounds.
fn read_layer(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let defaults = GROUP_CONFIG_KEYS
        .iter()
        .filter_map(|row| row.broker_synonym);
    let bounds = GROUP_CONFIG_BOUNDS.iter();
    let bounds = bounds.flat_map(|(_, min, max)| min.iter().chain([max]));
    let mut layer = BTreeMap::new();
    for name in defaults.chain(bounds.copied()) {
        if let Some(text) = reader.text(name) {
            layer.insert(name.to_owned(), text);
        }
    }
    for (key, min, max) in GROUP_CONFIG_BOUNDS {
        let row = GROUP_CONFIG_KEYS.iter().find(|row| row.name == *key);
        let Some(default) = row.and_then(|row| row.broker_synonym) else {
            continue;
        };
        if let Some(min) = min {
            keep_order(reader, min, max);
            keep_order(reader, min, default);
        }
        keep_order(reader, default, max);
    }
    for kind in ["consumer", "share", "streams"] {
        let [heartbeat, session] = ["heartbeat.interval.ms", "session.timeout.ms"]
            .map(|name| format!("group.{kind}.{name}"));
        let (between, silent): (i32, i32) = (reader.number(&heartbeat), reader.number(&session));
        if between >= silent {
            reader.refuse(
                &heartbeat,
                format!("{heartbeat} must be less than {session}, but {between} is not less than {silent}"),
                format!("give it less than {silent}, or give {session} more"),
            );
        }
    }
    layer
}

/// Refuses a larger number that is smaller than the one that it may not be smaller than.
fn keep_order(reader: &mut Reader<'_>, low: &str, high: &str) {
    let (least, most): (i32, i32) = (reader.number(low), reader.number(high));
    if most < least {
        reader.refuse(
            high,
            format!(
                "{high} must be greater than or equal to {low}, but {most} is less than {least}"
            ),
            format!("give it {least} or more, or give {low} less"),
        );
    }
}
