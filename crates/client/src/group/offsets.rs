//! The offsets that a group keeps: OffsetFetch, OffsetCommit and OffsetDelete in the versions that
//! name topics (those after them name ids, which other brokers' groups may not know).

use std::collections::BTreeMap;

use klamm_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicName};
use klamm_wire::{offset_commit, offset_delete, offset_fetch};

use crate::error::BrokerError;
use crate::metadata::PartitionName;

/// The last version of OffsetFetch that names topics.
pub const FETCH_VERSION_MAX: i16 = 9;

/// The last version of OffsetCommit that names topics.
pub const COMMIT_VERSION_MAX: i16 = 9;

/// Where a group goes on with a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next record to be read.
    pub offset: Offset,
    /// The leader epoch of the last record that was read, if it is known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the one who committed wants to remember with it.
    pub metadata: String,
}

impl CommittedOffset {
    /// An offset and nothing else.
    #[must_use]
    pub const fn at(offset: Offset) -> Self {
        Self {
            offset,
            leader_epoch: None,
            metadata: String::new(),
        }
    }
}

/// Who asks or commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committer {
    /// Its id; empty for one that is no member.
    pub member: String,
    /// The name of a static member.
    pub instance: Option<String>,
    /// The round, or the member's epoch (KIP-848); -1 for one that is no member.
    pub generation: i32,
}

impl Committer {
    /// An administrator, or a consumer without a membership.
    #[must_use]
    pub const fn nobody() -> Self {
        Self {
            member: String::new(),
            instance: None,
            generation: -1,
        }
    }
}

/// What came of a request, partition by partition.
pub type Outcomes<T> = Vec<(PartitionName, Result<T, BrokerError>)>;

fn by_topic<'p>(
    partitions: impl IntoIterator<Item = &'p PartitionName>,
) -> BTreeMap<&'p TopicName, Vec<i32>> {
    let mut by_topic: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        let rows = by_topic.entry(&partition.topic).or_default();
        rows.push(partition.index.0);
    }
    by_topic
}

/// An OffsetFetch request in the shape of `version` for these partitions, or for all that are kept
/// (from version 2 on). Groups of KIP-848 check the member that asks (from version 9 on).
#[must_use]
pub fn fetch(
    group: &str,
    committer: &Committer,
    partitions: Option<&[PartitionName]>,
    version: i16,
) -> offset_fetch::Request<'static> {
    let topics = partitions.map(by_topic);
    // An offset that an open transaction may still change is no place to go on at.
    let require_stable = version >= 7;
    if version < 8 {
        let topics = topics.map(|topics| {
            let rows = topics.into_iter();
            rows.map(
                |(name, partition_indexes)| offset_fetch::OffsetFetchRequestTopic {
                    name: name.as_str().to_owned().into(),
                    partition_indexes,
                },
            )
            .collect()
        });
        return offset_fetch::Request {
            group_id: group.to_owned().into(),
            topics,
            require_stable,
            ..Default::default()
        };
    }
    let topics = topics.map(|topics| {
        let rows = topics.into_iter();
        rows.map(
            |(name, partition_indexes)| offset_fetch::OffsetFetchRequestTopics {
                name: name.as_str().to_owned().into(),
                partition_indexes,
                ..Default::default()
            },
        )
        .collect()
    });
    let member = (!committer.member.is_empty()).then(|| committer.member.clone());
    offset_fetch::Request {
        groups: vec![offset_fetch::OffsetFetchRequestGroup {
            group_id: group.to_owned().into(),
            member_id: member.map(Into::into),
            member_epoch: committer.generation,
            topics,
        }],
        require_stable,
        ..Default::default()
    }
}

/// Reads an OffsetFetch answer about one group; `None` where nothing is kept.
///
/// # Errors
/// What the broker said of the group as a whole.
pub fn fetched(
    view: &offset_fetch::ResponseView<'_>,
    group: &str,
) -> Result<Outcomes<Option<CommittedOffset>>, BrokerError> {
    let subject = || format!("group {group}");
    BrokerError::check(view.error_code(), None, subject)?;
    let mut found = Vec::new();
    for topic in view.topics() {
        let rows = topic.partitions();
        let rows = rows.iter().map(|row| FetchedRow {
            index: row.partition_index(),
            code: row.error_code(),
            offset: row.committed_offset(),
            epoch: row.committed_leader_epoch(),
            metadata: row.metadata(),
        });
        take_topic(topic.name(), rows, &mut found);
    }
    for row in view.groups() {
        if row.group_id() != group {
            continue;
        }
        BrokerError::check(row.error_code(), None, subject)?;
        for topic in row.topics() {
            let rows = topic.partitions();
            let rows = rows.iter().map(|row| FetchedRow {
                index: row.partition_index(),
                code: row.error_code(),
                offset: row.committed_offset(),
                epoch: row.committed_leader_epoch(),
                metadata: row.metadata(),
            });
            take_topic(topic.name(), rows, &mut found);
        }
    }
    Ok(found)
}

