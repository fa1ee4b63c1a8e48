//! CreateTopics: maps the request to one command for the controller, and its reply back.

use std::borrow::Cow;
use std::collections::BTreeMap;

use klamm_model::{NodeId, Shown, topic_config_key};
use klamm_shard::api::metadata::{
    Command, CreateTopicError, CreatedTopic, ManualAssignment, NewTopic, Reply,
};
use klamm_wire::{Gather, create_topics};

use super::dynamic_of;
use crate::config::{Config, ConfigSource, DescribedKey, Dynamic, Warning};
use crate::net::{Close, Context, Mutations, Request};

/// First version that can be told that a quota is exhausted (KIP-599).
const FIRST_STRICT: i16 = 6;
/// "The broker's default" for partitions and replicas.
const DEFAULT: i16 = -1;

/// Answers the request once the decision is durable.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: create_topics::RequestView<'_> = request.body()?;
    let validate_only = view.validate_only();
    let command = command(&view);
    let mutations = Mutations::of(&request, FIRST_STRICT);
    let reply = context.shards.control(mutations.within(command)).await;
    let Reply::CreateTopics(outcomes) = reply else {
        unreachable!("CreateTopics is answered by its own reply")
    };
    if !validate_only {
        for (name, outcome) in &outcomes {
            let overrides = outcome.iter().map(|created| &created.overrides);
            for warning in overrides.flat_map(without_effect) {
                tracing::warn!(topic = name, "{warning}");
            }
        }
    }
    let created = outcomes
        .iter()
        .filter_map(|(_, outcome)| outcome.as_ref().ok());
    let partitions = created.map(|topic| usize::try_from(topic.partitions).unwrap_or(0));
    let is_refused =
        |(_, outcome): &(_, Result<_, _>)| matches!(outcome, Err(CreateTopicError::QuotaExceeded));
    let refused = outcomes.iter().any(is_refused);
    let throttle = mutations.charge(&context, partitions.sum(), refused);
    let image = context.shards.image();
    let dynamic = dynamic_of(&image, context.front.node());
    request.answer(&create_topics::Response {
        throttle_time_ms: throttle,
        ..response(&context.front.config, dynamic, outcomes)
    })
}

/// What the trace says of a new topic whose own values do nothing: whoever set them should not
/// have to read the documentation to learn it.
fn without_effect(overrides: &BTreeMap<String, String>) -> Vec<Warning> {
    let rows = overrides.keys().filter_map(|key| {
        let row = topic_config_key(key)?;
        Some((row.name, row.served))
    });
    Warning::without_effect(rows)
}

fn command(view: &create_topics::RequestView<'_>) -> Command {
    let topics = view.topics().iter().map(|topic| NewTopic {
        name: topic.name().to_owned(),
        partitions: Some(topic.num_partitions()).filter(|&count| count != i32::from(DEFAULT)),
        replication_factor: Some(topic.replication_factor()).filter(|&count| count != DEFAULT),
        assignments: topic.assignments().iter().map(assignment).collect(),
        configs: topic
            .configs()
            .iter()
            .map(|config| (config.name().to_owned(), config.value().map(str::to_owned)))
            .collect(),
    });
    Command::CreateTopics {
        topics: topics.collect(),
        validate_only: view.validate_only(),
    }
}

fn assignment(view: create_topics::CreatableReplicaAssignmentView<'_>) -> ManualAssignment {
    ManualAssignment {
        index: view.partition_index(),
        replicas: view.broker_ids().iter().map(NodeId).collect(),
    }
}

fn response(
    config: &Config,
    dynamic: Dynamic<'_>,
    outcomes: Vec<(String, Result<CreatedTopic, CreateTopicError>)>,
) -> create_topics::Response<'static> {
    let topics = outcomes.into_iter().map(|(name, outcome)| {
        let name = Cow::Owned(name);
        match outcome {
            Ok(created) => create_topics::CreatableTopicResult {
                name,
                topic_id: created.id.0,
                num_partitions: created.partitions,
                replication_factor: created.replication_factor,
                error_message: None,
                configs: Some(configs(config, dynamic, &created)),
                ..Default::default()
            },
            Err(error) => create_topics::CreatableTopicResult {
                name,
                error_code: error.code().code(),
                error_message: Some(Cow::Owned(error.to_string())),
                configs: Some(Vec::new()),
                ..Default::default()
            },
        }
    });
    create_topics::Response {
        topics: topics.collect(),
        ..Default::default()
    }
}

