//! ListOffsets: offsets by time or by name (earliest, latest, largest timestamp, ...).

use std::collections::BTreeMap;

use klamm_model::{ErrorCode, LeaderEpoch, Timestamp};
use klamm_shard::api::{OffsetOutcome, OffsetPosition, OffsetQuestion};
use klamm_wire::{Gather, list_offsets};

use super::{TopicKey, borrowed, isolation_of, led_partition, read_error_code};
use crate::net::{Close, Context, Request};

/// "No leader epoch is known" on the wire.
const NO_EPOCH: i32 = -1;

/// What one partition of the request came to before the cores were asked.
enum Planned {
    Asked,
    Refused(ErrorCode),
}

/// Answers the request.
///
/// # Errors
/// The body cannot be read, or pretends to come from a broker.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: list_offsets::RequestView<'_> = request.body()?;
    if view.replica_id() >= 0 {
        return Err(request.refuse("expected a consumer's replica id", view.replica_id()));
    }
    let Some(isolation) = isolation_of(view.isolation_level()) else {
        return Err(request.refuse("expected isolation level 0 or 1", view.isolation_level()));
    };
    let image = context.shards.image();
    let duplicates = duplicates(&view);
    let mut planned = Vec::new();
    let mut questions = Vec::new();
    for topic in view.topics() {
        let key = TopicKey::of(&image, false, topic.name(), [0; 16]);
        let found = key.find(&image);
        for part in topic.partitions() {
            let index = part.partition_index();
            let checked = if duplicates.contains(&(topic.name(), index)) {
                Err(ErrorCode::InvalidRequest)
            } else {
                position_of(part.timestamp(), request.version).and_then(|position| {
                    let found = found.ok_or_else(|| key.unknown())?;
                    Ok((led_partition(found, index, context.front.node())?, position))
                })
            };
            planned.push(match checked {
                Err(code) => Planned::Refused(code),
                Ok((partition, position)) => {
                    // Unlike in Fetch, numbers below -1 are compared, as in Kafka: they are fenced.
                    let epoch = part.current_leader_epoch();
                    let leader_epoch = (epoch != NO_EPOCH).then_some(LeaderEpoch(epoch));
                    questions.push(OffsetQuestion {
                        partition,
                        leader_epoch,
                        position,
                    });
                    Planned::Asked
                }
            });
        }
    }
    let outcomes = if questions.is_empty() {
        Vec::new()
    } else {
        context.shards.offsets(isolation, questions).await
    };
    request.answer(&response(&view, &planned, outcomes, request.version))
}

/// Partitions that the request names more than once.
fn duplicates<'a>(
    view: &list_offsets::RequestView<'a>,
) -> std::collections::BTreeSet<(&'a str, i32)> {
    let mut mentions: BTreeMap<(&str, i32), u32> = BTreeMap::new();
    for topic in view.topics() {
        for part in topic.partitions() {
            *mentions
                .entry((topic.name(), part.partition_index()))
                .or_default() += 1;
        }
    }
    mentions
        .into_iter()
        .filter(|&(_, count)| count > 1)
        .map(|(key, _)| key)
        .collect()
}

/// What a timestamp asks for. The special ones, all negative, came with versions of their own.
///
/// # Errors
/// `UNSUPPORTED_VERSION` where a special timestamp is younger than the request's version.
fn position_of(timestamp: i64, version: i16) -> Result<OffsetPosition, ErrorCode> {
    let (position, since) = match timestamp {
        -1 => (OffsetPosition::Latest, 0),
        -2 => (OffsetPosition::Earliest, 0),
        -3 => (OffsetPosition::MaxTimestamp, 7),
        -4 => (OffsetPosition::EarliestLocal, 8),
        -5 => (OffsetPosition::LatestTiered, 9),
        -6 => (OffsetPosition::EarliestPendingUpload, 11),
        time if time < 0 => return Err(ErrorCode::UnsupportedVersion),
        time => (OffsetPosition::At(Timestamp(time)), 0),
    };
    if version < since {
        Err(ErrorCode::UnsupportedVersion)
    } else {
        Ok(position)
    }
}

fn response<'a>(
    view: &list_offsets::RequestView<'a>,
    planned: &[Planned],
    outcomes: Vec<OffsetOutcome>,
    version: i16,
) -> list_offsets::Response<'a> {
    let mut planned = planned.iter();
    let mut outcomes = outcomes.into_iter();
    let mut response = list_offsets::Response::default();
    // As in Kafka, a topic of which nothing is named is not answered.
    let topics = view.topics().iter();
    for topic in topics.filter(|topic| !topic.partitions().is_empty()) {
        let mut partitions = Vec::with_capacity(topic.partitions().len());
        for part in topic.partitions() {
            let outcome = match planned.next() {
                Some(Planned::Refused(code)) => Err(*code),
                // As in Produce: an answer that is missing is no success.
                Some(Planned::Asked) => match outcomes.next() {
                    Some(outcome) => outcome.map_err(read_error_code),
                    None => Err(ErrorCode::UnknownServerError),
                },
                None => Err(ErrorCode::UnknownServerError),
            };
            let mut answer = list_offsets::ListOffsetsPartitionResponse {
                partition_index: part.partition_index(),
                ..Default::default()
            };
            match outcome {
                Ok(Some(found)) => {
                    answer.offset = found.offset.0;
                    answer.timestamp = found.timestamp.map_or(-1, |time| time.0);
                    if version >= 4 {
                        answer.leader_epoch = found.leader_epoch.map_or(-1, |epoch| epoch.0);
                    }
                }
                Ok(None) => {}
                Err(code) => answer.error_code = code.code(),
            }
            partitions.push(answer);
        }
        response
            .topics
            .push(list_offsets::ListOffsetsTopicResponse {
                name: borrowed(topic.name()),
                partitions,
            });
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_timestamps_need_the_version_that_brought_them() {
        for (timestamp, since) in [(-3, 7), (-4, 8), (-5, 9), (-6, 11)] {
            let too_old = position_of(timestamp, since - 1);
            assert_eq!(too_old, Err(ErrorCode::UnsupportedVersion), "{timestamp}");
            assert!(position_of(timestamp, since).is_ok(), "{timestamp}");
        }
        assert_eq!(position_of(-7, 11), Err(ErrorCode::UnsupportedVersion));
        assert_eq!(position_of(-1, 1), Ok(OffsetPosition::Latest));
        assert_eq!(position_of(-2, 1), Ok(OffsetPosition::Earliest));
        assert_eq!(position_of(5, 1), Ok(OffsetPosition::At(Timestamp(5))));
    }
}
