//! Groups of the classic protocol: where they are coordinated, members and their rounds, committed
//! offsets, and what of it outlives the broker.

use bytes::BytesMut;
use klamm_wire::{
    ApiKey, Message, delete_groups, describe_groups, find_coordinator, heartbeat, join_group,
    leave_group, list_groups, metadata, offset_commit, offset_delete, offset_fetch, produce,
    sync_group,
};

use crate::harness::{
    Broker, Client, Options, RawBatch, Topic, produced, production, request_bytes_of, unique,
    wait_for,
};

pub(crate) const JOIN: i16 = 9;
pub(crate) const SYNC: i16 = 5;
pub(crate) const COMMIT: i16 = 9;
pub(crate) const FETCH: i16 = 9;

pub(crate) fn options() -> Options {
    Options::new()
        .set("group.initial.rebalance.delay.ms", 0)
        .set("group.min.session.timeout.ms", 100)
        .set("klamm.shards", 2)
}

/// Error code, node and port of a group's coordinator.
pub(crate) fn coordinator(client: &mut Client, group: &str, version: i16) -> (i16, i32, i32) {
    let mut request = find_coordinator::Request::default();
    if version >= 4 {
        request.coordinator_keys = vec![group.to_owned().into()];
    } else {
        request.key = group.to_owned().into();
    }
    let reply = client.call(&request, version);
    let view = reply.view();
    match view.coordinators().iter().next() {
        Some(found) => (found.error_code(), found.node_id(), found.port()),
        None => (view.error_code(), view.node_id(), view.port()),
    }
}

/// A group whose coordinator is found.
pub(crate) fn group(client: &mut Client, hint: &str) -> String {
    let group = unique(hint);
    wait_for("coordinator", || {
        (coordinator(client, &group, 4).0 == 0 && describe(client, &group, 5).0 == 0).then_some(())
    });
    group
}

/// What a member was told of a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) code: i16,
    pub(crate) generation: i32,
    pub(crate) member: String,
    leader: String,
    protocol: Option<String>,
    members: Vec<String>,
}

impl Round {
    /// What a member needs to know of a round to go on in it.
    pub(crate) fn told(member: &str, generation: i32) -> Self {
        Self {
            code: 0,
            generation,
            member: member.to_owned(),
            leader: String::new(),
            protocol: None,
            members: Vec::new(),
        }
    }
}

struct Joining<'a> {
    group: &'a str,
    member: &'a str,
    instance: Option<&'a str>,
    protocols: &'a [&'a str],
    session_ms: i32,
}

impl<'a> Joining<'a> {
    fn new(group: &'a str, member: &'a str) -> Self {
        Self {
            group,
            member,
            instance: None,
            protocols: &["range"],
            session_ms: 30_000,
        }
    }

    fn begin(&self, client: &mut Client, version: i16) {
        let protocol = |name: &&str| join_group::JoinGroupRequestProtocol {
            name: (*name).to_owned().into(),
            metadata: format!("of {name}").into_bytes().into(),
        };
        let request = join_group::Request {
            group_id: self.group.to_owned().into(),
            session_timeout_ms: self.session_ms,
            rebalance_timeout_ms: 60_000,
            member_id: self.member.to_owned().into(),
            group_instance_id: self.instance.map(|name| name.to_owned().into()),
            protocol_type: "consumer".into(),
            protocols: self.protocols.iter().map(protocol).collect(),
            ..Default::default()
        };
        client.begin(&request, version);
    }

    fn run(&self, client: &mut Client, version: i16) -> Round {
        self.begin(client, version);
        joined(client, version)
    }
}

fn joined(client: &mut Client, version: i16) -> Round {
    let reply = client.finish::<join_group::Request<'_>>(ApiKey::JoinGroup, version);
    let view = reply.view();
    let members = view.members().iter();
    Round {
        code: view.error_code(),
        generation: view.generation_id(),
        member: view.member_id().to_owned(),
        leader: view.leader().to_owned(),
        protocol: view.protocol_name().map(str::to_owned),
        members: members
            .map(|member| member.member_id().to_owned())
            .collect(),
    }
}

