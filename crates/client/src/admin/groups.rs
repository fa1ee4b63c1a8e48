//! Groups: where they are coordinated, which there are, who is in them; delete them, and remove
//! members. Classic groups and those of KIP-848 are described in one form.

use klamm_model::{NodeId, PartitionIndex, TopicName};
use klamm_wire::{
    consumer_group_describe, delete_groups, describe_groups, find_coordinator, leave_group,
    list_groups,
};

use crate::error::BrokerError;
use crate::group::protocol::{Assignment, CONSUMER, Subscription};
use crate::metadata::PartitionName;

/// A FindCoordinator request for these groups in the shape of `version`: below 4 for the first
/// alone.
#[must_use]
pub fn find_coordinators(groups: &[&str], version: i16) -> find_coordinator::Request<'static> {
    let mut names = groups.iter().map(|name| (*name).to_owned().into());
    if version < 4 {
        return find_coordinator::Request {
            key: names.next().unwrap_or_default(),
            ..Default::default()
        };
    }
    find_coordinator::Request {
        coordinator_keys: names.collect(),
        ..Default::default()
    }
}

/// Reads a FindCoordinator answer to a request for these groups: group and coordinator.
pub fn found_coordinators(
    view: &find_coordinator::ResponseView<'_>,
    groups: &[&str],
    version: i16,
) -> Vec<Result<(String, NodeId), BrokerError>> {
    let subject = |name: &str| format!("coordinator of group {name}");
    if version < 4 {
        let first = groups.iter().take(1).map(|name| {
            let check =
                BrokerError::check(view.error_code(), view.error_message(), || subject(name));
            check.map(|()| ((*name).to_owned(), NodeId(view.node_id())))
        });
        return first.collect();
    }
    let rows = view.coordinators();
    let rows = rows.iter().map(|row| {
        let check =
            BrokerError::check(row.error_code(), row.error_message(), || subject(row.key()));
        check.map(|()| (row.key().to_owned(), NodeId(row.node_id())))
    });
    rows.collect()
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedGroup {
    /// Its name.
    pub group: String,
    /// Its kind, such as `consumer`; empty where nobody ever joined.
    pub protocol_type: String,
    /// Where it stands, as Kafka writes it; where the version tells (from 4 on).
    pub state: Option<String>,
    /// By which protocol it is coordinated, such as `classic`; where the version tells (from 5 on).
    pub group_type: Option<String>,
}

/// A ListGroups request; states and types as Kafka writes them, in letters of any case. None is
/// all. Versions below 4 know no states, those below 5 no types.
#[must_use]
pub fn list_groups(states: &[String], types: &[String]) -> list_groups::Request<'static> {
    let words = |words: &[String]| words.iter().map(|word| word.clone().into()).collect();
    list_groups::Request {
        states_filter: words(states),
        types_filter: words(types),
    }
}

/// Reads a ListGroups answer: the groups that one broker coordinates.
///
/// # Errors
/// What the broker said.
pub fn listed_groups(
    view: &list_groups::ResponseView<'_>,
) -> Result<Vec<ListedGroup>, BrokerError> {
    BrokerError::check(view.error_code(), None, || "list of groups".to_owned())?;
    let told = |text: &str| Some(text).filter(|it| !it.is_empty()).map(str::to_owned);
    let rows = view.groups();
    let rows = rows.iter().map(|row| ListedGroup {
        group: row.group_id().to_owned(),
        protocol_type: row.protocol_type().to_owned(),
        state: told(row.group_state()),
        group_type: told(row.group_type()),
    });
    Ok(rows.collect())
}

/// By which protocol the members of a group are coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// JoinGroup, SyncGroup and Heartbeat.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer,
}

impl GroupProtocol {
    /// As Kafka writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// A group with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// Its name.
    pub group: String,
    /// By which protocol it is coordinated.
    pub protocol: GroupProtocol,
    /// Its kind, such as `consumer`; empty where nobody ever joined.
    pub protocol_type: String,
    /// Where it stands, as Kafka writes it: `Stable`, `Empty` and so on. `Dead` is a group that
    /// does not exist.
    pub state: String,
    /// How its work is divided; empty where that is not told.
    pub assignor: String,
    /// Of KIP-848: counts changes of members and topics.
    pub epoch: Option<i32>,
    /// Who coordinates it.
    pub coordinator: NodeId,
    /// Its members in the order of their ids.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub member: String,
    /// Its name, if it is a static one (KIP-345).
    pub instance: Option<String>,
    /// The client's own name.
    pub client_id: String,
    /// Where it calls from, as the broker shows it: `/127.0.0.1`.
    pub client_host: String,
    /// Of KIP-848: the epoch that it has reached.
    pub epoch: Option<i32>,
    /// The topics that it wants to read, where they can be told.
    pub topics: Vec<TopicName>,
    /// What it reads, where that can be told.
    pub assignment: Vec<PartitionName>,
    /// Of KIP-848: what it shall read once others have let go of it.
    pub target: Option<Vec<PartitionName>>,
}

