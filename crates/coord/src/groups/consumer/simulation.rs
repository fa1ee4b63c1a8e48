//! Modelled consumers of the new protocol against a coordinator whose process dies, whose log is cut
//! off and compacted, and whose answers get lost, while topics come, grow and go. After every input
//! the tests' host proves the machine itself (G3, G4, G5, G8); here is proved what clients see: no
//! partition is worked on by two (G1), epochs only grow, what was committed stays (G2), and when all
//! is quiet every partition has exactly one reader.
//!
//! A run is repeated by its seed: `SIM_SEED=7 cargo test -p klamm-coord consumers_simulation`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klamm_model::{Instant, Offset, PartitionIndex, Random, TopicId, TopicName};

use super::super::api::{
    Command, CommitOffsets, CommitPartition, CommitTopic, FetchOffsets, GroupState, Reply,
    TopicReference,
};
use super::super::names::{GenerationId, GroupId, GroupInstanceId, MemberId};
use super::super::testing::Host;
use super::super::{GroupConfig, Ticket};
use super::api::{
    ConsumerHeartbeat, ConsumerHeartbeatDone, ConsumerHeartbeatError, HeartbeatPatience,
    MemberEpoch, TopicPartitions,
};
use super::classic_simulation::ClassicClient;
use super::config::MigrationPolicy;
use super::testing::TestTopics;

/// How many runs a test makes.
const SEEDS: u64 = 100;

/// How many things happen in one run before all is quiet.
const STEPS: u64 = 300;

/// For how long a consumer works without an answer: less than a session lasts.
const PATIENCE: Duration = Duration::from_secs(40);

const GROUPS: [&str; 2] = ["g", "h"];
const NAMES: [&str; 4] = ["ta", "tb", "tc", "u"];

type Partition = (TopicId, i32);

/// What a modelled consumer believes.
#[derive(Clone, Debug)]
struct Client {
    group: GroupId,
    instance: Option<GroupInstanceId>,
    /// Another one for each process.
    id: MemberId,
    alive: bool,
    topics: Vec<&'static str>,
    regex: Option<&'static str>,
    epoch: i32,
    /// What it works on.
    owned: BTreeSet<Partition>,
    /// What it was told last that it may have.
    target: BTreeSet<Partition>,
    /// What it said last that it has.
    told: Option<BTreeSet<Partition>>,
    /// The next heartbeat says everything, as the first one does and one after a failure.
    full: bool,
    /// It reads other topics since it said everything: an answer does not change that.
    reads_anew: bool,
    due: Instant,
    waiting: Option<(Ticket, Option<BTreeSet<Partition>>)>,
    /// When a heartbeat was answered last. Without an answer for too long it stops working: by then
    /// others may have been given what it has.
    heard: Instant,
    /// It takes this long to let go of partitions.
    slow: u64,
    let_go_at: Option<Instant>,
    range: bool,
}