/// A new member that brings its id back where the version asks for it.
pub(crate) fn join_anew(client: &mut Client, group: &str, version: i16) -> Round {
    let first = Joining::new(group, "").run(client, version);
    if version < 4 {
        return first;
    }
    assert_eq!(first.code, 79, "a new member is given an id first");
    Joining::new(group, &first.member).run(client, version)
}

/// Code and assignment.
pub(crate) fn sync(
    client: &mut Client,
    group: &str,
    round: &Round,
    version: i16,
    assignments: &[(&str, &str)],
) -> (i16, Vec<u8>) {
    begin_sync(client, group, round, version, assignments);
    synced(client, version)
}

fn begin_sync(
    client: &mut Client,
    group: &str,
    round: &Round,
    version: i16,
    assignments: &[(&str, &str)],
) {
    let assigned = |(member, part): &(&str, &str)| sync_group::SyncGroupRequestAssignment {
        member_id: (*member).to_owned().into(),
        assignment: part.as_bytes().to_vec().into(),
    };
    let request = sync_group::Request {
        group_id: group.to_owned().into(),
        generation_id: round.generation,
        member_id: round.member.clone().into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignments.iter().map(assigned).collect(),
        ..Default::default()
    };
    client.begin(&request, version);
}

fn synced(client: &mut Client, version: i16) -> (i16, Vec<u8>) {
    let reply = client.finish::<sync_group::Request<'_>>(ApiKey::SyncGroup, version);
    let view = reply.view();
    (view.error_code(), view.assignment().to_vec())
}

pub(crate) fn beat(client: &mut Client, group: &str, round: &Round, version: i16) -> i16 {
    let request = heartbeat::Request {
        group_id: group.to_owned().into(),
        generation_id: round.generation,
        member_id: round.member.clone().into(),
        ..Default::default()
    };
    client.call(&request, version).view().error_code()
}

/// The code of the whole, and of the one member.
pub(crate) fn leave(
    client: &mut Client,
    group: &str,
    member: &str,
    version: i16,
) -> (i16, Option<i16>) {
    let mut request = leave_group::Request {
        group_id: group.to_owned().into(),
        ..Default::default()
    };
    if version >= 3 {
        request.members = vec![leave_group::MemberIdentity {
            member_id: member.to_owned().into(),
            ..Default::default()
        }];
    } else {
        request.member_id = member.to_owned().into();
    }
    let reply = client.call(&request, version);
    let view = reply.view();
    let of_member = view.members().iter().next();
    (view.error_code(), of_member.map(|one| one.error_code()))
}

pub(crate) fn commit_as(
    client: &mut Client,
    group: &str,
    member: (&str, i32),
    topic: &Topic,
    offset: i64,
    version: i16,
) -> i16 {
    let partition = offset_commit::OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: offset,
        committed_leader_epoch: if version >= 6 { 3 } else { -1 },
        committed_metadata: Some(format!("at {offset}").into()),
        ..Default::default()
    };
    let mut named = offset_commit::OffsetCommitRequestTopic {
        partitions: vec![partition],
        ..Default::default()
    };
    if version >= 10 {
        named.topic_id = topic.id;
    } else {
        named.name = topic.name.clone().into();
    }
    let request = offset_commit::Request {
        group_id: group.to_owned().into(),
        generation_id_or_member_epoch: member.1,
        member_id: member.0.to_owned().into(),
        topics: vec![named],
        ..Default::default()
    };
    let reply = client.call(&request, version);
    let view = reply.view();
    let topic = view.topics().iter().next().expect("one topic");
    let code = topic.partitions().iter().next().expect("one partition");
    code.error_code()
}

pub(crate) fn commit(
    client: &mut Client,
    group: &str,
    topic: &Topic,
    offset: i64,
    version: i16,
) -> i16 {
    commit_as(client, group, ("", -1), topic, offset, version)
}

