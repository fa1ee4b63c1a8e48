//! DescribeGroups: state and members of groups of the classic protocol.

use std::borrow::Cow;
use std::collections::BTreeSet;

use klamm_model::ErrorCode;
use klamm_shard::api::coord::{Command, DescribedGroup, GroupId, GroupState, Reply};
use klamm_wire::{Gather, describe_groups};

use super::coordinators::{AnswerRoom, begin};
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
    let mut seen = BTreeSet::new();
    let mut names = view.groups().iter().filter(|name| seen.insert(*name));
    let mut room = AnswerRoom::default();
    let mut groups = Vec::new();
    loop {
        let asked = names.by_ref().take(room.at_once()).map(|name| {
            let groups = vec![GroupId::new(name)];
            (name, begin(&context, name, Command::Describe { groups }))
        });
        let asked: Vec<_> = asked.collect();
        if asked.is_empty() {
            break;
        }
        for (name, asked) in asked {
            let described = match asked.await {
                _ if room.is_full() => Err(AnswerRoom::FULL),
                Ok(Reply::Describe(mut described)) => Ok(described.pop()),
                Ok(other) => unreachable!("a description is answered by {other:?}"),
                Err(code) => Err(code),
            };
            match described {
                Ok(described) => {
                    let described = described.into_iter();
                    groups.extend(described.map(|group| {
                        room.add(bytes_of(&group));
                        shown(request.version, operations, group)
                    }));
                }
                Err(code) => {
                    room.add(name.len());
                    groups.push(refused(name, code));
                }
            }
        }
    }
    groups.extend(names.map(|name| refused(name, AnswerRoom::FULL)));
    request.answer(&describe_groups::Response {
        groups,
        ..Default::default()
    })
}

/// A group that is not described.
fn refused(name: &str, code: ErrorCode) -> describe_groups::DescribedGroup<'static> {
    describe_groups::DescribedGroup {
        error_code: code.code(),
        group_id: Cow::Owned(name.to_owned()),
        ..Default::default()
    }
}

/// What a group takes of an answer, about.
fn bytes_of(group: &DescribedGroup) -> usize {
    let members = group.members.iter().map(|member| {
        let names = member.client_id.len() + member.client_host.len();
        let instance = member.instance.as_ref();
        let instance = instance.map_or(0, |instance| instance.as_str().len());
        let ids = member.member.as_str().len() + instance;
        ids + names + member.metadata.len() + member.assignment.len()
    });
    size_of_val(group.members.as_slice()) + group.group.as_str().len() + members.sum::<usize>()
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
