//! Configuration: the checks that CreateTopics, AlterConfigs and IncrementalAlterConfigs share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use klamm_model::{
    ConfigKind, ErrorCode, TOPIC_CONFIG_KEYS, TopicConfigKey, TopicName, check_config_value,
    topic_config_key,
};

use super::{Controller, Decision, Growth, Reply, client_metrics};
use crate::image::ConfigMap;
use crate::limits::{
    BROKER_KEYS_MAX, CLIENT_METRICS_MAX, CONFIG_VALUE_BYTES_MAX, GROUP_CONFIGS_MAX,
};
use crate::record::{ConfigResource, MetadataRecord};

/// Longest key that is kept.
const KEY_BYTES_MAX: usize = 249;

/// What is to happen to one key (KIP-339).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOperation {
    /// Set it; Kafka's clients may send no value.
    Set(Option<String>),
    /// Remove it.
    Delete,
    /// Add these words to a list.
    Append(Option<String>),
    /// Take these words out of a list.
    Subtract(Option<String>),
}

/// Changes to one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// Of what.
    pub resource: ConfigResource,
    /// Keys and what is to happen to them.
    pub operations: Vec<(String, ConfigOperation)>,
}

/// What happens to keys that a change does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigMode {
    /// They stay (IncrementalAlterConfigs).
    Incremental,
    /// They are removed (AlterConfigs).
    Replace,
}

/// Why configuration is refused. The texts are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The topic does not exist.
    UnknownTopic(TopicName),
    /// A key, value or combination is not legal.
    Invalid(String),
    /// The request itself is wrong.
    Request(String),
    /// The request is too large.
    TooLarge,
    /// More keys would be set of a broker than are kept.
    TooManyKeys,
    /// More subscriptions to metrics of clients than are kept.
    TooManySubscriptions,
    /// More groups with configuration than are kept.
    TooManyGroups,
}

