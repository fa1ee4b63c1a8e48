//! Many groups at once: what they cost in memory, and that heartbeats cost nothing but time.

use std::time::Duration;

use allocation_counter::measure;
use klamm_model::{Instant, Offset, PartitionIndex, TopicId, WallTime};

use super::scripts::subscription;
use super::*;

const GROUPS: u64 = 2_000;
const MEMBERS: u64 = 10;

struct Crowd {
    coordinator: Coordinator,
    inputs: u64,
    timers: usize,
}

impl Crowd {
    fn input(
        &mut self,
        now: u64,
        input: impl FnOnce(&mut Coordinator, Moment) -> Decision<Reply, TimerKey>,
    ) -> Vec<(Ticket, Reply)> {
        self.inputs += 1;
        let moment = Moment {
            now: Instant(now),
            wall: WallTime(0),
            seed: self.inputs.into(),
        };
        let decision = input(&mut self.coordinator, moment);
        for record in &decision.records {
            let value = record.value.as_deref();
            self.coordinator
                .replay(&record.key, value)
                .expect("of this program");
        }
        self.timers += decision.timers.len();
        decision.replies
    }

    fn ask(&mut self, command: Command) -> Vec<(Ticket, Reply)> {
        let ticket = Ticket(self.inputs);
        self.input(0, |coordinator, moment| {
            coordinator.decide(moment, ticket, command)
        })
    }
}

/// A consumer as Java's client describes itself with two assignors and one topic.
fn consumer(group: &GroupId, number: u64) -> Command {
    let said = |name: &str| Protocol {
        name: name.to_owned(),
        metadata: subscription("flights-of-the-northern-region"),
    };
    Command::Join(Join {
        group: group.clone(),
        member: None,
        instance: None,
        client_id: format!("consumer-{}-{number}", group.as_str()),
        client_host: "/10.128.12.34".to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![said("range"), said("cooperative-sticky")],
        session_timeout: Duration::from_secs(45),
        rebalance_timeout: Duration::from_secs(300),
        member_id_required: false,
        may_skip_assignment: true,
        reason: None,
    })
}

fn form(crowd: &mut Crowd, number: u64) -> (GroupId, GenerationId, Vec<MemberId>) {
    let group = GroupId::new(&format!("group-{number}"));
    for member in 0..MEMBERS {
        assert!(
            crowd.ask(consumer(&group, member)).is_empty(),
            "the first round waits"
        );
    }
    let mut replies = Vec::new();
    for seconds in 1..=60 {
        let key = TimerKey::Group(group.clone());
        let now = seconds * 3_000_000_000;
        replies = crowd.input(now, |coordinator, moment| coordinator.on_timer(moment, key));
        if !replies.is_empty() {
            break;
        }
    }
    let Some((_, Reply::Join(Ok(leader)))) = replies.first().cloned() else {
        panic!("the leader is told first: {replies:?}");
    };
    let members: Vec<MemberId> = leader
        .members
        .into_iter()
        .map(|member| member.member)
        .collect();
    assert_eq!(members.len() as u64, MEMBERS);
    let generation = leader.generation;
    let replies = crowd.ask(Command::Sync(Sync {
        group: group.clone(),
        member: leader.member,
        instance: None,
        generation,
        protocol_type: None,
        protocol: None,
        assignments: members
            .iter()
            .map(|id| (id.clone(), vec![7; 64].into()))
            .collect(),
    }));
    assert!(
        matches!(&replies[..], [(_, Reply::Sync(Ok(_)))]),
        "{replies:?}"
    );
    let offset = |partition| CommitPartition {
        partition: PartitionIndex(partition),
        offset: Offset(1),
        leader_epoch: None,
        metadata: String::new(),
    };
    let topic = TopicReference {
        name: TopicName::new("flights-of-the-northern-region").expect("a name"),
        id: TopicId([1; 16]),
    };
    crowd.ask(Command::CommitOffsets(CommitOffsets {
        group: group.clone(),
        member: Some(members[0].clone()),
        instance: None,
        generation: Some(generation),
        understands_epochs: true,
        retention: None,
        topics: vec![CommitTopic {
            topic,
            partitions: (0..MEMBERS as i32).map(offset).collect(),
        }],
    }));
    (group, generation, members)
}

#[test]
fn ten_thousand_groups_of_ten_members_fit_into_a_core() {
    let mut crowd = Crowd {
        coordinator: Coordinator::new(GroupConfig::default()),
        inputs: 0,
        timers: 0,
    };
    let mut last = None;
    let held = measure(|| {
        for number in 0..GROUPS {
            last = Some(form(&mut crowd, number));
            crowd.coordinator.take_notes();
        }
    });
    assert_eq!(crowd.coordinator.stats().members as u64, GROUPS * MEMBERS);
    let each = held.bytes_current / GROUPS as i64;
    // 10,000 of these are less than 120 MB.
    assert!(
        (4_000..12_000).contains(&each),
        "a group of ten members takes {each} bytes"
    );

    let (group, generation, members) = last.expect("there are groups");
    let heartbeat = |member: &MemberId| {
        Command::Heartbeat(Heartbeat {
            group: group.clone(),
            member: member.clone(),
            instance: None,
            generation,
        })
    };
    let commands: Vec<Command> = members.iter().map(heartbeat).collect();
    let timers = crowd.timers;
    let spent = measure(|| {
        for command in commands {
            assert!(matches!(
                &crowd.ask(command)[..],
                [(_, Reply::Heartbeat(Ok(())))]
            ));
        }
    });
    assert_eq!(crowd.timers, timers, "a heartbeat sets no timer");
    assert!(
        spent.bytes_current <= 0,
        "a heartbeat leaves nothing behind"
    );
    // The list of replies.
    assert!(
        spent.count_total <= 2 * MEMBERS,
        "{} allocations",
        spent.count_total
    );
}
