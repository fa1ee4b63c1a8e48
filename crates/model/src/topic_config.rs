//! Topic configuration: one row per key (name, kind, range, default, broker synonym, meaning), and
//! the typed form that the rooms read. The controller validates by these rows, DescribeConfigs and
//! the reference documentation show them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::{Compression, Durability, TimestampType};

/// The type of a configuration value, with its legal range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ConfigKind {
    /// `true` or `false`.
    Bool,
    /// 16-bit number, at least this.
    Short {
        /// Smallest legal value.
        min: i16,
    },
    /// 32-bit number, at least this.
    Int {
        /// Smallest legal value.
        min: i32,
    },
    /// 32-bit number between two ends.
    IntBetween {
        /// Smallest legal value.
        min: i32,
        /// Largest legal value.
        max: i32,
    },
    /// 32-bit number between two ends, or one outside them that means the codec's own choice.
    IntBetweenOr {
        /// Smallest legal value of the range.
        min: i32,
        /// Largest legal value of the range.
        max: i32,
        /// Legal as well.
        or: i32,
    },
    /// 64-bit number, at least this.
    Long {
        /// Smallest legal value.
        min: i64,
    },
    /// Fraction between 0 and 1.
    Ratio,
    /// Any number with a fraction.
    Double,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Words of these, separated by commas.
    Words(&'static [&'static str]),
    /// Any text.
    Text,
    /// Any texts, separated by commas.
    List,
    /// Name of a class of Apache Kafka.
    Class,
    /// Text that is never shown.
    Password,
}

/// Where a key's default comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ConfigDefault {
    /// A fixed text.
    Fixed(&'static str),
}

/// What klamm does with a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Acts by it.
    Obeyed,
    /// Accepts it and does nothing, because klamm is built without the thing that it tunes.
    Architecture,
    /// Accepts it and does nothing, because what it tunes is not served yet.
    NotYet,
}

impl Served {
    /// How every sentence about a value without effect begins: clients find it in the
    /// documentation of DescribeConfigs, and the command line recognises it there.
    pub const WITHOUT_EFFECT: &str = "No effect";

    /// A sentence for keys whose values have no effect; `None` for the others.
    #[must_use]
    pub const fn note(self) -> Option<&'static str> {
        match self {
            Self::Obeyed => None,
            Self::Architecture => Some("No effect: klamm is built without what this tunes."),
            Self::NotYet => Some("No effect yet: what this tunes is not served."),
        }
    }
}

/// Whether clients are told of a topic key that nobody set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Always.
    Always,
    /// In answers about configuration, but not in CreateTopics: Apache Kafka does not know the
    /// key, and programs look up what that answer holds in Kafka's own table.
    WhenAsked,
    /// Only where the topic sets it: Kafka's internal keys.
    WhenSet,
}

/// One row of the topic configuration table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopicConfigKey {
    /// The key, as in CreateTopics.
    pub name: &'static str,
    /// Type and range.
    pub kind: ConfigKind,
    /// Kafka's default.
    pub default: ConfigDefault,
    /// The broker key that sets the default for topics without this key, if there is one.
    pub broker_synonym: Option<&'static str>,
    /// What klamm does with it.
    pub served: Served,
    /// Whether clients are told of it where nobody set it.
    pub shown: Shown,
    /// What it does, in one sentence.
    pub documentation: &'static str,
}

impl TopicConfigKey {
    const fn no_need(self) -> Self {
        Self {
            served: Served::Architecture,
            ..self
        }
    }

    const fn not_yet(self) -> Self {
        Self {
            served: Served::NotYet,
            ..self
        }
    }

    const fn shown(self, shown: Shown) -> Self {
        Self { shown, ..self }
    }

    /// The default as text.
    #[must_use]
    pub const fn default_text(&self) -> &'static str {
        match self.default {
            ConfigDefault::Fixed(text) => text,
        }
    }

    /// Checks a value against kind and range.
    ///
    /// # Errors
    /// Key, value and the rule that it breaks, in the words that Kafka uses.
    pub fn check(&self, value: &str) -> Result<(), ConfigValueError> {
        check_config_value(self.name, self.kind, value)
    }
}

/// A configuration value that is not of its key's type or range (`INVALID_CONFIG`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigValueError {
    /// The key.
    pub key: String,
    /// The value that was given.
    pub value: String,
    /// The rule that it breaks.
    pub rule: String,
}

