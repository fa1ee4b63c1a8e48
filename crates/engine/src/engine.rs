//! One core's engine: its tables, and the order of a turn. Owns everything the core owns; events
//! in by method, effects out by [`Engine::take_effects`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use klamm_metadata::{ConfigMap, Image};
use klamm_model::{
    Cursors, Durability, Instant, LeaderEpoch, NodeId, Offset, ShardId, TopicPartition,
};
use klamm_records::compress::Scratch;
use klamm_records::wal::WalPosition;
use klamm_replica::ProducerLimits;

use crate::api::{Call, Now, QuorumFacts, Reply, SharedImage, Ticket};
use crate::append::{PendingBatch, Wait};
use crate::boot::RecoveredPartition;
use crate::checkpoint::Checkpointer;
use crate::compaction::{Compaction, CompactionOptions};
use crate::effects::{Effect, SmallFile};
use crate::groups::{GroupOptions, Groups};
use crate::holds::Holds;
use crate::log_facts::Places;
use crate::memory::WalMemory;
use crate::partition::PartitionLog;
use crate::quorum::QuorumHost;
use crate::read::ColdReads;
use crate::repair::Repairs;
use crate::retention::Retention;
use crate::scale::Scale;
use crate::space::{DiskSpace, SpaceState, SpaceWatch};
use crate::tail::Tail;
use crate::trim::Trims;
use crate::waiters::{ParkedAppends, Slot, Watches};
use crate::wal::{Wal, WalOptions};

/// What an engine is told at its start.
#[derive(Debug)]
pub struct EngineOptions {
    /// Which core this is.
    pub shard: ShardId,
    /// How many there are.
    pub shards: u16,
    /// This node.
    pub node: NodeId,
    /// Bytes of memory for the newest batches.
    pub tail_bytes: usize,
    /// The write-ahead log.
    pub wal: WalOptions,
    /// Ceilings and expiry of producer state.
    pub producers: ProducerLimits,
    /// The broker's file as far as it sets defaults for topics.
    pub broker_file: ConfigMap,
    /// Bytes of the disk that are kept for the broker itself; absent, a part of the file system.
    pub disk_reserve: Option<u64>,
    /// How often segments are looked for that are not to be kept any longer
    /// (`log.retention.check.interval.ms`).
    pub retention_check_interval: Duration,
    /// Compaction, as the broker's file configures it.
    pub compaction: CompactionOptions,
    /// Group coordinators.
    pub groups: GroupOptions,
    /// How finely work is divided.
    pub scale: Scale,
}

/// Counters of one core since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Batches that clients appended.
    pub batches_appended: u64,
    /// Records in them.
    pub records_appended: u64,
    /// Bytes of them.
    pub bytes_appended: u64,
    /// Batches that were refused.
    pub batches_refused: u64,
    /// Bytes of them.
    pub bytes_refused: u64,
    /// Batches among them that were refused because the disk is full.
    pub batches_refused_for_space: u64,
    /// Bytes handed to readers, from memory and from segment files.
    pub bytes_read: u64,
    /// Reads that had to go to segment files.
    pub cold_reads: u64,
    /// Portions handed to segment files.
    pub spills: u64,
    /// Checkpoints saved.
    pub checkpoints: u64,
    /// Segments removed because they lay before the start of their log.
    pub segments_removed: u64,
    /// Passes of compaction that came to their end.
    pub compactions: u64,
    /// Passes that did not.
    pub compactions_failed: u64,
    /// Segments that gave way to a compacted one.
    pub segments_compacted: u64,
    /// Records that compaction removed.
    pub records_compacted: u64,
    /// Records among them that had no key.
    pub records_without_key: u64,
    /// Bytes that compaction read.
    pub compaction_bytes_read: u64,
    /// Bytes that compaction wrote.
    pub compaction_bytes_written: u64,
    /// Times that replayed entries of the metadata log gave way to the image that they make.
    pub metadata_compactions: u64,
}

/// Gauges of one core, computed when asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineGauges {
    /// Partitions on this core.
    pub partitions: u64,
    /// Segments of all of them.
    pub segments: u64,
    /// Bytes of all segments.
    pub log_bytes: u64,
    /// Bytes of memory in the tail.
    pub tail_bytes: u64,
    /// Bytes that a restart would read.
    pub wal_backlog: u64,
    /// Bytes that are appended but not durable.
    pub bytes_not_durable: u64,
    /// Appends that wait.
    pub parked_appends: u64,
    /// Readers that wait.
    pub parked_reads: u64,
    /// Compacted partitions that are not compacted any more until the next start.
    pub uncleanable_partitions: u64,
    /// Bytes of them that are not clean.
    pub uncleanable_bytes: u64,
    /// The largest part of a log that is not clean and could be, in percent.
    pub dirty_percent_max: u64,
}

