//! Whether the indexes of a closed segment can be trusted, told at a start by their ends: a few
//! kilobytes of each segment, however large it is. What lies before is judged when it is used, by
//! the batch to which it leads.

use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{BatchHeader, Offset, Timestamp};
use klamm_records::batch;
use klamm_records::segment::{
    self, OFFSET_ENTRY_BYTES, OffsetEntry, SegmentFile, TIME_ENTRY_BYTES, TimeEntry,
};

use crate::boot_partition::{index_path, log_path};
use crate::storage::{Storage, StorageError};

/// Entries at the end of each index that are looked at.
const LAST_ENTRIES: usize = 341;

/// Bytes behind an entry in which a batch is sought, unless the interval is larger.
const FAR_BYTES: u64 = 64 << 10;

/// Bytes of a segment that are read at a time while heads of batches are looked at.
const WINDOW_BYTES: usize = 4096;

/// A segment that is no longer written to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closed<'a> {
    pub(crate) folder: &'a str,
    pub(crate) base: Offset,
    /// Where the next one begins.
    pub(crate) next: Offset,
    /// Bytes of its batches.
    pub(crate) length: u64,
    /// `index.interval.bytes`.
    pub(crate) interval: usize,
}

/// Why indexes are not believed.
#[derive(Debug)]
pub(crate) enum Doubt {
    /// Nothing could be read.
    Storage(StorageError),
    /// What is wrong, and with which.
    Index(String),
}

impl From<StorageError> for Doubt {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

fn doubt(file: SegmentFile, fault: impl std::fmt::Display) -> Doubt {
    Doubt::Index(match file {
        SegmentFile::TimeIndex => format!(".timeindex: {fault}"),
        _ => format!(".index: {fault}"),
    })
}

/// What a segment's largest time is said to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Largest {
    /// By the last entry of the time index.
    pub(crate) entry: Option<TimeEntry>,
    /// No batch is later, as far as everything was written that the last entry stands for. Times
    /// that go back far leave room for entries that are gone.
    pub(crate) is_proven: bool,
}

/// The largest time of a closed segment, from indexes that can be trusted.
pub(crate) fn largest_time<S: Storage>(
    storage: &mut S,
    segment: &Closed<'_>,
) -> Result<Largest, Doubt> {
    let file = SegmentFile::OffsetIndex;
    let offsets = last_entries(storage, segment, file, OFFSET_ENTRY_BYTES)?;
    check_offsets(&offsets, segment).map_err(|fault| doubt(file, fault))?;
    let last = segment::last_offset_entry(&offsets, segment.base);
    let file = SegmentFile::TimeIndex;
    let times = last_entries(storage, segment, file, TIME_ENTRY_BYTES)?;
    segment::check_time_index(&times, segment.base, segment.next)
        .map_err(|fault| doubt(file, fault))?;
    let claimed = segment::last_time_entry(&times, segment.base);
    let mut seen = Seen::new(claimed);
    let mut heads = Heads::new(storage, segment);
    heads.walk(last, Some(far_behind(&offsets, segment)), |header| {
        seen.take(header);
        true
    })?;
    if seen.latest > claimed.map_or(Timestamp::NONE, |entry| entry.timestamp) {
        return Err(doubt(file, "later records follow than it tells of"));
    }
    let Some(claimed) = claimed else {
        if heads.begins_with_a_time()? {
            return Err(doubt(file, "it is missing or empty"));
        }
        return Ok(Largest {
            entry: None,
            is_proven: true,
        });
    };
    if seen.stands.is_none() {
        let before = claim_from(&mut heads, &offsets, last, claimed)?;
        heads.walk(before, None, |header| {
            seen.take(header);
            header.end_offset() <= claimed.offset
        })?;
    }
    match seen.stands {
        Some(true) => Ok(Largest {
            entry: Some(claimed),
            is_proven: is_proven(&offsets, segment.base, claimed),
        }),
        _ => Err(doubt(file, "its last entry is no batch's")),
    }
}

