//! DescribeCluster: the brokers as one listener's clients reach them (KIP-700).

use std::borrow::Cow;

use klamm_model::{ErrorCode, NodeId};
use klamm_shard::api::metadata::Image;
use klamm_wire::{Gather, describe_cluster};

use super::h03_metadata::controller;
use super::{CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, borrowed, endpoints};
use crate::net::{Close, Context, Request};

/// Kinds of endpoints (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: describe_cluster::RequestView = request.body()?;
    let image = context.shards.image();
    let node = context.front.node();
    let mut response = response(&image, context.listener_name(), node, view.endpoint_type());
    let is_asked = view.include_cluster_authorized_operations();
    if is_asked && response.error_code == ErrorCode::None.code() {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    request.answer(&response)
}

fn response<'i>(
    image: &'i Image,
    listener: &'i str,
    node: NodeId,
    wanted: i8,
) -> describe_cluster::Response<'i> {
    let cluster_id = image.cluster().map(|id| id.to_string()).unwrap_or_default();
    let mut response = describe_cluster::Response {
        endpoint_type: BROKERS,
        controller_id: -1,
        cluster_authorized_operations: OPERATIONS_NOT_ASKED,
        ..Default::default()
    };
    let refusal = match wanted {
        BROKERS => None,
        CONTROLLERS => {
            let text = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            Some((ErrorCode::MismatchedEndpointType, text.to_owned()))
        }
        other => {
            let text = format!("Unsupported endpoint type {other}");
            Some((ErrorCode::UnsupportedEndpointType, text))
        }
    };
    if let Some((code, text)) = refusal {
        response.error_code = code.code();
        response.error_message = Some(Cow::Owned(text));
        return response;
    }
    response.cluster_id = Cow::Owned(cluster_id);
    response.controller_id = controller(image, node);
    let brokers =
        endpoints(image, listener).map(|broker| describe_cluster::DescribeClusterBroker {
            broker_id: broker.node.0,
            host: borrowed(broker.host),
            port: i32::from(broker.port),
            rack: broker.rack.map(borrowed),
            is_fenced: false,
        });
    response.brokers = brokers.collect();
    response
}

#[cfg(test)]
mod tests {
    use klamm_wire::{Message, MessageView};

    use super::*;
    use crate::handlers::tests::image_of_two_brokers;

    #[test]
    fn every_version_shows_the_brokers() {
        let image = image_of_two_brokers("t", NodeId(1));
        for version in 0..=2 {
            let response = response(&image, "PLAINTEXT", NodeId(1), BROKERS);
            let mut bytes = bytes::BytesMut::new();
            response
                .encode(version, &mut bytes)
                .expect("every version can say it");
            let view = describe_cluster::ResponseView::parse(&bytes, version).expect("own bytes");
            let nodes: Vec<_> = view
                .brokers()
                .iter()
                .map(|broker| broker.broker_id())
                .collect();
            assert_eq!(
                (nodes, view.controller_id()),
                (vec![1, 2], 1),
                "version {version}"
            );
        }
    }

    #[test]
    fn controllers_are_not_to_be_had_from_a_broker() {
        let image = image_of_two_brokers("t", NodeId(1));
        for (kind, code) in [(CONTROLLERS, 114), (0, 115), (3, 115)] {
            let response = response(&image, "PLAINTEXT", NodeId(1), kind);
            assert_eq!(response.error_code, code);
            assert!(response.brokers.is_empty());
        }
    }
}
