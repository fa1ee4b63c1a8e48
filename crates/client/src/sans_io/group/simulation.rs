//! Several members of one group, simulated with seeds: programs that are quick or slow, come and
//! go, connections that break, a coordinator that moves. At every step no partition is held by two;
//! every record is worked on at least once; committed offsets never go back (the model looks).
//!
//! A run is repeated by its seed: `SIM_SEED=7 cargo test -p klamm-client members_never_hold`;
//! `SIM_SEEDS=100..200` runs others than usually.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use bytes::BytesMut;
use klamm_model::{Instant, PartitionIndex, Random, Timestamp, TopicName};
use klamm_wire::FrameLimits;

use super::SansIoGroupConsumer;
use super::model::{Connection, Model, PARTITIONS};
use crate::fetcher::{ConsumerOptions, Event};
use crate::group::assignor::Assignor;
use crate::group::{GroupEvent, GroupOptions, GroupReset};
use crate::hub::{Effect, HubOptions, LinkId};
use crate::metadata::PartitionName;
use crate::sans_io::SansIo;

/// How many runs a test makes.
const SEEDS: u64 = 40;

struct Client {
    machine: SansIoGroupConsumer,
    /// The program works on something until then.
    busy_until: Instant,
    /// What it works on.
    works_on: Option<PartitionName>,
    /// Somebody else holds what it works on: it must be told that it is lost.
    overtaken: bool,
    /// Until then it reaches nobody.
    cut_off_until: Instant,
    closing: bool,
}

/// One way between a client and the broker.
#[derive(Default)]
struct Way {
    requests: BytesMut,
    /// A request of it waits for its answer.
    waits: bool,
}

struct World {
    now: Instant,
    random: Random,
    model: Model,
    clients: BTreeMap<usize, Client>,
    next_client: usize,
    ways: BTreeMap<Connection, Way>,
    /// Answers on their way.
    posts: Vec<(Instant, Connection, BytesMut)>,
    worked_on: BTreeSet<(i32, i64)>,
    options: GroupOptions,
    /// Breaks and moves happen.
    rough: bool,
}

impl World {
    fn new(seed: u64, options: GroupOptions) -> Self {
        Self {
            now: Instant(1),
            random: Random::new(seed),
            model: Model::new(),
            clients: BTreeMap::new(),
            next_client: 0,
            ways: BTreeMap::new(),
            posts: Vec::new(),
            worked_on: BTreeSet::new(),
            options,
            rough: true,
        }
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.random.below(count) == 0
    }

    fn add(&mut self) {
        let id = self.next_client;
        self.next_client += 1;
        let topics = [TopicName::new("t").expect("legal")];
        let options = self.options.clone();
        let beginning = (Timestamp(0), id as u64);
        let machine =
            SansIoGroupConsumer::new("b:9092", HubOptions::default(), options, topics, beginning);
        self.clients.insert(
            id,
            Client {
                machine,
                busy_until: self.now,
                works_on: None,
                overtaken: false,
                cut_off_until: self.now,
                closing: false,
            },
        );
    }

    fn break_way(&mut self, way: Connection) {
        self.ways.remove(&way);
        self.posts.retain(|(_, other, _)| *other != way);
        if let Some(client) = self.clients.get_mut(&way.0) {
            let link = LinkId(way.1);
            client.machine.on_closed(self.now, link, "broken");
        }
    }

