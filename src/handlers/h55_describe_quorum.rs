//! DescribeQuorum: who votes on the metadata, who leads, and how far it is kept (KIP-595, KIP-853).

use klamm_model::{ErrorCode, NodeId, WallTime};
use klamm_shard::api::QuorumFacts;
use klamm_shard::api::metadata::Image;
use klamm_shard::api::segment::DirectoryId;
use klamm_wire::{Gather, describe_quorum};

use super::{borrowed, check_named};
use crate::net::{Close, Context, Request};

/// Kafka's name of the topic whose one partition is the quorum's log.
const TOPIC: &str = "__cluster_metadata";
const PARTITION: i32 = 0;

/// First version that tells folders of data apart, and where voters are reached (KIP-853).
const FIRST_WITH_DIRECTORIES: i16 = 2;

/// Whose answer this is.
#[derive(Clone, Copy, Debug)]
struct Asked {
    version: i16,
    node: NodeId,
    directory: DirectoryId,
    now: WallTime,
}

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: describe_quorum::RequestView<'_> = request.body()?;
    let named = view.topics().iter().map(|topic| topic.partitions().len());
    check_named(&request, named)?;
    if !names_the_quorum(&view) {
        return request.answer(&unknown(&view));
    }
    let facts = context.shards.quorum().await;
    let asked = Asked {
        version: request.version,
        node: context.front.node(),
        directory: context.front.directory,
        now: context.shards.now().wall,
    };
    request.answer(&response(&context.shards.image(), &facts, asked))
}

fn names_the_quorum(view: &describe_quorum::RequestView<'_>) -> bool {
    let mut topics = view.topics().iter();
    let (Some(topic), None) = (topics.next(), topics.next()) else {
        return false;
    };
    let mut partitions = topic.partitions().iter();
    let first = partitions.next().map(|part| part.partition_index());
    topic.topic_name() == TOPIC && first == Some(PARTITION) && partitions.next().is_none()
}

/// Anything but the one partition there is: all that was asked for is unknown.
fn unknown<'a>(view: &describe_quorum::RequestView<'a>) -> describe_quorum::Response<'a> {
    let topics = view.topics().iter().map(|topic| {
        let partitions = topic.partitions().iter().map(|part| {
            let code = ErrorCode::UnknownTopicOrPartition;
            refused(part.partition_index(), code, super::NOT_HOSTED)
        });
        describe_quorum::ResponseTopicData {
            topic_name: borrowed(topic.topic_name()),
            partitions: partitions.collect(),
        }
    });
    describe_quorum::Response {
        topics: topics.collect(),
        ..Default::default()
    }
}

fn refused(
    partition_index: i32,
    code: ErrorCode,
    text: &'static str,
) -> describe_quorum::ResponsePartitionData<'static> {
    describe_quorum::ResponsePartitionData {
        partition_index,
        error_code: code.code(),
        error_message: Some(borrowed(text)),
        ..Default::default()
    }
}

fn response<'i>(
    image: &'i Image,
    facts: &QuorumFacts,
    asked: Asked,
) -> describe_quorum::Response<'i> {
    let mut response = describe_quorum::Response::default();
    let partition = if facts.leader == Some(asked.node) {
        if asked.version >= FIRST_WITH_DIRECTORIES {
            response.nodes = nodes(image, facts);
        }
        let voters = facts.voters.iter();
        describe_quorum::ResponsePartitionData {
            partition_index: PARTITION,
            leader_id: asked.node.0,
            leader_epoch: facts.leader_epoch.0,
            high_watermark: facts.high_watermark.0,
            current_voters: voters
                .map(|&(node, end)| voter(node, end.0, asked))
                .collect(),
            ..Default::default()
        }
    } else {
        let text = "For requests intended only for the leader, this error indicates that the broker is not the current leader. For requests intended for any replica, this error indicates that the broker is not a replica of the topic partition.";
        refused(PARTITION, ErrorCode::NotLeaderOrFollower, text)
    };
    response.topics = vec![describe_quorum::ResponseTopicData {
        topic_name: borrowed(TOPIC),
        partitions: vec![partition],
    }];
    response
}

/// The leader is up to date with itself at every moment; of others nothing is measured yet.
fn voter(node: NodeId, log_end: i64, asked: Asked) -> describe_quorum::ReplicaState {
    let is_own = node == asked.node;
    let seen = if is_own { asked.now.0 } else { -1 };
    describe_quorum::ReplicaState {
        replica_id: node.0,
        replica_directory_id: match is_own && asked.version >= FIRST_WITH_DIRECTORIES {
            true => asked.directory.0,
            false => [0; 16],
        },
        log_end_offset: log_end,
        last_fetch_timestamp: seen,
        last_caught_up_timestamp: seen,
    }
}