struct Simulation {
    host: Host,
    random: Random,
    clients: Vec<Client>,
    classics: Vec<ClassicClient>,
    commits: BTreeMap<Ticket, (GroupId, Partition, i64)>,
    /// What was acknowledged.
    sure: BTreeMap<(GroupId, Partition), i64>,
    /// What was asked for.
    asked: BTreeMap<(GroupId, Partition), i64>,
    next_offset: i64,
    next_process: u64,
    /// Of topics of one name.
    versions: BTreeMap<&'static str, u8>,
    moves: u64,
    /// A fault on purpose: consumers say that they have let go before they have.
    hasty: bool,
    /// Some consumers speak the classic protocol.
    mixed: bool,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut config = GroupConfig::default();
        config.consumer.assignment_interval = Duration::from_millis(random.below(3) * 500);
        config.consumer.members_max = 3 + random.below(4) as usize;
        config.consumer.migration = match random.below(8) {
            0 => MigrationPolicy::Upgrade,
            1 => MigrationPolicy::Downgrade,
            2 => MigrationPolicy::Disabled,
            _ => MigrationPolicy::Bidirectional,
        };
        config.initial_rebalance_delay = Duration::from_secs(random.below(2));
        let mut host = Host::new(config);
        host.commits_at_once = random.below(2) == 0;
        let mut simulation = Self {
            host,
            random,
            clients: Vec::new(),
            classics: GROUPS
                .iter()
                .chain(&GROUPS)
                .map(|group| ClassicClient::new(group))
                .collect(),
            commits: BTreeMap::new(),
            sure: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_offset: 1,
            next_process: 1,
            versions: BTreeMap::new(),
            moves: 0,
            hasty: false,
            mixed: seed % 2 == 1,
        };
        simulation.change_topics();
        for number in 0..8_u64 {
            let instance = (number >= 5).then(|| GroupInstanceId::new(&format!("s{number}")));
            let client = Client {
                group: GroupId::new(GROUPS[(number % 2) as usize]),
                instance,
                id: MemberId::new(""),
                alive: false,
                topics: Vec::new(),
                regex: None,
                epoch: 0,
                owned: BTreeSet::new(),
                target: BTreeSet::new(),
                told: None,
                full: true,
                reads_anew: false,
                due: Instant(0),
                waiting: None,
                heard: Instant(0),
                slow: 0,
                let_go_at: None,
                range: simulation.random.below(5) == 0,
            };
            simulation.clients.push(client);
        }
        simulation
    }

    fn one_in(&mut self, end: u64) -> bool {
        self.random.below(end) == 0
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0 => self.change_topics(),
            1 => self.kill(),
            2 => self.leave(),
            3..=6 => self.start(),
            7 => self.subscribe_anew(),
            8 => self.crash(),
            9..=11 => self.commit_offset(),
            14 | 15 => {
                let who = self.random.below(self.classics.len() as u64) as usize;
                let kills = self.one_in(2);
                let now = self.host.now;
                let client = &mut self.classics[who];
                if client.alive && kills {
                    client.kill();
                } else if !client.alive && self.mixed {
                    client.start(now);
                }
            }
            12 => {
                let end = self.host.log.len();
                let replies = self.host.commit(end);
                self.take(replies);
            }
            13 => {
                let by = Duration::from_secs(self.random.below(70));
                self.pass(by);
            }
            _ => {
                let by = Duration::from_millis(self.random.below(900));
                self.pass(by);
            }
        }
        self.prove();
    }

    /// Time passes, and clients whose heartbeat is due send it.
    fn pass(&mut self, by: Duration) {
        let end = self.host.now.plus(by);
        loop {
            let alive = self
                .clients
                .iter()
                .enumerate()
                .filter(|(_, client)| client.alive);
            let next = alive.map(|(who, client)| (client.next_event(), who));
            let classics = self
                .classics
                .iter()
                .enumerate()
                .filter(|(_, client)| client.alive);
            let classics = classics.map(|(who, client)| (client.next_event(), 100 + who));
            let next = next.chain(classics).min();
            let Some((at, who)) = next.filter(|(at, _)| *at <= end) else {
                break;
            };
            while let Some(replies) = self.host.step_to(at.max(self.host.now)) {
                self.take(replies);
            }
            if who >= 100 {
                self.act_classic(who - 100);
            } else {
                self.act(who);
            }
            self.prove();
        }
        while let Some(replies) = self.host.step_to(end) {
            self.take(replies);
        }
    }

    fn act_classic(&mut self, who: usize) {
        let now = self.host.now;
        let Some(command) = self.classics[who].act(now) else {
            return;
        };
        if std::env::var_os("SIM_TRACE").is_some() {
            eprintln!("{now:?} {command:?}");
        }
        let (ticket, replies) = self.host.decide(command);
        self.classics[who].wait(ticket);
        self.take(replies);
    }

    fn act(&mut self, who: usize) {
        let now = self.host.now;
        let client = &mut self.clients[who];
        if client.heard.plus(PATIENCE) <= now {
            client.forget();
            client.heard = now;
            client.full = true;
        }
        if client.let_go_at.is_some_and(|at| at <= now) {
            client.let_go_at = None;
            client.owned = client.target.clone();
            client.due = now;
        }
        if client.due <= now {
            self.heartbeat(who);
        }
    }

    fn heartbeat(&mut self, who: usize) {
        let now = self.host.now;
        let lost = self.one_in(15);
        let client = &mut self.clients[who];
        // One that is waited for in vain is sent again, in full.
        if client.waiting.take().is_some() {
            client.full = true;
        }
        client.due = now.plus(Duration::from_secs(5));
        let joins = client.epoch == 0;
        let full = joins || client.full;
        client.reads_anew &= !full;
        let shown = match self.hasty {
            true => client.owned.intersection(&client.target).copied().collect(),
            false => client.owned.clone(),
        };
        let says = full || client.told.as_ref() != Some(&shown);
        let owned = if joins { BTreeSet::new() } else { shown };
        let mut by_topic: BTreeMap<TopicId, Vec<PartitionIndex>> = BTreeMap::new();
        for (topic, partition) in &owned {
            by_topic
                .entry(*topic)
                .or_default()
                .push(PartitionIndex(*partition));
        }
        let by_topic = by_topic.into_iter();
        let by_topic = by_topic.map(|(topic, partitions)| TopicPartitions { topic, partitions });
        let topics: Vec<String> = client.topics.iter().map(|name| name.to_string()).collect();
        let command = Command::ConsumerHeartbeat(ConsumerHeartbeat {
            group: client.group.clone(),
            member: client.id.clone(),
            member_id_required: true,
            epoch: MemberEpoch(client.epoch),
            instance: client.instance.clone(),
            rack: None,
            rebalance_timeout_ms: if full { 60_000 } else { -1 },
            client_id: "c".to_owned(),
            client_host: "/::1".to_owned(),
            topics: full.then_some(topics),
            regex: full.then(|| client.regex.unwrap_or("").to_owned()),
            assignor: (full && client.range).then(|| "range".to_owned()),
            owned: says.then(|| by_topic.collect()),
            patience: HeartbeatPatience::Apart,
        });
        if std::env::var_os("SIM_TRACE").is_some() {
            eprintln!("{now:?} {command:?}");
        }
        let told = says.then_some(owned);
        let (ticket, replies) = self.host.decide(command);
        let client = &mut self.clients[who];
        client.waiting = Some((ticket, told));
        if lost {
            client.waiting = Some((Ticket(0), None));
            client.due = now.plus(Duration::from_millis(500));
        }
        self.take(replies);
    }

    fn take(&mut self, replies: Vec<(Ticket, Reply)>) {
        for (ticket, reply) in replies {
            if std::env::var_os("SIM_TRACE").is_some() {
                eprintln!("{:?} {ticket:?} {reply:?}", self.host.now);
            }
            let (now, topics) = (self.host.now, self.host.topics.clone());
            let mut classics = self.classics.iter_mut().filter(|client| client.alive);
            if classics.any(|client| client.take(ticket, &reply, now, &topics)) {
                continue;
            }
            match reply {
                Reply::ConsumerHeartbeat(result) => {
                    let waits = |client: &Client| {
                        client
                            .waiting
                            .as_ref()
                            .is_some_and(|(other, _)| *other == ticket)
                    };
                    let Some(who) = self.clients.iter().position(waits) else {
                        continue;
                    };
                    let told = self.clients[who].waiting.take().and_then(|(_, told)| told);
                    match result {
                        Ok(done) => self.on_heard(who, done, told),
                        Err(refused) => self.on_refused(who, refused.error),
                    }
                }
                Reply::CommitOffsets(Ok(_)) => {
                    if let Some((group, partition, offset)) = self.commits.remove(&ticket) {
                        let sure = self.sure.entry((group, partition)).or_default();
                        *sure = offset.max(*sure);
                    }
                }
                _ => {}
            }
        }
    }

    fn on_heard(
        &mut self,
        who: usize,
        done: ConsumerHeartbeatDone,
        told: Option<BTreeSet<Partition>>,
    ) {
        let now = self.host.now;
        let client = &mut self.clients[who];
        if !client.alive {
            return;
        }
        assert!(
            done.epoch.0 >= client.epoch,
            "G3: {client:?} is told {done:?}"
        );
        client.epoch = done.epoch.0;
        client.heard = now;
        client.full = client.reads_anew;
        client.told = told.or_else(|| client.told.take());
        client.due = now.plus(done.heartbeat_interval);
        let Some(given) = done.assignment else {
            return;
        };
        let given = given.into_iter().flat_map(|given| {
            let topic = given.topic;
            given.partitions.into_iter().map(move |at| (topic, at.0))
        });
        client.target = given.collect();
        self.moves += 1;
        // What is new is begun only when what is old is done.
        if client.owned.is_subset(&client.target) {
            client.owned = client.target.clone();
            client.let_go_at = None;
            if client.told.as_ref() != Some(&client.owned) {
                client.due = now;
            }
        } else if client.let_go_at.is_none() {
            client.let_go_at = Some(now.plus(Duration::from_millis(client.slow)));
        }
    }

    fn on_refused(&mut self, who: usize, error: ConsumerHeartbeatError) {
        let now = self.host.now;
        let client = &mut self.clients[who];
        client.due = now.plus(Duration::from_secs(1));
        client.full = true;
        match error {
            ConsumerHeartbeatError::FencedMemberEpoch
            | ConsumerHeartbeatError::UnknownMember
            | ConsumerHeartbeatError::GroupNotFound => client.forget(),
            ConsumerHeartbeatError::FencedInstance => {
                client.forget();
                client.alive = false;
            }
            ConsumerHeartbeatError::UnreleasedInstance | ConsumerHeartbeatError::GroupFull => {}
            other => panic!("the call was sound: {other:?}"),
        }
    }

    fn start(&mut self) {
        let who = self.random.below(self.clients.len() as u64) as usize;
        if self.clients[who].alive {
            return;
        }
        let slow = self.random.below(3) * 2_000;
        self.next_process += 1;
        let client = &mut self.clients[who];
        client.forget();
        client.id = MemberId::new(&format!("m{}", self.next_process));
        client.alive = true;
        client.full = true;
        client.slow = slow;
        client.due = self.host.now;
        client.heard = self.host.now;
        self.subscribe(who);
    }

    fn subscribe(&mut self, who: usize) {
        let different = self.one_in(3);
        let regex = self.one_in(4);
        let some = self.random.below(15) + 1;
        let client = &mut self.clients[who];
        client.topics = if different {
            let chosen = NAMES
                .iter()
                .enumerate()
                .filter(|(at, _)| some >> at & 1 == 1);
            chosen.map(|(_, name)| *name).collect()
        } else {
            NAMES.to_vec()
        };
        client.regex = regex.then_some("t.*");
        if regex {
            client.topics.clear();
        }
    }

    fn subscribe_anew(&mut self) {
        let who = self.random.below(self.clients.len() as u64) as usize;
        if self.clients[who].alive {
            self.subscribe(who);
            self.clients[who].full = true;
            self.clients[who].reads_anew = true;
        }
    }

    fn kill(&mut self) {
        let who = self.random.below(self.clients.len() as u64) as usize;
        self.clients[who].forget();
        self.clients[who].alive = false;
    }

    fn leave(&mut self) {
        let who = self.random.below(self.clients.len() as u64) as usize;
        let client = &mut self.clients[who];
        if !client.alive || client.epoch == 0 {
            return;
        }
        client.forget();
        client.alive = false;
        let back = client.instance.is_some() && self.random.below(3) > 0;
        let client = &self.clients[who];
        let epoch = if back {
            MemberEpoch::LEAVE_STATIC
        } else {
            MemberEpoch::LEAVE
        };
        let command = Command::ConsumerHeartbeat(ConsumerHeartbeat {
            group: client.group.clone(),
            member: client.id.clone(),
            member_id_required: true,
            epoch,
            instance: client.instance.clone(),
            rack: None,
            rebalance_timeout_ms: -1,
            client_id: "c".to_owned(),
            client_host: "/::1".to_owned(),
            topics: None,
            regex: None,
            assignor: None,
            owned: None,
            patience: HeartbeatPatience::Apart,
        });
        let (_, replies) = self.host.decide(command);
        self.take(replies);
    }

    fn crash(&mut self) {
        let lost = self.host.log.len() - self.host.committed;
        let keeps = self.random.below(lost as u64 + 1) as usize;
        let compact = self.one_in(2);
        let end = self.host.committed + keeps;
        let end = self.host.cuts.range(..=end).next_back().copied();
        let end = end.unwrap_or(0).max(self.host.committed);
        self.host.crash(end, compact);
        for client in &mut self.clients {
            if client.waiting.take().is_some() {
                client.full = true;
                client.due = self.host.now;
            }
        }
        for client in &mut self.classics {
            client.on_crash(self.host.now);
        }
        self.commits.clear();
        self.host.commits_at_once = self.one_in(2);
    }

    fn change_topics(&mut self) {
        let name = NAMES[self.random.below(NAMES.len() as u64) as usize];
        let mut topics = self.host.topics.clone();
        match topics.0.get(name).copied() {
            Some(_) if self.random.below(3) == 0 => {
                topics.0.remove(name);
            }
            Some((id, partitions)) => {
                let more = partitions + 1 + self.random.below(3) as u32;
                topics.0.insert(name.to_owned(), (id, more.min(12)));
            }
            None => {
                let version = self.versions.entry(name).or_default();
                *version += 1;
                let partitions = 1 + self.random.below(6) as u32;
                let id = TestTopics::id(name, *version);
                topics.0.insert(name.to_owned(), (id, partitions));
            }
        }
        let replies = self.host.see_topics(topics);
        self.take(replies);
    }

    fn commit_offset(&mut self) {
        let who = self.random.below(self.clients.len() as u64) as usize;
        let client = self.clients[who].clone();
        let nth = self.random.below(12) as usize;
        let Some((id, partition)) = client.owned.iter().nth(nth).copied() else {
            return;
        };
        let Some((name, _)) = self.host.topics.0.iter().find(|(_, topic)| topic.0 == id) else {
            return;
        };
        let offset = self.next_offset;
        self.next_offset += 1;
        let command = Command::CommitOffsets(CommitOffsets {
            group: client.group.clone(),
            member: Some(client.id.clone()),
            instance: None,
            generation: Some(GenerationId(client.epoch)),
            understands_epochs: true,
            retention: None,
            topics: vec![CommitTopic {
                topic: TopicReference {
                    name: TopicName::new(name).expect("a name"),
                    id,
                },
                partitions: vec![CommitPartition {
                    partition: PartitionIndex(partition),
                    offset: Offset(offset),
                    leader_epoch: None,
                    metadata: String::new(),
                }],
            }],
        });
        let at = (client.group.clone(), (id, partition));
        self.asked.insert(at, offset);
        let (ticket, replies) = self.host.decide(command);
        let commit = (client.group, (id, partition), offset);
        self.commits.insert(ticket, commit);
        self.take(replies);
    }

    /// G1: nobody works on what another one works on.
    fn prove(&self) {
        let mut owners: BTreeMap<(&GroupId, Partition), &MemberId> = BTreeMap::new();
        for client in self.clients.iter().filter(|client| client.alive) {
            for partition in &client.owned {
                let other = owners.insert((&client.group, *partition), &client.id);
                assert_eq!(other, None, "G1: {} works on {partition:?} too", client.id);
            }
        }
        for group in GROUPS {
            let group = GroupId::new(group);
            let mut seen: BTreeSet<Partition> = BTreeSet::new();
            for partition in self.owned_by_classics(&group) {
                assert!(
                    seen.insert(partition),
                    "G1: two classic ones work on {partition:?}"
                );
                let other = owners.get(&(&group, partition));
                assert_eq!(other, None, "G1: a classic one works on {partition:?} too");
            }
        }
    }

    /// What is worked on by those of the classic protocol.
    fn owned_by_classics<'s>(
        &'s self,
        group: &'s GroupId,
    ) -> impl Iterator<Item = Partition> + use<'s> {
        let classics = self.classics.iter();
        let classics = classics.filter(move |client| client.alive && client.group == *group);
        classics.flat_map(|client| client.owned.iter().copied())
    }

    /// What was acknowledged is there, and nothing that was not asked for (G2).
    fn prove_offsets(&mut self) {
        let sure = self.sure.clone();
        for ((group, (id, partition)), sure) in sure {
            let topics = self.host.topics.0.iter();
            let named = topics.clone().find(|(_, topic)| topic.0 == id);
            let Some((name, _)) = named.filter(|_| *self.versions.values().max().unwrap_or(&0) < 2)
            else {
                continue;
            };
            let command = Command::FetchOffsets(FetchOffsets {
                from: None,
                group: group.clone(),
                topics: Some(vec![super::super::api::FetchTopic {
                    topic: TopicReference {
                        name: TopicName::new(name).expect("a name"),
                        id,
                    },
                    partitions: vec![PartitionIndex(partition)],
                }]),
                member: None,
                require_stable: true,
            });
            let (_, replies) = self.host.decide(command);
            let Some((_, Reply::FetchOffsets(Ok(found)))) = replies.first() else {
                panic!("it is answered: {replies:?}");
            };
            let kept = found.topics[0].partitions[0].1.as_ref();
            let kept = kept.map_or(0, |kept| kept.offset.0);
            let asked = self.asked[&(group, (id, partition))];
            assert!(
                (sure..=asked).contains(&kept),
                "G2: {kept}, {sure}, {asked}"
            );
        }
    }

    /// All is quiet: everyone gets what it shall have.
    fn settle(&mut self) {
        let end = self.host.log.len();
        let replies = self.host.commit(end);
        self.take(replies);
        self.host.commits_at_once = true;
        self.pass(Duration::from_secs(200));
        for group in GROUPS {
            let group = GroupId::new(group);
            let members = self
                .clients
                .iter()
                .filter(|client| client.alive && client.group == group && client.epoch > 0);
            let members: Vec<&Client> = members.collect();
            if members.is_empty() {
                continue;
            }
            let kept = &self.host.coordinator.groups[&group];
            let classics = self.classics.iter();
            let mut classics =
                classics.filter(|client| client.alive && client.joined && client.group == group);
            let has_classics = classics.next().is_some();
            assert_eq!(
                kept.state(),
                GroupState::Stable,
                "{group}: {:?}",
                kept.consumer
            );
            let mut expected = BTreeSet::new();
            for (name, (id, partitions)) in &self.host.topics.0 {
                let read = members.iter().any(|client| {
                    client.topics.contains(&name.as_str())
                        || client.regex.is_some() && name.starts_with('t')
                });
                if read || has_classics && self.may_mix() {
                    let all = 0..i32::try_from(*partitions).expect("few");
                    expected.extend(all.map(|partition| (*id, partition)));
                }
            }
            let owned: BTreeSet<Partition> = members
                .iter()
                .flat_map(|client| client.owned.iter().copied())
                .chain(self.owned_by_classics(&group))
                .collect();
            assert_eq!(
                owned, expected,
                "{group}: all is worked on, and nothing else"
            );
        }
    }

    /// Whether those of the classic protocol may be in a group of the other.
    fn may_mix(&self) -> bool {
        let config = &self.host.coordinator.config.consumer;
        config.migration != MigrationPolicy::Disabled
    }

    /// G4: a machine that replays the log, compacted or not, is the same.
    fn prove_replay(&self) {
        let hash = self.host.coordinator.hash();
        let replayed = self.host.rebuilt(&self.host.log);
        assert_eq!(replayed.hash(), hash, "G4: replayed");
        let compacted = self.host.compacted();
        assert_eq!(self.host.rebuilt(&compacted).hash(), hash, "G4: compacted");
    }
}