/// The whole configuration of the new topic (KIP-525), as far as Apache Kafka has words for it:
/// programs look every key of this answer up in Kafka's own table, so klamm's keys are in it only
/// where the request set them. DescribeConfigs has them always.
fn configs(
    config: &Config,
    dynamic: Dynamic<'_>,
    created: &CreatedTopic,
) -> Vec<create_topics::CreatableTopicConfigs<'static>> {
    let described = config
        .describe_topic(&created.overrides, dynamic)
        .into_iter();
    let told =
        |key: &DescribedKey| key.shown == Shown::Always || key.source == ConfigSource::DynamicTopic;
    described
        .filter(told)
        .map(|key| create_topics::CreatableTopicConfigs {
            name: key.name,
            value: key.value.map(Cow::Owned),
            read_only: key.read_only,
            config_source: key.source as i8,
            is_sensitive: key.sensitive,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use klamm_model::TopicId;
    use klamm_wire::{Message, MessageView};

    use super::*;
    use crate::handlers::tests::config;

    #[test]
    fn minus_one_asks_for_the_brokers_defaults() {
        for (number, partitions, factor) in [
            (-1, None, None),
            (0, Some(0), Some(0)),
            (3, Some(3), Some(3)),
        ] {
            let topic = create_topics::CreatableTopic {
                name: "t".into(),
                num_partitions: number,
                replication_factor: number as i16,
                configs: vec![create_topics::CreatableTopicConfig {
                    name: "retention.ms".into(),
                    value: Some("1".into()),
                }],
                ..Default::default()
            };
            let request = create_topics::Request {
                topics: vec![topic],
                validate_only: true,
                ..Default::default()
            };
            let mut bytes = bytes::BytesMut::new();
            request.encode(7, &mut bytes).expect("expressible");
            let view = create_topics::RequestView::parse(&bytes, 7).expect("own bytes");
            let expected = NewTopic {
                partitions,
                replication_factor: factor,
                configs: vec![("retention.ms".to_owned(), Some("1".to_owned()))],
                ..NewTopic::named("t")
            };
            let expected = Command::CreateTopics {
                topics: vec![expected],
                validate_only: true,
            };
            assert_eq!(command(&view), expected);
        }
    }

    #[test]
    fn klamms_own_and_internal_keys_are_told_only_where_the_request_set_them() {
        let names = |overrides: &[(&str, &str)]| {
            let pairs = overrides.iter();
            let pairs = pairs.map(|&(key, value)| (key.to_owned(), value.to_owned()));
            let created = CreatedTopic {
                id: TopicId([5; 16]),
                partitions: 1,
                replication_factor: 1,
                overrides: pairs.collect(),
            };
            let told = configs(&config(), Dynamic::NONE, &created).into_iter();
            told.map(|row| row.name).collect::<Vec<_>>()
        };
        let own = ["klamm.durability", "internal.segment.bytes"];
        let silent = names(&[("retention.ms", "1000")]);
        assert!(!silent.iter().any(|name| own.contains(&name.as_ref())));
        assert!(
            silent.contains(&"retention.ms".into()) && silent.contains(&"segment.bytes".into())
        );
        let set = names(&[(own[0], "written"), (own[1], "1000")]);
        assert!(own.iter().all(|name| set.iter().any(|told| told == name)));
    }

    #[test]
    fn values_that_do_nothing_are_named_with_the_reason() {
        let overrides = [
            ("flush.ms", "1"),
            ("segment.jitter.ms", "1"),
            ("cleanup.policy", "compact,delete"),
            ("segment.bytes", "1"),
        ];
        let overrides = overrides.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let said: Vec<_> = without_effect(&overrides.into())
            .iter()
            .map(Warning::to_string)
            .collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("not served yet: segment.jitter.ms"));
        assert!(said[1].contains("built without what they tune: flush.ms"));
        let deleted = [("cleanup.policy".to_owned(), "delete".to_owned())];
        assert_eq!(without_effect(&deleted.into()), []);
        assert_eq!(without_effect(&BTreeMap::new()), []);
    }

    #[test]
    fn every_version_says_what_became_of_each_topic() {
        let created = CreatedTopic {
            id: TopicId([5; 16]),
            partitions: 4,
            replication_factor: 1,
            overrides: [("retention.ms".to_owned(), "77".to_owned())].into(),
        };
        let outcomes = vec![
            ("good".to_owned(), Ok(created)),
            ("bad".to_owned(), Err(CreateTopicError::Partitions)),
        ];
        let response = response(&config(), Dynamic::NONE, outcomes);
        for version in 0..=7 {
            let mut bytes = bytes::BytesMut::new();
            response
                .encode(version, &mut bytes)
                .expect("every version can say it");
            let view = create_topics::ResponseView::parse(&bytes, version).expect("own bytes");
            let codes: Vec<_> = view
                .topics()
                .iter()
                .map(|topic| topic.error_code())
                .collect();
            assert_eq!(codes, [0, 37], "version {version}");
        }
        let retention = response.topics[0]
            .configs
            .as_ref()
            .and_then(|configs| configs.iter().find(|config| config.name == "retention.ms"));
        let retention = retention.expect("described");
        assert_eq!(
            (retention.value.as_deref(), retention.config_source),
            (Some("77"), 1)
        );
    }
}
