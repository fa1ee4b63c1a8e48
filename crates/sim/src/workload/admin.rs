//! The administrator: creates topics, deletes them, creates them again, and changes their class.

use klamm_engine::metadata::{
    Command, ConfigChange, ConfigMode, ConfigOperation, ConfigResource, Image, NewTopic,
    TopicReference,
};
use klamm_model::Durability;

use super::TOPICS;
use crate::random::Random;

/// What the administrator has asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Create this topic.
    Create(&'static str),
    /// Delete this topic.
    Delete(&'static str),
    /// Change the class of this topic.
    Change(&'static str),
}

impl Errand {
    /// Which topic it is about.
    #[must_use]
    pub const fn topic(&self) -> &'static str {
        match self {
            Self::Create(topic) | Self::Delete(topic) | Self::Change(topic) => topic,
        }
    }
}

/// What to ask of the controller next. `calm` leaves everything as it is, but creates what is
/// missing.
pub fn errand(
    random: &mut Random,
    image: &Image,
    calm: bool,
    compacts: bool,
) -> Option<(Errand, Command)> {
    let name = TOPICS[random.below(TOPICS.len())];
    let Some(topic) = image.topic(name) else {
        let configs = [
            ("klamm.durability", class(random).word().to_owned()),
            (
                "index.interval.bytes",
                ["0", "256", "2048"][random.below(3)].to_owned(),
            ),
        ];
        let mut configs = configs.to_vec();
        if compacts {
            configs.extend(compaction(random));
        }
        let topic = NewTopic {
            partitions: Some(random.between(1, 3) as i32),
            replication_factor: Some(1),
            configs: configs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), Some(value)))
                .collect(),
            ..NewTopic::named(name)
        };
        let command = Command::CreateTopics {
            topics: vec![topic],
            validate_only: false,
        };
        return Some((Errand::Create(name), command));
    };
    if calm {
        return None;
    }
    if random.chance(20) {
        let command = Command::DeleteTopics {
            topics: vec![TopicReference::Name(name.to_owned())],
        };
        return Some((Errand::Delete(name), command));
    }
    let (key, value) = match compacts && random.chance(40) {
        true => ("cleanup.policy", policy(random)),
        false => ("klamm.durability", class(random).word()),
    };
    let change = ConfigChange {
        resource: ConfigResource::Topic(topic.name().clone()),
        operations: vec![(key.to_owned(), ConfigOperation::Set(Some(value.to_owned())))],
    };
    let command = Command::SetConfigs {
        changes: vec![change],
        mode: ConfigMode::Incremental,
        validate_only: false,
    };
    Some((Errand::Change(name), command))
}

/// What a compacted topic is created with.
fn compaction(random: &mut Random) -> Vec<(&'static str, String)> {
    let mut set = |key, values: &[&str]| {
        let value = values[random.below(values.len())];
        (key, value.to_owned())
    };
    vec![
        set("min.cleanable.dirty.ratio", &["0", "0.2", "0.5"]),
        set(
            "delete.retention.ms",
            &["0", "0", "300", "5000", "86400000"],
        ),
        set("min.compaction.lag.ms", &["0", "0", "0", "700"]),
        set("max.compaction.lag.ms", &["1000", "9223372036854775807"]),
        set("segment.ms", &["50", "1000", "604800000"]),
        set("compression.type", &["producer", "producer", "lz4", "gzip"]),
        set("file.delete.delay.ms", &["0", "60000"]),
        ("cleanup.policy", policy(random).to_owned()),
    ]
}

const fn policy(random: &mut Random) -> &'static str {
    ["compact", "compact", "compact,delete", "delete"][random.below(4)]
}

const fn class(random: &mut Random) -> Durability {
    if random.chance(70) {
        Durability::Flushed
    } else {
        Durability::Written
    }
}
