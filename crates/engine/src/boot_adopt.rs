//! Boot where a checkpoint cannot be read: what it vouched for still lies in the segments, and in
//! such write-ahead files as were not used again since. Both are laid side by side.

use std::collections::BTreeMap;

use bytes::Bytes;
use klamm_model::{BatchHeader, Offset, TopicConfig, TopicPartition};
use klamm_records::batch;
use klamm_records::segment::{self, PartitionCheckpoint, SegmentEnd, SegmentFile, Succession};
use klamm_replica::Producers;

use crate::boot::{BootError, Finding};
use crate::boot_partition::{Recovering, Work, index_path, log_path, partition_error};
use crate::boot_wal::Logged;
use crate::quarantine;
use crate::storage::Storage;

/// What the write-ahead logs hold of one partition, by base offset.
type InLog<'a> = BTreeMap<Offset, (BatchHeader, &'a Bytes)>;

/// A segment's bytes from `start` on, while they are taken over. Positions count from the
/// segment's first byte.
struct Reading {
    path: String,
    bytes: Vec<u8>,
    start: usize,
    /// Where the search for batches goes on.
    at: usize,
    /// End of the last batch that was taken over.
    good: usize,
}

impl Reading {
    fn end(&self) -> usize {
        self.start + self.bytes.len()
    }

    /// End of the last batch, or of anything behind it that is not zero: a file is longer than its
    /// batches while room is made ahead of them.
    fn content_end(&self) -> usize {
        let last = self.bytes.iter().rposition(|&byte| byte != 0);
        last.map_or(self.start, |last| self.start + last + 1)
            .max(self.good)
    }

    /// What stands behind the last batch, without the room that was made ahead.
    fn rest(&self) -> &[u8] {
        let (low, high) = (self.good - self.start, self.content_end() - self.start);
        self.bytes.get(low..high).unwrap_or_default()
    }
}

/// Where the batches of the write-ahead log begin that lead up to `end` without a hole.
fn first_of_chain(logged: &InLog<'_>, end: Offset) -> Offset {
    let mut first = end;
    for (&base, (header, _)) in logged.range(..end).rev() {
        if header.end_offset() != first {
            break;
        }
        first = base;
    }
    first
}

