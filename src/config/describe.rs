//! The configuration as DescribeConfigs shows it: every key with its value, where that came from,
//! and what else could have set it. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use klamm_model::{ConfigKind, GROUP_CONFIG_KEYS, Served, Shown, TOPIC_CONFIG_KEYS};
use klamm_shard::api::metadata::CLIENT_METRICS_KEYS;

use super::checked::Config;
use super::dynamic::Dynamic;
use super::keys::{BrokerKey, broker_key, broker_keys, type_number};

/// Where a value came from, with Kafka's numbers (`ConfigEntry.ConfigSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set on the topic.
    DynamicTopic = 1,
    /// Set while brokers run, on this one.
    DynamicBroker = 2,
    /// Set while brokers run, for all of them.
    DynamicDefaultBroker = 3,
    /// Written in the file or on the command line.
    StaticBroker = 4,
    /// Not set at all.
    Default = 5,
    /// The level of a logger.
    Logger = 6,
    /// Set of a subscription to metrics of clients.
    ClientMetrics = 7,
    /// Set of a group.
    Group = 8,
}

/// A key that may set a value, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The key.
    pub name: String,
    /// Its value; `None` if it is sensitive.
    pub value: Option<String>,
    /// Where that came from.
    pub source: ConfigSource,
}

/// One key as DescribeConfigs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedKey {
    /// The key.
    pub name: Cow<'static, str>,
    /// Its value; `None` if it has none or is sensitive.
    pub value: Option<String>,
    /// Where that came from.
    pub source: ConfigSource,
    /// Nothing set it.
    pub is_default: bool,
    /// It cannot change while the broker runs.
    pub read_only: bool,
    /// Its value must not be shown.
    pub sensitive: bool,
    /// Kafka's number of its type (`ConfigEntry.ConfigType`).
    pub type_number: i8,
    /// What it does, in one sentence, after another one if it has no effect.
    pub documentation: Cow<'static, str>,
    /// Whether clients are told of it where nobody set it.
    pub shown: Shown,
    /// All keys that may set it, the one that does first.
    pub synonyms: Vec<ConfigSynonym>,
}

/// Coarser keys that are read when a key is absent, in order.
const COARSER: &[(&str, &[&str])] = &[
    (
        "log.flush.interval.ms",
        &["log.flush.scheduler.interval.ms"],
    ),
    (
        "log.retention.ms",
        &["log.retention.minutes", "log.retention.hours"],
    ),
    ("log.roll.jitter.ms", &["log.roll.jitter.hours"]),
    ("log.roll.ms", &["log.roll.hours"]),
];

/// Kafka's number for the type of a key that nobody knows.
const UNKNOWN_TYPE: i8 = 0;

/// The keys of a subscription to metrics of clients, as Kafka shows them; nothing is set of one that
/// there is not.
#[must_use]
pub fn describe_subscription(set: Option<&BTreeMap<String, String>>) -> Vec<DescribedKey> {
    /// Kafka's numbers of the types INT and LIST.
    const INT: i8 = 3;
    const LIST: i8 = 7;
    let described = CLIENT_METRICS_KEYS.into_iter().map(|(name, default)| {
        let own = set.and_then(|keys| keys.get(name));
        let source = match own {
            Some(_) => ConfigSource::ClientMetrics,
            None => ConfigSource::Default,
        };
        let synonym = own.map(|value| ConfigSynonym {
            name: name.to_owned(),
            value: Some(value.clone()),
            source,
        });
        DescribedKey {
            name: Cow::Borrowed(name),
            value: Some(own.map_or_else(|| default.to_owned(), String::clone)),
            source,
            is_default: own.is_none(),
            read_only: false,
            sensitive: false,
            type_number: if name == "interval.ms" { INT } else { LIST },
            documentation: Cow::Borrowed("No effect: clients do not push metrics to this broker."),
            shown: Shown::Always,
            synonyms: synonym.into_iter().collect(),
        }
    });
    described.collect()
}

/// A logger and its level, as Kafka shows it.
#[must_use]
pub fn describe_logger(name: &'static str, level: &str) -> DescribedKey {
    DescribedKey {
        name: Cow::Borrowed(name),
        value: Some(level.to_owned()),
        source: ConfigSource::Logger,
        is_default: false,
        read_only: false,
        sensitive: false,
        type_number: UNKNOWN_TYPE,
        documentation: Cow::Borrowed(""),
        shown: Shown::Always,
        synonyms: Vec::new(),
    }
}