struct FetchedRow<'a> {
    index: i32,
    code: i16,
    offset: i64,
    epoch: i32,
    metadata: Option<&'a str>,
}

fn take_topic<'a>(
    name: &str,
    rows: impl Iterator<Item = FetchedRow<'a>>,
    found: &mut Outcomes<Option<CommittedOffset>>,
) {
    let Ok(name) = TopicName::new(name) else {
        return;
    };
    for row in rows {
        let partition = PartitionName::new(name.clone(), PartitionIndex(row.index));
        let outcome = BrokerError::check(row.code, None, || format!("partition {partition}"));
        let kept = (row.offset >= 0).then(|| CommittedOffset {
            offset: Offset(row.offset),
            leader_epoch: Some(LeaderEpoch(row.epoch)).filter(|epoch| epoch.0 >= 0),
            metadata: row.metadata.unwrap_or_default().to_owned(),
        });
        found.push((partition, outcome.map(|()| kept)));
    }
}

/// An OffsetCommit request, for versions up to [`COMMIT_VERSION_MAX`]; those below 7 cannot say who
/// a static member is.
#[must_use]
pub fn commit(
    group: &str,
    committer: &Committer,
    offsets: &BTreeMap<PartitionName, CommittedOffset>,
) -> offset_commit::Request<'static> {
    let mut by_topic: BTreeMap<&TopicName, Vec<_>> = BTreeMap::new();
    for (partition, kept) in offsets {
        let row = offset_commit::OffsetCommitRequestPartition {
            partition_index: partition.index.0,
            committed_offset: kept.offset.0,
            committed_leader_epoch: kept.leader_epoch.map_or(-1, |epoch| epoch.0),
            committed_metadata: Some(kept.metadata.clone().into()),
            ..Default::default()
        };
        by_topic.entry(&partition.topic).or_default().push(row);
    }
    let topics = by_topic.into_iter();
    let topics = topics.map(
        |(name, partitions)| offset_commit::OffsetCommitRequestTopic {
            name: name.as_str().to_owned().into(),
            partitions,
            ..Default::default()
        },
    );
    offset_commit::Request {
        group_id: group.to_owned().into(),
        generation_id_or_member_epoch: committer.generation,
        member_id: committer.member.clone().into(),
        group_instance_id: committer.instance.clone().map(Into::into),
        topics: topics.collect(),
        ..Default::default()
    }
}

/// Reads an OffsetCommit answer.
pub fn committed(view: &offset_commit::ResponseView<'_>) -> Outcomes<()> {
    let mut outcomes = Vec::new();
    for topic in view.topics() {
        let rows = topic.partitions();
        let rows = rows
            .iter()
            .map(|row| (row.partition_index(), row.error_code()));
        take_codes(topic.name(), rows, &mut outcomes);
    }
    outcomes
}

/// An OffsetDelete request.
#[must_use]
pub fn delete(group: &str, partitions: &[PartitionName]) -> offset_delete::Request<'static> {
    let topics = by_topic(partitions).into_iter();
    let topics = topics.map(|(name, indexes)| {
        let row = |partition_index| offset_delete::OffsetDeleteRequestPartition { partition_index };
        offset_delete::OffsetDeleteRequestTopic {
            name: name.as_str().to_owned().into(),
            partitions: indexes.into_iter().map(row).collect(),
        }
    });
    offset_delete::Request {
        group_id: group.to_owned().into(),
        topics: topics.collect(),
    }
}

/// Reads an OffsetDelete answer.
///
/// # Errors
/// What the broker said of the group as a whole.
pub fn deleted(
    view: &offset_delete::ResponseView<'_>,
    group: &str,
) -> Result<Outcomes<()>, BrokerError> {
    BrokerError::check(view.error_code(), None, || format!("group {group}"))?;
    let mut outcomes = Vec::new();
    for topic in view.topics() {
        let rows = topic.partitions();
        let rows = rows
            .iter()
            .map(|row| (row.partition_index(), row.error_code()));
        take_codes(topic.name(), rows, &mut outcomes);
    }
    Ok(outcomes)
}

fn take_codes(name: &str, rows: impl Iterator<Item = (i32, i16)>, outcomes: &mut Outcomes<()>) {
    let Ok(name) = TopicName::new(name) else {
        return;
    };
    for (index, code) in rows {
        let partition = PartitionName::new(name.clone(), PartitionIndex(index));
        let outcome = BrokerError::check(code, None, || format!("partition {partition}"));
        outcomes.push((partition, outcome));
    }
}

/// The error of a whole answer that names partitions only: one that says that the coordinator is
/// another, or not ready. Such an answer changed nothing.
#[must_use]
pub fn not_coordinated<T>(outcomes: &Outcomes<T>) -> Option<&BrokerError> {
    let mut refused = outcomes.iter().filter_map(|(_, it)| it.as_ref().err());
    refused.find(|error| is_of_coordinator(error.code))
}

