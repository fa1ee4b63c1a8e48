//! Committed offsets of groups: kept and found in every version, after every end of the broker, in a
//! log that was compacted, and after a decision that its log does not take.

use std::fs;

use klamm_wire::{list_groups, offset_commit};

use crate::groups::{
    COMMIT, FETCH, JOIN, SYNC, beat, commit, commit_as, describe, fetch, fetch_loaded, group,
    join_anew, listed, options, sync,
};
use crate::harness::{Broker, Client, End, Topic, creation, wait_for};

/// Makes the topic of groups as an administrator may: one partition, small segments.
fn make_topic_of_groups(client: &mut Client, segment_bytes: &str) {
    let configs = [
        ("cleanup.policy", "compact"),
        ("internal.segment.bytes", segment_bytes),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    let made = client.call(&creation("__consumer_offsets", 1, 1, &configs), 7);
    let made = made.view().topics().iter();
    let codes: Vec<i16> = made.map(|one| one.error_code()).collect();
    assert_eq!(codes, [0]);
}

#[test]
fn log_of_groups_that_cannot_be_read_is_said_and_read_when_it_can_be() {
    let test = "log_of_groups_that_cannot_be_read_is_said";
    // What is compacted away cannot be damaged.
    let own = || options().set("log.cleaner.enable", false);
    let Some(mut broker) = Broker::own(test, own()) else {
        return;
    };
    let mut client = broker.client();
    make_topic_of_groups(&mut client, "4000");
    let topic = client.create_topic("read", 1);
    let group = group(&mut client, "kept");
    for offset in 0..200 {
        assert_eq!(commit(&mut client, &group, &topic, offset, COMMIT), 0);
    }
    broker.end(End::Stop);
    let folder = broker.folder().join("__consumer_offsets-0");
    let segment = folder.join("00000000000000000000.log");
    let right = fs::read(&segment).expect("the first segment");
    let mut wrong = right.clone();
    wrong[1000] ^= 1;
    fs::write(&segment, &wrong).expect("written");
    broker.start_again();
    client = broker.client();
    let list = |client: &mut Client| {
        let reply = client.call(&list_groups::Request::default(), 4);
        let groups = reply.view().groups().iter().count();
        (reply.view().error_code(), groups)
    };
    // A list without the groups of this coordinator would be taken for whole.
    wait_for("a coordinator that fails", || {
        let (code, groups) = list(&mut client);
        assert_eq!(groups, 0);
        (code == 15).then_some(())
    });
    let told = "the log of a group coordinator cannot be read";
    broker.expect_log(0, &[told, "is tried again"]);
    fs::write(&segment, &right).expect("written");
    let found = wait_for("groups that are served", || {
        let found = fetch(&mut client, &group, &topic, FETCH);
        (found.0 != 14 && found.0 != 16).then_some(found)
    });
    assert_eq!(found, (0, 199, "at 199".to_owned()));
    broker.expect_log(0, &["can be read again"]);
    assert_eq!(list(&mut client), (0, 1));
    if let Some(process) = broker.process() {
        let times = process.log.text().matches(told).count();
        assert_eq!(times, 1, "told once, however often it is tried");
    }
    broker.is_healthy();
}

#[test]
fn offsets_are_kept_and_found_in_every_version() {
    let Some(broker) = Broker::own("offsets_are_kept_in_every_version", options()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("read", 2);
    let group = group(&mut client, "offsets");
    for version in 0..=10 {
        let nothing = fetch(&mut client, "never", &topic, version);
        if nothing.0 == 0 {
            assert_eq!(nothing, (0, -1, String::new()), "version {version}");
        }
        let offset = 100 + i64::from(version);
        assert_eq!(commit(&mut client, &group, &topic, offset, version), 0);
        for version in 0..=10 {
            let found = fetch(&mut client, &group, &topic, version);
            let expected = (0, offset, format!("at {offset}"));
            assert_eq!(found, expected, "version {version}");
        }
    }
    let absent = Topic {
        name: "absent".to_owned(),
        id: [7; 16],
    };
    assert_eq!(commit(&mut client, &group, &absent, 1, 9), 3);
    assert_eq!(commit(&mut client, &group, &absent, 1, 10), 100);
    assert_eq!(fetch(&mut client, &group, &absent, 9).1, -1);
    assert_eq!(fetch(&mut client, &group, &absent, 10).0, 100);
    // A round that nobody knows of.
    let stranger = ("stranger", 5);
    let code = commit_as(&mut client, &group, stranger, &topic, 1, COMMIT);
    assert_eq!(code, 25);
    assert_eq!(describe(&mut client, &group, 5).1, "Empty");
    assert_eq!(
        listed(&mut client, &group, &[], 4).as_deref(),
        Some("Empty")
    );
}

#[test]
fn acknowledged_offsets_outlive_the_process_in_every_class() {
    let test = "acknowledged_offsets_outlive_the_process_in_every_class";
    for durability in ["written", "flushed"] {
        let own = || options().set("klamm.durability", durability);
        let Some(mut broker) = Broker::own(test, own()) else {
            return;
        };
        let mut client = broker.client();
        let topic = client.create_topic("read", 1);
        let groups: Vec<String> = (0..20).map(|_| group(&mut client, "kept")).collect();
        for round in 0..6 {
            for (place, group) in (0..).zip(&groups) {
                let offset = round * 1000 + place;
                assert_eq!(commit(&mut client, group, &topic, offset, COMMIT), 0);
            }
            broker.end(if round % 2 == 0 { End::Kill } else { End::Stop });
            // Another number of cores each time: coordinators move with their partitions.
            broker.start_again_with(own().set("klamm.shards", 1 + round % 2));
            client = broker.client();
            for (place, group) in (0..).zip(&groups) {
                let offset = round * 1000 + place;
                let found = fetch_loaded(&mut client, group, &topic);
                assert_eq!(found, (0, offset, format!("at {offset}")), "{durability}");
            }
        }
    }
}

#[test]
fn offsets_of_a_deleted_topic_are_forgotten() {
    let Some(broker) = Broker::own("offsets_of_a_deleted_topic", options()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("short-lived", 1);
    let group = group(&mut client, "follower");
    assert_eq!(commit(&mut client, &group, &topic, 7, COMMIT), 0);
    assert_eq!(client.delete_topic(&topic), 0);
    wait_for("forgotten offset", || {
        (fetch(&mut client, &group, &topic, FETCH).1 == -1).then_some(())
    });
}

#[test]
fn offsets_of_a_topic_that_was_deleted_just_before_a_crash_are_forgotten() {
    let test = "offsets_of_a_topic_that_was_deleted_just_before_a_crash";
    let Some(mut broker) = Broker::own(test, options()) else {
        return;
    };
    for _ in 0..3 {
        let mut client = broker.client();
        let stays = client.create_topic("stays", 1);
        let goes = client.create_topic("goes", 1);
        let groups: Vec<String> = (0..20).map(|_| group(&mut client, "follower")).collect();
        for group in &groups {
            for topic in [&stays, &goes] {
                assert_eq!(commit(&mut client, group, topic, 7, COMMIT), 0);
            }
        }
        assert_eq!(client.delete_topic(&goes), 0);
        broker.end(End::Kill);
        broker.start_again();
        client = broker.client();
        for group in &groups {
            assert_eq!(fetch_loaded(&mut client, group, &stays).1, 7);
            wait_for("forgotten offset", || {
                (fetch_loaded(&mut client, group, &goes).1 == -1).then_some(())
            });
            assert_eq!(fetch_loaded(&mut client, group, &stays).1, 7);
        }
    }
}

#[test]
fn offsets_are_found_again_in_a_log_that_was_compacted() {
    let test = "offsets_are_found_again_in_a_log_that_was_compacted";
    let own = || options().set("log.cleaner.backoff.ms", 20);
    let Some(mut broker) = Broker::own(test, own()) else {
        return;
    };
    let mut client = broker.client();
    make_topic_of_groups(&mut client, "4000");
    let topic = client.create_topic("read", 1);
    let groups: Vec<String> = (0..5).map(|_| group(&mut client, "kept")).collect();
    let member = join_anew(&mut client, &groups[0], JOIN);
    let own_part = [(member.member.as_str(), "all")];
    assert_eq!(sync(&mut client, &groups[0], &member, SYNC, &own_part).0, 0);
    let mut offset = 0;
    for end in [End::Kill, End::Stop, End::Kill] {
        for _ in 0..150 {
            for group in &groups[1..] {
                assert_eq!(commit(&mut client, group, &topic, offset, COMMIT), 0);
            }
            let own = (member.member.as_str(), member.generation);
            let code = commit_as(&mut client, &groups[0], own, &topic, offset, COMMIT);
            assert_eq!(code, 0);
            assert_eq!(beat(&mut client, &groups[0], &member, 4), 0);
            offset += 1;
        }
        wait_for("compacted log", || {
            let removed = broker.metric("klamm_compaction_records_removed_total");
            (removed > 50).then_some(())
        });
        broker.end(end);
        broker.start_again();
        client = broker.client();
        for group in &groups {
            let found = fetch_loaded(&mut client, group, &topic);
            assert_eq!(found, (0, offset - 1, format!("at {}", offset - 1)));
        }
        assert_eq!(beat(&mut client, &groups[0], &member, 4), 0);
    }
}

#[test]
fn decision_that_the_log_does_not_take_loses_nothing_that_was_kept() {
    let Some(broker) = Broker::own("decision_that_the_log_does_not_take", options()) else {
        return;
    };
    let mut client = broker.client();
    // A batch of a long text is larger than these segments.
    make_topic_of_groups(&mut client, "2000");
    let topic = client.create_topic("read", 1);
    let group = group(&mut client, "kept");
    let member = join_anew(&mut client, &group, JOIN);
    let part = [(member.member.as_str(), "all")];
    assert_eq!(sync(&mut client, &group, &member, SYNC, &part).0, 0);
    let own = (member.member.as_str(), member.generation);
    assert_eq!(commit_as(&mut client, &group, own, &topic, 7, COMMIT), 0);
    for _ in 0..3 {
        let from = broker.log_length();
        let partition = offset_commit::OffsetCommitRequestPartition {
            partition_index: 0,
            committed_offset: 8,
            committed_metadata: Some("m".repeat(3000).into()),
            ..Default::default()
        };
        let request = offset_commit::Request {
            group_id: group.clone().into(),
            generation_id_or_member_epoch: member.generation,
            member_id: member.member.clone().into(),
            topics: vec![offset_commit::OffsetCommitRequestTopic {
                name: topic.name.clone().into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        let reply = client.call(&request, COMMIT);
        let view = reply.view();
        let answered = view.topics().iter().next().expect("one topic");
        let part = answered.partitions().iter().next().expect("one partition");
        assert_eq!(part.error_code(), 28);
        broker.expect_log(from, &["it begins anew from its log"]);
        let found = fetch_loaded(&mut client, &group, &topic);
        assert_eq!(found, (0, 7, "at 7".to_owned()));
        assert_eq!(beat(&mut client, &group, &member, 4), 0);
    }
    assert_eq!(commit_as(&mut client, &group, own, &topic, 9, COMMIT), 0);
    assert_eq!(fetch(&mut client, &group, &topic, FETCH).1, 9);
}
