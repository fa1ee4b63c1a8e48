//! The client library's members of groups against the real binary: what each record, commit and
//! rebalance comes to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use klamm_client::blocking::{BlockingGroupConsumer, Client, ClientOptions};
use klamm_client::fetcher::Event;
use klamm_client::group::assignor::Assignor;
use klamm_client::group::{
    CommitError, CommittedOffset, GroupEvent, GroupOptions, GroupReset, MembershipProtocol,
};
use klamm_client::hub::HubOptions;
use klamm_client::metadata::PartitionName;
use klamm_model::{ErrorCode, Offset, PartitionIndex, TopicName};

use crate::groups::options;
use crate::harness::{Broker, RawBatch, Record, Topic, unique};

const PATIENCE: Duration = Duration::from_secs(60);

fn connect(broker: &Broker) -> Client {
    let address = broker.address().to_string();
    Client::connect(&address, ClientOptions::default()).expect("the broker listens")
}

fn member_options(group: &str) -> GroupOptions {
    GroupOptions {
        offset_reset: GroupReset::Earliest,
        heartbeat_interval: Duration::from_millis(200),
        session_timeout: Duration::from_secs(10),
        auto_commit: Some(Duration::from_millis(200)),
        ..GroupOptions::new(group)
    }
}

fn join(broker: &Broker, options: GroupOptions, topic: &Topic) -> Member {
    let topics = [TopicName::new(&topic.name).expect("legal")];
    let address = broker.address().to_string();
    let consumer = BlockingGroupConsumer::new(&address, HubOptions::default(), options, topics);
    Member {
        consumer: consumer.expect("a thread"),
        read: Vec::new(),
        told: Vec::new(),
    }
}

/// A consumer with what it read and was told.
struct Member {
    consumer: BlockingGroupConsumer,
    read: Vec<(i32, i64)>,
    told: Vec<GroupEvent>,
}

impl Member {
    /// One look for events.
    fn look(&mut self) {
        for event in self.consumer.poll(Duration::from_millis(20), 100) {
            match event {
                GroupEvent::Read(Event::Record(partition, record)) => {
                    self.read.push((partition.index.0, record.offset.0));
                }
                GroupEvent::Read(Event::End(..)) => {}
                GroupEvent::Ended(error) => panic!("{error}"),
                other => self.told.push(other),
            }
        }
    }

    fn owned(&self) -> BTreeSet<i32> {
        let assignment = self.consumer.assignment();
        assignment.iter().map(|it| it.index.0).collect()
    }
}

/// Lets all members look until something is so.
fn until(what: &str, members: &mut [&mut Member], mut so: impl FnMut(&[&mut Member]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for member in &mut *members {
            member.look();
        }
        if so(members) {
            return;
        }
        assert!(Instant::now() < deadline, "waited for: {what}");
    }
}

fn fill(broker: &Broker, topic: &Topic, partitions: i32, count: usize) {
    let mut client = broker.client();
    let records: Vec<Record> = (0..count).map(|_| Record::new("k", "v")).collect();
    for partition in 0..partitions {
        let batch = RawBatch::of(&records).encode();
        assert_eq!(client.produce(topic, partition, &batch).error_code, 0);
    }
}

fn committed(broker: &Broker, group: &str) -> BTreeMap<i32, i64> {
    let kept = connect(broker)
        .list_group_offsets(group, None)
        .expect("an answer");
    let kept = kept.into_iter();
    kept.map(|(partition, kept)| (partition.index.0, kept.offset.0))
        .collect()
}

