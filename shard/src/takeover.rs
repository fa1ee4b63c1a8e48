//! Taking over the data folder of a single Apache Kafka node, as a copy or in place, before any
//! core runs. While it is under way [`boot::TAKEOVER_MARK`] keeps the folder from being served, and
//! after a crash it is begun again: Kafka's own metadata stays in the folder.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use klamm_engine::Scale;
use klamm_engine::boot::{self, BootError, BootOptions, Finding, METADATA_FOLDER, OWN_FOLDER};
use klamm_engine::kafka_folder::{self, AdoptError};
use klamm_engine::kafka_log::{LogExam, LogFault};
use klamm_engine::metadata::kafka::LeftBehind;
use klamm_engine::metadata::{ConfigMap, Image};
use klamm_engine::replica::ProducerLimits;
use klamm_engine::storage::StorageError;
use klamm_model::{LeaderEpoch, NodeId, Offset, TopicName, TopicPartition};
use klamm_os::disk::{self, FolderLock, LockError};
use klamm_records::segment::{
    META_PROPERTIES_FILE, MetaProperties, PARTITION_METADATA_FILE, SegmentFile, fill_holes,
    format_partition_metadata, parse_partition_folder, parse_partition_metadata,
    parse_partition_offsets, parse_segment_file, partition_folder,
};

use crate::shards::Core;
use crate::storage::DataFolder;

/// Kafka writes it when it stopped well, and removes it when it starts.
const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";

/// Where the logs begin whose first records were deleted.
const LOG_START_FILE: &str = "log-start-offset-checkpoint";

/// Where files that only Kafka needs are kept after a takeover in place.
const KEPT_FOLDER: &str = "klamm/kafka";

/// Where records are known to be up to.
const HIGH_WATERMARK_FILES: [&str; 2] = [
    "replication-offset-checkpoint",
    "recovery-point-offset-checkpoint",
];

/// Small files are no longer than this.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// Segments are no longer than this: positions in them have 31 bits.
const SEGMENT_BYTES_MAX: u64 = 2 << 30;

/// Bytes of a write-ahead file, for a boot that makes none.
const WAL_FILE_BYTES: u64 = 32 << 20;

