//! How lives of the node begin and end, and what is judged between them.

use std::time::Duration;

use klamm_engine::boot::{Finding, OWN_FOLDER};
use klamm_engine::compaction::CompactionOptions;
use klamm_engine::metadata::Image;
use klamm_model::{OFFSETS_TOPIC, Offset, TopicPartition};
use klamm_records::segment::partition_folder;
use klamm_records::wal::FileHead;

use super::{Purpose, RunStats, Simulation};
use crate::check::dump::{self, Dump};
use crate::check::ledger::{Known, Stored, Survives};
use crate::check::{
    Violation, acked_is_never_lost, compacted, ensure, indexes_equal_their_rebuild,
    leader_epochs_only_grow_and_stand_in_the_log, log_start_never_goes_back,
    metadata_replay_equals_state, no_duplicate_with_idempotence,
    recovered_log_is_the_flushed_prefix_plus_a_valid_tail,
};
use crate::workload::TOPICS;
use crate::world::failing::{Failing, Failure};
use crate::world::node::{LifeOptions, SimNode, StartFailed, Started};

const STARTS: &str = "a_node_starts_on_whatever_a_crash_left";
const WAITS: &str = "nobody_waits_for_ever";
const CLEAN: &str = "a_clean_stop_leaves_nothing_to_replay";

/// Steps after which a healthy node must have answered everything.
const PATIENCE_STEPS: usize = 60_000;

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    PowerCut,
    Kill,
    /// The disk refused a write or flush; and then perhaps a power cut.
    DiskFailed {
        power_cut: bool,
        /// What was only in the page cache may be gone even without one.
        reverted: bool,
    },
    /// Cleanly; and then perhaps a power cut.
    Stop {
        power_cut: bool,
    },
}

impl Simulation {
    /// The whole run.
    pub(super) fn live(&mut self) -> Result<(), Violation> {
        self.size_disk();
        let lives = self.random.between(2, 6);
        let mut clean = false;
        let mut power_was_cut = false;
        for _ in 0..lives {
            self.arm_disk();
            self.begin(clean, power_was_cut)?;
            let steps = [20, 150, 600, 1500][self.random.below(4)];
            for _ in 0..self.random.between(1, steps) {
                if self.disk.has_failed() {
                    break;
                }
                self.step(false)?;
            }
            self.check_reserve()?;
            self.check_metadata_goes_on()?;
            let end = match self.random.below(10) {
                0..6 => End::PowerCut,
                6..8 => End::Kill,
                _ => End::Stop {
                    power_cut: self.random.chance(50),
                },
            };
            let end = self.end(end)?;
            clean = matches!(end, End::Stop { .. });
            power_was_cut = match end {
                End::PowerCut => true,
                End::Kill => false,
                End::Stop { power_cut } => power_cut,
                End::DiskFailed {
                    power_cut,
                    reverted,
                } => power_cut || reverted,
            };
        }
        self.disk.arm(None);
        self.begin(clean, power_was_cut)?;
        self.enlarge_disk();
        self.heal()?;
        self.end(End::Stop { power_cut: true })?;
        self.begin(true, true)?;
        self.wait_until("everything is quiet", Self::is_quiet)?;
        self.check_images()
    }

    /// Most lives of a world whose disk fails have one operation that it refuses.
    fn arm_disk(&mut self) {
        if self.options.disk_fails {
            let failing = self
                .failing
                .chance(80)
                .then(|| Failing::draw(&mut self.failing));
            self.disk.arm(failing);
        }
    }