impl Config {
    /// Every broker key by name (resource type BROKER), and after them what was set while brokers
    /// run under names that no key has: Apache Kafka keeps and hides such values too.
    #[must_use]
    pub fn describe(&self, dynamic: Dynamic<'_>) -> Vec<DescribedKey> {
        let known = broker_keys().map(|key| self.describe_key(key, dynamic));
        let unknown = dynamic
            .keys()
            .filter(|(name, _)| broker_key(name).is_none());
        known
            .chain(unknown.map(|(name, source)| describe_unknown(name, source)))
            .collect()
    }

    /// What is set for all brokers while they run (resource type BROKER without a name).
    #[must_use]
    pub fn describe_for_all(&self, dynamic: Dynamic<'_>) -> Vec<DescribedKey> {
        let source = ConfigSource::DynamicDefaultBroker;
        let described = dynamic.for_all.iter().map(|(name, value)| {
            let Some(key) = broker_key(name) else {
                return describe_unknown(name, source);
            };
            let mut described = self.describe_key(key, dynamic);
            described.synonyms = vec![synonym(key, name, value, source)];
            described.source = source;
            described.is_default = false;
            described.value = (!key.is_sensitive()).then(|| value.clone());
            described
        });
        described.collect()
    }

    /// Every topic key by name (resource type TOPIC), given the topic's own values.
    #[must_use]
    pub fn describe_topic(
        &self,
        overrides: &BTreeMap<String, String>,
        dynamic: Dynamic<'_>,
    ) -> Vec<DescribedKey> {
        let shown = |shown| shown != Shown::WhenSet;
        let rows = TOPIC_CONFIG_KEYS.iter();
        let rows = rows.filter(|row| shown(row.shown) || overrides.contains_key(row.name));
        let described = rows.map(|row| {
            let own = overrides.get(row.name).map(|value| ConfigSynonym {
                name: row.name.to_owned(),
                value: Some(value.clone()),
                source: ConfigSource::DynamicTopic,
            });
            let mut synonyms: Vec<_> = own.into_iter().collect();
            if let Some(name) = row.broker_synonym {
                let set = dynamic
                    .values_of(name)
                    .map(|(value, source)| ConfigSynonym {
                        name: name.to_owned(),
                        value: Some(value.to_owned()),
                        source,
                    });
                synonyms.extend(set);
                // The folded value, so that hours show as the milliseconds that they mean.
                let written = self.topics.layer.get(name).map(|value| ConfigSynonym {
                    name: name.to_owned(),
                    value: Some(value.clone()),
                    source: ConfigSource::StaticBroker,
                });
                synonyms.extend(written);
                // Kafka names no default where that of the broker's key is a coarser key's.
                let default = broker_key(name).and_then(|key| key.default);
                synonyms.extend(default.map(|value| ConfigSynonym {
                    name: name.to_owned(),
                    value: Some(value.to_owned()),
                    source: ConfigSource::Default,
                }));
            }
            let first = synonyms.first();
            let source = first.map_or(ConfigSource::Default, |first| first.source);
            let value = first.and_then(|first| first.value.clone());
            DescribedKey {
                name: Cow::Borrowed(row.name),
                value: value.or_else(|| Some(row.default_text().to_owned())),
                source,
                is_default: source == ConfigSource::Default,
                read_only: false,
                sensitive: false,
                type_number: type_number(row.kind),
                documentation: documentation(row.served, row.documentation),
                shown: row.shown,
                synonyms,
            }
        });
        described.collect()
    }

    /// Every group key (resource type GROUP), given what is set of the group; nothing is set of one
    /// that there is not.
    #[must_use]
    pub fn describe_group(
        &self,
        overrides: Option<&BTreeMap<String, String>>,
        dynamic: Dynamic<'_>,
    ) -> Vec<DescribedKey> {
        let described = GROUP_CONFIG_KEYS.iter().map(|row| {
            let said = |name: &str, value: &str, source| ConfigSynonym {
                name: name.to_owned(),
                value: Some(plain(row.kind, value)),
                source,
            };
            let own = overrides.and_then(|keys| keys.get(row.name));
            let own = own.map(|value| said(row.name, value, ConfigSource::Group));
            let mut synonyms: Vec<_> = own.into_iter().collect();
            if let Some(name) = row.broker_synonym {
                let set = dynamic.values_of(name);
                synonyms.extend(set.map(|(value, source)| said(name, value, source)));
                let written = self.written.get(name);
                let source = ConfigSource::StaticBroker;
                synonyms.extend(written.map(|value| said(name, value, source)));
            }
            let name = row.broker_synonym.unwrap_or(row.name);
            synonyms.push(said(name, row.default, ConfigSource::Default));
            let first = synonyms.first().expect("the default, at least");
            DescribedKey {
                name: Cow::Borrowed(row.name),
                value: first.value.clone(),
                source: first.source,
                is_default: first.source == ConfigSource::Default,
                read_only: false,
                sensitive: false,
                type_number: type_number(row.kind),
                documentation: documentation(row.served, row.documentation),
                shown: Shown::Always,
                synonyms,
            }
        });
        described.collect()
    }

