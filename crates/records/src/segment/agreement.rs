//! Whether a segment's batches follow each other, and its indexes say of them what is true. For those
//! who examine a log that nobody writes to; pure, batch by batch.

use std::collections::VecDeque;
use std::fmt;

use klamm_model::{BatchHeader, LeaderEpoch, Offset, Timestamp};

use super::index::{
    OFFSET_ENTRY_BYTES, OffsetEntry, TIME_ENTRY_BYTES, TimeEntry, offset_entries, time_entries,
};

/// What does not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// The batch begins before the one before it ended, or before its segment.
    Offset {
        /// Where it may begin at the earliest.
        earliest: Offset,
        /// Where it begins.
        found: Offset,
    },
    /// Its last offset lies before its first, or cannot be named.
    LastOffset {
        /// What its head adds to its first.
        delta: i32,
    },
    /// Its head counts more records than it has offsets, or fewer than none.
    RecordCount {
        /// The count.
        found: i32,
    },
    /// Its leader epoch is older than that of a batch before it.
    Epoch {
        /// The newest before.
        newest: LeaderEpoch,
        /// Its own.
        found: LeaderEpoch,
    },
    /// The index file does not hold a whole number of entries.
    IndexLength {
        /// Its bytes.
        bytes: usize,
    },
    /// An entry of an index does not grow over the one before.
    IndexOrder,
    /// An entry of the offset index points where no batch begins.
    IndexPosition {
        /// Where it points.
        position: u32,
    },
    /// An entry of the offset index names an offset before the batch to which it points.
    IndexOffset {
        /// The offset.
        offset: Offset,
        /// First offset of the batch.
        batch: Offset,
    },
    /// An entry of the time index names an offset that no batch holds.
    TimeOffset {
        /// The offset.
        offset: Offset,
    },
    /// An entry of the time index names another time than its batch.
    TimeOfBatch {
        /// The entry's.
        entry: Timestamp,
        /// The largest of the batch.
        batch: Timestamp,
    },
}

impl fmt::Display for Disagreement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset { earliest, found } => write!(
                formatter,
                "batch begins with offset {found}, expected {earliest} or more"
            ),
            Self::LastOffset { delta } => write!(
                formatter,
                "last offset of the batch is its first and {delta}, which cannot be"
            ),
            Self::RecordCount { found } => {
                write!(formatter, "batch counts {found} records, which cannot be")
            }
            Self::Epoch { newest, found } => write!(
                formatter,
                "leader epoch {found} stands behind leader epoch {newest}"
            ),
            Self::IndexLength { bytes } => write!(
                formatter,
                "index of {bytes} bytes does not hold a whole number of entries"
            ),
            Self::IndexOrder => {
                formatter.write_str("index entry does not grow over the one before")
            }
            Self::IndexPosition { position } => write!(
                formatter,
                "index entry points to byte {position} of the log, where no batch begins"
            ),
            Self::IndexOffset { offset, batch } => write!(
                formatter,
                "index entry of offset {offset} points to a batch that begins with {batch}"
            ),
            Self::TimeOffset { offset } => write!(
                formatter,
                "time index entry names offset {offset}, which no batch holds"
            ),
            Self::TimeOfBatch { entry, batch } => write!(
                formatter,
                "time index entry names time {entry}, its batch has {batch}"
            ),
        }
    }
}

/// Which file of a segment something is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The batches.
    Log(u64),
    /// The offset index.
    OffsetIndex(u64),
    /// The time index.
    TimeIndex(u64),
}

/// Examines a segment whose batches come in order.
#[derive(Clone, Debug)]
pub struct Agreement {
    next: Offset,
    newest_epoch: LeaderEpoch,
    offsets: VecDeque<(u64, OffsetEntry)>,
    times: VecDeque<(u64, TimeEntry)>,
    found: Vec<(Place, Disagreement)>,
}

impl Agreement {
    /// Of the segment with this base, behind others of its log that end at `earliest` at the least.
    /// Zeros at the end of an index are room that was made ahead.
    #[must_use]
    pub fn new(base: Offset, earliest: Offset, offset_index: &[u8], time_index: &[u8]) -> Self {
        let mut found = Vec::new();
        let offset_index = without_room(offset_index, OFFSET_ENTRY_BYTES);
        let time_index = without_room(time_index, TIME_ENTRY_BYTES);
        if !offset_index.len().is_multiple_of(OFFSET_ENTRY_BYTES) {
            let bytes = offset_index.len();
            found.push((Place::OffsetIndex(0), Disagreement::IndexLength { bytes }));
        }
        if !time_index.len().is_multiple_of(TIME_ENTRY_BYTES) {
            let bytes = time_index.len();
            found.push((Place::TimeIndex(0), Disagreement::IndexLength { bytes }));
        }
        let places = |bytes: usize| (0_u64..).map(move |number| number * bytes as u64);
        let offsets = places(OFFSET_ENTRY_BYTES).zip(offset_entries(offset_index, base));
        let times = places(TIME_ENTRY_BYTES).zip(time_entries(time_index, base));
        let mut agreement = Self {
            next: base.max(earliest),
            newest_epoch: LeaderEpoch(i32::MIN),
            offsets: offsets.collect(),
            times: times.collect(),
            found,
        };
        agreement.check_order();
        agreement
    }

