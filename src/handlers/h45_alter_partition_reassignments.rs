//! AlterPartitionReassignments: says anew on which brokers partitions lie (KIP-455, KIP-860).

use std::borrow::Cow;

use klamm_model::ErrorCode;
use klamm_shard::api::metadata::{Command, Reassignment, ReassignmentError, Reply};
use klamm_wire::{Gather, alter_partition_reassignments};

use super::{borrowed, check_named, kept_name};
use crate::net::{Close, Context, Request};

type Outcome = Result<(), ReassignmentError>;

/// Answers the request once the decision is durable.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: alter_partition_reassignments::RequestView<'_> = request.body()?;
    check_named(&request, named(&view))?;
    let command = Command::AlterReassignments {
        reassignments: reassignments(&view),
        replication_factor_may_change: view.allow_replication_factor_change(),
    };
    let Reply::AlterReassignments(outcomes) = context.shards.control(command).await else {
        unreachable!("AlterReassignments is answered by its own reply")
    };
    request.answer(&response(&view, outcomes))
}

/// Partitions of each topic, and the brokers named for them: both are kept until the decision is
/// made.
fn named(view: &alter_partition_reassignments::RequestView<'_>) -> impl Iterator<Item = usize> {
    view.topics().iter().map(|topic| {
        let partitions = topic.partitions().iter();
        partitions
            .map(|part| 1 + part.replicas().map_or(0, |replicas| replicas.len()))
            .sum()
    })
}

fn reassignments(view: &alter_partition_reassignments::RequestView<'_>) -> Vec<Reassignment> {
    let mut all = Vec::new();
    for topic in view.topics() {
        all.extend(topic.partitions().iter().map(|part| Reassignment {
            topic: kept_name(topic.name()).to_owned(),
            partition: part.partition_index(),
            replicas: part.replicas().map(|replicas| replicas.iter().collect()),
        }));
    }
    all
}

fn response<'a>(
    view: &alter_partition_reassignments::RequestView<'a>,
    outcomes: Vec<Outcome>,
) -> alter_partition_reassignments::Response<'a> {
    let mut outcomes = outcomes.into_iter();
    let responses = view.topics().iter().map(|topic| {
        let partitions = topic.partitions().iter().map(|part| {
            let (code, text) = match outcomes.next() {
                Some(Ok(())) => (ErrorCode::None, None),
                // Kafka leaves out the text that the code stands for.
                Some(Err(error @ ReassignmentError::NothingInProgress)) => (error.code(), None),
                Some(Err(error)) => (error.code(), Some(Cow::Owned(error.to_string()))),
                None => (ErrorCode::UnknownServerError, None),
            };
            alter_partition_reassignments::ReassignablePartitionResponse {
                partition_index: part.partition_index(),
                error_code: code.code(),
                error_message: text,
            }
        });
        alter_partition_reassignments::ReassignableTopicResponse {
            name: borrowed(topic.name()),
            partitions: partitions.collect(),
        }
    });
    alter_partition_reassignments::Response {
        // Kafka answers a request that names nothing with its default.
        allow_replication_factor_change: view.topics().is_empty()
            || view.allow_replication_factor_change(),
        // Kafka has an empty text, not none, where nothing is named.
        error_message: view.topics().is_empty().then(|| borrowed("")),
        responses: responses.collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use klamm_wire::{Message, MessageView};

    use super::*;

    #[test]
    fn every_version_keeps_the_order_of_the_request() {
        let part =
            |partition_index, replicas| alter_partition_reassignments::ReassignablePartition {
                partition_index,
                replicas,
            };
        let topic =
            |name: &'static str, partitions| alter_partition_reassignments::ReassignableTopic {
                name: name.into(),
                partitions,
            };
        for version in 0..=1 {
            let request = alter_partition_reassignments::Request {
                topics: vec![
                    topic("b", vec![part(1, Some(vec![3, 4])), part(0, None)]),
                    topic("a", vec![part(5, Some(Vec::new()))]),
                ],
                allow_replication_factor_change: version == 0,
                ..Default::default()
            };
            let mut bytes = bytes::BytesMut::new();
            request.encode(version, &mut bytes).expect("expressible");
            let view = alter_partition_reassignments::RequestView::parse(&bytes, version);
            let view = view.expect("own bytes");
            assert_eq!(named(&view).sum::<usize>(), 5);
            let asked: Vec<_> = reassignments(&view)
                .into_iter()
                .map(|one| (one.topic, one.partition, one.replicas))
                .collect();
            let expected = [
                ("b".to_owned(), 1, Some(vec![3, 4])),
                ("b".to_owned(), 0, None),
                ("a".to_owned(), 5, Some(Vec::new())),
            ];
            assert_eq!(asked, expected);
            let outcomes = vec![
                Err(ReassignmentError::UnknownBroker(3)),
                Err(ReassignmentError::NothingInProgress),
                Ok(()),
            ];
            let mut answer = bytes::BytesMut::new();
            let response = response(&view, outcomes);
            response.encode(version, &mut answer).expect("expressible");
            let view = alter_partition_reassignments::ResponseView::parse(&answer, version);
            let view = view.expect("own bytes");
            assert_eq!(view.allow_replication_factor_change(), version == 0);
            let codes: Vec<_> = view
                .responses()
                .iter()
                .flat_map(|topic| topic.partitions())
                .map(|part| (part.partition_index(), part.error_code()))
                .collect();
            assert_eq!(codes, [(1, 39), (0, 85), (5, 0)]);
        }
    }
}
