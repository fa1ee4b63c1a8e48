//! ListConfigResources: the resources that may have configuration, whether they have any or not
//! (KIP-1142); of groups and subscriptions those that have. Version 0 knows client metrics only.

use std::borrow::Cow;

use klamm_model::ErrorCode;
use klamm_shard::api::metadata::Image;
use klamm_wire::{Gather, list_config_resources};

use super::config_changes::kind;
use super::endpoints;
use crate::net::{Close, Context, Request};

type Found<'i> = list_config_resources::ConfigResource<'i>;

/// Kinds that version 1 may ask for; asking for none means all of them.
const KINDS: [i8; 5] = [
    kind::GROUP,
    kind::CLIENT_METRICS,
    kind::BROKER_LOGGER,
    kind::BROKER,
    kind::TOPIC,
];

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: list_config_resources::RequestView<'_> = request.body()?;
    let image = context.shards.image();
    let listener = context.listener_name();
    let asked: Vec<i8> = view.resource_types().iter().collect();
    request.answer(&response(&image, listener, request.version, &asked))
}

fn response<'i>(
    image: &'i Image,
    listener: &'i str,
    version: i16,
    asked: &[i8],
) -> list_config_resources::Response<'i> {
    let known = match version {
        0 => &[kind::CLIENT_METRICS][..],
        _ => &KINDS[..],
    };
    if !asked.iter().all(|kind| known.contains(kind)) {
        return list_config_resources::Response {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..Default::default()
        };
    }
    let wanted = known
        .iter()
        .filter(|kind| asked.is_empty() || asked.contains(kind));
    list_config_resources::Response {
        config_resources: wanted
            .flat_map(|kind| resources(image, listener, *kind))
            .collect(),
        ..Default::default()
    }
}

fn resources<'i>(image: &'i Image, listener: &'i str, resource_type: i8) -> Vec<Found<'i>> {
    let found = |resource_name| Found {
        resource_name,
        resource_type,
    };
    match resource_type {
        kind::TOPIC => {
            let names = image.topics().map(|topic| topic.name().as_str());
            names.map(|name| found(Cow::Borrowed(name))).collect()
        }
        kind::BROKER | kind::BROKER_LOGGER => {
            let nodes = endpoints(image, listener).map(|endpoint| endpoint.node);
            nodes
                .map(|node| found(Cow::Owned(node.to_string())))
                .collect()
        }
        kind::CLIENT_METRICS => {
            let names = image.client_metrics().keys();
            names.map(|name| found(Cow::Borrowed(name))).collect()
        }
        kind::GROUP => {
            let configured = image.group_configs();
            let names = configured.map(|(name, _)| name);
            names.map(|name| found(Cow::Borrowed(name))).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use klamm_model::NodeId;
    use klamm_wire::{Message, MessageView};

    use super::*;
    use crate::handlers::tests::image_of_two_brokers;

    fn listed(version: i16, asked: &[i8]) -> (i16, Vec<(i8, String)>) {
        let image = image_of_two_brokers("flights", NodeId(1));
        let response = response(&image, "PLAINTEXT", version, asked);
        let mut bytes = bytes::BytesMut::new();
        response.encode(version, &mut bytes).expect("expressible");
        let view = list_config_resources::ResponseView::parse(&bytes, version).expect("own bytes");
        let found = view
            .config_resources()
            .iter()
            .map(|one| (one.resource_type(), one.resource_name().to_owned()));
        (view.error_code(), found.collect())
    }

    #[test]
    fn topics_and_brokers_are_named_where_they_are_asked_for() {
        let named = |kind, names: &[&str]| -> Vec<(i8, String)> {
            names
                .iter()
                .map(|name| (kind, (*name).to_owned()))
                .collect()
        };
        assert_eq!(listed(1, &[2]), (0, named(2, &["flights"])));
        assert_eq!(listed(1, &[4]), (0, named(4, &["1", "2"])));
        assert_eq!(listed(1, &[16, 32]), (0, Vec::new()));
        let all = [
            named(8, &["1", "2"]),
            named(4, &["1", "2"]),
            named(2, &["flights"]),
        ];
        assert_eq!(listed(1, &[]), (0, all.concat()));
    }

    #[test]
    fn kinds_that_a_version_does_not_know_are_refused_whole() {
        assert_eq!(listed(0, &[]), (0, Vec::new()));
        assert_eq!(listed(1, &[2, 3]), (35, Vec::new()));
        assert_eq!(listed(1, &[0]), (35, Vec::new()));
    }
}
