//! LeaveGroup: members leave a classic group, or an administrator removes them (KIP-345).

use std::borrow::Cow;

use klamm_model::ErrorCode;
use klamm_shard::api::coord::{
    Command, GroupId, Leave, LeaveError, LeaveMemberError, Leaving, Left, Reply,
};
use klamm_wire::{Gather, leave_group};

use super::check_named;
use super::coordinators::{ask, instance_of, member_of, member_text};
use crate::net::{Close, Context, Request};

/// First version in which several members leave at once.
const FIRST_OF_SEVERAL: i16 = 3;

/// Answers the request when it is kept that they left.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: leave_group::RequestView<'_> = request.body()?;
    check_named(&request, view.members().iter().map(|_| 1))?;
    let members = match request.version {
        FIRST_OF_SEVERAL.. => view.members().iter().map(leaving).collect(),
        _ => vec![Leaving {
            member: member_of(view.member_id()),
            instance: None,
            reason: None,
        }],
    };
    let command = Command::Leave(Leave {
        group: GroupId::new(view.group_id()),
        members,
    });
    let outcome = match ask(&context, view.group_id(), command).await {
        // As in Kafka, nobody of them is a member of a group that is not there.
        Ok(Reply::Leave(Err(LeaveError::UnknownMember))) => Ok(strangers(&view, request.version)),
        Ok(Reply::Leave(outcome)) => outcome.map_err(code_of),
        Ok(other) => unreachable!("a leave is answered by {other:?}"),
        Err(code) => Err(code),
    };
    request.answer(&response(request.version, outcome))
}

fn leaving(member: leave_group::MemberIdentityView<'_>) -> Leaving {
    Leaving {
        member: member_of(member.member_id()),
        instance: instance_of(member.group_instance_id()),
        reason: member.reason().map(str::to_owned),
    }
}

/// One answer for each that is named: in old versions that is one.
fn strangers(view: &leave_group::RequestView<'_>, version: i16) -> Vec<Left> {
    let left = |member: Leaving| Left {
        member: member.member,
        instance: member.instance,
        result: Err(LeaveMemberError::UnknownMember),
    };
    let members = view.members().iter().map(leaving);
    let mut left: Vec<Left> = members.map(left).collect();
    if version < FIRST_OF_SEVERAL {
        left.push(Left {
            member: None,
            instance: None,
            result: Err(LeaveMemberError::UnknownMember),
        });
    }
    left
}

const fn code_of(error: LeaveError) -> ErrorCode {
    match error {
        LeaveError::InvalidGroupId => ErrorCode::InvalidGroupId,
        LeaveError::UnknownMember => ErrorCode::UnknownMemberId,
    }
}

const fn code_of_member(result: Result<(), LeaveMemberError>) -> ErrorCode {
    match result {
        Ok(()) => ErrorCode::None,
        Err(LeaveMemberError::UnknownMember) => ErrorCode::UnknownMemberId,
        Err(LeaveMemberError::FencedInstance) => ErrorCode::FencedInstanceId,
    }
}

fn response(version: i16, outcome: Result<Vec<Left>, ErrorCode>) -> leave_group::Response<'static> {
    match outcome {
        Err(code) => leave_group::Response {
            error_code: code.code(),
            ..Default::default()
        },
        Ok(left) if version < FIRST_OF_SEVERAL => {
            let first = left.first().map_or(Ok(()), |left| left.result);
            leave_group::Response {
                error_code: code_of_member(first).code(),
                ..Default::default()
            }
        }
        Ok(left) => leave_group::Response {
            members: left
                .into_iter()
                .map(|left| leave_group::MemberResponse {
                    member_id: Cow::Owned(member_text(left.member.as_ref())),
                    group_instance_id: left
                        .instance
                        .map(|instance| Cow::Owned(instance.as_str().to_owned())),
                    error_code: code_of_member(left.result).code(),
                })
                .collect(),
            ..Default::default()
        },
    }
}
