//! Modelled consumers against a coordinator whose process dies, whose log is cut off and compacted,
//! and whose answers get lost. After every input the tests' host proves the machine itself (G3, G4,
//! G5, G8); here is proved what clients see: G1, G2, and that every call is answered in time (G5).
//!
//! A run is repeated by its seed: `SIM_SEED=7 cargo test -p klamm-coord simulation`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klamm_model::{Instant, Offset, PartitionIndex, Random, TopicId};

use super::scripts::subscription;
use super::testing::Host;
use super::*;
use crate::record::{GroupValue, Key};

/// How many runs a test makes.
const SEEDS: u64 = 600;

/// How many things happen in one run.
const STEPS: u64 = 500;

const GROUPS: [&str; 2] = ["g", "h"];
const PARTITIONS: u8 = 6;
const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(30);

/// What a modelled consumer believes.
#[derive(Clone, Debug)]
struct Client {
    group: GroupId,
    name: String,
    instance: Option<GroupInstanceId>,
    member: Option<MemberId>,
    generation: GenerationId,
    /// It leads, and knows of these members.
    leads: Option<Vec<MemberId>>,
    /// What it may work on.
    owned: Option<BTreeSet<u8>>,
    /// The call that it waits for.
    waiting: Option<(Ticket, Asked, Instant)>,
    /// How often its group may have been deleted when it called.
    deletions: u64,
    /// It is told to join.
    must_join: bool,
    old_protocol: bool,
    /// It says that it lives, but never asks for its part.
    stuck: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Join,
    Sync,
}

/// What is known of one group's offset.
#[derive(Clone, Debug, Default)]
struct Offsets {
    /// Commits that were answered, or seen by a fetch: never again less than the last of these.
    sure: i64,
    /// Everything that was ever asked to be committed and not refused.
    possible: BTreeSet<i64>,
    /// How often the group may have been deleted: answers of before tell nothing any longer.
    deletions: u64,
}