impl ConfigError {
    /// Kafka's row for it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic(_) => ErrorCode::UnknownTopicOrPartition,
            Self::Invalid(_) => ErrorCode::InvalidConfig,
            Self::Request(_) => ErrorCode::InvalidRequest,
            Self::TooLarge
            | Self::TooManyKeys
            | Self::TooManySubscriptions
            | Self::TooManyGroups => ErrorCode::PolicyViolation,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTopic(name) => write!(formatter, "The topic '{name}' does not exist."),
            Self::Invalid(text) | Self::Request(text) => formatter.write_str(text),
            Self::TooLarge => {
                formatter.write_str("Unable to perform excessively large batch operation.")
            }
            Self::TooManyKeys => write!(
                formatter,
                "No more than {BROKER_KEYS_MAX} keys can be set of a broker."
            ),
            Self::TooManySubscriptions => write!(
                formatter,
                "There can be no more than {CLIENT_METRICS_MAX} subscriptions."
            ),
            Self::TooManyGroups => write!(
                formatter,
                "No more than {GROUP_CONFIGS_MAX} groups can be configured."
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Of how many resources anything is set, with the changes of a command that went before.
struct Counts {
    subscriptions: usize,
    groups: usize,
}

impl Controller {
    pub(super) fn set_configs(
        &self,
        changes: Vec<ConfigChange>,
        mode: ConfigMode,
        validate_only: bool,
    ) -> Decision {
        let mut mentions: BTreeMap<&ConfigResource, usize> = BTreeMap::new();
        for change in &changes {
            *mentions.entry(&change.resource).or_default() += 1;
        }
        let mut growth = Growth::default();
        let mut records = Vec::new();
        let mut answers = Vec::new();
        let mut too_large = false;
        let mut counts = Counts {
            subscriptions: self.image.client_metrics().len(),
            groups: self.image.group_config_count(),
        };
        for change in &changes {
            let repeated = mentions.get(&change.resource).is_some_and(|&n| n > 1);
            let outcome = if repeated {
                Err(ConfigError::Request(RESOURCE_REPEATED.to_owned()))
            } else {
                self.change_config(change, mode, &mut counts)
            };
            answers.push(outcome.map(|more| {
                too_large |= growth.add(&more).is_err();
                if !too_large {
                    records.extend(more);
                }
            }));
        }
        if too_large {
            records.clear();
            answers = vec![Err(ConfigError::TooLarge); changes.len()];
        }
        if validate_only {
            records.clear();
        }
        Decision {
            records,
            reply: Reply::SetConfigs(answers),
        }
    }

    fn change_config(
        &self,
        change: &ConfigChange,
        mode: ConfigMode,
        counts: &mut Counts,
    ) -> Result<Vec<MetadataRecord>, ConfigError> {
        check_operations(&change.operations)?;
        let empty = ConfigMap::new();
        let (before, missing) = match &change.resource {
            ConfigResource::Topic(name) => match self.image.topic(name.as_str()) {
                Some(topic) => (topic.overrides(), None),
                None => (&empty, Some(name)),
            },
            ConfigResource::BrokerDefault => (self.image.broker_defaults(), None),
            ConfigResource::Broker(node) => {
                (self.image.broker_overrides(*node).unwrap_or(&empty), None)
            }
            ConfigResource::ClientMetrics(name) => (
                self.image.client_metrics().get(name).unwrap_or(&empty),
                None,
            ),
            ConfigResource::Group(name) => (self.image.group_config(name).unwrap_or(&empty), None),
        };
        let is_topic = matches!(change.resource, ConfigResource::Topic(_));
        let after = apply_operations(is_topic, before, &change.operations, mode)?;
        for (key, value) in changed(before, &after) {
            check_size(key, value)?;
        }
        if is_topic {
            // Kafka names an unknown key before any bad value, and both before a missing topic.
            for key in after.keys() {
                topic_config_key(key).ok_or_else(|| unknown_key(key))?;
            }
            for (key, value) in changed(before, &after) {
                check_topic_value(key, value)?;
            }
            check_topic_combination(&after, self.image.broker_defaults())?;
        } else if let ConfigResource::ClientMetrics(name) = &change.resource {
            if name.len() > KEY_BYTES_MAX {
                let text = format!("Subscription name of {} bytes is too long.", name.len());
                return Err(ConfigError::Request(text));
            }
            client_metrics::check(name, &after)?;
            if before.is_empty() && !after.is_empty() {
                if counts.subscriptions >= CLIENT_METRICS_MAX {
                    return Err(ConfigError::TooManySubscriptions);
                }
                counts.subscriptions += 1;
            }
        } else if let ConfigResource::Group(name) = &change.resource {
            self.check_group(name, before, &after, &mut counts.groups)?;
        } else {
            for (key, value) in changed(before, &after) {
                check_broker_value(key, value)?;
            }
            if after.len() > BROKER_KEYS_MAX.max(before.len()) {
                return Err(ConfigError::TooManyKeys);
            }
        }
        if let Some(name) = missing {
            return Err(ConfigError::UnknownTopic(name.clone()));
        }
        Ok(difference(&change.resource, before, &after))
    }
}

/// What a client is told that names a resource twice in one request.
pub const RESOURCE_REPEATED: &str = "Each resource must appear at most once.";

/// Faults of a change that can be seen before anything is known of its resource: a key that is
/// named twice, and keys without a value.
///
/// # Errors
/// [`ConfigError::Request`] in Kafka's words.
pub fn check_operations(operations: &[(String, ConfigOperation)]) -> Result<(), ConfigError> {
    let mut named = BTreeSet::new();
    if !operations.iter().all(|(key, _)| named.insert(key)) {
        let text = "Error due to duplicate config keys";
        return Err(ConfigError::Request(text.to_owned()));
    }
    let nulls = operations.iter().filter(|(_, operation)| {
        matches!(
            operation,
            ConfigOperation::Set(None)
                | ConfigOperation::Append(None)
                | ConfigOperation::Subtract(None)
        )
    });
    let nulls: Vec<&str> = nulls.map(|(key, _)| key.as_str()).collect();
    if nulls.is_empty() {
        return Ok(());
    }
    Err(ConfigError::Request(format!(
        "Null value not supported for : {}",
        nulls.join(", ")
    )))
}

/// Faults of a change of a topic that can be seen before anything is known of the topic: words that
/// are added to keys that are no lists, or taken from them.
///
/// # Errors
/// [`ConfigError::Invalid`] in Kafka's words.
pub fn check_lists(operations: &[(String, ConfigOperation)]) -> Result<(), ConfigError> {
    let mut operations = operations.iter();
    operations.try_for_each(|(key, operation)| operate(true, key, operation, None).map(drop))
}

/// The whole configuration of a resource after some operations, nothing checked but that words are
/// added to lists only.
fn apply_operations(
    is_topic: bool,
    before: &ConfigMap,
    operations: &[(String, ConfigOperation)],
    mode: ConfigMode,
) -> Result<ConfigMap, ConfigError> {
    let mut after = match mode {
        ConfigMode::Incremental => before.clone(),
        ConfigMode::Replace => ConfigMap::new(),
    };
    for (key, operation) in operations {
        match operate(is_topic, key, operation, before.get(key))? {
            Some(value) => after.insert(key.clone(), value),
            None => after.remove(key),
        };
    }
    Ok(after)
}

/// Keys that have another value than before.
fn changed<'m>(
    before: &'m ConfigMap,
    after: &'m ConfigMap,
) -> impl Iterator<Item = (&'m String, &'m String)> {
    after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value))
}