impl<S: Storage> Work<'_, S> {
    /// Takes over what the segments hold behind the last checkpoint that can be read, if there is
    /// one, batch by batch. What is missing in between is written in place from the write-ahead
    /// log; nothing is cut behind which anything readable stands.
    pub(crate) fn adopt(
        &mut self,
        partition: TopicPartition,
        state: &mut Recovering,
        config: &TopicConfig,
        checkpoint: Option<&PartitionCheckpoint>,
        bases: &[Offset],
        found: &Logged,
    ) -> Result<(), BootError> {
        let heads = found.batches.iter().filter_map(|found| {
            let header = batch::read(&found.bytes).ok()?;
            Some((header.base_offset, (header, &found.bytes)))
        });
        let logged: InLog<'_> = heads.collect();
        let mut left: Vec<(Offset, u64)> = bases.iter().map(|&base| (base, 0)).collect();
        if let Some(checkpoint) = checkpoint {
            let floor = (checkpoint.segment_base, checkpoint.segment_bytes);
            left.retain(|&(base, _)| base > floor.0);
            left.insert(0, floor);
        } else if let Some(&(found, _)) = left.first() {
            // The names of the first segments may be lost where the write-ahead log still has all
            // that was in them.
            let first = first_of_chain(&logged, found);
            if first < found {
                left.insert(0, (first, 0));
            }
            state.log.log_start = first;
            state.log.log_end = first;
            state.log.producers = Producers::new(first, self.options.producers);
        }
        for (place, &(base, from)) in left.iter().enumerate() {
            let next = left.get(place + 1).map(|&(next, _)| next);
            let kept = self.adopt_segment(partition, state, (base, from), next, &logged)?;
            let end = state.log.log_end;
            // Nobody vouches for the indexes either.
            for file in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
                let path = index_path(&state.folder, base, file);
                if self.storage.length(&path)?.is_some() {
                    self.storage.truncate(&path, 0)?;
                }
            }
            let mut found = self.open_active(partition, &state.folder, base, kept, end, config)?;
            if let Some(next) = next {
                found.close_index();
                state.closed.push(base);
                if end < next {
                    self.findings.push(Finding::SegmentDamage {
                        partition,
                        path: log_path(&state.folder, base),
                        fault: format!("offsets from {end} to {next} are missing"),
                    });
                }
            }
            state.segments.push_back(found);
        }
        Ok(())
    }

    /// Takes over one segment from byte `from` on, up to the segment that begins at `next`. Gives
    /// the bytes to keep of it.
    fn adopt_segment(
        &mut self,
        partition: TopicPartition,
        state: &mut Recovering,
        (base, from): (Offset, u64),
        next: Option<Offset>,
        logged: &InLog<'_>,
    ) -> Result<u64, BootError> {
        let path = log_path(&state.folder, base);
        let length = self.storage.length(&path)?.unwrap_or(0);
        let bytes = match length.saturating_sub(from) as usize {
            0 => Vec::new(),
            left => self.storage.read_at(&path, from, left)?,
        };
        let start = from as usize;
        let mut reading = Reading {
            path,
            bytes,
            start,
            at: start,
            good: start,
        };
        loop {
            let readable_behind = self.take_batches(partition, state, base, &mut reading, logged);
            let is_open = match next {
                Some(next) => state.log.log_end < next,
                None => readable_behind.is_some(),
            };
            let missing = logged.get(&state.log.log_end).filter(|_| is_open);
            match (missing, readable_behind, next) {
                (Some(&(ref header, content)), ..) => {
                    self.fill(&mut reading, content)?;
                    let filled = state.log.replay(self.options.now.wall, header);
                    filled.map_err(|error| partition_error(partition, &error))?;
                }
                (None, Some(to), _) => reading.at = to,
                (None, None, Some(_)) if reading.good < reading.content_end() => {
                    return Ok(reading.end() as u64);
                }
                (None, None, Some(_)) => return Ok(reading.good as u64),
                (None, None, None) => {
                    let (good, end) = (reading.good, reading.content_end());
                    if good < end && !logged.contains_key(&state.log.log_end) {
                        let copy = quarantine::path_of_range(&state.folder, base, good as u64);
                        quarantine::keep(self.storage, &copy, reading.rest())?;
                        self.findings.push(Finding::SegmentDamage {
                            partition,
                            path: reading.path,
                            fault: format!(
                                "cut at byte {good} of {end}, and what stood there is kept in {copy}"
                            ),
                        });
                    }
                    return Ok(good as u64);
                }
            }
        }
    }

    /// Takes over batches from where the reading stands, up to a hole that the write-ahead log can
    /// fill. Gives the place of the first readable batch behind damage.
    fn take_batches(
        &mut self,
        partition: TopicPartition,
        state: &mut Recovering,
        base: Offset,
        reading: &mut Reading,
        logged: &InLog<'_>,
    ) -> Option<usize> {
        let mut headers = Vec::new();
        let (at, whole) = (reading.at, reading.content_end());
        let rest = reading.bytes.get(at - reading.start..).unwrap_or_default();
        let least = state.log.log_end.max(base);
        let mut succession = if at == reading.good {
            Succession::from_start(least)
        } else {
            Succession::from_least(least)
        };
        let end = segment::recover(
            rest,
            at,
            base,
            &mut succession,
            whole,
            |position, header| {
                headers.push((position, *header));
            },
        );
        for (position, header) in headers {
            let log_end = state.log.log_end;
            let follows = position == reading.good && header.base_offset == log_end;
            if !follows && logged.contains_key(&log_end) {
                break;
            }
            if let Err(error) = state.log.replay(self.options.now.wall, &header) {
                let fault = error.to_string();
                self.findings.push(Finding::Refused { partition, fault });
            }
            reading.good = position + header.size;
        }
        match end {
            SegmentEnd::Damage { to, .. } if to < whole => Some(to),
            _ => None,
        }
    }

    /// Writes a batch of the write-ahead log where it stood in the segment.
    fn fill(&mut self, reading: &mut Reading, content: &[u8]) -> Result<(), BootError> {
        let at = reading.good as u64;
        self.storage.write_at(&reading.path, at, content)?;
        self.storage.flush(&reading.path)?;
        let low = reading.good - reading.start;
        let high = low + content.len();
        reading.bytes.resize(reading.bytes.len().max(high), 0);
        reading.bytes[low..high].copy_from_slice(content);
        reading.good += content.len();
        reading.at = reading.good;
        Ok(())
    }
}
