//! A node without threads and devices: its cores' engines, the letters between them, and the work
//! that their disk has still to do. Does with each effect what the real cores do with it.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_engine::api::{Call, Now, Reply, SharedImage, Ticket};
use klamm_engine::boot::{self, BootError, BootOptions, Booted, Finding, ShardBoot};
use klamm_engine::compaction::CompactionOptions;
use klamm_engine::effects::{Effect, WalBegin, WalPrepare};
use klamm_engine::engine::FlushWanted;
use klamm_engine::memory::{Heap, WalMemory, WalSpace, Wanting};
use klamm_engine::metadata::{BrokerDefaults, ConfigMap};
use klamm_engine::replica::ProducerLimits;
use klamm_engine::space::DiskSpace;
use klamm_engine::{Engine, EngineOptions, GroupOptions, Scale, WalOptions};
use klamm_model::{NodeId, Offset, ShardId, TopicPartition};
use klamm_records::segment::PartitionOffsets;
use klamm_records::wal::Incarnation;

use super::compacting::{Compacting, Keys};
use super::disk::{Node as FileNode, Room, SimDisk};
use super::holding::Holding;
use super::segments::{OpenSegments, Removal, SmallFiles};
use super::storage::{BootStorage, DISK_FAILED, POWER_CUT};
use super::work::{Done, Hands, Work};
use crate::faults::Plant;
use crate::random::Random;

/// The only node of a simulated world.
pub const NODE: NodeId = NodeId(1);

/// What a life of the node begins with.
#[derive(Clone, Debug)]
pub struct LifeOptions {
    /// Cores of this life.
    pub shards: u16,
    /// Bytes of tail for each core.
    pub tail_bytes: usize,
    /// Bytes of one write-ahead file.
    pub wal_file_bytes: u64,
    /// Bytes of write-ahead log beyond which segments are brought up to date.
    pub wal_bytes: u64,
    /// Bytes of the disk that producers may not fill.
    pub disk_reserve: u64,
    /// How often segments are looked for that are not to be kept any longer.
    pub retention_check_interval: Duration,
    /// Compaction.
    pub compaction: CompactionOptions,
    /// Groups.
    pub groups: GroupOptions,
    /// How finely work is divided.
    pub scale: Scale,
    /// The broker's file.
    pub broker_file: ConfigMap,
    /// Somebody said that a disk is lost for ever.
    pub gives_up_lost: bool,
    /// Freshness for ids.
    pub seed: u128,
    /// The fault planted in this world.
    pub plant: Option<Plant>,
}

#[derive(Debug)]
enum Letter {
    Call { ticket: Ticket, call: Call },
    Reply { ticket: Ticket, reply: Reply },
    Image(SharedImage),
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) engine: Engine,
    wal_folder: String,
    wal_open: BTreeMap<u64, FileNode>,
    wal_unflushed: BTreeMap<u64, FileNode>,
    segments: OpenSegments,
    small: SmallFiles,
    flushing: bool,
    pub(super) work: bool,
    files: WalHeap,
    /// The keys of the log that is compacted.
    keys: Keys,
}

/// Memory for the write-ahead files of a core, as long as there is a descriptor and room for a new
/// one.
#[derive(Clone, Debug)]
struct WalHeap {
    are_out: Rc<Cell<bool>>,
    room: Rc<Room>,
}

impl WalMemory for WalHeap {
    fn is_idle(&mut self, file: u64) -> bool {
        Heap.is_idle(file)
    }

    fn begin(
        &mut self,
        file: u64,
        recycle: Option<u64>,
        at: u64,
        length: u64,
    ) -> Result<Box<dyn WalSpace>, Wanting> {
        if recycle.is_none() && self.are_out.get() {
            return Err(Wanting::Descriptor);
        }
        if recycle.is_none() && !self.room.promise(length as usize) {
            return Err(Wanting::Room);
        }
        Heap.begin(file, recycle, at, length)
    }
}

