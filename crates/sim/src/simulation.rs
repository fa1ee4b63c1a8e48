//! One world from its beginning to its end: lives of a node one after the other, its clients, and
//! the checks. Owns everything of the run.

mod answers;
mod damage;
mod forget;
mod full;
mod lives;
mod members;
mod misindex;

use std::collections::BTreeMap;

use klamm_engine::api::{Now, Ticket, TrimPartition, TrimTo};
use klamm_engine::metadata::{Command, Image, Registration};
use klamm_model::{
    ClusterId, Durability, Instant, Offset, ShardId, TopicId, TopicPartition, WallTime,
};

use crate::check::ledger::Ledger;
use crate::check::{
    Violation, high_watermark_never_goes_back, leader_epochs_only_grow_and_stand_in_the_log,
    log_start_never_goes_back,
};
use crate::faults::Plant;
use crate::random::Random;
use crate::trace::Trace;
use crate::workload::admin::{self, Errand};
use crate::workload::producer::{Producer, Wish};
use crate::workload::reader::{Asked, Question, Reader};
use crate::workload::{Named, TOPICS};
use crate::world::disk::{DiskStats, NamesMode, SimDisk};
use crate::world::node::{Happening, NODE, SimNode};

use full::FullDisk;
use members::{Business, Members};

/// What to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Keep every event as a line.
    pub keep_lines: bool,
    /// A fault to plant.
    pub plant: Option<Plant>,
    /// Something to damage at the end.
    pub damage: Option<Damage>,
    /// Clients also delete records: the starts of logs move.
    pub trims: bool,
    /// The broker keeps no more than so much of each log, and looks after that often.
    pub retention: bool,
    /// Topics are compacted, often.
    pub compaction: bool,
    /// In most lives the disk refuses one write or flush (without `damage` only).
    pub disk_fails: bool,
    /// The disk has a size, and others use it, too (without the other two).
    pub disk_full: bool,
    /// There are groups, and consumers that are members of them (without `damage`).
    pub groups: bool,
}

/// What is damaged at the end of a run: one bit of it, but for indexes and heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Batches in a segment.
    Segment,
    /// The base offset of a batch in a segment, which no checksum covers.
    BaseOffset,
    /// An entry of a write-ahead log that a later entry calls flushed.
    Wal,
    /// The head of a write-ahead file of which some is known to have been flushed: a bit of it, or
    /// all of it. Costs nothing: the entries tell what the file is.
    WalHead,
    /// A checkpoint. Costs nothing that was promised: segments and write-ahead logs say the same.
    Checkpoint,
    /// Index files: gone, cut, overwritten, or off by a bit. Costs nothing: the batches say the same.
    Index,
}

impl Damage {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Segment,
        Self::BaseOffset,
        Self::Wal,
        Self::WalHead,
        Self::Checkpoint,
        Self::Index,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::BaseOffset => "base-offset",
            Self::Wal => "wal",
            Self::WalHead => "wal-head",
            Self::Checkpoint => "checkpoint",
            Self::Index => "index",
        }
    }

    /// The damage with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|damage| damage.name() == name)
    }
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What did not hold, if anything.
    pub violation: Option<Violation>,
    /// Everything that happened, as one number.
    pub trace: Trace,
    /// What was done.
    pub stats: RunStats,
}