    /// Starts the node, perhaps after some attempts during which the power goes.
    pub(super) fn begin(&mut self, clean: bool, power_was_cut: bool) -> Result<(), Violation> {
        let mut cuts = if self.random.chance(25) {
            self.random.between(1, 3)
        } else {
            0
        };
        let (mut clean, mut power_was_cut) = (clean, power_was_cut);
        loop {
            let mut life = LifeOptions::draw(&mut self.random, self.options.plant);
            if let Some(full) = self.full {
                full.shape(&mut life);
            }
            self.shape_for_groups(&mut life);
            if self.options.retention {
                self.keep_little(&mut life);
            }
            if self.options.compaction {
                self.compact_often(&mut life);
            }
            let changes_left = (cuts > 0).then(|| {
                let most = [3, 30, 120][self.random.below(3)];
                self.random.below(most) as u64
            });
            cuts = cuts.saturating_sub(1);
            self.trace
                .event(format_args!("boot {life:?} {changes_left:?}"));
            let file_bytes = life.wal_file_bytes;
            match SimNode::start(life, self.now, &mut self.disk, changes_left) {
                Ok((node, started)) => {
                    ensure!(
                        STARTS,
                        !self.disk.has_failed(),
                        "a boot went on after the disk had refused an operation"
                    );
                    self.node = Some(node);
                    self.check_wal_files(file_bytes)?;
                    return self.begun(&started, clean, power_was_cut);
                }
                Err(StartFailed::PowerCut) => {
                    self.stats.boots_cut += 1;
                    clean = false;
                    if self.random.chance(80) {
                        power_was_cut = true;
                        self.lose_power();
                    }
                }
                Err(StartFailed::DiskFull) => {
                    ensure!(
                        "a_start_finds_the_room_that_is_kept_for_it",
                        self.full.is_some_and(|full| !full.is_polite) && self.disk.taken() > 0,
                        "a start found no room, although others left what is reserved"
                    );
                    self.stats.boots_full += 1;
                    clean = false;
                    self.disk.take(self.disk.taken() / 2);
                    self.disk.commit_names();
                }
                Err(StartFailed::DiskFailed) => {
                    self.stats.boots_failed += 1;
                    clean = false;
                    let failure = self.disk.take_failure();
                    self.trace.event(format_args!("the boot ends: {failure:?}"));
                    power_was_cut |= failure == Some(Failure::Flush { reverted: true });
                    if self.failing.chance(50) {
                        power_was_cut = true;
                        self.disk.cut_power(&mut self.failing);
                    }
                }
                Err(StartFailed::Boot(error)) => {
                    return Err(Violation::new(STARTS, error.to_string()));
                }
                Err(StartFailed::Quorum(error)) => return Err(Violation::new(STARTS, error)),
            }
        }
    }

    pub(super) fn begun(
        &mut self,
        started: &Started,
        clean: bool,
        power_was_cut: bool,
    ) -> Result<(), Violation> {
        self.stats.lives += 1;
        self.stats.replayed += started.batches_replayed;
        self.trace.event(format_args!("up, {started:?}"));
        for finding in &started.findings {
            let holds = match finding {
                Finding::TornTail { .. } => true,
                Finding::UnknownWalFile { .. } => power_was_cut,
                _ => false,
            };
            ensure!(STARTS, holds, "boot reports damage that is none: {finding}");
        }
        ensure!(
            CLEAN,
            !clean || started.batches_replayed == 0,
            "{} batches were replayed after a clean stop",
            started.batches_replayed
        );
        let dump = dump::dump(&self.disk);
        self.check_topics(started, &dump)?;
        self.check_logs(started, &dump, power_was_cut)?;
        self.move_clients();
        Ok(())
    }

    /// Of the write-ahead files that cannot be used again, no core keeps more than the newest: also
    /// of those that a life made and did not live to begin.
    fn check_wal_files(&self, file_bytes: u64) -> Result<(), Violation> {
        for folder in self.disk.list(OWN_FOLDER).unwrap_or_default() {
            let folder = format!("{OWN_FOLDER}/{folder}");
            let names = self.disk.list(&folder).filter(|_| folder.contains("/wal-"));
            let surplus = names.into_iter().flatten().filter(|name| {
                let node = self.disk.file(&format!("{folder}/{name}"));
                let bytes = node.map_or(&[][..], |node| self.disk.bytes(node));
                let is_unused = bytes.iter().all(|&byte| byte == 0);
                bytes.len() as u64 != file_bytes && (is_unused || FileHead::decode(bytes).is_ok())
            });
            let surplus: Vec<String> = surplus.collect();
            ensure!(
                "write_ahead_files_that_cannot_be_used_again_are_removed",
                surplus.len() <= 1,
                "{folder} keeps {surplus:?}, a file is {file_bytes} bytes long now"
            );
        }
        Ok(())
    }

