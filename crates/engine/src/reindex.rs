//! Makes the indexes of a closed segment anew from its batches, each checked against its checksum;
//! window by window, so that a large segment needs little memory.

use klamm_model::{BatchHeader, Offset, Timestamp};
use klamm_records::segment::{self, IndexBuilder, SegmentEnd, SegmentFile, Succession, TimeEntry};

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
    let mut made = Made {
        builder: IndexBuilder::new(base, interval),
        offsets: Vec::new(),
        times: Vec::new(),
    };
    let damage = made.read(storage, &log_path(folder, base), base, length)?;
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
    /// Takes in a whole segment; gives the first damage.
    fn read<S: Storage>(
        &mut self,
        storage: &mut S,
        path: &str,
        base: Offset,
        length: u64,
    ) -> Result<Option<String>, StorageError> {
        let mut damage = None;
        let mut succession = Succession::from_start(base);
        let (mut at, mut window) = (0, WINDOW_BYTES);
        while at < length {
            let wanted = window.min(length - at);
            let bytes = storage.read_at(path, at, wanted as usize)?;
            let to_the_end = at + wanted >= length || (bytes.len() as u64) < wanted;
            let end = if to_the_end {
                length as usize
            } else {
                at as usize + bytes.len()
            };
            let mut heads = Vec::new();
            let mut follows = succession;
            let verdict =
                segment::recover(&bytes, at as usize, base, &mut follows, end, |_, header| {
                    heads.push(*header)
                });
            let taken: usize = heads.iter().map(|header| header.size).sum();
            self.take(&heads);
            match verdict {
                SegmentEnd::Damage { to, .. } if to >= end && !to_the_end => {
                    // Perhaps only the window ends here: what begins here is looked at once more.
                    if let Some(last) = heads.last() {
                        succession = Succession::from_start(last.end_offset());
                        window = WINDOW_BYTES;
                    } else {
                        window *= 2;
                    }
                    at += taken as u64;
                }
                SegmentEnd::Damage { from, to, fault } => {
                    damage.get_or_insert_with(|| format!("at byte {from}: {fault}"));
                    self.builder.skip(to - from);
                    (at, succession, window) = (to as u64, follows, WINDOW_BYTES);
                }
                SegmentEnd::Whole { .. } | SegmentEnd::Torn { .. } => {
                    (at, succession, window) = (end as u64, follows, WINDOW_BYTES);
                }
            }
        }
        Ok(damage)
    }

    fn take(&mut self, heads: &[BatchHeader]) {
        for header in heads {
            // Recovery refuses offsets that a segment cannot index.
            if let Ok(entries) = self.builder.on_batch(header) {
                self.offsets.extend(entries.offset.into_iter().flatten());
                self.times.extend(entries.time.into_iter().flatten());
            }
        }
    }
}