/// Code, offset and text of partition 0.
pub(crate) fn fetch(
    client: &mut Client,
    group: &str,
    topic: &Topic,
    version: i16,
) -> (i16, i64, String) {
    if version < 8 {
        let named = offset_fetch::OffsetFetchRequestTopic {
            name: topic.name.clone().into(),
            partition_indexes: vec![0],
        };
        let request = offset_fetch::Request {
            group_id: group.to_owned().into(),
            topics: Some(vec![named]),
            ..Default::default()
        };
        let reply = client.call(&request, version);
        let view = reply.view();
        if view.error_code() != 0 {
            return (view.error_code(), -1, String::new());
        }
        let found = view.topics().iter().next().expect("one topic");
        let part = found.partitions().iter().next().expect("one partition");
        let text = part.metadata().unwrap_or_default().to_owned();
        return (part.error_code(), part.committed_offset(), text);
    }
    let mut named = offset_fetch::OffsetFetchRequestTopics {
        partition_indexes: vec![0],
        ..Default::default()
    };
    if version >= 10 {
        named.topic_id = topic.id;
    } else {
        named.name = topic.name.clone().into();
    }
    let request = offset_fetch::Request {
        groups: vec![offset_fetch::OffsetFetchRequestGroup {
            group_id: group.to_owned().into(),
            topics: Some(vec![named]),
            ..Default::default()
        }],
        ..Default::default()
    };
    let reply = client.call(&request, version);
    let view = reply.view();
    let group = view.groups().iter().next().expect("one group");
    if group.error_code() != 0 {
        return (group.error_code(), -1, String::new());
    }
    let found = group.topics().iter().next().expect("one topic");
    let part = found.partitions().iter().next().expect("one partition");
    let text = part.metadata().unwrap_or_default().to_owned();
    (part.error_code(), part.committed_offset(), text)
}

/// As [`fetch`], once the group is loaded.
pub(crate) fn fetch_loaded(client: &mut Client, group: &str, topic: &Topic) -> (i16, i64, String) {
    wait_for("loaded group", || {
        let found = fetch(client, group, topic, FETCH);
        (found.0 != 14 && found.0 != 16).then_some(found)
    })
}

/// Code, state and members.
pub(crate) fn describe(
    client: &mut Client,
    group: &str,
    version: i16,
) -> (i16, String, Vec<String>) {
    let request = describe_groups::Request {
        groups: vec![group.to_owned().into()],
        ..Default::default()
    };
    let reply = client.call(&request, version);
    let view = reply.view();
    let group = view.groups().iter().next().expect("one group");
    let members = group.members().iter();
    (
        group.error_code(),
        group.group_state().to_owned(),
        members.map(|one| one.member_id().to_owned()).collect(),
    )
}

pub(crate) fn listed(
    client: &mut Client,
    group: &str,
    states: &[&str],
    version: i16,
) -> Option<String> {
    let request = list_groups::Request {
        states_filter: states.iter().map(|&state| state.into()).collect(),
        ..Default::default()
    };
    // After a start some groups may still be loading.
    wait_for("loaded groups", || {
        let reply = client.call(&request, version);
        let view = reply.view();
        let found = view.groups().iter().find(|one| one.group_id() == group);
        let state = found.map(|found| found.group_state().to_owned());
        assert!([0, 14].contains(&view.error_code()));
        (view.error_code() == 0).then_some(state)
    })
}

#[test]
fn first_question_for_a_coordinator_makes_the_topic_of_groups() {
    let test = "first_question_for_a_coordinator_makes_the_topic_of_groups";
    let Some(broker) = Broker::own(test, options()) else {
        return;
    };
    let mut client = broker.client();
    assert_eq!(
        describe(&mut client, "early", 5).0,
        16,
        "nobody coordinates"
    );
    assert_eq!(listed(&mut client, "early", &[], 4), None);
    for version in 0..=6 {
        let port = i32::from(broker.address().port());
        let found = coordinator(&mut client, "any", version);
        assert_eq!(found, (0, 1, port), "version {version}");
    }
    for (kind, version, code) in [(1, 1, 35), (1, 4, 35), (2, 5, 42), (7, 3, 42)] {
        let mut request = find_coordinator::Request {
            key_type: kind,
            ..Default::default()
        };
        if version >= 4 {
            request.coordinator_keys = vec!["any".into()];
        }
        let reply = client.call(&request, version);
        let view = reply.view();
        let first = view.coordinators().iter().next();
        let found = first.map_or_else(|| view.error_code(), |one| one.error_code());
        assert_eq!(found, code, "kind {kind} in version {version}");
    }
    let request = metadata::Request {
        topics: None,
        ..Default::default()
    };
    let reply = client.call(&request, 9);
    let view = reply.view();
    let topic = view.topics().iter().find(|one| one.is_internal());
    let topic = topic.expect("an internal topic");
    assert_eq!(topic.name(), Some("__consumer_offsets"));
    assert_eq!(topic.partitions().len(), 50);
    let configs = client.described(2, "__consumer_offsets");
    assert_eq!(configs["cleanup.policy"].value.as_deref(), Some("compact"));
    assert_eq!(configs["segment.bytes"].value.as_deref(), Some("104857600"));
}