/// A DescribeGroups request.
#[must_use]
pub fn describe_groups(groups: &[&str]) -> describe_groups::Request<'static> {
    describe_groups::Request {
        groups: groups
            .iter()
            .map(|name| (*name).to_owned().into())
            .collect(),
        ..Default::default()
    }
}

/// Reads a DescribeGroups answer of this coordinator. What members that are no consumers say and
/// are given cannot be read and is left out.
pub fn described_groups(
    view: &describe_groups::ResponseView<'_>,
    coordinator: NodeId,
) -> Vec<(String, Result<DescribedGroup, BrokerError>)> {
    let rows = view.groups();
    let rows = rows.iter().map(|row| {
        let name = row.group_id().to_owned();
        let check = BrokerError::check(row.error_code(), row.error_message(), || {
            format!("group {name}")
        });
        let described = check.map(|()| classic_group(&row, coordinator));
        (name, described)
    });
    rows.collect()
}

fn classic_group(
    row: &describe_groups::DescribedGroupView<'_>,
    coordinator: NodeId,
) -> DescribedGroup {
    let are_consumers = row.protocol_type() == CONSUMER;
    let member = |member: describe_groups::DescribedGroupMemberView<'_>| {
        let (said, given) = (member.member_metadata(), member.member_assignment());
        let (said, given) = if are_consumers {
            (
                Subscription::decode(said).ok(),
                Assignment::decode(given).ok(),
            )
        } else {
            (None, None)
        };
        GroupMember {
            member: member.member_id().to_owned(),
            instance: member.group_instance_id().map(str::to_owned),
            client_id: member.client_id().to_owned(),
            client_host: member.client_host().to_owned(),
            epoch: None,
            topics: said.unwrap_or_default().topics,
            assignment: given.unwrap_or_default().partitions,
            target: None,
        }
    };
    let members = row.members();
    let mut members: Vec<_> = members.iter().map(member).collect();
    members.sort_by(|left, right| left.member.cmp(&right.member));
    DescribedGroup {
        group: row.group_id().to_owned(),
        protocol: GroupProtocol::Classic,
        protocol_type: row.protocol_type().to_owned(),
        state: row.group_state().to_owned(),
        assignor: row.protocol_data().to_owned(),
        epoch: None,
        coordinator,
        members,
    }
}

/// A ConsumerGroupDescribe request.
#[must_use]
pub fn describe_consumer_groups(groups: &[&str]) -> consumer_group_describe::Request<'static> {
    consumer_group_describe::Request {
        group_ids: groups
            .iter()
            .map(|name| (*name).to_owned().into())
            .collect(),
        ..Default::default()
    }
}

/// Reads a ConsumerGroupDescribe answer of this coordinator.
pub fn described_consumer_groups(
    view: &consumer_group_describe::ResponseView<'_>,
    coordinator: NodeId,
) -> Vec<(String, Result<DescribedGroup, BrokerError>)> {
    let rows = view.groups();
    let rows = rows.iter().map(|row| {
        let name = row.group_id().to_owned();
        let check = BrokerError::check(row.error_code(), row.error_message(), || {
            format!("group {name}")
        });
        let described = check.map(|()| {
            let members = row.members();
            let mut members: Vec<_> = members.iter().map(|it| consumer_member(&it)).collect();
            members.sort_by(|left, right| left.member.cmp(&right.member));
            DescribedGroup {
                group: name.clone(),
                protocol: GroupProtocol::Consumer,
                protocol_type: CONSUMER.to_owned(),
                state: row.group_state().to_owned(),
                assignor: row.assignor_name().to_owned(),
                epoch: Some(row.group_epoch()),
                coordinator,
                members,
            }
        });
        (name, described)
    });
    rows.collect()
}

fn consumer_member(row: &consumer_group_describe::MemberView<'_>) -> GroupMember {
    let topics = row.subscribed_topic_names();
    let topics = topics.iter().filter_map(|name| TopicName::new(name).ok());
    GroupMember {
        member: row.member_id().to_owned(),
        instance: row.instance_id().map(str::to_owned),
        client_id: row.client_id().to_owned(),
        client_host: row.client_host().to_owned(),
        epoch: Some(row.member_epoch()),
        topics: topics.collect(),
        assignment: partitions(row.assignment()),
        target: Some(partitions(row.target_assignment())),
    }
}

fn partitions(row: consumer_group_describe::AssignmentView<'_>) -> Vec<PartitionName> {
    let mut partitions = Vec::new();
    for topic in row.topic_partitions() {
        let Ok(name) = TopicName::new(topic.topic_name()) else {
            continue;
        };
        let indexes = topic.partitions();
        let named = indexes
            .iter()
            .map(|index| PartitionName::new(name.clone(), PartitionIndex(index)));
        partitions.extend(named);
    }
    partitions.sort_unstable();
    partitions
}

/// What became of groups, by their names.
pub type GroupOutcomes = Vec<(String, Result<(), BrokerError>)>;

