//! What AlterConfigs and IncrementalAlterConfigs share: which resources can be changed, and what is
//! said of those that cannot. Codes and texts are Kafka's; what is wrong with topics' values, the
//! controller finds.

use std::collections::BTreeMap;

use klamm_model::{ErrorCode, NodeId, TopicName, group_config_key, topic_config_key};
use klamm_shard::api::metadata::{
    Command, ConfigChange, ConfigMode, ConfigOperation, ConfigResource, CreateTopicError,
    RESOURCE_REPEATED, Reply, check_lists, check_operations,
};

use super::dynamic_of;
use crate::config::{
    BrokerKeyChange, DynamicRefused, Warning, check_dynamic, keys::broker_key, locks_everybody_out,
};
use crate::loggers::{LEVEL_WORDS, LoggerLevel, ROOT, logger};
use crate::logging;
use crate::net::Context;

/// `ConfigResource.Type` of Kafka.
pub(crate) mod kind {
    pub(crate) const TOPIC: i8 = 2;
    pub(crate) const BROKER: i8 = 4;
    pub(crate) const BROKER_LOGGER: i8 = 8;
    pub(crate) const CLIENT_METRICS: i8 = 16;
    pub(crate) const GROUP: i8 = 32;
}

/// Longest text that an answer gives of one resource, in bytes; old versions carry eight times as
/// much.
const MESSAGE_BYTES_MAX: usize = 4096;

/// What a request asks of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked<'r> {
    /// Kafka's number of the kind of resource.
    pub(crate) kind: i8,
    /// The resource.
    pub(crate) name: &'r str,
    /// Keys and what is to happen to them; the number of an operation that there is not.
    pub(crate) operations: Vec<(String, Result<ConfigOperation, i8>)>,
}

/// Why a resource keeps its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::InvalidRequest,
            message: message.into(),
        }
    }

    /// What a request holds may be so long that no answer could repeat it.
    pub(crate) fn shortened(mut self) -> Self {
        if self.message.len() > MESSAGE_BYTES_MAX {
            let end = self.message.floor_char_boundary(MESSAGE_BYTES_MAX);
            self.message.truncate(end);
            self.message.push_str("...");
        }
        self
    }

    fn config(message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::InvalidConfig,
            message: message.into(),
        }
    }
}

/// The fault of a name that no topic can have, in Kafka's words.
pub(crate) fn illegal_topic(name: &str) -> Option<Refusal> {
    let error = TopicName::new(name).err()?;
    let error = CreateTopicError::Name {
        name: name.to_owned(),
        error,
    };
    Some(Refusal {
        code: error.code(),
        message: error.to_string(),
    })
}

