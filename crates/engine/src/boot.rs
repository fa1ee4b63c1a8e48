//! Boot, before any core runs: whatever lies in write-ahead files of earlier lives, of however many
//! cores, is brought into the segments, so that the cores start with empty logs and may be more or
//! fewer than before. Work is bounded by the write-ahead logs, not by the data.
//!
//! ```text
//! checkpoints -> names -> write-ahead files -> metadata log -> partitions -> new checkpoint
//! ```

use std::collections::BTreeMap;
use std::fmt;

use klamm_metadata::{ConfigMap, Image};
use klamm_model::{NodeId, Offset, PartitionIndex, ShardId, TopicName, TopicPartition};
use klamm_raftlog::{Entry, HardState};
use klamm_records::batch;
use klamm_records::compress::Scratch;
use klamm_records::segment::{
    self, CLEANED_OFFSETS_FILE, Checkpoint, PartitionCheckpoint, PartitionOffsets, ShardCheckpoint,
    parse_partition_folder,
};
use klamm_records::wal::WalPosition;
use klamm_replica::{ProducerLimits, Recovered};

use crate::api::Now;
use crate::boot_partition::{self, Replayed};
use crate::boot_wal::{self, FoundWal};
use crate::partition::RecoveryPoint;
use crate::producers;
use crate::quorum;
pub use crate::quorum_log::QUORUM_STATE_FILE;
use crate::quorum_log::{QUORUM_STATE_PATH, decode_entry, parse_state};
use crate::scale::Scale;
use crate::segments::Segments;
use crate::storage::{Storage, StorageError, Unflushed};

/// Folder of klamm's own files inside the data folder.
pub const OWN_FOLDER: &str = "klamm";

/// Where copies of damaged files are kept.
pub const QUARANTINE_FOLDER: &str = "klamm/quarantine";

/// While this file is there, a folder is being taken over from Apache Kafka, and must not be served.
pub const TAKEOVER_MARK: &str = "klamm/takeover";

/// The quorum's log.
pub const METADATA_FOLDER: &str = "__cluster_metadata-0";

/// What is in the segments; every start writes it before anything is served, so that a folder without
/// it is none of ours, or was never served.
pub const BASE_CHECKPOINT: &str = "klamm/checkpoint-base";

/// What boot is told.
#[derive(Clone, Debug)]
pub struct BootOptions {
    /// This node.
    pub node: NodeId,
    /// How many cores will run.
    pub shards: u16,
    /// Length of a write-ahead file; older files of another length are removed once they are covered.
    pub wal_file_bytes: u64,
    /// Ceilings and expiry of producer state.
    pub producers: ProducerLimits,
    /// The broker's file as far as it sets defaults for topics.
    pub broker_file: ConfigMap,
    /// The time of the replay.
    pub now: Now,
    /// How finely work is divided.
    pub scale: Scale,
    /// A disk is lost, and whoever owns it said so: partitions of which nothing is there begin
    /// behind what they held, instead of ending the start.
    pub gives_up_lost: bool,
}

/// What the cores start with.
#[derive(Debug)]
pub struct Booted {
    /// One for each core.
    pub shards: Vec<ShardBoot>,
    /// For core 0.
    pub quorum: QuorumBoot,
    /// The quorum's log, for core 0.
    pub quorum_log: RecoveredPartition,
    /// Up to where partitions were compacted, of all that are still there.
    pub cleaned: PartitionOffsets,
    /// What the administrator should know.
    pub findings: Vec<Finding>,
    /// Batches that were brought from write-ahead files into segments.
    pub batches_replayed: u64,
    /// Bytes of them.
    pub bytes_replayed: u64,
}

/// What one core starts with.
#[derive(Debug, Default)]
pub struct ShardBoot {
    /// Where its write-ahead log goes on.
    pub wal_start: WalPosition,
    /// Number of its next file.
    pub wal_next_file: u64,
    /// Files that may be written over: number and name.
    pub wal_recyclable: Vec<(u64, String)>,
    /// Its partitions.
    pub partitions: BTreeMap<TopicPartition, RecoveredPartition>,
}

