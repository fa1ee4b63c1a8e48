//! A quorum in a bad world: messages are lost, repeated, delayed and reordered, nodes crash with
//! writes under way and come back with what the disk holds, links break, voters come and go,
//! leadership is handed over, logs are compacted. After every step the rules below must hold; at
//! the end the world heals, and a proposal must be committed everywhere.
//!
//! R1 one leader a term, R2/R4 same index same entry, R3 a leader holds everything committed,
//! R5 nothing goes back, R6 one vote a term, R7 no truncation below commit, R8 commit through the
//! own term, R10 a snapshot is the replay up to its position.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::{
    Append, Config, Entry, HardState, Index, Instant, Message, MessageBody, NodeId, Payload, Raft,
    Ready, Recovered, Role, Snapshot, Term, VoterChange, VoterSet,
};

const SEEDS: u64 = 800;
const STEPS: u64 = 2500;
const STEP: Duration = Duration::from_millis(10);
const NODES: i32 = 5;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    fn node(&mut self) -> NodeId {
        NodeId(1 + self.below(NODES as u64) as i32)
    }
}

#[derive(Clone)]
enum Write {
    Hard(HardState),
    Snapshot(Snapshot),
    Truncate(Index),
    Append(Append),
}

/// What survives a crash, and the writes under way, in order.
struct Disk {
    hard: HardState,
    snapshot: Option<Snapshot>,
    entries: Vec<Entry>,
    under_way: VecDeque<(Instant, Write)>,
}

impl Disk {
    fn apply(&mut self, write: &Write) {
        match write {
            Write::Hard(hard) => self.hard = *hard,
            Write::Snapshot(snapshot) => {
                self.snapshot = Some(snapshot.clone());
                self.entries.clear();
            }
            Write::Truncate(index) => self.entries.retain(|entry| entry.index <= *index),
            Write::Append(append) => self.entries.extend(append.entries.clone()),
        }
    }

    fn recovered(&self, first_voters: VoterSet) -> Recovered {
        Recovered {
            hard_state: self.hard,
            snapshot: self.snapshot.clone(),
            first_voters,
            entries: self.entries.clone(),
        }
    }
}

struct Node {
    raft: Option<Raft>,
    disk: Disk,
    /// The state machine: the hash of everything replayed.
    state: u64,
    /// What this node promised before any crash.
    exposed: Index,
    term_shown: Term,
    /// Commit index when the present reign began.
    reign_began_at: Option<(Term, Index)>,
}

/// How bad the world of one seed is: each has its own weather, so that rare mixes happen too.
struct Weather {
    crash: u64,
    restart: u64,
    breakage: u64,
    repair: u64,
    isolation: u64,
    loss: u64,
    repetition: u64,
    network_ms: u64,
    disk_ms: u64,
    proposals: u64,
    voters: u64,
    transfer: u64,
    compaction: u64,
}

impl Weather {
    fn new(random: &mut Random) -> Self {
        let network_ms = match random.below(4) {
            0 => 1000,
            1 => 300,
            _ => 60,
        };
        Self {
            crash: random.below(20),
            restart: 20 + random.below(200),
            breakage: random.below(40),
            repair: 2 + random.below(20),
            isolation: random.below(20),
            loss: random.below(300),
            repetition: random.below(300),
            network_ms,
            disk_ms: 1 + random.below(200),
            proposals: 50 + random.below(900),
            voters: random.below(60),
            transfer: random.below(20),
            compaction: random.below(60),
        }
    }
}

struct World {
    random: Random,
    weather: Weather,
    now: Instant,
    nodes: BTreeMap<NodeId, Node>,
    network: Vec<(Instant, Message)>,
    broken: BTreeSet<(NodeId, NodeId)>,
    healed: bool,
    first_voters: VoterSet,
    proposals: u64,
    committed: BTreeMap<Index, Entry>,
    state_at: BTreeMap<Index, u64>,
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
}