    /// A life in which logs are shortened often.
    fn keep_little(&mut self, life: &mut LifeOptions) {
        let bytes = 1024 * self.trimming.between(0, 24);
        life.retention_check_interval = Duration::from_millis(self.trimming.between(1, 50) as u64);
        let key = "log.retention.bytes".to_owned();
        life.broker_file.insert(key, bytes.to_string());
    }

    /// A life in which logs are compacted often, with little memory.
    fn compact_often(&mut self, life: &mut LifeOptions) {
        life.compaction = CompactionOptions {
            buffer_bytes: [200, 400, 2000, 1 << 20][self.trimming.below(4)]
                * u64::from(life.shards),
            backoff: Duration::from_millis(self.trimming.between(1, 40) as u64),
            ..CompactionOptions::default()
        };
        life.scale.compaction_window_bytes = [100, 700, 4096, 1 << 20][self.trimming.below(4)];
        life.scale.segment_bytes_max = 1024 * self.trimming.between(4, 8) as u32;
        life.wal_bytes = life
            .wal_bytes
            .min(1024 * self.trimming.between(8, 16) as u64);
    }

    /// Clients connect anew, to any core.
    pub(super) fn move_clients(&mut self) {
        let shards = self.node().shards();
        for producer in &mut self.producers {
            producer.shard = self.random.below(shards.into()) as u16;
        }
        for reader in &mut self.readers {
            reader.shard = self.random.below(shards.into()) as u16;
            let target = reader
                .target
                .and_then(|target| self.ledger.logs.get(&target));
            reader.offset = reader.offset.min(target.map_or(0, |log| log.end()));
        }
    }

    /// Topics that were acknowledged are there, deleted ones are not.
    fn check_topics(&mut self, started: &Started, dump: &Dump) -> Result<(), Violation> {
        let partitions = || started.log_ends.keys();
        for (id, name) in &self.created {
            ensure!(
                "metadata_replay_equals_state",
                partitions().any(|partition| partition.topic == *id),
                "topic {name} ({id}) was created, and is not there after a restart"
            );
        }
        for (id, name) in &self.deleted {
            ensure!(
                "metadata_replay_equals_state",
                !partitions().any(|partition| partition.topic == *id),
                "topic {name} ({id}) was deleted, and is there after a restart"
            );
        }
        let there = |partition: &TopicPartition| started.log_ends.contains_key(partition);
        self.ledger.logs.retain(|partition, _| there(partition));
        let metadata = dump
            .get("__cluster_metadata-0")
            .cloned()
            .unwrap_or_default();
        let image = metadata_replay_equals_state::replay(&metadata)?;
        for topic in image.topics() {
            let mut known = TOPICS.iter().chain(&[OFFSETS_TOPIC]);
            if let Some(name) = known.find(|&&name| name == topic.name().as_str()) {
                self.created.insert(topic.id(), name);
            }
        }
        Ok(())
    }

