//! DeleteRecords: moves the start of logs (KIP-107). Answered once that is durable.

use klamm_model::{ErrorCode, Offset};
use klamm_shard::api::{TrimError, TrimOutcome, TrimPartition, TrimTo};
use klamm_wire::{Gather, delete_records};

use super::{borrowed, check_named, led_partition};
use crate::net::{Close, Context, Request};

/// "The high watermark" on the wire.
const HIGH_WATERMARK: i64 = -1;
/// "No low watermark" on the wire.
const INVALID_LOW_WATERMARK: i64 = -1;

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: delete_records::RequestView<'_> = request.body()?;
    let named = view.topics().iter().map(|topic| topic.partitions().len());
    check_named(&request, named)?;
    let image = context.shards.image();
    let mut planned = Vec::new();
    let mut wishes = Vec::new();
    for topic in view.topics() {
        let found = image.topic(topic.name());
        for part in topic.partitions() {
            let led = found.ok_or(ErrorCode::UnknownTopicOrPartition);
            let node = context.front.node();
            let led = led.and_then(|found| {
                let led = led_partition(found, part.partition_index(), node)?;
                // Kafka's own records are no client's to delete.
                match found.name().is_internal() {
                    true => Err(ErrorCode::InvalidTopicException),
                    false => Ok(led),
                }
            });
            planned.push(led.map(|partition| {
                let to = match part.offset() {
                    HIGH_WATERMARK => TrimTo::HighWatermark,
                    offset => TrimTo::Offset(Offset(offset)),
                };
                wishes.push(TrimPartition { partition, to });
            }));
        }
    }
    let outcomes = context.shards.trim(wishes).await;
    request.answer(&response(&view, &planned, outcomes))
}

const fn code_of(error: TrimError) -> ErrorCode {
    match error {
        // The image had it a moment ago: the client should look again.
        TrimError::UnknownPartition => ErrorCode::NotLeaderOrFollower,
        TrimError::OutOfRange => ErrorCode::OffsetOutOfRange,
        TrimError::Policy => ErrorCode::PolicyViolation,
        TrimError::OutOfRoom => ErrorCode::KafkaStorageError,
    }
}

fn response<'a>(
    view: &delete_records::RequestView<'a>,
    planned: &[Result<(), ErrorCode>],
    outcomes: Vec<TrimOutcome>,
) -> delete_records::Response<'a> {
    let mut planned = planned.iter();
    let mut outcomes = outcomes.into_iter();
    // As in Kafka, a topic of which nothing is named is not answered.
    let topics = view.topics().iter();
    let topics = topics.filter(|topic| !topic.partitions().is_empty());
    let topics = topics.map(|topic| {
        let partitions = topic.partitions().iter().map(|part| {
            let outcome = match planned.next() {
                Some(Err(code)) => Err(*code),
                Some(Ok(())) => match outcomes.next() {
                    Some(outcome) => outcome.map_err(code_of),
                    None => Err(ErrorCode::UnknownServerError),
                },
                None => Err(ErrorCode::UnknownServerError),
            };
            delete_records::DeleteRecordsPartitionResult {
                partition_index: part.partition_index(),
                low_watermark: outcome.map_or(INVALID_LOW_WATERMARK, |start| start.0),
                error_code: outcome.err().unwrap_or(ErrorCode::None).code(),
            }
        });
        delete_records::DeleteRecordsTopicResult {
            name: borrowed(topic.name()),
            partitions: partitions.collect(),
        }
    });
    delete_records::Response {
        topics: topics.collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use klamm_wire::{Message, MessageView};

    use super::*;

    #[test]
    fn every_version_tells_each_outcome_at_its_place() {
        let part = |partition_index| delete_records::DeleteRecordsPartition {
            partition_index,
            offset: 3,
        };
        let request = delete_records::Request {
            topics: vec![delete_records::DeleteRecordsTopic {
                name: "t".into(),
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
        let outcomes = vec![
            Ok(Offset(3)),
            Err(TrimError::OutOfRange),
            Err(TrimError::Policy),
        ];
        for version in 0..=2 {
            let mut bytes = bytes::BytesMut::new();
            request.encode(version, &mut bytes).expect("expressible");
            let view = delete_records::RequestView::parse(&bytes, version).expect("own bytes");
            let answer = response(&view, &planned, outcomes.clone());
            let mut bytes = bytes::BytesMut::new();
            answer.encode(version, &mut bytes).expect("expressible");
            let view = delete_records::ResponseView::parse(&bytes, version).expect("own bytes");
            let topic = view.topics().iter().next().expect("one topic");
            let found: Vec<_> = topic
                .partitions()
                .iter()
                .map(|part| (part.error_code(), part.low_watermark()))
                .collect();
            assert_eq!(
                found,
                [(0, 3), (3, -1), (1, -1), (44, -1)],
                "version {version}"
            );
        }
    }
}
