//! DescribeConfigs: topics, groups and this broker, with where each value comes from.

use std::borrow::Cow;
use std::collections::BTreeSet;

use klamm_model::{ErrorCode, GROUP_CONFIG_KEYS, NodeId};
use klamm_shard::api::metadata::Image;
use klamm_wire::{Gather, describe_configs};

use super::config_changes::{Refusal, illegal_topic, kind};
use super::{check_named, dynamic_of};
use crate::config::{Config, DescribedKey, describe_logger, describe_subscription};
use crate::logging;
use crate::net::{Close, Context, Request};

/// What the request wants to see of each key.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    synonyms: bool,
    documentation: bool,
}

/// Answers the request. A resource that is named twice is answered once: a few bytes name a broker,
/// and its keys are many.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: describe_configs::RequestView<'_> = request.body()?;
    let named = view.resources().iter();
    let named = named.map(|one| {
        let keys = one.configuration_keys().map_or(1, |keys| keys.len());
        match one.resource_type() {
            // Also groups that there are not have keys.
            kind::GROUP => keys.max(GROUP_CONFIG_KEYS.len()),
            _ => keys,
        }
    });
    check_named(&request, named)?;
    let image = context.shards.image();
    request.answer(&response(&context.front.config, &image, &view))
}

fn response<'a>(
    config: &Config,
    image: &Image,
    view: &describe_configs::RequestView<'a>,
) -> describe_configs::Response<'a> {
    let wanted = Wanted {
        synonyms: view.include_synonyms(),
        documentation: view.include_documentation(),
    };
    let mut answered = BTreeSet::new();
    let resources = view.resources().iter();
    let resources = resources.filter(|resource| {
        let (number, name) = (resource.resource_type(), resource.resource_name());
        answered.insert((number, identity(number, name)))
    });
    let results = resources.map(|resource| {
        let (number, name) = (resource.resource_type(), resource.resource_name());
        let mut result = describe_configs::DescribeConfigsResult {
            resource_type: number,
            resource_name: Cow::Borrowed(name),
            ..Default::default()
        };
        match describe(config, image, number, name) {
            Ok(keys) => {
                // No keys at all are all keys.
                let asked: Option<BTreeSet<&str>> = resource
                    .configuration_keys()
                    .filter(|keys| !keys.is_empty())
                    .map(|keys| keys.iter().collect());
                let keys = keys.into_iter();
                let is_asked = |key: &DescribedKey| {
                    asked
                        .as_ref()
                        .is_none_or(|asked| asked.contains(key.name.as_ref()))
                };
                let keys = keys.filter(is_asked);
                result.configs = keys.map(|key| entry(key, wanted)).collect();
            }
            Err((code, message)) => {
                result.error_code = code.code();
                result.error_message = Some(Cow::Owned(message.unwrap_or_default()));
            }
        }
        result
    });
    describe_configs::Response {
        results: results.collect(),
        ..Default::default()
    }
}

/// A resource however it is written: brokers are numbers, which many texts stand for.
fn identity(resource: i8, name: &str) -> Result<i32, &str> {
    match resource {
        kind::BROKER | kind::BROKER_LOGGER => name.parse().map_err(|_| name),
        _ => Err(name),
    }
}

/// What is known of a resource; a message only where Kafka has one.
fn describe(
    config: &Config,
    image: &Image,
    resource: i8,
    name: &str,
) -> Result<Vec<DescribedKey>, (ErrorCode, Option<String>)> {
    let refused = |refusal: Refusal| (refusal.code, Some(refusal.message));
    let dynamic = dynamic_of(image, config.node_id);
    match resource {
        kind::TOPIC => match image.topic(name) {
            Some(topic) => Ok(config.describe_topic(topic.overrides(), dynamic)),
            None => Err(match illegal_topic(name) {
                Some(illegal) => refused(illegal),
                None => (ErrorCode::UnknownTopicOrPartition, None),
            }),
        },
        kind::BROKER if name.is_empty() => Ok(config.describe_for_all(dynamic)),
        kind::BROKER => {
            check_node(config.node_id, name, " or empty string,").map_err(refused)?;
            Ok(config.describe(dynamic))
        }
        kind::BROKER_LOGGER => {
            if name.is_empty() {
                return Err(refused(Refusal::request("Broker id must not be empty")));
            }
            check_node(config.node_id, name, "").map_err(refused)?;
            let loggers = logging::loggers().into_iter();
            Ok(loggers
                .map(|(name, level)| describe_logger(name, level.word()))
                .collect())
        }
        kind::GROUP if name.is_empty() => {
            Err(refused(Refusal::request("Group name must not be empty")))
        }
        kind::GROUP => Ok(config.describe_group(image.group_config(name), dynamic)),
        kind::CLIENT_METRICS if name.is_empty() => Err(refused(Refusal::request(
            "Client metrics subscription name must not be empty",
        ))),
        kind::CLIENT_METRICS => Ok(describe_subscription(image.client_metrics().get(name))),
        other => Err(refused(Refusal::request(format!(
            "Unsupported resource type: {other}"
        )))),
    }
}

