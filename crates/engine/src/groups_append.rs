//! How group coordinators write: room is asked for before anything is decided, and what is decided
//! is appended as batches of the usual way.

use std::mem;

use bytes::Bytes;
use klamm_coord::{Command, Record};
use klamm_model::Timestamp;
use klamm_records::batch::{self, BatchBuilder, BatchOptions};
use klamm_replica::{Admission, AppendOrigin};

use crate::api::{AppendError, CoordinateError, Now};
use crate::append::{Admitted, Writer};
use crate::engine::Engine;
use crate::memory::Wanting;
use crate::waiters::Slot;

/// What a decision takes of the log, unless it says more.
const DECISION_BYTES: usize = 16 << 10;

/// Room for any decision is not made with more than such a part of a write-ahead file.
const FILE_PARTS: u64 = 4;

/// Bytes of the record of one offset, besides the names in it and what the client remembers.
const OFFSET_RECORD_BYTES: usize = 128;

/// Bytes of a batch that are not keys and values of its records, generously.
pub(crate) const BATCH_OVERHEAD_BYTES: usize = 4 << 10;

/// Bytes of a record that are neither its key nor its value, at most.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// True of commands whose decision may have to be kept.
pub(crate) const fn may_write(command: &Command) -> bool {
    match command {
        Command::Heartbeat(_)
        | Command::FetchOffsets(_)
        | Command::DescribeConsumers { .. }
        | Command::List(_)
        | Command::Describe { .. } => false,
        Command::Join(_)
        | Command::Sync(_)
        | Command::Leave(_)
        | Command::CommitOffsets(_)
        | Command::DeleteOffsets(_)
        | Command::ConsumerHeartbeat(_)
        | Command::Delete { .. } => true,
    }
}

/// Bytes that the decision of a command writes at most, if that is in the command: of an offset
/// that is kept or forgotten all but what the record itself takes.
pub(crate) fn wanted_by(command: &Command) -> Option<usize> {
    let Command::CommitOffsets(commit) = command else {
        return None;
    };
    let topics = commit.topics.iter().map(|topic| {
        let names = commit.group.as_str().len() + topic.topic.name.as_str().len();
        let partitions = topic.partitions.iter();
        let records = partitions.map(|part| OFFSET_RECORD_BYTES + names + part.metadata.len());
        records.sum::<usize>()
    });
    Some(BATCH_OVERHEAD_BYTES + topics.sum::<usize>())
}

impl Engine {
    /// Sees to it that there is room for a decision that writes so many bytes, or nobody knows how
    /// many: what is decided and finds no room makes the coordinator begin anew. As the metadata,
    /// groups may have of what the disk keeps for the broker itself, but half of it only: consumers
    /// go on where producers are refused, and what makes room again does so even when they do not
    /// rest.
    pub(crate) fn check_room(
        &mut self,
        slot: Slot,
        bytes: Option<usize>,
    ) -> Result<(), AppendError> {
        let log = self.partition(slot).ok_or(AppendError::UnknownPartition)?;
        if log.leader.has_failed() {
            return Err(AppendError::Storage);
        }
        let most = log.config.message_bytes_max.min(log.config.segment_bytes) as usize;
        let part = usize::try_from(self.options.wal.file_bytes / FILE_PARTS);
        let most = most.min(part.unwrap_or(usize::MAX));
        let wanted = match bytes {
            Some(bytes) => bytes.min(most),
            None if self.space.state().is_scarce => most,
            None => 0,
        };
        let wanted = wanted.max(DECISION_BYTES);
        if !self.space.admits_groups(wanted as u64) {
            return Err(AppendError::OutOfSpace);
        }
        let room = self.make_file_for(wanted, Writer::Broker);
        room.map_err(AppendError::from)
    }