/// What one operation makes of a key: its new value, or nothing.
fn operate(
    is_topic: bool,
    key: &str,
    operation: &ConfigOperation,
    current: Option<&String>,
) -> Result<Option<String>, ConfigError> {
    let row = row_of(is_topic, key);
    let list = |verb: &str| {
        let kind = row.map(|row| row.kind);
        if matches!(kind, Some(ConfigKind::Words(_) | ConfigKind::List)) {
            return Ok(());
        }
        Err(ConfigError::Invalid(format!(
            "Can't {verb} to key {key} because its type is not LIST."
        )))
    };
    let words = |text: &str| -> Vec<String> {
        let words = text.split(',').map(str::trim);
        words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let current_words = || {
        let default = || row.map_or("", TopicConfigKey::default_text);
        words(current.map_or_else(default, String::as_str))
    };
    Ok(match operation {
        ConfigOperation::Set(value) => value.clone(),
        ConfigOperation::Delete => None,
        ConfigOperation::Append(value) => {
            list("APPEND")?;
            let mut kept = current_words();
            let value = value.as_deref().unwrap_or_default();
            // Nothing is a word too, and one that no list takes.
            let added = match value.is_empty() {
                true => vec![String::new()],
                false => words(value),
            };
            for word in added {
                if !kept.contains(&word) {
                    kept.push(word);
                }
            }
            Some(kept.join(","))
        }
        ConfigOperation::Subtract(value) => {
            list("SUBTRACT")?;
            let taken = words(value.as_deref().unwrap_or_default());
            let mut kept = current_words();
            kept.retain(|word| !taken.contains(word));
            Some(kept.join(","))
        }
    })
}

/// The topic key that a key is, or whose default it sets on brokers.
fn row_of(is_topic: bool, key: &str) -> Option<&'static TopicConfigKey> {
    if is_topic {
        return topic_config_key(key);
    }
    let synonym = |row: &&TopicConfigKey| row.broker_synonym == Some(key);
    TOPIC_CONFIG_KEYS.iter().find(synonym)
}

fn unknown_key(key: &str) -> ConfigError {
    ConfigError::Invalid(format!("Unknown topic config name: {key}"))
}