/// A batch that waits to be written, or to be flushed.
#[derive(Clone, Copy, Debug)]
struct Commit {
    wal_end: WalPosition,
    slot: Slot,
    end_offset: Offset,
    /// Somebody waits for the flush: the topic's class was `flushed` at the append.
    awaited: bool,
}

/// Batches in the order of their write-ahead entries, waiting to be written and flushed.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    unwritten: VecDeque<Commit>,
    unflushed: VecDeque<Commit>,
    /// How many of the unflushed are awaited.
    awaited: usize,
}

impl Commits {
    pub(crate) fn push(
        &mut self,
        wal_end: WalPosition,
        slot: Slot,
        end_offset: Offset,
        durability: Durability,
    ) {
        let awaited = durability == Durability::Flushed;
        let commit = Commit {
            wal_end,
            slot,
            end_offset,
            awaited,
        };
        self.awaited += usize::from(awaited);
        self.unwritten.push_back(commit);
        self.unflushed.push_back(commit);
    }

    /// Somebody waits for the flush of what this slot has, if its class is `flushed` now.
    pub(crate) fn await_flush(&mut self, slot: Slot, durability: Option<Durability>) {
        if durability != Some(Durability::Flushed) {
            return;
        }
        for commit in self.unflushed.iter_mut().filter(|one| one.slot == slot) {
            self.awaited += usize::from(!commit.awaited);
            commit.awaited = true;
        }
    }

    /// Nothing of this slot is waited for any more.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.unwritten.retain(|commit| commit.slot != slot);
        self.unflushed.retain(|commit| commit.slot != slot);
        self.awaited = self
            .unflushed
            .iter()
            .filter(|commit| commit.awaited)
            .count();
    }

    fn pop_written(&mut self, position: WalPosition) -> Option<Commit> {
        self.unwritten
            .pop_front_if(|commit| commit.wal_end <= position)
    }

    /// The next batch before `position` whose flush nobody waits for, unless one stands before it
    /// that is waited for.
    fn pop_unawaited(&mut self, position: WalPosition) -> Option<Commit> {
        self.unflushed
            .pop_front_if(|commit| commit.wal_end <= position && !commit.awaited)
    }

    fn pop_flushed(&mut self, position: WalPosition) -> Option<Commit> {
        let commit = self
            .unflushed
            .pop_front_if(|commit| commit.wal_end <= position)?;
        self.awaited -= usize::from(commit.awaited);
        Some(commit)
    }
}

/// Appends that pause this long let the rest be flushed.
const FLUSH_PAUSE: Duration = Duration::from_millis(500);

/// Longest time for which bytes that nobody waits for are durable nowhere.
const FLUSH_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// All state of one core.
#[derive(Debug)]
pub struct Engine {
    pub(crate) options: EngineOptions,
    pub(crate) image: SharedImage,
    pub(crate) slots: BTreeMap<TopicPartition, Slot>,
    pub(crate) partitions: Vec<Option<PartitionLog>>,
    pub(crate) free: Vec<Slot>,
    pub(crate) tail: Tail,
    pub(crate) wal: Wal,
    /// Placed since the last seal.
    pub(crate) pending: Vec<PendingBatch>,
    /// Batches of the call that is being appended; empty between calls.
    pub(crate) append_waits: Vec<Wait>,
    pub(crate) commits: Commits,
    /// For each chunk of the tail, oldest first, the partitions with batches in it.
    pub(crate) chunk_slots: VecDeque<BTreeSet<Slot>>,
    pub(crate) parked: ParkedAppends,
    pub(crate) watches: Watches,
    pub(crate) cold: ColdReads,
    pub(crate) repairs: Repairs,
    pub(crate) trims: Trims,
    pub(crate) retention: Retention,
    pub(crate) compaction: Compaction,
    pub(crate) holds: Holds,
    pub(crate) groups: Groups,
    pub(crate) places: Places,
    /// Partitions whose segments are behind the log's end, durably.
    pub(crate) dirty: BTreeSet<Slot>,
    /// When something was last appended.
    pub(crate) last_append: Instant,
    /// Since when there may be bytes that neither a flush nor a checkpoint has covered, as far as
    /// the housekeeping saw.
    unflushed_since: Option<Instant>,
    /// A flush is due although nobody waits.
    pub(crate) flush_due: bool,
    /// Partitions with so much in memory that a spill is due.
    pub(crate) spill_due: Vec<Slot>,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) space: SpaceWatch,
    pub(crate) quorum: Option<QuorumHost>,
    /// Partitions found at boot that wait to be claimed by the image.
    pub(crate) recovered: BTreeMap<TopicPartition, RecoveredPartition>,
    pub(crate) generation: u64,
    pub(crate) scratch: Scratch,
    pub(crate) effects: Vec<Effect>,
    pub(crate) stats: EngineStats,
}

