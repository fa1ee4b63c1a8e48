//! Groups of the consumer protocol (KIP-848): members that join, let go, take over and fall silent,
//! offsets under their epochs, every refusal with its code, and what of it outlives the broker.

use std::collections::{BTreeMap, BTreeSet};

use klamm_wire::{
    api_versions, consumer_group_describe, consumer_group_heartbeat, create_partitions,
    list_groups, offset_fetch,
};

use crate::groups::{commit_as, coordinator};
use crate::harness::configs::Change;
use crate::harness::{Broker, Client, Options, Topic, unique, wait_for};

const API_VERSIONS: i16 = 4;
const HEARTBEAT: i16 = 1;
const DESCRIBE: i16 = 1;

/// Partitions by the names that the test gave their topics.
type Parts = BTreeSet<(String, i32)>;

fn options() -> Options {
    Options::new()
        .set("group.consumer.assignment.interval.ms", 0)
        .set("group.consumer.min.session.timeout.ms", 100)
        .set("group.consumer.min.heartbeat.interval.ms", 10)
        .set("klamm.shards", 2)
}

fn own(test: &str) -> Option<Broker> {
    Broker::own(test, options())
}

/// A group whose coordinator answers.
fn group(client: &mut Client, hint: &str) -> String {
    let group = unique(hint);
    wait_until_served(client, &group);
    group
}

fn wait_until_served(client: &mut Client, group: &str) {
    wait_for("the coordinator", || {
        let is_found = coordinator(client, group, 4).0 == 0;
        let code = describe(client, group).code;
        (is_found && code != 14 && code != 15 && code != 16).then_some(())
    });
}

/// A member as its own client knows it.
#[derive(Clone, Debug)]
struct Member {
    group: String,
    id: String,
    epoch: i32,
    instance: Option<String>,
    /// What it was told to hold.
    told: Parts,
    /// What it holds.
    held: Parts,
    names: BTreeMap<[u8; 16], String>,
}

/// What a heartbeat was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Beat {
    code: i16,
    epoch: i32,
    interval_ms: i32,
    why: Option<String>,
}

impl Member {
    fn new(group: &str, id: &str, topics: &[&Topic]) -> Self {
        Self {
            group: group.to_owned(),
            id: id.to_owned(),
            epoch: 0,
            instance: None,
            told: Parts::new(),
            held: Parts::new(),
            names: topics
                .iter()
                .map(|topic| (topic.id, topic.name.clone()))
                .collect(),
        }
    }

    fn request(&self) -> consumer_group_heartbeat::Request<'static> {
        let mut owned: BTreeMap<[u8; 16], Vec<i32>> = BTreeMap::new();
        for (id, name) in &self.names {
            let parts = self.held.iter().filter(|(topic, _)| topic == name);
            owned.insert(*id, parts.map(|(_, index)| *index).collect());
        }
        let owned = owned.into_iter().filter(|(_, parts)| !parts.is_empty());
        let owned =
            owned.map(
                |(topic_id, partitions)| consumer_group_heartbeat::RequestTopicPartitions {
                    topic_id,
                    partitions,
                },
            );
        let names = self.names.values();
        consumer_group_heartbeat::Request {
            group_id: self.group.clone().into(),
            member_id: self.id.clone().into(),
            member_epoch: self.epoch,
            instance_id: self.instance.clone().map(Into::into),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(names.map(|name| name.clone().into()).collect()),
            topic_partitions: Some(owned.collect()),
            ..Default::default()
        }
    }

    /// One heartbeat; the member obeys what it is told.
    fn beat(&mut self, client: &mut Client) -> Beat {
        let reply = client.call(&self.request(), HEARTBEAT);
        let view = reply.view();
        let beat = beat_of(&view);
        if beat.code != 0 {
            return beat;
        }
        assert_eq!(view.member_id(), Some(self.id.as_str()));
        self.hear(&view);
        beat
    }

    /// The member obeys a heartbeat's answer.
    fn hear(&mut self, view: &consumer_group_heartbeat::ResponseView<'_>) {
        self.epoch = view.member_epoch();
        if let Some(assignment) = view.assignment() {
            let topics = assignment.topic_partitions().iter();
            self.told = topics
                .flat_map(|topic| {
                    let name = self.names[&topic.topic_id()].clone();
                    let parts = topic.partitions().iter();
                    let parts: Vec<_> = parts.map(|index| (name.clone(), index)).collect();
                    parts
                })
                .collect();
        }
        self.held = self.told.clone();
    }

    fn leave(&self, client: &mut Client, epoch: i32) -> Beat {
        let request = consumer_group_heartbeat::Request {
            group_id: self.group.clone().into(),
            member_id: self.id.clone().into(),
            member_epoch: epoch,
            instance_id: self.instance.clone().map(Into::into),
            ..Default::default()
        };
        beat_of(&client.call(&request, HEARTBEAT).view())
    }
}