/// What the quorum's host starts with.
#[derive(Debug, Default)]
pub struct QuorumBoot {
    /// Term and vote.
    pub hard_state: HardState,
    /// All entries.
    pub entries: Vec<Entry>,
}

/// A partition as boot leaves it: all of it in segments, flushed.
#[derive(Debug)]
pub struct RecoveredPartition {
    /// Name of its topic.
    pub topic: TopicName,
    /// Positions, epochs and producers.
    pub log: Recovered,
    /// Its segments.
    pub segments: Segments,
    pub(crate) recovery: RecoveryPoint,
    pub(crate) folder_made: bool,
    /// Everything before is compacted, as far as is known.
    pub(crate) cleaned_to: Offset,
}

/// Something wrong that boot found, named, and could go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A write-ahead log ended in a write that was never completed; it was never acknowledged as
    /// flushed, and is cut.
    TornTail {
        /// Whose log.
        shard: ShardId,
        /// Where it was cut.
        position: WalPosition,
    },
    /// Bytes that had been flushed are damaged. The file was copied into quarantine; the offsets
    /// they held answer `KAFKA_STORAGE_ERROR`.
    WalDamage {
        /// Whose log.
        shard: ShardId,
        /// First damaged byte.
        from: WalPosition,
        /// Byte after the last.
        to: WalPosition,
        /// Which partition lost records, where that can be told.
        partition: Option<TopicPartition>,
        /// What is wrong.
        fault: String,
        /// The copy of the file.
        quarantined: String,
    },
    /// The head of a write-ahead file is damaged; what the file holds was recognised by its entries.
    /// Nothing is lost by that.
    WalHeadDamage {
        /// Whose log.
        shard: ShardId,
        /// The file's name.
        name: String,
        /// The copy of the file.
        quarantined: String,
    },
    /// A write-ahead file has no head, and its entries do not tell enough: it was begun when the
    /// power went, or all that told is damaged, or the checkpoint that would tell whether it was
    /// void. Whether anything was lost, others say.
    UnknownWalFile {
        /// Whose log.
        shard: ShardId,
        /// The file's name.
        name: String,
        /// The copy of the file.
        quarantined: String,
    },
    /// A checkpoint cannot be read; what it vouched for was read from segments and write-ahead logs
    /// instead.
    BadCheckpoint {
        /// The file.
        path: String,
        /// What is wrong.
        fault: String,
    },
    /// A segment is damaged or shorter than it was when it was flushed.
    SegmentDamage {
        /// Whose segment.
        partition: TopicPartition,
        /// The file.
        path: String,
        /// What is wrong.
        fault: String,
    },
    /// The indexes of a segment could not be what was written, and were made anew from its batches.
    /// Nothing is lost.
    IndexesMade {
        /// Whose segment.
        partition: TopicPartition,
        /// The segment's `.log`.
        path: String,
        /// What was wrong.
        fault: String,
    },
    /// The list of leader epochs of a partition was lost, and was made anew from its batches.
    /// Nothing is lost.
    EpochsMade {
        /// Whose list.
        partition: TopicPartition,
        /// The file.
        path: String,
        /// What was wrong.
        fault: String,
    },
    /// Bytes of write-ahead logs were lost of which nothing tells whose they were: any of these
    /// partitions, of which nothing stands behind them, may have held them at its end, and gives
    /// their offsets to other records.
    EndsInDoubt {
        /// The partitions.
        partitions: Vec<TopicPartition>,
    },
    /// A disk was given up as lost, and a checkpoint that would tell what these partitions held
    /// cannot be read. Nothing of them is there: what they held is lost, and its offsets may be given
    /// to other records.
    GivenUpInDoubt {
        /// The partitions; also those to which nothing was ever written.
        partitions: Vec<TopicPartition>,
    },
    /// A batch in the write-ahead log does not follow what stands before it in its partition.
    Refused {
        /// Whose batch.
        partition: TopicPartition,
        /// What is wrong.
        fault: String,
    },
}