/// What was done in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunStats {
    /// Starts of the node that succeeded.
    pub lives: u64,
    /// Boots during which the power went.
    pub boots_cut: u64,
    /// Boots that the disk ended, by refusing a write or flush.
    pub boots_failed: u64,
    /// Lives that the disk ended so.
    pub lives_failed: u64,
    /// Boots that found too little room.
    pub boots_full: u64,
    /// Batches that were refused because the disk was full.
    pub refused_for_space: u64,
    /// Commands that were decided while producers were refused for want of room.
    pub decided_while_full: u64,
    /// Lives that ended by a kill.
    pub kills: u64,
    /// Lives that ended cleanly.
    pub clean_stops: u64,
    /// Batches that were acknowledged.
    pub acknowledged: u64,
    /// Acknowledged batches that had to survive a power cut when they were acknowledged.
    pub acknowledged_durable: u64,
    /// Batches that were lawfully lost.
    pub lawfully_lost: u64,
    /// Batches brought from write-ahead files into segments.
    pub replayed: u64,
    /// Reads that were answered with batches.
    pub reads: u64,
    /// Reads that had to go to segment files.
    pub cold_reads: u64,
    /// Checkpoints saved.
    pub checkpoints: u64,
    /// Times that entries of the metadata log gave way to their image in memory.
    pub metadata_compactions: u64,
    /// Starts of logs that were moved.
    pub trims: u64,
    /// Segments that were removed because they lay before the start of their log.
    pub segments_removed: u64,
    /// Times that a log was compacted.
    pub compactions: u64,
    /// Times that this was broken off.
    pub compactions_failed: u64,
    /// Segments that gave way to compacted ones.
    pub segments_compacted: u64,
    /// Records that compaction removed.
    pub records_compacted: u64,
    /// Topics deleted.
    pub topics_deleted: u64,
    /// Offsets that members committed.
    pub offsets_committed: u64,
    /// Committed offsets that were sure, and looked at.
    pub offsets_seen: u64,
    /// Coordinators that were found to hold, after a load, what the log said before it.
    pub coordinators_loaded: u64,
    /// Coordinators that were found to hold what their log says.
    pub coordinators_replayed: u64,
    /// Runs at whose end something was damaged.
    pub damaged: u64,
    /// Damage that a start told of.
    pub damage_told: u64,
    /// Logs that ended earlier after damage, and said that they might.
    pub ends_in_doubt: u64,
    /// Reads that were refused because of damage.
    pub damage_refused: u64,
    /// Batches that had to survive, read where boot told of damage beside the one that was made.
    pub damage_survivors_read: u64,
    /// What the disk went through.
    pub disk: DiskStats,
}

/// Runs the world of one seed.
#[must_use]
pub fn run(seed: u64, options: RunOptions) -> Outcome {
    let mut simulation = Simulation::new(seed, options);
    let lived = match options.damage {
        None => simulation.live(),
        Some(Damage::Checkpoint) => simulation.live_and_forget(),
        Some(Damage::Index) => simulation.live_and_misindex(),
        Some(damage) => simulation.live_and_rot(damage),
    };
    let violation = lived.err();
    simulation.stats.disk = simulation.disk.stats();
    let hash = simulation.disk.hash();
    simulation
        .trace
        .event(format_args!("end {violation:?} disk {hash:016x}"));
    if violation.is_some() {
        for line in simulation.disk.describe() {
            simulation.trace.event(format_args!("{line}"));
        }
    }
    Outcome {
        violation,
        trace: simulation.trace,
        stats: simulation.stats,
    }
}

/// What a call is about.
#[derive(Clone, Debug)]
enum Purpose {
    Append {
        producer: usize,
        number: u64,
        partition: TopicPartition,
        class: ClassSeen,
    },
    ProducerId {
        producer: usize,
    },
    Reader {
        reader: usize,
    },
    Admin {
        errand: Errand,
    },
    Trim {
        partition: TopicPartition,
        to: i64,
    },
    Register,
    Group(Business),
}

/// The durability class of a topic as far as all cores agree on it, and how often it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ClassSeen {
    class: Option<Durability>,
    changes: u64,
}

/// How chance is spread over what can happen; drawn once for each world.
#[derive(Clone, Copy, Debug)]
struct Weights {
    clients: usize,
    turns: usize,
    letters: usize,
    work: usize,
    ticks: usize,
    /// Errands of the administrator, in percent of its chances.
    errands: u32,
}

struct Simulation {
    random: Random,
    /// Chance for what the disk refuses, and for what others do with it; its own, so that the rest of the world stays the same.
    failing: Random,
    /// Chance for what is trimmed; its own, for the same reason.
    trimming: Random,
    options: RunOptions,
    full: Option<FullDisk>,
    members: Option<Members>,
    disk: SimDisk,
    node: Option<SimNode>,
    now: Now,
    weights: Weights,
    producers: Vec<Producer>,
    readers: Vec<Reader>,
    ledger: Ledger,
    calls: BTreeMap<u64, Purpose>,
    next_call: u64,
    admin_call: Option<u64>,
    registered: bool,
    /// Changes of class of each topic that were begun.
    class_changes: BTreeMap<TopicId, u64>,
    /// Deletions that were acknowledged.
    deleted: BTreeMap<TopicId, &'static str>,
    /// Topics whose creation was acknowledged, unless their deletion was begun.
    created: BTreeMap<TopicId, &'static str>,
    trace: Trace,
    stats: RunStats,
}

