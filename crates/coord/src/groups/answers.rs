//! Answers that could be very large come in parts, each of bounded size and work, and the parts
//! together say all, in order. And what a coordinator tells its host, and is told by it.

use std::time::Duration;

use bytes::Bytes;
use klamm_model::{Offset, PartitionIndex, TopicId};

use super::testing::{Host, committing};
use super::*;
use crate::limits::{ANSWER_BYTES, ANSWER_GROUPS_MAX, ANSWER_OFFSETS_MAX};

fn topic(name: &str) -> TopicReference {
    TopicReference {
        name: TopicName::new(name).expect("legal"),
        id: TopicId([1; 16]),
    }
}

fn commit(host: &mut Host, group: &str, name: &str, partitions: i32, metadata: &str) {
    let partitions = (0..partitions).map(|index| CommitPartition {
        partition: PartitionIndex(index),
        offset: Offset(i64::from(index)),
        leader_epoch: None,
        metadata: metadata.to_owned(),
    });
    let (_, replies) = host.decide(committing(group, topic(name), partitions.collect()));
    assert!(matches!(&replies[..], [(_, Reply::CommitOffsets(Ok(_)))]));
}

fn fetch(
    host: &mut Host,
    topics: Option<Vec<FetchTopic>>,
    from: Option<(TopicName, PartitionIndex)>,
) -> FetchedOffsets {
    let (_, mut replies) = host.decide(Command::FetchOffsets(FetchOffsets {
        group: GroupId::new("g"),
        topics,
        from,
        member: None,
        require_stable: false,
    }));
    match replies.pop() {
        Some((_, Reply::FetchOffsets(Ok(fetched)))) => fetched,
        other => panic!("a fetch is answered: {other:?}"),
    }
}

fn places(fetched: &FetchedOffsets) -> Vec<(TopicName, PartitionIndex)> {
    let of_topic = |topic: &FetchedTopic| {
        let name = topic.topic.name.clone();
        let partitions = topic.partitions.clone().into_iter();
        partitions.map(move |(index, _)| (name.clone(), index))
    };
    fetched.topics.iter().flat_map(of_topic).collect()
}

fn whole() -> GroupConfig {
    GroupConfig {
        batch_bytes_max: usize::MAX,
        ..GroupConfig::default()
    }
}

#[test]
fn all_offsets_of_a_group_come_in_parts_that_together_are_all() {
    let mut host = Host::new(whole());
    commit(&mut host, "g", "a", 4_000, "");
    commit(&mut host, "g", "b", 7_000, "");
    commit(&mut host, "g", "c", 3, "");
    let (mut from, mut told, mut parts) = (None, Vec::new(), 0);
    loop {
        let fetched = fetch(&mut host, None, from);
        let part = places(&fetched);
        assert!(part.len() <= ANSWER_OFFSETS_MAX);
        told.extend(part);
        parts += 1;
        if fetched.next.is_none() {
            break;
        }
        from = fetched.next;
    }
    let all = [("a", 4_000), ("b", 7_000), ("c", 3)];
    let all = all.into_iter().flat_map(|(name, count)| {
        (0..count).map(move |index| (topic(name).name, PartitionIndex(index)))
    });
    assert_eq!(told, all.collect::<Vec<_>>());
    assert!(parts > 2, "{parts}");
}

#[test]
fn offsets_of_topics_of_one_name_are_told_with_the_topic_that_each_was_committed_for() {
    let mut host = Host::new(whole());
    let of = |id: u8| TopicReference {
        id: TopicId([id; 16]),
        ..topic("a")
    };
    // The topic is another one by now, and one member has not heard of it.
    for (id, index) in [(1, 0), (2, 1), (2, 2), (1, 3), (0, 4)] {
        let partition = CommitPartition {
            partition: PartitionIndex(index),
            offset: Offset(7),
            leader_epoch: None,
            metadata: String::new(),
        };
        host.decide(committing("g", of(id), vec![partition]));
    }
    let fetched = fetch(&mut host, None, None);
    let told = fetched.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|(index, _)| index.0);
        (topic.topic.id, partitions.collect::<Vec<_>>())
    });
    let id = |id| TopicId([id; 16]);
    let expected = [(id(1), vec![0]), (id(2), vec![1, 2]), (id(1), vec![3, 4])];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn an_offset_that_is_asked_for_again_and_again_is_told_each_time_but_not_in_one_part() {
    let mut host = Host::new(whole());
    let text = "m".repeat(4096);
    commit(&mut host, "g", "a", 1, &text);
    let asked = |count: usize| {
        let partitions = vec![PartitionIndex(0); count];
        Some(vec![FetchTopic {
            topic: topic("a"),
            partitions,
        }])
    };
    let fetched = fetch(&mut host, asked(10), None);
    assert_eq!((places(&fetched).len(), fetched.next), (10, None));
    let fetched = fetch(&mut host, asked(1_000), None);
    let told = places(&fetched).len();
    assert!(told * text.len() < ANSWER_BYTES + 2 * text.len(), "{told}");
    let next = (topic("a").name, PartitionIndex(0));
    assert_eq!(fetched.next, Some(next));
    let fetched = fetch(&mut host, asked(1_000 - told), None);
    assert!(!places(&fetched).is_empty(), "each part says something");
}