struct Simulation {
    host: Host,
    random: Random,
    clients: Vec<Client>,
    offsets: BTreeMap<GroupId, Offsets>,
    /// Commits on the way: what each would make sure.
    commits: BTreeMap<Ticket, (GroupId, i64, u64)>,
    /// Fetches on the way: what was sure when they were asked.
    fetches: BTreeMap<Ticket, (GroupId, i64, u64)>,
    /// Who was given what in which generation (G1).
    given: BTreeMap<(GroupId, GenerationId), BTreeMap<u8, String>>,
    /// Groups of which the log keeps a round.
    kept: BTreeMap<GroupId, bool>,
    next_offset: i64,
    rounds: u64,
    /// Offsets of groups without members go before the run ends.
    expires: bool,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let expires = random.below(4) == 0;
        let config = GroupConfig {
            initial_rebalance_delay: Duration::from_secs(random.below(4)),
            members_max: 3 + random.below(4) as usize,
            offsets_retention: Duration::from_secs(if expires { 20 } else { 3_600 }),
            offsets_check_interval: Duration::from_secs(15),
            ..GroupConfig::default()
        };
        let clients = (0..8_u64)
            .map(|number| Client {
                group: GroupId::new(GROUPS[(number % 2) as usize]),
                name: format!("c{number}"),
                instance: (number % 3 == 0).then(|| GroupInstanceId::new(&format!("i{number}"))),
                member: None,
                generation: GenerationId(0),
                leads: None,
                owned: None,
                waiting: None,
                deletions: 0,
                must_join: true,
                old_protocol: number % 4 == 1,
                stuck: number >= 6 && random.below(3) == 0,
            })
            .collect();
        let mut host = Host::new(config);
        host.commits_at_once = random.below(2) == 0;
        host.longest_round = REBALANCE;
        if random.below(2) == 0 {
            // Deletions take several decisions.
            host.coordinator.tombstones_max = 1;
        }
        Self {
            host,
            random,
            clients,
            offsets: BTreeMap::new(),
            commits: BTreeMap::new(),
            fetches: BTreeMap::new(),
            given: BTreeMap::new(),
            kept: BTreeMap::new(),
            next_offset: 1,
            rounds: 0,
            expires,
        }
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.random.below(one_in) == 0
    }

    fn step(&mut self) {
        let who = self.random.below(self.clients.len() as u64) as usize;
        match self.random.below(100) {
            0..=49 => self.act(who),
            50..=59 => self.commit(who),
            60..=64 => self.fetch(who),
            65..=66 => self.leave(who),
            // It starts anew, and remembers nothing but its static name.
            67 => self.forget(who),
            68..=83 => {
                let millis = 1 + self.random.below(3_000);
                self.pass(Duration::from_millis(millis));
            }
            84 => self.pass(SESSION),
            85..=93 => {
                let open = (self.host.log.len() - self.host.committed) as u64;
                let end = self.host.committed + self.random.below(open + 1) as usize;
                let replies = self.host.commit(end);
                self.take(replies);
            }
            94..=95 => self.crash(),
            96 => {
                self.delete(who);
            }
            97 => {
                let (_, replies) = self.host.decide(Command::List(List::default()));
                self.take(replies);
                self.prove_replay();
            }
            _ => {
                let groups = GROUPS.map(GroupId::new).to_vec();
                let bytes_max = usize::MAX;
                let describe = Command::Describe { groups, bytes_max };
                let (_, replies) = self.host.decide(describe);
                self.take(replies);
            }
        }
        self.forget_generations();
        self.prove_answers_in_time();
    }

    /// A group of which the log keeps no round begins with the first generation again.
    fn forget_generations(&mut self) {
        for group in GROUPS.map(GroupId::new) {
            let known = self.host.coordinator.groups.get(&group);
            let kept = known.is_some_and(|known| known.kept.is_some());
            let was_kept = self.kept.insert(group.clone(), kept);
            if was_kept == Some(true) && !kept {
                self.given.retain(|(of, _), _| *of != group);
                self.offsets.entry(group).or_default().deletions += 1;
            }
        }
    }

    /// What a consumer does next: join, sync, or say that it lives.
    fn act(&mut self, who: usize) {
        let now = self.host.now;
        let client = self.clients[who].clone();
        if let Some((_, asked, since)) = client.waiting {
            // Its own patience may end; then it calls again.
            if now.since(since) < Duration::from_secs(5) || self.random.below(3) > 0 {
                return;
            }
            if asked == Asked::Sync {
                self.clients[who].must_join = true;
            }
        }
        if client.must_join || client.member.is_none() {
            return self.join(who);
        }
        if client.owned.is_none() && !client.stuck {
            return self.sync(who);
        }
        let command = Command::Heartbeat(Heartbeat {
            group: client.group,
            member: client.member.expect("checked"),
            instance: client.instance,
            generation: client.generation,
        });
        let (ticket, replies) = self.host.decide(command);
        let lost = self.chance(10);
        for (answered, reply) in &replies {
            if let Reply::Heartbeat(result) = reply
                && *answered == ticket
                && !lost
            {
                self.hear(who, *result);
            }
        }
        self.take(replies);
    }

    fn hear(&mut self, who: usize, result: Result<(), HeartbeatError>) {
        let client = &mut self.clients[who];
        match result {
            Ok(()) => {}
            Err(HeartbeatError::RebalanceInProgress | HeartbeatError::IllegalGeneration) => {
                client.must_join = true;
                client.owned = None;
            }
            Err(HeartbeatError::UnknownMember | HeartbeatError::FencedInstance) => {
                client.member = None;
                client.must_join = true;
                client.owned = None;
            }
            Err(HeartbeatError::InvalidGroupId) => panic!("the group has a name"),
        }
    }

    fn join(&mut self, who: usize) {
        let flip = self.chance(20);
        let client = &mut self.clients[who];
        client.owned = None;
        let names: &[&str] = match (client.old_protocol, flip) {
            (true, _) => &["range"],
            (false, true) => &["sticky", "range"],
            (false, false) => &["range", "sticky"],
        };
        let protocols = names.iter().map(|name| Protocol {
            name: (*name).to_owned(),
            metadata: subscription("t"),
        });
        let command = Command::Join(Join {
            group: client.group.clone(),
            member: client.member.clone(),
            instance: client.instance.clone(),
            client_id: client.name.clone(),
            client_host: "/10.0.0.1".to_owned(),
            protocol_type: "consumer".to_owned(),
            protocols: protocols.collect(),
            session_timeout: SESSION,
            rebalance_timeout: REBALANCE,
            member_id_required: !client.old_protocol,
            may_skip_assignment: !client.old_protocol,
            reason: None,
        });
        self.call(who, Asked::Join, command);
    }

    fn sync(&mut self, who: usize) {
        let client = &self.clients[who];
        let mut assignments = Vec::new();
        if let Some(members) = &client.leads {
            for (place, member) in members.iter().enumerate() {
                let part = (0..PARTITIONS).filter(|p| *p as usize % members.len() == place);
                assignments.push((member.clone(), part.collect::<Vec<u8>>().into()));
            }
        }
        let command = Command::Sync(Sync {
            group: client.group.clone(),
            member: client.member.clone().expect("it has joined"),
            instance: client.instance.clone(),
            generation: client.generation,
            protocol_type: None,
            protocol: None,
            assignments,
        });
        self.call(who, Asked::Sync, command);
    }

    fn call(&mut self, who: usize, asked: Asked, command: Command) {
        let now = self.host.now;
        let (ticket, replies) = self.host.decide(command);
        let client = &mut self.clients[who];
        client.waiting = Some((ticket, asked, now));
        client.deletions = self
            .offsets
            .get(&client.group)
            .map_or(0, |known| known.deletions);
        assert!(
            self.host.waiting.contains(&ticket) || replies.iter().any(|(to, _)| *to == ticket),
            "a call is answered or waits"
        );
        self.take(replies);
    }

    fn commit(&mut self, who: usize) {
        let client = self.clients[who].clone();
        if client.owned.is_none() && !self.chance(4) {
            return;
        }
        let value = self.next_offset;
        self.next_offset += 1;
        let partition = CommitPartition {
            partition: PartitionIndex(0),
            offset: Offset(value),
            leader_epoch: None,
            metadata: String::new(),
        };
        let command = Command::CommitOffsets(CommitOffsets {
            group: client.group.clone(),
            generation: client.member.as_ref().map(|_| client.generation),
            member: client.member,
            instance: client.instance,
            understands_epochs: true,
            retention: None,
            topics: vec![CommitTopic {
                topic: topic(),
                partitions: vec![partition],
            }],
        });
        let (ticket, replies) = self.host.decide(command);
        let offsets = self.offsets.entry(client.group.clone()).or_default();
        offsets.possible.insert(value);
        let commit = (client.group, value, offsets.deletions);
        self.commits.insert(ticket, commit);
        self.take(replies);
    }

    fn fetch(&mut self, who: usize) {
        let group = self.clients[who].group.clone();
        let command = Command::FetchOffsets(FetchOffsets {
            group: group.clone(),
            topics: Some(vec![FetchTopic {
                topic: topic(),
                partitions: vec![PartitionIndex(0)],
            }]),
            member: None,
            from: None,
            require_stable: true,
        });
        let offsets = self.offsets.entry(group.clone()).or_default();
        let fetch = (group, offsets.sure, offsets.deletions);
        let (ticket, replies) = self.host.decide(command);
        self.fetches.insert(ticket, fetch);
        self.take(replies);
    }

    fn leave(&mut self, who: usize) {
        let client = self.clients[who].clone();
        let Some(member) = client.member else {
            return;
        };
        let leaving = Leaving {
            member: Some(member),
            instance: client.instance,
            reason: None,
        };
        let command = Command::Leave(Leave {
            group: client.group,
            members: vec![leaving],
        });
        let (_, replies) = self.host.decide(command);
        self.forget(who);
        self.take(replies);
    }

    fn forget(&mut self, who: usize) {
        let client = &mut self.clients[who];
        client.member = None;
        client.owned = None;
        client.leads = None;
        client.waiting = None;
        client.must_join = true;
    }

    /// An administrator deletes the group. Until that is refused, it may have happened to all that
    /// was committed before.
    fn delete(&mut self, who: usize) {
        let group = self.clients[who].group.clone();
        let groups = vec![group.clone()];
        let (ticket, replies) = self.host.decide(Command::Delete { groups });
        let refused = replies.iter().any(|(to, reply)| {
            let refused = |(_, result): &(_, Result<_, _>)| result.is_err();
            *to == ticket && matches!(reply, Reply::Delete(all) if all.iter().any(refused))
        });
        if !refused {
            let offsets = self.offsets.entry(group.clone()).or_default();
            offsets.sure = 0;
            offsets.deletions += 1;
            self.given.retain(|(of, _), _| *of != group);
        }
        self.take(replies);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.host.now.plus(time);
        while self.host.now < end {
            for who in 0..self.clients.len() {
                let client = &self.clients[who];
                if client.stuck && client.waiting.is_none() && client.member.is_some() {
                    self.act(who);
                }
            }
            let next = end.min(self.host.now.plus(SESSION / 2));
            while let Some(replies) = self.host.step_to(next) {
                self.take(replies);
            }
        }
    }

    fn crash(&mut self) {
        let open = (self.host.log.len() - self.host.committed) as u64;
        let end = self.host.committed + self.random.below(open + 1) as usize;
        let compact = self.chance(2);
        self.host.crash(end, compact);
        for client in &mut self.clients {
            if client
                .waiting
                .take()
                .is_some_and(|(_, asked, _)| asked == Asked::Sync)
            {
                client.must_join = true;
            }
        }
        self.commits.clear();
        self.fetches.clear();
        // Generations after the last kept one may be given out again: under them nobody was given
        // anything.
        for group in GROUPS.map(GroupId::new) {
            let kept = self.host.coordinator.groups.get(&group);
            let kept = kept
                .and_then(|group| group.kept.as_ref())
                .map(|kept| kept.generation);
            let last = self
                .given
                .keys()
                .rfind(|(of, _)| *of == group)
                .map(|(_, last)| *last);
            assert!(
                last <= kept || last.is_none() || kept.is_none(),
                "{group}: told, then lost"
            );
        }
    }

    /// Callers see their answers; some get lost on the way.
    fn take(&mut self, replies: Vec<(Ticket, Reply)>) {
        for (ticket, reply) in replies {
            let lost = self.chance(25);
            match reply {
                Reply::CommitOffsets(result) => self.on_committed(ticket, result.is_ok(), lost),
                Reply::FetchOffsets(Ok(fetched)) => self.on_fetched(ticket, &fetched.topics),
                Reply::Join(result) => {
                    if let Some(who) = self.caller(ticket, lost) {
                        self.on_joined(who, result);
                    }
                }
                Reply::Sync(result) => {
                    if let Some(who) = self.caller(ticket, lost) {
                        self.on_synced(who, result);
                    }
                }
                Reply::Heartbeat(_)
                | Reply::Leave(_)
                | Reply::DeleteOffsets(_)
                | Reply::ConsumerHeartbeat(_)
                | Reply::DescribeConsumers(_)
                | Reply::FetchOffsets(Err(_))
                | Reply::Delete(_)
                | Reply::List(_)
                | Reply::Describe(_) => {}
            }
        }
    }

    /// Who waits for this answer, unless it gets lost.
    fn caller(&mut self, ticket: Ticket, lost: bool) -> Option<usize> {
        let waits = |client: &Client| client.waiting.is_some_and(|(other, ..)| other == ticket);
        let who = self.clients.iter().position(waits)?;
        self.clients[who].waiting = None;
        if lost {
            self.clients[who].must_join = true;
            return None;
        }
        Some(who)
    }

    fn on_joined(&mut self, who: usize, result: Result<Joined, JoinRefused>) {
        let client = &mut self.clients[who];
        match result {
            Ok(joined) => {
                if let Some(known) = &client.member {
                    assert_eq!(*known, joined.member, "a member keeps its id");
                }
                let leads = joined.leader == joined.member && !joined.skip_assignment;
                client.leads = leads.then(|| {
                    let members = joined.members.into_iter();
                    members.map(|member| member.member).collect()
                });
                client.member = Some(joined.member);
                client.generation = joined.generation;
                client.must_join = false;
            }
            Err(refused) => match refused.error {
                JoinError::MemberIdRequired => client.member = refused.member,
                JoinError::UnknownMember | JoinError::GroupFull | JoinError::FencedInstance => {
                    client.member = None;
                }
                JoinError::Superseded => panic!("one that is superseded is not waited for"),
                JoinError::InconsistentProtocol => {}
                JoinError::InvalidGroupId | JoinError::InvalidSessionTimeout => {
                    panic!("the call was sound: {refused:?}");
                }
            },
        }
    }

    fn on_synced(&mut self, who: usize, result: Result<Synced, SyncError>) {
        let client = &mut self.clients[who];
        match result {
            Ok(synced) => {
                self.rounds += 1;
                let known = self.offsets.get(&client.group);
                if known.map_or(0, |known| known.deletions) != client.deletions {
                    client.must_join = true;
                    return;
                }
                let owner = client.instance.as_ref().map_or_else(
                    || client.member.as_ref().expect("it synced").to_string(),
                    ToString::to_string,
                );
                let round = (client.group.clone(), client.generation);
                let given = self.given.entry(round).or_default();
                for partition in synced.assignment.iter() {
                    let other = given.insert(*partition, owner.clone());
                    let other = other.unwrap_or_else(|| owner.clone());
                    assert_eq!(
                        other, owner,
                        "G1: {partition} has one owner in a generation"
                    );
                }
                client.owned = Some(synced.assignment.iter().copied().collect());
            }
            Err(SyncError::UnknownMember | SyncError::FencedInstance) => {
                client.member = None;
                client.must_join = true;
            }
            Err(SyncError::IllegalGeneration | SyncError::RebalanceInProgress) => {
                client.must_join = true;
            }
            Err(error) => panic!("the call was sound: {error:?}"),
        }
    }

    fn on_committed(&mut self, ticket: Ticket, done: bool, lost: bool) {
        let Some((group, value, deletions)) = self.commits.remove(&ticket) else {
            return;
        };
        let offsets = self.offsets.entry(group).or_default();
        if !done {
            offsets.possible.remove(&value);
        } else if !lost && offsets.deletions == deletions {
            offsets.sure = offsets.sure.max(value);
        }
    }

    fn on_fetched(&mut self, ticket: Ticket, topics: &[FetchedTopic]) {
        let Some((group, sure, deletions)) = self.fetches.remove(&ticket) else {
            return;
        };
        let offset = topics[0].partitions[0]
            .1
            .as_ref()
            .map_or(0, |kept| kept.offset.0);
        let offsets = self.offsets.entry(group).or_default();
        let known = offset == 0 || offsets.possible.contains(&offset);
        assert!(known, "G2: {offset} was never accepted");
        if offsets.deletions == deletions && !self.expires {
            assert!(
                offset >= sure,
                "G2: {offset} is read after {sure} was acknowledged"
            );
            offsets.sure = offsets.sure.max(offset);
        }
    }

    /// G5: no call waits for longer than a round may take.
    fn prove_answers_in_time(&self) {
        let longest = REBALANCE + Duration::from_secs(1);
        for client in &self.clients {
            if let Some((ticket, asked, since)) = client.waiting
                && self.host.waiting.contains(&ticket)
                && self.host.commits_at_once
            {
                let waited = self.host.now.since(since);
                assert!(waited <= longest, "G5: {asked:?} waits for {waited:?}");
            }
        }
    }

    /// G4: a machine that replays the log, compacted or not, is the same.
    fn prove_replay(&self) {
        let hash = self.host.coordinator.hash();
        assert_eq!(
            self.host.rebuilt(&self.host.log).hash(),
            hash,
            "G4: replayed"
        );
        let compacted = self.host.compacted();
        assert_eq!(self.host.rebuilt(&compacted).hash(), hash, "G4: compacted");
    }
}

