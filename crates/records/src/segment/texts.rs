//! The small text files of a log directory, in Kafka's words. Formatting and parsing only.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use klamm_model::{ClusterId, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId, TopicName};

/// A text file is not of its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    /// Line of the fault, from 1; the line after the last if something is missing.
    pub line: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for TextError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: expected {}", self.line, self.expected)
    }
}

impl std::error::Error for TextError {}

/// A leader epoch and the offset with which it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Its first offset.
    pub start: Offset,
}

/// Writes `leader-epoch-checkpoint`: version, count, then one line for each epoch.
#[must_use]
pub fn format_leader_epochs(epochs: &[EpochStart]) -> String {
    let mut text = format!("0\n{}\n", epochs.len());
    for epoch in epochs {
        writeln!(text, "{} {}", epoch.epoch, epoch.start).expect("writing to memory does not fail");
    }
    text
}

/// Reads `leader-epoch-checkpoint`. Epochs must grow, and their offsets must not fall.
///
/// # Errors
/// [`TextError`] at the first line that is wrong or missing.
pub fn parse_leader_epochs(text: &str) -> Result<Vec<EpochStart>, TextError> {
    let fault = |line, expected| TextError { line, expected };
    let mut lines = text.lines();
    if lines.next() != Some("0") {
        return Err(fault(1, "version 0"));
    }
    let count: usize = lines
        .next()
        .and_then(|line| line.parse().ok())
        .ok_or_else(|| fault(2, "the number of entries"))?;
    let mut epochs: Vec<EpochStart> = Vec::new();
    for (number, line) in lines.enumerate() {
        let entry = parse_epoch(line)
            .filter(|entry| {
                epochs.last().is_none_or(|last: &EpochStart| {
                    last.epoch < entry.epoch && last.start <= entry.start
                })
            })
            .ok_or_else(|| fault(number + 3, "a growing epoch and its first offset"))?;
        epochs.push(entry);
    }
    if epochs.len() == count {
        Ok(epochs)
    } else {
        Err(fault(
            epochs.len() + 3,
            "as many entries as the second line says",
        ))
    }
}

fn parse_epoch(line: &str) -> Option<EpochStart> {
    let (epoch, start) = line.split_once(' ')?;
    let (epoch, start): (i32, i64) = (epoch.parse().ok()?, start.parse().ok()?);
    (epoch >= 0 && start >= 0).then_some(EpochStart {
        epoch: LeaderEpoch(epoch),
        start: Offset(start),
    })
}

/// An offset of each partition: in `cleaner-offset-checkpoint` how far it was compacted, in Kafka's
/// `log-start-offset-checkpoint` where its log begins, and so on.
pub type PartitionOffsets = BTreeMap<(TopicName, PartitionIndex), Offset>;

/// Writes a file of [`PartitionOffsets`]: version, count, then topic, partition and offset in a line.
#[must_use]
pub fn format_partition_offsets(offsets: &PartitionOffsets) -> String {
    let mut text = format!("0\n{}\n", offsets.len());
    for ((topic, index), offset) in offsets {
        writeln!(text, "{topic} {index} {offset}").expect("writing to memory does not fail");
    }
    text
}

/// Reads a file of [`PartitionOffsets`].
///
/// # Errors
/// [`TextError`] at the first line that is wrong or missing.
pub fn parse_partition_offsets(text: &str) -> Result<PartitionOffsets, TextError> {
    let fault = |line, expected| TextError { line, expected };
    let mut lines = text.lines();
    if lines.next() != Some("0") {
        return Err(fault(1, "version 0"));
    }
    let count: usize = lines
        .next()
        .and_then(|line| line.parse().ok())
        .ok_or_else(|| fault(2, "the number of entries"))?;
    let mut offsets = PartitionOffsets::new();
    for (number, line) in lines.enumerate() {
        let (partition, offset) = parse_offset_line(line)
            .ok_or_else(|| fault(number + 3, "a topic, a partition and an offset"))?;
        offsets.insert(partition, offset);
    }
    if offsets.len() == count {
        Ok(offsets)
    } else {
        Err(fault(
            offsets.len() + 3,
            "as many entries as the second line says",
        ))
    }
}

fn parse_offset_line(line: &str) -> Option<((TopicName, PartitionIndex), Offset)> {
    let mut words = line.split(' ');
    let topic = TopicName::new(words.next()?).ok()?;
    let index: i32 = words.next()?.parse().ok()?;
    let offset: i64 = words.next()?.parse().ok()?;
    let is_right = index >= 0 && offset >= 0 && words.next().is_none();
    is_right.then_some(((topic, PartitionIndex(index)), Offset(offset)))
}

/// Writes `partition.metadata`.
#[must_use]
pub fn format_partition_metadata(topic: TopicId) -> String {
    format!("version: 0\ntopic_id: {topic}")
}

/// Reads `partition.metadata`.
///
/// # Errors
/// [`TextError`] at the first line that is wrong or missing.
pub fn parse_partition_metadata(text: &str) -> Result<TopicId, TextError> {
    let fault = |line, expected| TextError { line, expected };
    let mut lines = text.lines();
    if lines.next() != Some("version: 0") {
        return Err(fault(1, "version: 0"));
    }
    let topic = lines
        .next()
        .and_then(|line| line.strip_prefix("topic_id: "))
        .and_then(|id| id.parse::<TopicId>().ok())
        .filter(|topic| !topic.is_zero())
        .ok_or_else(|| fault(2, "topic_id: and an id"))?;
    match lines.next() {
        None => Ok(topic),
        Some(_) => Err(fault(3, "the end")),
    }
}