fn beat_of(view: &consumer_group_heartbeat::ResponseView<'_>) -> Beat {
    Beat {
        code: view.error_code(),
        epoch: view.member_epoch(),
        interval_ms: view.heartbeat_interval_ms(),
        why: view.error_message().map(str::to_owned),
    }
}

/// Heartbeats of all, until each holds as many partitions as are wanted of it. Nobody ever holds
/// what another one does.
fn settle(client: &mut Client, members: &mut [&mut Member], wanted: &[usize]) {
    wait_for("the assignment", || {
        for member in members.iter_mut() {
            let beat = member.beat(client);
            assert_eq!(beat.code, 0, "{beat:?}");
        }
        let mut seen = Parts::new();
        for member in members.iter() {
            for part in &member.held {
                assert!(seen.insert(part.clone()), "{part:?} is held twice");
            }
        }
        let counts = members.iter().map(|member| member.held.len());
        counts.eq(wanted.iter().copied()).then_some(())
    });
}

/// A group as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Described {
    code: i16,
    state: String,
    epoch: i32,
    assignment_epoch: i32,
    assignor: String,
    /// Each member with how many partitions it has.
    members: BTreeMap<String, usize>,
}

fn describe(client: &mut Client, group: &str) -> Described {
    let request = consumer_group_describe::Request {
        group_ids: vec![group.to_owned().into()],
        ..Default::default()
    };
    let reply = client.call(&request, DESCRIBE);
    let view = reply.view();
    let found = view.groups().iter().next().expect("one group");
    assert_eq!(found.group_id(), group);
    let members = found.members().iter().map(|member| {
        assert_eq!(member.member_type(), 1);
        let topics = member.assignment().topic_partitions().iter();
        let parts = topics.map(|topic| topic.partitions().len()).sum();
        (member.member_id().to_owned(), parts)
    });
    Described {
        code: found.error_code(),
        state: found.group_state().to_owned(),
        epoch: found.group_epoch(),
        assignment_epoch: found.assignment_epoch(),
        assignor: found.assignor_name().to_owned(),
        members: members.collect(),
    }
}

/// Code of a fetch of offsets by a member, and the offset of partition 0.
fn fetch_as(client: &mut Client, group: &str, member: (&str, i32), topic: &Topic) -> (i16, i64) {
    let request = offset_fetch::Request {
        groups: vec![offset_fetch::OffsetFetchRequestGroup {
            group_id: group.to_owned().into(),
            member_id: Some(member.0.to_owned().into()),
            member_epoch: member.1,
            topics: Some(vec![offset_fetch::OffsetFetchRequestTopics {
                name: topic.name.clone().into(),
                partition_indexes: vec![0],
                ..Default::default()
            }]),
        }],
        ..Default::default()
    };
    let reply = client.call(&request, 9);
    let view = reply.view();
    let found = view.groups().iter().next().expect("one group");
    let topic = found.topics().iter().next();
    let part = topic.and_then(|topic| topic.partitions().iter().next());
    (
        found.error_code(),
        part.map_or(-1, |part| part.committed_offset()),
    )
}