    fn check_logs(
        &mut self,
        started: &Started,
        dump: &Dump,
        power_was_cut: bool,
    ) -> Result<(), Violation> {
        let metadata = dump
            .get("__cluster_metadata-0")
            .cloned()
            .unwrap_or_default();
        let image = metadata_replay_equals_state::replay(&metadata)?;
        self.hear_groups(&image, dump)?;
        let none = dump::PartitionDump::default();
        let may_expire = self.options.retention;
        for (&partition, &end) in &started.log_ends {
            let log_start = started
                .log_starts
                .get(&partition)
                .map_or(0, |start| start.0);
            if partition != TopicPartition::METADATA {
                let log = self.ledger.log(partition);
                log_start_never_goes_back::check(log, partition, Offset(log_start), may_expire)?;
            }
            let found = if partition == TopicPartition::METADATA {
                Some("__cluster_metadata-0".to_owned())
            } else {
                let topic = image.topic_by_id(partition.topic);
                topic.map(|topic| partition_folder(topic.name(), partition.index))
            };
            let files = found.and_then(|folder| dump.get(&folder)).unwrap_or(&none);
            let bytes = files.bytes();
            if self.is_of_groups(&image, partition) {
                // What coordinators write has no numbers; it is judged by what they make of it.
                indexes_equal_their_rebuild::check(
                    partition,
                    files,
                    interval_of(&image, partition),
                )?;
                continue;
            }
            if self.options.compaction && partition != TopicPartition::METADATA {
                let bounds = (log_start, end.0);
                self.check_compacted(partition, (started, &image), files, bounds, power_was_cut)?;
                continue;
            }
            let stored = recovered_log_is_the_flushed_prefix_plus_a_valid_tail::check(
                &self.ledger,
                partition,
                files,
                &bytes,
                (log_start, end.0),
            )?;
            let interval = interval_of(&image, partition);
            indexes_equal_their_rebuild::check(partition, files, interval)?;
            let epochs = started.leader_epochs.get(&partition);
            leader_epochs_only_grow_and_stand_in_the_log::after_restart(
                partition,
                &stored,
                log_start,
                epochs.map_or(&[], Vec::as_slice),
                image.partition(partition).map(|found| found.leader_epoch),
            )?;
            if partition == TopicPartition::METADATA {
                continue;
            }
            no_duplicate_with_idempotence::check(partition, &stored)?;
            self.check_acked(partition, &stored, (log_start, end.0), power_was_cut)?;
        }
        Ok(())
    }