    fn describe_key(&self, key: &'static BrokerKey, dynamic: Dynamic<'_>) -> DescribedKey {
        let coarser = COARSER.iter().find(|(name, _)| *name == key.name);
        let coarser = coarser.map_or(&[][..], |(_, names)| names);
        let mut synonyms: Vec<_> = dynamic
            .values_of(key.name)
            .map(|(value, source)| synonym(key, key.name, value, source))
            .collect();
        let names = || std::iter::once(&key.name).chain(coarser);
        // What was written anywhere counts before any default.
        for name in names() {
            if let Some(value) = self.written.get(*name) {
                synonyms.push(synonym(key, name, value, ConfigSource::StaticBroker));
            }
        }
        for name in names() {
            let row = broker_key(name).expect("coarser keys are in the table");
            let derived = self.derived.get(name).map(String::as_str);
            if let Some(value) = row.default.or(derived) {
                synonyms.push(synonym(key, name, value, ConfigSource::Default));
            }
        }
        // Kafka leaves out coarser keys that stand before the key itself.
        let own = synonyms.iter().position(|one| one.name == key.name);
        synonyms.drain(..own.unwrap_or(synonyms.len()));
        let set = dynamic.values_of(key.name).next().map(|(value, _)| value);
        let value = set
            .or_else(|| self.written.get(key.name).map(String::as_str))
            .or(key.default)
            .or_else(|| self.derived.get(key.name).map(String::as_str));
        let source = match synonyms.first() {
            Some(first) => first.source,
            None => ConfigSource::Default,
        };
        DescribedKey {
            name: Cow::Borrowed(key.name),
            value: value.filter(|_| !key.is_sensitive()).map(str::to_owned),
            source,
            is_default: source == ConfigSource::Default,
            read_only: !key.changes_while_running(),
            sensitive: key.is_sensitive(),
            type_number: type_number(key.kind),
            documentation: documentation(key.served, key.documentation),
            shown: Shown::Always,
            synonyms,
        }
    }
}

/// A value as it is read: numbers and flags without what stands around them.
fn plain(kind: ConfigKind, value: &str) -> String {
    match kind {
        ConfigKind::Bool => value.trim().to_ascii_lowercase(),
        ConfigKind::Int { .. } => match value.trim().parse::<i32>() {
            Ok(number) => number.to_string(),
            Err(_) => value.to_owned(),
        },
        _ => value.to_owned(),
    }
}

/// A value under a name that no key has: nobody knows what it holds, so it is not shown.
fn describe_unknown(name: &str, source: ConfigSource) -> DescribedKey {
    DescribedKey {
        name: Cow::Owned(name.to_owned()),
        value: None,
        source,
        is_default: false,
        read_only: true,
        sensitive: true,
        type_number: UNKNOWN_TYPE,
        documentation: Cow::Borrowed("No effect: no key has this name."),
        shown: Shown::Always,
        synonyms: vec![ConfigSynonym {
            name: name.to_owned(),
            value: None,
            source,
        }],
    }
}

/// What clients are told of a key: its meaning, and first if it has no effect.
fn documentation(served: Served, meaning: &'static str) -> Cow<'static, str> {
    match served.note() {
        None => Cow::Borrowed(meaning),
        Some(note) => Cow::Owned(format!("{note} {meaning}")),
    }
}

fn synonym(key: &BrokerKey, name: &str, value: &str, source: ConfigSource) -> ConfigSynonym {
    ConfigSynonym {
        name: name.to_owned(),
        value: (!key.is_sensitive()).then(|| value.to_owned()),
        source,
    }
}