#[test]
fn a_topic_of_which_no_partition_is_asked_for_is_named() {
    let mut host = Host::new(whole());
    let nothing = FetchTopic {
        topic: topic("a"),
        partitions: Vec::new(),
    };
    let fetched = fetch(&mut host, Some(vec![nothing]), None);
    assert_eq!(fetched.topics.len(), 1);
}

#[test]
fn a_list_of_groups_comes_in_parts_that_together_are_all() {
    let mut host = Host::new(whole());
    let names: Vec<String> = (0..4_500).map(|number| format!("g{number:05}")).collect();
    for name in &names {
        commit(&mut host, name, "a", 1, "");
    }
    for states in [None, Some(BTreeSet::from([GroupState::Stable]))] {
        let (mut from, mut told, mut parts) = (None, Vec::new(), 0);
        loop {
            let list = List {
                states: states.clone(),
                types: None,
                from,
            };
            let (_, mut replies) = host.decide(Command::List(list));
            let Some((_, Reply::List(listed))) = replies.pop() else {
                panic!("a list is answered");
            };
            assert!(listed.groups.len() <= ANSWER_GROUPS_MAX);
            let part = listed.groups.iter();
            told.extend(part.map(|listed| listed.group.as_str().to_owned()));
            parts += 1;
            if listed.next.is_none() {
                break;
            }
            from = listed.next;
        }
        assert_eq!(parts, 3, "of as many looks, whatever is found");
        let all = if states.is_none() { &names[..] } else { &[] };
        assert_eq!(told, all);
    }
}

#[test]
fn a_group_whose_description_is_larger_than_it_may_be_is_not_described() {
    let mut host = Host::new(whole());
    let (_, replies) = host.decide(Command::Join(Join {
        group: GroupId::new("g"),
        member: None,
        instance: None,
        client_id: "c".repeat(10_000),
        client_host: "/::1".to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: Bytes::new(),
        }],
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(60),
        member_id_required: false,
        may_skip_assignment: false,
        reason: None,
    }));
    assert!(
        replies.is_empty(),
        "the round waits for others: {replies:?}"
    );
    let mut described = |bytes_max| {
        let groups = ["nobody", "g"].map(GroupId::new).to_vec();
        let (_, mut replies) = host.decide(Command::Describe { groups, bytes_max });
        match replies.pop() {
            Some((_, Reply::Describe(described))) => {
                let described = described.into_iter();
                described.map(|group| group.map(|group| group.state))
            }
            other => panic!("a description is answered: {other:?}"),
        }
        .collect::<Vec<_>>()
    };
    let rebalance = Some(GroupState::PreparingRebalance);
    assert_eq!(described(30_000), [Some(GroupState::Dead), rebalance]);
    assert_eq!(described(15_000), [Some(GroupState::Dead), None]);
}

#[test]
fn topics_in_the_log_are_named_once_with_every_id_that_was_kept_with_them() {
    let mut host = Host::new(whole());
    commit(&mut host, "g", "a", 2, "");
    commit(&mut host, "h", "a", 1, "");
    commit(&mut host, "h", "b", 1, "");
    let mut rebuilt = host.rebuilt(&host.log);
    assert_eq!(rebuilt.take_topics_read(), [topic("a"), topic("b")]);
    assert!(rebuilt.take_topics_read().is_empty(), "they are taken");
}

#[test]
fn a_coordinator_that_is_given_less_room_keeps_what_it_has_and_adds_nothing() {
    let mut host = Host::new(whole());
    commit(&mut host, "g", "a", 2, "");
    let held = host.coordinator.bytes_held();
    assert_eq!(held, host.coordinator.stats().bytes);
    host.coordinator.set_bytes_max(held);
    commit(&mut host, "g", "a", 2, "");
    let (_, replies) = host.decide(committing(
        "h",
        topic("a"),
        vec![CommitPartition {
            partition: PartitionIndex(0),
            offset: Offset(1),
            leader_epoch: None,
            metadata: String::new(),
        }],
    ));
    let refused = Reply::CommitOffsets(Err(CommitError::TooLarge));
    assert!(matches!(&replies[..], [(_, reply)] if *reply == refused));
    assert_eq!(host.coordinator.bytes_held(), held);
}