impl Simulation {
    fn new(seed: u64, options: RunOptions) -> Self {
        let mut random = Random::new(seed);
        let names = [NamesMode::Journal, NamesMode::Weak][random.below(2)];
        let garbage = [0, 0, 20][random.below(3)];
        let named = |random: &mut Random| Named {
            topic: TOPICS[random.below(TOPICS.len())],
            index: random.below(3) as i32,
        };
        let producers = (0..random.between(1, 5))
            .map(|_| {
                let named = named(&mut random);
                let producer = Producer::new(named, random.chance(60));
                match options.compaction {
                    true => producer.keyed(),
                    false => producer,
                }
            })
            .collect();
        let readers = (0..random.between(1, 4))
            .map(|_| Reader::new(named(&mut random)))
            .collect();
        let weights = Weights {
            clients: random.between(1, 10),
            turns: random.between(1, 10),
            letters: random.between(1, 10),
            work: random.between(1, 10),
            ticks: random.between(0, 2),
            errands: [0, 2, 10][random.below(3)],
        };
        let mut failing = Random::new(!seed);
        let mut full = options.disk_full.then(|| FullDisk::draw(&mut failing));
        let members = options.groups.then(|| {
            full = full.map(FullDisk::for_groups);
            Members::draw(Random::new(seed.rotate_left(17) ^ 0x6772))
        });
        Self {
            options,
            full,
            members,
            disk: SimDisk::new(names, garbage),
            node: None,
            now: Now {
                instant: Instant(1),
                wall: WallTime(1_700_000_000_000),
            },
            weights,
            producers,
            readers,
            ledger: Ledger::default(),
            calls: BTreeMap::new(),
            next_call: 1,
            admin_call: None,
            registered: false,
            class_changes: BTreeMap::new(),
            deleted: BTreeMap::new(),
            created: BTreeMap::new(),
            trace: Trace::new(options.keep_lines),
            stats: RunStats::default(),
            failing,
            trimming: Random::new(seed.rotate_left(32) ^ 0x7412),
            random,
        }
    }

    fn node(&mut self) -> &mut SimNode {
        self.node.as_mut().expect("asked while the node is up")
    }

    fn image(&self, shard: u16) -> Image {
        let node = self.node.as_ref().expect("asked while the node is up");
        node.engine(shard).image().clone()
    }

    /// Lets one thing happen. `calm` begins nothing new but what is needed to finish.
    fn step(&mut self, calm: bool) -> Result<(), Violation> {
        self.pass_time();
        if !calm {
            self.others_use_disk();
        }
        if self.options.groups && self.weights.clients > 0 {
            self.work_in_groups(calm);
        }
        if self.options.trims && !calm && self.trimming.chance(3) {
            self.trim();
        }
        let happenings = self.node().happenings();
        let of = |kind: fn(&Happening) -> bool| -> Vec<Happening> {
            happenings.iter().copied().filter(kind).collect()
        };
        let turns = of(|what| matches!(what, Happening::Turn(_)));
        let letters = of(|what| matches!(what, Happening::Letter(..)));
        let works = of(|what| matches!(what, Happening::Work(_)));
        let weigh = |weight: usize, items: &[Happening]| if items.is_empty() { 0 } else { weight };
        let weights = [
            self.weights.clients,
            weigh(self.weights.turns, &turns),
            weigh(self.weights.letters, &letters),
            weigh(self.weights.work, &works),
            self.weights.ticks.max(usize::from(calm)),
        ];
        let mut dice = self.random.below(weights.iter().sum());
        let mut kind = 0;
        while dice >= weights[kind] {
            dice -= weights[kind];
            kind += 1;
        }
        let chosen = match kind {
            1 => self.random.pick(&turns),
            2 => self.random.pick(&letters),
            3 => self.random.pick(&works),
            0 => {
                self.client(calm);
                None
            }
            _ => {
                self.tick();
                None
            }
        };
        if let Some(&what) = chosen {
            self.trace.event(format_args!("{what:?}"));
            let now = self.now;
            let node = self.node.as_mut().expect("the node is up");
            node.happen(now, &mut self.disk, what);
        }
        if self.disk.has_failed() {
            // The process ended in the middle of it; nobody hears from it any more.
            return Ok(());
        }
        self.check_positions()?;
        self.check_loads()?;
        self.answer()
    }