/// Something that can happen next inside a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A core takes a turn.
    Turn(u16),
    /// A core takes in the oldest letter of another.
    Letter(u16, u16),
    /// A piece of the disk's work goes on.
    Work(usize),
}

/// Why a node did not start.
#[derive(Debug)]
pub enum StartFailed {
    /// The power was cut while it booted.
    PowerCut,
    /// The disk refused an operation while it booted.
    DiskFailed,
    /// The disk had no room for an operation while it booted.
    DiskFull,
    /// It refused what it found.
    Boot(BootError),
    /// The quorum's log is none.
    Quorum(String),
}

/// What a start found.
#[derive(Debug)]
pub struct Started {
    /// What the administrator is told.
    pub findings: Vec<Finding>,
    /// Batches that came from write-ahead files.
    pub batches_replayed: u64,
    /// End of every partition's log.
    pub log_ends: BTreeMap<TopicPartition, Offset>,
    /// Start of every partition's log.
    pub log_starts: BTreeMap<TopicPartition, Offset>,
    /// The leader epochs that boot found in every partition: number and first offset.
    pub leader_epochs: BTreeMap<TopicPartition, Vec<(i32, i64)>>,
}

/// A running node.
#[derive(Debug)]
pub struct SimNode {
    pub(super) options: LifeOptions,
    pub(super) cores: Vec<Core>,
    letters: BTreeMap<(u16, u16), VecDeque<Letter>>,
    pub(super) works: Vec<(u16, Work)>,
    replies: Vec<(Ticket, Reply)>,
    dropped: u64,
    pub(super) holding: Holding,
    /// Up to where partitions are compacted, as the file says or will say.
    cleaned: PartitionOffsets,
}

impl SimNode {
    /// Boots the disk and starts the cores. The power goes after `changes_left` changes, if that is
    /// some number.
    ///
    /// # Errors
    /// [`StartFailed`].
    pub fn start(
        options: LifeOptions,
        now: Now,
        disk: &mut SimDisk,
        changes_left: Option<u64>,
    ) -> Result<(Self, Started), StartFailed> {
        let mut storage = BootStorage {
            disk,
            changes_left,
            plant: options.plant,
        };
        let boot_options = BootOptions {
            gives_up_lost: options.gives_up_lost,
            node: NODE,
            shards: options.shards,
            wal_file_bytes: options.wal_file_bytes,
            producers: ProducerLimits::default(),
            broker_file: options.broker_file.clone(),
            now,
            scale: options.scale,
        };
        let booted = match boot::boot(&mut storage, &boot_options) {
            Ok(booted) => booted,
            Err(BootError::Storage(error)) if error.reason == POWER_CUT => {
                return Err(StartFailed::PowerCut);
            }
            Err(BootError::Storage(error)) if error.reason == DISK_FAILED => {
                return Err(StartFailed::DiskFailed);
            }
            Err(BootError::Storage(error)) if error.out_of_space => {
                return Err(StartFailed::DiskFull);
            }
            Err(error) => return Err(StartFailed::Boot(error)),
        };
        Self::run(options, now, disk, booted)
    }