    /// What a coordinator decided, as one batch; as several where that would be larger than the
    /// topic's batches are.
    pub(crate) fn append_decided(
        &mut self,
        now: Now,
        slot: Slot,
        records: &[Record],
    ) -> Result<(), AppendError> {
        let log = self.partition(slot).ok_or(AppendError::UnknownPartition)?;
        let epoch = log.leader.leader_epoch();
        let config = &log.config;
        let batch_bytes_max = config.message_bytes_max.min(config.segment_bytes) as usize;
        let stamp = Timestamp(now.wall.0);
        let options = BatchOptions {
            compressor: self.groups.options.codec.into(),
            leader_epoch: epoch,
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        for Record { key, value } in records {
            let bytes = RECORD_OVERHEAD_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len);
            let is_full = builder.size_uncompressed() + bytes > batch_bytes_max;
            if is_full && !builder.is_empty() {
                let full = mem::replace(&mut builder, BatchBuilder::new(options));
                self.append_batch(now, slot, full)?;
            }
            builder.append(stamp, Some(key), value.as_deref(), &[]);
        }
        if builder.is_empty() {
            return Ok(());
        }
        self.append_batch(now, slot, builder)
    }

    fn append_batch(
        &mut self,
        now: Now,
        slot: Slot,
        builder: BatchBuilder,
    ) -> Result<(), AppendError> {
        let log = self.partition(slot).ok_or(AppendError::UnknownPartition)?;
        let epoch = log.leader.leader_epoch();
        let segment_bytes = log.config.segment_bytes as usize;
        let bytes = builder
            .build()
            .map_err(|_| AppendError::LargerThanSegment)?;
        if bytes.len() > segment_bytes {
            return Err(AppendError::LargerThanSegment);
        }
        self.make_room_for(bytes.len(), Writer::Broker)?;
        let header = batch::read(&bytes).expect("a built batch is a batch");
        let origin = AppendOrigin::Coordinator(epoch);
        let Admission::Append(placed) = self.admit(slot, now, &header, origin)? else {
            unreachable!("only producers send a batch twice");
        };
        let admitted = Admitted {
            slot,
            records: &bytes,
            placed,
            header: &header,
            max_at: placed.base_offset,
        };
        self.place(now, &admitted, |_| {});
        Ok(())
    }
}

impl From<Wanting> for AppendError {
    fn from(wanting: Wanting) -> Self {
        match wanting {
            Wanting::Descriptor => Self::OutOfFiles,
            Wanting::Room => Self::OutOfSpace,
        }
    }
}

impl From<AppendError> for CoordinateError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::OutOfSpace | AppendError::OutOfFiles => Self::NoRoom,
            AppendError::LargerThanSegment | AppendError::Invalid(_) => Self::TooLarge,
            AppendError::UnknownPartition
            | AppendError::Producer(_)
            | AppendError::Malformed
            | AppendError::NoTransaction
            | AppendError::Storage => Self::NotHere,
        }
    }
}

#[cfg(test)]
mod tests {
    use klamm_coord::{GroupId, TopicReference};
    use klamm_model::{Offset, PartitionIndex, TopicId, TopicName};

    use super::*;

    #[test]
    fn a_commit_wants_room_for_all_its_offsets() {
        let partition = |index, metadata: &str| klamm_coord::CommitPartition {
            partition: PartitionIndex(index),
            offset: Offset(1),
            leader_epoch: None,
            metadata: metadata.to_owned(),
        };
        let command = |partitions| {
            Command::CommitOffsets(klamm_coord::CommitOffsets {
                group: GroupId::new("group"),
                member: None,
                instance: None,
                generation: None,
                understands_epochs: false,
                retention: None,
                topics: vec![klamm_coord::CommitTopic {
                    topic: TopicReference {
                        name: TopicName::new("topic").expect("legal"),
                        id: TopicId::ZERO,
                    },
                    partitions,
                }],
            })
        };
        let few = wanted_by(&command(vec![partition(0, "")]));
        let text = "x".repeat(4096);
        let many = (0..50).map(|index| partition(index, &text));
        let many = wanted_by(&command(many.collect()));
        assert!(few.is_some_and(|bytes| bytes < DECISION_BYTES));
        assert!(many.is_some_and(|bytes| bytes > 50 * 4096 && bytes < 60 * 4096));
    }
}