impl Client {
    fn next_event(&self) -> Instant {
        let next = self.let_go_at.map_or(self.due, |at| at.min(self.due));
        next.min(self.heard.plus(PATIENCE))
    }

    /// The process begins anew, or is fenced.
    fn forget(&mut self) {
        self.epoch = 0;
        self.owned.clear();
        self.target.clear();
        self.told = None;
        self.let_go_at = None;
        self.waiting = None;
    }
}

fn run(seed: u64, hasty: bool) -> u64 {
    let mut simulation = Simulation::new(seed);
    simulation.hasty = hasty;
    for _ in 0..STEPS {
        simulation.step();
    }
    simulation.settle();
    simulation.prove_offsets();
    simulation.prove_replay();
    simulation.moves
}

#[test]
fn consumers_simulation_keeps_every_promise() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        run(seed.parse().expect("a number"), false);
        return;
    }
    let seeds = std::env::var("SIM_SEEDS").map_or(SEEDS, |count| count.parse().expect("a number"));
    let mut moves = 0;
    for seed in 0..seeds {
        let run = std::panic::catch_unwind(|| run(seed, false));
        let Ok(more) = run else {
            panic!("SIM_SEED={seed} cargo test -p klamm-coord consumers_simulation");
        };
        moves += more;
    }
    assert!(moves > 20 * seeds, "little happened: {moves}");
}

#[test]
fn what_members_leave_behind_is_read_where_the_log_ends_inside_of_their_going() {
    // What they had was taken back, and the epoch in which others were to have it was cut off.
    run(2182, false);
}

#[test]
fn one_that_comes_in_the_place_of_another_is_whole_where_the_log_ends_inside_of_its_coming() {
    // The other one had left for a while when it was to let go of partitions.
    run(4450, false);
}

#[test]
fn a_member_that_asks_for_its_part_long_after_it_joined_is_not_given_up() {
    // A member of the classic protocol joined, waited long for the answer and asked for its part at
    // once: it was taken for silent while it worked.
    run(79, false);
}

#[test]
fn the_simulation_finds_consumers_that_let_go_too_late() {
    let found = (0..50).any(|seed| std::panic::catch_unwind(|| run(seed, true)).is_err());
    assert!(found, "a fault that was made on purpose is found");
}
