//! What the log says becomes what is held: the one way into the hard state, and its hash.

use std::collections::BTreeSet;
use std::fmt;

use klamm_model::{PartitionIndex, TopicId, TopicName};

use super::Coordinator;
use super::api::TopicReference;
use super::consumer::group::ConsumerGroup;
use super::group::{Committed, Group, Kept, bytes_of_topic};
use super::names::GroupId;
use crate::record::{Key, OffsetValue, Part, RecordError};

/// Why a record cannot be replayed. Kinds of records that are not served are no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// The key cannot be read.
    Key(RecordError),
    /// The value cannot be read.
    Value(RecordError),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => write!(formatter, "key of a {error}"),
            Self::Value(error) => write!(formatter, "value of a {error}"),
        }
    }
}

impl std::error::Error for ReplayError {}

impl Coordinator {
    /// The topics of offsets in the log that was replayed, each with every id that was kept with
    /// it: once, when all is loaded. Those that are gone are to be told to
    /// [`on_topics_deleted`](Self::on_topics_deleted).
    #[must_use]
    pub fn take_topics_read(&mut self) -> Vec<TopicReference> {
        let read = self.topics_read.take().unwrap_or_default().into_iter();
        let named = read.flat_map(|(name, ids)| {
            let name = move |id| TopicReference {
                name: name.clone(),
                id,
            };
            ids.into_iter().map(name)
        });
        named.collect()
    }