impl fmt::Display for ConfigValueError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Invalid value {} for configuration {}: {}",
            self.value, self.key, self.rule
        )
    }
}

impl std::error::Error for ConfigValueError {}

/// Checks `value` against `kind`; shared by topic and broker keys.
pub fn check_config_value(
    key: &str,
    kind: ConfigKind,
    value: &str,
) -> Result<(), ConfigValueError> {
    let rule = match kind {
        ConfigKind::Bool => match value.trim().to_ascii_lowercase().as_str() {
            "true" | "false" => return Ok(()),
            _ => "Expected value to be either true or false".to_owned(),
        },
        ConfigKind::Int { min } => match value.trim().parse::<i32>() {
            Ok(number) if number >= min => return Ok(()),
            Ok(_) => format!("Value must be at least {min}"),
            Err(_) => "Not a number of type INT".to_owned(),
        },
        ConfigKind::Short { min } => match value.trim().parse::<i16>() {
            Ok(number) if number >= min => return Ok(()),
            Ok(_) => format!("Value must be at least {min}"),
            Err(_) => "Not a number of type SHORT".to_owned(),
        },
        ConfigKind::IntBetween { min, max } => match value.trim().parse::<i32>() {
            Ok(number) if (min..=max).contains(&number) => return Ok(()),
            Ok(number) if number < min => format!("Value must be at least {min}"),
            Ok(_) => format!("Value must be no more than {max}"),
            Err(_) => "Not a number of type INT".to_owned(),
        },
        ConfigKind::IntBetweenOr { min, max, or } => match value.trim().parse::<i32>() {
            Ok(number) if (min..=max).contains(&number) || number == or => return Ok(()),
            Ok(_) => format!("Value must be between {min} and {max} or equal to {or}"),
            Err(_) => "Not a number of type INT".to_owned(),
        },
        ConfigKind::Long { min } => match value.trim().parse::<i64>() {
            Ok(number) if number >= min => return Ok(()),
            Ok(_) => format!("Value must be at least {min}"),
            Err(_) => "Not a number of type LONG".to_owned(),
        },
        ConfigKind::Ratio => match value.trim().parse::<f64>() {
            Ok(number) if (0.0..=1.0).contains(&number) => return Ok(()),
            Ok(number) if number < 0.0 => "Value must be at least 0".to_owned(),
            Ok(_) => "Value must be no more than 1".to_owned(),
            Err(_) => "Not a number of type DOUBLE".to_owned(),
        },
        ConfigKind::Double => match value.trim().parse::<f64>() {
            Ok(_) => return Ok(()),
            Err(_) => "Not a number of type DOUBLE".to_owned(),
        },
        ConfigKind::Word(words) => {
            if words.contains(&value) {
                return Ok(());
            }
            format!("String must be one of: {}", words.join(", "))
        }
        ConfigKind::Words(words) => {
            let legal = |word: &str| words.contains(&word.trim());
            if value.is_empty() || value.split(',').all(legal) {
                return Ok(());
            }
            format!("String must be one of: {}", words.join(", "))
        }
        ConfigKind::Text | ConfigKind::List | ConfigKind::Class | ConfigKind::Password => {
            return Ok(());
        }
    };
    Err(ConfigValueError {
        key: key.to_owned(),
        value: value.to_owned(),
        rule,
    })
}

const fn row(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    broker_synonym: &'static str,
    documentation: &'static str,
) -> TopicConfigKey {
    TopicConfigKey {
        name,
        kind,
        default: ConfigDefault::Fixed(default),
        broker_synonym: if broker_synonym.is_empty() {
            None
        } else {
            Some(broker_synonym)
        },
        served: Served::Obeyed,
        shown: Shown::Always,
        documentation,
    }
}

const NEVER: &str = "9223372036854775807";