/// Identity of a log directory, drawn when it is formatted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DirectoryId(pub [u8; 16]);

impl fmt::Display for DirectoryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One text form for all of Kafka's 16-byte ids.
        TopicId(self.0).fmt(formatter)
    }
}

/// A data folder, beside the one that keeps the metadata, in which partitions lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderInUse {
    /// The path that it had.
    pub path: String,
    /// Somebody said that it is lost for ever.
    pub is_lost: bool,
}

/// The data folders, beside the one that keeps the metadata, in which partitions lie.
pub type FoldersInUse = BTreeMap<DirectoryId, FolderInUse>;

/// Stands before a folder that is lost for ever.
const LOST: &str = "lost ";

/// Writes the list of folders in use: ours, Apache Kafka has none.
#[must_use]
pub fn format_folders_in_use(folders: &FoldersInUse) -> String {
    let mut text = String::from(
        "# Folders of log.dirs beside this one in which partitions of this node lie, by their \
         directory.id.\n# A start without one of them is refused: its records would be missing. Where \
         that disk is\n# gone for ever, write the word lost before its line; that gives up the records in \
         it.\n",
    );
    for (directory, FolderInUse { path, is_lost }) in folders {
        let (lost, path) = (
            if *is_lost { LOST } else { "" },
            path.replace(['\n', '\r'], "?"),
        );
        writeln!(text, "{lost}{directory} {path}").expect("writing to memory does not fail");
    }
    text
}

/// Reads the list of folders in use.
///
/// # Errors
/// [`TextError`] at the first line that is wrong.
pub fn parse_folders_in_use(text: &str) -> Result<FoldersInUse, TextError> {
    let mut folders = FoldersInUse::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (line, is_lost) = match line.strip_prefix(LOST) {
            Some(rest) => (rest, true),
            None => (line, false),
        };
        let parsed = line.split_once(' ').and_then(|(directory, path)| {
            let directory: TopicId = directory.parse().ok()?;
            let path = path.to_owned();
            Some((DirectoryId(directory.0), FolderInUse { path, is_lost }))
        });
        let (directory, folder) = parsed.ok_or(TextError {
            line: number + 1,
            expected: "a directory id and a path",
        })?;
        folders.insert(directory, folder);
    }
    Ok(folders)
}

/// What `meta.properties` says: whose directory this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// `cluster.id`.
    pub cluster: ClusterId,
    /// `node.id`.
    pub node: NodeId,
    /// `directory.id`.
    pub directory: DirectoryId,
    /// `directory.id` of the directory that keeps the metadata, if that is another. Ours: Apache
    /// Kafka passes over it.
    pub metadata: Option<DirectoryId>,
}

/// The key of [`MetaProperties::metadata`].
const METADATA_DIRECTORY_KEY: &str = "klamm.metadata.directory.id";

impl MetaProperties {
    /// The file's text.
    #[must_use]
    pub fn format(&self) -> String {
        let mut text = format!(
            "version=1\ncluster.id={}\nnode.id={}\ndirectory.id={}\n",
            self.cluster, self.node, self.directory
        );
        if let Some(metadata) = self.metadata {
            writeln!(text, "{METADATA_DIRECTORY_KEY}={metadata}")
                .expect("writing to memory does not fail");
        }
        text
    }

    /// Reads the file. Comments, blank lines and unknown keys are passed over, as Java's property
    /// files have them.
    ///
    /// # Errors
    /// [`TextError`] at the first line that is wrong, or after the last if a key is missing.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let (mut version, mut cluster, mut node, mut directory) = (None, None, None, None);
        let mut metadata = None;
        let mut end = 1;
        for (number, line) in text.lines().enumerate() {
            end = number + 2;
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let fault = |expected| TextError {
                line: number + 1,
                expected,
            };
            let (key, value) = line.split_once('=').ok_or_else(|| fault("key=value"))?;
            let value = value.trim();
            match key.trim() {
                "version" if value == "1" => version = Some(()),
                "version" => return Err(fault("version=1")),
                "cluster.id" => {
                    cluster = Some(value.parse().map_err(|_| fault("a cluster id"))?);
                }
                "node.id" => {
                    let id: i32 = value.parse().map_err(|_| fault("a node id"))?;
                    node = Some(NodeId(id));
                }
                "directory.id" => {
                    let id: TopicId = value.parse().map_err(|_| fault("a directory id"))?;
                    directory = Some(DirectoryId(id.0));
                }
                METADATA_DIRECTORY_KEY => {
                    let id: TopicId = value.parse().map_err(|_| fault("a directory id"))?;
                    metadata = Some(DirectoryId(id.0));
                }
                _ => {}
            }
        }
        let missing = |expected| TextError {
            line: end,
            expected,
        };
        version.ok_or_else(|| missing("version=1"))?;
        Ok(Self {
            cluster: cluster.ok_or_else(|| missing("cluster.id"))?,
            node: node.ok_or_else(|| missing("node.id"))?,
            directory: directory.ok_or_else(|| missing("directory.id"))?,
            metadata,
        })
    }
}