    fn check_order(&mut self) {
        let offsets = self.offsets.iter().zip(self.offsets.iter().skip(1));
        for ((_, before), (place, entry)) in offsets {
            if entry.offset <= before.offset || entry.position <= before.position {
                let place = Place::OffsetIndex(*place);
                self.found.push((place, Disagreement::IndexOrder));
            }
        }
        let times = self.times.iter().zip(self.times.iter().skip(1));
        for ((_, before), (place, entry)) in times {
            if entry.timestamp < before.timestamp || entry.offset < before.offset {
                let place = Place::TimeIndex(*place);
                self.found.push((place, Disagreement::IndexOrder));
            }
        }
    }

    /// Takes the next batch, which begins at this byte of the segment.
    pub fn on_batch(&mut self, position: u64, header: &BatchHeader) {
        let at = Place::Log(position);
        let first = header.base_offset;
        if first < self.next {
            let earliest = self.next;
            let found = first;
            self.found
                .push((at, Disagreement::Offset { earliest, found }));
        }
        let delta = header.last_offset_delta.0;
        let last = first.0.checked_add(delta.into());
        let last = last
            .filter(|&last| delta >= 0 && last < i64::MAX)
            .map(Offset);
        match last {
            Some(last) => {
                let count = header.record_count;
                if count < 0 || i64::from(count) > i64::from(delta) + 1 {
                    self.found
                        .push((at, Disagreement::RecordCount { found: count }));
                }
                self.check_times(first, last, header.max_timestamp);
                self.next = self.next.max(last.next());
            }
            None => self.found.push((at, Disagreement::LastOffset { delta })),
        }
        if header.leader_epoch < self.newest_epoch {
            let (newest, found) = (self.newest_epoch, header.leader_epoch);
            self.found.push((at, Disagreement::Epoch { newest, found }));
        }
        self.newest_epoch = self.newest_epoch.max(header.leader_epoch);
        self.check_offsets(position, first);
    }

    fn check_offsets(&mut self, position: u64, first: Offset) {
        while let Some(&(place, entry)) = self.offsets.front() {
            let points_to = u64::from(entry.position);
            if points_to > position {
                return;
            }
            self.offsets.pop_front();
            let place = Place::OffsetIndex(place);
            if points_to < position {
                let position = entry.position;
                self.found
                    .push((place, Disagreement::IndexPosition { position }));
            } else if entry.offset < first {
                let (offset, batch) = (entry.offset, first);
                self.found
                    .push((place, Disagreement::IndexOffset { offset, batch }));
            }
        }
    }

    fn check_times(&mut self, first: Offset, last: Offset, batch: Timestamp) {
        while let Some(&(place, entry)) = self.times.front() {
            if entry.offset > last {
                return;
            }
            self.times.pop_front();
            let place = Place::TimeIndex(place);
            if entry.offset < first {
                let offset = entry.offset;
                self.found
                    .push((place, Disagreement::TimeOffset { offset }));
            } else if entry.timestamp != batch {
                let entry = entry.timestamp;
                self.found
                    .push((place, Disagreement::TimeOfBatch { entry, batch }));
            }
        }
    }

    /// After the last batch: where the log goes on, and all that does not agree.
    #[must_use]
    pub fn finish(mut self) -> (Offset, Vec<(Place, Disagreement)>) {
        for (place, entry) in self.offsets {
            let position = entry.position;
            let place = Place::OffsetIndex(place);
            self.found
                .push((place, Disagreement::IndexPosition { position }));
        }
        for (place, entry) in self.times {
            let offset = entry.offset;
            let place = Place::TimeIndex(place);
            self.found
                .push((place, Disagreement::TimeOffset { offset }));
        }
        (self.next, self.found)
    }
}

/// An index without the entries of zeros behind its last.
fn without_room(index: &[u8], entry_bytes: usize) -> &[u8] {
    let used = index
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |at| at + 1);
    let whole = used.next_multiple_of(entry_bytes);
    match whole <= index.len() {
        true => &index[..whole],
        false => index,
    }
}