#[test]
fn a_member_reads_commits_leaves_and_goes_on_where_it_was() {
    let broker = Broker::start_with(options());
    let topic = broker.client().create_topic("member", 3);
    fill(&broker, &topic, 3, 50);
    let group = unique("alone");
    let mut member = join(&broker, member_options(&group), &topic);
    until("150 records", &mut [&mut member], |it| {
        it[0].read.len() == 150
    });
    assert_eq!(member.owned(), BTreeSet::from([0, 1, 2]));
    until("commits by themselves", &mut [&mut member], |_| {
        committed(&broker, &group) == BTreeMap::from([(0, 50), (1, 50), (2, 50)])
    });
    fill(&broker, &topic, 3, 10);
    until("180 records", &mut [&mut member], |it| {
        it[0].read.len() == 180
    });
    assert!(member.consumer.close(PATIENCE), "it left");
    // The last commit is made when it leaves.
    assert_eq!(committed(&broker, &group)[&2], 60);
    let described = connect(&broker)
        .describe_groups(&[&group])
        .expect("an answer");
    let described = described[0].as_ref().expect("it keeps offsets");
    assert_eq!(described.state, "Empty");

    fill(&broker, &topic, 3, 5);
    let mut member = join(&broker, member_options(&group), &topic);
    until("what is new", &mut [&mut member], |it| {
        it[0].read.len() == 15
    });
    let first = member.read.iter().map(|(_, offset)| *offset).min();
    assert_eq!(first, Some(60));
    assert!(member.consumer.close(PATIENCE));
}

#[test]
fn members_share_partitions_and_give_up_only_what_moves() {
    let broker = Broker::start_with(options());
    let topic = broker.client().create_topic("shared", 4);
    let group = unique("shared");
    let mut first = join(&broker, member_options(&group), &topic);
    until("all four", &mut [&mut first], |it| it[0].owned().len() == 4);
    let mut second = join(&broker, member_options(&group), &topic);
    until("two each", &mut [&mut first, &mut second], |it| {
        it.iter()
            .all(|it| it.owned().len() == 2 && it.consumer.is_stable())
    });
    assert!(first.owned().is_disjoint(&second.owned()));
    let given_up: Vec<usize> = first
        .told
        .iter()
        .filter_map(|event| match event {
            GroupEvent::Revoked(partitions) => Some(partitions.len()),
            GroupEvent::Lost { .. } => panic!("{event:?}"),
            _ => None,
        })
        .collect();
    assert_eq!(given_up, [2], "no more than what moves");
    fill(&broker, &topic, 4, 25);
    until("each once", &mut [&mut first, &mut second], |it| {
        it[0].read.len() + it[1].read.len() == 100
    });
    let both: BTreeSet<_> = first.read.iter().chain(&second.read).collect();
    assert_eq!(both.len(), 100);
    // One leaves; the other takes over where it was.
    assert!(second.consumer.close(PATIENCE));
    until("all again", &mut [&mut first], |it| {
        it[0].owned().len() == 4
    });
    fill(&broker, &topic, 4, 25);
    let read = first.read.len();
    until("the rest", &mut [&mut first], |it| {
        it[0].read.len() >= read + 100
    });
    assert_eq!(first.read.len(), read + 100, "nothing twice");
    assert!(first.consumer.close(PATIENCE));
}

#[test]
fn members_that_are_not_cooperative_share_partitions_too() {
    let broker = Broker::start_with(options());
    let topic = broker.client().create_topic("eager", 4);
    let group = unique("eager");
    let eager = || GroupOptions {
        assignors: vec![Assignor::Range, Assignor::RoundRobin],
        ..member_options(&group)
    };
    let mut first = join(&broker, eager(), &topic);
    until("all four", &mut [&mut first], |it| it[0].owned().len() == 4);
    let mut second = join(&broker, eager(), &topic);
    until("two each", &mut [&mut first, &mut second], |it| {
        it.iter()
            .all(|it| it.owned().len() == 2 && it.consumer.is_stable())
    });
    assert!(first.owned().is_disjoint(&second.owned()));
    assert!(second.consumer.close(PATIENCE) && first.consumer.close(PATIENCE));
}