fn chain(state: u64, entry: &Entry) -> u64 {
    let bytes = entry.payload.to_bytes();
    bytes.iter().fold(state ^ entry.index.0, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn config(node: NodeId, seed: u64) -> Config {
    Config {
        election_timeout: Duration::from_millis(300),
        heartbeat_interval: Duration::from_millis(50),
        message_entries_max: 4,
        in_flight_max: 3,
        uncommitted_entries_max: 64,
        ..Config::new(node, seed)
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let weather = Weather::new(&mut random);
        let voters = 1 + random.below(NODES as u64) as i32;
        let first_voters = VoterSet::new((1..=voters).map(NodeId));
        let mut world = Self {
            random,
            weather,
            now: Instant(0),
            nodes: BTreeMap::new(),
            network: Vec::new(),
            broken: BTreeSet::new(),
            healed: false,
            first_voters,
            proposals: 0,
            committed: BTreeMap::new(),
            state_at: BTreeMap::from([(Index::ZERO, 0)]),
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
        };
        for node in (1..=NODES).map(NodeId) {
            let disk = Disk {
                hard: HardState::default(),
                snapshot: None,
                entries: Vec::new(),
                under_way: VecDeque::new(),
            };
            let fresh = Node {
                raft: None,
                disk,
                state: 0,
                exposed: Index::ZERO,
                term_shown: Term(0),
                reign_began_at: None,
            };
            world.nodes.insert(node, fresh);
            world.start(node);
        }
        world
    }

    fn start(&mut self, id: NodeId) {
        let seed = self.random.next();
        let node = self.nodes.get_mut(&id).expect("exists");
        let recovered = node.disk.recovered(self.first_voters.clone());
        node.state = recovered
            .snapshot
            .as_ref()
            .map_or(0, |snapshot| state_of(&snapshot.data));
        let raft = Raft::new(config(id, seed), recovered, self.now).expect("a log");
        assert!(
            raft.term() >= node.term_shown,
            "R5: node {id} forgot a term"
        );
        assert!(
            raft.last().index >= node.exposed,
            "R5: node {id} forgot what it had replayed"
        );
        node.raft = Some(raft);
        node.reign_began_at = None;
        self.drain(id);
    }

    fn crash(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("exists");
        if node.raft.take().is_none() {
            return;
        }
        // Some of the writes under way reached the disk; the last of them perhaps in part.
        let kept = self.random.below(node.disk.under_way.len() as u64 + 1) as usize;
        let writes: Vec<_> = node.disk.under_way.drain(..).take(kept + 1).collect();
        for (place, (_, write)) in writes.into_iter().enumerate() {
            match write {
                write if place < kept => node.disk.apply(&write),
                Write::Append(append) => {
                    let torn = self.random.below(append.entries.len() as u64) as usize;
                    node.disk.entries.extend_from_slice(&append.entries[..torn]);
                }
                _ => {}
            }
        }
    }

    /// Gives one input to a running node and carries out what it wants.
    fn input(&mut self, id: NodeId, input: impl FnOnce(&mut Raft)) {
        if let Some(raft) = self.nodes.get_mut(&id).and_then(|node| node.raft.as_mut()) {
            input(raft);
            self.drain(id);
        }
    }

    fn drain(&mut self, id: NodeId) {
        loop {
            let node = self.nodes.get_mut(&id).expect("exists");
            let Some(raft) = node.raft.as_mut() else {
                return;
            };
            let ready = raft.ready();
            self.check_role(id);
            if ready.is_empty() {
                self.check_voters(id);
                return;
            }
            self.carry_out(id, ready);
        }
    }

    fn carry_out(&mut self, id: NodeId, ready: Ready) {
        let node = self.nodes.get_mut(&id).expect("exists");
        let mut writes = Vec::new();
        writes.extend(ready.hard_state.map(Write::Hard));
        if let Some(snapshot) = ready.snapshot {
            let index = snapshot.position.index;
            assert!(index > node.exposed, "R5: a snapshot goes back");
            node.state = state_of(&snapshot.data);
            assert_eq!(self.state_at.get(&index), Some(&node.state), "R10");
            writes.push(Write::Snapshot(snapshot));
        }
        if let Some(index) = ready.truncate_after {
            assert!(index >= node.exposed, "R7: node {id} cuts what it replayed");
            writes.push(Write::Truncate(index));
        }
        writes.extend(ready.append.map(Write::Append));
        for write in writes {
            let done = self.now.plus(Duration::from_millis(
                self.random.below(self.weather.disk_ms),
            ));
            let before = node.disk.under_way.back().map(|(at, _)| *at);
            let done = before.map_or(done, |before| before.max(done));
            node.disk.under_way.push_back((done, write));
        }
        for message in ready.messages {
            self.post(message);
        }
        if let Some(range) = ready.committed {
            let node = self.nodes.get_mut(&id).expect("exists");
            for index in range.iter() {
                let raft = node.raft.as_ref().expect("running");
                let entry = raft.entry(index).expect("committed entries are held");
                let known = self.committed.entry(index).or_insert_with(|| entry.clone());
                assert_eq!(known, entry, "R2: node {id} replays another entry");
                node.state = chain(node.state, entry);
                let state = *self.state_at.entry(index).or_insert(node.state);
                assert_eq!(state, node.state, "R4: node {id} has another state");
                node.exposed = node.exposed.max(index);
            }
        }
    }

    fn post(&mut self, message: Message) {
        let node = self.nodes.get_mut(&message.from).expect("exists");
        let is_pre_vote = matches!(
            message.body,
            MessageBody::PreVote { .. } | MessageBody::PreVoteReply { .. }
        );
        if !is_pre_vote {
            node.term_shown = node.term_shown.max(message.term);
            assert!(
                node.disk.hard.term >= message.term,
                "R6: sent before durable"
            );
        }
        if let MessageBody::VoteReply { granted: true } = message.body {
            let vote = self.votes.entry((message.from, message.term));
            let voted = *vote.or_insert(message.to);
            assert_eq!(voted, message.to, "R6: {} votes twice", message.from);
        }
        let copies = if self.healed {
            1
        } else {
            let repeated = u64::from(self.random.chance(self.weather.repetition));
            1 + repeated - u64::from(self.random.chance(self.weather.loss))
        };
        for _ in 0..copies {
            // Most are quick, some come very late.
            let slow = !self.healed && self.random.chance(300);
            let most_ms = if slow { self.weather.network_ms } else { 30 };
            let delay = Duration::from_millis(1 + self.random.below(most_ms));
            // Peers speak bytes: the codec is in every path.
            let read = Message::from_bytes(message.to_bytes()).expect("own bytes");
            self.network.push((self.now.plus(delay), read));
        }
    }

    fn check_role(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("exists");
        let Some(raft) = node.raft.as_ref() else {
            return;
        };
        if !raft.role().reigns() {
            return;
        }
        let term = raft.term();
        let leader = *self.leaders.entry(term).or_insert(id);
        assert_eq!(leader, id, "R1: two leaders in term {term}");
        match node.reign_began_at {
            Some((reign, began_at)) if reign == term => {
                let commit = raft.commit_index();
                if commit > began_at && commit > raft.base().index {
                    let entry = raft.entry(commit).expect("held");
                    assert_eq!(entry.term, term, "R8");
                }
            }
            _ => {
                node.reign_began_at = Some((term, raft.commit_index()));
                for (index, entry) in self.committed.range(raft.base().index.next()..) {
                    assert_eq!(raft.entry(*index), Some(entry), "R3: leader {id} lacks it");
                }
            }
        }
    }

    /// R9: a leader has at most one set of voters beyond the committed one.
    fn check_voters(&self, id: NodeId) {
        let raft = self.nodes[&id].raft.as_ref();
        let Some(raft) = raft.filter(|raft| raft.role() == Role::Leader) else {
            return;
        };
        let mut index = raft.commit_index().next();
        let mut sets = 0;
        while let Some(entry) = raft.entry(index) {
            sets += u32::from(matches!(entry.payload, Payload::Voters(_)));
            index = index.next();
        }
        assert!(
            sets <= 1,
            "R9: {sets} sets of voters are uncommitted on {id}"
        );
    }

    fn step(&mut self) {
        self.now = self.now.plus(STEP);
        if !self.healed {
            self.do_harm();
        }
        self.ask_for_something();
        self.finish_writes();
        self.deliver();
        for id in (1..=NODES).map(NodeId) {
            let now = self.now;
            self.input(id, |raft| raft.tick(now));
        }
    }

    fn do_harm(&mut self) {
        let node = self.random.node();
        if self.random.chance(self.weather.crash) {
            self.crash(node);
        }
        if self.nodes[&node].raft.is_none() && self.random.chance(self.weather.restart) {
            self.start(node);
        }
        if self.random.chance(self.weather.breakage) {
            let other = self.random.node();
            self.broken.insert((node, other));
        }
        if self.random.chance(self.weather.repair) {
            self.broken.clear();
        }
        if self.random.chance(self.weather.isolation) {
            for other in (1..=NODES).map(NodeId) {
                self.broken.extend([(node, other), (other, node)]);
            }
        }
    }

    fn ask_for_something(&mut self) {
        let id = self.random.node();
        let other = self.random.node();
        if self.random.chance(self.weather.proposals) {
            self.proposals += 1;
            let payload = Bytes::from(self.proposals.to_be_bytes().to_vec());
            self.input(id, |raft| {
                // A refusal is an answer too.
                let _ = raft.propose(vec![payload]);
            });
        }
        if self.random.chance(self.weather.voters) {
            let add = self.random.chance(600);
            self.input(id, |raft| {
                let change = if add {
                    VoterChange::Add
                } else {
                    VoterChange::Remove
                };
                let _ = raft.propose_voters(change(other));
            });
        }
        if self.random.chance(self.weather.transfer) {
            self.input(id, |raft| {
                let _ = raft.transfer_leadership(other);
            });
        }
        if self.random.chance(self.weather.compaction) {
            self.compact(id);
        }
    }

    /// Writes a snapshot of the state machine at once, then drops the entries below.
    fn compact(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("exists");
        let Some(raft) = node.raft.as_mut() else {
            return;
        };
        let index = raft.exposed_index();
        let waits = |(_, write): &(Instant, Write)| matches!(write, Write::Snapshot(_));
        if node.disk.under_way.iter().any(waits) {
            return;
        }
        let data = Bytes::from(node.state.to_be_bytes().to_vec());
        if raft.compact(index, data) {
            node.disk.snapshot = raft.snapshot.clone();
            node.disk.entries.retain(|entry| entry.index > index);
        }
    }

    fn finish_writes(&mut self) {
        for id in (1..=NODES).map(NodeId) {
            loop {
                let node = self.nodes.get_mut(&id).expect("exists");
                let due = node
                    .disk
                    .under_way
                    .front()
                    .is_some_and(|(at, _)| *at <= self.now);
                let Some((_, write)) = node.disk.under_way.pop_front_if(|_| due) else {
                    break;
                };
                node.disk.apply(&write);
                self.input(id, |raft| match write {
                    Write::Hard(hard) => raft.on_vote_flushed(hard),
                    Write::Snapshot(snapshot) => raft.on_snapshot_flushed(snapshot.position.index),
                    Write::Truncate(_) => {}
                    Write::Append(append) => raft.on_flushed(append.last(), append.generation),
                });
            }
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (mut due, later) = std::mem::take(&mut self.network)
            .into_iter()
            .partition::<Vec<_>, _>(|(at, _)| *at <= now);
        self.network = later;
        while !due.is_empty() {
            let place = self.random.below(due.len() as u64) as usize;
            let (_, message) = due.swap_remove(place);
            if self.broken.contains(&(message.from, message.to)) {
                continue;
            }
            self.input(message.to, |raft| {
                raft.step(message).expect("no honest peer sends nonsense");
            });
        }
    }

    fn heal(&mut self) {
        self.healed = true;
        self.broken.clear();
        for id in (1..=NODES).map(NodeId) {
            if self.nodes[&id].raft.is_none() {
                self.start(id);
            }
        }
    }

    /// True if a leader has committed an entry of its own and every voter has replayed it.
    fn is_at_one(&self) -> bool {
        let running = || self.nodes.values().filter_map(|node| node.raft.as_ref());
        let Some(leader) = running()
            .filter(|raft| raft.role() == Role::Leader)
            .max_by_key(|raft| raft.term())
        else {
            return false;
        };
        let voters = leader.voters();
        running()
            .filter(|raft| voters.contains(raft.node()))
            .all(|raft| raft.term() == leader.term() && raft.exposed_index() >= leader.reign_start)
    }
}

fn state_of(data: &Bytes) -> u64 {
    u64::from_be_bytes(data[..8].try_into().expect("eight bytes"))
}

struct Repeat(u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "repeat with: RAFTLOG_SEED={} cargo test -p klamm-raftlog simulation",
                self.0
            );
        }
    }
}