impl Finding {
    /// True if records are lost by it, or perhaps are: a human should look. Otherwise it is told so
    /// that the disk is watched.
    #[must_use]
    pub const fn costs_records(&self) -> bool {
        match self {
            Self::WalDamage { .. }
            | Self::SegmentDamage { .. }
            | Self::EndsInDoubt { .. }
            | Self::GivenUpInDoubt { .. }
            | Self::Refused { .. } => true,
            Self::TornTail { .. }
            | Self::WalHeadDamage { .. }
            | Self::UnknownWalFile { .. }
            | Self::BadCheckpoint { .. }
            | Self::IndexesMade { .. }
            | Self::EpochsMade { .. } => false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TornTail { shard, position } => write!(
                formatter,
                "write-ahead log of shard {shard} ended in an unfinished write at {position}, which was cut; nothing flushed was lost"
            ),
            Self::WalDamage {
                shard,
                from,
                to,
                partition,
                fault,
                quarantined,
            } => {
                let lost = lost_in(*partition);
                write!(
                    formatter,
                    "write-ahead log of shard {shard} is damaged from {from} to {to} ({fault}){lost}; the file was copied to {quarantined}"
                )
            }
            Self::WalHeadDamage {
                shard,
                name,
                quarantined,
            } => write!(
                formatter,
                "the head of {name} in the write-ahead log of shard {shard} is damaged; its entries told what it holds, so that nothing was lost by it; the file was copied to {quarantined}"
            ),
            Self::UnknownWalFile {
                shard,
                name,
                quarantined,
            } => write!(
                formatter,
                "{name} in the write-ahead log of shard {shard} cannot be placed without its head, like a file that was begun when the power went; it was copied to {quarantined}"
            ),
            Self::BadCheckpoint { path, fault } => write!(
                formatter,
                "{path} cannot be used ({fault}); segments and write-ahead logs were read instead"
            ),
            Self::SegmentDamage {
                partition,
                path,
                fault,
            } => write!(
                formatter,
                "segment {path} of partition {partition} is damaged: {fault}"
            ),
            Self::IndexesMade {
                partition,
                path,
                fault,
            } => write!(
                formatter,
                "indexes of segment {path} of partition {partition} were made anew ({fault}); nothing was lost"
            ),
            Self::EpochsMade {
                partition,
                path,
                fault,
            } => write!(
                formatter,
                "{path} of partition {partition} was made anew from its batches ({fault}); nothing was lost"
            ),
            Self::EndsInDoubt { partitions } => write!(
                formatter,
                "nothing tells which partitions the damaged bytes belonged to; perhaps the last records of:{}",
                listed(partitions)
            ),
            Self::GivenUpInDoubt { partitions } => write!(
                formatter,
                "a disk was given up as lost, and no readable checkpoint tells all that these partitions held, of which nothing is there; if they held records, these are lost, and their offsets may be given to others:{}",
                listed(partitions)
            ),
            Self::Refused { partition, fault } => write!(
                formatter,
                "a batch of partition {partition} was not replayed: {fault}"
            ),
        }
    }
}

fn lost_in(partition: Option<TopicPartition>) -> String {
    let told = |partition| format!(", records of partition {partition} are lost there");
    partition.map_or_else(String::new, told)
}

fn listed(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(|one| format!(" {one}")).collect()
}

/// Why a node cannot start on this folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootError {
    /// The folder cannot be read or written.
    Storage(StorageError),
    /// The metadata log cannot be understood: from a newer klamm, or damaged.
    Metadata(String),
    /// A partition's log contradicts the metadata.
    Partition {
        /// Which one.
        partition: TopicPartition,
        /// What is wrong.
        fault: String,
    },
}

