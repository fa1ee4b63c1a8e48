//! Makes the indexes of a closed segment anew from its batches, each checked against its checksum;
//! window by window, so that a large segment needs little memory. Others may walk so, too.

use klamm_model::{BatchHeader, Offset, Timestamp};
use klamm_records::segment::{
    self, IndexBuilder, SegmentEnd, SegmentFault, SegmentFile, Succession, TimeEntry,
};

use crate::boot_partition::{index_path, log_path};
use crate::storage::{Storage, StorageError};

/// Bytes of a segment that are looked at together, unless a batch needs more.
const WINDOW_BYTES: u64 = 4 << 20;

/// What was made.
#[derive(Debug, Default)]
pub(crate) struct Reindexed {
    /// Index files that are not what the batches say, with what they should hold.
    pub(crate) replaces: Vec<(String, Vec<u8>)>,
    /// The segment's largest time.
    pub(crate) largest: Option<TimeEntry>,
    /// The first damage in the segment itself.
    pub(crate) damage: Option<String>,
}

/// Makes both indexes of a segment of `length` bytes; writes nothing.
pub(crate) fn reindex<S: Storage>(
    storage: &mut S,
    folder: &str,
    base: Offset,
    length: u64,
    interval: usize,
) -> Result<Reindexed, StorageError> {
    let path = log_path(folder, base);
    reindex_file(storage, &path, folder, base, length, interval)
}

/// The same for a segment whose batches do not lie under its name yet.
pub(crate) fn reindex_file<S: Storage>(
    storage: &mut S,
    path: &str,
    folder: &str,
    base: Offset,
    length: u64,
    interval: usize,
) -> Result<Reindexed, StorageError> {
    let mut made = Made {
        builder: IndexBuilder::new(base, interval),
        offsets: Vec::new(),
        times: Vec::new(),
    };
    let read = |at, bytes| storage.read_at(path, at, bytes);
    let damage = made.read(read, base, length, WINDOW_BYTES)?;
    made.times
        .extend(made.builder.close().into_iter().flatten());
    let largest = made.builder.max_timestamp();
    let mut done = Reindexed {
        replaces: Vec::new(),
        largest: (largest.timestamp != Timestamp::NONE).then_some(largest),
        damage,
    };
    for (file, new) in [
        (SegmentFile::OffsetIndex, made.offsets),
        (SegmentFile::TimeIndex, made.times),
    ] {
        let path = index_path(folder, base, file);
        let old = storage.length(&path)?.unwrap_or(0);
        let differs =
            old != new.len() as u64 || (old > 0 && storage.read(&path)?.unwrap_or_default() != new);
        if differs {
            done.replaces.push((path, new));
        }
    }
    Ok(done)
}

struct Made {
    builder: IndexBuilder,
    offsets: Vec<u8>,
    times: Vec<u8>,
}

impl Made {
    /// Takes in a whole segment, a window of at least `least` bytes at a time; gives the first
    /// damage.
    fn read(
        &mut self,
        read_at: impl FnMut(u64, usize) -> Result<Vec<u8>, StorageError>,
        base: Offset,
        length: u64,
        least: u64,
    ) -> Result<Option<String>, StorageError> {
        let mut damage = None;
        walk_windows(read_at, base, length, least, |found| match found {
            Walked::Batch(header) => self.take(header),
            Walked::Damage { from, to, fault } => {
                damage.get_or_insert_with(|| format!("at byte {from}: {fault}"));
                self.builder.skip(to - from);
            }
        })?;
        Ok(damage)
    }

    fn take(&mut self, header: &BatchHeader) {
        // Recovery refuses offsets that a segment cannot index.
        if let Ok(entries) = self.builder.on_batch(header) {
            self.offsets.extend(entries.offset.into_iter().flatten());
            self.times.extend(entries.time.into_iter().flatten());
        }
    }
}

/// What stands at a place of a segment.
pub(crate) enum Walked<'a> {
    /// A whole batch.
    Batch(&'a BatchHeader),
    /// None.
    Damage {
        from: usize,
        to: usize,
        fault: SegmentFault,
    },
}