    fn pass_time(&mut self) {
        let nanos = self.random.below(200_000) as u64;
        self.now.instant = Instant(self.now.instant.0 + nanos);
        self.now.wall = WallTime(1_700_000_000_000 + (self.now.instant.0 / 1_000_000) as i64);
    }

    /// A second or so passes.
    fn tick(&mut self) {
        let nanos = self.random.below(1_500_000_000) as u64;
        self.now.instant = Instant(self.now.instant.0 + nanos);
        let now = self.now;
        let shards = self.node().shards();
        let shard = self.random.below(shards.into()) as u16;
        self.trace.event(format_args!("tick {nanos} {shard}"));
        let node = self.node.as_mut().expect("the node is up");
        node.wake(now);
        node.housekeep(now, shard);
    }

    fn check_positions(&mut self) -> Result<(), Violation> {
        let node = self.node.as_ref().expect("the node is up");
        let shards = node.shards();
        let partitions: Vec<TopicPartition> = self.ledger.logs.keys().copied().collect();
        for partition in partitions {
            let home = partition.home(shards);
            if let Some(cursors) = node.engine(home.0).cursors(partition) {
                high_watermark_never_goes_back::check(&mut self.ledger, partition, cursors)?;
                // Of a topic that is gone nothing is remembered.
                if !self.deleted.contains_key(&partition.topic) {
                    let log = self.ledger.log(partition);
                    log_start_never_goes_back::check(
                        log,
                        partition,
                        cursors.log_start,
                        self.options.retention,
                    )?;
                }
            }
            if let Some(epoch) = node.engine(home.0).leader_epoch(partition) {
                let log = self.ledger.log(partition);
                leader_epochs_only_grow_and_stand_in_the_log::check(log, partition, epoch)?;
            }
        }
        Ok(())
    }

    /// A client does something, or the administrator.
    fn client(&mut self, calm: bool) {
        let clients = self.producers.len() + self.readers.len() + 1;
        let place = self.random.below(clients);
        if place < self.producers.len() {
            self.producer(place, calm);
        } else if place - self.producers.len() < self.readers.len() {
            self.reader(place - self.producers.len(), calm);
        } else {
            self.admin(calm);
        }
    }

    fn producer(&mut self, place: usize, calm: bool) {
        let shard = self.producers[place].shard;
        let image = self.image(shard);
        let found = self.producers[place].named.resolve(&image);
        let wall = self.now.wall.0;
        let wish =
            self.producers[place].wish(&mut self.random, &mut self.ledger, found, wall, !calm);
        match wish {
            None => {}
            Some(Wish::Id(command)) => {
                let call = self.control(Purpose::ProducerId { producer: place }, shard, command);
                self.producers[place].asked_for_id(call);
            }
            Some(Wish::Append(partition, number, call)) => {
                self.trace.event(format_args!(
                    "producer {place} sends {number} to {partition}"
                ));
                let class = self.class_of(partition.topic);
                let purpose = Purpose::Append {
                    producer: place,
                    number,
                    partition,
                    class,
                };
                let home = partition.home(self.node().shards());
                let id = self.send(purpose, shard, home, call);
                self.producers[place].sent(number, id);
            }
        }
    }

    fn reader(&mut self, place: usize, calm: bool) {
        let shard = self.readers[place].shard;
        let image = self.image(shard);
        let found = self.readers[place].named.resolve(&image);
        let (instant, wall) = (self.now.instant, self.now.wall.0);
        let wish = self.readers[place].wish(&mut self.random, found, instant, wall, calm);
        let Some((partition, question, call)) = wish else {
            return;
        };
        let log = self.ledger.log(partition);
        let (known_start, known_end) = (log.log_start, log.high_watermark);
        let home = partition.home(self.node().shards());
        let id = self.send(Purpose::Reader { reader: place }, shard, home, call);
        self.trace.event(format_args!(
            "reader {place} asks {question:?} of {partition}"
        ));
        self.readers[place].asked = Some(Asked {
            call: id,
            partition,
            question,
            known_start,
            known_end,
        });
        debug_assert!(matches!(question, Question::Read(_)) || !calm);
    }