    /// Carries out what machines want, and brings what arrives by now.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            let ids: Vec<usize> = self.clients.keys().copied().collect();
            for id in ids {
                while let Some(effect) = self
                    .clients
                    .get_mut(&id)
                    .and_then(|it| it.machine.next_effect())
                {
                    moved = true;
                    self.carry_out(id, effect);
                }
            }
            for (way, bytes) in self.model.take_answers() {
                moved = true;
                let delay = Duration::from_millis(self.random.below(5));
                if let Some(it) = self.ways.get_mut(&way) {
                    it.waits = false;
                    // In order on each way.
                    let last = self.posts.iter().filter(|(_, other, _)| *other == way);
                    let last = last.map(|(at, _, _)| *at).max().unwrap_or(self.now);
                    let at = self.now.plus(delay).max(last);
                    self.posts.push((at, way, bytes));
                    self.serve(way);
                }
            }
            let due = self.posts.iter().position(|(at, _, _)| *at <= self.now);
            if let Some(at) = due {
                moved = true;
                let (_, way, bytes) = self.posts.remove(at);
                if let Some(client) = self.clients.get_mut(&way.0) {
                    client.machine.on_bytes(self.now, LinkId(way.1), &bytes);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn carry_out(&mut self, id: usize, effect: Effect) {
        match effect {
            Effect::Open { link, .. } => {
                let refused = self.rough && self.one_in(20);
                let Some(client) = self.clients.get_mut(&id) else {
                    return;
                };
                if refused || self.now < client.cut_off_until {
                    client.machine.on_closed(self.now, link, "refused");
                } else {
                    self.ways.insert((id, link.0), Way::default());
                    client.machine.on_opened(self.now, link);
                }
            }
            Effect::Close(link) => {
                self.ways.remove(&(id, link.0));
            }
            Effect::Write { link, bytes } => {
                let way = (id, link.0);
                if self.rough && self.one_in(300) {
                    return self.break_way(way);
                }
                if let Some(it) = self.ways.get_mut(&way) {
                    it.requests.extend_from_slice(&bytes);
                    self.serve(way);
                }
            }
        }
    }

    /// Serves requests of a way one after the other.
    fn serve(&mut self, way: Connection) {
        while let Some(it) = self.ways.get_mut(&way)
            && !it.waits
        {
            let limits = FrameLimits::of_requests(1 << 20);
            let Some(frame) = limits.split(&mut it.requests).expect("sound frames") else {
                return;
            };
            it.waits = true;
            // Its answer lets the next one be served.
            self.model.serve(self.now, way, &frame);
        }
    }

    /// A program asks for what comes next, and works on it.
    fn work(&mut self, id: usize) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let Some(event) = client.machine.next_event(self.now) else {
            return;
        };
        if client.overtaken {
            let lost = matches!(&event, GroupEvent::Lost { partitions, .. }
                if client.works_on.iter().all(|it| partitions.contains(it)));
            assert!(lost, "{:?} was others' before {event:?}", client.works_on);
        }
        client.overtaken = false;
        client.works_on = None;
        match event {
            GroupEvent::Read(Event::Record(partition, record)) => {
                client.works_on = Some(partition.clone());
                let holds = client.machine.holds();
                assert!(
                    holds.contains(&partition),
                    "handed out after it was given up"
                );
                self.worked_on.insert((partition.index.0, record.offset.0));
            }
            GroupEvent::Read(Event::Failed(partition, error)) => panic!("{partition}: {error}"),
            GroupEvent::Ended(error) => panic!("{error}"),
            _ => {}
        }
        let slow = self.rough && self.random.below(60) == 0;
        let work = self.random.below(if slow { 25_000 } else { 8 });
        client.busy_until = self.now.plus(Duration::from_millis(work));
    }

    fn check(&mut self) {
        let mut held: BTreeMap<PartitionName, usize> = BTreeMap::new();
        for (id, client) in &self.clients {
            for partition in client.machine.holds() {
                let other = held.insert(partition.clone(), *id);
                let machines = other.map(|other| (&self.clients[&other].machine, &client.machine));
                assert!(
                    machines.is_none(),
                    "{partition} at {:?}: {machines:#?}",
                    self.now
                );
            }
        }
    }

    fn step(&mut self) {
        self.settle();
        self.check();
        let free = self
            .clients
            .iter()
            .filter(|(_, it)| it.busy_until <= self.now && !it.closing);
        let free: Vec<usize> = free.map(|(id, _)| *id).collect();
        for id in free {
            self.work(id);
            self.settle();
            self.check();
        }
        self.pass_time();
    }

    /// Time passes to what comes next, and a little more.
    fn pass_time(&mut self) {
        let now = self.now;
        let machines = self
            .clients
            .values()
            .filter_map(|it| it.machine.next_deadline(now));
        let posts = self.posts.iter().map(|(at, _, _)| *at);
        let next = machines.chain(posts).min().unwrap_or(now);
        let least = now.plus(Duration::from_millis(1));
        let most = now.plus(Duration::from_millis(100));
        self.now = next.clamp(least, most);
        self.model.on_time(self.now);
        for client in self.clients.values_mut() {
            client.machine.on_time(self.now);
        }
        self.clients
            .retain(|_, it| !(it.closing && it.machine.is_closed()));
    }

    /// Something that nobody asked for.
    fn mishap(&mut self) {
        match self.random.below(120) {
            0 if self.clients.len() < 5 => self.add(),
            1 if self.clients.len() > 1 => {
                let at = self.random.below(self.clients.len() as u64) as usize;
                if let Some(client) = self.clients.values_mut().nth(at) {
                    client.closing = true;
                    client.machine.close(self.now);
                }
            }
            2 if self.clients.len() > 1 => {
                // It dies without a word.
                let at = self.random.below(self.clients.len() as u64) as usize;
                let id = self.clients.keys().nth(at).copied().expect("there");
                self.clients.remove(&id);
                self.ways.retain(|(other, _), _| *other != id);
            }
            3 => {
                let away = Duration::from_millis(self.random.below(3_000));
                self.model.go_away(self.now, self.now.plus(away));
            }
            4 => {
                let at = self.random.below(self.ways.len().max(1) as u64) as usize;
                if let Some(way) = self.ways.keys().nth(at).copied() {
                    self.break_way(way);
                }
            }
            5 if !self.clients.is_empty() => {
                let at = self.random.below(self.clients.len() as u64) as usize;
                let id = self.clients.keys().nth(at).copied().expect("there");
                let until = self
                    .now
                    .plus(Duration::from_millis(self.random.below(20_000)));
                if let Some(client) = self.clients.get_mut(&id) {
                    client.cut_off_until = until;
                }
                let ways = self.ways.keys().filter(|(other, _)| *other == id);
                let ways: Vec<Connection> = ways.copied().collect();
                ways.into_iter().for_each(|way| self.break_way(way));
            }
            6..40 => {
                let partition = self.random.below(PARTITIONS as u64) as usize;
                self.model.ends[partition] += 1 + self.random.below(4) as i64;
            }
            _ => {}
        }
    }

    fn is_done(&self) -> bool {
        let all = (0..PARTITIONS).all(|partition| {
            let end = self.model.ends[partition];
            end == 0 || self.model.committed[partition] == end
        });
        all && self.clients.values().all(|it| it.machine.is_stable())
    }
}

fn options(assignors: &[Assignor]) -> GroupOptions {
    GroupOptions {
        assignors: assignors.to_vec(),
        offset_reset: GroupReset::Earliest,
        session_timeout: Duration::from_secs(6),
        heartbeat_interval: Duration::from_secs(1),
        max_poll_interval: Duration::from_secs(20),
        auto_commit: Some(Duration::from_secs(1)),
        fetch: ConsumerOptions {
            sessions: false,
            ..ConsumerOptions::default()
        },
        ..GroupOptions::new("g")
    }
}

/// Runs one seed; rounds and commits that there were.
fn simulate(seed: u64, assignors: &[Assignor]) -> (u64, u64) {
    let mut world = World::new(seed, options(assignors));
    world.add();
    world.add();
    for _ in 0..4_000 {
        world.mishap();
        world.step();
    }
    // Everything heals: what is left is worked on and committed.
    world.rough = false;
    if world.clients.values().all(|it| it.closing) {
        world.add();
    }
    let mut steps = 0;
    while !world.is_done() {
        world.step();
        steps += 1;
        assert!(steps < 60_000, "seed {seed}: it comes to an end");
    }
    for partition in 0..PARTITIONS {
        for offset in 0..world.model.ends[partition] {
            let number = PartitionIndex(partition as i32).0;
            assert!(
                world.worked_on.contains(&(number, offset)),
                "seed {seed}: {offset} of {partition} was never worked on"
            );
        }
    }
    (world.model.rounds, world.model.commits)
}

/// The seeds to be run.
fn seeds() -> Range<u64> {
    let said = |name| std::env::var(name).ok();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    match (said("SIM_SEED"), said("SIM_SEEDS")) {
        (Some(seed), _) => number(&seed)..number(&seed) + 1,
        (None, Some(range)) => {
            let (first, end) = range.split_once("..").expect("a range");
            number(first)..number(end)
        }
        (None, None) => 0..SEEDS,
    }
}

fn simulate_all(assignors: &[Assignor]) {
    let (mut rounds, mut commits) = (0, 0);
    let seeds = seeds();
    let many = seeds.end - seeds.start >= SEEDS;
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| simulate(seed, assignors));
        match outcome {
            Ok(counted) => {
                rounds += counted.0;
                commits += counted.1;
            }
            Err(panic) => {
                eprintln!("SIM_SEED={seed} cargo test -p klamm-client members_never_hold");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(
        !many || rounds > 500 && commits > 500,
        "{rounds} rounds, {commits} commits"
    );
}

#[test]
fn cooperative_members_never_hold_a_partition_together_and_miss_no_record() {
    simulate_all(&[Assignor::CooperativeSticky]);
}

#[test]
fn eager_members_never_hold_a_partition_together_and_miss_no_record() {
    simulate_all(&[Assignor::Range, Assignor::RoundRobin]);
}
