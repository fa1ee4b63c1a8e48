//! AlterReplicaLogDirs: moves replicas between the folders of one broker (KIP-113). What is asked for
//! is begun, and goes on in the background; DescribeLogDirs tells how far it is.

use std::collections::BTreeMap;

use klamm_model::{ErrorCode, NodeId, PartitionIndex, TopicPartition};
use klamm_shard::api::metadata::Image;
use klamm_shard::api::{FolderNumber, MoveFiles};
use klamm_wire::{Gather, alter_replica_log_dirs};

use super::h35_describe_log_dirs::folders_of;
use super::{borrowed, check_named, led_partition};
use crate::net::{Close, Context, Request};

/// What Kafka appends to a partition's folder while it moves: a dot, 32 digits, and `-future`.
const FUTURE_SUFFIX_BYTES: usize = 40;
/// Longest name of a folder.
const FOLDER_BYTES_MAX: usize = 255;

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: alter_replica_log_dirs::RequestView<'_> = request.body()?;
    let topics = view.dirs().iter().flat_map(|dir| dir.topics());
    let named = topics.map(|topic| topic.partitions().len());
    check_named(&request, named.chain([view.dirs().len()]))?;
    let paths = folders_of(&context.front.config);
    let (image, node) = (context.shards.image(), context.front.node());
    let mut wishes = Vec::new();
    let answer = response(&view, &paths, |topic, index, to| {
        let code = outcome_of(&image, node, topic, index);
        if let (ErrorCode::None, Some(found)) = (code, image.topic(topic)) {
            let index = PartitionIndex(index);
            let topic = found.id();
            let partition = TopicPartition { topic, index };
            wishes.push(MoveFiles { partition, to });
        }
        code
    });
    // What a core does not have any more was deleted just now.
    context.shards.move_files(wishes).await;
    request.answer(&answer)
}

/// A partition that is named twice is answered once, for the last folder, as Kafka does.
fn response<'a>(
    view: &alter_replica_log_dirs::RequestView<'a>,
    folders: &[String],
    mut outcome_in: impl FnMut(&str, i32, FolderNumber) -> ErrorCode,
) -> alter_replica_log_dirs::Response<'a> {
    let mut wishes: BTreeMap<&'a str, BTreeMap<i32, &'a str>> = BTreeMap::new();
    for dir in view.dirs() {
        // As in Kafka, a topic of which nothing is named is not answered.
        let topics = dir.topics().iter();
        for topic in topics.filter(|topic| !topic.partitions().is_empty()) {
            let partitions = wishes.entry(topic.name()).or_default();
            partitions.extend(topic.partitions().iter().map(|index| (index, dir.path())));
        }
    }
    let results = wishes.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(index, path)| {
            let folder = folders.iter().position(|folder| folder == path);
            let code = match folder {
                _ if is_too_long(topic, index) => ErrorCode::InvalidTopicException,
                None => ErrorCode::LogDirNotFound,
                Some(folder) => outcome_in(topic, index, FolderNumber(folder)),
            };
            alter_replica_log_dirs::AlterReplicaLogDirPartitionResult {
                partition_index: index,
                error_code: code.code(),
            }
        });
        alter_replica_log_dirs::AlterReplicaLogDirTopicResult {
            topic_name: borrowed(topic),
            partitions: partitions.collect(),
        }
    });
    alter_replica_log_dirs::Response {
        results: results.collect(),
        ..Default::default()
    }
}

/// None for a partition that is here.
fn outcome_of(image: &Image, node: NodeId, topic: &str, index: i32) -> ErrorCode {
    let found = image.topic(topic);
    let found = found.ok_or(ErrorCode::UnknownTopicOrPartition);
    match found.and_then(|topic| led_partition(topic, index, node)) {
        Ok(_) => ErrorCode::None,
        // Kafka keeps the older code for clients of this request.
        Err(ErrorCode::NotLeaderOrFollower) => ErrorCode::ReplicaNotAvailable,
        Err(code) => code,
    }
}

fn is_too_long(topic: &str, index: i32) -> bool {
    topic.len() + format!("-{index}").len() + FUTURE_SUFFIX_BYTES > FOLDER_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use klamm_wire::{Message, MessageView};

    use super::*;
    use crate::handlers::tests::image_of_two_brokers;

    fn answers(dirs: &[(&'static str, &'static str, i32)], node: i32) -> Vec<(String, i32, i16)> {
        let dirs =
            dirs.iter().map(
                |&(path, name, index)| alter_replica_log_dirs::AlterReplicaLogDir {
                    path: path.into(),
                    topics: vec![alter_replica_log_dirs::AlterReplicaLogDirTopic {
                        name: name.into(),
                        partitions: vec![index],
                    }],
                },
            );
        let request = alter_replica_log_dirs::Request {
            dirs: dirs.collect(),
        };
        let image = image_of_two_brokers("flights", NodeId(1));
        let mut found = Vec::new();
        for version in 1..=2 {
            let mut bytes = bytes::BytesMut::new();
            request.encode(version, &mut bytes).expect("expressible");
            let view = alter_replica_log_dirs::RequestView::parse(&bytes, version);
            let folders = ["/data", "/other"].map(str::to_owned);
            let view = view.expect("own bytes");
            let response = response(&view, &folders, |topic, index, folder| {
                assert!(folder.0 < 2, "one of the two");
                outcome_of(&image, NodeId(node), topic, index)
            });
            let mut bytes = bytes::BytesMut::new();
            response.encode(version, &mut bytes).expect("expressible");
            let view = alter_replica_log_dirs::ResponseView::parse(&bytes, version);
            let view = view.expect("own bytes");
            let mut listed = Vec::new();
            for topic in view.results() {
                for part in topic.partitions() {
                    let name = topic.topic_name().to_owned();
                    listed.push((name, part.partition_index(), part.error_code()));
                }
            }
            assert!(found.is_empty() || found == listed, "version {version}");
            found = listed;
        }
        found
    }

    #[test]
    fn a_replica_goes_to_the_folders_of_this_broker_and_no_other() {
        let asked = [("/data", "flights", 0), ("/data", "flights", 1)];
        let codes = [("flights".to_owned(), 0, 0), ("flights".to_owned(), 1, 3)];
        assert_eq!(answers(&asked, 1), codes);
        let code = |path, topic, node| answers(&[(path, topic, 0)], node)[0].2;
        assert_eq!(code("/elsewhere", "flights", 1), 57);
        assert_eq!(code("/data/", "flights", 1), 57);
        assert_eq!(code("/other", "flights", 1), 0);
        assert_eq!(code("/other", "absent", 1), 3);
        assert_eq!(code("/elsewhere", "absent", 1), 57);
        assert_eq!(code("/data", "absent", 1), 3);
        assert_eq!(code("/data", "flights", 2), 9);
        let long: &'static str = "x".repeat(249).leak();
        assert_eq!(code("/elsewhere", long, 1), 17);
    }

    #[test]
    fn the_last_folder_named_for_a_replica_counts() {
        let asked = [("/data", "flights", 0), ("/elsewhere", "flights", 0)];
        assert_eq!(answers(&asked, 1), [("flights".to_owned(), 0, 57)]);
    }
}