    /// Replays one record: of the log that is read at the start, or of a decision that was appended.
    /// Hard state changes here and nowhere else.
    ///
    /// # Errors
    /// If the record cannot be read, which no decision of this program causes. Nothing has changed
    /// then.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), ReplayError> {
        match Key::decode(key).map_err(ReplayError::Key)? {
            Key::Offset {
                group,
                topic,
                partition,
            } => {
                let topic =
                    TopicName::new(topic).map_err(|_| ReplayError::Key(RecordError::BadText))?;
                self.replay_offset(group, &topic, PartitionIndex(partition), value)
            }
            Key::Group { group } => self.replay_group(group, value),
            Key::Consumer { group, part } => self.replay_consumer(group, part, value),
            Key::Share | Key::Streams | Key::Unknown => {
                self.counters.records_skipped += 1;
                Ok(())
            }
        }
    }

    fn replay_offset(
        &mut self,
        id: &str,
        topic: &TopicName,
        partition: PartitionIndex,
        value: Option<&[u8]>,
    ) -> Result<(), ReplayError> {
        if let Some(value) = value {
            let value = OffsetValue::decode(value).map_err(ReplayError::Value)?;
            self.note_read(topic, value.topic_id);
            let committed = Committed {
                offset: value.offset,
                leader_epoch: value.leader_epoch,
                metadata: value.metadata.into(),
                committed: value.committed,
                expires: value.expires,
                topic_id: value.topic_id,
            };
            let mut held = committed.bytes();
            let group = self.group_or_new(id);
            let partitions = match group.offsets.get_mut(topic) {
                Some(partitions) => partitions,
                None => {
                    held += bytes_of_topic(topic);
                    group.offsets.entry(topic.clone()).or_default()
                }
            };
            let earlier = partitions.insert(partition, committed);
            self.offsets += usize::from(earlier.is_none());
            self.bytes += held;
            self.bytes -= earlier.as_ref().map_or(0, Committed::bytes);
            return Ok(());
        }
        let Some(group) = self.groups.get_mut(id) else {
            return Ok(());
        };
        if let Some(partitions) = group.offsets.get_mut(topic) {
            if let Some(gone) = partitions.remove(&partition) {
                self.offsets -= 1;
                self.bytes -= gone.bytes();
            }
            if partitions.is_empty() {
                group.offsets.remove(topic);
                self.bytes -= bytes_of_topic(topic);
            }
        }
        self.drop_if_void(id);
        Ok(())
    }

    fn note_read(&mut self, topic: &TopicName, id: TopicId) {
        if let Some(read) = &mut self.topics_read {
            match read.get_mut(topic) {
                Some(ids) => {
                    ids.insert(id);
                }
                None => {
                    read.insert(topic.clone(), BTreeSet::from([id]));
                }
            }
        }
    }

    fn replay_group(&mut self, id: &str, value: Option<&[u8]>) -> Result<(), ReplayError> {
        if let Some(value) = value {
            let kept = Kept::decode(value).map_err(ReplayError::Value)?;
            self.bytes += kept.value().len();
            let earlier = self.group_or_new(id).kept.replace(kept);
            self.bytes -= earlier.map_or(0, |kept| kept.value().len());
        } else if let Some(group) = self.groups.get_mut(id) {
            let gone = group.kept.take();
            self.bytes -= gone.map_or(0, |kept| kept.value().len());
            self.drop_if_void(id);
        }
        Ok(())
    }

    fn replay_consumer(
        &mut self,
        id: &str,
        part: Part<'_>,
        value: Option<&[u8]>,
    ) -> Result<(), ReplayError> {
        let there = self
            .groups
            .get(id)
            .is_some_and(|group| group.consumer.is_some());
        if value.is_none() && !there {
            return Ok(());
        }
        // Read before anything is made for it.
        let mut fresh = Box::<ConsumerGroup>::default();
        let group = self.groups.get_mut(id);
        let consumer = group.and_then(|group| group.consumer.as_mut());
        let is_new = consumer.is_none();
        let consumer = consumer.unwrap_or(&mut fresh);
        let before = (consumer.bytes, consumer.members.len());
        consumer.replay(part, value).map_err(ReplayError::Value)?;
        let after = (consumer.bytes, consumer.members.len());
        let is_void = consumer.is_void();
        self.bytes = self.bytes + after.0 - before.0;
        self.consumer_members = self.consumer_members + after.1 - before.1;
        if is_new && !is_void {
            self.group_or_new(id).consumer = Some(fresh);
        } else if is_void {
            if let Some(group) = self.groups.get_mut(id) {
                group.consumer = None;
            }
            self.drop_if_void(id);
        }
        Ok(())
    }

    pub(super) fn group_or_new(&mut self, id: &str) -> &mut Group {
        if !self.groups.contains_key(id) {
            self.bytes += Group::bytes(id);
            self.groups.insert(GroupId::new(id), Group::default());
        }
        self.groups.get_mut(id).expect("it is there or was made")
    }

    pub(super) fn drop_if_void(&mut self, id: &str) {
        if self.groups.get(id).is_some_and(Group::is_void) {
            self.groups.remove(id);
            self.bytes -= Group::bytes(id);
        }
    }

    /// A hash of the hard state: two coordinators that replayed the same records agree in it,
    /// however those were compacted.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        for (id, group) in &self.groups {
            let consumer = group.consumer.as_ref();
            let consumer = consumer.filter(|consumer| !consumer.is_unkept());
            if group.kept.is_none() && group.offsets.is_empty() && consumer.is_none() {
                continue;
            }
            if let Some(consumer) = consumer {
                consumer.hash(|part| hash.part(part));
            }
            hash.part(id.as_str().as_bytes());
            hash.part(group.kept.as_ref().map_or(&[], Kept::value));
            for (topic, partitions) in &group.offsets {
                hash.part(topic.as_str().as_bytes());
                for (partition, committed) in partitions {
                    hash.part(&partition.0.to_be_bytes());
                    hash.part(&committed.offset.0.to_be_bytes());
                    let epoch = committed.leader_epoch.map_or(-1, |epoch| epoch.0);
                    hash.part(&epoch.to_be_bytes());
                    hash.part(committed.metadata.as_bytes());
                    hash.part(&committed.committed.0.to_be_bytes());
                    let expires = committed.expires.map_or(-1, |at| at.0);
                    hash.part(&expires.to_be_bytes());
                    hash.part(&committed.topic_id.0);
                }
            }
        }
        hash.0
    }
}

/// Fowler, Noll and Vo's hash, 1a; parts do not run into each other.
struct Fnv(u64);

impl Fnv {
    fn part(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_be_bytes();
        for byte in length.iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