impl fmt::Display for BootError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(formatter),
            Self::Metadata(fault) => write!(formatter, "the metadata log cannot be used: {fault}"),
            Self::Partition { partition, fault } => {
                write!(formatter, "partition {partition} cannot be opened: {fault}")
            }
        }
    }
}

impl std::error::Error for BootError {}

impl From<StorageError> for BootError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Recovers a data folder.
///
/// # Errors
/// The folder cannot be used; nothing was acknowledged on it, and what it holds is still there.
pub fn boot<S: Storage>(storage: &mut S, options: &BootOptions) -> Result<Booted, BootError> {
    recover_folder(storage, options, None)
}

/// Recovers a folder whose segments Apache Kafka wrote, and whose metadata log
/// [`write_metadata`](crate::kafka_folder::write_metadata) made: every batch of every segment is
/// read and its checksum proved, indexes and lists of leader epochs are made anew, and logs begin
/// where `log_starts` says.
///
/// # Errors
/// See [`boot`].
pub fn take_over<S: Storage>(
    storage: &mut S,
    options: &BootOptions,
    log_starts: &BTreeMap<TopicPartition, Offset>,
) -> Result<Booted, BootError> {
    recover_folder(storage, options, Some(log_starts))
}

fn recover_folder<S: Storage>(
    storage: &mut S,
    options: &BootOptions,
    taken_over: Option<&BTreeMap<TopicPartition, Offset>>,
) -> Result<Booted, BootError> {
    make_folders(storage, options)?;
    let mut findings = Vec::new();
    let known = read_checkpoints(storage, &mut findings)?;
    let mut wal = boot_wal::read_all(
        storage,
        &known.covered,
        known.incomplete,
        options,
        &mut findings,
    )?;
    let mut replayed = Replayed::default();
    let mut unflushed = Unflushed::default();
    let mut work = boot_partition::Work {
        storage,
        options,
        findings: &mut findings,
        replayed: &mut replayed,
        unflushed: &mut unflushed,
        trust_files: known.incomplete || taken_over.is_some(),
    };
    for (&partition, &log_start) in taken_over.into_iter().flatten() {
        wal.logged.entry(partition).or_default().log_start = log_start;
    }
    let (quorum_log, quorum, image) = recover_quorum(&mut work, &mut wal, &known)?;
    let mut shards = recover_partitions(&mut work, &mut wal, &known, &image)?;
    let cleaned = read_cleaned(&mut work, &mut shards)?;
    storage.settle(&unflushed)?;
    save_base(storage, &wal.found, &shards, &quorum_log)?;
    clean_up(storage, &known, &wal.found, &image)?;
    for (shard, found) in shards.iter_mut().zip(0..) {
        if let Some(found) = wal.found.remove(&ShardId(found)) {
            shard.wal_start = found.end;
            shard.wal_next_file = found.next_file;
            shard.wal_recyclable = found.recyclable;
        }
    }
    Ok(Booted {
        shards,
        quorum,
        quorum_log,
        cleaned,
        findings,
        batches_replayed: replayed.batches,
        bytes_replayed: replayed.bytes,
    })
}

/// The folders that are there before anything runs.
fn make_folders<S: Storage>(storage: &mut S, options: &BootOptions) -> Result<(), BootError> {
    storage.create_folder(OWN_FOLDER)?;
    // Term and vote are saved here before the quorum's log has its first segment.
    storage.create_folder(METADATA_FOLDER)?;
    // Entries are acknowledged as soon as their file is flushed, so its folder must be durable.
    for shard in 0..options.shards {
        storage.create_folder(&format!("{OWN_FOLDER}/wal-{shard}"))?;
    }
    storage.flush_folder(OWN_FOLDER)?;
    storage.flush_folder("")?;
    Ok(())
}

