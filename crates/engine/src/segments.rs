//! The segments of one partition as plain facts: which files there are, how long they are, and
//! what times they hold. The bytes lie on disk; the newest also in the tail.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use klamm_model::{BatchHeader, Offset, Timestamp, TopicConfig};
use klamm_records::segment::IndexBuilder;

/// One segment.
#[derive(Debug)]
pub struct Segment {
    /// Offset of its first record; names its files.
    pub base: Offset,
    /// Bytes of its batches, those still to be spilled included.
    pub bytes: u64,
    /// Largest timestamp in it and the offset of that record.
    pub max_timestamp: Option<(Timestamp, Offset)>,
    /// No record is later than that. Otherwise a search by time does not pass the segment over.
    pub is_max_proven: bool,
    /// Timestamp of its first batch; with it the segment's age is measured.
    pub first_timestamp: Option<Timestamp>,
    /// When this life last appended to it, by the broker's clock.
    pub appended_at: Option<Timestamp>,
    /// Builds the sparse indexes of a segment that is written to.
    pub index: IndexBuilder,
    /// Index entries that were built but not yet handed to a spill.
    pub index_pending: IndexPending,
}

impl Segment {
    /// A segment without batches.
    #[must_use]
    pub fn begin(base: Offset, config: &TopicConfig) -> Self {
        Self {
            base,
            bytes: 0,
            max_timestamp: None,
            is_max_proven: true,
            first_timestamp: None,
            appended_at: None,
            index: IndexBuilder::new(base, config.index_interval_bytes as usize),
            index_pending: IndexPending::default(),
        }
    }

    /// Takes in a batch, stamped as it will lie on disk; `max_at` is the offset of its record with
    /// the largest timestamp.
    pub fn append(&mut self, header: &BatchHeader, max_at: Offset) {
        let size = header.size;
        let time = header.max_timestamp;
        if self.first_timestamp.is_none() && time != Timestamp::NONE {
            self.first_timestamp = Some(time);
        }
        if time != Timestamp::NONE && self.max_timestamp.is_none_or(|(max, _)| time > max) {
            self.max_timestamp = Some((time, max_at));
        }
        let entries = self
            .index
            .on_batch(header)
            .expect("a segment is rolled before its offsets outgrow the index");
        self.index_pending
            .offsets
            .extend(entries.offset.into_iter().flatten());
        self.index_pending
            .times
            .extend(entries.time.into_iter().flatten());
        self.bytes += size as u64;
    }
}

impl Segment {
    /// The time of its latest record. Where records tell none, or an earlier life may have lost it:
    /// when something was last appended, and at least when this life began.
    #[must_use]
    pub fn last_time(&self, began: Timestamp) -> Timestamp {
        let told = self.max_timestamp.map(|(time, _)| time);
        match told {
            Some(time) if self.is_max_proven => time,
            told => {
                let touched = self.appended_at.unwrap_or(began);
                told.map_or(touched, |time| time.max(touched))
            }
        }
    }

    /// Adds the time index's last entry, when nothing more will be appended.
    pub fn close_index(&mut self) {
        self.index_pending
            .times
            .extend(self.index.close().into_iter().flatten());
    }
}

/// Entries of both indexes that wait for the next spill.
#[derive(Debug, Default)]
pub struct IndexPending {
    /// Offset index entries.
    pub offsets: BytesMut,
    /// Bytes of the offset index already handed out.
    pub offsets_done: u64,
    /// Time index entries.
    pub times: BytesMut,
    /// Bytes of the time index already handed out.
    pub times_done: u64,
}

impl IndexPending {
    /// Takes the entries and where each run goes in its file.
    pub fn take(&mut self) -> ((Bytes, u64), (Bytes, u64)) {
        let offsets_at = self.offsets_done;
        let times_at = self.times_done;
        self.offsets_done += self.offsets.len() as u64;
        self.times_done += self.times.len() as u64;
        (
            (self.offsets.split().freeze(), offsets_at),
            (self.times.split().freeze(), times_at),
        )
    }
}

/// All segments of a partition, oldest first; the last one is written to.
#[derive(Debug)]
pub struct Segments {
    list: VecDeque<Segment>,
}

impl Segments {
    /// The segments found at boot, oldest first.
    #[must_use]
    pub fn new(list: VecDeque<Segment>) -> Self {
        Self { list }
    }

    /// All segments, oldest first.
    #[must_use]
    pub fn into_list(self) -> VecDeque<Segment> {
        self.list
    }

