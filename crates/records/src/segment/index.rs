//! The two sparse indexes of a segment: formats, lookups, and the one builder that both appending
//! and rebuilding use, so that an index always equals its rebuild.
//!
//! Offset entry, 8 bytes: last offset of a batch relative to the segment's base (i32), position of
//! that batch (i32). Time entry, 12 bytes: largest timestamp so far (i64), last offset, relative,
//! of the batch that has it (i32). Entries only grow. A time entry is written along with each
//! offset entry if the timestamp grew since the last one, and once more when the segment closes.

use std::fmt;

use klamm_model::{BatchHeader, Offset, Timestamp};

use crate::fields::{bytes_at, i32_at, i64_at};

/// Bytes of an entry of the offset index.
pub const OFFSET_ENTRY_BYTES: usize = 8;

/// Bytes of an entry of the time index.
pub const TIME_ENTRY_BYTES: usize = 12;

/// The offset lies too far from the segment's base for a 32-bit index: the segment must be rolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetOutOfRange {
    /// The segment's base.
    pub base: Offset,
    /// The offset.
    pub offset: Offset,
}

impl fmt::Display for OffsetOutOfRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "offset {} is out of range for a segment with base {}",
            self.offset, self.base
        )
    }
}

impl std::error::Error for OffsetOutOfRange {}

/// `offset` as an index holds it.
///
/// # Errors
/// [`OffsetOutOfRange`] if it lies before the base or 2^31 or more beyond it.
pub fn relative_offset(base: Offset, offset: Offset) -> Result<i32, OffsetOutOfRange> {
    offset
        .0
        .checked_sub(base.0)
        .filter(|&relative| relative >= 0)
        .and_then(|relative| i32::try_from(relative).ok())
        .ok_or(OffsetOutOfRange { base, offset })
}

/// An entry of the offset index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Last offset of the batch.
    pub offset: Offset,
    /// Position of the batch's first byte in the segment.
    pub position: u32,
}

/// An entry of the time index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    /// Largest timestamp up to and including the batch.
    pub timestamp: Timestamp,
    /// Last offset of the batch that has it.
    pub offset: Offset,
}

/// What a batch adds to the indexes; each is to be appended to its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct IndexEntries {
    /// For the offset index.
    pub offset: Option<[u8; OFFSET_ENTRY_BYTES]>,
    /// For the time index.
    pub time: Option<[u8; TIME_ENTRY_BYTES]>,
}

/// Decides which batches of a segment are indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexBuilder {
    base: Offset,
    interval_bytes: usize,
    position: u32,
    bytes_since_entry: usize,
    max: TimeEntry,
    last_time: TimeEntry,
    offset_entries: usize,
    time_entries: usize,
}

impl IndexBuilder {
    /// For an empty segment; `interval_bytes` is the topic's `index.interval.bytes`.
    #[must_use]
    pub const fn new(base: Offset, interval_bytes: usize) -> Self {
        let none = TimeEntry {
            timestamp: Timestamp::NONE,
            offset: base,
        };
        Self {
            base,
            interval_bytes,
            position: 0,
            bytes_since_entry: 0,
            max: none,
            last_time: none,
            offset_entries: 0,
            time_entries: 0,
        }
    }

    /// For a segment whose indexes are on disk. The batches from [`Self::position`] on, which is
    /// the last indexed one, must be fed again; this adds nothing twice.
    ///
    /// Both index files must have been checked, and not be closed: a time entry without an offset
    /// entry beside it may otherwise lie beyond that position.
    #[must_use]
    pub fn resume(
        base: Offset,
        interval_bytes: usize,
        offset_index: &[u8],
        time_index: &[u8],
    ) -> Self {
        let mut builder = Self::new(base, interval_bytes);
        if let Some(last) = last_offset_entry(offset_index, base) {
            builder.position = last.position;
            builder.offset_entries = offset_index.len() / OFFSET_ENTRY_BYTES;
            if let Some(last) = last_time_entry(time_index, base) {
                builder.time_entries = time_index.len() / TIME_ENTRY_BYTES;
                builder.last_time = last;
                builder.max = last;
            }
        }
        builder
    }