    /// Somebody deletes records: mostly some of those that are there, sometimes more.
    fn trim(&mut self) {
        let known: Vec<TopicPartition> = self.ledger.logs.keys().copied().collect();
        let Some(&partition) = self.trimming.pick(&known) else {
            return;
        };
        let log = self.ledger.log(partition);
        let most = log.high_watermark + 2;
        let to = match self.trimming.below(10) {
            0 => TrimTo::HighWatermark,
            1..4 => TrimTo::Offset(Offset(self.trimming.below(most as usize + 1) as i64)),
            _ => TrimTo::Offset(Offset(log.log_start + self.trimming.below(6) as i64)),
        };
        let asked = match to {
            TrimTo::HighWatermark => i64::MAX,
            TrimTo::Offset(offset) => offset.0,
        };
        log.trim_asked = log.trim_asked.max(asked);
        self.trace
            .event(format_args!("{partition} is trimmed: {to:?}"));
        let shards = self.node().shards();
        let shard = self.trimming.below(shards.into()) as u16;
        let purpose = Purpose::Trim {
            partition,
            to: if asked == i64::MAX { 0 } else { asked },
        };
        let wish = TrimPartition { partition, to };
        let call = klamm_engine::api::Call::Trim(vec![wish]);
        self.send(purpose, shard, partition.home(shards), call);
    }

    fn admin(&mut self, calm: bool) {
        if self.admin_call.is_some() {
            return;
        }
        if !self.registered {
            let mut registration = Registration::new(NODE, ClusterId([7; 16]));
            registration.incarnation = [self.stats.lives as u8; 16];
            let command = Command::Register(registration);
            self.admin_call = Some(self.control(Purpose::Register, 0, command));
            return;
        }
        let image = self.image(0);
        if let Some((errand, command)) = self.offsets_topic(&image) {
            self.trace.event(format_args!("admin {errand:?}"));
            let purpose = Purpose::Admin { errand };
            self.admin_call = Some(self.control(purpose, 0, command));
            return;
        }
        let some_missing = TOPICS.iter().any(|topic| image.topic(topic).is_none());
        if calm || !(some_missing || self.random.chance(self.weights.errands)) {
            return;
        }
        self.ask_errand(calm);
    }

    /// The administrator asks for something; `calm` leaves what is there as it is.
    fn ask_errand(&mut self, calm: bool) {
        let image = self.image(0);
        let Some((errand, command)) =
            admin::errand(&mut self.random, &image, calm, self.options.compaction)
        else {
            return;
        };
        if let Some(topic) = image.topic(errand.topic()) {
            *self.class_changes.entry(topic.id()).or_default() += 1;
            if matches!(errand, Errand::Delete(_)) {
                self.created.remove(&topic.id());
            }
        }
        self.trace.event(format_args!("admin {errand:?}"));
        let purpose = Purpose::Admin { errand };
        self.admin_call = Some(self.control(purpose, 0, command));
    }

    fn control(&mut self, purpose: Purpose, shard: u16, command: Command) -> u64 {
        let call = klamm_engine::api::Call::Control(command);
        self.send(purpose, shard, ShardId(0), call)
    }

    fn send(
        &mut self,
        purpose: Purpose,
        shard: u16,
        home: ShardId,
        call: klamm_engine::api::Call,
    ) -> u64 {
        let id = self.next_call;
        self.next_call += 1;
        self.calls.insert(id, purpose);
        let ticket = Ticket {
            shard: ShardId(shard),
            call: id,
        };
        let now = self.now;
        self.node().call(now, ticket, home, call);
        id
    }

    /// The class of a topic, if every core agrees on it and no change is under way.
    fn class_of(&self, topic: TopicId) -> ClassSeen {
        let node = self.node.as_ref().expect("the node is up");
        let changes = self.class_changes.get(&topic).copied().unwrap_or(0);
        let changing = self.admin_call.and_then(|call| self.calls.get(&call));
        let changing = matches!(changing, Some(Purpose::Admin { errand }) if {
            let name = node.engine(0).image().topic(errand.topic());
            name.is_none_or(|found| found.id() == topic)
        });
        let file = klamm_engine::metadata::ConfigMap::new();
        let mut class = None;
        for shard in 0..node.shards() {
            let found = node.engine(shard).image().topic_by_id(topic);
            let here = found.map(|topic| topic.config(&file).durability);
            if here.is_none() || changing || (shard > 0 && here != class) {
                return ClassSeen {
                    class: None,
                    changes,
                };
            }
            class = here;
        }
        ClassSeen { class, changes }
    }
}
