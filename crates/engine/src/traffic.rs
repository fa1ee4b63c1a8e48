//! What clients move of each partition, counted where it happens, and what a partition is like now:
//! for those who watch a core.

use klamm_model::{Offset, PartitionIndex, TopicName, TopicPartition};

use crate::engine::Engine;
use crate::waiters::Slot;

/// What clients moved of one partition since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Records appended.
    pub records_in: u64,
    /// Bytes of their batches.
    pub bytes_in: u64,
    /// Bytes of batches handed to readers.
    pub bytes_out: u64,
}

/// One partition of a core, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionGauges {
    /// Name of its topic.
    pub topic: TopicName,
    /// Its number.
    pub index: PartitionIndex,
    /// First offset that can be read.
    pub log_start: Offset,
    /// End of what is committed.
    pub high_watermark: Offset,
    /// Offset that the next record gets.
    pub log_end: Offset,
    /// Segments, the one that is written to included.
    pub segments: u64,
    /// Bytes of them, what is still on its way there included.
    pub log_bytes: u64,
    /// What clients moved.
    pub traffic: Traffic,
}

impl Engine {
    /// Every partition of clients' topics on this core. Walks all, and takes memory for each.
    #[must_use]
    pub fn partition_gauges(&self) -> Vec<PartitionGauges> {
        let logs = self.partitions.iter().flatten();
        let logs = logs.filter(|log| log.partition != TopicPartition::METADATA);
        logs.map(|log| {
            let cursors = log.leader.cursors();
            PartitionGauges {
                topic: log.topic.clone(),
                index: log.partition.index,
                log_start: cursors.log_start,
                high_watermark: cursors.high_watermark,
                log_end: cursors.log_end,
                segments: log.segments.len() as u64,
                log_bytes: log.segments.bytes(),
                traffic: log.traffic,
            }
        })
        .collect()
    }

    /// A client's batch has its place.
    pub(crate) fn count_append(&mut self, slot: Slot, records: u32, bytes: usize) {
        self.stats.batches_appended += 1;
        self.stats.records_appended += u64::from(records);
        self.stats.bytes_appended += bytes as u64;
        if let Some(log) = self.partition_mut(slot) {
            log.traffic.records_in += u64::from(records);
            log.traffic.bytes_in += bytes as u64;
        }
    }

    /// Batches were handed to a reader.
    pub(crate) fn count_read(&mut self, slot: Slot, bytes: usize) {
        self.stats.bytes_read += bytes as u64;
        if let Some(log) = self.partition_mut(slot) {
            log.traffic.bytes_out += bytes as u64;
        }
    }
}