    fn run(
        options: LifeOptions,
        now: Now,
        disk: &mut SimDisk,
        booted: Booted,
    ) -> Result<(Self, Started), StartFailed> {
        let logs = booted.shards.iter().flat_map(|shard| &shard.partitions);
        let mut log_ends: BTreeMap<_, _> = logs
            .map(|(&partition, log)| (partition, log.log_end()))
            .collect();
        let logs = booted.shards.iter().flat_map(|shard| &shard.partitions);
        let log_starts = logs.map(|(&partition, log)| (partition, log.log_start()));
        let log_starts = log_starts.collect();
        log_ends.insert(TopicPartition::METADATA, booted.quorum_log.log_end());
        let logs = booted.shards.iter().flat_map(|shard| &shard.partitions);
        let logs = logs.chain([(&TopicPartition::METADATA, &booted.quorum_log)]);
        let leader_epochs = logs
            .map(|(&partition, found)| {
                let epochs = found.log.epochs.entries().iter();
                let epochs = epochs.map(|entry| (entry.leader_epoch.0, entry.start.0));
                (partition, epochs.collect())
            })
            .collect();
        let mut quorum = Some((booted.quorum, booted.quorum_log));
        let mut cores = Vec::new();
        for (shard, share) in (0..).zip(booted.shards) {
            let mut core = Core::new(&options, disk, shard, share);
            core.engine.on_free_space(seen(&disk.room(), 0));
            if let Some((boot, log)) = quorum.take() {
                core.engine
                    .host_quorum(now, boot, log, BrokerDefaults::default(), options.seed)
                    .map_err(|error| StartFailed::Quorum(error.to_string()))?;
            }
            cores.push(core);
        }
        let node = Self {
            options,
            cores,
            letters: BTreeMap::new(),
            works: Vec::new(),
            replies: Vec::new(),
            dropped: 0,
            holding: Holding::default(),
            cleaned: booted.cleaned,
        };
        let started = Started {
            findings: booted.findings,
            batches_replayed: booted.batches_replayed,
            log_ends,
            log_starts,
            leader_epochs,
        };
        Ok((node, started))
    }