#[cfg(test)]
mod tests {
    use klamm_model::{Attributes, OffsetDelta};

    use super::*;

    fn batch(base: i64, records: i32, max_timestamp: i64) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(base),
            size: 100,
            leader_epoch: LeaderEpoch(1),
            checksum: 0,
            attributes: Attributes(0),
            last_offset_delta: OffsetDelta(records - 1),
            base_timestamp: Timestamp(0),
            max_timestamp: Timestamp(max_timestamp),
            producer: None,
            record_count: records,
        }
    }

    fn offset_index(entries: &[(i32, u32)]) -> Vec<u8> {
        let entry = |&(offset, position): &(i32, u32)| {
            [offset.to_be_bytes(), position.to_be_bytes()].concat()
        };
        entries.iter().flat_map(entry).collect()
    }

    fn time_index(entries: &[(i64, i32)]) -> Vec<u8> {
        let entry = |&(time, offset): &(i64, i32)| {
            [&time.to_be_bytes()[..], &offset.to_be_bytes()].concat()
        };
        entries.iter().flat_map(entry).collect()
    }

    /// Three batches of 10 records each, 100 bytes each, from offset 1000 on.
    fn check(offsets: &[u8], times: &[u8]) -> Vec<(Place, Disagreement)> {
        let base = Offset(1000);
        let mut agreement = Agreement::new(base, Offset(0), offsets, times);
        for (number, time) in [(0, 5), (1, 9), (2, 7)] {
            agreement.on_batch(number * 100, &batch(1000 + number as i64 * 10, 10, time));
        }
        let (next, found) = agreement.finish();
        assert_eq!(next, Offset(1030));
        found
    }

    #[test]
    fn what_klamm_and_kafka_write_agrees() {
        // Kafka wrote the last offset of several batches with the position of the first.
        let offsets = offset_index(&[(19, 100), (29, 200)]);
        let mut times = time_index(&[(5, 9), (9, 19)]);
        assert_eq!(check(&offsets, &times), []);
        let several = offset_index(&[(29, 100)]);
        times.resize(120, 0);
        assert_eq!(check(&several, &times), []);
        assert_eq!(check(&[0; 80], &[]), []);
    }

    #[test]
    fn an_index_that_leads_astray_is_named_by_the_place_of_its_entry() {
        let astray = offset_index(&[(19, 101), (29, 200), (30, 300)]);
        assert_eq!(
            check(&astray, &[]),
            [
                (
                    Place::OffsetIndex(0),
                    Disagreement::IndexPosition { position: 101 }
                ),
                (
                    Place::OffsetIndex(16),
                    Disagreement::IndexPosition { position: 300 }
                ),
            ]
        );
        let (offset, batch) = (Offset(1005), Offset(1010));
        assert_eq!(
            check(&offset_index(&[(5, 100)]), &[]),
            [(
                Place::OffsetIndex(0),
                Disagreement::IndexOffset { offset, batch }
            )]
        );
        let (entry, batch) = (Timestamp(6), Timestamp(9));
        assert_eq!(
            check(&[], &time_index(&[(6, 19)])),
            [(
                Place::TimeIndex(0),
                Disagreement::TimeOfBatch { entry, batch }
            )]
        );
        let back = offset_index(&[(29, 200), (19, 100)]);
        assert!(check(&back, &[]).contains(&(Place::OffsetIndex(8), Disagreement::IndexOrder)));
        assert_eq!(
            check(&[1; 9], &[])[0],
            (
                Place::OffsetIndex(0),
                Disagreement::IndexLength { bytes: 9 }
            )
        );
    }

    #[test]
    fn batches_that_do_not_follow_each_other_are_named() {
        let mut agreement = Agreement::new(Offset(0), Offset(0), &[], &[]);
        agreement.on_batch(0, &batch(0, 10, 1));
        agreement.on_batch(100, &batch(5, 10, 1));
        let hostile = BatchHeader {
            base_offset: Offset(i64::MAX),
            leader_epoch: LeaderEpoch(0),
            ..batch(0, 10, 1)
        };
        agreement.on_batch(200, &hostile);
        let (earliest, found) = (Offset(10), Offset(5));
        assert_eq!(
            agreement.finish().1,
            [
                (Place::Log(100), Disagreement::Offset { earliest, found }),
                (Place::Log(200), Disagreement::LastOffset { delta: 9 }),
                (
                    Place::Log(200),
                    Disagreement::Epoch {
                        newest: LeaderEpoch(1),
                        found: LeaderEpoch(0)
                    }
                ),
            ]
        );
    }
}
