//! The records of groups of the consumer protocol (KIP-848): keys 3 to 8 and 16, values of version
//! 0, as Kafka 4.3 writes them.

use std::collections::BTreeMap;

use bytes::Bytes;
use klamm_model::{TopicId, WallTime};

use super::{Reader, RecordError, Writer};

/// Partitions by topic, in order, each once.
pub(crate) type Partitions = BTreeMap<TopicId, Vec<i32>>;

/// Partitions by topic, each with the epoch in which the member got it.
pub(crate) type Dated = BTreeMap<TopicId, BTreeMap<i32, i32>>;

/// Which part of a group a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Key 3: its epoch.
    Epoch,
    /// Key 4: what Kafka 4.0 kept of its topics.
    Topics,
    /// Key 5: what a member said.
    Member(&'a str),
    /// Key 6: the epoch of its target assignment.
    TargetEpoch,
    /// Key 7: what a member shall have.
    Target(&'a str),
    /// Key 8: what a member has.
    Current(&'a str),
    /// Key 16: which topics match a regular expression.
    Regex(&'a str),
}

impl<'a> Part<'a> {
    /// What follows the group's name in a key of this kind; `None` is a kind of another protocol.
    pub(super) fn decode(kind: i16, reader: &mut Reader<'a>) -> Result<Option<Self>, RecordError> {
        Ok(Some(match kind {
            3 => Self::Epoch,
            4 => Self::Topics,
            5 => Self::Member(reader.text()?),
            6 => Self::TargetEpoch,
            7 => Self::Target(reader.text()?),
            8 => Self::Current(reader.text()?),
            16 => Self::Regex(reader.text()?),
            _ => return Ok(None),
        }))
    }

    /// The key of this part of a group.
    pub(crate) fn key(self, group: &str) -> Bytes {
        let (kind, name) = match self {
            Self::Epoch => (3, None),
            Self::Topics => (4, None),
            Self::Member(name) => (5, Some(name)),
            Self::TargetEpoch => (6, None),
            Self::Target(name) => (7, Some(name)),
            Self::Current(name) => (8, Some(name)),
            Self::Regex(name) => (16, Some(name)),
        };
        let mut writer = Writer::new(kind, group.len() + name.map_or(0, str::len) + 4);
        writer.text(group);
        if let Some(name) = name {
            writer.text(name);
        }
        writer.finish()
    }
}

fn begin(value: &[u8]) -> Result<Reader<'_>, RecordError> {
    let mut reader = Reader::new(value);
    let version = reader.int16()?;
    if version != 0 {
        return Err(RecordError::UnknownVersion { version });
    }
    reader.flexible();
    Ok(reader)
}

/// `ConsumerGroupMetadataValue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochValue {
    pub(crate) epoch: i32,
    /// Of the topics that members read; zero where there are none (KIP-1101).
    pub(crate) metadata_hash: i64,
}

impl EpochValue {
    pub(crate) fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let mut reader = begin(value)?;
        let epoch = reader.int32()?;
        let mut metadata_hash = 0;
        reader.tagged(|tag, bytes| {
            if tag == 0 {
                metadata_hash = Reader::new(bytes).int64()?;
            }
            Ok(())
        })?;
        Ok(Self {
            epoch,
            metadata_hash,
        })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(0, 16);
        writer.int32(self.epoch);
        writer.tagged_int64(self.metadata_hash);
        writer.finish()
    }
}

/// `ConsumerGroupTargetAssignmentMetadataValue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TargetEpochValue {
    pub(crate) epoch: i32,
    /// When it was found; zero where that is not known (KIP-1263).
    pub(crate) at: WallTime,
}

impl TargetEpochValue {
    pub(crate) fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let EpochValue {
            epoch,
            metadata_hash,
        } = EpochValue::decode(value)?;
        let at = WallTime(metadata_hash);
        Ok(Self { epoch, at })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let same = EpochValue {
            epoch: self.epoch,
            metadata_hash: self.at.0,
        };
        same.encode()
    }
}

/// `ConsumerGroupMemberMetadataValue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SaidValue<'a> {
    pub(crate) instance: Option<&'a str>,
    pub(crate) rack: Option<&'a str>,
    pub(crate) client_id: &'a str,
    pub(crate) client_host: &'a str,
    pub(crate) topics: Vec<&'a str>,
    pub(crate) regex: Option<&'a str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) assignor: Option<&'a str>,
    pub(crate) classic: Option<ClassicValue<'a>>,
}