/// True for errors after which the coordinator is looked for again, or waited for.
#[must_use]
pub const fn is_of_coordinator(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
    )
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use klamm_wire::{Message, MessageView};

    use super::*;

    fn partition(index: i32) -> PartitionName {
        PartitionName::new(TopicName::new("t").expect("legal"), PartitionIndex(index))
    }

    fn encoded(message: &dyn Message, version: i16) -> BytesMut {
        let mut bytes = BytesMut::new();
        let encoded = message.encode(version, &mut bytes);
        encoded.unwrap_or_else(|error| panic!("version {version}: {error}"));
        bytes
    }

    #[test]
    fn offsets_are_asked_for_in_the_shape_of_every_version() {
        let wanted = [partition(1), partition(0)];
        for version in 1..=FETCH_VERSION_MAX {
            let request = fetch("g", &Committer::nobody(), Some(&wanted), version);
            let bytes = encoded(&request, version);
            let view = offset_fetch::RequestView::parse(&bytes, version).expect("sound");
            let groups: Vec<&str> = view.groups().iter().map(|it| it.group_id()).collect();
            match version {
                ..8 => assert_eq!((view.group_id(), groups.len()), ("g", 0)),
                _ => assert_eq!(groups, ["g"]),
            }
            assert_eq!(view.require_stable(), version >= 7);
            if version >= 2 {
                encoded(&fetch("g", &Committer::nobody(), None, version), version);
            }
        }
    }

    #[test]
    fn an_answer_tells_what_is_kept_and_what_is_not() {
        for version in [7, 9] {
            let row = |partition_index, committed_offset, error_code| {
                (partition_index, committed_offset, error_code)
            };
            let rows = [row(0, 5, 0), row(1, -1, 0), row(2, -1, 88)];
            let mut response = offset_fetch::Response::default();
            if version < 8 {
                let rows = rows.map(|(partition_index, committed_offset, error_code)| {
                    offset_fetch::OffsetFetchResponsePartition {
                        partition_index,
                        committed_offset,
                        committed_leader_epoch: 3,
                        metadata: Some("m".into()),
                        error_code,
                    }
                });
                response.topics = vec![offset_fetch::OffsetFetchResponseTopic {
                    name: "t".into(),
                    partitions: rows.to_vec(),
                }];
            } else {
                let rows = rows.map(|(partition_index, committed_offset, error_code)| {
                    offset_fetch::OffsetFetchResponsePartitions {
                        partition_index,
                        committed_offset,
                        committed_leader_epoch: 3,
                        metadata: Some("m".into()),
                        error_code,
                    }
                });
                response.groups = vec![offset_fetch::OffsetFetchResponseGroup {
                    group_id: "g".into(),
                    topics: vec![offset_fetch::OffsetFetchResponseTopics {
                        name: "t".into(),
                        partitions: rows.to_vec(),
                        ..Default::default()
                    }],
                    error_code: 0,
                }];
            }
            let bytes = encoded(&response, version);
            let view = offset_fetch::ResponseView::parse(&bytes, version).expect("sound");
            let found = fetched(&view, "g").expect("no refusal");
            let kept = CommittedOffset {
                offset: Offset(5),
                leader_epoch: Some(LeaderEpoch(3)),
                metadata: "m".to_owned(),
            };
            assert_eq!(found[0], (partition(0), Ok(Some(kept))));
            assert_eq!(found[1], (partition(1), Ok(None)));
            let refused = found[2].1.as_ref().expect_err("unstable");
            assert_eq!(refused.code, ErrorCode::UnstableOffsetCommit);
        }
    }

    #[test]
    fn a_commit_of_nobody_and_of_a_member_are_told_apart() {
        let offsets = BTreeMap::from([(partition(0), CommittedOffset::at(Offset(7)))]);
        for (committer, generation) in [
            (Committer::nobody(), -1),
            (
                Committer {
                    member: "m".to_owned(),
                    instance: Some("i".to_owned()),
                    generation: 4,
                },
                4,
            ),
        ] {
            let bytes = encoded(&commit("g", &committer, &offsets), COMMIT_VERSION_MAX);
            let view = offset_commit::RequestView::parse(&bytes, COMMIT_VERSION_MAX);
            let view = view.expect("sound");
            assert_eq!(view.generation_id_or_member_epoch(), generation);
            assert_eq!(view.member_id(), committer.member);
            assert_eq!(view.group_instance_id(), committer.instance.as_deref());
            let topic = view.topics().iter().next().expect("one");
            let row = topic.partitions().iter().next().expect("one");
            assert_eq!(
                (row.committed_offset(), row.committed_leader_epoch()),
                (7, -1)
            );
        }
    }

    #[test]
    fn errors_of_a_coordinator_are_told_from_those_of_a_partition() {
        let of = |code| {
            vec![(
                partition(0),
                Err::<(), _>(BrokerError::new(code, "partition")),
            )]
        };
        assert!(not_coordinated(&of(ErrorCode::NotCoordinator)).is_some());
        assert!(not_coordinated(&of(ErrorCode::UnknownMemberId)).is_none());
    }
}