/// Changes what can be changed; the outcomes are in the order of what was asked.
pub(crate) async fn change(
    context: &Context,
    asked: &[Asked<'_>],
    mode: ConfigMode,
    validate_only: bool,
) -> Vec<Result<(), Refusal>> {
    let mut checked = check_all(asked, mode, context.front.node());
    for one in &mut checked {
        if let Ok(Checked::Metadata(change)) = one
            && let Some(refusal) = locks_out(context, change)
        {
            *one = Err(refusal);
        }
    }
    let of_metadata = checked.iter().flatten().filter_map(|one| match one {
        Checked::Metadata(change) => Some(change.clone()),
        Checked::Loggers(_) => None,
    });
    let changes: Vec<ConfigChange> = of_metadata.collect();
    let outcomes = if changes.is_empty() {
        Vec::new()
    } else {
        let command = Command::SetConfigs {
            changes: changes.clone(),
            mode,
            validate_only,
        };
        let Reply::SetConfigs(outcomes) = context.shards.control(command).await else {
            unreachable!("SetConfigs is answered by its own reply")
        };
        outcomes
    };
    if !validate_only {
        for (change, _) in changes.iter().zip(&outcomes).filter(|(_, one)| one.is_ok()) {
            say_what_has_no_effect(change);
        }
    }
    let mut outcomes = outcomes.into_iter();
    let outcomes = checked.into_iter().map(|one| {
        if let Checked::Loggers(levels) = one? {
            return set_levels(&levels, validate_only);
        }
        let outcome = outcomes.next().expect("one outcome for each change");
        outcome.map_err(|error| Refusal {
            code: error.code(),
            message: error.to_string(),
        })
    });
    outcomes
        .map(|outcome| outcome.map_err(Refusal::shortened))
        .collect()
}

/// What can be changed of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Checked {
    /// What the controller keeps.
    Metadata(ConfigChange),
    /// Levels of this process's trace, which nobody keeps.
    Loggers(Vec<(&'static str, Option<LoggerLevel>)>),
}

fn set_levels(
    levels: &[(&'static str, Option<LoggerLevel>)],
    validate_only: bool,
) -> Result<(), Refusal> {
    if validate_only {
        return Ok(());
    }
    logging::set_levels(levels).map_err(Refusal::config)?;
    for (logger, level) in levels {
        let level = level.map_or("that of root", LoggerLevel::word);
        tracing::info!(logger, level, "the level of a logger is changed");
    }
    Ok(())
}

/// Why a change of a broker is refused after which nobody could connect.
fn locks_out(context: &Context, change: &ConfigChange) -> Option<Refusal> {
    let of_broker = matches!(
        change.resource,
        ConfigResource::Broker(_) | ConfigResource::BrokerDefault
    );
    if !of_broker {
        return None;
    }
    let image = context.shards.image();
    let dynamic = dynamic_of(&image, context.front.node());
    let limits = context.front.config.sockets.connections(dynamic);
    let excepted = !limits.per_ip_overrides.is_empty();
    locks_everybody_out(broker_changes(&change.operations), excepted).map(Refusal::request)
}

fn check_all(asked: &[Asked<'_>], mode: ConfigMode, node: NodeId) -> Vec<Result<Checked, Refusal>> {
    let mut mentions: BTreeMap<(i8, &str), usize> = BTreeMap::new();
    for one in asked {
        *mentions.entry((one.kind, one.name)).or_default() += 1;
    }
    let checked = asked.iter().map(|one| {
        if mentions.get(&(one.kind, one.name)).is_some_and(|&n| n > 1) {
            return Err(Refusal::request(RESOURCE_REPEATED));
        }
        check(one, mode, node)
    });
    checked.collect()
}

/// What is asked of one resource, as the controller takes it.
fn check(asked: &Asked<'_>, mode: ConfigMode, node: NodeId) -> Result<Checked, Refusal> {
    // An operation that there is not needs a value like any other.
    let known = asked.operations.iter().map(|(key, operation)| {
        let operation = operation.clone();
        (
            key.clone(),
            operation.unwrap_or(ConfigOperation::Set(Some(String::new()))),
        )
    });
    let operations: Vec<_> = known.collect();
    check_operations(&operations).map_err(|error| Refusal::request(error.to_string()))?;
    let incremental = mode == ConfigMode::Incremental;
    let resource = match asked.kind {
        kind::TOPIC => {
            // Kafka looks at operations before it looks at the topic, even at its name.
            check_numbers(asked)?;
            check_lists(&operations).map_err(|error| Refusal::config(error.to_string()))?;
            topic_resource(asked.name)?
        }
        kind::BROKER => broker_resource(asked.name, node)?,
        kind::BROKER_LOGGER if incremental => {
            return check_loggers(asked, node).map(Checked::Loggers);
        }
        kind::GROUP => ConfigResource::Group(asked.name.to_owned()),
        kind::CLIENT_METRICS => ConfigResource::ClientMetrics(asked.name.to_owned()),
        other => {
            return Err(Refusal::request(format!("Unknown resource type {other}")));
        }
    };
    check_numbers(asked)?;
    if asked.kind == kind::BROKER {
        check_broker_keys(&operations, asked.name.is_empty())?;
    }
    Ok(Checked::Metadata(ConfigChange {
        resource,
        operations,
    }))
}

/// Refuses operations that there are not.
fn check_numbers(asked: &Asked<'_>) -> Result<(), Refusal> {
    let mut operations = asked.operations.iter();
    match operations.find_map(|(_, one)| one.as_ref().err()) {
        Some(number) => {
            let text = format!("Unknown operations type {number}");
            Err(Refusal::request(text))
        }
        None => Ok(()),
    }
}

fn topic_resource(name: &str) -> Result<ConfigResource, Refusal> {
    if name.is_empty() {
        return Err(Refusal::request("Default topic resources are not allowed."));
    }
    match TopicName::new(name) {
        Ok(name) => Ok(ConfigResource::Topic(name)),
        Err(_) => Err(illegal_topic(name).expect("this name is illegal")),
    }
}

fn broker_resource(name: &str, node: NodeId) -> Result<ConfigResource, Refusal> {
    if name.is_empty() {
        return Ok(ConfigResource::BrokerDefault);
    }
    let id: i32 = name
        .parse()
        .map_err(|_| Refusal::request(format!("Node id must be an integer, but it is: {name}")))?;
    if NodeId(id) != node {
        return Err(Refusal::request(format!(
            "Unexpected broker id, expected {node}, but received {name}"
        )));
    }
    Ok(ConfigResource::Broker(node))
}

/// The levels that loggers are to have.
fn check_loggers(
    asked: &Asked<'_>,
    node: NodeId,
) -> Result<Vec<(&'static str, Option<LoggerLevel>)>, Refusal> {
    let id: i32 = asked.name.parse().map_err(|_| {
        let name = asked.name;
        Refusal::request(format!("Node id must be an integer, but it is: {name}"))
    })?;
    if NodeId(id) != node {
        return Err(Refusal::request(format!(
            "Unexpected node id. Expected {node}, but received {id}"
        )));
    }
    let levels = asked
        .operations
        .iter()
        .map(|(name, operation)| check_level(name, operation));
    levels.collect()
}

fn check_level(
    name: &str,
    operation: &Result<ConfigOperation, i8>,
) -> Result<(&'static str, Option<LoggerLevel>), Refusal> {
    let kind = "operation is not allowed for the BROKER_LOGGER resource";
    let known = || {
        let absent = || Refusal::config(format!("Logger {name} does not exist!"));
        logger(name).ok_or_else(absent)
    };
    match operation {
        Ok(ConfigOperation::Set(level)) => {
            let (found, word) = (known()?, level.as_deref().unwrap_or_default());
            let level = LoggerLevel::from_word(word).ok_or_else(|| {
                Refusal::config(format!(
                    "Cannot set the log level of {name} to {word} as it is not a supported log \
                     level. Valid log levels are {LEVEL_WORDS}"
                ))
            })?;
            Ok((found, Some(level)))
        }
        Ok(ConfigOperation::Delete) => match known()? {
            ROOT => Err(Refusal::request(
                "Removing the log level of the root logger is not allowed",
            )),
            found => Ok((found, None)),
        },
        Ok(ConfigOperation::Append(_)) => Err(Refusal::request(format!("APPEND {kind}"))),
        Ok(ConfigOperation::Subtract(_)) => Err(Refusal::request(format!("SUBTRACT {kind}"))),
        Err(number) => Err(Refusal::request(format!(
            "Unknown operation type {number} is not allowed for the BROKER_LOGGER resource"
        ))),
    }
}

/// Changes as the table of broker keys takes them.
fn broker_changes(
    operations: &[(String, ConfigOperation)],
) -> impl Iterator<Item = (&str, BrokerKeyChange<'_>)> + Clone {
    operations.iter().filter_map(|(key, operation)| {
        let change = match operation {
            ConfigOperation::Set(value) => BrokerKeyChange::Set(value.as_deref()?),
            ConfigOperation::Append(_) => BrokerKeyChange::Words("append"),
            ConfigOperation::Subtract(_) => BrokerKeyChange::Words("subtract"),
            ConfigOperation::Delete => return None,
        };
        Some((key.as_str(), change))
    })
}

fn check_broker_keys(
    operations: &[(String, ConfigOperation)],
    for_all: bool,
) -> Result<(), Refusal> {
    check_dynamic(broker_changes(operations), for_all).map_err(|refused| {
        let message = refused.to_string();
        match refused {
            // Kafka answers so, although the values and not the request are wrong (KAFKA-13609).
            DynamicRefused::AtStartOnly(_)
            | DynamicRefused::PerListener(_)
            | DynamicRefused::PerBroker(_)
            | DynamicRefused::Value(_) => Refusal::request(message),
            DynamicRefused::NotAList { .. } | DynamicRefused::UnknownKey(_) => {
                Refusal::config(message)
            }
        }
    })
}

/// Whoever set a value that does nothing should not have to read the documentation to learn it.
fn say_what_has_no_effect(change: &ConfigChange) {
    if let ConfigResource::ClientMetrics(subscription) = &change.resource {
        tracing::warn!(
            subscription,
            "no effect: clients do not push metrics to this broker"
        );
        return;
    }
    let set = change.operations.iter();
    let set = set.filter(|(_, operation)| *operation != ConfigOperation::Delete);
    let keys = set.filter_map(|(key, _)| match change.resource {
        ConfigResource::Topic(_) => topic_config_key(key).map(|row| (row.name, row.served)),
        ConfigResource::Group(_) => group_config_key(key).map(|row| (row.name, row.served)),
        _ => broker_key(key).map(|row| (row.name, row.served)),
    });
    let resource = match &change.resource {
        ConfigResource::Topic(name) => format!("topic {name}"),
        ConfigResource::Broker(node) => format!("broker {node}"),
        ConfigResource::BrokerDefault => "all brokers".to_owned(),
        ConfigResource::ClientMetrics(name) => format!("subscription {name}"),
        ConfigResource::Group(name) => format!("group {name}"),
    };
    for warning in Warning::without_effect(keys) {
        tracing::warn!(resource, "{warning}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'r>(kind: i8, name: &'r str, operations: &[(&str, ConfigOperation)]) -> Asked<'r> {
        let operations = operations.iter();
        let operations = operations.map(|(key, one)| ((*key).to_owned(), Ok(one.clone())));
        Asked {
            kind,
            name,
            operations: operations.collect(),
        }
    }

    fn set(value: &str) -> ConfigOperation {
        ConfigOperation::Set(Some(value.to_owned()))
    }

    fn refusal(asked: &Asked<'_>) -> (i16, String) {
        let refused = check(asked, ConfigMode::Incremental, NodeId(1)).expect_err("refused");
        (refused.code.code(), refused.message)
    }

    #[test]
    fn only_what_is_named_once_is_changed() {
        let topic = asked(kind::TOPIC, "t", &[("retention.ms", set("1"))]);
        let broker = asked(kind::BROKER, "", &[("message.max.bytes", set("1"))]);
        let all = [topic.clone(), broker, topic];
        let checked = check_all(&all, ConfigMode::Incremental, NodeId(1));
        let ok: Vec<bool> = checked.iter().map(Result::is_ok).collect();
        assert_eq!(ok, [false, true, false]);
        assert_eq!(
            checked[0],
            Err(Refusal::request("Each resource must appear at most once."))
        );
    }

    #[test]
    fn resources_that_cannot_be_changed_get_kafkas_words() {
        let broker = |name| refusal(&asked(kind::BROKER, name, &[]));
        let integer = "Node id must be an integer, but it is: x";
        assert_eq!(broker("x"), (42, integer.to_owned()));
        let other = "Unexpected broker id, expected 1, but received 2";
        assert_eq!(broker("2"), (42, other.to_owned()));
        let default = "Default topic resources are not allowed.";
        let topic = |name| refusal(&asked(kind::TOPIC, name, &[]));
        assert_eq!(topic(""), (42, default.to_owned()));
        assert_eq!(topic("a/b").0, 17);
        assert_eq!(
            refusal(&asked(3, "t", &[])),
            (42, "Unknown resource type 3".to_owned())
        );
    }

    #[test]
    fn loggers_have_kafkas_rules_and_only_the_incremental_way_knows_them_at_all() {
        let levels = |name: &str, operation: ConfigOperation| {
            let one = asked(kind::BROKER_LOGGER, "1", &[(name, operation)]);
            check(&one, ConfigMode::Incremental, NodeId(1)).map_err(|refused| refused.message)
        };
        let done = |name, level| Ok(Checked::Loggers(vec![(name, level)]));
        let debug = Some(LoggerLevel::Debug);
        assert_eq!(
            levels("klamm_shard", set("DEBUG")),
            done("klamm_shard", debug)
        );
        assert_eq!(
            levels("klamm", ConfigOperation::Delete),
            done("klamm", None)
        );
        let text = "Removing the log level of the root logger is not allowed";
        assert_eq!(
            levels("root", ConfigOperation::Delete),
            Err(text.to_owned())
        );
        let text = "Cannot set the log level of root to warn as it is not a supported log level. \
                    Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN";
        assert_eq!(levels("root", set("warn")), Err(text.to_owned()));
        let logger = asked(kind::BROKER_LOGGER, "1", &[("kafka.Log", set("DEBUG"))]);
        let absent = "Logger kafka.Log does not exist!";
        assert_eq!(refusal(&logger), (40, absent.to_owned()));
        let append = ConfigOperation::Append(Some("DEBUG".to_owned()));
        let append = asked(kind::BROKER_LOGGER, "1", &[("kafka.Log", append)]);
        let text = "APPEND operation is not allowed for the BROKER_LOGGER resource";
        assert_eq!(refusal(&append), (42, text.to_owned()));
        let replaced = check(&logger, ConfigMode::Replace, NodeId(1)).expect_err("refused");
        assert_eq!(replaced.message, "Unknown resource type 8");
    }

    #[test]
    fn broker_keys_that_only_a_start_reads_are_named_together() {
        let change = |operations: &[(&str, ConfigOperation)]| {
            check(
                &asked(kind::BROKER, "1", operations),
                ConfigMode::Incremental,
                NodeId(1),
            )
        };
        let (code, text) = refusal(&asked(
            kind::BROKER,
            "",
            &[
                ("node.id", set("4")),
                ("message.max.bytes", set("4")),
                ("num.partitions", set("4")),
            ],
        ));
        assert_eq!(code, 42);
        let expected = "Cannot update these configs dynamically: [node.id, num.partitions]";
        assert_eq!(text, expected);
        let listeners = [("listeners", set("PLAINTEXT://:9"))];
        let (_, text) = refusal(&asked(kind::BROKER, "", &listeners));
        let level = "Cannot update these configs at default cluster level, broker id must be";
        assert_eq!(text, format!("{level} specified: [listeners]"));
        let (_, text) = refusal(&asked(kind::BROKER, "1", &listeners));
        assert_eq!(text, "Cannot update these configs dynamically: [listeners]");
        let (_, text) = refusal(&asked(
            kind::BROKER,
            "1",
            &[("ssl.keystore.location", set("x"))],
        ));
        assert!(text.starts_with("These security configs can be"), "{text}");
        assert!(change(&[("node.id", ConfigOperation::Delete)]).is_ok());
        assert!(change(&[("some.plugin.key", set("4"))]).is_ok());
        assert!(change(&[("listener.name.x.max.connections", set("4"))]).is_err());
        let append = ConfigOperation::Append(Some("4".to_owned()));
        let refused = change(&[("message.max.bytes", append)]).expect_err("no list");
        assert_eq!(refused.code, ErrorCode::InvalidConfig);
        let refused = change(&[("max.connections", set("many"))]).expect_err("no number");
        let text = "Invalid value many for configuration max.connections: Not a number of type INT";
        assert_eq!(refused, Refusal::request(text));
    }
}