#[test]
fn only_administration_writes_to_the_topic_of_groups_itself() {
    let Some(broker) = Broker::own("only_administration_writes", options()) else {
        return;
    };
    let mut client = broker.client();
    group(&mut client, "any");
    let topic = Topic {
        name: "__consumer_offsets".to_owned(),
        id: [0; 16],
    };
    let batch = RawBatch::one("record").encode();
    let answer = client.try_produce(&topic, 0, &batch);
    let answer = answer.expect("an answer");
    assert_eq!(answer.error_code, 17);
    // Apache Kafka's tools are let through by the name that they give themselves.
    let mut bytes = BytesMut::new();
    let request = production(&topic, -1, &[(0, &batch)]);
    request.encode(9, &mut bytes).expect("expressible");
    let tool = Some(&b"__admin_client"[..]);
    client.send(&request_bytes_of(0, 9, 7, tool, &bytes));
    let reply = client.finish::<produce::Request<'_>>(ApiKey::Produce, 9);
    assert_eq!(produced(&reply.view())[0].error_code, 0);
}

#[test]
fn two_members_share_a_group_through_its_rounds() {
    let Some(mut broker) = Broker::own("two_members_share_a_group", options()) else {
        return;
    };
    let (mut a, mut b) = (broker.client(), broker.client());
    let topic = a.create_topic("shared", 2);
    for version in 0..=JOIN {
        let sync_version = version.min(SYNC);
        let group = group(&mut a, "shared");
        let first = join_anew(&mut a, &group, version);
        assert_eq!((first.code, first.generation), (0, 1), "{first:?}");
        assert_eq!(first.leader, first.member, "alone it leads");
        assert_eq!(first.protocol.as_deref(), Some("range"));
        let own = [(first.member.as_str(), "all")];
        let assigned = sync(&mut a, &group, &first, sync_version, &own);
        assert_eq!(assigned, (0, b"all".to_vec()));
        assert_eq!(beat(&mut a, &group, &first, version.min(4)), 0);
        let (_, state, members) = describe(&mut a, &group, version.min(6));
        assert_eq!((state.as_str(), members.len()), ("Stable", 1));

        // The second one waits until the first has come to the new round.
        let given = Joining::new(&group, "").run_unless_parked(&mut b, version);
        if let Some(given) = &given {
            Joining::new(&group, given).begin(&mut b, version);
        }
        wait_for("new round", || {
            (beat(&mut a, &group, &first, version.min(4)) == 27).then_some(())
        });
        let (_, state, _) = describe(&mut a, &group, 5);
        assert_eq!(state, "PreparingRebalance");
        assert_eq!(
            commit_as(&mut a, &group, (&first.member, 1), &topic, 5, COMMIT),
            0,
            "while a round begins, its members may still commit"
        );
        let again = Joining::new(&group, &first.member).run(&mut a, version);
        let second = joined(&mut b, version);
        assert_eq!((again.code, again.generation), (0, 2), "{again:?}");
        assert_eq!((second.code, second.generation), (0, 2), "{second:?}");
        assert_eq!(
            (&again.leader, &second.leader),
            (&first.member, &first.member)
        );
        assert_eq!((again.members.len(), second.members.len()), (2, 0));
        begin_sync(&mut b, &group, &second, sync_version, &[]);
        let parts = [
            (first.member.as_str(), "left"),
            (second.member.as_str(), "right"),
        ];
        let left = sync(&mut a, &group, &again, sync_version, &parts);
        let right = synced(&mut b, sync_version);
        assert_eq!(
            (left, right),
            ((0, b"left".to_vec()), (0, b"right".to_vec()))
        );
        assert_eq!(
            beat(&mut a, &group, &first, version.min(4)),
            22,
            "old round"
        );
        let old = commit_as(&mut a, &group, (&first.member, 1), &topic, 9, COMMIT);
        assert_eq!(old, 22);
        let stranger = Round {
            member: "stranger".to_owned(),
            ..again.clone()
        };
        assert_eq!(beat(&mut a, &group, &stranger, version.min(4)), 25);
        let current = (second.member.as_str(), 2);
        assert_eq!(commit_as(&mut b, &group, current, &topic, 8, COMMIT), 0);
        assert_eq!(fetch(&mut a, &group, &topic, FETCH).1, 8);

        // What is kept of the group is there after a death: its members go on.
        if version == JOIN {
            broker.kill();
            broker.start_again();
            (a, b) = (broker.client(), broker.client());
            fetch_loaded(&mut a, &group, &topic);
            assert_eq!(beat(&mut a, &group, &again, 4), 0);
            assert_eq!(beat(&mut b, &group, &second, 4), 0);
            assert_eq!(describe(&mut a, &group, 5).1, "Stable");
        }

        let left = leave(&mut b, &group, &second.member, version.min(5));
        assert_eq!(left, (0, (version >= 3).then_some(0)));
        assert_eq!(beat(&mut a, &group, &again, version.min(4)), 27);
        let gone = leave(&mut b, &group, &second.member, version.min(5));
        let expected = if version >= 3 {
            (0, Some(25))
        } else {
            (25, None)
        };
        assert_eq!(gone, expected);
        leave(&mut a, &group, &first.member, version.min(5));
        assert_eq!(describe(&mut a, &group, 5).1, "Empty");
        assert_eq!(listed(&mut a, &group, &["Stable"], 4), None);
        let empty = listed(&mut a, &group, &["empty"], 5);
        assert_eq!(empty.as_deref(), Some("Empty"));
    }
}

