//! OffsetForLeaderEpoch: where reigns of partition leaders ended (KIP-101, KIP-279, KIP-320).

use klamm_model::{ErrorCode, LeaderEpoch};
use klamm_shard::api::{EpochOutcome, EpochQuestion};
use klamm_wire::{Gather, offset_for_leader_epoch};

use super::{TopicKey, borrowed, check_named, led_partition, read_error_code};
use crate::net::{Close, Context, Request};

/// "No leader epoch" on the wire.
const NONE: i32 = -1;

/// Answers the request. Who asks, consumer or replica, makes no difference: only leaders answer.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: offset_for_leader_epoch::RequestView<'_> = request.body()?;
    let named = view.topics().iter().map(|topic| topic.partitions().len());
    check_named(&request, named)?;
    let image = context.shards.image();
    let mut planned = Vec::new();
    let mut questions = Vec::new();
    for topic in view.topics() {
        let key = TopicKey::of(&image, false, topic.topic(), [0; 16]);
        let found = key.find(&image);
        for part in topic.partitions() {
            let led = found.ok_or_else(|| key.unknown());
            let node = context.front.node();
            let led = led.and_then(|found| led_partition(found, part.partition(), node));
            planned.push(led.map(|partition| {
                questions.push(EpochQuestion {
                    partition,
                    leader_epoch: epoch_of(part.current_leader_epoch()),
                    requested: epoch_of(part.leader_epoch()),
                });
            }));
        }
    }
    let outcomes = context.shards.epoch_ends(questions).await;
    request.answer(&response(&view, &planned, outcomes))
}

/// Unlike elsewhere, Kafka takes only -1 for "none" here: lower numbers are fenced.
fn epoch_of(number: i32) -> Option<LeaderEpoch> {
    (number != NONE).then_some(LeaderEpoch(number))
}

fn response<'a>(
    view: &offset_for_leader_epoch::RequestView<'a>,
    planned: &[Result<(), ErrorCode>],
    outcomes: Vec<EpochOutcome>,
) -> offset_for_leader_epoch::Response<'a> {
    let mut planned = planned.iter();
    let mut outcomes = outcomes.into_iter();
    let topics = view.topics().iter().map(|topic| {
        let partitions = topic.partitions().iter().map(|part| {
            let outcome = match planned.next() {
                Some(Err(code)) => Err(*code),
                Some(Ok(())) => match outcomes.next() {
                    Some(outcome) => outcome.map_err(read_error_code),
                    None => Err(ErrorCode::UnknownServerError),
                },
                None => Err(ErrorCode::UnknownServerError),
            };
            let mut answer = offset_for_leader_epoch::EpochEndOffset {
                partition: part.partition(),
                leader_epoch: NONE,
                end_offset: -1,
                ..Default::default()
            };
            match outcome {
                Ok(Some(end)) => {
                    answer.leader_epoch = end.leader_epoch.0;
                    answer.end_offset = end.end_offset.0;
                }
                Ok(None) => {}
                Err(code) => answer.error_code = code.code(),
            }
            answer
        });
        offset_for_leader_epoch::OffsetForLeaderTopicResult {
            topic: borrowed(topic.topic()),
            partitions: partitions.collect(),
        }
    });
    offset_for_leader_epoch::Response {
        topics: topics.collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use klamm_model::Offset;
    use klamm_shard::api::{EpochEnd, ReadError};
    use klamm_wire::{Message, MessageView};

    use super::*;

    #[test]
    fn every_version_tells_each_outcome_at_its_place() {
        let part = |partition| offset_for_leader_epoch::OffsetForLeaderPartition {
            partition,
            ..Default::default()
        };
        let request = offset_for_leader_epoch::Request {
            topics: vec![offset_for_leader_epoch::OffsetForLeaderTopic {
                topic: "t".into(),
                partitions: (0..4).map(part).collect(),
            }],
            ..Default::default()
        };
        let planned = [
            Ok(()),
            Err(ErrorCode::UnknownTopicOrPartition),
            Ok(()),
            Ok(()),
        ];
        let found = EpochEnd {
            leader_epoch: LeaderEpoch(3),
            end_offset: Offset(7),
        };
        let outcomes = vec![Ok(Some(found)), Err(ReadError::FencedEpoch), Ok(None)];
        for version in 0..=4 {
            let mut bytes = bytes::BytesMut::new();
            request.encode(version, &mut bytes).expect("expressible");
            let view = offset_for_leader_epoch::RequestView::parse(&bytes, version);
            let answer = response(&view.expect("own bytes"), &planned, outcomes.clone());
            let mut bytes = bytes::BytesMut::new();
            answer.encode(version, &mut bytes).expect("expressible");
            let view = offset_for_leader_epoch::ResponseView::parse(&bytes, version);
            let view = view.expect("own bytes");
            let topic = view.topics().iter().next().expect("one topic");
            let found: Vec<_> = topic
                .partitions()
                .iter()
                .map(|part| (part.error_code(), part.leader_epoch(), part.end_offset()))
                .collect();
            let epoch = if version == 0 { -1 } else { 3 };
            let expected = [(0, epoch, 7), (3, -1, -1), (74, -1, -1), (0, -1, -1)];
            assert_eq!(found, expected, "version {version}");
        }
    }
}
