//! CreatePartitions: maps the request to one command for the controller, and its reply back.

use std::borrow::Cow;
use std::collections::BTreeSet;

use klamm_model::NodeId;
use klamm_shard::api::metadata::{Command, CreatePartitionsError, Image, MorePartitions, Reply};
use klamm_wire::{Gather, create_partitions};

use super::check_named;
use crate::net::{Close, Context, Mutations, Request};

/// First version that can be told that a quota is exhausted (KIP-599).
const FIRST_STRICT: i16 = 3;

/// Answers the request once the decision is durable.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view = request.body()?;
    check_named(&request, named(&view))?;
    let image = context.shards.image();
    let mutations = Mutations::of(&request, FIRST_STRICT);
    let command = mutations.within(command(&view));
    let reply = context.shards.control(command).await;
    let Reply::CreatePartitions(outcomes) = reply else {
        unreachable!("CreatePartitions is answered by its own reply")
    };
    let refused = (outcomes.iter())
        .any(|(_, outcome)| matches!(outcome, Err(CreatePartitionsError::QuotaExceeded)));
    let partitions = added(&image, &view, &outcomes);
    let throttle = mutations.charge(&context, partitions, refused);
    request.answer(&create_partitions::Response {
        throttle_time_ms: throttle,
        ..response(outcomes)
    })
}

/// Partitions to place of each topic, and the brokers named for them.
fn named(view: &create_partitions::RequestView<'_>) -> impl Iterator<Item = usize> {
    view.topics().iter().map(|topic| {
        let assignments = topic.assignments().into_iter().flatten();
        assignments.map(|one| 1 + one.broker_ids().len()).sum()
    })
}

/// How many partitions came to be, by what there was before.
fn added(
    image: &Image,
    view: &create_partitions::RequestView<'_>,
    outcomes: &[(String, Result<(), CreatePartitionsError>)],
) -> usize {
    let done = outcomes.iter().filter(|(_, outcome)| outcome.is_ok());
    let done: BTreeSet<&str> = done.map(|(name, _)| name.as_str()).collect();
    let grown = view
        .topics()
        .iter()
        .filter(|topic| done.contains(topic.name()));
    let more = grown.map(|topic| {
        let before = image
            .topic(topic.name())
            .map_or(0, |topic| topic.partition_count());
        usize::try_from(topic.count())
            .unwrap_or(0)
            .saturating_sub(before)
    });
    more.sum()
}

fn command(view: &create_partitions::RequestView<'_>) -> Command {
    let topics = view.topics().iter().map(|topic| MorePartitions {
        topic: topic.name().to_owned(),
        count: topic.count(),
        assignments: topic.assignments().map(|assignments| {
            let replicas = assignments.iter();
            replicas
                .map(|one| one.broker_ids().iter().map(NodeId).collect())
                .collect()
        }),
    });
    Command::CreatePartitions {
        topics: topics.collect(),
        validate_only: view.validate_only(),
    }
}

fn response(
    outcomes: Vec<(String, Result<(), CreatePartitionsError>)>,
) -> create_partitions::Response<'static> {
    let results = outcomes.into_iter().map(|(name, outcome)| {
        let error = outcome.err();
        create_partitions::CreatePartitionsTopicResult {
            name: Cow::Owned(name),
            error_code: error.as_ref().map_or(0, |error| error.code().code()),
            error_message: error.map(|error| Cow::Owned(error.to_string())),
        }
    });
    create_partitions::Response {
        results: results.collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use klamm_wire::{Message, MessageView};

    use super::*;

    #[test]
    fn every_version_asks_for_a_count_with_or_without_replicas() {
        for version in 0..=3 {
            let topic = |assignments: Option<&[&[i32]]>| {
                let assignments = assignments.map(|all| {
                    let all =
                        all.iter()
                            .map(|nodes| create_partitions::CreatePartitionsAssignment {
                                broker_ids: nodes.to_vec(),
                            });
                    all.collect()
                });
                create_partitions::CreatePartitionsTopic {
                    name: "t".into(),
                    count: 4,
                    assignments,
                }
            };
            let request = create_partitions::Request {
                topics: vec![topic(None), topic(Some(&[&[1, 2], &[]]))],
                timeout_ms: 5,
                validate_only: true,
            };
            let mut bytes = bytes::BytesMut::new();
            request.encode(version, &mut bytes).expect("expressible");
            let view = create_partitions::RequestView::parse(&bytes, version).expect("own bytes");
            let wanted = |assignments| MorePartitions {
                topic: "t".to_owned(),
                count: 4,
                assignments,
            };
            let replicas = vec![vec![NodeId(1), NodeId(2)], Vec::new()];
            assert_eq!(
                command(&view),
                Command::CreatePartitions {
                    topics: vec![wanted(None), wanted(Some(replicas))],
                    validate_only: true,
                }
            );
        }
    }

    #[test]
    fn every_version_says_what_became_of_each_topic() {
        let outcomes = vec![
            ("good".to_owned(), Ok(())),
            (
                "bad".to_owned(),
                Err(CreatePartitionsError::Unchanged { existing: 3 }),
            ),
        ];
        let response = response(outcomes);
        for version in 0..=3 {
            let mut bytes = bytes::BytesMut::new();
            response.encode(version, &mut bytes).expect("expressible");
            let view = create_partitions::ResponseView::parse(&bytes, version).expect("own bytes");
            let told: Vec<_> = view
                .results()
                .iter()
                .map(|result| (result.name(), result.error_code(), result.error_message()))
                .collect();
            let text = Some("Topic already has 3 partition(s).");
            assert_eq!(told, [("good", 0, None), ("bad", 37, text)]);
        }
    }
}