/// A DeleteGroups request.
#[must_use]
pub fn delete_groups(groups: &[&str]) -> delete_groups::Request<'static> {
    delete_groups::Request {
        groups_names: groups
            .iter()
            .map(|name| (*name).to_owned().into())
            .collect(),
    }
}

/// Reads a DeleteGroups answer: the names of groups that are gone.
pub fn deleted_groups(view: &delete_groups::ResponseView<'_>) -> GroupOutcomes {
    let rows = view.results();
    let rows = rows.iter().map(|row| {
        let name = row.group_id().to_owned();
        let outcome = BrokerError::check(row.error_code(), None, || format!("group {name}"));
        (name, outcome)
    });
    rows.collect()
}

/// A member that shall leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeavingMember {
    /// One by its id.
    Member(String),
    /// A static one by its name, whatever its id.
    Instance(String),
}

/// A LeaveGroup request that removes members, for versions from 3 on.
#[must_use]
pub fn remove_members(
    group: &str,
    members: &[LeavingMember],
    reason: &str,
) -> leave_group::Request<'static> {
    let row = |member: &LeavingMember| {
        let (id, instance) = match member {
            LeavingMember::Member(id) => (id.clone(), None),
            LeavingMember::Instance(name) => (String::new(), Some(name.clone())),
        };
        leave_group::MemberIdentity {
            member_id: id.into(),
            group_instance_id: instance.map(Into::into),
            reason: Some(reason.to_owned().into()),
        }
    };
    leave_group::Request {
        group_id: group.to_owned().into(),
        members: members.iter().map(row).collect(),
        ..Default::default()
    }
}

/// Reads a LeaveGroup answer, member by member.
///
/// # Errors
/// What the broker said of all members together.
pub fn removed_members(
    view: &leave_group::ResponseView<'_>,
    group: &str,
) -> Result<Vec<Result<String, BrokerError>>, BrokerError> {
    BrokerError::check(view.error_code(), None, || format!("group {group}"))?;
    let rows = view.members();
    let rows = rows.iter().map(|row| {
        let name = row.group_instance_id().unwrap_or_else(|| row.member_id());
        let subject = || format!("member {name} of group {group}");
        BrokerError::check(row.error_code(), None, subject).map(|()| name.to_owned())
    });
    Ok(rows.collect())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use klamm_wire::{Message, MessageView};

    use super::*;

    fn encoded(message: &dyn Message, version: i16) -> BytesMut {
        let mut bytes = BytesMut::new();
        let encoded = message.encode(version, &mut bytes);
        encoded.unwrap_or_else(|error| panic!("version {version}: {error}"));
        bytes
    }

    #[test]
    fn coordinators_are_found_one_by_one_or_together() {
        for version in [3, 6] {
            let request = find_coordinators(&["a", "b"][..], version);
            let bytes = encoded(&request, version);
            let view = find_coordinator::RequestView::parse(&bytes, version).expect("sound");
            let keys: Vec<&str> = view.coordinator_keys().iter().collect();
            match version {
                3 => assert_eq!((view.key(), keys.len()), ("a", 0)),
                _ => assert_eq!(keys, ["a", "b"]),
            }
        }
        let response = find_coordinator::Response {
            node_id: 4,
            ..Default::default()
        };
        let bytes = encoded(&response, 3);
        let view = find_coordinator::ResponseView::parse(&bytes, 3).expect("sound");
        let found = found_coordinators(&view, &["a"], 3);
        assert_eq!(found, [Ok(("a".to_owned(), NodeId(4)))]);
    }

    #[test]
    fn members_that_are_no_consumers_are_described_without_their_bytes() {
        let member = describe_groups::DescribedGroupMember {
            member_id: "m".into(),
            client_host: "/10.0.0.7".into(),
            member_metadata: vec![1, 2, 3].into(),
            ..Default::default()
        };
        let response = describe_groups::Response {
            groups: vec![describe_groups::DescribedGroup {
                group_id: "g".into(),
                group_state: "Stable".into(),
                protocol_type: "connect".into(),
                protocol_data: "sessioned".into(),
                members: vec![member],
                ..Default::default()
            }],
            ..Default::default()
        };
        let bytes = encoded(&response, 5);
        let view = describe_groups::ResponseView::parse(&bytes, 5).expect("sound");
        let (name, described) = described_groups(&view, NodeId(1)).remove(0);
        let described = described.expect("described");
        assert_eq!(
            (name.as_str(), described.assignor.as_str()),
            ("g", "sessioned")
        );
        assert!(described.members[0].assignment.is_empty());
    }

    #[test]
    fn members_are_removed_by_id_or_by_name() {
        let members = [
            LeavingMember::Member("m".to_owned()),
            LeavingMember::Instance("i".to_owned()),
        ];
        let bytes = encoded(&remove_members("g", &members, "why"), 5);
        let view = leave_group::RequestView::parse(&bytes, 5).expect("sound");
        let rows = view.members();
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (row.member_id(), row.group_instance_id(), row.reason()))
            .collect();
        assert_eq!(
            rows,
            [("m", None, Some("why")), ("", Some("i"), Some("why"))]
        );
    }
}