/// Goes through a segment of `length` bytes batch by batch, each checked against its checksum.
pub(crate) fn walk<S: Storage>(
    storage: &mut S,
    folder: &str,
    base: Offset,
    length: u64,
    visit: impl FnMut(Walked<'_>),
) -> Result<(), StorageError> {
    let path = log_path(folder, base);
    let read = |at, bytes| storage.read_at(&path, at, bytes);
    walk_windows(read, base, length, WINDOW_BYTES, visit)
}

fn walk_windows(
    mut read_at: impl FnMut(u64, usize) -> Result<Vec<u8>, StorageError>,
    base: Offset,
    length: u64,
    least: u64,
    mut visit: impl FnMut(Walked<'_>),
) -> Result<(), StorageError> {
    let mut succession = Succession::from_start(base);
    let (mut at, mut window) = (0, least);
    while at < length {
        let wanted = window.min(length - at);
        let bytes = read_at(at, wanted as usize)?;
        let to_the_end = at + wanted >= length || (bytes.len() as u64) < wanted;
        let end = if to_the_end {
            length as usize
        } else {
            at as usize + bytes.len()
        };
        let (mut taken, mut last) = (0, None);
        let mut follows = succession;
        let take = |_, header: &BatchHeader| {
            taken += header.size as u64;
            last = Some(header.end_offset());
            visit(Walked::Batch(header));
        };
        let verdict = segment::recover(&bytes, at as usize, base, &mut follows, end, take);
        match verdict {
            SegmentEnd::Damage { to, .. } if to >= end && !to_the_end => {
                // Perhaps only the window ends here: what begins here is looked at once more.
                if let Some(last) = last {
                    succession = Succession::from_start(last);
                    window = least;
                } else {
                    window *= 2;
                }
                at += taken;
            }
            SegmentEnd::Damage { from, to, fault } => {
                visit(Walked::Damage { from, to, fault });
                (at, succession, window) = (to as u64, follows, least);
            }
            SegmentEnd::Whole { .. } | SegmentEnd::Torn { .. } => {
                (at, succession, window) = (end as u64, follows, least);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use klamm_records::batch::{BatchBuilder, BatchOptions, stamp};
    use klamm_records::segment::rebuild_indexes;

    use super::*;

    const BASE: Offset = Offset(100);
    const INTERVAL: usize = 300;

    /// Forty batches of many sizes, with the place of each.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        for number in 0..40_i64 {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            let value = vec![7; (number * 37 % 500) as usize];
            builder.append(Timestamp(1000 + number), None, Some(&value), &[]);
            let mut one = builder.build().expect("small");
            let at = Offset(BASE.0 + number);
            stamp(&mut one, at, klamm_model::LeaderEpoch(0));
            starts.push(bytes.len());
            bytes.extend_from_slice(&one);
        }
        (bytes, starts)
    }

    fn made(bytes: &[u8], window: u64) -> (Made, Option<String>) {
        let mut made = Made {
            builder: IndexBuilder::new(BASE, INTERVAL),
            offsets: Vec::new(),
            times: Vec::new(),
        };
        let read = |at: u64, length: usize| {
            let rest = bytes.get(at as usize..).unwrap_or_default();
            Ok(rest.get(..length).unwrap_or(rest).to_vec())
        };
        let damage = made.read(read, BASE, bytes.len() as u64, window);
        (made, damage.expect("memory can be read"))
    }

    #[test]
    fn indexes_are_the_same_whatever_the_window() {
        let (bytes, _) = segment();
        let whole = rebuild_indexes(&bytes, BASE, INTERVAL);
        assert!(whole.offset_index.len() > 80);
        for window in 1..2000 {
            let (made, damage) = made(&bytes, window);
            assert_eq!(damage, None, "window {window}");
            assert_eq!(made.offsets, whole.offset_index, "window {window}");
            assert_eq!(made.times, whole.time_index, "window {window}");
            assert_eq!(made.builder.position() as usize, bytes.len());
        }
    }

    #[test]
    fn damage_is_told_and_what_stands_behind_it_is_indexed_whatever_the_window() {
        let (mut bytes, starts) = segment();
        bytes[starts[20] + 70] ^= 1;
        let expected = made(&bytes, 1 << 20);
        let fault = expected.1.clone().expect("a batch is damaged");
        assert!(
            fault.contains(&format!("at byte {}", starts[20])),
            "{fault}"
        );
        let last = segment::last_offset_entry(&expected.0.offsets, BASE).expect("entries");
        assert!(last.offset > Offset(BASE.0 + 30));
        for window in 1..2000 {
            let (made, damage) = made(&bytes, window);
            assert_eq!(damage.as_deref(), Some(&*fault), "window {window}");
            assert_eq!(made.offsets, expected.0.offsets, "window {window}");
        }
    }
}
