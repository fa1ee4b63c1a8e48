//! DescribeProducers: what partitions remember of idempotent producers (KIP-664).

use std::borrow::Cow;
use std::collections::BTreeSet;

use klamm_model::{ErrorCode, TopicName};
use klamm_shard::api::ActiveProducer;
use klamm_wire::{Gather, describe_producers};

use super::{NOT_HOSTED, borrowed, check_named, led_partition};
use crate::net::{Close, Context, Request};

/// "None" on the wire: no coordinator has written here, and no transaction is open, as long as
/// transactions are not served.
const NONE: i32 = -1;
const NO_TIME: i64 = -1;

type Refusal = (ErrorCode, Option<Cow<'static, str>>);
/// What the request names, in order: a topic, then its partitions.
enum Planned<'a> {
    Topic(&'a str),
    Partition(i32, Result<(), Refusal>),
}

type Lists = Vec<Option<Vec<ActiveProducer>>>;

/// Answers the request. A partition that is named twice is answered once: a list may be long.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: describe_producers::RequestView<'_> = request.body()?;
    let named = view
        .topics()
        .iter()
        .map(|topic| topic.partition_indexes().len());
    check_named(&request, named)?;
    let image = context.shards.image();
    let mut planned = Vec::new();
    let mut asked = Vec::new();
    let mut seen = BTreeSet::new();
    for topic in view.topics() {
        planned.push(Planned::Topic(topic.name()));
        let found = image.topic(topic.name());
        for index in topic.partition_indexes() {
            if !seen.insert((topic.name(), index)) {
                continue;
            }
            let led = match found {
                Some(found) => {
                    let led = led_partition(found, index, context.front.node());
                    led.map_err(|code| (code, None))
                }
                None => Err(absent(topic.name())),
            };
            planned.push(Planned::Partition(index, led.map(|led| asked.push(led))));
        }
    }
    let lists = context.shards.producers(asked).await;
    request.answer(&response(planned, lists))
}

fn absent(name: &str) -> Refusal {
    match TopicName::new(name) {
        Err(error) => (
            ErrorCode::InvalidTopicException,
            Some(Cow::Owned(error.to_string())),
        ),
        Ok(_) => (
            ErrorCode::UnknownTopicOrPartition,
            Some(borrowed(NOT_HOSTED)),
        ),
    }
}

fn response<'a>(planned: Vec<Planned<'a>>, lists: Lists) -> describe_producers::Response<'a> {
    let mut lists = lists.into_iter();
    let mut topics: Vec<describe_producers::TopicResponse<'a>> = Vec::new();
    for step in planned {
        let (partition_index, plan) = match step {
            Planned::Topic(name) => {
                topics.push(describe_producers::TopicResponse {
                    name: borrowed(name),
                    partitions: Vec::new(),
                });
                continue;
            }
            Planned::Partition(index, plan) => (index, plan),
        };
        let outcome = match plan {
            Err(refusal) => Err(refusal),
            // The image had it a moment ago: the client should look again.
            Ok(()) => match lists.next().flatten() {
                Some(list) => Ok(list),
                None => Err((ErrorCode::NotLeaderOrFollower, None)),
            },
        };
        let mut answer = describe_producers::PartitionResponse {
            partition_index,
            ..Default::default()
        };
        match outcome {
            Ok(list) => answer.active_producers = list.into_iter().map(shown).collect(),
            Err((code, text)) => {
                answer.error_code = code.code();
                answer.error_message = text;
            }
        }
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(answer);
        }
    }
    describe_producers::Response {
        topics,
        ..Default::default()
    }
}

fn shown(producer: ActiveProducer) -> describe_producers::ProducerState {
    describe_producers::ProducerState {
        producer_id: producer.id.0,
        producer_epoch: i32::from(producer.epoch.0),
        last_sequence: producer.last_sequence.map_or(NONE, |sequence| sequence.0),
        last_timestamp: producer.last_timestamp.map_or(NO_TIME, |time| time.0),
        coordinator_epoch: NONE,
        current_txn_start_offset: NO_TIME,
    }
}