/// What a member of the classic protocol said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassicValue<'a> {
    pub(crate) session_timeout_ms: i32,
    pub(crate) protocols: Vec<(&'a str, &'a [u8])>,
}

impl<'a> SaidValue<'a> {
    pub(crate) fn decode(value: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = begin(value)?;
        let instance = reader.nullable_text()?;
        let rack = reader.nullable_text()?;
        let client_id = reader.text()?;
        let client_host = reader.text()?;
        let mut topics = Vec::new();
        for _ in 0..reader.count()? {
            topics.push(reader.text()?);
        }
        let regex = reader.nullable_text()?;
        let rebalance_timeout_ms = reader.int32()?;
        let assignor = reader.nullable_text()?;
        let mut classic = None;
        reader.tagged(|tag, bytes| {
            if tag == 0 {
                classic = ClassicValue::decode(bytes)?;
            }
            Ok(())
        })?;
        Ok(Self {
            instance,
            rack,
            client_id,
            client_host,
            topics,
            regex,
            rebalance_timeout_ms,
            assignor,
            classic,
        })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let names = [self.instance, self.rack, self.regex, self.assignor];
        let names: usize = names.iter().flatten().map(|name| name.len()).sum();
        let topics: usize = self.topics.iter().map(|topic| topic.len() + 3).sum();
        let clients = self.client_id.len() + self.client_host.len();
        let mut writer = Writer::new(0, names + topics + clients + 40);
        writer.compact_nullable_text(self.instance);
        writer.compact_nullable_text(self.rack);
        writer.compact_text(self.client_id);
        writer.compact_text(self.client_host);
        writer.compact_count(self.topics.len());
        for topic in &self.topics {
            writer.compact_text(topic);
        }
        writer.compact_nullable_text(self.regex);
        writer.int32(self.rebalance_timeout_ms);
        writer.compact_nullable_text(self.assignor);
        match &self.classic {
            None => writer.varint(0),
            Some(classic) => {
                let classic = classic.encode();
                writer.varint(1);
                writer.varint(0);
                writer.varint(u32::try_from(classic.len()).unwrap_or(u32::MAX));
                writer.raw(&classic);
            }
        }
        writer.finish()
    }
}

impl<'a> ClassicValue<'a> {
    /// A nullable structure begins with one byte that says whether it is there.
    fn decode(bytes: &'a [u8]) -> Result<Option<Self>, RecordError> {
        let mut reader = Reader::new(bytes);
        reader.flexible();
        if reader.int8()? < 0 {
            return Ok(None);
        }
        let session_timeout_ms = reader.int32()?;
        let mut protocols = Vec::new();
        for _ in 0..reader.count()? {
            protocols.push((reader.text()?, reader.bytes()?));
            reader.tagged(|_, _| Ok(()))?;
        }
        reader.tagged(|_, _| Ok(()))?;
        Ok(Some(Self {
            session_timeout_ms,
            protocols,
        }))
    }

    fn encode(&self) -> Bytes {
        let protocols = self.protocols.iter();
        let size: usize = protocols.map(|(name, data)| name.len() + data.len()).sum();
        let mut writer = Writer::bare(size + 16 * self.protocols.len() + 16);
        writer.int8(1);
        writer.int32(self.session_timeout_ms);
        writer.compact_count(self.protocols.len());
        for (name, data) in &self.protocols {
            writer.compact_text(name);
            writer.compact_count(data.len());
            writer.raw(data);
            writer.varint(0);
        }
        writer.varint(0);
        writer.finish()
    }
}

/// `ConsumerGroupTargetAssignmentMemberValue`: what a member shall have.
pub(crate) fn decode_target(value: &[u8]) -> Result<Partitions, RecordError> {
    let mut reader = begin(value)?;
    let mut target = Partitions::new();
    for _ in 0..reader.count()? {
        let topic = TopicId(reader.uuid()?);
        let partitions: &mut Vec<i32> = target.entry(topic).or_default();
        for _ in 0..reader.count()? {
            partitions.push(reader.int32()?);
        }
        partitions.sort_unstable();
        partitions.dedup();
        reader.tagged(|_, _| Ok(()))?;
    }
    reader.tagged(|_, _| Ok(()))?;
    target.retain(|_, partitions| !partitions.is_empty());
    Ok(target)
}