#[test]
fn a_program_commits_when_it_wants_to_and_what_it_wants_to() {
    let broker = Broker::start_with(options());
    let topic = broker.client().create_topic("manual", 1);
    fill(&broker, &topic, 1, 20);
    let group = unique("manual");
    let manual = || GroupOptions {
        auto_commit: None,
        ..member_options(&group)
    };
    let mut member = join(&broker, manual(), &topic);
    until("20 records", &mut [&mut member], |it| {
        it[0].read.len() == 20
    });
    assert_eq!(committed(&broker, &group), BTreeMap::new());
    member.consumer.commit().expect("kept");
    assert_eq!(committed(&broker, &group), BTreeMap::from([(0, 20)]));
    let partition = |index| {
        let topic = TopicName::new(&topic.name).expect("legal");
        PartitionName::new(topic, PartitionIndex(index))
    };
    let at =
        |index, offset| BTreeMap::from([(partition(index), CommittedOffset::at(Offset(offset)))]);
    member.consumer.commit_offsets(at(0, 7)).expect("kept");
    assert_eq!(committed(&broker, &group), BTreeMap::from([(0, 7)]));
    let foreign = member.consumer.commit_offsets(at(5, 7));
    assert_eq!(foreign, Err(CommitError::NotOwned(partition(5))));
    let begun = member.consumer.begin_commit_offsets(at(0, 9));
    until("the commit", &mut [&mut member], |_| {
        committed(&broker, &group) == BTreeMap::from([(0, 9)])
    });
    let done = member.consumer.next_commit().expect("it is done");
    assert_eq!(done, (begun, Ok(())));
    assert!(member.consumer.close(PATIENCE));
    assert_eq!(committed(&broker, &group), BTreeMap::from([(0, 9)]));
}

#[test]
fn a_slow_program_is_no_member_until_it_comes_back() {
    let broker = Broker::start_with(options());
    let topic = broker.client().create_topic("slow", 2);
    fill(&broker, &topic, 2, 5);
    let group = unique("slow");
    let slow = GroupOptions {
        max_poll_interval: Duration::from_millis(500),
        ..member_options(&group)
    };
    let mut member = join(&broker, slow, &topic);
    until("10 records", &mut [&mut member], |it| {
        it[0].read.len() == 10
    });
    // It works, and works, until the coordinator has no member any more.
    let mut client = connect(&broker);
    let deadline = Instant::now() + PATIENCE;
    fill(&broker, &topic, 2, 1);
    until("a record more", &mut [&mut member], |it| {
        it[0].read.len() > 10
    });
    loop {
        let described = client.describe_groups(&[&group]).expect("an answer");
        if described[0].as_ref().is_ok_and(|it| it.members.is_empty()) {
            break;
        }
        assert!(Instant::now() < deadline, "it is a member still");
    }
    until("it is told", &mut [&mut member], |it| {
        let lost = |event: &GroupEvent| matches!(event, GroupEvent::Lost { reason, .. } if reason.contains("max.poll.interval.ms"));
        it[0].told.iter().any(lost)
    });
    until("it is back", &mut [&mut member], |it| {
        it[0].owned().len() == 2
    });
    assert!(member.consumer.close(PATIENCE));
}

#[test]
fn a_member_that_is_removed_joins_again_and_one_that_is_replaced_does_not() {
    let broker = Broker::start_with(options());
    let topic = broker.client().create_topic("fenced", 2);
    let group = unique("fenced");
    let mut member = join(&broker, member_options(&group), &topic);
    until("both", &mut [&mut member], |it| it[0].owned().len() == 2);
    let id = member.consumer.member_id();
    let removed = klamm_client::admin::LeavingMember::Member(id.clone());
    let removed = connect(&broker).remove_group_members(&group, &[removed], "a test");
    removed.expect("an answer")[0].as_ref().expect("removed");
    until("it is back", &mut [&mut member], |it| {
        it[0].consumer.member_id() != id && it[0].owned().len() == 2
    });
    let lost = |event: &GroupEvent| matches!(event, GroupEvent::Lost { .. });
    assert!(member.told.iter().any(lost), "{:?}", member.told);
    assert!(member.consumer.close(PATIENCE));

    let group = unique("static");
    let named = || GroupOptions {
        instance: Some("one".to_owned()),
        ..member_options(&group)
    };
    let mut first = join(&broker, named(), &topic);
    until("both", &mut [&mut first], |it| it[0].owned().len() == 2);
    let mut second = join(&broker, named(), &topic);
    until("both", &mut [&mut second], |it| it[0].owned().len() == 2);
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(GroupEvent::Ended(error)) = first.consumer.next_event(PATIENCE) {
            assert_eq!(error.code(), Some(ErrorCode::FencedInstanceId));
            break;
        }
        assert!(Instant::now() < deadline, "it is not told");
    }
    assert!(second.consumer.close(PATIENCE));
}