/// Every topic key of Apache Kafka 4.3 and klamm's own, by name.
pub const TOPIC_CONFIG_KEYS: &[TopicConfigKey] = &[
    row(
        "cleanup.policy",
        ConfigKind::Words(&["compact", "delete"]),
        "delete",
        "log.cleanup.policy",
        "Whether old segments are deleted, compacted to the latest record of each key, or both; records without a key are refused where it says compact.",
    ),
    row(
        "compression.gzip.level",
        ConfigKind::IntBetweenOr {
            min: 1,
            max: 9,
            or: -1,
        },
        "-1",
        "compression.gzip.level",
        "Level at which the broker compresses with gzip; -1 is the codec's own, 6.",
    ),
    row(
        "compression.lz4.level",
        ConfigKind::IntBetween { min: 1, max: 17 },
        "9",
        "compression.lz4.level",
        "Level at which Apache Kafka compresses with lz4; klamm's lz4 has one level, the fast one.",
    )
    .no_need(),
    row(
        "compression.type",
        ConfigKind::Word(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        "producer",
        "compression.type",
        "Codec in which the broker keeps batches: those that come in another one are compressed anew; 'producer' keeps them as they came.",
    ),
    row(
        "compression.zstd.level",
        ConfigKind::IntBetween {
            min: -131_072,
            max: 22,
        },
        "3",
        "compression.zstd.level",
        "Level at which the broker compresses with zstd.",
    ),
    row(
        "delete.retention.ms",
        ConfigKind::Long { min: 0 },
        "86400000",
        "log.cleaner.delete.retention.ms",
        "How long a deletion marker stays in a compacted log, in milliseconds.",
    ),
    row(
        "file.delete.delay.ms",
        ConfigKind::Long { min: 0 },
        "60000",
        "log.segment.delete.delay.ms",
        "How long a deleted segment's file stays on disk, in milliseconds.",
    ),
    row(
        "flush.messages",
        ConfigKind::Long { min: 1 },
        NEVER,
        "log.flush.interval.messages",
        "Flush after this many records; klamm.durability=flushed flushes before every acknowledgement anyway.",
    )
    .no_need(),
    row(
        "flush.ms",
        ConfigKind::Long { min: 0 },
        NEVER,
        "log.flush.interval.ms",
        "Flush after this many milliseconds; klamm.durability=flushed flushes before every acknowledgement anyway.",
    )
    .no_need(),
    row(
        "follower.replication.throttled.replicas",
        ConfigKind::List,
        "",
        "",
        "Replicas whose inbound replication is throttled.",
    )
    .not_yet(),
    row(
        "index.interval.bytes",
        ConfigKind::Int { min: 0 },
        "4096",
        "log.index.interval.bytes",
        "Distance in bytes between two entries of the sparse offset index.",
    ),
    row(
        "internal.segment.bytes",
        ConfigKind::Int { min: i32::MIN },
        "",
        "",
        "Size in bytes at which a segment is closed, beats segment.bytes and may be smaller; for tests.",
    )
    .shown(Shown::WhenSet),
    row(
        "klamm.durability",
        ConfigKind::Word(&["flushed", "written"]),
        "flushed",
        "klamm.durability",
        "What an acknowledgement survives: 'flushed' power loss, 'written' the death of the process (Apache Kafka's behaviour).",
    )
    .shown(Shown::WhenAsked),
    row(
        "leader.replication.throttled.replicas",
        ConfigKind::List,
        "",
        "",
        "Replicas whose outbound replication is throttled.",
    )
    .not_yet(),
    row(
        "local.retention.bytes",
        ConfigKind::Long { min: -2 },
        "-2",
        "log.local.retention.bytes",
        "Bytes kept locally when tiered storage is on; -2 follows retention.bytes.",
    )
    .not_yet(),
    row(
        "local.retention.ms",
        ConfigKind::Long { min: -2 },
        "-2",
        "log.local.retention.ms",
        "Milliseconds kept locally when tiered storage is on; -2 follows retention.ms.",
    )
    .not_yet(),
    row(
        "max.compaction.lag.ms",
        ConfigKind::Long { min: 1 },
        NEVER,
        "log.cleaner.max.compaction.lag.ms",
        "Longest time that a record may stay uncompacted, in milliseconds; a segment is closed at this age, too.",
    ),
    row(
        "max.message.bytes",
        ConfigKind::Int { min: 0 },
        "1048588",
        "message.max.bytes",
        "Largest record batch in bytes, after compression.",
    ),
    row(
        "message.timestamp.after.max.ms",
        ConfigKind::Long { min: 0 },
        "3600000",
        "log.message.timestamp.after.max.ms",
        "How far a record's timestamp may lie ahead of the broker's clock, in milliseconds.",
    ),
    row(
        "message.timestamp.before.max.ms",
        ConfigKind::Long { min: 0 },
        NEVER,
        "log.message.timestamp.before.max.ms",
        "How far a record's timestamp may lie behind the broker's clock, in milliseconds.",
    ),
    row(
        "message.timestamp.type",
        ConfigKind::Word(&["CreateTime", "LogAppendTime"]),
        "CreateTime",
        "log.message.timestamp.type",
        "Whether records keep the producer's timestamp or get the broker's.",
    ),
    row(
        "min.cleanable.dirty.ratio",
        ConfigKind::Ratio,
        "0.5",
        "log.cleaner.min.cleanable.ratio",
        "Share of uncompacted bytes from which a log is compacted.",
    ),
    row(
        "min.compaction.lag.ms",
        ConfigKind::Long { min: 0 },
        "0",
        "log.cleaner.min.compaction.lag.ms",
        "Shortest time that a record stays uncompacted, in milliseconds.",
    ),
    row(
        "min.insync.replicas",
        ConfigKind::Int { min: 1 },
        "1",
        "min.insync.replicas",
        "In-sync replicas that must hold a record before acks=all is answered.",
    ),
    row(
        "preallocate",
        ConfigKind::Bool,
        "false",
        "log.preallocate",
        "Whether Apache Kafka preallocates segment files; klamm preallocates its write-ahead log always.",
    )
    .no_need(),
    row(
        "remote.log.copy.disable",
        ConfigKind::Bool,
        "false",
        "",
        "Stops copying to tiered storage.",
    )
    .not_yet(),
    row(
        "remote.log.delete.on.disable",
        ConfigKind::Bool,
        "false",
        "",
        "Deletes tiered data when tiered storage is turned off.",
    )
    .not_yet(),
    row(
        "remote.storage.enable",
        ConfigKind::Bool,
        "false",
        "",
        "Turns tiered storage on; klamm serves none yet and refuses true.",
    )
    .not_yet(),
    row(
        "retention.bytes",
        ConfigKind::Long { min: i64::MIN },
        "-1",
        "log.retention.bytes",
        "Bytes of a partition beyond which its oldest segments are deleted; -1 keeps all.",
    ),
    row(
        "retention.ms",
        ConfigKind::Long { min: -1 },
        "604800000",
        "log.retention.ms",
        "Age in milliseconds beyond which segments are deleted; -1 keeps all.",
    ),
    row(
        "segment.bytes",
        ConfigKind::Int { min: 1_048_576 },
        "1073741824",
        "log.segment.bytes",
        "Size in bytes at which a segment is closed and a new one begun.",
    ),
    row(
        "segment.index.bytes",
        ConfigKind::Int { min: 4 },
        "10485760",
        "log.index.size.max.bytes",
        "Largest size of a segment's offset index in bytes.",
    ),
    row(
        "segment.jitter.ms",
        ConfigKind::Long { min: 0 },
        "0",
        "log.roll.jitter.ms",
        "Largest random part of segment.ms, in milliseconds.",
    )
    .not_yet(),
    row(
        "segment.ms",
        ConfigKind::Long { min: 1 },
        "604800000",
        "log.roll.ms",
        "Age in milliseconds at which a segment is closed even if it is not full.",
    ),
    row(
        "unclean.leader.election.enable",
        ConfigKind::Bool,
        "false",
        "unclean.leader.election.enable",
        "Whether a replica outside the in-sync set may lead when none inside is alive.",
    )
    .not_yet(),
];

/// The row of a key.
#[must_use]
pub fn topic_config_key(name: &str) -> Option<&'static TopicConfigKey> {
    let place = TOPIC_CONFIG_KEYS
        .binary_search_by(|row| row.name.cmp(name))
        .ok()?;
    TOPIC_CONFIG_KEYS.get(place)
}

