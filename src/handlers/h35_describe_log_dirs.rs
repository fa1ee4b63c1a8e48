//! DescribeLogDirs: the data folders, their room, and what partitions take in them (KIP-113, KIP-827).

use std::collections::{BTreeMap, BTreeSet};

use klamm_model::{ErrorCode, NodeId, PartitionIndex, TopicPartition};
use klamm_os::disk::{self, Space};
use klamm_os::exec;
use klamm_shard::api::FolderNumber;
use klamm_shard::api::metadata::Image;
use klamm_wire::{Gather, describe_log_dirs};

use super::{borrowed, check_named};
use crate::config::Config;
use crate::net::{Close, Context, Request};

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: describe_log_dirs::RequestView<'_> = request.body()?;
    let named = view.topics().into_iter().flatten();
    check_named(&request, named.map(|topic| topic.partitions().len()))?;
    let image = context.shards.image();
    let asked = asked(&image, context.front.node(), &view);
    let sizes = context.shards.log_sizes(asked.clone()).await;
    let sizes = asked.into_iter().zip(sizes);
    let sizes: Vec<_> = sizes
        .filter_map(|(partition, size)| Some((partition, size?)))
        .collect();
    let found = sizes.iter().filter_map(|&(partition, size)| {
        let topic = image.topic_by_id(partition.topic)?;
        let name = format!("{}-{}", topic.name(), partition.index);
        Some((partition, size, name))
    });
    let (found, folders) = (found.collect::<Vec<_>>(), context.front.folders.clone());
    let (spaces, placed) = exec::spawn_blocking(move || {
        let spaces = folders.roots().iter().map(disk::free_space);
        let moving = folders.moving();
        let placed = found.into_iter().flat_map(|(partition, size, name)| {
            let here = Placed {
                folder: folders.place(&name),
                partition,
                size: size.bytes,
                lag: None,
            };
            let there = moving.get(&name).filter(|one| one.to != here.folder);
            let there = there.map(|one| Placed {
                folder: one.to,
                partition,
                size: one.bytes,
                lag: Some((size.end.0 - one.end.0).max(0)),
            });
            [Some(here), there].into_iter().flatten()
        });
        (spaces.collect::<Vec<_>>(), placed.collect::<Vec<_>>())
    })
    .await;
    let shown = folders_of(&context.front.config).into_iter().zip(spaces);
    let seen = shown.map(|(folder, space)| {
        if let Err(error) = &space {
            tracing::warn!(%error, folder, "cannot ask how much room is left");
        }
        (folder, space.ok())
    });
    request.answer(&response(&image, seen.collect(), &placed))
}

/// A partition and where it lies.
struct Placed {
    folder: FolderNumber,
    partition: TopicPartition,
    size: u64,
    /// Set of a copy that is to take its place: records that are not in it yet.
    lag: Option<i64>,
}

/// The data folders as clients name them: from the root.
pub(crate) fn folders_of(config: &Config) -> Vec<String> {
    let folders = config.data_dirs.iter();
    let absolute = folders.map(|folder| {
        let absolute = std::path::absolute(folder);
        absolute.unwrap_or_else(|_| folder.clone())
    });
    absolute
        .map(|folder| folder.display().to_string())
        .collect()
}

/// The partitions asked for that this node has, each once. Those it does not have are left out of
/// the answer, as Kafka does.
fn asked(
    image: &Image,
    node: NodeId,
    view: &describe_log_dirs::RequestView<'_>,
) -> Vec<TopicPartition> {
    let mut found = BTreeSet::new();
    let mut add = |topic: &klamm_shard::api::metadata::Topic, index| {
        let is_here = topic
            .partition(index)
            .is_some_and(|p| p.leader == Some(node));
        if is_here {
            found.insert(TopicPartition {
                topic: topic.id(),
                index,
            });
        }
    };
    match view.topics() {
        None => {
            for topic in image.topics() {
                topic.partitions().for_each(|(index, _)| add(topic, index));
            }
        }
        Some(topics) => {
            for asked in topics {
                if let Some(topic) = image.topic(asked.topic()) {
                    let indexes = asked.partitions().iter();
                    indexes.for_each(|index| add(topic, PartitionIndex(index)));
                }
            }
        }
    }
    found.into_iter().collect()
}

/// A room is none where the file system does not say: Kafka answers a folder that it cannot look at
/// with an error and nothing else.
fn response<'i>(
    image: &'i Image,
    folders: Vec<(String, Option<Space>)>,
    placed: &[Placed],
) -> describe_log_dirs::Response<'i> {
    let results = folders
        .into_iter()
        .enumerate()
        .map(|(number, (path, space))| {
            let here = |one: &&Placed| one.folder == FolderNumber(number);
            result(image, path, space, placed.iter().filter(here))
        });
    describe_log_dirs::Response {
        results: results.collect(),
        ..Default::default()
    }
}