/// Recovers the quorum's log, and what it says: the metadata that names all other partitions.
fn recover_quorum<S: Storage>(
    work: &mut boot_partition::Work<'_, S>,
    wal: &mut boot_wal::FoundWals,
    known: &Known,
) -> Result<(RecoveredPartition, QuorumBoot, Image), BootError> {
    let metadata = TopicPartition::METADATA;
    let name = TopicName::new("__cluster_metadata").expect("a legal name");
    let logged = wal.logged.remove(&metadata).unwrap_or_default();
    let checkpoint = known.partitions.get(&metadata);
    let config = work
        .options
        .scale
        .bounded(klamm_model::TopicConfig::default());
    let log = work.recover(metadata, &name, &config, checkpoint, &logged)?;
    let entries = read_entries(work.storage, &log)?;
    let hard_state = match work.storage.read(QUORUM_STATE_PATH)? {
        Some(bytes) => {
            parse_state(&String::from_utf8_lossy(&bytes)).map_err(BootError::Metadata)?
        }
        None => HardState::default(),
    };
    let image = quorum::image_of(&entries).map_err(BootError::Metadata)?;
    let quorum = QuorumBoot {
        hard_state,
        entries,
    };
    Ok((log, quorum, image))
}

/// Recovers the partitions that the metadata names, and gives each core its own.
fn recover_partitions<S: Storage>(
    work: &mut boot_partition::Work<'_, S>,
    wal: &mut boot_wal::FoundWals,
    known: &Known,
    image: &Image,
) -> Result<Vec<ShardBoot>, BootError> {
    let count = work.options.shards;
    let mut shards: Vec<ShardBoot> = (0..count).map(|_| ShardBoot::default()).collect();
    let (mut in_doubt, mut given_up_in_doubt) = (Vec::new(), Vec::new());
    for (partition, topic, config) in partitions_of(image, work.options) {
        let mut logged = wal.logged.remove(&partition).unwrap_or_default();
        let mut checkpoint = known.partitions.get(&partition);
        let path = segment::partition_folder(&topic, partition.index);
        if work.options.gives_up_lost && work.is_lost(&path, checkpoint, &logged)? {
            if let Some(before) = checkpoint.take() {
                let end = before.flushed_end;
                logged.given_up = end;
                logged.log_start = logged.log_start.max(end);
                work.findings.push(Finding::SegmentDamage {
                    partition,
                    path,
                    fault: format!(
                        "its folder was given up as lost, and its log begins at {end} now"
                    ),
                });
            }
            if known.incomplete {
                given_up_in_doubt.push(partition);
            }
        }
        let found = work.recover(partition, &topic, &config, checkpoint, &logged)?;
        if wal.is_in_doubt && !logged.is_end_known {
            in_doubt.push(partition);
        }
        shards[usize::from(partition.home(count).0)]
            .partitions
            .insert(partition, found);
    }
    // Of partitions that are no more.
    for logged in std::mem::take(&mut wal.logged).into_values() {
        let damaged = logged.damaged.into_iter();
        work.findings.extend(damaged.map(|(_, finding)| finding));
    }
    if !in_doubt.is_empty() {
        work.findings.push(Finding::EndsInDoubt {
            partitions: in_doubt,
        });
    }
    if !given_up_in_doubt.is_empty() {
        work.findings.push(Finding::GivenUpInDoubt {
            partitions: given_up_in_doubt,
        });
    }
    Ok(shards)
}

/// What the checkpoints say.
#[derive(Debug, Default)]
struct Known {
    /// Where each core's log must be read from.
    covered: BTreeMap<ShardId, WalPosition>,
    partitions: BTreeMap<TopicPartition, PartitionCheckpoint>,
    files: Vec<String>,
    /// A checkpoint could not be read: what no other speaks of may be durable all the same.
    incomplete: bool,
    /// There is the checkpoint that every start leaves behind, readable or not.
    has_base: bool,
}

