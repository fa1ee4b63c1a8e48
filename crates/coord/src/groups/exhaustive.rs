//! Every order in which a few things can happen to a small group: two members and a static one that
//! join, sync, leave, fall silent, and a process that dies. The tests' host proves the machine
//! after every step; at every end, nobody waits for ever (G5).

use std::time::Duration;

use super::scripts::subscription;
use super::testing::Host;
use super::*;

/// How many steps each history has.
const DEPTH: u32 = 5;

const REBALANCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum Step {
    Join(usize),
    Sync(usize),
    Leave(usize),
    Wait(u64),
    Restart,
}

const STEPS: [Step; 10] = [
    Step::Join(0),
    Step::Join(1),
    Step::Join(2),
    Step::Sync(0),
    Step::Sync(1),
    Step::Sync(2),
    Step::Leave(0),
    Step::Wait(7),
    Step::Wait(31),
    Step::Restart,
];

/// What each client was told last. The third is a static member that never remembers its id.
#[derive(Clone, Default)]
struct Told {
    member: Option<MemberId>,
    generation: GenerationId,
    members: Vec<MemberId>,
    waits: Option<Ticket>,
}

#[derive(Clone)]
struct World {
    host: Host,
    told: [Told; 3],
}

impl World {
    fn step(&mut self, step: Step) {
        let group = GroupId::new("g");
        let replies = match step {
            Step::Join(who) => {
                let is_static = who == 2;
                let command = Command::Join(Join {
                    group,
                    member: self.told[who].member.clone().filter(|_| !is_static),
                    instance: is_static.then(|| GroupInstanceId::new("s")),
                    client_id: format!("c{who}"),
                    client_host: "/::1".to_owned(),
                    protocol_type: "consumer".to_owned(),
                    protocols: vec![Protocol {
                        name: "range".to_owned(),
                        metadata: subscription("t"),
                    }],
                    session_timeout: Duration::from_secs(10),
                    rebalance_timeout: REBALANCE,
                    member_id_required: who == 1,
                    may_skip_assignment: false,
                    reason: None,
                });
                let (ticket, replies) = self.host.decide(command);
                self.told[who].waits = Some(ticket);
                replies
            }
            Step::Sync(who) => {
                let told = &self.told[who];
                let Some(member) = told.member.clone() else {
                    return;
                };
                let assignments = told.members.iter().map(|member| {
                    let part = member.as_str().as_bytes().to_vec();
                    (member.clone(), part.into())
                });
                let command = Command::Sync(Sync {
                    group,
                    member,
                    instance: (who == 2).then(|| GroupInstanceId::new("s")),
                    generation: told.generation,
                    protocol_type: None,
                    protocol: None,
                    assignments: assignments.collect(),
                });
                let (ticket, replies) = self.host.decide(command);
                self.told[who].waits = Some(ticket);
                replies
            }
            Step::Leave(who) => {
                let Some(member) = self.told[who].member.clone() else {
                    return;
                };
                let leaving = Leaving {
                    member: Some(member),
                    instance: None,
                    reason: None,
                };
                let members = vec![leaving];
                self.host.decide(Command::Leave(Leave { group, members })).1
            }
            Step::Wait(seconds) => self.host.advance(Duration::from_secs(seconds)),
            Step::Restart => {
                self.host.crash(self.host.log.len(), true);
                Vec::new()
            }
        };
        for (ticket, reply) in replies {
            self.hear(ticket, reply);
        }
    }

    fn hear(&mut self, ticket: Ticket, reply: Reply) {
        let Some(told) = self.told.iter_mut().find(|told| told.waits == Some(ticket)) else {
            return;
        };
        told.waits = None;
        match reply {
            Reply::Join(Ok(joined)) => {
                told.member = Some(joined.member);
                told.generation = joined.generation;
                let members = joined.members.into_iter();
                told.members = members.map(|member| member.member).collect();
            }
            Reply::Join(Err(refused)) => {
                told.member = match refused.error {
                    JoinError::MemberIdRequired => refused.member,
                    _ => None,
                };
            }
            Reply::Sync(Ok(synced)) => {
                // The leader gives each member its own name, so nobody can be given another's.
                let own = told.member.as_ref().map_or("", MemberId::as_str);
                let given = &synced.assignment[..];
                let replaced = own.starts_with("s-") && given.starts_with(b"s-");
                let fits = given.is_empty() || given == own.as_bytes() || replaced;
                assert!(fits, "G1: {own} is given {given:?}");
            }
            Reply::Sync(Err(SyncError::UnknownMember | SyncError::FencedInstance)) => {
                told.member = None;
            }
            _ => {}
        }
    }

    fn explore(&self, depth: u32, ends: &mut u64) {
        if depth == 0 {
            let mut end = self.clone();
            end.step(Step::Wait(31));
            assert!(
                end.host.waiting.is_empty(),
                "G5: somebody waits: {:?}",
                end.host.waiting
            );
            *ends += 1;
            return;
        }
        for step in STEPS {
            let mut next = self.clone();
            next.step(step);
            next.explore(depth - 1, ends);
        }
    }
}

#[test]
fn no_order_of_a_few_steps_breaks_a_small_group() {
    use Step::{Join, Sync};
    let stable = [Join(0), Sync(0), Join(2), Join(0), Sync(0), Sync(2)];
    let beginnings: [(u64, &[Step], u32); 3] =
        [(3, &[], DEPTH - 1), (0, &[], DEPTH), (0, &stable, DEPTH)];
    for (delay, steps, depth) in beginnings {
        let config = GroupConfig {
            initial_rebalance_delay: Duration::from_secs(delay),
            members_max: 2,
            ..GroupConfig::default()
        };
        let mut world = World {
            host: Host::new(config),
            told: Default::default(),
        };
        for step in steps {
            world.step(*step);
        }
        let members = world.host.coordinator.stats().stable;
        assert_eq!(
            members,
            usize::from(!steps.is_empty()),
            "it begins as meant"
        );
        let mut ends = 0;
        world.explore(depth, &mut ends);
        assert_eq!(ends, (STEPS.len() as u64).pow(depth), "all of them");
    }
}
