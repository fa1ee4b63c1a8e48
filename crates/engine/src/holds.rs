//! Files that are to lie elsewhere. A host copies a partition's files to another data folder while
//! they are in use, and for the last of it asks that nothing touches them: what is written meanwhile
//! waits in memory and in the write-ahead log, and so do reads from disk. Appends, and reads of what is
//! in memory, go on.
//!
//! ```text
//! asked -> what is under way for the files ends -> held -> given back, wherever they lie now
//! ```

use std::collections::BTreeMap;

use klamm_model::{Offset, TopicPartition};

use crate::api::{MoveFiles, Reply, Ticket};
use crate::effects::Effect;
use crate::engine::Engine;
use crate::waiters::Slot;

/// Partitions whose files are asked for.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    all: BTreeMap<TopicPartition, Hold>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// Something is under way for them.
    Asked,
    /// Nobody touches them.
    Held,
}

impl Holds {
    /// True if the files are asked for, or held: no pass of compaction begins, which takes long.
    pub(crate) fn are_asked_for(&self, partition: TopicPartition) -> bool {
        self.all.contains_key(&partition)
    }
}

impl Engine {
    /// Hands on where files are to lie: the host knows where they lie now.
    pub(crate) fn move_files(&mut self, ticket: Ticket, wishes: &[MoveFiles]) {
        let known = wishes.iter().map(|wish| {
            let log = self.partition(self.slot_of(wish.partition)?)?;
            Some((wish, log.folder.clone()))
        });
        let known: Vec<_> = known.collect();
        let reply = Reply::MoveFiles(known.iter().map(Option::is_some).collect());
        let effects = known.into_iter().flatten().map(|(wish, folder)| {
            let (partition, to) = (wish.partition, wish.to);
            Effect::MoveFiles {
                partition,
                folder,
                to,
            }
        });
        self.effects.extend(effects);
        self.effects.push(Effect::Reply { ticket, reply });
    }

    /// The segment of a partition that takes batches, and how many bytes of it lie in its file: they
    /// stay as they are. All segments before it are complete. None if the partition is not here.
    #[must_use]
    pub fn written_to(&self, partition: TopicPartition) -> Option<(Offset, u64)> {
        let log = self.partition(self.slot_of(partition)?)?;
        Some(log.spilled_in)
    }

    /// Asks for a partition's files; answered by [`Effect::FilesHeld`] once nothing touches them.
    pub fn hold_files(&mut self, partition: TopicPartition) {
        self.holds.all.entry(partition).or_insert(Hold::Asked);
    }

    /// The files may be used again, and lie where the host knows.
    pub fn release_files(&mut self, partition: TopicPartition) {
        if self.holds.all.remove(&partition).is_none() {
            return;
        }
        self.release_reads();
        self.drive_repairs();
        if let Some(slot) = self.slot_of(partition) {
            self.remove_segments(slot);
            self.drive_spill(slot);
        }
    }

    /// True if nothing new may begin that touches the files of this partition. A pass of compaction
    /// that is under way comes to its end first: it takes long, and needs its reads to be let go.
    pub(crate) fn holds_files(&self, partition: TopicPartition) -> bool {
        self.holds.are_asked_for(partition) && !self.compaction.works_on(partition)
    }

    /// Says whose files nobody touches any more.
    pub(crate) fn look_after_holds(&mut self) {
        let asked = self.holds.all.iter();
        let asked = asked.filter(|&(_, &hold)| hold == Hold::Asked);
        let asked: Vec<TopicPartition> = asked.map(|(&partition, _)| partition).collect();
        for partition in asked {
            let slot = self.slot_of(partition);
            if slot.is_some_and(|slot| self.are_files_busy(slot, partition)) {
                continue;
            }
            match slot {
                Some(_) => self.holds.all.insert(partition, Hold::Held),
                None => self.holds.all.remove(&partition),
            };
            let is_here = slot.is_some();
            self.effects.push(Effect::FilesHeld { partition, is_here });
        }
    }

    fn are_files_busy(&self, slot: Slot, partition: TopicPartition) -> bool {
        let log = self.partition(slot);
        let is_written = log.is_some_and(|log| log.spilling.is_some() || log.flushing);
        is_written
            || self.compaction.works_on(partition)
            || self.cold.reads_partition(partition)
            || self.repairs.work_on(partition)
    }
}