/// Where the voters are reached. A node that is broker and controller at once answers for both on
/// every listener it has.
fn nodes<'i>(image: &'i Image, facts: &QuorumFacts) -> Vec<describe_quorum::Node<'i>> {
    let brokers = facts.voters.iter();
    let brokers = brokers.filter_map(|(node, _)| image.brokers().get(node));
    let listeners = |broker: &'i klamm_shard::api::metadata::Broker| {
        let all = broker.listeners.iter();
        all.map(|listener| describe_quorum::Listener {
            name: borrowed(&listener.name),
            host: borrowed(&listener.host),
            port: listener.port,
        })
        .collect()
    };
    brokers
        .map(|broker| describe_quorum::Node {
            node_id: broker.node.0,
            listeners: listeners(broker),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use klamm_model::{LeaderEpoch, Offset};
    use klamm_wire::{Message, MessageView};

    use super::*;
    use crate::handlers::tests::image_of_two_brokers;

    const ASKED: Asked = Asked {
        version: 2,
        node: NodeId(1),
        directory: DirectoryId([5; 16]),
        now: WallTime(1234),
    };

    fn facts(leader: i32) -> QuorumFacts {
        QuorumFacts {
            leader: Some(NodeId(leader)),
            leader_epoch: LeaderEpoch(6),
            high_watermark: Offset(40),
            voters: vec![(NodeId(1), Offset(41))],
        }
    }

    #[test]
    fn every_version_shows_the_leader_and_its_voters() {
        let image = image_of_two_brokers("t", NodeId(1));
        for version in 0..=2 {
            let response = response(&image, &facts(1), Asked { version, ..ASKED });
            let mut bytes = bytes::BytesMut::new();
            response.encode(version, &mut bytes).expect("expressible");
            let view = describe_quorum::ResponseView::parse(&bytes, version).expect("own bytes");
            let topic = view.topics().iter().next().expect("one topic");
            assert_eq!(topic.topic_name(), TOPIC);
            let part = topic.partitions().iter().next().expect("one partition");
            let shown = (part.error_code(), part.leader_id(), part.leader_epoch());
            assert_eq!((shown, part.high_watermark()), ((0, 1, 6), 40));
            let voters: Vec<_> = part
                .current_voters()
                .iter()
                .map(|voter| {
                    let times = (
                        voter.last_fetch_timestamp(),
                        voter.last_caught_up_timestamp(),
                    );
                    (voter.replica_id(), voter.log_end_offset(), times)
                })
                .collect();
            let time = if version >= 1 { 1234 } else { -1 };
            assert_eq!(voters, [(1, 41, (time, time))], "version {version}");
            assert_eq!(part.observers().len(), 0);
            let nodes: Vec<_> = view.nodes().iter().map(|node| node.node_id()).collect();
            assert_eq!(nodes, if version >= 2 { vec![1] } else { vec![] });
        }
    }

    #[test]
    fn only_the_leader_describes_the_quorum() {
        let image = image_of_two_brokers("t", NodeId(1));
        let response = response(&image, &facts(2), ASKED);
        assert_eq!(response.topics[0].partitions[0].error_code, 6);
        assert!(response.nodes.is_empty());
    }

    #[test]
    fn there_is_one_partition_to_ask_about() {
        let asks = |topics: &[(&'static str, &[i32])]| {
            let topic = |&(name, indexes): &(&'static str, &[i32])| {
                let indexes = indexes.iter();
                describe_quorum::RequestTopicData {
                    topic_name: name.into(),
                    partitions: indexes
                        .map(|&partition_index| describe_quorum::RequestPartitionData {
                            partition_index,
                        })
                        .collect(),
                }
            };
            let request = describe_quorum::Request {
                topics: topics.iter().map(topic).collect(),
            };
            let mut bytes = bytes::BytesMut::new();
            request.encode(2, &mut bytes).expect("expressible");
            let view = describe_quorum::RequestView::parse(&bytes, 2).expect("own bytes");
            let answer = unknown(&view);
            let answered: usize = answer.topics.iter().map(|t| t.partitions.len()).sum();
            (names_the_quorum(&view), answered)
        };
        assert_eq!(asks(&[(TOPIC, &[0])]), (true, 1));
        assert_eq!(asks(&[(TOPIC, &[1])]), (false, 1));
        assert_eq!(asks(&[(TOPIC, &[0, 1])]), (false, 2));
        assert_eq!(asks(&[("flights", &[0])]), (false, 1));
        assert_eq!(asks(&[(TOPIC, &[0]), ("flights", &[0])]), (false, 2));
        assert_eq!(asks(&[]), (false, 0));
    }
}