/// What happens to old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Old segments are deleted.
    pub delete: bool,
    /// Only the latest record of each key is kept.
    pub compact: bool,
}

/// In which codec batches are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicCompression {
    /// As the producer sent them.
    Producer,
    /// Compressed anew, if they came in another codec.
    Codec {
        /// The codec.
        codec: Compression,
        /// Its level; `None` for the codec's own choice.
        level: Option<i32>,
    },
}

/// A topic's settings as the log reads them: overrides over broker defaults over Kafka's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy`.
    pub cleanup: CleanupPolicy,
    /// `compression.type`.
    pub compression: TopicCompression,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `klamm.durability`.
    pub durability: Durability,
    /// `file.delete.delay.ms`.
    pub file_delete_delay: Duration,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `max.compaction.lag.ms`.
    pub compaction_lag_ms_max: i64,
    /// `max.message.bytes`.
    pub message_bytes_max: u32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_ms_max: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_ms_max: i64,
    /// `min.cleanable.dirty.ratio`.
    pub dirty_ratio_min: f64,
    /// `min.compaction.lag.ms`.
    pub compaction_lag_ms_min: i64,
    /// `min.insync.replicas`.
    pub min_isr: u32,
    /// `retention.ms`, `None` keeps all.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`, `None` keeps all.
    pub retention_bytes: Option<u64>,
    /// `internal.segment.bytes`, else `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
    /// `segment.ms`.
    pub segment_ms: i64,
}