pub(crate) fn encode_target(target: &Partitions) -> Bytes {
    let size: usize = target.values().map(|of| 24 + 4 * of.len()).sum();
    let mut writer = Writer::new(0, size + 8);
    writer.compact_count(target.len());
    for (topic, partitions) in target {
        writer.raw(&topic.0);
        writer.compact_count(partitions.len());
        for partition in partitions {
            writer.int32(*partition);
        }
        writer.varint(0);
    }
    writer.varint(0);
    writer.finish()
}

/// `ConsumerGroupCurrentMemberAssignmentValue`: what a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CurrentValue {
    pub(crate) epoch: i32,
    pub(crate) previous_epoch: i32,
    /// As Kafka numbers the states of members.
    pub(crate) state: i8,
    pub(crate) assigned: Dated,
    pub(crate) revoking: Dated,
}

impl CurrentValue {
    pub(crate) fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let mut reader = begin(value)?;
        let epoch = reader.int32()?;
        let previous_epoch = reader.int32()?;
        let state = reader.int8()?;
        let assigned = dated(&mut reader, epoch)?;
        let revoking = dated(&mut reader, epoch)?;
        reader.tagged(|_, _| Ok(()))?;
        Ok(Self {
            epoch,
            previous_epoch,
            state,
            assigned,
            revoking,
        })
    }
}

/// What a member has, written.
pub(crate) fn encode_current(
    [epoch, previous_epoch]: [i32; 2],
    state: i8,
    [assigned, revoking]: [&Dated; 2],
) -> Bytes {
    let partitions = assigned.values().chain(revoking.values());
    let size: usize = partitions.map(|of| 32 + 8 * of.len()).sum();
    let mut writer = Writer::new(0, size + 20);
    writer.int32(epoch);
    writer.int32(previous_epoch);
    writer.int8(state);
    for topics in [assigned, revoking] {
        writer.compact_count(topics.len());
        for (topic, partitions) in topics {
            writer.raw(&topic.0);
            writer.compact_count(partitions.len());
            for partition in partitions.keys() {
                writer.int32(*partition);
            }
            writer.varint(1);
            writer.varint(0);
            let mut epochs = Writer::bare(4 * partitions.len() + 5);
            epochs.compact_count(partitions.len());
            for epoch in partitions.values() {
                epochs.int32(*epoch);
            }
            let epochs = epochs.finish();
            writer.varint(u32::try_from(epochs.len()).unwrap_or(u32::MAX));
            writer.raw(&epochs);
        }
    }
    writer.varint(0);
    writer.finish()
}

/// Partitions with the epochs in which they were assigned; where a Kafka before 4.3 wrote none, it
/// is the member's own.
fn dated(reader: &mut Reader<'_>, epoch: i32) -> Result<Dated, RecordError> {
    let mut all = Dated::new();
    for _ in 0..reader.count()? {
        let topic = TopicId(reader.uuid()?);
        let mut partitions = Vec::new();
        for _ in 0..reader.count()? {
            partitions.push(reader.int32()?);
        }
        let mut epochs = Vec::new();
        reader.tagged(|tag, bytes| {
            if tag == 0 {
                let mut reader = Reader::new(bytes);
                reader.flexible();
                if reader.is_null() {
                    return Ok(());
                }
                for _ in 0..reader.count()? {
                    epochs.push(reader.int32()?);
                }
            }
            Ok(())
        })?;
        if epochs.len() != partitions.len() {
            epochs = vec![epoch; partitions.len()];
        }
        if !partitions.is_empty() {
            let dated = std::iter::zip(partitions, epochs);
            all.entry(topic).or_default().extend(dated);
        }
    }
    Ok(all)
}

/// `ConsumerGroupRegularExpressionValue`: which topics match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegexValue<'a> {
    pub(crate) topics: Vec<&'a str>,
    /// Of the metadata that was looked at.
    pub(crate) version: i64,
    pub(crate) at: WallTime,
}

impl<'a> RegexValue<'a> {
    pub(crate) fn decode(value: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = begin(value)?;
        let mut topics = Vec::new();
        for _ in 0..reader.count()? {
            topics.push(reader.text()?);
        }
        let version = reader.int64()?;
        let at = WallTime(reader.int64()?);
        reader.tagged(|_, _| Ok(()))?;
        Ok(Self {
            topics,
            version,
            at,
        })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let size: usize = self.topics.iter().map(|topic| topic.len() + 3).sum();
        let mut writer = Writer::new(0, size + 24);
        writer.compact_count(self.topics.len());
        for topic in &self.topics {
            writer.compact_text(topic);
        }
        writer.int64(self.version);
        writer.int64(self.at.0);
        writer.varint(0);
        writer.finish()
    }
}