#[test]
fn work_moves_between_members_and_nobody_holds_what_another_one_does() {
    let Some(broker) = own("work_moves_between_members") else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("shared", 6);
    let group = group(&mut client, "moves");
    let mut first = Member::new(&group, "first", &[&topic]);
    settle(&mut client, &mut [&mut first], &[6]);
    let mut second = Member::new(&group, "second", &[&topic]);
    settle(&mut client, &mut [&mut first, &mut second], &[3, 3]);
    let mut third = Member::new(&group, "third", &[&topic]);
    let mut all = [&mut first, &mut second, &mut third];
    settle(&mut client, &mut all, &[2, 2, 2]);
    let found = describe(&mut client, &group);
    assert_eq!(
        (found.code, found.state.as_str(), found.assignor.as_str()),
        (0, "Stable", "uniform")
    );
    assert_eq!(found.epoch, found.assignment_epoch);
    let each: Vec<(&str, usize)> = found
        .members
        .iter()
        .map(|(member, parts)| (member.as_str(), *parts))
        .collect();
    assert_eq!(each, [("first", 2), ("second", 2), ("third", 2)]);
    assert_eq!(second.leave(&mut client, -1).code, 0);
    settle(&mut client, &mut [&mut first, &mut third], &[3, 3]);
    assert_eq!(first.leave(&mut client, -1).code, 0);
    assert_eq!(third.leave(&mut client, -1).code, 0);
    assert_eq!(describe(&mut client, &group).state, "Empty");
}

