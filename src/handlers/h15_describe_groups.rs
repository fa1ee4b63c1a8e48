//! DescribeGroups: state and members of groups of the classic protocol.

use std::borrow::Cow;

use klamm_model::ErrorCode;
use klamm_shard::api::coord::{Command, DescribedGroup, GroupId, GroupState, Reply};
use klamm_wire::{Gather, describe_groups};

use super::coordinators::ask;
use super::{GROUP_OPERATIONS, OPERATIONS_NOT_ASKED, check_named};
use crate::net::{Close, Context, Request};

/// First version that says of a group that it is not there.
const FIRST_WITH_NOT_FOUND: i16 = 6;

/// Answers the request.
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
    let mut groups = Vec::new();
    for name in view.groups() {
        let command = Command::Describe {
            groups: vec![GroupId::new(name)],
        };
        let described = match ask(&context, name, command).await {
            Ok(Reply::Describe(mut described)) => described.pop(),
            Ok(other) => unreachable!("a description is answered by {other:?}"),
            Err(code) => {
                groups.push(describe_groups::DescribedGroup {
                    error_code: code.code(),
                    group_id: Cow::Owned(name.to_owned()),
                    ..Default::default()
                });
                continue;
            }
        };
        let described = described.map(|group| shown(request.version, operations, group));
        groups.extend(described);
    }
    request.answer(&describe_groups::Response {
        groups,
        ..Default::default()
    })
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
            let text = format!("Group {group_id} not found.");
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