    /// Takes the batch that stands at [`Self::position`] into account.
    ///
    /// # Errors
    /// [`OffsetOutOfRange`]; nothing is changed then.
    ///
    /// # Panics
    /// If the segment outgrows 32 bits: the caller rolls before.
    pub fn on_batch(&mut self, header: &BatchHeader) -> Result<IndexEntries, OffsetOutOfRange> {
        let last_offset = header.last_offset();
        let relative = relative_offset(self.base, last_offset)?;
        if header.max_timestamp > self.max.timestamp {
            self.max = TimeEntry {
                timestamp: header.max_timestamp,
                offset: last_offset,
            };
        }
        let mut entries = IndexEntries::default();
        if self.bytes_since_entry > self.interval_bytes {
            let mut entry = [0; OFFSET_ENTRY_BYTES];
            entry[..4].copy_from_slice(&relative.to_be_bytes());
            entry[4..].copy_from_slice(&self.position.to_be_bytes());
            entries.offset = Some(entry);
            entries.time = self.time_entry();
            self.bytes_since_entry = 0;
            self.offset_entries += 1;
        }
        self.bytes_since_entry += header.size;
        let size = u32::try_from(header.size).expect("a batch's length is an i32");
        let position = self.position.checked_add(size);
        self.position = position.expect("a segment is rolled before 2^32 bytes");
        Ok(entries)
    }

    /// Passes over bytes at [`Self::position`] that are no readable batch.
    ///
    /// # Panics
    /// If the segment outgrows 32 bits: the caller rolls before.
    pub fn skip(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).ok();
        let position = bytes.and_then(|bytes| self.position.checked_add(bytes));
        self.position = position.expect("a segment is rolled before 2^32 bytes");
    }

    /// The last entry of the time index, when the segment is closed; `None` if the index already
    /// ends with the largest timestamp.
    pub fn close(&mut self) -> Option<[u8; TIME_ENTRY_BYTES]> {
        self.time_entry()
    }

    /// Bytes of the segment so far.
    #[must_use]
    pub const fn position(&self) -> u32 {
        self.position
    }

    /// Largest timestamp of the segment so far, with the last offset of its batch;
    /// [`Timestamp::NONE`] if no record carries one.
    #[must_use]
    pub const fn max_timestamp(&self) -> TimeEntry {
        self.max
    }

    /// Bytes of the offset index so far: `segment.index.bytes` limits them.
    #[must_use]
    pub const fn offset_index_bytes(&self) -> usize {
        self.offset_entries * OFFSET_ENTRY_BYTES
    }

    /// Bytes of the time index so far.
    #[must_use]
    pub const fn time_index_bytes(&self) -> usize {
        self.time_entries * TIME_ENTRY_BYTES
    }

    fn time_entry(&mut self) -> Option<[u8; TIME_ENTRY_BYTES]> {
        if self.max.timestamp <= self.last_time.timestamp {
            return None;
        }
        let relative = relative_offset(self.base, self.max.offset)
            .expect("the batch's last offset was in range when it was taken");
        self.last_time = self.max;
        self.time_entries += 1;
        let mut entry = [0; TIME_ENTRY_BYTES];
        entry[..8].copy_from_slice(&self.max.timestamp.0.to_be_bytes());
        entry[8..].copy_from_slice(&relative.to_be_bytes());
        Some(entry)
    }
}

fn offset_entry(index: &[u8], base: Offset, number: usize) -> OffsetEntry {
    let at = number * OFFSET_ENTRY_BYTES;
    OffsetEntry {
        offset: Offset(base.0.wrapping_add(i32_at(index, at).into())),
        position: u32::from_be_bytes(bytes_at(index, at + 4)),
    }
}

fn time_entry(index: &[u8], base: Offset, number: usize) -> TimeEntry {
    let at = number * TIME_ENTRY_BYTES;
    TimeEntry {
        timestamp: Timestamp(i64_at(index, at)),
        offset: Offset(base.0.wrapping_add(i32_at(index, at + 8).into())),
    }
}

/// All whole entries of an offset index, in order.
pub fn offset_entries(index: &[u8], base: Offset) -> impl Iterator<Item = OffsetEntry> + '_ {
    let entries = 0..index.len() / OFFSET_ENTRY_BYTES;
    entries.map(move |number| offset_entry(index, base, number))
}

/// All whole entries of a time index, in order.
pub fn time_entries(index: &[u8], base: Offset) -> impl Iterator<Item = TimeEntry> + '_ {
    let entries = 0..index.len() / TIME_ENTRY_BYTES;
    entries.map(move |number| time_entry(index, base, number))
}