/// What to take over.
#[derive(Clone, Debug)]
pub struct TakeoverOptions {
    /// Kafka's `log.dirs`, all of them.
    pub sources: Vec<PathBuf>,
    /// A new folder that gets copies; absent, the one source becomes klamm's.
    pub into: Option<PathBuf>,
    /// Partitions of which no folder has anything begin empty, instead of ending it.
    pub allow_missing: bool,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeoverStep {
    /// Every batch is read and its checksum proved; nothing is changed.
    Proving {
        /// Bytes read.
        done: u64,
        /// Bytes of all segments.
        all: u64,
    },
    /// Segments are copied.
    Copying {
        /// Bytes copied.
        done: u64,
        /// Bytes of all segments.
        all: u64,
    },
    /// What a start needs is made: metadata, indexes, leader epochs.
    Making {
        /// Partitions.
        partitions: usize,
    },
}

/// What was taken over.
#[derive(Clone, Debug)]
pub struct TakenOver {
    /// The folder that klamm may serve now.
    pub folder: PathBuf,
    /// Its node.
    pub node: NodeId,
    /// Its cluster, as clients see it.
    pub cluster: String,
    /// Topics.
    pub topics: usize,
    /// Partitions.
    pub partitions: usize,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Offsets that can be read, counted over all partitions.
    pub offsets: u64,
    /// Offsets in holes, whose records Kafka's cleaner removed: batches without records stand there
    /// now.
    pub filled: u64,
    /// Partitions that Kafka's metadata names and that had no folder: they are empty.
    pub without_folder: Vec<String>,
    /// Folders and metadata that stay behind, in words.
    pub left_behind: Vec<String>,
}

/// Why a folder cannot be taken over. Whatever is wrong with Kafka's files is found before anything
/// is changed.
#[derive(Debug)]
pub enum TakeoverError {
    /// A folder cannot be locked.
    Lock(LockError),
    /// Something on the disk cannot be read or written.
    Storage(StorageError),
    /// The folder is not in the state that it must be in.
    Folder {
        /// Which one.
        path: PathBuf,
        /// What was expected, and found.
        fault: String,
    },
    /// Kafka's metadata or positions cannot be used.
    Adopt(AdoptError),
    /// The segments contradict the metadata.
    Boot(BootError),
    /// Bytes of segments that were right a moment before are damaged.
    Damage(Vec<Finding>),
}

impl fmt::Display for TakeoverError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock(error) => error.fmt(formatter),
            Self::Storage(error) => error.fmt(formatter),
            Self::Folder { path, fault } => write!(formatter, "{}: {fault}", path.display()),
            Self::Adopt(error) => error.fmt(formatter),
            Self::Boot(error) => error.fmt(formatter),
            Self::Damage(findings) => {
                write!(formatter, "the segments are damaged:")?;
                for finding in findings {
                    write!(formatter, "\n  {finding}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for TakeoverError {}

impl From<StorageError> for TakeoverError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<AdoptError> for TakeoverError {
    fn from(error: AdoptError) -> Self {
        Self::Adopt(error)
    }
}

/// Takes over what [`TakeoverOptions`] says. Blocks; calls `step` now and then.
///
/// # Errors
/// [`TakeoverError`].
pub fn take_over(
    options: &TakeoverOptions,
    step: &mut dyn FnMut(TakeoverStep),
) -> Result<TakenOver, TakeoverError> {
    let target = match (&options.into, options.sources.as_slice()) {
        (Some(into), _) => into.clone(),
        (None, [one]) => one.clone(),
        (None, sources) => {
            return Err(TakeoverError::Folder {
                path: sources.first().cloned().unwrap_or_default(),
                fault: "expected one folder to take over in place, found several: name a new \
                        folder that gets copies"
                    .to_owned(),
            });
        }
    };
    let in_place = options.into.is_none();
    check_apart(options)?;
    let _locks = lock_all(options)?;
    let mark = mark_of(options);
    let is_underway = check_mark(&target, &mark)?;
    if !is_underway {
        check_target(&target, in_place)?;
    }
    if !(in_place && is_underway) {
        check_stopped(&options.sources)?;
    }
    let mut kafka = Kafka::read(&options.sources, in_place)?;
    kafka.check_missing(options.allow_missing)?;
    let filled = kafka.prove(step)?;
    let mut storage = begin(&target, &mark, in_place)?;
    if in_place {
        put_aside(&target, &kafka)?;
        bring_over(&kafka, None, step)?;
    } else {
        prepare_copies(&kafka, &target, &mut storage)?;
        bring_over(&kafka, Some(&target), step)?;
        // Kafka may have been started meanwhile.
        check_stopped(&options.sources)?;
        kafka.check_unchanged()?;
    }
    kafka_folder::write_metadata(&mut storage, &kafka.image)?;
    let meta = write_meta(&target, &kafka.meta);
    meta.map_err(|error| failed("write", &target.join(META_PROPERTIES_FILE), &error))?;
    let partitions = kafka.partitions.len();
    step(TakeoverStep::Making { partitions });
    let offsets = make(&mut storage, &kafka)?;
    end(&target, in_place)?;
    let without_folder = kafka.without_folder();
    Ok(TakenOver {
        folder: target,
        node: kafka.meta.node,
        cluster: kafka.meta.cluster.to_string(),
        topics: kafka.image.topics().count(),
        partitions,
        bytes: kafka.bytes,
        offsets,
        filled,
        without_folder,
        left_behind: std::mem::take(&mut kafka.left_behind),
    })
}

fn failed(operation: &'static str, path: &Path, error: &std::io::Error) -> TakeoverError {
    TakeoverError::Storage(crate::storage::failed(operation, path, error))
}

fn fault(path: &Path, fault: impl Into<String>) -> TakeoverError {
    TakeoverError::Folder {
        path: path.to_owned(),
        fault: fault.into(),
    }
}

/// Whether something is there; what cannot be looked at is no absence.
fn exists(path: &Path) -> Result<bool, TakeoverError> {
    match disk::file_len(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("look at", path, &error)),
    }
}

/// A folder inside another would become a part of what it is made from.
fn check_apart(options: &TakeoverOptions) -> Result<(), TakeoverError> {
    let Some(into) = &options.into else {
        return Ok(());
    };
    let absolute =
        |path: &Path| std::path::absolute(path).map_err(|error| failed("look at", path, &error));
    let target = absolute(into)?;
    for source in &options.sources {
        let from = absolute(source)?;
        if target.starts_with(&from) || from.starts_with(&target) {
            let source = source.display();
            return Err(fault(
                into,
                format!("expected a folder apart from {source}, found one inside the other"),
            ));
        }
    }
    Ok(())
}

/// What the mark of this takeover says, so that another one does not go on with it.
fn mark_of(options: &TakeoverOptions) -> String {
    let mut mark = "taken over from Apache Kafka\n".to_owned();
    mark += match options.into {
        Some(_) => "as a copy\n",
        None => "in place\n",
    };
    if options.into.is_some() {
        for source in &options.sources {
            mark += &format!("of {}\n", source.display());
        }
    }
    mark
}

/// Whether this takeover was begun before.
fn check_mark(target: &Path, mark: &str) -> Result<bool, TakeoverError> {
    let path = target.join(boot::TAKEOVER_MARK);
    if !exists(&path)? {
        return Ok(false);
    }
    let found = disk::read_to_string(&path, TEXT_BYTES_MAX);
    let found = found.map_err(|error| failed("read", &path, &error))?;
    if found == mark {
        return Ok(true);
    }
    if found.is_empty() {
        return Err(fault(
            &path,
            "expected what was begun here, found an empty file: remove it if this folder is to be \
             taken over",
        ));
    }
    let found = found.trim_end().replace('\n', ", ");
    Err(fault(
        target,
        format!(
            "expected what this command began, found a folder that is being {found}: run that \
             command again, or name another folder"
        ),
    ))
}

fn lock_all(options: &TakeoverOptions) -> Result<Vec<FolderLock>, TakeoverError> {
    let mut locks = Vec::new();
    for source in &options.sources {
        if !exists(source)? {
            return Err(fault(
                source,
                "expected a data folder of Apache Kafka, found nothing",
            ));
        }
        locks.push(disk::lock_folder(source).map_err(TakeoverError::Lock)?);
    }
    if let Some(into) = &options.into {
        disk::create_dir_all(into).map_err(|error| failed("create", into, &error))?;
        locks.push(disk::lock_folder(into).map_err(TakeoverError::Lock)?);
    }
    Ok(locks)
}

/// Kafka holds another kind of lock than we do; but only while it is stopped, and stopped well, is
/// its mark there.
fn check_stopped(sources: &[PathBuf]) -> Result<(), TakeoverError> {
    for source in sources {
        if !exists(&source.join(CLEAN_SHUTDOWN_FILE))? {
            return Err(fault(
                source,
                format!(
                    "expected {CLEAN_SHUTDOWN_FILE}, which Apache Kafka leaves when it stopped \
                     well, found none: stop it with kafka-server-stop.sh; if it crashed, start it \
                     once more, so that it recovers its logs, and stop it then"
                ),
            ));
        }
    }
    Ok(())
}

fn check_target(target: &Path, in_place: bool) -> Result<(), TakeoverError> {
    if in_place {
        return match exists(&target.join(boot::BASE_CHECKPOINT))? {
            true => Err(fault(target, "it is klamm's already: klamm serve opens it")),
            false => Ok(()),
        };
    }
    for name in disk::list(target).map_err(|error| failed("list", target, &error))? {
        // The lock's file is ours, and so is a folder without anything.
        let own = target.join(OWN_FOLDER);
        let is_ours = name.starts_with('.')
            || name == OWN_FOLDER && disk::list(&own).is_ok_and(|names| names.is_empty());
        if !is_ours {
            return Err(fault(
                target,
                format!("expected a new or empty folder, found {name} in it"),
            ));
        }
    }
    Ok(())
}

/// A partition, and where Kafka has it.
#[derive(Debug)]
struct KafkaPartition {
    topic: TopicName,
    /// Its folder; absent, it is empty.
    folder: Option<PathBuf>,
    segments: Vec<Segment>,
    /// Kafka's cleaner left holes between its offsets.
    has_holes: bool,
}

/// A segment as Kafka has it.
#[derive(Debug)]
struct Segment {
    name: String,
    base: Offset,
    bytes: u64,
}

/// What lies in Kafka's folders.
#[derive(Debug)]
struct Kafka {
    meta: MetaProperties,
    image: Image,
    partitions: BTreeMap<TopicPartition, KafkaPartition>,
    log_starts: BTreeMap<TopicPartition, Offset>,
    /// Where Kafka knew records up to.
    high_watermarks: BTreeMap<TopicPartition, Offset>,
    bytes: u64,
    left_behind: Vec<String>,
    /// Folders of partitions that the metadata does not know.
    strays: Vec<PathBuf>,
}

impl Kafka {
    fn read(sources: &[PathBuf], in_place: bool) -> Result<Self, TakeoverError> {
        let meta = read_meta(sources)?;
        let (mut storage, folder) = find_metadata(sources, in_place)?;
        let metadata = kafka_folder::read_kafka_metadata(&mut storage, &folder)?;
        let adopted = metadata.adopt(meta.cluster, meta.node);
        let (image, left) = adopted.map_err(AdoptError::Metadata)?;
        let mut kafka = Self {
            meta,
            partitions: partitions_of(&image),
            image,
            log_starts: BTreeMap::new(),
            high_watermarks: BTreeMap::new(),
            bytes: 0,
            left_behind: in_words(&left),
            strays: Vec::new(),
        };
        for source in sources {
            kafka.find_folders(source)?;
            let starts = kafka.offsets_in(&source.join(LOG_START_FILE))?;
            kafka.log_starts.extend(starts);
            for file in HIGH_WATERMARK_FILES {
                for (partition, offset) in kafka.offsets_in(&source.join(file))? {
                    let known = kafka.high_watermarks.entry(partition).or_insert(offset);
                    *known = offset.max(*known);
                }
            }
        }
        Ok(kafka)
    }

    fn find_folders(&mut self, source: &Path) -> Result<(), TakeoverError> {
        let names = disk::list(source).map_err(|error| failed("list", source, &error))?;
        for name in names {
            let folder = source.join(&name);
            let Some((topic, index)) = parse_partition_folder(&name) else {
                if name.ends_with("-delete")
                    || name.ends_with("-stray")
                    || name.ends_with("-future")
                {
                    self.left_behind.push(format!("folder {name}"));
                    self.strays.push(folder);
                }
                continue;
            };
            if name == METADATA_FOLDER {
                continue;
            }
            let id = read_topic_id(&folder)?;
            let partition = TopicPartition { topic: id, index };
            let known = self.partitions.get_mut(&partition);
            let Some(known) = known.filter(|known| known.topic == topic) else {
                self.left_behind
                    .push(format!("folder {name}, of a topic that is no more"));
                self.strays.push(folder);
                continue;
            };
            if let Some(other) = &known.folder {
                let other = other.display();
                return Err(fault(
                    &folder,
                    format!("the same partition lies in {other}"),
                ));
            }
            known.segments = segments_in(&folder)?;
            self.bytes += known
                .segments
                .iter()
                .map(|segment| segment.bytes)
                .sum::<u64>();
            known.folder = Some(folder);
        }
        Ok(())
    }

    /// What one of Kafka's lists of offsets says of partitions that there are.
    fn offsets_in(&self, path: &Path) -> Result<Vec<(TopicPartition, Offset)>, TakeoverError> {
        if !exists(path)? {
            return Ok(Vec::new());
        }
        let text = disk::read_to_string(path, TEXT_BYTES_MAX);
        let text = text.map_err(|error| failed("read", path, &error))?;
        let listed =
            parse_partition_offsets(&text).map_err(|error| fault(path, error.to_string()))?;
        let known = listed.into_iter().filter_map(|((topic, index), offset)| {
            let topic = self.image.topic(topic.as_str())?.id();
            let partition = TopicPartition { topic, index };
            self.partitions
                .contains_key(&partition)
                .then_some((partition, offset))
        });
        Ok(known.collect())
    }

    /// A forgotten folder must not look like empty partitions, whose offsets are given out again.
    fn check_missing(&self, allow: bool) -> Result<(), TakeoverError> {
        match self.without_folder().first() {
            Some(name) if !allow => Err(fault(
                Path::new(name),
                "expected the folder of this partition, which Kafka's metadata names, found none: \
                 name all folders of Kafka's log.dirs; if its records are lost, --allow-missing \
                 begins it empty",
            )),
            _ => Ok(()),
        }
    }

    /// Reads every batch and proves its checksum, without changing anything. Gives the offsets of
    /// holes.
    fn prove(&mut self, step: &mut dyn FnMut(TakeoverStep)) -> Result<u64, TakeoverError> {
        let (mut done, mut filled, all) = (0, 0, self.bytes);
        for (partition, found) in &mut self.partitions {
            let Some(folder) = &found.folder else {
                continue;
            };
            let log_start = self.log_starts.get(partition).copied();
            let mut exam = LogExam::new(log_start.unwrap_or(Offset::ZERO));
            for segment in &found.segments {
                let path = folder.join(&segment.name);
                let bytes = read_segment(&path)?;
                let refused = |error: LogFault| fault(&path, error.to_string());
                let in_holes = exam.segment(segment.base, &bytes).map_err(refused)?;
                found.has_holes |= in_holes > 0;
                filled += in_holes;
                done += segment.bytes;
                step(TakeoverStep::Proving { done, all });
            }
            let refused = |error: LogFault| fault(folder, error.to_string());
            exam.finish().map_err(refused)?;
            let end = exam.end().unwrap_or(Offset::ZERO);
            let known = self.high_watermarks.get(partition).copied();
            for (what, offset) in [("begins", log_start), ("had records up to", known)] {
                if let Some(offset) = offset.filter(|&offset| offset > end) {
                    return Err(fault(
                        folder,
                        format!(
                            "records are missing: Kafka noted that the log {what} offset {offset}, \
                             and it ends at {end}"
                        ),
                    ));
                }
            }
        }
        Ok(filled)
    }

    /// Somebody may have written to the folders while they were copied.
    fn check_unchanged(&self) -> Result<(), TakeoverError> {
        for found in self.partitions.values() {
            let Some(folder) = &found.folder else {
                continue;
            };
            let now = segments_in(folder)?;
            let (was, is) = (found.segments.iter(), now.iter());
            let lengths = |segment: &Segment| (segment.base, segment.bytes);
            if !was.map(lengths).eq(is.map(lengths)) {
                return Err(fault(folder, "its segments changed while they were copied"));
            }
        }
        Ok(())
    }

    fn without_folder(&self) -> Vec<String> {
        let partitions = self.partitions.iter();
        partitions
            .filter(|(_, found)| found.folder.is_none())
            .map(|(partition, found)| partition_folder(&found.topic, partition.index))
            .collect()
    }
}

fn in_words(left: &LeftBehind) -> Vec<String> {
    let counts = left.counts.iter();
    counts
        .map(|(what, count)| format!("metadata: {count} records of {what}"))
        .collect()
}

fn read_meta(sources: &[PathBuf]) -> Result<MetaProperties, TakeoverError> {
    let mut found: Option<MetaProperties> = None;
    for source in sources {
        let path = source.join(META_PROPERTIES_FILE);
        let text = disk::read_to_string(&path, TEXT_BYTES_MAX);
        let text = text.map_err(|error| failed("read", &path, &error))?;
        let meta = MetaProperties::parse(&text).map_err(|error| fault(&path, error.to_string()))?;
        match found {
            Some(first) if (first.cluster, first.node) != (meta.cluster, meta.node) => {
                return Err(fault(
                    &path,
                    format!(
                        "expected node {} of cluster {}, as in the first folder, found node {} of \
                         cluster {}",
                        first.node, first.cluster, meta.node, meta.cluster
                    ),
                ));
            }
            Some(_) => {}
            None => found = Some(meta),
        }
    }
    found.ok_or_else(|| fault(Path::new(""), "expected at least one folder"))
}

/// Kafka's metadata log: in one of its folders, or where an interrupted takeover has put it.
fn find_metadata(
    sources: &[PathBuf],
    in_place: bool,
) -> Result<(DataFolder, String), TakeoverError> {
    let aside = format!("{KEPT_FOLDER}/{METADATA_FOLDER}");
    for source in sources {
        let places = [in_place.then_some(aside.as_str()), Some(METADATA_FOLDER)];
        for folder in places.into_iter().flatten() {
            if exists(&source.join(folder))? {
                return Ok((DataFolder::open(source.clone())?, folder.to_owned()));
            }
        }
    }
    Err(fault(
        sources
            .first()
            .map_or_else(|| Path::new(""), PathBuf::as_path),
        format!(
            "expected {METADATA_FOLDER}, the metadata of a node that runs without ZooKeeper, in one \
             of the folders, found none: name its metadata.log.dir, too"
        ),
    ))
}

fn partitions_of(image: &Image) -> BTreeMap<TopicPartition, KafkaPartition> {
    let topics = image.topics().flat_map(|topic| {
        topic.partitions().map(|(index, _)| {
            let partition = TopicPartition {
                topic: topic.id(),
                index,
            };
            let found = KafkaPartition {
                topic: topic.name().clone(),
                folder: None,
                segments: Vec::new(),
                has_holes: false,
            };
            (partition, found)
        })
    });
    topics.collect()
}

fn read_topic_id(folder: &Path) -> Result<klamm_model::TopicId, TakeoverError> {
    let path = folder.join(PARTITION_METADATA_FILE);
    let text = disk::read_to_string(&path, TEXT_BYTES_MAX);
    let text = text.map_err(|error| failed("read", &path, &error))?;
    parse_partition_metadata(&text).map_err(|error| fault(&path, error.to_string()))
}

fn read_segment(path: &Path) -> Result<Bytes, TakeoverError> {
    let bytes = disk::read(path, SEGMENT_BYTES_MAX);
    bytes
        .map(Bytes::from)
        .map_err(|error| failed("read", path, &error))
}

fn segments_in(folder: &Path) -> Result<Vec<Segment>, TakeoverError> {
    let names = disk::list(folder).map_err(|error| failed("list", folder, &error))?;
    let mut segments = Vec::new();
    for name in names {
        if let Some((base, SegmentFile::Log)) = parse_segment_file(&name) {
            let path = folder.join(&name);
            let bytes = disk::file_len(&path).map_err(|error| failed("look at", &path, &error))?;
            segments.push(Segment { name, base, bytes });
        }
    }
    Ok(segments)
}

/// Marks the folder as being taken over, durably, and removes what an interrupted takeover of the
/// same kind made: what becomes of it is made anew.
fn begin(target: &Path, mark: &str, in_place: bool) -> Result<DataFolder, TakeoverError> {
    use klamm_engine::storage::Storage as _;
    let mut storage = DataFolder::open(target.to_owned())?;
    storage.create_folder(OWN_FOLDER)?;
    storage.flush_folder("")?;
    storage.replace(boot::TAKEOVER_MARK, mark.as_bytes())?;
    for name in storage.list(OWN_FOLDER)? {
        if name.starts_with("checkpoint-") {
            storage.remove(&format!("{OWN_FOLDER}/{name}"))?;
        }
    }
    if !in_place {
        for name in storage.list("")? {
            if name == META_PROPERTIES_FILE {
                storage.remove(&name)?;
            } else if parse_partition_folder(&name).is_some() {
                storage.remove_folder(&name)?;
            }
        }
    }
    Ok(storage)
}

/// Puts Kafka's metadata and folders that are nobody's where klamm does not look. Kafka's records
/// stay where they are.
fn put_aside(target: &Path, kafka: &Kafka) -> Result<(), TakeoverError> {
    let kept = target.join(KEPT_FOLDER);
    disk::create_dir_all(&kept).map_err(|error| failed("create", &kept, &error))?;
    let metadata = target.join(METADATA_FOLDER);
    let aside = kept.join(METADATA_FOLDER);
    if !exists(&aside)? {
        disk::rename(&metadata, &aside).map_err(|error| failed("move", &metadata, &error))?;
    } else {
        // An interrupted takeover's own.
        disk::remove_dir_all(&metadata).map_err(|error| failed("remove", &metadata, &error))?;
    }
    for stray in &kafka.strays {
        if let Some(name) = stray.file_name() {
            disk::rename(stray, kept.join(name)).map_err(|error| failed("move", stray, &error))?;
        }
    }
    for folder in [&kept, &target.join(OWN_FOLDER), target] {
        disk::sync_dir(folder).map_err(|error| failed("flush", folder, &error))?;
    }
    Ok(())
}

/// The folders of copies, with whose they are.
fn prepare_copies(
    kafka: &Kafka,
    target: &Path,
    storage: &mut DataFolder,
) -> Result<(), TakeoverError> {
    use klamm_engine::storage::Storage as _;
    let space = disk::free_space(target).map_err(|error| failed("look at", target, &error))?;
    if space.free < kafka.bytes {
        return Err(fault(
            target,
            format!(
                "expected room for {} bytes of segments, found {}: free some, or take the folder \
                 over in place",
                kafka.bytes, space.free
            ),
        ));
    }
    for (partition, found) in &kafka.partitions {
        if found.folder.is_some() {
            let name = partition_folder(&found.topic, partition.index);
            storage.create_folder(&name)?;
            let metadata = format_partition_metadata(partition.topic);
            let path = format!("{name}/{PARTITION_METADATA_FILE}");
            storage.replace(&path, metadata.as_bytes())?;
        }
    }
    Ok(storage.flush_folder("")?)
}

/// Has all segments where they belong, without holes: in place, or as copies below `target`.
fn bring_over(
    kafka: &Kafka,
    target: Option<&Path>,
    step: &mut dyn FnMut(TakeoverStep),
) -> Result<(), TakeoverError> {
    let (mut done, all) = (0, kafka.bytes);
    for (partition, found) in &kafka.partitions {
        let Some(source) = &found.folder else {
            continue;
        };
        let folder = target.map_or_else(
            || source.clone(),
            |target| target.join(partition_folder(&found.topic, partition.index)),
        );
        let mut leader_epoch = LeaderEpoch(0);
        for (place, segment) in found.segments.iter().enumerate() {
            let (from, to) = (source.join(&segment.name), folder.join(&segment.name));
            if found.has_holes {
                let next = found.segments.get(place + 1).map(|next| next.base);
                leader_epoch = bring_filled(segment, (&from, &to), next, leader_epoch)?;
            } else if target.is_some() {
                disk::copy(&from, &to).map_err(|error| failed("copy", &from, &error))?;
            }
            done += segment.bytes;
            if target.is_some() {
                step(TakeoverStep::Copying { done, all });
            }
        }
        disk::sync_dir(&folder).map_err(|error| failed("flush", &folder, &error))?;
    }
    Ok(())
}

/// Brings over a segment of a log that has holes; gives the leader epoch of its last batch.
fn bring_filled(
    segment: &Segment,
    (from, to): (&Path, &Path),
    next: Option<Offset>,
    before: LeaderEpoch,
) -> Result<LeaderEpoch, TakeoverError> {
    let bytes = read_segment(from)?;
    let filled = fill_holes(&bytes, segment.base, next, before);
    let filled =
        filled.map_err(|(at, reason)| fault(from, format!("damaged at byte {at}: {reason}")))?;
    let written = match &filled.bytes {
        Some(bytes) => disk::write_atomically(to, bytes),
        None if from != to => disk::copy(from, to),
        None => Ok(()),
    };
    written.map_err(|error| failed("write", to, &error))?;
    Ok(filled.leader_epoch)
}

fn write_meta(target: &Path, meta: &MetaProperties) -> std::io::Result<()> {
    disk::write_atomically(target.join(META_PROPERTIES_FILE), meta.format().as_bytes())
}

/// Has everything made that a start needs, from the batches. Gives the offsets that can be read.
fn make(storage: &mut DataFolder, kafka: &Kafka) -> Result<u64, TakeoverError> {
    let options = BootOptions {
        gives_up_lost: false,
        node: kafka.meta.node,
        shards: 1,
        wal_file_bytes: WAL_FILE_BYTES,
        producers: ProducerLimits::default(),
        broker_file: ConfigMap::new(),
        now: Core::now(),
        scale: Scale::default(),
    };
    let booted = boot::take_over(storage, &options, &kafka.log_starts);
    let booted = booted.map_err(TakeoverError::Boot)?;
    let (damage, _): (Vec<_>, Vec<_>) = booted
        .findings
        .into_iter()
        .partition(Finding::costs_records);
    if !damage.is_empty() {
        return Err(TakeoverError::Damage(damage));
    }
    let partitions = booted
        .shards
        .iter()
        .flat_map(|shard| shard.partitions.values());
    let readable = partitions.map(|found| (found.log.log_end.0 - found.log.log_start.0).max(0));
    Ok(readable.sum::<i64>().unsigned_abs())
}

/// The folder is klamm's.
fn end(target: &Path, in_place: bool) -> Result<(), TakeoverError> {
    if in_place {
        // Kafka must not believe that nothing happened here since it stopped.
        let mark = target.join(CLEAN_SHUTDOWN_FILE);
        disk::remove_file(&mark).map_err(|error| failed("remove", &mark, &error))?;
        disk::sync_dir(target).map_err(|error| failed("flush", target, &error))?;
    }
    let mark = target.join(boot::TAKEOVER_MARK);
    disk::remove_file(&mark).map_err(|error| failed("remove", &mark, &error))?;
    let own = target.join(OWN_FOLDER);
    disk::sync_dir(&own).map_err(|error| failed("flush", &own, &error))
}