fn read_checkpoints<S: Storage>(
    storage: &mut S,
    findings: &mut Vec<Finding>,
) -> Result<Known, BootError> {
    let mut known = Known::default();
    for name in storage.list(OWN_FOLDER)? {
        let Some(of) = name.strip_prefix("checkpoint-") else {
            continue;
        };
        let path = format!("{OWN_FOLDER}/{name}");
        if of.ends_with(".tmp") {
            // A replacement that was never completed.
            known.files.push(path);
            continue;
        }
        let bytes = storage.read(&path)?.unwrap_or_default();
        match path == BASE_CHECKPOINT {
            true => known.has_base = true,
            false => known.files.push(path.clone()),
        }
        match Checkpoint::decode(&bytes) {
            Ok(checkpoint) => known.merge(checkpoint),
            Err(error) => {
                known.incomplete = true;
                findings.push(Finding::BadCheckpoint {
                    path,
                    fault: error.to_string(),
                });
            }
        }
    }
    Ok(known)
}

impl Known {
    /// Takes over what is newer: positions and ends only grow.
    fn merge(&mut self, checkpoint: Checkpoint) {
        for shard in checkpoint.shards {
            let covered = self.covered.entry(shard.shard).or_insert(shard.flushed);
            *covered = (*covered).max(shard.flushed);
            for mut partition in shard.partitions {
                match self.partitions.get_mut(&partition.partition) {
                    Some(known) if known.flushed_end >= partition.flushed_end => {
                        // The start may have moved although nothing was appended.
                        known.log_start = known.log_start.max(partition.log_start);
                    }
                    known => {
                        let before = known.map_or(Offset::ZERO, |known| known.log_start);
                        partition.log_start = partition.log_start.max(before);
                        self.partitions.insert(partition.partition, partition);
                    }
                }
            }
        }
    }
}

/// The entries of the quorum's log, from its segments.
fn read_entries<S: Storage>(
    storage: &mut S,
    log: &RecoveredPartition,
) -> Result<Vec<Entry>, BootError> {
    let mut entries = Vec::new();
    let mut scratch = Scratch::default();
    let metadata = |fault: String| BootError::Metadata(fault);
    for segment in log.segments.iter() {
        let path = boot_partition::log_path(METADATA_FOLDER, segment.base);
        let bytes = bytes::Bytes::from(storage.read(&path)?.unwrap_or_default());
        let mut at = 0;
        while at < bytes.len() {
            let size =
                batch::size_of(&bytes[at..]).map_err(|e| metadata(format!("{path}: {e}")))?;
            let end = (at + size).min(bytes.len());
            let one = bytes.slice(at..end);
            let header = batch::verify(&one).map_err(|e| metadata(format!("{path}: {e}")))?;
            let records = batch::records(&one, usize::MAX, &mut scratch)
                .map_err(|e| metadata(format!("{path}: {e}")))?;
            for record in records {
                let record = record.map_err(|e| metadata(format!("{path}: {e}")))?;
                entries.push(decode_entry(&record, header.leader_epoch).map_err(metadata)?);
            }
            at = end;
        }
    }
    Ok(entries)
}

fn partitions_of<'a>(
    image: &'a Image,
    options: &'a BootOptions,
) -> impl Iterator<Item = (TopicPartition, TopicName, klamm_model::TopicConfig)> + 'a {
    let layer = image.broker_layer(options.node, &options.broker_file);
    image.topics().flat_map(move |topic| {
        let config = options.scale.bounded(topic.config(&layer));
        topic
            .partitions()
            .map(move |(index, _): (PartitionIndex, _)| {
                (
                    TopicPartition {
                        topic: topic.id(),
                        index,
                    },
                    topic.name().clone(),
                    config.clone(),
                )
            })
    })
}