    /// The segment that is written to.
    #[must_use]
    pub fn active(&self) -> Option<&Segment> {
        self.list.back()
    }

    /// The segment that is written to.
    pub fn active_mut(&mut self) -> Option<&mut Segment> {
        self.list.back_mut()
    }

    /// The segment with this base offset.
    #[must_use]
    pub fn get(&self, base: Offset) -> Option<&Segment> {
        let place = self
            .list
            .binary_search_by_key(&base, |segment| segment.base)
            .ok()?;
        self.list.get(place)
    }

    /// The segment with this base offset.
    pub fn get_mut(&mut self, base: Offset) -> Option<&mut Segment> {
        let place = self
            .list
            .binary_search_by_key(&base, |segment| segment.base)
            .ok()?;
        self.list.get_mut(place)
    }

    /// The segment that holds `offset`, and the base of the next one.
    #[must_use]
    pub fn holding(&self, offset: Offset) -> Option<(&Segment, Option<Offset>)> {
        let after = self.list.partition_point(|segment| segment.base <= offset);
        let place = after.checked_sub(1)?;
        let next = self.list.get(after).map(|segment| segment.base);
        self.list.get(place).map(|segment| (segment, next))
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.list.iter()
    }

    /// Number of segments.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True if nothing was ever appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many segments, oldest first, hold nothing at or behind `offset`. The one that is written
    /// to is never among them.
    #[must_use]
    pub fn before(&self, offset: Offset) -> usize {
        let after = self.list.partition_point(|segment| segment.base <= offset);
        after.saturating_sub(1)
    }

    /// Base offset of the oldest segment.
    #[must_use]
    pub fn first_base(&self) -> Option<Offset> {
        self.list.front().map(|segment| segment.base)
    }

    /// Base offset of the segment behind the one with this base.
    #[must_use]
    pub fn after(&self, base: Offset) -> Option<Offset> {
        let after = self.list.partition_point(|segment| segment.base <= base);
        self.list.get(after).map(|segment| segment.base)
    }

    /// Puts one segment in the place of some that follow on each other, the first of which has the
    /// same base.
    ///
    /// # Panics
    /// If these are not there, or the one that is written to is among them.
    pub fn replace(&mut self, bases: &[Offset], new: Segment) {
        let first = bases.first().expect("something is replaced");
        assert_eq!(*first, new.base, "the new segment begins where they do");
        let place = self
            .list
            .binary_search_by_key(first, |segment| segment.base)
            .expect("a segment that is replaced is there");
        let found = self.list.range(place..place + bases.len());
        assert!(
            found.map(|segment| &segment.base).eq(bases),
            "they follow on each other"
        );
        assert!(
            place + bases.len() < self.list.len(),
            "the segment that is written to stays"
        );
        self.list.drain(place + 1..place + bases.len());
        self.list[place] = new;
    }

    /// Forgets the oldest segment.
    pub fn remove_first(&mut self) -> Option<Segment> {
        self.list.pop_front()
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.list.iter().map(|segment| segment.bytes).sum()
    }

    /// True if a batch of this size and time must begin a new segment (`segment.bytes`,
    /// `segment.ms`, a full index, or an offset too far from the base for the index's 32 bits).
    #[must_use]
    pub fn must_roll(
        &self,
        config: &TopicConfig,
        size: usize,
        max_timestamp: Timestamp,
        last_offset: Offset,
    ) -> bool {
        let Some(active) = self.active() else {
            return true;
        };
        // A record may be compacted only once its segment is complete.
        let segment_ms = match config.cleanup.compact {
            true => config.segment_ms.min(config.compaction_lag_ms_max),
            false => config.segment_ms,
        };
        let too_old = active
            .first_timestamp
            .filter(|_| max_timestamp != Timestamp::NONE)
            .is_some_and(|first| max_timestamp.0.saturating_sub(first.0) > segment_ms);
        let index_bytes = active.index.offset_index_bytes() as u64;
        active.bytes > 0
            && (active.bytes + size as u64 > u64::from(config.segment_bytes)
                || too_old
                || index_bytes + 8 > u64::from(config.segment_index_bytes)
                || last_offset.0 - active.base.0 > i64::from(i32::MAX)
                || active.bytes + size as u64 > u64::from(i32::MAX.unsigned_abs()))
    }

    /// Begins a segment at `base`.
    pub fn roll(&mut self, base: Offset, config: &TopicConfig) {
        assert!(
            self.active().is_none_or(|active| active.base < base),
            "segments begin at rising offsets"
        );
        self.list.push_back(Segment::begin(base, config));
    }
}