/// Only the node itself knows its configuration; `or` is what else may be asked for.
fn check_node(own: NodeId, name: &str, or: &str) -> Result<(), Refusal> {
    match name.parse() {
        Ok(node) if NodeId(node) == own => Ok(()),
        Ok(node) => Err(Refusal::request(format!(
            "Unexpected broker id, expected {own}{or} but received {node}"
        ))),
        Err(_) => Err(Refusal::request(format!(
            "Broker id must be an integer, but it is: {name}"
        ))),
    }
}

fn entry(
    key: DescribedKey,
    wanted: Wanted,
) -> describe_configs::DescribeConfigsResourceResult<'static> {
    let synonyms = if wanted.synonyms {
        key.synonyms
    } else {
        Vec::new()
    };
    describe_configs::DescribeConfigsResourceResult {
        name: key.name,
        value: key.value.map(Cow::Owned),
        read_only: key.read_only,
        is_default: key.is_default,
        config_source: key.source as i8,
        is_sensitive: key.sensitive,
        synonyms: synonyms
            .into_iter()
            .map(|synonym| describe_configs::DescribeConfigsSynonym {
                name: Cow::Owned(synonym.name),
                value: synonym.value.map(Cow::Owned),
                source: synonym.source as i8,
            })
            .collect(),
        config_type: key.type_number,
        documentation: wanted.documentation.then_some(key.documentation),
    }
}

#[cfg(test)]
mod tests {
    use klamm_wire::{Message, MessageView};

    use super::*;
    use crate::handlers::tests::{config, image_of_two_brokers};

    fn described(
        version: i16,
        number: i8,
        name: &str,
        keys: Option<&[&'static str]>,
    ) -> (i16, Vec<String>, bool) {
        let resource = describe_configs::DescribeConfigsResource {
            resource_type: number,
            resource_name: name.into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|&key| key.into()).collect()),
        };
        let request = describe_configs::Request {
            resources: vec![resource],
            include_synonyms: version >= 1,
            include_documentation: version >= 3,
        };
        let mut bytes = bytes::BytesMut::new();
        request.encode(version, &mut bytes).expect("expressible");
        let view = describe_configs::RequestView::parse(&bytes, version).expect("own bytes");
        let image = image_of_two_brokers("flights", NodeId(1));
        let response = response(&config(), &image, &view);
        let mut answer = bytes::BytesMut::new();
        response
            .encode(version, &mut answer)
            .expect("every version can say it");
        let view = describe_configs::ResponseView::parse(&answer, version).expect("own bytes");
        let result = view.results().iter().next().expect("one resource");
        let names = result
            .configs()
            .iter()
            .map(|config| config.name().to_owned())
            .collect();
        let documented = result
            .configs()
            .iter()
            .any(|config| config.documentation().is_some_and(|d| !d.is_empty()));
        (result.error_code(), names, documented)
    }

    #[test]
    fn only_the_keys_that_were_named_are_described_in_every_version() {
        for version in 0..=4 {
            let keys = ["retention.ms", "no.such.key"];
            let (code, names, documented) = described(version, kind::TOPIC, "flights", Some(&keys));
            assert_eq!(
                (code, names),
                (0, vec!["retention.ms".to_owned()]),
                "{version}"
            );
            assert_eq!(documented, version >= 3, "{version}");
            for all in [None, Some(&[][..])] {
                let (code, names, _) = described(version, kind::TOPIC, "flights", all);
                assert!(code == 0 && names.len() > 10, "{version}: {names:?}");
            }
        }
    }

    #[test]
    fn resources_that_are_not_there_get_kafkas_codes() {
        assert_eq!(described(4, kind::TOPIC, "absent", None).0, 3);
        assert_eq!(described(4, kind::TOPIC, "a/b", None).0, 17);
        assert_eq!(described(4, kind::BROKER, "77", None).0, 42);
        assert_eq!(described(4, kind::BROKER, "x", None).0, 42);
        assert_eq!(described(4, kind::BROKER_LOGGER, "", None).0, 42);
        assert_eq!(
            described(4, kind::BROKER_LOGGER, "1", None),
            (0, Vec::new(), false)
        );
        assert_eq!(described(4, kind::GROUP, "", None).0, 42);
        let (code, names, _) = described(4, kind::GROUP, "g", None);
        assert_eq!((code, names.len()), (0, GROUP_CONFIG_KEYS.len()));
        assert_eq!(described(4, kind::CLIENT_METRICS, "", None).0, 42);
        let keys = ["interval.ms", "match", "metrics"].map(str::to_owned);
        let (code, names, _) = described(4, kind::CLIENT_METRICS, "m", None);
        assert_eq!((code, names), (0, keys.to_vec()));
        assert_eq!(described(4, 3, "1", None).0, 42);
        assert_eq!(described(4, kind::BROKER, "", None), (0, Vec::new(), false));
    }

    #[test]
    fn this_broker_is_described_by_its_number() {
        let (code, names, _) = described(4, kind::BROKER, &config().node_id.to_string(), None);
        assert_eq!(code, 0);
        assert!(names.iter().any(|name| name == "node.id"));
    }
}