impl Joining<'_> {
    /// A new member: the id that it is given, or nothing where its call waits for the round.
    fn run_unless_parked(&self, client: &mut Client, version: i16) -> Option<String> {
        if version < 4 {
            self.begin(client, version);
            return None;
        }
        let given = self.run(client, version);
        assert_eq!(given.code, 79);
        Some(given.member)
    }
}

#[test]
fn static_member_comes_back_without_a_round() {
    let Some(broker) = Broker::own("static_member_comes_back", options()) else {
        return;
    };
    let mut client = broker.client();
    let group = group(&mut client, "static");
    let joining = |member: &'static str| Joining {
        instance: Some("one"),
        ..Joining::new("", member)
    };
    let first = Joining {
        group: &group,
        ..joining("")
    };
    let first = first.run(&mut client, JOIN);
    assert_eq!((first.code, first.generation), (0, 1), "{first:?}");
    let own = [(first.member.as_str(), "all")];
    assert_eq!(sync(&mut client, &group, &first, SYNC, &own).0, 0);
    let again = Joining {
        group: &group,
        ..joining("")
    };
    let again = again.run(&mut client, JOIN);
    assert_eq!((again.code, again.generation), (0, 1), "{again:?}");
    assert_ne!(again.member, first.member);
    assert_eq!(describe(&mut client, &group, 5).1, "Stable");
    assert_eq!(
        sync(&mut client, &group, &again, SYNC, &[]),
        (0, b"all".to_vec())
    );
    let fenced = heartbeat::Request {
        group_id: group.clone().into(),
        generation_id: 1,
        member_id: first.member.clone().into(),
        group_instance_id: Some("one".into()),
    };
    assert_eq!(client.call(&fenced, 4).view().error_code(), 82);
}

#[test]
fn joins_that_cannot_be_are_refused_as_kafka_does() {
    let Some(broker) = Broker::own("joins_that_cannot_be", options()) else {
        return;
    };
    let mut client = broker.client();
    let group = group(&mut client, "refused");
    assert_eq!(Joining::new("", "").run(&mut client, JOIN).code, 24);
    let short = Joining {
        session_ms: 5,
        ..Joining::new(&group, "")
    };
    assert_eq!(short.run(&mut client, JOIN).code, 26);
    let nothing = Joining {
        protocols: &[],
        ..Joining::new(&group, "")
    };
    assert_eq!(nothing.run(&mut client, JOIN).code, 23);
    let unknown = Joining::new(&group, "stranger").run(&mut client, JOIN);
    assert_eq!(unknown.code, 25);
    let member = join_anew(&mut client, &group, JOIN);
    assert_eq!(member.code, 0);
    let other = Joining {
        protocols: &["sticky"],
        ..Joining::new(&group, "")
    };
    assert_eq!(other.run(&mut client, JOIN).code, 23);
}