impl Engine {
    /// An engine with what boot found for it, and the memory of its write-ahead files.
    #[must_use]
    pub fn new(
        options: EngineOptions,
        recovered: BTreeMap<TopicPartition, RecoveredPartition>,
        memory: Box<dyn WalMemory>,
    ) -> Self {
        let retention = Retention::new(options.retention_check_interval);
        let compaction = Compaction::new(options.compaction);
        let groups = Groups::new(options.groups.clone());
        Self {
            tail: Tail::new(options.tail_bytes, options.scale.chunk_bytes, memory),
            wal: Wal::new(options.wal.clone()),
            space: SpaceWatch::new(options.shards, options.disk_reserve),
            generation: 1,
            options,
            image: Image::default(),
            slots: BTreeMap::new(),
            partitions: Vec::new(),
            free: Vec::new(),
            pending: Vec::new(),
            append_waits: Vec::new(),
            commits: Commits::default(),
            chunk_slots: VecDeque::new(),
            parked: ParkedAppends::default(),
            watches: Watches::default(),
            cold: ColdReads::default(),
            repairs: Repairs::default(),
            trims: Trims::default(),
            retention,
            compaction,
            holds: Holds::default(),
            groups,
            places: Places::default(),
            dirty: BTreeSet::new(),
            last_append: Instant(0),
            unflushed_since: None,
            flush_due: false,
            spill_due: Vec::new(),
            checkpointer: Checkpointer::default(),
            quorum: None,
            recovered,
            scratch: Scratch::default(),
            effects: Vec::new(),
            stats: EngineStats::default(),
        }
    }

    /// Takes a call of any kind.
    pub fn call(&mut self, now: Now, ticket: Ticket, call: Call) {
        match call {
            Call::Append(call) => self.append(now, ticket, call),
            Call::Read(call) => self.read(ticket, call),
            Call::Watch(call) => self.watch(ticket, &call),
            Call::Offsets(call) => self.offsets(ticket, &call),
            Call::EpochEnds(questions) => self.epoch_ends(ticket, &questions),
            Call::LogSizes(partitions) => self.log_sizes(ticket, &partitions),
            Call::Producers(partitions) => self.list_producers(now, ticket, &partitions),
            Call::LogFacts(call) => self.log_facts(ticket, &call),
            Call::Trim(partitions) => self.trim(now, ticket, &partitions),
            Call::MoveFiles(wishes) => self.move_files(ticket, &wishes),
            Call::Quorum => self.describe_quorum(ticket),
            Call::Control(command) => self.control(now, ticket, command),
            Call::Coordinate(partition, command) => {
                self.coordinate(now, ticket, partition, command);
            }
        }
    }

    /// Everything to do since the last call, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Like [`take_effects`](Self::take_effects), into a vector that is used again.
    pub fn swap_effects(&mut self, into: &mut Vec<Effect>) {
        assert!(
            into.is_empty(),
            "effects of the last turn are carried out first"
        );
        std::mem::swap(into, &mut self.effects);
    }

    /// Ends the collecting part of a turn: what was placed is handed out, readers that are due
    /// are told, and segments are brought forward where that is due.
    pub fn end_turn(&mut self, now: Now) {
        self.look_after_groups(now);
        self.seal();
        self.release_watches(now.instant);
        self.look_after_retention(now);
        self.look_after_compaction(now);
        for slot in std::mem::take(&mut self.spill_due) {
            self.spill(slot);
        }
        self.make_way();
        self.drive_checkpoint();
        self.look_after_holds();
        if self.space.begins_look(now.instant) {
            self.effects.push(Effect::LookAtSpace);
        }
        self.prepare_wal_file();
    }

    /// What the host saw of the disk; nothing if it could not look.
    pub fn on_free_space(&mut self, seen: Option<DiskSpace>) {
        self.space.on_look(seen);
    }

    /// How this core stands with the disk.
    #[must_use]
    pub const fn space(&self) -> SpaceState {
        self.space.state()
    }

    /// Bytes that lie in the write-ahead log and will be written to segments besides.
    #[must_use]
    pub const fn owed_bytes(&self) -> u64 {
        self.space.owed()
    }