/// Up to where each partition was compacted. Nothing is lost if that is not known: what is clean is
/// looked through once more.
fn read_cleaned<S: Storage>(
    work: &mut boot_partition::Work<'_, S>,
    shards: &mut [ShardBoot],
) -> Result<PartitionOffsets, BootError> {
    let mut cleaned = PartitionOffsets::new();
    let Some(bytes) = work.storage.read(CLEANED_OFFSETS_FILE)? else {
        return Ok(cleaned);
    };
    let found = match segment::parse_partition_offsets(&String::from_utf8_lossy(&bytes)) {
        Ok(found) => found,
        Err(error) => {
            work.findings.push(Finding::BadCheckpoint {
                path: CLEANED_OFFSETS_FILE.to_owned(),
                fault: error.to_string(),
            });
            return Ok(cleaned);
        }
    };
    for (partition, log) in shards.iter_mut().flat_map(|shard| &mut shard.partitions) {
        let name = (log.topic.clone(), partition.index);
        let Some(&offset) = found.get(&name) else {
            continue;
        };
        // Beyond its end it is of an earlier topic of that name.
        if offset <= log.log.log_end {
            log.cleaned_to = offset;
            cleaned.insert(name, offset);
        }
    }
    Ok(cleaned)
}

/// Saves that everything is in segments: from here on the write-ahead files are not needed.
fn save_base<S: Storage>(
    storage: &mut S,
    found: &BTreeMap<ShardId, FoundWal>,
    shards: &[ShardBoot],
    quorum_log: &RecoveredPartition,
) -> Result<(), BootError> {
    let logs = shards.iter().flat_map(|shard| &shard.partitions);
    let logs = logs.map(|(&partition, log)| (partition, log));
    let logs = logs.chain([(TopicPartition::METADATA, quorum_log)]);
    let mut partitions: Vec<PartitionCheckpoint> = logs
        .filter_map(|(partition, log)| {
            Some(PartitionCheckpoint {
                partition,
                topic_name: log.topic.clone(),
                segment_base: log.recovery.segment?,
                segment_bytes: log.recovery.bytes,
                flushed_end: log.recovery.end_offset,
                log_start: log.recovery.log_start,
                covered: WalPosition::ZERO,
                producers: producers::to_checkpoint(&log.recovery.producers),
            })
        })
        .collect();
    let mut checkpoint = Checkpoint::default();
    let first = found.keys().copied().next().unwrap_or(ShardId(0));
    for shard in found
        .keys()
        .copied()
        .chain(found.is_empty().then_some(ShardId(0)))
    {
        checkpoint.shards.push(ShardCheckpoint {
            shard,
            flushed: found
                .get(&shard)
                .map_or(WalPosition::ZERO, |found| found.end),
            partitions: if shard == first {
                std::mem::take(&mut partitions)
            } else {
                Vec::new()
            },
        });
    }
    storage.replace(BASE_CHECKPOINT, &checkpoint.encode())?;
    Ok(())
}

/// Removes what the new checkpoint has made void: older checkpoints, write-ahead files that cannot be
/// used again, and folders of partitions
/// that are no more.
fn clean_up<S: Storage>(
    storage: &mut S,
    known: &Known,
    wals: &BTreeMap<ShardId, FoundWal>,
    image: &Image,
) -> Result<(), BootError> {
    let surplus = wals.values().flat_map(|found| &found.surplus);
    for path in known.files.iter().chain(surplus) {
        storage.remove(path)?;
    }
    if !known.has_base {
        // Nothing was ever served from here: whatever lies here is none of ours.
        return Ok(());
    }
    for name in storage.list("")? {
        let gone = match parse_partition_folder(&name) {
            Some((_, index)) => boot_partition::owner(storage, &name)?.is_some_and(|topic| {
                let partition = TopicPartition { topic, index };
                partition != TopicPartition::METADATA && image.partition(partition).is_none()
            }),
            None => name.ends_with("-delete"),
        };
        if gone {
            storage.remove_folder(&name)?;
        }
    }
    Ok(())
}
