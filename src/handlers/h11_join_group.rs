//! JoinGroup: a member takes part in a round of a classic group; answered when that is complete.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use klamm_model::ErrorCode;
use klamm_shard::api::coord::{
    Command, GroupId, Join, JoinError, JoinRefused, Joined, Protocol, Reply,
};
use klamm_wire::{Gather, join_group};

use super::check_named;
use super::coordinators::{ask_patiently, host_text, instance_of, member_of, member_text};
use crate::net::{Close, Context, Request};

/// First version that waits for a round by a timeout of its own.
const FIRST_WITH_REBALANCE_TIMEOUT: i16 = 1;
/// First version in which a new member must come again with its id (KIP-394).
const FIRST_WITH_REQUIRED_ID: i16 = 4;
/// First version that may leave out the protocol.
const FIRST_WITHOUT_PROTOCOL: i16 = 7;
/// First version that may leave an assignment as it is (KIP-814).
const FIRST_THAT_SKIPS: i16 = 9;

/// Answers the request when the round is complete.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: join_group::RequestView<'_> = request.body()?;
    check_named(&request, view.protocols().iter().map(|_| 1))?;
    let command = Command::Join(join_of(&context, &request, &view));
    let outcome = match ask_patiently(&context, view.group_id(), command).await {
        Ok(Reply::Join(outcome)) => outcome.map_err(|JoinRefused { member, error }| {
            (code_of(error), member_text(member.as_ref()))
        }),
        Ok(other) => unreachable!("a join is answered by {other:?}"),
        Err(code) => Err((code, view.member_id().to_owned())),
    };
    request.answer(&response(request.version, outcome))
}

fn join_of(context: &Context, request: &Request, view: &join_group::RequestView<'_>) -> Join {
    let session_timeout = milliseconds(view.session_timeout_ms());
    let protocols = view.protocols().iter().map(|protocol| Protocol {
        name: protocol.name().to_owned(),
        metadata: Bytes::copy_from_slice(protocol.metadata()),
    });
    let instance = instance_of(view.group_instance_id());
    Join {
        group: GroupId::new(view.group_id()),
        member: member_of(view.member_id()),
        client_id: request.client_id().unwrap_or_default().to_owned(),
        client_host: host_text(context.caller.peer.ip()),
        protocol_type: view.protocol_type().to_owned(),
        protocols: protocols.collect(),
        session_timeout,
        rebalance_timeout: match request.version {
            FIRST_WITH_REBALANCE_TIMEOUT.. => milliseconds(view.rebalance_timeout_ms()),
            _ => session_timeout,
        },
        member_id_required: request.version >= FIRST_WITH_REQUIRED_ID && instance.is_none(),
        instance,
        may_skip_assignment: request.version >= FIRST_THAT_SKIPS,
        reason: view.reason().map(str::to_owned),
    }
}

fn milliseconds(count: i32) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(0))
}

const fn code_of(error: JoinError) -> ErrorCode {
    match error {
        JoinError::InvalidGroupId => ErrorCode::InvalidGroupId,
        JoinError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        JoinError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
        JoinError::UnknownMember => ErrorCode::UnknownMemberId,
        JoinError::FencedInstance => ErrorCode::FencedInstanceId,
        JoinError::GroupFull => ErrorCode::GroupMaxSizeReached,
        JoinError::MemberIdRequired => ErrorCode::MemberIdRequired,
        JoinError::Superseded => ErrorCode::RebalanceInProgress,
    }
}

fn response(
    version: i16,
    outcome: Result<Joined, (ErrorCode, String)>,
) -> join_group::Response<'static> {
    match outcome {
        Ok(joined) => join_group::Response {
            generation_id: joined.generation.0,
            protocol_type: Some(Cow::Owned(joined.protocol_type)),
            protocol_name: Some(Cow::Owned(joined.protocol)),
            leader: Cow::Owned(joined.leader.as_str().to_owned()),
            skip_assignment: joined.skip_assignment,
            member_id: Cow::Owned(joined.member.as_str().to_owned()),
            members: joined
                .members
                .into_iter()
                .map(|member| join_group::JoinGroupResponseMember {
                    member_id: Cow::Owned(member.member.as_str().to_owned()),
                    group_instance_id: member
                        .instance
                        .map(|instance| Cow::Owned(instance.as_str().to_owned())),
                    metadata: Cow::Owned(member.metadata.to_vec()),
                })
                .collect(),
            ..Default::default()
        },
        Err((code, member)) => join_group::Response {
            error_code: code.code(),
            protocol_name: (version < FIRST_WITHOUT_PROTOCOL).then_some(Cow::Borrowed("")),
            member_id: Cow::Owned(member),
            ..Default::default()
        },
    }
}
