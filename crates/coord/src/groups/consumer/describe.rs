//! ConsumerGroupDescribe.

use klamm_model::PartitionIndex;

use super::super::group::Group;
use super::api::{
    DescribeConsumersError, DescribedConsumer, DescribedConsumerGroup, MemberEpoch, TopicPartitions,
};
use super::config::ConsumerConfig;
use super::draft::Draft;
use super::group::Member;
use super::view::TopicsView;
use crate::record::Partitions;
use std::sync::Arc;

use super::super::names::{GroupId, MemberId};

/// A group, described.
pub(in crate::groups) fn described(
    id: &GroupId,
    group: Option<&Group>,
    config: &ConsumerConfig,
    view: Option<&Arc<dyn TopicsView>>,
) -> Result<DescribedConsumerGroup, DescribeConsumersError> {
    if id.as_str().is_empty() {
        return Err(DescribeConsumersError::InvalidGroupId);
    }
    let group = group.ok_or(DescribeConsumersError::GroupNotFound)?;
    let consumer = group.consumer.as_deref();
    let consumer = consumer.ok_or(DescribeConsumersError::NotAConsumerGroup)?;
    let nothing = Partitions::new();
    let members = consumer.members.iter().map(|(id, member)| {
        let target = consumer.targets.get(id).unwrap_or(&nothing);
        described_member(id, member, target, view)
    });
    Ok(DescribedConsumerGroup {
        state: consumer.state(),
        epoch: consumer.epoch(),
        assignment_epoch: consumer.target_epoch(),
        assignor: Draft::new(id, consumer, view)
            .assignor(config)
            .as_str()
            .to_owned(),
        members: members.collect(),
    })
}

fn described_member(
    id: &MemberId,
    member: &Member,
    target: &Partitions,
    view: Option<&Arc<dyn TopicsView>>,
) -> DescribedConsumer {
    let said = &member.said;
    let named = |topic, partitions: Vec<i32>| {
        let name = view?.by_id(topic)?.name;
        let partitions = partitions.into_iter().map(PartitionIndex).collect();
        Some((name, TopicPartitions { topic, partitions }))
    };
    let text = |text: &Option<Arc<str>>| text.as_ref().map(|text| text.to_string());
    DescribedConsumer {
        member: id.clone(),
        instance: said.instance.clone(),
        rack: text(&said.rack),
        epoch: MemberEpoch(member.has.epoch),
        client_id: said.client_id.to_string(),
        client_host: said.client_host.to_string(),
        topics: said.topics.iter().map(|name| name.to_string()).collect(),
        regex: text(&said.regex),
        assignment: member
            .has
            .assigned
            .iter()
            .filter_map(|(topic, of)| named(*topic, of.keys().copied().collect()))
            .collect(),
        target: target
            .iter()
            .filter_map(|(topic, of)| named(*topic, of.clone()))
            .collect(),
        is_classic: said.classic.is_some(),
    }
}