/// All seeds, or the one that is to be repeated.
fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("RAFTLOG_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("a number");
            seed..seed + 1
        }
        Err(_) => 0..count,
    }
}

fn run(seed: u64) -> (u64, u64, u64) {
    let _repeat = Repeat(seed);
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.heal();
    let mut waited = 0;
    while !world.is_at_one() {
        world.step();
        waited += 1;
        assert!(waited < 3000, "no progress after the world healed");
    }
    let data = |entry: &&Entry| matches!(entry.payload, Payload::Data(_));
    let state = world.nodes.values().fold(0, |hash, node| hash ^ node.state);
    (
        world.committed.values().filter(data).count() as u64,
        world.leaders.len() as u64,
        state,
    )
}

#[test]
fn a_quorum_in_a_bad_world_keeps_every_rule_and_recovers() {
    let (mut committed, mut leaders) = (0, 0);
    for seed in seeds(SEEDS) {
        let (entries, reigns, _) = run(seed);
        committed += entries;
        leaders += reigns;
    }
    if std::env::var_os("RAFTLOG_SEED").is_some() {
        return;
    }
    // The world must be bad, but not so bad that nothing is tested.
    assert!(committed > 50 * SEEDS, "only {committed} entries committed");
    assert!(leaders > 5 * SEEDS, "only {leaders} reigns");
}

