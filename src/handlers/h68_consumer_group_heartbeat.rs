//! ConsumerGroupHeartbeat: a member of a group of the consumer protocol joins, lives or leaves
//! (KIP-848).

use std::borrow::Cow;

use klamm_model::{ErrorCode, PartitionIndex, TopicId};
use klamm_shard::api::coord::{
    Command, ConsumerHeartbeat, ConsumerHeartbeatDone, ConsumerHeartbeatError, GroupId,
    MemberEpoch, MemberId, Reply, TopicPartitions,
};
use klamm_wire::{Gather, consumer_group_heartbeat};

use super::check_named;
use super::coordinators::{are_consumer_groups_served, ask, host_text, instance_of};
use crate::net::{Close, Context, Request};

/// First version in which members make their ids themselves (KIP-1082).
const FIRST_WITH_OWN_ID: i16 = 1;

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: consumer_group_heartbeat::RequestView<'_> = request.body()?;
    let topics = view.subscribed_topic_names().into_iter().flatten();
    let owned = view.topic_partitions().into_iter().flatten();
    let owned = owned.map(|topic| topic.partitions().len());
    check_named(&request, topics.map(|_| 1).chain(owned))?;
    if !are_consumer_groups_served(&context) {
        return request.answer(&refused(ErrorCode::UnsupportedVersion, None));
    }
    let command = Command::ConsumerHeartbeat(heartbeat_of(&context, &request, &view));
    let response = match ask(&context, view.group_id(), command).await {
        Ok(Reply::ConsumerHeartbeat(Ok(done))) => response(done),
        Ok(Reply::ConsumerHeartbeat(Err(why))) => refused(code_of(why.error), Some(why.message)),
        Ok(other) => unreachable!("a heartbeat is answered by {other:?}"),
        Err(code) => refused(code, None),
    };
    request.answer(&response)
}

fn heartbeat_of(
    context: &Context,
    request: &Request,
    view: &consumer_group_heartbeat::RequestView<'_>,
) -> ConsumerHeartbeat {
    let text = |text: Option<&str>| text.map(str::to_owned);
    let topics = view.subscribed_topic_names();
    let owned = view.topic_partitions().map(|topics| {
        let topics = topics.iter().map(|topic| TopicPartitions {
            topic: TopicId(topic.topic_id()),
            partitions: topic.partitions().iter().map(PartitionIndex).collect(),
        });
        topics.collect()
    });
    ConsumerHeartbeat {
        group: GroupId::new(view.group_id()),
        member: MemberId::new(view.member_id()),
        member_id_required: request.version >= FIRST_WITH_OWN_ID,
        epoch: MemberEpoch(view.member_epoch()),
        instance: instance_of(view.instance_id()),
        rack: text(view.rack_id()),
        rebalance_timeout_ms: view.rebalance_timeout_ms(),
        client_id: request.client_id().unwrap_or_default().to_owned(),
        client_host: host_text(context.caller.peer.ip()),
        topics: topics.map(|topics| topics.iter().map(str::to_owned).collect()),
        regex: text(view.subscribed_topic_regex()),
        assignor: text(view.server_assignor()),
        owned,
        patience: context.caller.software().heartbeat_patience(),
    }
}

fn response(done: ConsumerHeartbeatDone) -> consumer_group_heartbeat::Response<'static> {
    let interval = done.heartbeat_interval.as_millis();
    let assignment = done.assignment.map(|topics| {
        let topics = topics.into_iter();
        consumer_group_heartbeat::Assignment {
            topic_partitions: topics.map(shown).collect(),
        }
    });
    consumer_group_heartbeat::Response {
        member_id: Some(Cow::Owned(done.member.as_str().to_owned())),
        member_epoch: done.epoch.0,
        heartbeat_interval_ms: i32::try_from(interval).unwrap_or(i32::MAX),
        assignment,
        ..Default::default()
    }
}

fn shown(topic: TopicPartitions) -> consumer_group_heartbeat::ResponseTopicPartitions {
    consumer_group_heartbeat::ResponseTopicPartitions {
        topic_id: topic.topic.0,
        partitions: topic.partitions.into_iter().map(|index| index.0).collect(),
    }
}

fn refused(code: ErrorCode, why: Option<String>) -> consumer_group_heartbeat::Response<'static> {
    consumer_group_heartbeat::Response {
        error_code: code.code(),
        error_message: why.map(Cow::Owned),
        ..Default::default()
    }
}

const fn code_of(error: ConsumerHeartbeatError) -> ErrorCode {
    match error {
        ConsumerHeartbeatError::InvalidRequest => ErrorCode::InvalidRequest,
        ConsumerHeartbeatError::GroupNotFound => ErrorCode::GroupIdNotFound,
        ConsumerHeartbeatError::UnknownMember => ErrorCode::UnknownMemberId,
        ConsumerHeartbeatError::FencedMemberEpoch => ErrorCode::FencedMemberEpoch,
        ConsumerHeartbeatError::FencedInstance => ErrorCode::FencedInstanceId,
        ConsumerHeartbeatError::UnreleasedInstance => ErrorCode::UnreleasedInstanceId,
        ConsumerHeartbeatError::UnsupportedAssignor => ErrorCode::UnsupportedAssignor,
        ConsumerHeartbeatError::GroupFull => ErrorCode::GroupMaxSizeReached,
        ConsumerHeartbeatError::InvalidRegularExpression => ErrorCode::InvalidRegularExpression,
    }
}
