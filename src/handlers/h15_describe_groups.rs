//! DescribeGroups: state and members of groups of the classic protocol.

use std::borrow::Cow;

use klamm_model::ErrorCode;
use klamm_shard::api::coord::{Command, DescribedGroup, GroupId, GroupState, Reply};
use klamm_wire::{Gather, describe_groups};

use super::coordinators::{ASKED_TOGETHER, AnswerRoom, ask, begin};
use super::{GROUP_OPERATIONS, OPERATIONS_NOT_ASKED, check_named};
use crate::net::{Close, Context, Request};

/// First version that says of a group that it is not there.
const FIRST_WITH_NOT_FOUND: i16 = 6;

/// Bytes of a description that is asked for together with others.
const SMALL_BYTES: usize = 256 << 10;

/// Answers the request: each group as often as it is named, as far as there is room.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: describe_groups::RequestView<'_> = request.body()?;
    check_named(&request, view.groups().iter().map(|_| 1))?;
    let operations = match view.include_authorized_operations() {
        true => GROUP_OPERATIONS,
        false => OPERATIONS_NOT_ASKED,
    };
    let mut room = AnswerRoom::default();
    let mut names = view.groups().iter();
    let mut groups = Vec::new();
    while !room.is_full() {
        let some = names.by_ref().take(ASKED_TOGETHER);
        let asked = some.map(|name| (name, begin(&context, name, describe(name, SMALL_BYTES))));
        let asked: Vec<_> = asked.collect();
        if asked.is_empty() {
            break;
        }
        for (name, asked) in asked {
            let described = finish(&context, &mut room, name, asked).await;
            let group = described.and_then(|described| {
                let group = shown(request.version, operations, described);
                room.take(bytes_of(&group)).map(|()| group)
            });
            groups.push(group.unwrap_or_else(|code| refused(name, code)));
        }
    }
    groups.extend(names.map(|name| refused(name, AnswerRoom::LATER)));
    request.answer(&describe_groups::Response {
        groups,
        ..Default::default()
    })
}

/// Asks for one group.
fn describe(name: &str, bytes_max: usize) -> Command {
    let groups = vec![GroupId::new(name)];
    Command::Describe { groups, bytes_max }
}

/// The description of a group that was asked for, if there is room for it: a large one is asked for
/// again, alone.
async fn finish(
    context: &Context,
    room: &mut AnswerRoom,
    name: &str,
    asked: impl Future<Output = Result<Reply, ErrorCode>>,
) -> Result<DescribedGroup, ErrorCode> {
    if room.is_full() {
        return Err(AnswerRoom::LATER);
    }
    if let Some(described) = described(asked.await?) {
        return Ok(described);
    }
    let again = ask(context, name, describe(name, room.left())).await?;
    described(again).ok_or_else(|| room.refuse())
}

fn described(reply: Reply) -> Option<DescribedGroup> {
    match reply {
        Reply::Describe(mut described) => described.pop().flatten(),
        other => unreachable!("a description is answered by {other:?}"),
    }
}

/// What a group takes of the memory of an answer.
fn bytes_of(group: &describe_groups::DescribedGroup<'_>) -> usize {
    let members = group.members.iter().map(|member| {
        let instance = member.group_instance_id.as_ref();
        let names = member.member_id.len() + instance.map_or(0, |instance| instance.len());
        let client = member.client_id.len() + member.client_host.len();
        names + client + member.member_metadata.len() + member.member_assignment.len()
    });
    let names = group.group_id.len() + group.protocol_type.len() + group.protocol_data.len();
    size_of_val(group) + size_of_val(group.members.as_slice()) + names + members.sum::<usize>()
}

/// A group that is not described.
fn refused(name: &str, code: ErrorCode) -> describe_groups::DescribedGroup<'static> {
    describe_groups::DescribedGroup {
        error_code: code.code(),
        group_id: Cow::Owned(name.to_owned()),
        ..Default::default()
    }
}

fn shown(
    version: i16,
    operations: i32,
    group: DescribedGroup,
) -> describe_groups::DescribedGroup<'static> {
    let group_id = group.group.as_str().to_owned();
    let is_missing = group.state == GroupState::Dead && version >= FIRST_WITH_NOT_FOUND;
    let (code, message) = match is_missing {
        true => {
            let text = match group.is_consumer {
                true => format!("Group {group_id} is not a classic group."),
                false => format!("Group {group_id} not found."),
            };
            (ErrorCode::GroupIdNotFound, Some(Cow::Owned(text)))
        }
        false => (ErrorCode::None, None),
    };
    let members = group.members.into_iter();
    describe_groups::DescribedGroup {
        error_code: code.code(),
        error_message: message,
        group_id: Cow::Owned(group_id),
        group_state: Cow::Borrowed(group.state.as_str()),
        protocol_type: Cow::Owned(group.protocol_type),
        protocol_data: Cow::Owned(group.protocol),
        members: members
            .map(|member| describe_groups::DescribedGroupMember {
                member_id: Cow::Owned(member.member.as_str().to_owned()),
                group_instance_id: member
                    .instance
                    .map(|instance| Cow::Owned(instance.as_str().to_owned())),
                client_id: Cow::Owned(member.client_id),
                client_host: Cow::Owned(member.client_host),
                member_metadata: Cow::Owned(member.metadata.to_vec()),
                member_assignment: Cow::Owned(member.assignment.to_vec()),
            })
            .collect(),
        authorized_operations: match is_missing {
            true => OPERATIONS_NOT_ASKED,
            false => operations,
        },
    }
}
