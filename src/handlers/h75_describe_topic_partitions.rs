//! DescribeTopicPartitions: topics and their partitions in order of their names, page by page
//! (KIP-966).

use std::collections::BTreeSet;

use klamm_model::limits::ADMIN_TOPICS_MAX;
use klamm_model::{ErrorCode, NodeId, PartitionIndex, TopicName};
use klamm_shard::api::metadata::{Image, Partition, Topic};
use klamm_wire::{Gather, describe_topic_partitions};

use super::{TOPIC_OPERATIONS, borrowed, endpoint_of};
use crate::net::{Close, Context, Request};

/// Answers the request with what holds when it is due.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: describe_topic_partitions::RequestView<'_> = request.body()?;
    if view.topics().len() > ADMIN_TOPICS_MAX {
        let found = i64::try_from(view.topics().len()).unwrap_or(i64::MAX);
        return Err(request.refuse("expected at most 100000 topics", found));
    }
    let image = context.shards.image();
    let page = Page {
        image: &image,
        listener: context.listener_name(),
        partitions_max: context.front.config.described_partitions_max,
    };
    request.answer(&page.response(&view))
}

/// Where a page comes from.
struct Page<'i> {
    image: &'i Image,
    listener: &'i str,
    /// `max.request.partition.size.limit`.
    partitions_max: i32,
}

/// The topic and the partition that a page begins with.
type Start<'a> = Option<(&'a str, i32)>;

impl<'i> Page<'i> {
    fn response<'a>(
        &self,
        view: &describe_topic_partitions::RequestView<'a>,
    ) -> describe_topic_partitions::Response<'a>
    where
        'i: 'a,
    {
        let start = view
            .cursor()
            .map(|cursor| (cursor.topic_name(), cursor.partition_index()));
        let from = start.map_or("", |(topic, _)| topic);
        let named: BTreeSet<&str> = view
            .topics()
            .iter()
            .map(|topic| topic.name())
            .filter(|&name| name >= from)
            .collect();
        let begins_elsewhere =
            !view.topics().is_empty() && start.is_some_and(|(topic, _)| !named.contains(topic));
        if begins_elsewhere || start.is_some_and(|(_, partition)| partition < 0) {
            return refuse_all(view);
        }
        let limit = view.response_partition_limit().min(self.partitions_max);
        let mut left = usize::try_from(limit).unwrap_or(0).max(1);
        let mut response = describe_topic_partitions::Response::default();
        if view.topics().is_empty() {
            let all = self.image.topics().map(|topic| topic.name().as_str());
            self.fill(
                &mut response,
                all.filter(|&name| name >= from),
                start,
                &mut left,
            );
        } else {
            self.fill(&mut response, named.into_iter(), start, &mut left);
        }
        response
    }

    fn fill<'a>(
        &self,
        response: &mut describe_topic_partitions::Response<'a>,
        names: impl Iterator<Item = &'a str>,
        start: Start<'_>,
        left: &mut usize,
    ) where
        'i: 'a,
    {
        for name in names {
            if *left == 0 {
                response.next_cursor = Some(cursor(name, 0));
                return;
            }
            let Some(topic) = self.image.topic(name) else {
                response.topics.push(absent(name));
                continue;
            };
            let first = start.filter(|&(topic, _)| topic == name);
            let first = first.map_or(0, |(_, partition)| partition);
            let first = usize::try_from(first).unwrap_or(0);
            let end = topic.partition_count().min(first.saturating_add(*left));
            let partitions = first..end.max(first);
            *left -= partitions.len();
            response.topics.push(self.shown(topic, partitions));
            if end < topic.partition_count() {
                let end = i32::try_from(end).unwrap_or(i32::MAX);
                response.next_cursor = Some(cursor(name, end));
                return;
            }
        }
    }

    fn shown(
        &self,
        topic: &'i Topic,
        partitions: std::ops::Range<usize>,
    ) -> describe_topic_partitions::DescribeTopicPartitionsResponseTopic<'i> {
        let partitions = partitions.filter_map(|number| {
            let index = PartitionIndex(i32::try_from(number).ok()?);
            Some(self.partition(index, topic.partition(index)?))
        });
        describe_topic_partitions::DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::None.code(),
            name: Some(borrowed(topic.name().as_str())),
            topic_id: topic.id().0,
            is_internal: topic.name().is_internal(),
            partitions: partitions.collect(),
            topic_authorized_operations: TOPIC_OPERATIONS,
        }
    }

    /// A leader that this listener does not reach is none to its clients. Replicas outside the
    /// in-sync set that could lead are not tracked, so there are none to name.
    fn partition(
        &self,
        index: PartitionIndex,
        partition: &Partition,
    ) -> describe_topic_partitions::DescribeTopicPartitionsResponsePartition {
        let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
        let reached = |node: &NodeId| endpoint_of(self.image, self.listener, *node).is_some();
        let gone = |node: &&NodeId| !self.image.brokers().contains_key(node);
        describe_topic_partitions::DescribeTopicPartitionsResponsePartition {
            error_code: ErrorCode::None.code(),
            partition_index: index.0,
            leader_id: partition.leader.filter(reached).map_or(-1, |node| node.0),
            leader_epoch: partition.leader_epoch.0,
            replica_nodes: numbers(&partition.replicas),
            isr_nodes: numbers(&partition.isr),
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            offline_replicas: partition
                .replicas
                .iter()
                .filter(gone)
                .map(|node| node.0)
                .collect(),
        }
    }
}

fn cursor(topic: &str, partition_index: i32) -> describe_topic_partitions::ResponseCursor<'_> {
    describe_topic_partitions::ResponseCursor {
        topic_name: borrowed(topic),
        partition_index,
    }
}

fn absent(name: &str) -> describe_topic_partitions::DescribeTopicPartitionsResponseTopic<'_> {
    let known = TopicName::new(name);
    let code = match known {
        Ok(_) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    describe_topic_partitions::DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(borrowed(name)),
        is_internal: known.is_ok_and(|name| name.is_internal()),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}

/// A cursor that no answer gave.
fn refuse_all<'a>(
    view: &describe_topic_partitions::RequestView<'a>,
) -> describe_topic_partitions::Response<'a> {
    let topics = view.topics().iter().map(|topic| {
        describe_topic_partitions::DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::InvalidRequest.code(),
            name: Some(borrowed(topic.name())),
            topic_authorized_operations: super::OPERATIONS_NOT_ASKED,
            ..Default::default()
        }
    });
    describe_topic_partitions::Response {
        topics: topics.collect(),
        ..Default::default()
    }
}