/// The largest time of the part of a segment that its offset index covers, if a batch stands where
/// the time index says; none if the index cannot be right.
pub(crate) fn largest_indexed_time<S: Storage>(
    storage: &mut S,
    segment: &Closed<'_>,
    offsets: &[u8],
    times: &[u8],
) -> Result<Option<Largest>, StorageError> {
    let mut heads = Heads::new(storage, segment);
    let Some(claimed) = segment::last_time_entry(times, segment.base) else {
        let is_gone = !offsets.is_empty() && heads.begins_with_a_time()?;
        return Ok((!is_gone).then_some(Largest {
            entry: None,
            is_proven: true,
        }));
    };
    let mut seen = Seen::new(Some(claimed));
    let before = segment::offset_lookup(offsets, segment.base, claimed.offset);
    let walked = heads.walk(before, None, |header| {
        seen.take(header);
        header.end_offset() <= claimed.offset
    });
    match walked {
        Err(Doubt::Storage(error)) => Err(error),
        Err(Doubt::Index(_)) => Ok(None),
        Ok(()) => Ok((seen.stands == Some(true)).then(|| Largest {
            entry: Some(claimed),
            is_proven: is_proven(offsets, segment.base, claimed),
        })),
    }
}

/// A time entry that names a batch behind the last but one offset entry was written along with the
/// last or later, and counts every batch before.
fn is_proven(offsets: &[u8], base: Offset, claimed: TimeEntry) -> bool {
    let before = offsets.len().saturating_sub(OFFSET_ENTRY_BYTES);
    let before = offsets.get(..before).unwrap_or_default();
    segment::last_offset_entry(before, base).is_none_or(|before| claimed.offset > before.offset)
}

/// Bytes behind the last entry within which the last batch must begin: fewer than lie between any
/// two entries, for these are further apart than the interval was when they were written.
fn far_behind(entries: &[u8], segment: &Closed<'_>) -> u64 {
    let positions = (OFFSET_ENTRY_BYTES..=entries.len()).step_by(OFFSET_ENTRY_BYTES);
    let positions = positions.filter_map(|end| {
        let entry = segment::last_offset_entry(entries.get(..end)?, segment.base)?;
        Some(u64::from(entry.position))
    });
    let positions: Vec<u64> = positions.collect();
    let gaps = positions.windows(2).map(|pair| pair[1] - pair[0]);
    match (gaps.min(), positions.last()) {
        (Some(least), _) => least,
        // The only one: the first batch lies as far before it.
        (None, Some(&only)) => only,
        (None, None) => segment.interval as u64,
    }
}

/// The entry of the offset index from which the batch is found that the time index names.
fn claim_from<S: Storage>(
    heads: &mut Heads<'_, S>,
    offsets: &[u8],
    last: Option<OffsetEntry>,
    claimed: TimeEntry,
) -> Result<Option<OffsetEntry>, Doubt> {
    let base = heads.segment.base;
    let found = segment::offset_lookup(offsets, base, claimed.offset);
    if found.is_some() || last.is_none() {
        return Ok(found);
    }
    // Times that go back far enough are rare.
    let path = index_path(heads.segment.folder, base, SegmentFile::OffsetIndex);
    let whole = heads.storage.read(&path)?.unwrap_or_default();
    Ok(segment::offset_lookup(&whole, base, claimed.offset))
}

fn check_offsets(entries: &[u8], segment: &Closed<'_>) -> Result<(), String> {
    let length = usize::try_from(segment.length).unwrap_or(usize::MAX);
    segment::check_offset_index(entries, segment.base, length)
        .map_err(|fault| fault.to_string())?;
    let first = entries.get(..OFFSET_ENTRY_BYTES).unwrap_or_default();
    let first = segment::last_offset_entry(first, segment.base);
    if first.is_some_and(|first| first.position == 0) {
        // No entry points at the first batch.
        return Err("it holds zeros".to_owned());
    }
    let last = segment::last_offset_entry(entries, segment.base);
    if last.is_some_and(|last| last.offset >= segment.next) {
        return Err("it goes beyond the segment".to_owned());
    }
    Ok(())
}

/// The last entries of an index, whose length must be that of whole entries.
fn last_entries<S: Storage>(
    storage: &mut S,
    segment: &Closed<'_>,
    file: SegmentFile,
    entry: usize,
) -> Result<Vec<u8>, Doubt> {
    let path = index_path(segment.folder, segment.base, file);
    let length = storage.length(&path)?.unwrap_or(0);
    if !length.is_multiple_of(entry as u64) {
        return Err(doubt(file, "it does not hold a whole number of entries"));
    }
    if length == 0 {
        return Ok(Vec::new());
    }
    let wanted = (entry * LAST_ENTRIES) as u64;
    let at = length.saturating_sub(wanted);
    Ok(storage.read_at(&path, at, entry * LAST_ENTRIES)?)
}

