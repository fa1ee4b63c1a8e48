//! ConsumerGroupDescribe: state, members and assignments of groups of the consumer protocol
//! (KIP-848).

use std::borrow::Cow;

use klamm_model::{ErrorCode, TopicName};
use klamm_shard::api::coord::{
    Command, DescribeConsumersError, DescribedConsumer, DescribedConsumerGroup, GroupId, Reply,
    TopicPartitions,
};
use klamm_wire::{Gather, consumer_group_describe};

use super::coordinators::{AnswerRoom, are_consumer_groups_served, ask};
use super::{GROUP_OPERATIONS, OPERATIONS_NOT_ASKED, check_named};
use crate::net::{Close, Context, Request};

/// What a member speaks (`ConsumerGroupMember` of Kafka).
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

type Shown = consumer_group_describe::DescribedGroup<'static>;

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: consumer_group_describe::RequestView<'_> = request.body()?;
    check_named(&request, view.group_ids().iter().map(|_| 1))?;
    let operations = match view.include_authorized_operations() {
        true => GROUP_OPERATIONS,
        false => OPERATIONS_NOT_ASKED,
    };
    let is_served = are_consumer_groups_served(&context);
    let mut room = AnswerRoom::default();
    let mut groups = Vec::new();
    for name in view.group_ids() {
        let group = match is_served {
            _ if room.is_full() => refused(name, AnswerRoom::LATER, None),
            true => describe(&context, name, operations).await,
            false => refused(name, ErrorCode::UnsupportedVersion, None),
        };
        groups.push(match group.members.is_empty() {
            true => group,
            false => match room.take(bytes_of(&group)) {
                Ok(()) => group,
                Err(code) => refused(name, code, None),
            },
        });
    }
    request.answer(&consumer_group_describe::Response {
        groups,
        ..Default::default()
    })
}

/// What a group takes of the memory of an answer.
fn bytes_of(group: &Shown) -> usize {
    let of_text = |text: &Option<Cow<'_, str>>| text.as_ref().map_or(0, |text| text.len());
    let of_parts = |assignment: &consumer_group_describe::Assignment<'_>| -> usize {
        let topics = assignment.topic_partitions.iter();
        let each = topics.map(|topic| {
            let partitions = size_of_val(topic.partitions.as_slice());
            size_of_val(topic) + topic.topic_name.len() + partitions
        });
        each.sum()
    };
    let members = group.members.iter().map(|member| {
        let names = member.subscribed_topic_names.iter();
        let names = names.map(|name| size_of_val(name) + name.len());
        let ids = member.member_id.len() + of_text(&member.instance_id);
        let client = member.client_id.len() + member.client_host.len();
        let said = of_text(&member.rack_id) + of_text(&member.subscribed_topic_regex);
        let parts = of_parts(&member.assignment) + of_parts(&member.target_assignment);
        size_of_val(member) + names.sum::<usize>() + ids + client + said + parts
    });
    size_of_val(group) + group.group_id.len() + members.sum::<usize>()
}

async fn describe(context: &Context, name: &str, operations: i32) -> Shown {
    let command = Command::DescribeConsumers {
        groups: vec![GroupId::new(name)],
    };
    let described = match ask(context, name, command).await {
        Ok(Reply::DescribeConsumers(mut described)) => described.pop(),
        Ok(other) => unreachable!("a description is answered by {other:?}"),
        Err(code) => return refused(name, code, None),
    };
    let (_, described) = described.expect("one answer for one group");
    match described {
        Ok(group) => shown(name, group, operations),
        Err(DescribeConsumersError::InvalidGroupId) => {
            refused(name, ErrorCode::InvalidGroupId, None)
        }
        Err(DescribeConsumersError::GroupNotFound) => {
            let text = format!("Group {name} not found.");
            refused(name, ErrorCode::GroupIdNotFound, Some(text))
        }
        Err(DescribeConsumersError::NotAConsumerGroup) => {
            let text = format!("Group {name} is not a consumer group.");
            refused(name, ErrorCode::GroupIdNotFound, Some(text))
        }
    }
}

fn refused(name: &str, code: ErrorCode, why: Option<String>) -> Shown {
    Shown {
        error_code: code.code(),
        error_message: why.map(Cow::Owned),
        group_id: Cow::Owned(name.to_owned()),
        authorized_operations: OPERATIONS_NOT_ASKED,
        ..Default::default()
    }
}

fn shown(name: &str, group: DescribedConsumerGroup, operations: i32) -> Shown {
    Shown {
        group_id: Cow::Owned(name.to_owned()),
        group_state: Cow::Borrowed(group.state.as_str()),
        group_epoch: group.epoch,
        assignment_epoch: group.assignment_epoch,
        assignor_name: Cow::Owned(group.assignor),
        members: group.members.into_iter().map(shown_member).collect(),
        authorized_operations: operations,
        ..Default::default()
    }
}

fn shown_member(member: DescribedConsumer) -> consumer_group_describe::Member<'static> {
    let instance = member.instance.as_ref();
    consumer_group_describe::Member {
        member_id: Cow::Owned(member.member.as_str().to_owned()),
        instance_id: instance.map(|instance| Cow::Owned(instance.as_str().to_owned())),
        rack_id: member.rack.map(Cow::Owned),
        member_epoch: member.epoch.0,
        client_id: Cow::Owned(member.client_id),
        client_host: Cow::Owned(member.client_host),
        subscribed_topic_names: member.topics.into_iter().map(Cow::Owned).collect(),
        // As in Kafka, one without a regular expression has an empty one.
        subscribed_topic_regex: Some(Cow::Owned(member.regex.unwrap_or_default())),
        assignment: shown_partitions(member.assignment),
        target_assignment: shown_partitions(member.target),
        member_type: match member.is_classic {
            true => CLASSIC_MEMBER,
            false => CONSUMER_MEMBER,
        },
    }
}

fn shown_partitions(
    topics: Vec<(TopicName, TopicPartitions)>,
) -> consumer_group_describe::Assignment<'static> {
    let topics = topics.into_iter().map(|(name, topic)| {
        let partitions = topic.partitions.into_iter();
        consumer_group_describe::TopicPartitions {
            topic_id: topic.topic.0,
            topic_name: Cow::Owned(name.as_str().to_owned()),
            partitions: partitions.map(|index| index.0).collect(),
        }
    });
    consumer_group_describe::Assignment {
        topic_partitions: topics.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_member_says_and_has_counts_towards_an_answer() {
        let text = |length| Cow::Owned("x".repeat(length));
        let assignment = || consumer_group_describe::Assignment {
            topic_partitions: vec![consumer_group_describe::TopicPartitions {
                topic_name: text(200),
                partitions: vec![7; 1_000],
                ..Default::default()
            }],
        };
        let member = |names| consumer_group_describe::Member {
            subscribed_topic_names: (0..names).map(|_| text(100)).collect(),
            subscribed_topic_regex: Some(text(3_000)),
            client_id: text(2_000),
            assignment: assignment(),
            target_assignment: assignment(),
            ..Default::default()
        };
        let group = |members| Shown {
            members: (0..members).map(|_| member(100)).collect(),
            ..Default::default()
        };
        let said = 100 * 100 + 3_000 + 2_000 + 2 * (200 + 4_000);
        let one = bytes_of(&group(1)) - bytes_of(&group(0));
        assert!((said..said + 4_000).contains(&one), "{one}, {said} said");
        assert_eq!(bytes_of(&group(9)) - bytes_of(&group(0)), 9 * one);
    }
}