#[test]
fn a_member_outlives_the_broker() {
    let test = "a_member_outlives_the_broker";
    let Some(mut broker) = Broker::own(test, options()) else {
        return;
    };
    let topic = broker.client().create_topic("outlives", 2);
    fill(&broker, &topic, 2, 10);
    let group = unique("outlives");
    let mut member = join(&broker, member_options(&group), &topic);
    until("20 records", &mut [&mut member], |it| {
        it[0].read.len() == 20
    });
    let address = broker.address();
    broker.kill();
    member.look();
    let again = options().set("listeners", format!("PLAINTEXT://{address}"));
    broker.start_again_with(again);
    fill(&broker, &topic, 2, 10);
    until("all records", &mut [&mut member], |it| {
        let read: BTreeSet<_> = it[0].read.iter().collect();
        read.len() == 40
    });
    assert!(member.consumer.close(PATIENCE));
    assert_eq!(
        committed(&broker, &group),
        BTreeMap::from([(0, 20), (1, 20)])
    );
}

#[test]
fn an_end_that_was_reached_is_committed_so_that_nothing_written_later_is_missed() {
    let broker = Broker::start_with(options());
    let topic = broker.client().create_topic("latest", 1);
    fill(&broker, &topic, 1, 5);
    let group = unique("latest");
    let latest = || GroupOptions {
        offset_reset: GroupReset::Latest,
        ..member_options(&group)
    };
    let mut member = join(&broker, latest(), &topic);
    until("a commit", &mut [&mut member], |_| {
        committed(&broker, &group) == BTreeMap::from([(0, 5)])
    });
    assert!(member.consumer.close(PATIENCE));
    fill(&broker, &topic, 1, 5);
    let mut member = join(&broker, latest(), &topic);
    until("what came meanwhile", &mut [&mut member], |it| {
        it[0].read.len() == 5
    });
    assert!(member.consumer.close(PATIENCE));
}

#[test]
fn members_of_the_consumer_protocol_share_partitions() {
    let broker = Broker::start_with(options());
    let topic = broker.client().create_topic("next", 4);
    fill(&broker, &topic, 4, 25);
    let group = unique("next");
    let options = || GroupOptions {
        protocol: MembershipProtocol::Consumer,
        ..member_options(&group)
    };
    let mut first = join(&broker, options(), &topic);
    until("all records", &mut [&mut first], |it| {
        it[0].read.len() == 100
    });
    let mut second = join(&broker, options(), &topic);
    until("two each", &mut [&mut first, &mut second], |it| {
        it.iter()
            .all(|it| it.owned().len() == 2 && it.consumer.is_stable())
    });
    assert!(first.owned().is_disjoint(&second.owned()));
    fill(&broker, &topic, 4, 25);
    until("each once", &mut [&mut first, &mut second], |it| {
        it[0].read.len() + it[1].read.len() >= 200
    });
    let both: BTreeSet<_> = first.read.iter().chain(&second.read).collect();
    assert_eq!(
        (both.len(), first.read.len() + second.read.len()),
        (200, 200)
    );
    assert!(second.consumer.close(PATIENCE));
    until("all again", &mut [&mut first], |it| {
        it[0].owned().len() == 4
    });
    assert!(first.consumer.close(PATIENCE));
    let kept: i64 = committed(&broker, &group).values().sum();
    assert_eq!(kept, 200);
}