#[test]
fn one_seed_gives_one_history() {
    assert_eq!(run(7), run(7));
}

fn nonsense(random: &mut Random) -> Message {
    let term = |random: &mut Random| match random.below(40) {
        0 => Term(u32::MAX),
        _ => Term(random.below(6) as u32),
    };
    let index = |random: &mut Random| match random.below(40) {
        0 => Index(u64::MAX),
        1 => Index::MAX,
        _ => Index(random.below(8)),
    };
    let position = |random: &mut Random| crate::LogPosition {
        index: index(random),
        term: term(random),
    };
    let voters = |random: &mut Random| VoterSet::new((0..random.below(4)).map(|_| random.node()));
    let body = match random.below(9) {
        0 => MessageBody::PreVote {
            last: position(random),
        },
        1 => MessageBody::PreVoteReply {
            granted: random.chance(500),
        },
        2 => MessageBody::Vote {
            last: position(random),
            transfer: random.chance(500),
        },
        3 => MessageBody::VoteReply {
            granted: random.chance(500),
        },
        4 => MessageBody::AppendReply {
            outcome: crate::AppendOutcome::Accepted {
                matched: index(random),
            },
        },
        5 => MessageBody::AppendReply {
            outcome: crate::AppendOutcome::Rejected {
                previous: index(random),
                hint: index(random),
            },
        },
        6 => MessageBody::Install {
            snapshot: Snapshot {
                position: position(random),
                voters: voters(random),
                data: Bytes::new(),
            },
        },
        7 => MessageBody::CampaignNow,
        _ => {
            let previous = position(random);
            let first = previous
                .index
                .0
                .saturating_add(u64::from(!random.chance(50)));
            let entry = |offset: u64, random: &mut Random| Entry {
                index: Index(first.saturating_add(offset)),
                term: previous.term.max(term(random)),
                payload: match random.below(6) {
                    0 => Payload::Voters(voters(random)),
                    _ => Payload::LeaderChange(NodeId(1)),
                },
            };
            let mut entries: Vec<_> = (0..random.below(5)).map(|at| entry(at, random)).collect();
            entries.sort_by_key(|entry| entry.term);
            for (at, entry) in (0..).zip(&mut entries) {
                entry.index = Index(first.saturating_add(at));
            }
            MessageBody::Append {
                previous,
                entries,
                commit: index(random),
            }
        }
    };
    Message {
        from: random.node(),
        to: NodeId(1),
        term: term(random),
        body,
    }
}