/// What the batches say of a segment's largest time.
struct Seen {
    claimed: Option<TimeEntry>,
    latest: Timestamp,
    /// The batch that the time index names was met, and has that time.
    stands: Option<bool>,
}

impl Seen {
    fn new(claimed: Option<TimeEntry>) -> Self {
        Self {
            claimed,
            latest: Timestamp::NONE,
            stands: None,
        }
    }

    fn take(&mut self, header: &BatchHeader) {
        self.latest = self.latest.max(header.max_timestamp);
        if let Some(claimed) = self.claimed
            && (header.base_offset..header.end_offset()).contains(&claimed.offset)
        {
            let stands =
                header.last_offset() == claimed.offset && header.max_timestamp == claimed.timestamp;
            self.stands = Some(stands);
        }
    }
}

/// Looks at the heads of a segment's batches.
struct Heads<'a, S> {
    storage: &'a mut S,
    segment: &'a Closed<'a>,
    path: String,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a, S: Storage> Heads<'a, S> {
    fn new(storage: &'a mut S, segment: &'a Closed<'a>) -> Self {
        Self {
            storage,
            segment,
            path: log_path(segment.folder, segment.base),
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// The batch's head at this position, if one is there and lies in the segment.
    fn head_at(&mut self, position: u64) -> Result<Option<BatchHeader>, StorageError> {
        let rest = |window: &[u8], window_at: u64| {
            let at = position.checked_sub(window_at);
            let at = at.and_then(|at| usize::try_from(at).ok());
            let head = at.and_then(|at| window.get(at..at.checked_add(BATCH_HEADER_BYTES)?));
            head.map(batch::read_head)
        };
        let mut found = rest(&self.window, self.window_at);
        if found.is_none() {
            self.window = self.storage.read_at(&self.path, position, WINDOW_BYTES)?;
            self.window_at = position;
            found = rest(&self.window, self.window_at);
        }
        let header = found.and_then(Result::ok).filter(|header| {
            let delta = header.last_offset_delta.0;
            let end = header.base_offset.0.checked_add(i64::from(delta));
            let in_range = end.is_some_and(|end| end < self.segment.next.0);
            delta >= 0
                && header.base_offset >= self.segment.base
                && in_range
                && position + header.size as u64 <= self.segment.length
        });
        Ok(header)
    }

    /// True if the segment's first batch has a time: the indexes have one, too, then. A batch
    /// without records has none, and what follows on it says the same.
    fn begins_with_a_time(&mut self) -> Result<bool, StorageError> {
        let mut position = 0;
        while position < FAR_BYTES
            && let Some(first) = self.head_at(position)?
        {
            if first.record_count > 0 {
                return Ok(first.max_timestamp != Timestamp::NONE);
            }
            position += first.size as u64;
        }
        Ok(false)
    }

    /// Goes through the batches from an entry on, or from the segment's first, as long as `visit`
    /// wants more. One that begins more than `far` bytes behind shows that entries are missing.
    /// Offsets may have holes: nothing else is asked of them than that they grow.
    fn walk(
        &mut self,
        from: Option<OffsetEntry>,
        far: Option<u64>,
        mut visit: impl FnMut(&BatchHeader) -> bool,
    ) -> Result<(), Doubt> {
        let file = SegmentFile::OffsetIndex;
        let far = far.unwrap_or_else(|| FAR_BYTES.max(self.segment.interval as u64));
        let start = from.map_or(0, |entry| u64::from(entry.position));
        let mut position = start;
        let mut least = self.segment.base;
        while position < self.segment.length {
            if position - start > far {
                return Err(match from {
                    Some(_) => doubt(file, format!("it tells of nothing behind byte {start}")),
                    None => doubt(file, "it is missing or empty"),
                });
            }
            let header = self.head_at(position)?;
            let header = header.filter(|header| header.base_offset >= least);
            let header =
                header.ok_or_else(|| doubt(file, format!("no batch stands at byte {position}")))?;
            if position == start && from.is_some_and(|entry| entry.offset != header.last_offset()) {
                let fault = format!("another batch stands at byte {position}");
                return Err(doubt(file, fault));
            }
            least = header.end_offset();
            position += header.size as u64;
            if !visit(&header) {
                break;
            }
        }
        Ok(())
    }
}
