//! Clients that want too much: every answer is an error of the protocol, and nothing grows beyond
//! its ceiling.

use std::time::Duration;

use bytes::Bytes;
use klamm_model::{Offset, PartitionIndex};

use super::testing::{Host, committing};
use super::*;
use crate::limits::{
    GROUP_BYTES_MAX, NAME_BYTES_MAX, PENDING_MEMBERS_MAX, PROTOCOLS_MAX, SWEEP_RECORDS_MAX,
};

fn join(group: &str) -> Join {
    Join {
        group: GroupId::new(group),
        member: None,
        instance: None,
        client_id: "c".to_owned(),
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
    }
}

/// The topic `t`, of which no id is known.
fn unnamed() -> TopicReference {
    TopicReference {
        name: TopicName::new("t").expect("a name"),
        id: TopicId::ZERO,
    }
}

/// What a join is refused for; `None`: it waits.
fn refusal(host: &mut Host, join: Join) -> Option<JoinError> {
    let (_, mut replies) = host.decide(Command::Join(join));
    match replies.pop()?.1 {
        Reply::Join(Err(refused)) => Some(refused.error),
        other => panic!("the round is not complete: {other:?}"),
    }
}

#[test]
fn names_and_protocols_have_a_length_that_records_have_room_for() {
    let mut host = Host::new(GroupConfig::default());
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let named = |change: &dyn Fn(&mut Join)| {
        let mut join = join("g");
        change(&mut join);
        join
    };
    let many = |count: usize| {
        let names = (0..count).map(|number| Protocol {
            name: format!("p{number}"),
            metadata: Bytes::new(),
        });
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        refusal(&mut host, join(&long)),
        Some(JoinError::InvalidGroupId)
    );
    let full = Some(JoinError::GroupFull);
    assert_eq!(
        refusal(&mut host, named(&|join| join.client_id.clone_from(&long))),
        full
    );
    assert_eq!(
        refusal(&mut host, named(&|join| join.client_host.clone_from(&long))),
        full
    );
    assert_eq!(
        refusal(
            &mut host,
            named(&|join| join.protocol_type.clone_from(&long))
        ),
        full
    );
    assert_eq!(
        refusal(
            &mut host,
            named(&|join| join.protocols[0].name.clone_from(&long))
        ),
        full
    );
    let instance = Some(GroupInstanceId::new(&long));
    assert_eq!(
        refusal(
            &mut host,
            named(&|join| join.instance.clone_from(&instance))
        ),
        full
    );
    let too_many = many(PROTOCOLS_MAX + 1);
    assert_eq!(
        refusal(
            &mut host,
            named(&|join| join.protocols.clone_from(&too_many))
        ),
        full
    );
    assert_eq!(host.coordinator.groups.len(), 0, "nothing is left of them");

    let longest = "y".repeat(NAME_BYTES_MAX);
    let mut fits = join(&longest);
    fits.client_id.clone_from(&longest);
    fits.instance = Some(GroupInstanceId::new(&longest));
    fits.protocols = many(PROTOCOLS_MAX);
    assert_eq!(refusal(&mut host, fits), None);
    let told = host.advance(Duration::from_secs(3));
    let Some((_, Reply::Join(Ok(joined)))) = told.first() else {
        panic!("it is a member: {told:?}");
    };
    let (_, synced) = host.decide(Command::Sync(Sync {
        group: GroupId::new(&longest),
        member: joined.member.clone(),
        instance: None,
        generation: joined.generation,
        protocol_type: None,
        protocol: None,
        assignments: Vec::new(),
    }));
    assert!(
        matches!(&synced[..], [(_, Reply::Sync(Ok(_)))]),
        "{synced:?}"
    );
    host.crash(host.log.len(), false);
    assert_eq!(host.coordinator.stats().members, 1, "names come back whole");
}

