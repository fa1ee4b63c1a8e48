//! ElectLeaders: gives partitions the leaders that they should have (KIP-183, KIP-460).

use std::borrow::Cow;

use klamm_model::ErrorCode;
use klamm_shard::api::metadata::{Command, Elected, ElectionKind, Image, Reply};
use klamm_wire::{Gather, elect_leaders};

use super::{borrowed, check_named, kept_name};
use crate::net::{Close, Context, Request};

/// Answers the request once the decision is durable.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: elect_leaders::RequestView<'_> = request.body()?;
    let named = view.topic_partitions().into_iter().flatten();
    check_named(&request, named.map(|topic| topic.partitions().len()))?;
    let Some(kind) = kind_of(view.election_type()) else {
        return request.answer(&refuse_all(&view));
    };
    let partitions = view.topic_partitions().map(|topics| {
        let mut named = Vec::new();
        for topic in topics {
            let indexes = topic.partitions().iter();
            named.extend(indexes.map(|index| (kept_name(topic.topic()).to_owned(), index)));
        }
        named
    });
    let image = context.shards.image();
    let command = Command::ElectLeaders { kind, partitions };
    let Reply::ElectLeaders(elected) = context.shards.control(command).await else {
        unreachable!("ElectLeaders is answered by its own reply")
    };
    request.answer(&response(&image, &view, elected))
}

fn kind_of(number: i8) -> Option<ElectionKind> {
    match number {
        0 => Some(ElectionKind::Preferred),
        1 => Some(ElectionKind::Unclean),
        _ => None,
    }
}

fn refuse_all<'a>(view: &elect_leaders::RequestView<'a>) -> elect_leaders::Response<'a> {
    let text = format!("Unknown election type {}", view.election_type());
    let code = ErrorCode::InvalidRequest.code();
    let topics = view.topic_partitions().into_iter().flatten();
    let results = topics.map(|topic| elect_leaders::ReplicaElectionResult {
        topic: borrowed(topic.topic()),
        partition_result: topic
            .partitions()
            .iter()
            .map(|partition_id| elect_leaders::PartitionResult {
                partition_id,
                error_code: code,
                error_message: Some(Cow::Owned(text.clone())),
            })
            .collect(),
    });
    elect_leaders::Response {
        error_code: code,
        replica_election_results: results.collect(),
        ..Default::default()
    }
}

/// Where all partitions were meant, every topic is listed, with those of its partitions that were
/// not as they should be: that is how Kafka answers.
fn response<'a>(
    image: &'a Image,
    view: &elect_leaders::RequestView<'a>,
    elected: Vec<Elected>,
) -> elect_leaders::Response<'a> {
    let mut elected = elected.into_iter().peekable();
    let result = |elected: Elected| {
        let (error_code, error_message) = match elected.outcome {
            Ok(()) => (ErrorCode::None, None),
            Err(error) => (error.code(), Some(Cow::Owned(error.to_string()))),
        };
        elect_leaders::PartitionResult {
            partition_id: elected.partition,
            error_code: error_code.code(),
            error_message,
        }
    };
    let replica_election_results = match view.topic_partitions() {
        Some(topics) => topics
            .iter()
            .map(|topic| elect_leaders::ReplicaElectionResult {
                topic: borrowed(topic.topic()),
                partition_result: elected
                    .by_ref()
                    .take(topic.partitions().len())
                    .map(result)
                    .collect(),
            })
            .collect(),
        None => image
            .topics()
            .map(|topic| {
                let name = topic.name().as_str();
                let of_topic = || elected.next_if(|one| one.topic == name).map(result);
                elect_leaders::ReplicaElectionResult {
                    topic: borrowed(name),
                    partition_result: std::iter::from_fn(of_topic).collect(),
                }
            })
            .collect(),
    };
    elect_leaders::Response {
        replica_election_results,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use klamm_model::NodeId;
    use klamm_shard::api::metadata::ElectionError;
    use klamm_wire::{Message, MessageView};

    use super::*;
    use crate::handlers::tests::image_of_two_brokers;

    /// Topics with number, code, and whether there is a text, of each partition.
    type Shown = Vec<(String, Vec<(i32, i16, bool)>)>;

    fn shown(
        version: i16,
        named: Option<Vec<(&'static str, Vec<i32>)>>,
        elected: Option<Vec<Elected>>,
    ) -> Shown {
        let topic = |(name, partitions): (&'static str, _)| elect_leaders::TopicPartitions {
            topic: name.into(),
            partitions,
        };
        let request = elect_leaders::Request {
            topic_partitions: named.map(|topics| topics.into_iter().map(topic).collect()),
            ..Default::default()
        };
        let mut bytes = bytes::BytesMut::new();
        request.encode(version, &mut bytes).expect("expressible");
        let view = elect_leaders::RequestView::parse(&bytes, version).expect("own bytes");
        let image = image_of_two_brokers("flights", NodeId(1));
        let response = match elected {
            Some(elected) => response(&image, &view, elected),
            None => refuse_all(&view),
        };
        let mut bytes = bytes::BytesMut::new();
        response.encode(version, &mut bytes).expect("expressible");
        let view = elect_leaders::ResponseView::parse(&bytes, version).expect("own bytes");
        let parts = |topic: elect_leaders::ReplicaElectionResultView<'_>| {
            let parts = topic.partition_result().iter();
            parts
                .map(|p| {
                    (
                        p.partition_id(),
                        p.error_code(),
                        p.error_message().is_some(),
                    )
                })
                .collect()
        };
        let topics = view.replica_election_results().iter();
        topics
            .map(|topic| (topic.topic().to_owned(), parts(topic)))
            .collect()
    }

    #[test]
    fn every_partition_is_answered_below_its_topic() {
        let one = |topic: &str, partition, outcome| Elected {
            topic: topic.to_owned(),
            partition,
            outcome,
        };
        for version in 0..=2 {
            let named = vec![("flights", vec![0, 7]), ("absent", vec![1])];
            let unknown = ElectionError::UnknownTopic("absent".to_owned());
            let elected = vec![
                one("flights", 0, Err(ElectionError::NotNeeded)),
                one("flights", 7, Ok(())),
                one("absent", 1, Err(unknown)),
            ];
            let expected = [
                ("flights".to_owned(), vec![(0, 84, true), (7, 0, false)]),
                ("absent".to_owned(), vec![(1, 3, true)]),
            ];
            assert_eq!(shown(version, Some(named), Some(elected)), expected);
            let all = [("flights".to_owned(), vec![])];
            assert_eq!(shown(version, None, Some(Vec::new())), all);
            // Version 0 cannot name a kind of election, so none is refused.
            if version > 0 {
                let refused = shown(version, Some(vec![("flights", vec![0])]), None);
                assert_eq!(refused, [("flights".to_owned(), vec![(0, 42, true)])]);
            }
        }
    }
}