    /// Asks for the next write-ahead file before it is needed. A core that holds no partition needs
    /// none yet, and where there is little room none is taken before it must be.
    fn prepare_wal_file(&mut self) {
        let is_idle = !self.wal.is_begun() && self.slots.is_empty();
        let length = self.options.wal.file_bytes;
        if is_idle || self.space.state().is_scarce || !self.space.affords(length) {
            return;
        }
        let tail = &mut self.tail;
        if let Some(prepare) = self.wal.prepare(|file| tail.is_free(file)) {
            self.space.charge(prepare.length);
            self.effects.push(Effect::WalPrepare(prepare));
        }
    }

    /// A write-ahead file was made ahead, or could not be: then one is made when it is needed.
    pub fn on_wal_prepared(&mut self, file: u64, is_made: bool) {
        if is_made {
            self.wal.on_prepared(file);
        }
    }

    /// True if so much waits to reach the segments that no more should be taken in.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.wal.is_full()
    }

    /// True if a turn would do something now.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.tail.unsealed() > 0 || !self.effects.is_empty() || self.watches.any_due()
    }

    /// True if [`housekeep`](Self::housekeep) has something to look at.
    #[must_use]
    pub fn wants_housekeeping(&self) -> bool {
        self.wal.backlog() > 0 || self.quorum_waits_for_room() || self.space.state().refuses
    }

    /// A small file was replaced.
    pub fn on_file_saved(&mut self, file: SmallFile) {
        match file {
            SmallFile::Checkpoint => self.on_checkpoint_saved(),
            SmallFile::QuorumState => self.on_quorum_state_saved(),
        }
    }

    /// When [`end_turn`](Self::end_turn) must run even if nothing happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let watches = self.watches.next_deadline();
        let due = self.retention.due().into_iter();
        let due = due.chain(self.compaction.due());
        let due = due.chain(self.groups.next_deadline());
        let loads = self.loads_can_go_on().then_some(Instant(0));
        watches.into_iter().chain(due).chain(loads).min()
    }

    /// The kernel has every write of the effects taken so far.
    pub fn on_wal_written(&mut self) {
        let position = WalPosition(self.wal.end().0 - self.tail.unsealed() as u64);
        self.wal.on_written(position);
        while let Some(commit) = self.commits.pop_written(position) {
            self.advance(commit.slot, |log| {
                log.leader
                    .on_written(log.leader.generation(), commit.end_offset)
            });
        }
    }

    /// End of what the kernel has; what the next flush covers.
    #[must_use]
    pub const fn wal_written(&self) -> WalPosition {
        self.wal.written()
    }

    /// Whether everything written so far should be flushed.
    #[must_use]
    pub fn wal_flush_wanted(&self) -> FlushWanted {
        if self.wal.flushed() >= self.wal.written() {
            return FlushWanted::No;
        }
        if self.commits.awaited > 0 || self.trims.are_waiting() || self.flush_due {
            FlushWanted::Now
        } else {
            FlushWanted::Sometime
        }
    }

    /// Lets what nobody waits for be flushed when the appends pause, and after some seconds in any
    /// case, counted from what no checkpoint covers. Sooner, most of it would be written for nothing:
    /// its place in the write-ahead log is used again as soon as the segments hold it, durably.
    pub(crate) fn look_after_flushes(&mut self, now: Instant) {
        if self.wal.flushed() >= self.wal.written() {
            self.unflushed_since = None;
            return;
        }
        let since = *self.unflushed_since.get_or_insert(now);
        self.flush_due =
            now.since(self.last_append) >= FLUSH_PAUSE || now.since(since) >= FLUSH_INTERVAL_MAX;
    }

    /// Everything before `position` is durable.
    pub fn on_wal_flushed(&mut self, position: WalPosition) {
        self.wal.on_flushed(position);
        self.flush_due = false;
        self.unflushed_since = None;
        while let Some(commit) = self.commits.pop_flushed(position) {
            self.settle(commit);
        }
        self.settle_trims(position);
        self.drive_quorum();
    }

    /// Segments and a checkpoint hold everything before `position`, durably; what was appended
    /// later came no earlier than `since`. Whoever waits for a flush goes on waiting: the log must
    /// do without the checkpoint, should that be damaged.
    pub(crate) fn on_covered(&mut self, position: WalPosition, since: Instant) {
        let surplus = self.wal.on_checkpointed(position).into_iter();
        let removals = surplus.map(|file| Effect::WalRemove { file });
        self.effects.extend(removals);
        self.unflushed_since = self.unflushed_since.map(|seen| seen.max(since));
        while let Some(commit) = self.commits.pop_unawaited(position) {
            self.settle(commit);
        }
    }

    /// The device holds the batch.
    fn settle(&mut self, commit: Commit) {
        self.advance(commit.slot, |log| {
            log.leader
                .on_flushed(log.leader.generation(), commit.end_offset)
        });
    }

    /// Lets a leader's positions move and releases who waited for that.
    pub(crate) fn advance(
        &mut self,
        slot: Slot,
        step: impl FnOnce(&mut PartitionLog) -> Option<klamm_replica::Advance>,
    ) {
        let Some(log) = self
            .partitions
            .get_mut(slot as usize)
            .and_then(Option::as_mut)
        else {
            return;
        };
        let before = log.leader.cursors().high_watermark;
        if step(log).is_none() {
            return;
        }
        let high_watermark = log.leader.cursors().high_watermark;
        if high_watermark > before && !log.watches.is_empty() {
            let bytes: usize = log
                .tail
                .iter()
                .rev()
                .skip_while(|batch| batch.end_offset > high_watermark)
                .take_while(|batch| batch.base_offset >= before)
                .map(|batch| batch.bytes.len())
                .sum();
            for &id in &log.watches {
                self.watches.advance(id, bytes);
            }
        }
        let kept_end = log.leader.kept_end();
        while let Some(waiter) = log.append_waiters.pop_committed(kept_end) {
            if let Some((ticket, call)) = self.parked.settle(waiter.call, waiter.place, None) {
                self.effects.push(Effect::Reply {
                    ticket,
                    reply: Reply::Append(call),
                });
            }
        }
        if log.coordinates {
            let partition = log.partition;
            self.groups.release(partition, kept_end, &mut self.effects);
        }
    }

    fn release_watches(&mut self, now: Instant) {
        for released in self.watches.release(now) {
            self.forget_watch(released.id, &released.slots);
            self.tell(released.ticket, released.watched);
        }
    }

    /// Where the metadata quorum stands, if this core hosts this node's part of it.
    #[must_use]
    pub fn quorum_facts(&self) -> Option<QuorumFacts> {
        self.quorum.as_ref().map(QuorumHost::facts)
    }

    /// Counters since the start.
    #[must_use]
    pub const fn stats(&self) -> EngineStats {
        self.stats
    }

    /// What is held now. Walks all partitions.
    #[must_use]
    pub fn gauges(&self) -> EngineGauges {
        let mut gauges = EngineGauges {
            tail_bytes: self.tail.bytes() as u64,
            wal_backlog: self.wal.backlog(),
            bytes_not_durable: self.wal.not_durable(),
            parked_appends: self.parked.len() as u64,
            parked_reads: (self.watches.len() + self.cold.len()) as u64,
            ..EngineGauges::default()
        };
        let logs = self.partitions.iter().flatten();
        for log in logs.filter(|log| log.partition != TopicPartition::METADATA) {
            gauges.partitions += 1;
            gauges.segments += log.segments.len() as u64;
            gauges.log_bytes += log.segments.bytes();
        }
        let (partitions, bytes) = self.uncleanable();
        gauges.uncleanable_partitions = partitions;
        gauges.uncleanable_bytes = bytes;
        gauges.dirty_percent_max = self.compaction.dirty_percent_max;
        gauges
    }

    /// The metadata as this core sees it.
    #[must_use]
    pub const fn image(&self) -> &SharedImage {
        &self.image
    }

    pub(crate) fn slot_of(&self, partition: TopicPartition) -> Option<Slot> {
        self.slots.get(&partition).copied()
    }

    pub(crate) fn partition(&self, slot: Slot) -> Option<&PartitionLog> {
        self.partitions.get(slot as usize).and_then(Option::as_ref)
    }

    pub(crate) fn partition_mut(&mut self, slot: Slot) -> Option<&mut PartitionLog> {
        self.partitions
            .get_mut(slot as usize)
            .and_then(Option::as_mut)
    }

    /// Where a partition of this core stands.
    #[must_use]
    pub fn cursors(&self, partition: TopicPartition) -> Option<Cursors> {
        let log = self.partition(self.slot_of(partition)?)?;
        Some(log.leader.cursors())
    }

    /// The reign of a partition of this core.
    #[must_use]
    pub fn leader_epoch(&self, partition: TopicPartition) -> Option<LeaderEpoch> {
        let log = self.partition(self.slot_of(partition)?)?;
        Some(log.leader.leader_epoch())
    }
}

/// Whether the write-ahead log should be flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushWanted {
    /// Everything is durable.
    No,
    /// Somebody waits for it.
    Now,
    /// Nobody waits, and more is likely to come first: [`Engine::housekeep`] says when.
    Sometime,
}