fn topic() -> TopicReference {
    TopicReference {
        name: TopicName::new("t").expect("a name"),
        id: TopicId([1; 16]),
    }
}

fn run(seed: u64) -> (u64, u64) {
    let mut simulation = Simulation::new(seed);
    for _ in 0..STEPS {
        simulation.step();
    }
    simulation.prove_replay();
    let kept = simulation.host.log.iter().filter(|record| {
        let value = record.value.as_deref();
        matches!(Key::decode(&record.key), Ok(Key::Group { .. }))
            && value.is_some_and(|value| GroupValue::decode(value).is_ok())
    });
    (simulation.rounds, kept.count() as u64)
}

#[test]
fn simulation_keeps_every_promise_to_consumers() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        run(seed.parse().expect("a number"));
        return;
    }
    let seeds = std::env::var("SIM_SEEDS").map_or(SEEDS, |count| count.parse().expect("a number"));
    let (mut synced, mut kept) = (0, 0);
    for seed in 0..seeds {
        let run = std::panic::catch_unwind(|| run(seed));
        let Ok((more, rounds)) = run else {
            panic!("SIM_SEED={seed} cargo test -p klamm-coord simulation");
        };
        synced += more;
        kept += rounds;
    }
    assert!(
        synced > 10 * seeds && kept > 4 * seeds,
        "little happened: {synced}, {kept}"
    );
}