#[test]
fn every_refusal_of_a_heartbeat_has_its_code() {
    let Some(broker) = own("every_refusal_of_a_heartbeat") else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("refused", 1);
    let group = group(&mut client, "refusing");
    type Change = fn(&mut consumer_group_heartbeat::Request<'static>);
    let refusals: [(i16, Change); 13] = [
        (42, |request| request.group_id = "".into()),
        (42, |request| request.member_id = "".into()),
        (42, |request| request.member_epoch = -3),
        (42, |request| request.member_epoch = -2),
        (42, |request| request.instance_id = Some("".into())),
        (42, |request| request.rack_id = Some("".into())),
        (42, |request| request.rebalance_timeout_ms = -1),
        (42, |request| request.subscribed_topic_names = None),
        (42, |request| request.topic_partitions = None),
        (112, |request| {
            request.server_assignor = Some("nothing".into());
        }),
        (128, |request| {
            request.subscribed_topic_regex = Some("(".into());
        }),
        (69, |request| request.member_epoch = 5),
        (69, |request| request.member_epoch = -1),
    ];
    for (place, (code, change)) in refusals.into_iter().enumerate() {
        let mut request = Member::new(&group, "refused", &[&topic]).request();
        change(&mut request);
        let beat = beat_of(&client.call(&request, HEARTBEAT).view());
        assert_eq!(beat.code, code, "{place}: {beat:?}");
        assert!(beat.why.is_some_and(|why| !why.is_empty()), "{place}");
    }
    let mut member = Member::new(&group, "member", &[&topic]);
    settle(&mut client, &mut [&mut member], &[1]);
    let epoch = member.epoch;
    let mut at = |id: &str, epoch| {
        let mut other = member.clone();
        (other.id, other.epoch) = (id.to_owned(), epoch);
        other.beat(&mut client).code
    };
    assert_eq!(at("stranger", epoch), 25);
    assert_eq!(at("member", epoch + 1), 110);
    assert_eq!(at("member", epoch), 0);
    assert_eq!(describe(&mut client, "").code, 24);
    assert_eq!(describe(&mut client, "nobody's").code, 69);
}

#[test]
fn static_member_that_is_away_keeps_its_part() {
    let Some(broker) = own("static_member_that_is_away") else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("static", 4);
    let group = group(&mut client, "named");
    let mut first = Member::new(&group, "first", &[&topic]);
    first.instance = Some("i".to_owned());
    let mut other = Member::new(&group, "other", &[&topic]);
    settle(&mut client, &mut [&mut first], &[4]);
    settle(&mut client, &mut [&mut first, &mut other], &[2, 2]);
    let mut thief = Member::new(&group, "thief", &[&topic]);
    thief.instance = Some("i".to_owned());
    assert_eq!(thief.beat(&mut client).code, 111);
    assert_eq!(first.leave(&mut client, -2).code, 0);
    settle(&mut client, &mut [&mut other], &[2]);
    assert_eq!(thief.beat(&mut client).code, 0);
    settle(&mut client, &mut [&mut thief, &mut other], &[2, 2]);
    assert_eq!(thief.held, first.held);
    assert_eq!(first.beat(&mut client).code, 82);
}

#[test]
fn offsets_are_kept_under_the_epoch_of_the_member() {
    let Some(broker) = own("offsets_are_kept_under_the_epoch") else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("committed", 2);
    let group = group(&mut client, "commits");
    let mut member = Member::new(&group, "m", &[&topic]);
    settle(&mut client, &mut [&mut member], &[2]);
    let epoch = member.epoch;
    let mut commit = |member: (&str, i32), offset, version| {
        commit_as(&mut client, &group, member, &topic, offset, version)
    };
    assert_eq!(commit(("m", epoch), 5, 9), 0);
    assert_eq!(commit(("m", epoch), 6, 10), 0);
    assert_eq!(commit(("m", epoch - 1), 7, 9), 113);
    assert_eq!(commit(("m", epoch + 1), 7, 9), 113);
    assert_eq!(commit(("stranger", epoch), 7, 9), 25);
    assert_eq!(commit(("", -1), 7, 9), 25);
    assert_eq!(commit(("m", epoch - 1), 7, 8), 35);
    let mut fetch = |member| fetch_as(&mut client, &group, member, &topic);
    assert_eq!(fetch(("m", epoch)), (0, 6));
    assert_eq!(fetch(("m", epoch - 1)), (113, -1));
    assert_eq!(fetch(("stranger", epoch)), (25, -1));
    assert_eq!(member.leave(&mut client, -1).code, 0);
    // Of an empty group administrators move the offsets.
    let moved = commit_as(&mut client, &group, ("", -1), &topic, 1, 9);
    assert_eq!(moved, 0);
}

#[test]
fn silent_member_loses_its_part_to_others() {
    let options = options()
        .set("group.consumer.session.timeout.ms", 400)
        .set("group.consumer.heartbeat.interval.ms", 50);
    let Some(broker) = Broker::own("silent_member_loses_its_part", options) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("silent", 4);
    let group = group(&mut client, "silence");
    let mut silent = Member::new(&group, "silent", &[&topic]);
    let mut living = Member::new(&group, "living", &[&topic]);
    settle(&mut client, &mut [&mut silent, &mut living], &[2, 2]);
    let from = broker.log_length();
    settle(&mut client, &mut [&mut living], &[4]);
    broker.expect_log(from, &[&group, "silent", "removed"]);
    assert_eq!(silent.beat(&mut client).code, 25);
}

#[test]
fn members_and_offsets_outlive_a_kill() {
    let Some(mut broker) = own("members_and_offsets_outlive_a_kill") else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("outliving", 4);
    let group = group(&mut client, "outlives");
    let mut first = Member::new(&group, "first", &[&topic]);
    let mut second = Member::new(&group, "second", &[&topic]);
    settle(&mut client, &mut [&mut first, &mut second], &[2, 2]);
    let who = (first.id.as_str(), first.epoch);
    assert_eq!(commit_as(&mut client, &group, who, &topic, 9, 9), 0);
    let before = describe(&mut client, &group);
    broker.kill();
    broker.start_again();
    let mut client = broker.client();
    wait_until_served(&mut client, &group);
    assert_eq!(describe(&mut client, &group), before);
    let held = (first.held.clone(), second.held.clone());
    settle(&mut client, &mut [&mut first, &mut second], &[2, 2]);
    assert_eq!((first.held.clone(), second.held.clone()), held);
    let who = (first.id.as_str(), first.epoch);
    assert_eq!(fetch_as(&mut client, &group, who, &topic), (0, 9));
}

#[test]
fn topics_that_come_grow_and_go_reach_the_members() {
    let Some(broker) = own("topics_that_come_grow_and_go") else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("growing", 2);
    let group = group(&mut client, "grows");
    let mut member = Member::new(&group, "m", &[&topic]);
    settle(&mut client, &mut [&mut member], &[2]);
    let more = create_partitions::Request {
        topics: vec![create_partitions::CreatePartitionsTopic {
            name: topic.name.clone().into(),
            count: 5,
            assignments: None,
        }],
        timeout_ms: 5_000,
        ..Default::default()
    };
    client.call(&more, 3);
    settle(&mut client, &mut [&mut member], &[5]);
    assert_eq!(client.delete_topic(&topic), 0);
    settle(&mut client, &mut [&mut member], &[0]);
}

/// A heartbeat of a member that reads what matches a pattern, and these topics: how many partitions
/// it holds then.
fn beat_by_pattern(
    client: &mut Client,
    member: &mut Member,
    pattern: &str,
    named: Option<&Topic>,
) -> usize {
    let mut request = member.request();
    let named = named.map(|topic| vec![topic.name.clone().into()]);
    request.subscribed_topic_names = named;
    request.subscribed_topic_regex = Some(pattern.to_owned().into());
    let reply = client.call(&request, HEARTBEAT);
    let view = reply.view();
    assert_eq!(view.error_code(), 0, "{:?}", view.error_message());
    member.hear(&view);
    member.held.len()
}

#[test]
fn pattern_finds_topics_also_when_they_come_later() {
    let Some(broker) = own("pattern_finds_topics") else {
        return;
    };
    let mut client = broker.client();
    let prefix = unique("pattern");
    let pattern = format!("{prefix}-.*");
    let early = client.create_topic(&format!("{prefix}-early"), 2);
    let group = group(&mut client, "patterns");
    let mut member = Member::new(&group, "m", &[&early]);
    wait_for("the topic of the pattern", || {
        (beat_by_pattern(&mut client, &mut member, &pattern, None) == 2).then_some(())
    });
    let late = client.create_topic(&format!("{prefix}-late"), 3);
    member.names.insert(late.id, late.name);
    wait_for("the later topic", || {
        (beat_by_pattern(&mut client, &mut member, &pattern, None) == 5).then_some(())
    });
}

/// As in Apache Kafka, which looks for what matches after it has answered: librdkafka's own tests
/// expect two assignments.
#[test]
fn named_topics_come_before_those_that_a_pattern_finds() {
    let Some(broker) = own("named_topics_come_before") else {
        return;
    };
    let mut client = broker.client();
    let prefix = unique("both");
    let pattern = format!("{prefix}-.*");
    let matching = client.create_topic(&format!("{prefix}-matching"), 2);
    let named = client.create_topic(&unique("named"), 3);
    let group = group(&mut client, "both");
    // The coordinator knows the topics.
    let mut other = Member::new(&group, "other", &[&matching, &named]);
    settle(&mut client, &mut [&mut other], &[5]);
    assert_eq!(other.leave(&mut client, -1).code, 0);
    let mut member = Member::new(&group, "m", &[&matching, &named]);
    let first = beat_by_pattern(&mut client, &mut member, &pattern, Some(&named));
    assert_eq!(first, 3, "only what is named");
    wait_for("the topic of the pattern", || {
        let held = beat_by_pattern(&mut client, &mut member, &pattern, Some(&named));
        (held == 5).then_some(())
    });
}

#[test]
fn configuration_of_a_group_holds_for_the_next_heartbeat() {
    let Some(broker) = own("configuration_of_a_group_holds") else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("configured", 1);
    let group = group(&mut client, "configured");
    let mut member = Member::new(&group, "m", &[&topic]);
    settle(&mut client, &mut [&mut member], &[1]);
    let mut wait = |client: &mut Client, interval| {
        wait_for("the interval", || {
            (member.beat(client).interval_ms == interval).then_some(())
        });
    };
    wait(&mut client, 1000);
    let key = "consumer.heartbeat.interval.ms";
    let set = [(key, Change::Set("7000"))];
    assert_eq!(client.change(32, &group, &set), (0, None));
    wait(&mut client, 7000);
    let taken = [(key, Change::Delete)];
    assert_eq!(client.change(32, &group, &taken), (0, None));
    wait(&mut client, 1000);
}

/// A connection whose client gives itself this name (KIP-511), or none.
fn client_of(broker: &Broker, software: Option<&str>) -> Client {
    let mut client = broker.client();
    if let Some(name) = software {
        introduce(&mut client, name);
    }
    client
}

/// The code that the name is answered with.
fn introduce(client: &mut Client, name: &str) -> i16 {
    let request = api_versions::Request {
        client_software_name: name.to_owned().into(),
        client_software_version: "1".into(),
    };
    client.call(&request, API_VERSIONS).view().error_code()
}

/// In which a member is asked to come again that has what it shall, and one that waits for it.
fn intervals_ms(client: &mut Client) -> (i32, i32) {
    let topic = client.create_topic(&unique("pace"), 2);
    let group = group(client, "pace");
    let mut settled = Member::new(&group, "settled", &[&topic]);
    settle(client, &mut [&mut settled], &[2]);
    let settled_ms = settled.beat(client).interval_ms;
    let waiting = Member::new(&group, "waiting", &[&topic]).beat(client);
    (settled_ms, waiting.interval_ms)
}

/// librdkafka takes the interval as the time limit of the heartbeat itself, and its connection for
/// dead when that passes: over a link of 150 ms it would never get an answer that is due in 100.
#[test]
fn only_clients_that_are_known_to_wait_for_answers_are_asked_to_come_within_a_second() {
    let broker = Broker::start_with(options());
    for name in ["apache-kafka-java", "kgo", "klamm-client"] {
        let mut client = client_of(&broker, Some(name));
        assert_eq!(intervals_ms(&mut client), (400, 100), "{name}");
    }
    let others = ["librdkafka", "confluent-kafka-python", "kgo2", "x"].map(Some);
    for name in others.into_iter().chain([None]) {
        let mut client = client_of(&broker, name);
        assert_eq!(intervals_ms(&mut client), (1000, 1000), "{name:?}");
    }
}

#[test]
fn nobody_is_asked_to_come_later_than_is_configured() {
    let broker = Broker::start_with(options().set("group.consumer.heartbeat.interval.ms", 300));
    let mut patient = client_of(&broker, Some("kgo"));
    assert_eq!(intervals_ms(&mut patient), (300, 100));
    let mut other = client_of(&broker, Some("librdkafka"));
    assert_eq!(intervals_ms(&mut other), (300, 300));
}

#[test]
fn name_that_a_client_gave_last_counts_and_one_that_is_refused_does_not() {
    let broker = Broker::start_with(options());
    let mut client = client_of(&broker, Some("librdkafka"));
    assert_eq!(introduce(&mut client, "kgo"), 0);
    assert_eq!(introduce(&mut client, "-"), 42);
    assert_eq!(intervals_ms(&mut client), (400, 100));
    assert_eq!(introduce(&mut client, "librdkafka"), 0);
    assert_eq!(intervals_ms(&mut client), (1000, 1000));
}

#[test]
fn groups_are_listed_by_their_type() {
    let Some(broker) = own("groups_are_listed_by_their_type") else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("listed", 1);
    let group = group(&mut client, "typed");
    let mut member = Member::new(&group, "m", &[&topic]);
    settle(&mut client, &mut [&mut member], &[1]);
    let mut listed = |filter: &str| {
        let request = list_groups::Request {
            types_filter: vec![filter.to_owned().into()],
            ..Default::default()
        };
        let reply = client.call(&request, 5);
        let view = reply.view();
        assert_eq!(view.error_code(), 0);
        let found = view.groups().iter().find(|one| one.group_id() == group);
        found.map(|one| {
            let kind = (one.group_type().to_owned(), one.protocol_type().to_owned());
            (one.group_state().to_owned(), kind)
        })
    };
    let kind = ("consumer".to_owned(), "consumer".to_owned());
    assert_eq!(listed("Consumer"), Some(("Stable".to_owned(), kind)));
    assert_eq!(listed("classic"), None);
}

#[test]
fn nothing_is_served_where_the_file_does_not_name_the_protocol() {
    let options = options().set("group.coordinator.rebalance.protocols", "classic");
    let Some(broker) = Broker::own("nothing_is_served_where_the_file", options) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("unserved", 1);
    let mut member = Member::new("any", "m", &[&topic]);
    assert_eq!(member.beat(&mut client).code, 35);
    assert_eq!(describe(&mut client, "any").code, 35);
}

#[test]
fn heartbeat_of_more_names_than_any_answer_takes_ends_its_connection_alone() {
    let Some(broker) = own("heartbeat_of_more_names") else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("many", 1);
    let group = group(&mut client, "many");
    let mut request = Member::new(&group, "m", &[&topic]).request();
    request.subscribed_topic_names = Some(vec!["t".into(); 200_001]);
    let mut hostile = broker.client();
    assert!(hostile.try_call(&request, HEARTBEAT).is_err());
    let mut member = Member::new(&group, "m", &[&topic]);
    settle(&mut client, &mut [&mut member], &[1]);
}
