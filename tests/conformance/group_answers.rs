//! Answers about groups that a small request makes large: each repetition is answered in full, as
//! far as an answer goes, and the groups behind that are asked for again by clients.

use klamm_wire::{describe_groups, offset_commit, offset_delete, offset_fetch};

use crate::groups::{COMMIT, FETCH, JOIN, SYNC, group, join_anew, listed, options, sync};
use crate::harness::{Broker, Client, Topic};

/// Clients ask again for a group with this code, and for that one alone.
const LATER: i16 = 14;
/// Clients do not ask again.
const TOO_LARGE: i16 = 10;
/// What one answer takes at most, of which this much is in doubt.
const ANSWER_BYTES_MAX: usize = 100 << 20;
const DOUBT: usize = 20 << 20;

/// Keeps one offset with a long text.
fn commit_text(client: &mut Client, group: &str, topic: &Topic, text: &str) {
    let partition = offset_commit::OffsetCommitRequestPartition {
        committed_offset: 7,
        committed_metadata: Some(text.to_owned().into()),
        ..Default::default()
    };
    let request = offset_commit::Request {
        group_id: group.to_owned().into(),
        generation_id_or_member_epoch: -1,
        topics: vec![offset_commit::OffsetCommitRequestTopic {
            name: topic.name.clone().into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    let reply = client.call(&request, COMMIT);
    let view = reply.view();
    let topic = view.topics().iter().next().expect("one topic");
    let part = topic.partitions().iter().next().expect("one partition");
    assert_eq!(part.error_code(), 0);
}

fn asked(
    group: &str,
    topic: &Topic,
    times: usize,
) -> offset_fetch::OffsetFetchRequestGroup<'static> {
    offset_fetch::OffsetFetchRequestGroup {
        group_id: group.to_owned().into(),
        topics: Some(vec![offset_fetch::OffsetFetchRequestTopics {
            name: topic.name.clone().into(),
            partition_indexes: vec![0; times],
            ..Default::default()
        }]),
        ..Default::default()
    }
}

/// The broker's memory never had room for more than a few answers.
fn check_memory(broker: &Broker) {
    if let Some(process) = broker.process() {
        let peak = process.peak_bytes();
        assert!(peak < 900 << 20, "{peak} bytes resident");
    }
}

#[test]
fn offset_that_is_asked_for_again_and_again_is_told_as_often_as_an_answer_has_room() {
    let Some(mut broker) = Broker::own("offset_that_is_asked_for_again_and_again", options())
    else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("read", 1);
    let group = group(&mut client, "verbose");
    let text = "m".repeat(4096);
    commit_text(&mut client, &group, &topic, &text);
    // 4 MB each.
    let request = offset_fetch::Request {
        groups: vec![asked(&group, &topic, 1_000); 60],
        ..Default::default()
    };
    let reply = client.call(&request, FETCH);
    let codes: Vec<i16> = reply
        .view()
        .groups()
        .iter()
        .map(|group| {
            let parts = group.topics().iter().flat_map(|topic| topic.partitions());
            let told = parts.filter(|part| part.metadata() == Some(text.as_str()));
            let expected = if group.error_code() == 0 { 1_000 } else { 0 };
            assert_eq!(told.count(), expected, "all of a group or nothing");
            group.error_code()
        })
        .collect();
    assert_eq!(codes.len(), 60, "each is answered");
    let whole = codes.iter().take_while(|&&code| code == 0).count();
    let bytes = whole * 1_000 * text.len();
    assert!(
        (ANSWER_BYTES_MAX - DOUBT..=ANSWER_BYTES_MAX).contains(&bytes),
        "{bytes}"
    );
    assert!(
        codes[whole..].iter().all(|&code| code == LATER),
        "{codes:?}"
    );
    // One group that no answer has room for.
    let groups = vec![asked(&group, &topic, 40_000), asked(&group, &topic, 1)];
    let request = offset_fetch::Request {
        groups,
        ..Default::default()
    };
    let reply = client.call(&request, FETCH);
    let codes = reply.view().groups().iter().map(|group| group.error_code());
    assert_eq!(codes.collect::<Vec<_>>(), [TOO_LARGE, LATER]);
    let request = offset_fetch::Request {
        group_id: group.clone().into(),
        topics: Some(vec![offset_fetch::OffsetFetchRequestTopic {
            name: topic.name.clone().into(),
            partition_indexes: vec![0; 40_000],
        }]),
        ..Default::default()
    };
    assert_eq!(client.call(&request, 7).view().error_code(), TOO_LARGE);
    check_memory(&broker);
    broker.is_healthy();
}

#[test]
fn group_that_is_described_again_and_again_is_told_as_often_as_an_answer_has_room() {
    let Some(mut broker) = Broker::own("group_that_is_described_again_and_again", options()) else {
        return;
    };
    let mut client = broker.client();
    let group = group(&mut client, "verbose");
    let member = join_anew(&mut client, &group, JOIN);
    let part = "p".repeat(900_000);
    let parts = [(member.member.as_str(), part.as_str())];
    assert_eq!(sync(&mut client, &group, &member, SYNC, &parts).0, 0);
    let mut groups = vec!["nobody".into()];
    groups.extend(vec![group.clone().into(); 300]);
    let request = describe_groups::Request {
        groups,
        ..Default::default()
    };
    let reply = client.call(&request, 5);
    let view = reply.view();
    let told: Vec<_> = view.groups().iter().collect();
    assert_eq!(told.len(), 301, "each is answered");
    assert_eq!(told[0].group_state(), "Dead");
    let whole = told[1..].iter().take_while(|group| group.error_code() == 0);
    let whole = whole.count();
    let bytes = whole * part.len();
    assert!(
        (ANSWER_BYTES_MAX - DOUBT..=ANSWER_BYTES_MAX).contains(&bytes),
        "{bytes}"
    );
    for (number, group) in told[1..].iter().enumerate() {
        let members: Vec<_> = group.members().iter().collect();
        if number < whole {
            assert_eq!(group.group_state(), "Stable");
            assert_eq!(members[0].member_assignment(), part.as_bytes());
        } else {
            assert_eq!((group.error_code(), members.len()), (LATER, 0));
        }
    }
    check_memory(&broker);
    broker.is_healthy();
}

#[test]
fn many_groups_are_listed_and_many_offsets_deleted_in_parts() {
    let Some(mut broker) = Broker::own("many_groups_are_listed_in_parts", options()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("read", 12_000);
    let group = group(&mut client, "wide");
    let partitions = |from: i32| {
        (from..from + 4_000).map(
            |partition_index| offset_commit::OffsetCommitRequestPartition {
                partition_index,
                committed_offset: 7,
                ..Default::default()
            },
        )
    };
    for from in [0, 4_000, 8_000] {
        let request = offset_commit::Request {
            group_id: group.clone().into(),
            generation_id_or_member_epoch: -1,
            topics: vec![offset_commit::OffsetCommitRequestTopic {
                name: topic.name.clone().into(),
                partitions: partitions(from).collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let reply = client.call(&request, COMMIT);
        let view = reply.view();
        let parts = view.topics().iter().flat_map(|topic| topic.partitions());
        assert!(parts.into_iter().all(|part| part.error_code() == 0));
    }
    let all = offset_fetch::Request {
        groups: vec![offset_fetch::OffsetFetchRequestGroup {
            group_id: group.clone().into(),
            topics: None,
            ..Default::default()
        }],
        ..Default::default()
    };
    let reply = client.call(&all, FETCH);
    let view = reply.view();
    let found = view.groups().iter().next().expect("one group");
    let topics: Vec<_> = found.topics().iter().collect();
    assert_eq!(
        topics.len(),
        1,
        "one topic is told once, in however many parts"
    );
    let indexes = topics[0].partitions().iter();
    let indexes = indexes.map(|part| part.partition_index());
    assert!(indexes.eq(0..12_000));
    assert_eq!(
        listed(&mut client, &group, &[], 4).as_deref(),
        Some("Empty")
    );
    // The group goes with its last offset, which is not in the last part.
    let deletion =
        |partition_index| offset_delete::OffsetDeleteRequestPartition { partition_index };
    let request = offset_delete::Request {
        group_id: group.clone().into(),
        topics: vec![offset_delete::OffsetDeleteRequestTopic {
            name: topic.name.into(),
            partitions: (0..12_000).chain(0..12_000).map(deletion).collect(),
        }],
    };
    let reply = client.call(&request, 0);
    let view = reply.view();
    assert_eq!(view.error_code(), 0);
    let parts = view.topics().iter().flat_map(|topic| topic.partitions());
    let codes: Vec<i16> = parts.into_iter().map(|part| part.error_code()).collect();
    assert_eq!(codes, vec![0; 24_000]);
    assert_eq!(listed(&mut client, &group, &[], 4), None);
    broker.is_healthy();
}