fn check_size(key: &str, value: &str) -> Result<(), ConfigError> {
    let text = if value.len() > CONFIG_VALUE_BYTES_MAX {
        format!(
            "The configuration value cannot be added because it exceeds the maximum value size of \
             {CONFIG_VALUE_BYTES_MAX} bytes."
        )
    } else if key.len() > KEY_BYTES_MAX {
        format!("Configuration key of {} bytes is too long.", key.len())
    } else {
        return Ok(());
    };
    Err(ConfigError::Invalid(text))
}

fn check_topic_value(key: &str, value: &str) -> Result<(), ConfigError> {
    let row = topic_config_key(key).ok_or_else(|| unknown_key(key))?;
    let invalid = |error: klamm_model::ConfigValueError| ConfigError::Invalid(error.to_string());
    // Kafka names only the word of a list that is wrong.
    if let ConfigKind::Words(_) = row.kind
        && let Some(error) = value
            .split(',')
            .find_map(|word| row.check(word.trim()).err())
    {
        return Err(invalid(error));
    }
    row.check(value).map_err(invalid)
}

/// Broker keys that set a topic's default are checked as that; others are kept as they are, as
/// Kafka does, because the room that reads them knows their rules.
fn check_broker_value(key: &str, value: &str) -> Result<(), ConfigError> {
    let Some(row) = row_of(false, key) else {
        return Ok(());
    };
    check_config_value(key, row.kind, value)
        .map_err(|error| ConfigError::Request(error.to_string()))
}

/// Rules over several keys.
fn check_topic_combination(
    overrides: &ConfigMap,
    broker_defaults: &ConfigMap,
) -> Result<(), ConfigError> {
    let number = |key: &str| {
        let row = topic_config_key(key)?;
        let from_broker = || {
            row.broker_synonym
                .and_then(|name| broker_defaults.get(name))
        };
        let text = overrides.get(key).or_else(from_broker);
        text.map_or_else(|| row.default_text(), String::as_str)
            .trim()
            .parse::<i64>()
            .ok()
    };
    let (min, max) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
    if let (Some(low), Some(high)) = (number(min), number(max))
        && low > high
    {
        return Err(ConfigError::Invalid(format!(
            "conflict topic config setting {min} ({low}) > {max} ({high})"
        )));
    }
    if overrides
        .get("remote.storage.enable")
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    {
        return Err(ConfigError::Invalid(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured \
             with remote log storage."
                .to_owned(),
        ));
    }
    Ok(())
}

/// Checks the configuration of a new topic.
pub(super) fn check_new_topic_configs(
    configs: &[(String, Option<String>)],
    broker_defaults: &ConfigMap,
) -> Result<ConfigMap, ConfigError> {
    let nulls: Vec<&str> = configs
        .iter()
        .filter(|(_, value)| value.is_none())
        .map(|(key, _)| key.as_str())
        .collect();
    if !nulls.is_empty() {
        return Err(ConfigError::Invalid(format!(
            "Null value not supported for topic configs: {}",
            nulls.join(",")
        )));
    }
    let mut map = ConfigMap::new();
    for (key, value) in configs {
        map.insert(key.clone(), value.clone().unwrap_or_default());
    }
    for (key, value) in &map {
        check_size(key, value)?;
    }
    // Kafka names an unknown key before any bad value.
    for key in map.keys() {
        topic_config_key(key).ok_or_else(|| unknown_key(key))?;
    }
    for (key, value) in &map {
        check_topic_value(key, value)?;
    }
    check_topic_combination(&map, broker_defaults)?;
    Ok(map)
}

fn difference(
    resource: &ConfigResource,
    before: &ConfigMap,
    after: &ConfigMap,
) -> Vec<MetadataRecord> {
    let record = |key: &String, value: Option<&String>| MetadataRecord::ConfigSet {
        resource: resource.clone(),
        key: key.clone(),
        value: value.cloned(),
    };
    let removed = before
        .keys()
        .filter(|key| !after.contains_key(*key))
        .map(|key| record(key, None));
    let set = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value))
        .map(|(key, value)| record(key, Some(value)));
    removed.chain(set).collect()
}