    /// Number of cores.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.options.shards
    }

    /// The engine of a core.
    #[must_use]
    pub fn engine(&self, shard: u16) -> &Engine {
        &self.cores[usize::from(shard)].engine
    }

    /// From now on the process has no descriptor left for a new write-ahead file, or has some again.
    pub fn run_out_of_files(&self, are_out: bool) {
        for core in &self.cores {
            core.files.are_out.set(are_out);
        }
    }

    /// Every core sees at once how much room there is: nothing changes it faster than they look.
    pub fn look(&mut self, disk: &SimDisk) {
        for place in 0..self.cores.len() {
            let owed_elsewhere = self.owed_elsewhere(place);
            let engine = &mut self.cores[place].engine;
            engine.on_free_space(seen(&disk.room(), owed_elsewhere));
        }
    }

    /// Bytes that all cores owe to segments.
    #[must_use]
    pub fn owed_bytes(&self) -> u64 {
        self.cores.iter().map(|core| core.engine.owed_bytes()).sum()
    }

    /// True if a core refuses producers for want of room.
    #[must_use]
    pub fn refuses_for_space(&self) -> bool {
        self.cores.iter().any(|core| core.engine.space().refuses)
    }

    fn owed_elsewhere(&self, place: usize) -> u64 {
        self.owed_bytes() - self.cores[place].engine.owed_bytes()
    }

    /// Everything that can happen now.
    #[must_use]
    pub fn happenings(&self) -> Vec<Happening> {
        let turns = (0..).zip(&self.cores).filter(|(_, core)| core.work);
        let turns = turns.map(|(shard, _)| Happening::Turn(shard));
        let letters = self.letters.iter().filter(|(_, queue)| !queue.is_empty());
        let letters = letters.map(|(&(from, to), _)| Happening::Letter(from, to));
        let works = (0..self.works.len()).filter(|&place| !self.waits(place));
        let works = works.map(Happening::Work);
        turns.chain(letters).chain(works).collect()
    }

    /// Replacements of one file are carried out in their order.
    fn waits(&self, place: usize) -> bool {
        let path = self.works[place].1.path();
        let before = &self.works[..place];
        path.is_some() && before.iter().any(|(_, work)| work.path() == path)
    }

    /// Lets something happen that can.
    pub fn happen(&mut self, now: Now, disk: &mut SimDisk, what: Happening) {
        match what {
            Happening::Turn(shard) => self.turn(now, disk, shard),
            Happening::Letter(from, to) => {
                let queue = self.letters.get_mut(&(from, to));
                if let Some(letter) = queue.and_then(VecDeque::pop_front) {
                    self.take_in(now, to, letter);
                }
            }
            Happening::Work(place) => self.work(disk, place),
        }
    }

    /// Replies that arrived where their callers wait.
    pub fn take_replies(&mut self) -> Vec<(Ticket, Reply)> {
        std::mem::take(&mut self.replies)
    }

    /// Sends a call from the core where the ticket's caller waits to the core `home`.
    pub fn call(&mut self, now: Now, ticket: Ticket, home: ShardId, call: Call) {
        if ticket.shard == home {
            let core = &mut self.cores[usize::from(home.0)];
            core.engine.call(now, ticket, call);
            core.work = true;
        } else {
            self.post(ticket.shard.0, home.0, Letter::Call { ticket, call });
        }
    }

    /// Once a second or so.
    pub fn housekeep(&mut self, now: Now, shard: u16) {
        let core = &mut self.cores[usize::from(shard)];
        core.engine.housekeep(now.instant);
        core.work = true;
    }

    /// The process ends here. Entries that were placed but not handed out yet lie in the files all the
    /// same, for their memory is the files'; the last store may have been under way.
    pub fn leave_placed(&mut self, disk: &mut SimDisk, random: &mut Random) {
        for core in &mut self.cores {
            let mut left = Vec::new();
            if let Some((file, at, bytes)) = core.engine.unsealed_entries() {
                let whole = random.chance(50);
                let length = if whole {
                    bytes.len()
                } else {
                    random.below(bytes.len())
                };
                left.push((file, at, Bytes::copy_from_slice(&bytes[..length])));
            }
            for effect in core.engine.take_effects() {
                if let Effect::WalWrite { file, at, bytes } = effect {
                    left.push((file, at, bytes));
                }
            }
            for (file, at, bytes) in left {
                // A file that was not begun has its earlier head yet, and holds nothing that counts.
                if let Some(&node) = core.wal_open.get(&file) {
                    disk.store(node, at as usize, &bytes);
                }
            }
        }
    }

    /// Wakes the cores whose deadlines have come.
    pub fn wake(&mut self, now: Now) {
        for core in &mut self.cores {
            if core
                .engine
                .next_deadline()
                .is_some_and(|at| at <= now.instant)
            {
                core.work = true;
            }
        }
    }

    /// Asks every core for a checkpoint that is not settled. True if all are.
    pub fn settle(&mut self) -> bool {
        let mut settled = true;
        for core in &mut self.cores {
            if !core.engine.is_settled() {
                core.engine.request_checkpoint();
                core.work = true;
                settled = false;
            }
        }
        settled
    }

    /// Gives all segments their own lengths.
    pub fn trim_segments(&self, disk: &mut SimDisk) {
        for core in &self.cores {
            for &(nodes, end) in core.segments.values() {
                if disk.bytes(nodes[0]).len() > end {
                    disk.truncate(nodes[0], end);
                }
            }
        }
    }

    /// True if segments and checkpoints of every core hold everything.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.cores.iter().all(|core| core.engine.is_settled())
    }

    fn post(&mut self, from: u16, to: u16, letter: Letter) {
        self.letters
            .entry((from, to))
            .or_default()
            .push_back(letter);
    }

    fn take_in(&mut self, now: Now, shard: u16, letter: Letter) {
        let core = &mut self.cores[usize::from(shard)];
        match letter {
            Letter::Call { ticket, call } => core.engine.call(now, ticket, call),
            Letter::Reply { ticket, reply } => self.replies.push((ticket, reply)),
            Letter::Image(image) => core.engine.on_image(&image),
        }
        core.work = true;
    }

    fn turn(&mut self, now: Now, disk: &mut SimDisk, shard: u16) {
        let place = usize::from(shard);
        self.cores[place].work = false;
        self.cores[place].engine.end_turn(now);
        let mut effects = Vec::new();
        loop {
            self.cores[place].engine.swap_effects(&mut effects);
            if effects.is_empty() {
                break;
            }
            let mut wrote = false;
            for effect in effects.drain(..) {
                wrote |= self.carry_out(disk, shard, effect);
            }
            if disk.has_failed() {
                return;
            }
            if wrote {
                self.cores[place].engine.on_wal_written();
            }
        }
        let core = &self.cores[place];
        if !core.flushing && core.engine.wal_flush_wanted() == FlushWanted::Now {
            self.begin_wal_flush(disk, shard);
        }
    }

    /// True if the effect wrote to the write-ahead log.
    fn carry_out(&mut self, disk: &mut SimDisk, shard: u16, effect: Effect) -> bool {
        let work = match effect {
            Effect::Reply { ticket, reply } => {
                self.hand_back(shard, ticket, reply);
                return false;
            }
            Effect::WalBegin(begin) => {
                self.cores[usize::from(shard)].begin_wal_file(disk, &begin);
                return false;
            }
            Effect::WalRemove { file } => {
                self.cores[usize::from(shard)].remove_wal_file(disk, file);
                return false;
            }
            Effect::WalWrite { file, at, bytes } => {
                self.cores[usize::from(shard)].store(disk, file, at as usize, &bytes);
                return true;
            }
            // Where there is no end of it, there is nothing to see.
            Effect::LookAtSpace if disk.room().size().is_none() => return false,
            Effect::LookAtSpace => Work::Look {
                owed_elsewhere: self.owed_elsewhere(usize::from(shard)),
            },
            Effect::Image(image) => {
                for to in (0..self.options.shards).filter(|&to| to != shard) {
                    self.post(shard, to, Letter::Image(image.clone()));
                }
                return false;
            }
            // Nobody asks for it here: files lie in one folder.
            Effect::MoveFiles { .. } => return false,
            Effect::FilesHeld { partition, is_here } => match self.hold(partition, is_here) {
                Some(hold) => hold,
                None => return false,
            },
            Effect::Spill(spill) => Work::Spill {
                spill,
                stage: 0,
                nodes: None,
                flushes: Vec::new(),
            },
            Effect::FlushSegments {
                partition,
                folder,
                segments,
            } => Work::FlushSegments {
                partition,
                folder,
                segments,
                flushes: None,
                claims: false,
                steps: 0,
            },
            Effect::WalPrepare(prepare) => self.cores[usize::from(shard)].prepare_wal(prepare),
            Effect::SaveFile { file, path, bytes } => Work::Save {
                file,
                path,
                bytes,
                stage: 0,
            },
            Effect::ColdRead(read) => Work::ColdRead(read),
            Effect::Compact(job) => Work::Compact(Compacting::new(job)),
            Effect::Repair(repair) => Work::Repair {
                repair,
                prepared: None,
            },
            Effect::RemoveSegments {
                partition,
                folder,
                segments,
                ..
            } => Work::RemoveSegments(Removal::of(partition, folder, segments)),
            Effect::DropFolder { partition, folder } => self.drop_folder(shard, partition, folder),
        };
        self.hold_some(shard, &work);
        self.begin(shard, work);
        false
    }

    fn hand_back(&mut self, shard: u16, ticket: Ticket, reply: Reply) {
        if ticket.shard.0 == shard {
            self.replies.push((ticket, reply));
        } else {
            self.post(shard, ticket.shard.0, Letter::Reply { ticket, reply });
        }
    }

    /// What is under way for the partition comes to nothing.
    fn drop_folder(&mut self, shard: u16, partition: TopicPartition, folder: Arc<str>) -> Work {
        self.works
            .retain(|(of, work)| *of != shard || work.partition() != Some(partition));
        self.dropped += 1;
        Work::DropFolder {
            partition,
            folder,
            aside: None,
            number: self.options.seed as u64 ^ self.dropped,
        }
    }

    fn begin(&mut self, shard: u16, work: Work) {
        if work.is_reported_early(self.options.plant) {
            let done = work.report();
            self.report(shard, done);
        }
        self.works.push((shard, work));
    }

    fn begin_wal_flush(&mut self, disk: &mut SimDisk, shard: u16) {
        let core = &mut self.cores[usize::from(shard)];
        core.flushing = true;
        let files = std::mem::take(&mut core.wal_unflushed);
        let work = Work::FlushWal {
            position: core.engine.wal_written(),
            flushes: files.values().map(|&node| disk.begin_flush(node)).collect(),
        };
        self.begin(shard, work);
    }

    fn work(&mut self, disk: &mut SimDisk, place: usize) {
        let Some((shard, work)) = self.works.get_mut(place) else {
            return;
        };
        let shard = *shard;
        let core = &mut self.cores[usize::from(shard)];
        let mut hands = Hands {
            disk,
            open: &mut core.segments,
            small: &mut core.small,
            is_out_of_files: core.files.are_out.get(),
            plant: self.options.plant,
            keys: &mut core.keys,
            cleaned: &mut self.cleaned,
        };
        let Some(done) = work.step(&mut hands) else {
            return;
        };
        if disk.has_failed() {
            return;
        }
        let early = work.is_reported_early(self.options.plant);
        let removal = work.removal();
        self.works.remove(place);
        self.works.extend(removal.map(|removal| (shard, removal)));
        if !early {
            self.report(shard, done);
        }
    }

    fn report(&mut self, shard: u16, done: Done) {
        let core = &mut self.cores[usize::from(shard)];
        core.work = true;
        match done {
            Done::Spilled(partition, end) => core.engine.on_spilled(partition, end),
            Done::SegmentsFlushed(partition) => core.engine.on_segments_flushed(partition),
            Done::Saved(file) => core.engine.on_file_saved(file),
            Done::WalPrepared(file, node) => {
                core.wal_open.extend(node.map(|node| (file, node)));
                core.engine.on_wal_prepared(file, node.is_some());
            }
            Done::WalFlushed(position) => {
                core.flushing = false;
                core.engine.on_wal_flushed(position);
            }
            Done::ColdRead {
                read,
                result,
                faults,
            } => {
                for fault in faults {
                    core.engine
                        .on_cold_fault(read.partition, read.segment, fault);
                }
                core.engine.on_cold_read(read.id, result);
            }
            Done::Repaired => core.engine.on_repaired(),
            Done::Compacted(pass, result) => core.engine.on_compacted(pass, result),
            Done::Looked(seen) => core.engine.on_free_space(seen),
            Done::Released(partition) => core.engine.release_files(partition),
            Done::Nothing => {}
        }
    }
}