#[test]
fn what_members_say_has_a_ceiling_for_each_group() {
    let mut host = Host::new(GroupConfig::default());
    let loud = |length: usize| {
        let mut join = join("g");
        join.protocols[0].metadata = vec![0; length].into();
        join
    };
    assert_eq!(refusal(&mut host, loud(GROUP_BYTES_MAX * 3 / 4)), None);
    assert_eq!(
        refusal(&mut host, loud(GROUP_BYTES_MAX / 2)),
        Some(JoinError::GroupFull)
    );
    assert_eq!(refusal(&mut host, loud(GROUP_BYTES_MAX / 8)), None);
    let round = host
        .coordinator
        .groups
        .get("g")
        .and_then(|group| group.round.as_ref());
    assert!(round.is_some_and(|round| round.bytes <= GROUP_BYTES_MAX && round.members.len() == 2));
}

#[test]
fn ids_given_out_have_a_ceiling_and_end() {
    let mut host = Host::new(GroupConfig::default());
    let mut ask = join("g");
    ask.member_id_required = true;
    let mut refused = 0;
    for _ in 0..PENDING_MEMBERS_MAX + 5 {
        match refusal(&mut host, ask.clone()) {
            Some(JoinError::MemberIdRequired) => {}
            Some(JoinError::GroupFull) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 5);
    host.advance(Duration::from_secs(10));
    let group = &host.coordinator.groups["g"];
    assert!(group.round.is_none(), "they are good for a session's time");
    host.advance(Duration::from_secs(1_200));
    assert_eq!(host.coordinator.groups.len(), 0, "nobody came");
}

#[test]
fn a_commit_names_no_more_than_the_log_takes_at_once() {
    let mut host = Host::new(GroupConfig::default());
    let partitions = |count: i32| {
        let partition = |number| CommitPartition {
            partition: PartitionIndex(number),
            offset: Offset(1),
            leader_epoch: None,
            metadata: "m".repeat(4_000),
        };
        (0..count).map(partition).collect::<Vec<_>>()
    };
    let mut commit = |count| {
        let (_, mut replies) = host.decide(committing("g", unnamed(), partitions(count)));
        match replies.pop() {
            Some((_, Reply::CommitOffsets(result))) => (result.map(|_| ()), host.log.len()),
            other => panic!("a commit is answered: {other:?}"),
        }
    };
    assert_eq!(commit(300), (Err(CommitError::TooLarge), 0));
    assert_eq!(commit(200), (Ok(()), 200));
}

#[test]
fn a_sweep_of_very_many_offsets_takes_many_small_decisions() {
    let config = GroupConfig {
        offsets_retention: Duration::from_secs(900),
        ..GroupConfig::default()
    };
    let mut host = Host::new(config);
    let groups = 9;
    let each = 4_000;
    for number in 0..groups {
        let partition = |number| CommitPartition {
            partition: PartitionIndex(number),
            offset: Offset(1),
            leader_epoch: None,
            metadata: String::new(),
        };
        host.decide(committing(
            &format!("g{number}"),
            unnamed(),
            (0..each).map(partition).collect(),
        ));
    }
    let begun = host.log.len();
    assert_eq!(begun as i32, groups * each);
    // The second sweep finds them all.
    let end = host.now.plus(Duration::from_secs(1_201));
    let mut most = 0;
    let mut before = begun;
    while host.step_to(end).is_some() {
        most = most.max(host.log.len() - before);
        before = host.log.len();
    }
    assert_eq!(host.coordinator.stats().offsets, 0, "all have expired");
    assert_eq!(
        host.coordinator.stats().counters.offsets_expired as i32,
        groups * each
    );
    assert!(most <= SWEEP_RECORDS_MAX, "{most} in one decision");
}

/// Two static members of a group, in its first round that the log keeps.
fn pair(host: &mut Host, rebalance_timeouts: [Duration; 2]) {
    for (name, rebalance_timeout) in ["a", "b"].into_iter().zip(rebalance_timeouts) {
        let mut join = join("g");
        join.instance = Some(GroupInstanceId::new(name));
        join.rebalance_timeout = rebalance_timeout;
        join.session_timeout = Duration::from_secs(1_800);
        join.may_skip_assignment = true;
        assert_eq!(refusal(host, join), None);
    }
    // The first round is longer where more come.
    let told = host.advance(Duration::from_secs(7));
    assert_eq!(told.len(), 2, "both are members: {told:?}");
    for (_, reply) in told {
        let Reply::Join(Ok(joined)) = reply else {
            panic!("both are members: {reply:?}");
        };
        host.decide(Command::Sync(Sync {
            group: GroupId::new("g"),
            member: joined.member,
            instance: None,
            generation: joined.generation,
            protocol_type: None,
            protocol: None,
            assignments: Vec::new(),
        }));
    }
    assert_eq!(host.coordinator.stats().stable, 1);
}

fn leave(host: &mut Host, instance: &str) {
    let leaving = Leaving {
        member: None,
        instance: Some(GroupInstanceId::new(instance)),
        reason: None,
    };
    let (_, replies) = host.decide(Command::Leave(Leave {
        group: GroupId::new("g"),
        members: vec![leaving],
    }));
    assert!(
        matches!(&replies[..], [(_, Reply::Leave(Ok(_)))]),
        "{replies:?}"
    );
}

#[test]
fn members_that_take_no_time_to_join_do_not_keep_the_coordinator_busy() {
    let mut host = Host::new(GroupConfig::default());
    pair(&mut host, [Duration::ZERO, Duration::from_secs(60)]);
    leave(&mut host, "b");
    assert_eq!(host.coordinator.stats().preparing_rebalance, 1);
    let end = host.now.plus(Duration::from_secs(60));
    let mut fired = 0;
    while host.step_to(end).is_some() {
        fired += 1;
        assert!(fired <= 61, "once a second is enough");
    }
    let round = host.coordinator.groups["g"].round.as_ref();
    assert!(
        round.is_some_and(|round| round.members.len() == 1),
        "the session of a static member decides how long it is one"
    );
}

/// The static member `a` joins without its id, and says so much about its protocol.
fn come_back(host: &mut Host, length: usize) -> Vec<(Ticket, Reply)> {
    let mut join = join("g");
    join.instance = Some(GroupInstanceId::new("a"));
    join.protocols[0].metadata = vec![0; length].into();
    join.session_timeout = Duration::from_secs(1_800);
    host.decide(Command::Join(join)).1
}

#[test]
fn a_static_member_that_comes_back_with_more_than_the_log_takes_begins_a_round() {
    let mut host = Host::new(GroupConfig {
        batch_bytes_max: 10_000,
        ..GroupConfig::default()
    });
    pair(&mut host, [Duration::from_secs(60); 2]);
    let logged = host.log.len();
    assert_eq!(come_back(&mut host, 11_000), []);
    assert_eq!(host.coordinator.stats().preparing_rebalance, 1);
    assert_eq!(host.log.len(), logged, "nothing is kept of it");
}

#[test]
fn a_static_member_that_is_refused_has_replaced_nobody() {
    let mut host = Host::new(GroupConfig::default());
    pair(&mut host, [Duration::from_secs(60); 2]);
    let owner = |host: &Host| {
        let round = host.coordinator.groups["g"].round.as_ref();
        round.expect("it lives").statics["a"].clone()
    };
    let before = owner(&host);
    let replies = come_back(&mut host, GROUP_BYTES_MAX + 1);
    assert!(
        matches!(&replies[..], [(_, Reply::Join(Err(refused)))] if refused.error == JoinError::GroupFull),
        "{replies:?}"
    );
    assert_eq!(owner(&host), before, "who has the name keeps it");
    assert_eq!(host.coordinator.stats().stable, 1);
}

fn commit(host: &mut Host, group: &str, partition: i32, metadata: usize) -> Option<CommitError> {
    let partition = CommitPartition {
        partition: PartitionIndex(partition),
        offset: Offset(host.log.len() as i64),
        leader_epoch: None,
        metadata: "m".repeat(metadata),
    };
    let (_, mut replies) = host.decide(committing(group, unnamed(), vec![partition]));
    match replies.pop() {
        Some((_, Reply::CommitOffsets(result))) => result.err(),
        other => panic!("a commit is answered: {other:?}"),
    }
}

#[test]
fn offsets_move_on_where_there_is_no_room_for_more_of_them() {
    let full = Some(CommitError::TooLarge);
    let mut host = Host::new(GroupConfig::default());
    host.coordinator.bytes_max = 10_000;
    let taken = (0..100).take_while(|number| commit(&mut host, "g", *number, 0).is_none());
    assert!((50..100).contains(&taken.count()), "until nothing fits in");
    assert_eq!(commit(&mut host, "other", 0, 0), full);
    for partition in 0..50 {
        assert_eq!(commit(&mut host, "g", partition, 0), None, "it moves on");
        assert_eq!(commit(&mut host, "g", partition, 50), None, "or says why");
    }
    assert_eq!(commit(&mut host, "g", 0, 4_000), full);

    let mut host = Host::new(GroupConfig::default());
    host.coordinator.offsets_max = 2;
    assert_eq!(commit(&mut host, "g", 0, 0), None);
    assert_eq!(commit(&mut host, "h", 0, 0), None);
    assert_eq!(commit(&mut host, "g", 1, 0), full);
    assert_eq!(commit(&mut host, "g", 0, 0), None, "it moves on");
}

#[test]
fn members_say_no_more_in_all_than_the_coordinator_has_room_for() {
    let full = Some(JoinError::GroupFull);
    let mut host = Host::new(GroupConfig::default());
    let loud = |group: &str, length: usize| {
        let mut join = join(group);
        join.protocols[0].metadata = vec![0; length].into();
        join
    };
    let mut ask = loud("waits", 0);
    ask.member_id_required = true;
    let (_, replies) = host.decide(Command::Join(ask));
    let [(_, Reply::Join(Err(given)))] = &replies[..] else {
        panic!("an id is given out: {replies:?}");
    };
    pair(&mut host, [Duration::from_secs(60); 2]);
    host.coordinator.bytes_max = host.coordinator.bytes + 5_000;

    let mut with_id = loud("waits", 10_000);
    with_id.member.clone_from(&given.member);
    assert_eq!(refusal(&mut host, with_id), full, "an id is no way around");
    assert_eq!(refusal(&mut host, loud("g", 10_000)), full);
    assert_eq!(refusal(&mut host, loud("new", 4_900)), full);
    let replies = come_back(&mut host, 10_000);
    assert!(
        matches!(&replies[..], [(_, Reply::Join(Err(refused)))] if refused.error == JoinError::GroupFull),
        "{replies:?}"
    );
    let mut ids = 0;
    loop {
        let mut ask = loud("waits", 0);
        ask.client_id = "c".repeat(500);
        ask.member_id_required = true;
        match refusal(&mut host, ask) {
            Some(JoinError::MemberIdRequired) => ids += 1,
            refused => {
                assert_eq!(refused, full);
                break;
            }
        }
    }
    assert!((3..10).contains(&ids), "ids that are out count: {ids}");
    assert!(host.coordinator.bytes <= host.coordinator.bytes_max);
    let replies = come_back(&mut host, 0);
    assert!(
        matches!(&replies[..], [(_, Reply::Join(Ok(_)))]),
        "who is there may come again: {replies:?}"
    );
}

#[test]
fn assignments_take_no_more_than_the_coordinator_has_room_for() {
    let mut host = Host::new(GroupConfig::default());
    host.coordinator.bytes_max = 10_000;
    assert_eq!(refusal(&mut host, join("g")), None);
    let told = host.advance(Duration::from_secs(3));
    let [(_, Reply::Join(Ok(joined)))] = &told[..] else {
        panic!("it is a member: {told:?}");
    };
    let (_, replies) = host.decide(Command::Sync(Sync {
        group: GroupId::new("g"),
        member: joined.member.clone(),
        instance: None,
        generation: joined.generation,
        protocol_type: None,
        protocol: None,
        assignments: vec![(joined.member.clone(), vec![0; 20_000].into())],
    }));
    assert!(
        matches!(&replies[..], [(_, Reply::Sync(Err(SyncError::TooLarge)))]),
        "{replies:?}"
    );
    assert_eq!(host.log.len(), 1, "that the group is there");
}

/// Compared one by one with all others, these names would take minutes to learn, and as long to
/// forget.
#[test]
fn very_many_names_of_protocols_are_learned_and_forgotten() {
    let members = 4_000;
    let mut coordinator = Coordinator::new(GroupConfig::default());
    let moment = |millis: u64, seed: u128| Moment {
        now: Instant(0).plus(Duration::from_millis(millis)),
        wall: WallTime(0),
        seed,
    };
    for member in 0..members {
        let mut join = join("g");
        join.protocols = (1..PROTOCOLS_MAX)
            .map(|number| format!("{member}-{number}"))
            .chain(["range".to_owned()])
            .map(|name| Protocol {
                name,
                metadata: Bytes::new(),
            })
            .collect();
        let ticket = Ticket(member);
        let decision = coordinator.decide(moment(0, member.into()), ticket, Command::Join(join));
        assert_eq!(decision.replies, [], "the first round waits");
    }
    assert_eq!(coordinator.stats().members as u64, members);
    let key = TimerKey::Group(GroupId::new("g"));
    let decision = coordinator.on_timer(moment(300_000, 1 << 64), key);
    assert_eq!(decision.replies.len() as u64, members, "all are given up");
    assert!(coordinator.groups["g"].round.is_some(), "until it is kept");
    assert_eq!(coordinator.stats().members, 0);
}

#[test]
fn a_group_that_is_gone_leaves_no_timer() {
    let mut host = Host::new(GroupConfig::default());
    for number in 0..10 {
        let mut ask = join(&format!("g{number}"));
        ask.member_id_required = true;
        let (_, replies) = host.decide(Command::Join(ask.clone()));
        let [(_, Reply::Join(Err(refused)))] = &replies[..] else {
            panic!("an id is given out: {replies:?}");
        };
        if number % 2 == 0 {
            let leaving = Leaving {
                member: refused.member.clone(),
                instance: None,
                reason: None,
            };
            host.decide(Command::Leave(Leave {
                group: ask.group,
                members: vec![leaving],
            }));
        } else {
            let groups = vec![ask.group];
            host.decide(Command::Delete { groups });
        }
    }
    assert_eq!(host.group_timers(), 0);
    let groups = host.coordinator.groups.values();
    assert_eq!(groups.filter(|group| group.round.is_none()).count(), 5);
    host.advance(Duration::from_secs(1_200));
    assert!(host.coordinator.groups.is_empty());
}

/// Offsets of a topic that is named `t` and has this id.
fn commit_all(host: &mut Host, group: &str, id: u8, partitions: i32, retention: Option<Duration>) {
    let partition = |number| CommitPartition {
        partition: PartitionIndex(number),
        offset: Offset(1),
        leader_epoch: None,
        metadata: String::new(),
    };
    let (_, replies) = host.decide(Command::CommitOffsets(CommitOffsets {
        group: GroupId::new(group),
        member: None,
        instance: None,
        generation: None,
        understands_epochs: true,
        retention,
        topics: vec![CommitTopic {
            topic: t(id),
            partitions: (0..partitions).map(partition).collect(),
        }],
    }));
    assert!(
        matches!(&replies[..], [(_, Reply::CommitOffsets(Ok(_)))]),
        "{replies:?}"
    );
}

fn t(id: u8) -> TopicReference {
    TopicReference {
        name: TopicName::new("t").expect("a name"),
        id: TopicId([id; 16]),
    }
}

/// How many offsets clients are told of a group: when they ask for all, and for those of the topic
/// `t` with this id.
fn seen(host: &mut Host, group: &str, id: u8, partitions: i32) -> [usize; 2] {
    let asked = FetchTopic {
        topic: t(id),
        partitions: (0..partitions).map(PartitionIndex).collect(),
    };
    [None, Some(asked)].map(|asked| {
        let (mut from, mut seen, mut told) = (None, 0, 0);
        loop {
            let topics = asked.clone().map(|mut asked| {
                asked.partitions.drain(..told);
                vec![asked]
            });
            let (_, replies) = host.decide(Command::FetchOffsets(FetchOffsets {
                group: GroupId::new(group),
                topics,
                from: from.take(),
                member: None,
                require_stable: false,
            }));
            let [(_, Reply::FetchOffsets(Ok(fetched)))] = &replies[..] else {
                panic!("a fetch is answered: {replies:?}");
            };
            let offsets = fetched.topics.iter().flat_map(|topic| &topic.partitions);
            told += offsets.clone().count();
            seen += offsets.filter(|(_, kept)| kept.is_some()).count();
            if fetched.next.is_none() {
                return seen;
            }
            from.clone_from(&fetched.next);
        }
    })
}

/// All that is due within a second happens. Returns the most records of one decision, and what
/// callers saw.
fn settle(host: &mut Host) -> (usize, Vec<(Ticket, Reply)>) {
    let end = host.now.plus(Duration::from_secs(1));
    let (mut most, mut seen) = (0, Vec::new());
    let mut before = host.log.len();
    while let Some(replies) = host.step_to(end) {
        most = most.max(host.log.len() - before);
        before = host.log.len();
        seen.extend(replies);
    }
    (most, seen)
}

#[test]
fn a_group_of_very_many_offsets_is_deleted_by_many_small_decisions() {
    let mut host = Host::new(GroupConfig::default());
    for _ in 0..2 {
        commit_all(&mut host, "large", 1, 10_000, None);
        commit_all(&mut host, "small", 1, 10, None);
        let groups = ["large", "nobody", "small"].map(GroupId::new).to_vec();
        let logged = host.log.len();
        let (ticket, replies) = host.decide(Command::Delete { groups });
        assert_eq!(replies, [], "it is answered when all is forgotten");
        assert!(host.log.len() - logged <= SWEEP_RECORDS_MAX);
        assert_eq!(seen(&mut host, "large", 1, 10_000), [0, 0], "at once");
        // Whoever comes next begins anew, and nothing of that is forgotten.
        commit_all(&mut host, "large", 1, 3, None);
        assert_eq!(seen(&mut host, "large", 1, 10_000), [3, 3]);
        let (most, replies) = settle(&mut host);
        assert!(most <= SWEEP_RECORDS_MAX, "{most} in one decision");
        let [(answered, Reply::Delete(deleted))] = &replies[..] else {
            panic!("the deletion is answered: {replies:?}");
        };
        assert_eq!(*answered, ticket);
        let results: Vec<_> = deleted.iter().map(|(_, result)| *result).collect();
        let unknown = Err(DeleteGroupError::GroupNotFound);
        assert_eq!(results, [Ok(()), unknown, Ok(())]);
        assert_eq!(seen(&mut host, "large", 1, 10_000), [3, 3], "and stays");
        assert_eq!(host.coordinator.stats().offsets, 3);
        assert!(host.coordinator.forgetting.is_idle());
    }
}

#[test]
fn a_group_that_is_deleted_twice_is_forgotten_once_for_both() {
    let mut host = Host::new(GroupConfig::default());
    commit_all(&mut host, "large", 1, 10_000, None);
    let delete = |host: &mut Host| {
        let groups = vec![GroupId::new("large")];
        host.decide(Command::Delete { groups })
    };
    let (first, _) = delete(&mut host);
    commit_all(&mut host, "large", 1, 3, None);
    let (second, replies) = delete(&mut host);
    assert_eq!(replies, []);
    assert_eq!(seen(&mut host, "large", 1, 10_000), [0, 0]);
    let (_, replies) = settle(&mut host);
    let answered: Vec<Ticket> = replies.into_iter().map(|(ticket, _)| ticket).collect();
    assert_eq!(answered, [first, second]);
    let stats = host.coordinator.stats();
    assert_eq!((stats.offsets, stats.counters.offsets_deleted), (0, 10_000));
    assert!(host.coordinator.groups.is_empty());
}

#[test]
fn the_offsets_of_a_topic_that_is_gone_are_forgotten_by_many_small_decisions() {
    let mut host = Host::new(GroupConfig::default());
    let day = Some(Duration::from_secs(86_400));
    let groups = ["a", "b", "c", "d"];
    for group in groups {
        // The second format has no room for the id of the topic.
        commit_all(&mut host, group, 1, 6_000, None);
        commit_all(&mut host, group, 1, 2_000, day);
    }
    let logged = host.log.len();
    host.input(|coordinator, moment| coordinator.on_topics_deleted(moment, &[t(1)]));
    assert_eq!(host.log.len() - logged, SWEEP_RECORDS_MAX);
    for group in groups {
        assert_eq!(seen(&mut host, group, 2, 6_000), [0, 0], "at once");
    }
    // Another topic of that name.
    commit_all(&mut host, "c", 2, 10, None);
    commit_all(&mut host, "d", 2, 20, day);
    let (most, _) = settle(&mut host);
    assert!(most <= SWEEP_RECORDS_MAX, "{most} in one decision");
    assert_eq!(seen(&mut host, "c", 2, 6_000), [10, 10]);
    assert_eq!(seen(&mut host, "d", 2, 6_000), [20, 20]);
    let stats = host.coordinator.stats();
    assert_eq!((stats.offsets, host.coordinator.groups.len()), (30, 2));
    assert!(host.coordinator.forgetting.is_idle());
}

#[test]
fn a_topic_that_is_gone_again_takes_along_what_was_committed_in_between() {
    let mut host = Host::new(GroupConfig::default());
    let day = Some(Duration::from_secs(86_400));
    commit_all(&mut host, "a", 1, 8_000, None);
    commit_all(&mut host, "b", 1, 10, None);
    host.input(|coordinator, moment| coordinator.on_topics_deleted(moment, &[t(1)]));
    commit_all(&mut host, "b", 2, 10, None);
    commit_all(&mut host, "b", 2, 5, day);
    host.input(|coordinator, moment| coordinator.on_topics_deleted(moment, &[t(2)]));
    commit_all(&mut host, "b", 3, 2, day);
    assert_eq!(seen(&mut host, "b", 3, 10), [2, 2]);
    settle(&mut host);
    assert_eq!(seen(&mut host, "b", 3, 10), [2, 2]);
    assert_eq!(host.coordinator.stats().offsets, 2);
}

#[test]
fn a_wall_clock_that_jumps_ahead_lets_no_offset_expire_at_once() {
    let year = 365 * 86_400_000;
    let hour = Duration::from_secs(3_600);
    let mut host = Host::new(GroupConfig {
        offsets_retention: hour,
        ..GroupConfig::default()
    });
    commit_all(&mut host, "a", 1, 10, None);
    host.wall_ahead = 10 * year;
    host.advance(Duration::from_secs(1_500));
    assert_eq!(host.coordinator.stats().offsets, 10, "there is time");
    host.wall_ahead = 0;
    host.advance(Duration::from_secs(2_000));
    assert_eq!(host.coordinator.stats().offsets, 10, "to set it right");
    host.advance(Duration::from_secs(1_000));
    assert_eq!(host.coordinator.stats().offsets, 0);

    commit_all(&mut host, "a", 1, 10, None);
    host.wall_ahead = 10 * year;
    host.advance(hour);
    assert_eq!(
        host.coordinator.stats().offsets,
        0,
        "it is believed in time"
    );
}
