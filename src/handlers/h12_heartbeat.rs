//! Heartbeat: a member of a classic group lives.

use klamm_model::ErrorCode;
use klamm_shard::api::coord::{
    Command, GenerationId, GroupId, Heartbeat, HeartbeatError, MemberId, Reply,
};
use klamm_wire::{Gather, heartbeat};

use super::coordinators::{ask, instance_of};
use crate::net::{Close, Context, Request};

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: heartbeat::RequestView<'_> = request.body()?;
    let command = Command::Heartbeat(Heartbeat {
        group: GroupId::new(view.group_id()),
        member: MemberId::new(view.member_id()),
        instance: instance_of(view.group_instance_id()),
        generation: GenerationId(view.generation_id()),
    });
    let code = match ask(&context, view.group_id(), command).await {
        Ok(Reply::Heartbeat(Ok(()))) => ErrorCode::None,
        Ok(Reply::Heartbeat(Err(error))) => code_of(error),
        Ok(other) => unreachable!("a heartbeat is answered by {other:?}"),
        // As in Kafka: members need not hurry while their group is loading.
        Err(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
        Err(code) => code,
    };
    request.answer(&heartbeat::Response {
        error_code: code.code(),
        ..Default::default()
    })
}

const fn code_of(error: HeartbeatError) -> ErrorCode {
    match error {
        HeartbeatError::InvalidGroupId => ErrorCode::InvalidGroupId,
        HeartbeatError::UnknownMember => ErrorCode::UnknownMemberId,
        HeartbeatError::FencedInstance => ErrorCode::FencedInstanceId,
        HeartbeatError::IllegalGeneration => ErrorCode::IllegalGeneration,
        HeartbeatError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
    }
}