impl Core {
    /// A core with its share of what boot found, as the shard makes it.
    fn new(options: &LifeOptions, disk: &mut SimDisk, shard: u16, share: ShardBoot) -> Self {
        let wal_folder = format!("{}/wal-{shard}", boot::OWN_FOLDER);
        disk.create_folder(&wal_folder);
        let files = share.wal_recyclable.iter();
        let wal_open = files.filter_map(|(number, name)| {
            let node = disk.open(&format!("{wal_folder}/{name}"))?;
            Some((*number, node))
        });
        let wal_open = wal_open.collect();
        let recyclable = share.wal_recyclable.iter().map(|(number, _)| *number);
        let files = WalHeap {
            are_out: Rc::default(),
            room: disk.room(),
        };
        let engine = Engine::new(
            EngineOptions {
                shard: ShardId(shard),
                shards: options.shards,
                node: NODE,
                tail_bytes: options.tail_bytes,
                wal: WalOptions {
                    incarnation: Incarnation((options.seed >> 64) as u64 ^ u64::from(shard)),
                    start: share.wal_start,
                    file_bytes: options.wal_file_bytes,
                    bytes_max: options.wal_bytes,
                    recyclable: recyclable.collect(),
                    next_file: share.wal_next_file,
                },
                producers: ProducerLimits::default(),
                broker_file: options.broker_file.clone(),
                disk_reserve: Some(options.disk_reserve),
                retention_check_interval: options.retention_check_interval,
                compaction: options.compaction,
                groups: options.groups.clone(),
                scale: options.scale,
            },
            share.partitions,
            Box::new(files.clone()),
        );
        Self {
            engine,
            wal_folder,
            wal_open,
            wal_unflushed: BTreeMap::new(),
            segments: OpenSegments::new(),
            small: SmallFiles::default(),
            flushing: false,
            work: true,
            files,
            keys: Keys::default(),
        }
    }