#[test]
fn silent_member_is_put_out() {
    let Some(broker) = Broker::own("silent_member_is_put_out", options()) else {
        return;
    };
    let mut client = broker.client();
    let group = group(&mut client, "silent");
    let given = Joining::new(&group, "").run(&mut client, JOIN);
    let short = Joining {
        session_ms: 200,
        ..Joining::new(&group, &given.member)
    };
    let round = short.run(&mut client, JOIN);
    assert_eq!(round.code, 0);
    wait_for("empty group", || {
        (describe(&mut client, &group, 5).1 == "Empty").then_some(())
    });
    assert_eq!(beat(&mut client, &group, &round, 4), 25);
}

#[test]
fn connection_that_goes_leaves_its_round_to_others() {
    let Some(broker) = Broker::own("connection_that_goes", options()) else {
        return;
    };
    let mut client = broker.client();
    let group = group(&mut client, "gone");
    let first = join_anew(&mut client, &group, JOIN);
    // Another waits for the round, and its connection ends before the first comes.
    let mut other = broker.client();
    let given = Joining::new(&group, "").run(&mut other, JOIN);
    Joining::new(&group, &given.member).begin(&mut other, JOIN);
    wait_for("round", || {
        (describe(&mut client, &group, 5).1 == "PreparingRebalance").then_some(())
    });
    drop(other);
    // It comes back with the same id.
    let mut other = broker.client();
    Joining::new(&group, &given.member).begin(&mut other, JOIN);
    let again = Joining::new(&group, &first.member).run(&mut client, JOIN);
    assert_eq!((again.code, again.members.len()), (0, 2));
    assert_eq!(joined(&mut other, JOIN).generation, again.generation);
}

#[test]
fn groups_and_offsets_are_deleted_where_nobody_uses_them() {
    let Some(mut broker) = Broker::own("groups_and_offsets_are_deleted", options()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("read", 1);
    let group = group(&mut client, "deleted");
    let delete = |client: &mut Client, name: &str| {
        let request = delete_groups::Request {
            groups_names: vec![name.to_owned().into()],
        };
        let reply = client.call(&request, 2);
        let view = reply.view();
        let result = view.results().iter().next().expect("one group");
        result.error_code()
    };
    let forget = |client: &mut Client, group: &str, topic: &str| {
        let partition = offset_delete::OffsetDeleteRequestPartition { partition_index: 0 };
        let request = offset_delete::Request {
            group_id: group.to_owned().into(),
            topics: vec![offset_delete::OffsetDeleteRequestTopic {
                name: topic.to_owned().into(),
                partitions: vec![partition],
            }],
        };
        let reply = client.call(&request, 0);
        let view = reply.view();
        let topics = view.topics().iter();
        let parts = topics.flat_map(|topic| topic.partitions().iter());
        let codes: Vec<i16> = parts.map(|part| part.error_code()).collect();
        (view.error_code(), codes)
    };
    assert_eq!(delete(&mut client, &group), 69);
    assert_eq!(forget(&mut client, &group, &topic.name), (69, vec![]));
    assert_eq!(commit(&mut client, &group, &topic, 7, COMMIT), 0);
    assert_eq!(forget(&mut client, &group, "absent"), (0, vec![3]));
    assert_eq!(forget(&mut client, &group, &topic.name), (0, vec![0]));
    assert_eq!(fetch(&mut client, &group, &topic, FETCH).1, -1);
    let member = join_anew(&mut client, &group, JOIN);
    assert_eq!(delete(&mut client, &group), 68, "it has a member");
    leave(&mut client, &group, &member.member, 5);
    assert_eq!(commit(&mut client, &group, &topic, 8, COMMIT), 0);
    assert_eq!(delete(&mut client, &group), 0);
    assert_eq!(describe(&mut client, &group, 5).1, "Dead");
    assert_eq!(describe(&mut client, &group, 6).0, 69);
    broker.kill();
    broker.start_again();
    let mut client = broker.client();
    assert_eq!(fetch_loaded(&mut client, &group, &topic).1, -1);
}