    /// What was acknowledged is there; from now on, what is there is known.
    fn check_acked(
        &mut self,
        partition: TopicPartition,
        stored: &[Stored<'_>],
        (log_start, end): (i64, i64),
        power_was_cut: bool,
    ) -> Result<(), Violation> {
        let log = self.ledger.log(partition);
        // Also what was read or acknowledged after the start had moved past it.
        log.known.retain(|_, known| known.end > log_start);
        let lost = acked_is_never_lost::after_restart(log, partition, stored, power_was_cut)?;
        self.stats.lawfully_lost += lost as u64;
        log.known = stored
            .iter()
            .filter(|batch| batch.end > log_start)
            .map(|batch| {
                let known = Known {
                    number: batch.number(),
                    end: batch.end,
                    survives: Survives::PowerCut,
                };
                (batch.base, known)
            })
            .collect();
        log.recovered_end = end;
        log.high_watermark = 0;
        log.earlier_leader_epoch = log.leader_epoch;
        Ok(())
    }

    fn check_compacted(
        &mut self,
        partition: TopicPartition,
        (started, image): (&Started, &Image),
        files: &dump::PartitionDump,
        bounds: (i64, i64),
        power_was_cut: bool,
    ) -> Result<(), Violation> {
        indexes_equal_their_rebuild::check(partition, files, interval_of(image, partition))?;
        let bytes = files.bytes();
        let broken = |at| Violation::new(STARTS, format!("{partition}: breaks at {at}"));
        let stored = Stored::all(&bytes).map_err(broken)?;
        compacted::check_files(partition, &files.names, &stored, bounds)?;
        let epochs = started.leader_epochs.get(&partition);
        leader_epochs_only_grow_and_stand_in_the_log::after_restart(
            partition,
            &stored,
            bounds.0,
            epochs.map_or(&[], Vec::as_slice),
            image.partition(partition).map(|found| found.leader_epoch),
        )?;
        let ledger = &mut self.ledger;
        let lost = compacted::after_restart(ledger, partition, &stored, bounds, power_was_cut)?;
        self.stats.lawfully_lost += lost as u64;
        let log = self.ledger.log(partition);
        log.recovered_end = bounds.1;
        log.high_watermark = 0;
        log.earlier_leader_epoch = log.leader_epoch;
        Ok(())
    }

    /// Ends a life in this way, or as the disk does meanwhile; tells how it ended.
    pub(super) fn end(&mut self, end: End) -> Result<End, Violation> {
        self.trace.event(format_args!("{end:?}"));
        if let End::Stop { .. } = end {
            self.others_give_way();
            self.wait_until("everything is quiet", Self::is_quiet)?;
            self.wait_until("every core is settled", |simulation| {
                simulation.node().settle()
            })?;
        }
        let end = self.disk_failed().unwrap_or(end);
        if let End::Stop { .. } = end {
            // Settled: all that is appended is durable in segments.
            for log in self.ledger.logs.values_mut() {
                log.is_durable_before(i64::MAX);
            }
            self.check_images()?;
        }
        if self.full.is_some() {
            let (room, owed) = (self.disk.room(), self.node().owed_bytes());
            self.trace
                .event(format_args!("{room:?}, {owed} owed to segments"));
        }
        let node = self.node.take();
        if let Some(mut node) = node {
            if !matches!(end, End::Stop { .. }) {
                node.leave_placed(&mut self.disk, &mut self.random);
            }
            for shard in 0..node.shards() {
                let stats = node.engine(shard).stats();
                self.stats.cold_reads += stats.cold_reads;
                self.stats.refused_for_space += stats.batches_refused_for_space;
                self.stats.checkpoints += stats.checkpoints;
                self.stats.segments_removed += stats.segments_removed;
                self.stats.compactions += stats.compactions;
                self.stats.compactions_failed += stats.compactions_failed;
                self.stats.segments_compacted += stats.segments_compacted;
                self.stats.records_compacted += stats.records_compacted;
                self.stats.metadata_compactions += stats.metadata_compactions;
            }
        }
        self.disk.forget_promises();
        self.calls.clear();
        self.end_groups();
        self.admin_call = None;
        self.registered = false;
        for producer in &mut self.producers {
            producer.on_crash();
        }
        for reader in &mut self.readers {
            reader.on_crash();
        }
        match end {
            End::Kill => self.stats.kills += 1,
            End::PowerCut => self.lose_power(),
            End::DiskFailed { power_cut, .. } => {
                self.stats.lives_failed += 1;
                if power_cut {
                    self.disk.cut_power(&mut self.failing);
                }
            }
            End::Stop { power_cut } => {
                self.stats.clean_stops += 1;
                if power_cut {
                    self.lose_power();
                }
            }
        }
        Ok(end)
    }

    fn lose_power(&mut self) {
        let free = self.disk.room().free();
        self.disk.cut_power(&mut self.random);
        self.yield_to_power_cut(free);
    }

    /// How the life ended, if the disk has ended it.
    fn disk_failed(&mut self) -> Option<End> {
        let failure = self.disk.take_failure()?;
        let end = End::DiskFailed {
            power_cut: self.failing.chance(50),
            reverted: failure == Failure::Flush { reverted: true },
        };
        self.trace.event(format_args!("{failure:?}: {end:?}"));
        Some(end)
    }

    /// No call is under way, and nothing is to be done.
    pub(super) fn is_quiet(&mut self) -> bool {
        let watches = self.calls.values().all(|purpose| match purpose {
            Purpose::Reader { reader } => self.readers[*reader].asked.is_none(),
            // Whoever joins may wait for others.
            Purpose::Group(_) => true,
            _ => false,
        });
        watches && self.registered && self.node().happenings().is_empty()
    }

    pub(super) fn wait_until(
        &mut self,
        what: &str,
        mut reached: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), Violation> {
        for _ in 0..PATIENCE_STEPS {
            if self.disk.has_failed() || reached(self) {
                return Ok(());
            }
            self.quiet_step()?;
        }
        Err(Violation::new(
            WAITS,
            format!("gave up waiting until {what}; calls {:?}", self.calls),
        ))
    }

    /// Lets something happen without new business of the clients.
    pub(super) fn quiet_step(&mut self) -> Result<(), Violation> {
        let clients = std::mem::replace(&mut self.weights.clients, 0);
        if !self.registered && self.admin_call.is_none() {
            self.weights.clients = clients;
            self.admin_only();
        }
        let stepped = self.step(true);
        self.weights.clients = clients;
        stepped
    }

    fn admin_only(&mut self) {
        self.admin(true);
    }

    /// No more faults: everything that was sent is answered, and readers come to the end.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        for _ in 0..PATIENCE_STEPS {
            let shards = self.node().shards();
            let node = self.node.as_ref().expect("the node is up");
            // A producer whose topic is gone for good has nobody to ask.
            let producing = self.producers.iter().any(|producer| {
                let image = node.engine(producer.shard).image();
                !producer.is_idle() && producer.named.resolve(image).is_some()
            });
            let reading = self.readers.iter().any(|reader| {
                reader.target.is_some_and(|target| {
                    let engine = node.engine(target.home(shards).0);
                    let end = engine
                        .cursors(target)
                        .map(|cursors| cursors.high_watermark.0);
                    end.is_some_and(|end| reader.offset < end)
                })
            });
            if !producing && !reading && self.registered && self.saw_all_groups() {
                return Ok(());
            }
            self.step(true)?;
        }
        let waiting: Vec<_> = self.producers.iter().filter(|one| !one.is_idle()).collect();
        Err(Violation::new(
            WAITS,
            format!(
                "after the last fault: producers {waiting:?}, readers {:?}",
                self.readers
            ),
        ))
    }

    fn check_images(&mut self) -> Result<(), Violation> {
        let node = self.node.as_ref().expect("the node is up");
        if !node.is_settled() {
            return Ok(());
        }
        // Nobody writes to segments any more.
        node.trim_segments(&mut self.disk);
        let dump = dump::dump(&self.disk);
        let metadata = dump
            .get("__cluster_metadata-0")
            .cloned()
            .unwrap_or_default();
        let replayed = metadata_replay_equals_state::replay(&metadata)?;
        let held = (0..node.shards()).map(|shard| node.engine(shard).image());
        metadata_replay_equals_state::check(&replayed, held)?;
        self.check_groups(&dump)
    }

    fn is_of_groups(&self, image: &Image, partition: TopicPartition) -> bool {
        let topic = image.topic_by_id(partition.topic);
        topic.is_some_and(|topic| topic.name().as_str() == OFFSETS_TOPIC)
    }
}

