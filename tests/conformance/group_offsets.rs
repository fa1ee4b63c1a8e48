//! Committed offsets of groups: kept and found in every version, after every end of the broker, in a
//! log that was compacted, and after a decision that its log does not take.

use klamm_wire::offset_commit;

use crate::groups::{
    COMMIT, FETCH, JOIN, SYNC, beat, commit, commit_as, describe, fetch, fetch_loaded, group,
    join_anew, listed, options, sync,
};
use crate::harness::{Broker, End, Topic, creation, wait_for};

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
fn offsets_are_found_again_in_a_log_that_was_compacted() {
    let test = "offsets_are_found_again_in_a_log_that_was_compacted";
    let own = || options().set("log.cleaner.backoff.ms", 20);
    let Some(mut broker) = Broker::own(test, own()) else {
        return;
    };
    let mut client = broker.client();
    // As an administrator may make it: one partition, small segments.
    let configs = [
        ("cleanup.policy", "compact"),
        ("internal.segment.bytes", "4000"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    let made = client.call(&creation("__consumer_offsets", 1, 1, &configs), 7);
    let code = made
        .view()
        .topics()
        .iter()
        .next()
        .map(|one| one.error_code());
    assert_eq!(code, Some(0));
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
    let configs = [
        ("cleanup.policy", "compact"),
        ("internal.segment.bytes", "2000"),
    ];
    let made = client.call(&creation("__consumer_offsets", 1, 1, &configs), 7);
    let code = made
        .view()
        .topics()
        .iter()
        .next()
        .map(|one| one.error_code());
    assert_eq!(code, Some(0));
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