#[test]
fn nonsense_from_peers_never_panics_and_never_takes_back_a_commit() {
    let (mut refused, mut taken) = (0, 0);
    for seed in seeds(3000) {
        let _repeat = Repeat(seed);
        let mut random = Random(seed);
        let voters = VoterSet::new((1..=1 + random.below(3) as i32).map(NodeId));
        let recovered = Recovered::empty(voters);
        let mut raft = Raft::new(config(NodeId(1), seed), recovered, Instant(0)).expect("a log");
        let (mut now, mut exposed) = (Instant(0), Index::ZERO);
        for _ in 0..200 {
            match random.below(6) {
                0 => {
                    now = now.plus(Duration::from_millis(random.below(400)));
                    raft.tick(now);
                }
                1 => drop(raft.propose(vec![Bytes::from_static(b"x")])),
                _ => match raft.step(nonsense(&mut random)) {
                    Ok(()) => taken += 1,
                    Err(_) => refused += 1,
                },
            }
            let ready = raft.ready();
            let promptly = random.chance(700);
            if let Some(hard) = ready.hard_state.filter(|_| promptly) {
                raft.on_vote_flushed(hard);
            }
            if let Some(snapshot) = ready.snapshot {
                exposed = snapshot.position.index;
                raft.on_snapshot_flushed(exposed);
            }
            if let Some(append) = ready.append.filter(|_| promptly) {
                raft.on_flushed(append.last(), append.generation);
            }
            if let Some(range) = ready.committed {
                assert_eq!(range.first, exposed.next());
                exposed = range.last;
            }
            if random.chance(20) {
                raft.compact(exposed, Bytes::new());
            }
        }
    }
    if std::env::var_os("RAFTLOG_SEED").is_some() {
        return;
    }
    assert!(
        refused > 10_000 && taken > 10_000,
        "{refused} refused, {taken} taken"
    );
}