fn result<'i, 'p>(
    image: &'i Image,
    folder: String,
    space: Option<Space>,
    placed: impl Iterator<Item = &'p Placed>,
) -> describe_log_dirs::DescribeLogDirsResult<'i> {
    let mut result = describe_log_dirs::DescribeLogDirsResult {
        log_dir: folder.into(),
        total_bytes: -1,
        usable_bytes: -1,
        ..Default::default()
    };
    let Some(space) = space else {
        result.error_code = ErrorCode::KafkaStorageError.code();
        return result;
    };
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut topics: BTreeMap<&'i str, Vec<_>> = BTreeMap::new();
    for one in placed {
        let Some(topic) = image.topic_by_id(one.partition.topic) else {
            continue;
        };
        let partitions = topics.entry(topic.name().as_str()).or_default();
        partitions.push(describe_log_dirs::DescribeLogDirsPartition {
            partition_index: one.partition.index.0,
            partition_size: number(one.size),
            offset_lag: one.lag.unwrap_or(0),
            is_future_key: one.lag.is_some(),
        });
    }
    let named = topics.into_iter().map(|(name, partitions)| {
        let name = borrowed(name);
        describe_log_dirs::DescribeLogDirsTopic { name, partitions }
    });
    result.topics = named.collect();
    result.total_bytes = number(space.total);
    result.usable_bytes = number(space.free);
    result
}

#[cfg(test)]
mod tests {
    use klamm_wire::{Message, MessageView};

    use super::*;
    use crate::handlers::tests::image_of_two_brokers;

    const HERE: TopicPartition = TopicPartition {
        topic: klamm_model::TopicId([9; 16]),
        index: PartitionIndex(0),
    };

    fn asks(topics: Option<&[(&'static str, &[i32])]>) -> Vec<TopicPartition> {
        let topic =
            |&(name, indexes): &(&'static str, &[i32])| describe_log_dirs::DescribableLogDirTopic {
                topic: name.into(),
                partitions: indexes.to_vec(),
            };
        let request = describe_log_dirs::Request {
            topics: topics.map(|topics| topics.iter().map(topic).collect()),
        };
        let mut bytes = bytes::BytesMut::new();
        request.encode(5, &mut bytes).expect("expressible");
        let view = describe_log_dirs::RequestView::parse(&bytes, 5).expect("own bytes");
        let image = image_of_two_brokers("flights", NodeId(1));
        asked(&image, NodeId(1), &view)
    }

    #[test]
    fn null_asks_for_everything_and_a_list_for_what_is_here_of_it() {
        assert_eq!(asks(None), [HERE]);
        assert_eq!(asks(Some(&[])), []);
        assert_eq!(
            asks(Some(&[("flights", &[1, 0, 0]), ("absent", &[0])])),
            [HERE]
        );
    }

    #[test]
    fn every_version_shows_what_it_can_of_the_folder() {
        let image = image_of_two_brokers("flights", NodeId(1));
        let space = Space {
            free: 5,
            total: u64::MAX,
        };
        for version in 0..=5 {
            for space in [Some(space), None] {
                let placed = [Placed {
                    folder: FolderNumber(0),
                    partition: HERE,
                    size: 77,
                    lag: None,
                }];
                let folders = vec![("/data".to_owned(), space)];
                let response = response(&image, folders, &placed);
                let mut bytes = bytes::BytesMut::new();
                response.encode(version, &mut bytes).expect("expressible");
                let view = describe_log_dirs::ResponseView::parse(&bytes, version);
                let view = view.expect("own bytes");
                let result = view.results().iter().next().expect("one folder");
                assert_eq!(result.log_dir(), "/data");
                assert!(!result.is_cordoned());
                let known = space.is_some();
                assert_eq!(result.error_code(), if known { 0 } else { 56 });
                let told = (result.total_bytes(), result.usable_bytes());
                let expected = match (version, known) {
                    (4.., true) => (i64::MAX, 5),
                    _ => (-1, -1),
                };
                assert_eq!(told, expected, "version {version}");
                let sizes: Vec<_> = result
                    .topics()
                    .iter()
                    .flat_map(|topic| topic.partitions())
                    .map(|part| {
                        (
                            part.partition_size(),
                            part.offset_lag(),
                            part.is_future_key(),
                        )
                    })
                    .collect();
                let expected: &[_] = if known { &[(77, 0, false)] } else { &[] };
                assert_eq!(sizes, expected, "version {version}");
            }
        }
    }

    #[test]
    fn every_folder_is_told_with_the_partitions_that_lie_in_it() {
        let image = image_of_two_brokers("flights", NodeId(1));
        let room = |free| Some(Space { free, total: 10 });
        let placed = [Placed {
            folder: FolderNumber(1),
            partition: HERE,
            size: 77,
            lag: None,
        }];
        let folders = ["/a", "/b", "/c"].map(str::to_owned);
        let folders = folders.into_iter().zip([room(5), room(6), None]);
        let response = response(&image, folders.collect(), &placed);
        let told: Vec<_> = response
            .results
            .iter()
            .map(|result| {
                let partitions = result.topics.iter().map(|topic| topic.partitions.len());
                (
                    &*result.log_dir,
                    result.error_code,
                    result.usable_bytes,
                    partitions.sum(),
                )
            })
            .collect();
        let expected = [("/a", 0, 5, 0), ("/b", 0, 6, 1), ("/c", 56, -1, 0_usize)];
        assert_eq!(told, expected);
    }
}