    /// Stores entries into a file's memory.
    fn store(&mut self, disk: &mut SimDisk, file: u64, at: usize, bytes: &[u8]) {
        let node = self.wal_open[&file];
        let has_room = at + bytes.len() <= disk.bytes(node).len();
        assert!(
            has_room || disk.has_failed(),
            "a write-ahead file has room for what is written to it"
        );
        if has_room {
            disk.store(node, at, bytes);
        }
        self.wal_unflushed.insert(file, node);
    }

    fn prepare_wal(&self, prepare: WalPrepare) -> Work {
        Work::PrepareWal {
            file: prepare.file,
            folder: self.wal_folder.clone(),
            path: format!("{}/{}", self.wal_folder, prepare.file_name()),
            length: prepare.length,
            stage: 0,
        }
    }

    fn remove_wal_file(&mut self, disk: &mut SimDisk, file: u64) {
        let Some(node) = self.wal_open.remove(&file) else {
            return;
        };
        let names = disk.list(&self.wal_folder).unwrap_or_default();
        let paths = names
            .iter()
            .map(|name| format!("{}/{name}", self.wal_folder));
        for path in paths {
            if disk.file(&path) == Some(node) {
                disk.remove(&path);
                return;
            }
        }
    }

    fn begin_wal_file(&mut self, disk: &mut SimDisk, begin: &WalBegin) {
        let recycled = begin
            .recycle
            .and_then(|number| self.wal_open.remove(&number));
        let node = recycled.unwrap_or_else(|| {
            let path = format!("{}/{:020}.wal", self.wal_folder, begin.file);
            let node = disk.open(&path).expect("the folder was made at the start");
            disk.room().redeem(begin.length as usize);
            let has_room = disk.extend(node, begin.length as usize);
            assert!(has_room, "room was given to it when its memory was");
            disk.flush_folder(&self.wal_folder);
            node
        });
        disk.write(node, 0, &begin.head);
        self.wal_unflushed.insert(begin.file, node);
        self.wal_open.insert(begin.file, node);
    }
}