/// Entries before the first for which `beyond` holds.
fn partition_point(entries: usize, beyond: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, entries);
    while low < high {
        let middle = low + (high - low) / 2;
        if beyond(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// The greatest entry of an offset index at or before `target`; `None` if there is none, and the
/// search begins at the segment's first byte. An index that is not in order gives some entry.
#[must_use]
pub fn offset_lookup(index: &[u8], base: Offset, target: Offset) -> Option<OffsetEntry> {
    let entries = index.len() / OFFSET_ENTRY_BYTES;
    let beyond = |number| offset_entry(index, base, number).offset > target;
    let number = partition_point(entries, beyond).checked_sub(1)?;
    Some(offset_entry(index, base, number))
}

/// The greatest entry of a time index at or before `target`; `None` if there is none. Records at
/// or after `target` are then searched from its offset on.
#[must_use]
pub fn time_lookup(index: &[u8], base: Offset, target: Timestamp) -> Option<TimeEntry> {
    let entries = index.len() / TIME_ENTRY_BYTES;
    let beyond = |number| time_entry(index, base, number).timestamp > target;
    let number = partition_point(entries, beyond).checked_sub(1)?;
    Some(time_entry(index, base, number))
}

/// Lower entries that are tried where an entry leads to no batch of its own.
const LANDINGS_MAX: usize = 4;

/// The places at which a search for an offset may begin, best first: what the index says, then
/// lower and lower entries, and at last the segment's first byte. An index that is damaged costs
/// time, never an answer.
#[derive(Clone, Copy, Debug)]
pub struct Landings {
    below: Option<Offset>,
    position: Option<u32>,
    left: usize,
}

impl Landings {
    /// For the batch that holds `target`; without one, for the segment's first.
    #[must_use]
    pub const fn new(target: Option<Offset>) -> Self {
        Self {
            below: target,
            position: None,
            left: LANDINGS_MAX + 1,
        }
    }

    /// The next place: an entry, or `Some(None)` for the segment's first byte, which is the last.
    pub fn next(&mut self, index: &[u8], base: Offset) -> Option<Option<OffsetEntry>> {
        self.left = self.left.checked_sub(1)?;
        let entry = self
            .below
            .filter(|_| self.left > 0)
            .and_then(|below| offset_lookup(index, base, below))
            .filter(|entry| self.position.is_none_or(|before| entry.position < before));
        match entry {
            Some(entry) => {
                self.below = entry.offset.0.checked_sub(1).map(Offset);
                self.position = Some(entry.position);
            }
            None => self.left = 0,
        }
        Some(entry)
    }
}

/// The last entry of an offset index.
#[must_use]
pub fn last_offset_entry(index: &[u8], base: Offset) -> Option<OffsetEntry> {
    let number = (index.len() / OFFSET_ENTRY_BYTES).checked_sub(1)?;
    Some(offset_entry(index, base, number))
}

/// The last entry of a time index.
#[must_use]
pub fn last_time_entry(index: &[u8], base: Offset) -> Option<TimeEntry> {
    let number = (index.len() / TIME_ENTRY_BYTES).checked_sub(1)?;
    Some(time_entry(index, base, number))
}

/// An index that cannot be trusted and must be rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexFault {
    /// The file does not hold a whole number of entries.
    Length,
    /// The entry with this number does not grow over the one before.
    Order {
        /// Its number, from 0.
        entry: usize,
    },
    /// The entry with this number points outside of the segment.
    Range {
        /// Its number, from 0.
        entry: usize,
    },
}

impl fmt::Display for IndexFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => formatter.write_str("index does not hold a whole number of entries"),
            Self::Order { entry } => write!(formatter, "index entry {entry} is out of order"),
            Self::Range { entry } => write!(formatter, "index entry {entry} is out of range"),
        }
    }
}

/// Checks the whole offset index of a segment of `segment_bytes`.
///
/// # Errors
/// The first [`IndexFault`].
pub fn check_offset_index(
    index: &[u8],
    base: Offset,
    segment_bytes: usize,
) -> Result<(), IndexFault> {
    if !index.len().is_multiple_of(OFFSET_ENTRY_BYTES) {
        return Err(IndexFault::Length);
    }
    let mut before: Option<OffsetEntry> = None;
    for entry in 0..index.len() / OFFSET_ENTRY_BYTES {
        let at = offset_entry(index, base, entry);
        if at.offset < base || at.position as usize >= segment_bytes {
            return Err(IndexFault::Range { entry });
        }
        let grows =
            |before: OffsetEntry| at.offset > before.offset && at.position > before.position;
        if !before.is_none_or(grows) {
            return Err(IndexFault::Order { entry });
        }
        before = Some(at);
    }
    Ok(())
}

/// Checks the whole time index of a segment whose records end before `log_end`.
///
/// # Errors
/// The first [`IndexFault`].
pub fn check_time_index(index: &[u8], base: Offset, log_end: Offset) -> Result<(), IndexFault> {
    if !index.len().is_multiple_of(TIME_ENTRY_BYTES) {
        return Err(IndexFault::Length);
    }
    let mut before: Option<TimeEntry> = None;
    for entry in 0..index.len() / TIME_ENTRY_BYTES {
        let at = time_entry(index, base, entry);
        if at.offset < base || at.offset >= log_end {
            return Err(IndexFault::Range { entry });
        }
        let grows =
            |before: TimeEntry| at.timestamp > before.timestamp && at.offset > before.offset;
        if !before.is_none_or(grows) {
            return Err(IndexFault::Order { entry });
        }
        before = Some(at);
    }
    Ok(())
}