/// `index.interval.bytes` of a partition.
fn interval_of(image: &Image, partition: TopicPartition) -> usize {
    image.topic_by_id(partition.topic).map_or(4096, |topic| {
        let file = klamm_engine::metadata::ConfigMap::new();
        topic.config(&file).index_interval_bytes as usize
    })
}

impl RunStats {
    /// Adds another run's numbers.
    pub fn add(&mut self, other: &Self) {
        self.lives += other.lives;
        self.boots_cut += other.boots_cut;
        self.boots_failed += other.boots_failed;
        self.boots_full += other.boots_full;
        self.refused_for_space += other.refused_for_space;
        self.decided_while_full += other.decided_while_full;
        self.lives_failed += other.lives_failed;
        self.kills += other.kills;
        self.clean_stops += other.clean_stops;
        self.acknowledged += other.acknowledged;
        self.acknowledged_durable += other.acknowledged_durable;
        self.lawfully_lost += other.lawfully_lost;
        self.replayed += other.replayed;
        self.reads += other.reads;
        self.cold_reads += other.cold_reads;
        self.checkpoints += other.checkpoints;
        self.metadata_compactions += other.metadata_compactions;
        self.topics_deleted += other.topics_deleted;
        self.trims += other.trims;
        self.segments_removed += other.segments_removed;
        self.compactions += other.compactions;
        self.compactions_failed += other.compactions_failed;
        self.segments_compacted += other.segments_compacted;
        self.records_compacted += other.records_compacted;
        self.damaged += other.damaged;
        self.damage_told += other.damage_told;
        self.ends_in_doubt += other.ends_in_doubt;
        self.damage_refused += other.damage_refused;
        self.damage_survivors_read += other.damage_survivors_read;
        self.offsets_committed += other.offsets_committed;
        self.offsets_seen += other.offsets_seen;
        self.coordinators_loaded += other.coordinators_loaded;
        self.coordinators_replayed += other.coordinators_replayed;
        self.disk.power_cuts += other.disk.power_cuts;
        self.disk.sectors_lost += other.disk.sectors_lost;
        self.disk.sectors_garbled += other.disk.sectors_garbled;
        self.disk.names_lost += other.disk.names_lost;
        self.disk.writes_failed += other.disk.writes_failed;
        self.disk.writes_without_room += other.disk.writes_without_room;
        self.disk.flushes_failed += other.disk.flushes_failed;
        self.disk.sectors_forsaken += other.disk.sectors_forsaken;
    }
}