/// What a look at the file system shows.
pub(super) fn seen(room: &Room, owed_elsewhere: u64) -> Option<DiskSpace> {
    let (free, total) = (room.free()?, room.size()?);
    Some(DiskSpace {
        free: free as u64,
        total: total as u64,
        owed_elsewhere,
    })
}

impl LifeOptions {
    /// Options drawn by chance, all of them small.
    #[must_use]
    pub fn draw(random: &mut Random, plant: Option<Plant>) -> Self {
        let chunk_bytes = random.between(2, 16) * 512;
        Self {
            shards: random.between(1, 4) as u16,
            tail_bytes: chunk_bytes * random.between(2, 6),
            wal_file_bytes: 4096 + 1024 * random.between(2, 24) as u64,
            wal_bytes: 1024 * random.between(8, 64) as u64,
            disk_reserve: 0,
            retention_check_interval: Duration::from_secs(300),
            compaction: CompactionOptions::default(),
            groups: GroupOptions::default(),
            scale: Scale {
                chunk_bytes,
                spill_bytes: random.between(1, 16) * 512,
                spill_backlog_bytes: random.between(1, 16) * 512,
                aligned_batch_bytes: random.between(64, 1024),
                segment_bytes_max: 1024 * random.between(4, 24) as u32,
                segment_overhead_bytes: 1024,
                compaction_window_bytes: 4096,
                metadata_entries_bytes: random.between(1, 16) * 512,
            },
            broker_file: ConfigMap::new(),
            gives_up_lost: false,
            seed: u128::from(random.next()) << 64 | u128::from(random.next()),
            plant,
        }
    }
}