impl TopicConfig {
    /// Reads the typed form: for each key the topic's override, else the broker's value under its
    /// synonym, else Kafka's default. Values were checked when they were accepted; one that does
    /// not parse (from an older version, say) falls back to the next source.
    #[must_use]
    pub fn from_layers(
        overrides: &BTreeMap<String, String>,
        broker: &BTreeMap<String, String>,
    ) -> Self {
        let text = |key: &str| -> &str {
            let row = topic_config_key(key).expect("every key read here is in the table");
            let from_topic = overrides.get(key).filter(|value| row.check(value).is_ok());
            let from_broker = || {
                row.broker_synonym
                    .and_then(|name| broker.get(name))
                    .filter(|value| row.check(value).is_ok())
            };
            from_topic
                .or_else(from_broker)
                .map_or_else(|| row.default_text(), |value| value.trim())
        };
        let number = |key: &str| text(key).parse::<i64>().expect("checked against the table");
        let cleanup = text("cleanup.policy");
        Self {
            cleanup: CleanupPolicy {
                delete: cleanup.split(',').any(|word| word.trim() == "delete"),
                compact: cleanup.split(',').any(|word| word.trim() == "compact"),
            },
            compression: match text("compression.type") {
                "producer" => TopicCompression::Producer,
                "uncompressed" => TopicCompression::Codec {
                    codec: Compression::None,
                    level: None,
                },
                word => Compression::from_word(word).map_or(TopicCompression::Producer, |codec| {
                    let level = match codec {
                        Compression::Gzip => Some(number("compression.gzip.level") as i32),
                        Compression::Zstd => Some(number("compression.zstd.level") as i32),
                        Compression::None | Compression::Snappy | Compression::Lz4 => None,
                    };
                    // -1 is the codec's own choice for gzip, and a level of zstd.
                    let level = level.filter(|&level| codec == Compression::Zstd || level > 0);
                    TopicCompression::Codec { codec, level }
                }),
            },
            delete_retention_ms: number("delete.retention.ms"),
            durability: text("klamm.durability").parse().unwrap_or_default(),
            file_delete_delay: Duration::from_millis(number("file.delete.delay.ms").unsigned_abs()),
            index_interval_bytes: number("index.interval.bytes") as u32,
            compaction_lag_ms_max: number("max.compaction.lag.ms"),
            message_bytes_max: number("max.message.bytes") as u32,
            timestamp_type: match text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_ms_max: number("message.timestamp.before.max.ms"),
            timestamp_after_ms_max: number("message.timestamp.after.max.ms"),
            dirty_ratio_min: (text("min.cleanable.dirty.ratio").parse())
                .expect("checked against the table"),
            compaction_lag_ms_min: number("min.compaction.lag.ms"),
            min_isr: number("min.insync.replicas") as u32,
            retention_ms: Some(number("retention.ms")).filter(|&ms| ms >= 0),
            retention_bytes: u64::try_from(number("retention.bytes")).ok(),
            segment_bytes: match text("internal.segment.bytes").parse::<i32>() {
                // Kafka takes a size below 0 and then finds every batch too large.
                Ok(bytes) => u32::try_from(bytes).unwrap_or(0),
                Err(_) => number("segment.bytes") as u32,
            },
            segment_index_bytes: number("segment.index.bytes") as u32,
            segment_ms: number("segment.ms"),
        }
    }
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self::from_layers(&BTreeMap::new(), &BTreeMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_default_is_legal() {
        for pair in TOPIC_CONFIG_KEYS.windows(2) {
            assert!(
                pair[0].name < pair[1].name,
                "{} before {}",
                pair[0].name,
                pair[1].name
            );
        }
        for row in TOPIC_CONFIG_KEYS {
            // An internal key that nobody set has no value at all.
            if row.shown != Shown::WhenSet {
                assert_eq!(row.check(row.default_text()), Ok(()), "{}", row.name);
            }
        }
    }

    #[test]
    fn a_codec_comes_with_the_level_that_is_set_for_it() {
        let compression = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned()));
            TopicConfig::from_layers(&pairs.collect(), &BTreeMap::new()).compression
        };
        let codec = |codec, level| TopicCompression::Codec { codec, level };
        assert_eq!(compression(&[]), TopicCompression::Producer);
        assert_eq!(
            compression(&[("compression.type", "uncompressed")]),
            codec(Compression::None, None)
        );
        let gzip = ("compression.type", "gzip");
        assert_eq!(compression(&[gzip]), codec(Compression::Gzip, None));
        let set = [gzip, ("compression.gzip.level", "9")];
        assert_eq!(compression(&set), codec(Compression::Gzip, Some(9)));
        let zstd = ("compression.type", "zstd");
        assert_eq!(compression(&[zstd]), codec(Compression::Zstd, Some(3)));
        let set = [zstd, ("compression.zstd.level", "-5")];
        assert_eq!(compression(&set), codec(Compression::Zstd, Some(-5)));
        let level = topic_config_key("compression.gzip.level").expect("known");
        let error = level.check("0").expect_err("no level of gzip");
        assert_eq!(error.rule, "Value must be between 1 and 9 or equal to -1");
    }

    #[test]
    fn a_tests_segment_size_beats_segment_bytes_and_may_be_smaller() {
        let segment_bytes = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned()));
            TopicConfig::from_layers(&pairs.collect(), &BTreeMap::new()).segment_bytes
        };
        assert_eq!(segment_bytes(&[]), 1 << 30);
        assert_eq!(segment_bytes(&[("internal.segment.bytes", "1000")]), 1000);
        let both = [
            ("internal.segment.bytes", "1000"),
            ("segment.bytes", "2097152"),
        ];
        assert_eq!(segment_bytes(&both), 1000);
        assert_eq!(segment_bytes(&[("internal.segment.bytes", "-5")]), 0);
        let row = topic_config_key("internal.segment.bytes").expect("known");
        assert!(row.check("x").is_err() && row.check("0").is_ok());
    }

    #[test]
    fn every_note_begins_as_the_command_line_expects() {
        for served in [Served::Architecture, Served::NotYet] {
            let note = served.note().expect("no effect");
            assert!(note.starts_with(Served::WITHOUT_EFFECT), "{note}");
        }
        assert_eq!(Served::Obeyed.note(), None);
    }

    #[test]
    fn a_topics_override_beats_the_brokers_value_and_that_beats_kafkas_default() {
        let layer = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|&(k, v)| (k.to_owned(), v.to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let broker = layer(&[
            ("message.max.bytes", "2000"),
            ("klamm.durability", "written"),
        ]);
        let topic = layer(&[("max.message.bytes", "3000")]);
        assert_eq!(
            TopicConfig::from_layers(&topic, &broker).message_bytes_max,
            3000
        );
        assert_eq!(
            TopicConfig::from_layers(&layer(&[]), &broker).message_bytes_max,
            2000
        );
        assert_eq!(
            TopicConfig::from_layers(&topic, &broker).durability,
            Durability::Written
        );
        assert_eq!(TopicConfig::default().message_bytes_max, 1_048_588);
    }

    #[test]
    fn a_value_out_of_range_is_refused_in_kafkas_words() {
        let refused = topic_config_key("segment.bytes")
            .expect("known")
            .check("10")
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "Invalid value 10 for configuration segment.bytes: Value must be at least 1048576"
        );
        assert!(
            topic_config_key("compression.type")
                .expect("known")
                .check("brotli")
                .is_err()
        );
        assert!(
            topic_config_key("retention.ms")
                .expect("known")
                .check("soon")
                .is_err()
        );
    }
}
