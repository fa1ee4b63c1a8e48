//! Rewrites batches so that of each key only its latest record stays. A batch all of whose records
//! stay is copied byte for byte; one that loses some keeps its head but for count, times and
//! checksum, and its codec; where all are gone, one batch without records stands for them.
//!
//! ```text
//! | 0-4 all stay | 5-9 some go | 10-14 gone | 15-19 gone | 20-24 all stay |
//! | the same     | 5-9 fewer   | 10-19, no records       | the same       |
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{
    Attributes, BatchHeader, Compression, LeaderEpoch, Offset, Timestamp, TimestampType,
};

use super::hash::KeyHash;
use super::map::OffsetMap;
use crate::batch::{self, RecordFault, layout, usual_at};
use crate::checksum::crc32c;
use crate::compress::{Compressor, DecompressError, Scratch, decompress};
use crate::fields::put;
use crate::varint::{put_i32, put_i64, signed_i32, signed_i64};

/// The bit that says that the base timestamp holds the delete horizon (KIP-534).
const DELETE_HORIZON_BIT: i16 = 0x40;

/// Bits of an emptied batch that stay: the kind of its times, transactional, control.
const EMPTY_BITS: i16 = 0x38;

/// So many keys are brought from the table at the same time.
const LOOKED_UP_AT_ONCE: usize = 128;

/// What is to stay.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The last offset of each key.
    pub map: &'a OffsetMap,
    /// The map knows nothing of records from here on: they stay.
    pub mapped_end: Offset,
    /// The map knows every record from here on. A deletion marker gets its horizon only there: what
    /// it deletes goes with this same pass, whatever was or was not cleaned before.
    pub first_dirty: Offset,
    /// The broker's clock.
    pub now: Timestamp,
    /// `delete.retention.ms`: how long a deletion marker stays, from the first pass that keeps it.
    pub delete_retention_ms: i64,
    /// Last offsets of the newest batches of the producers that are remembered: such a batch stays,
    /// without records if need be, for it holds its producer's last sequence.
    pub producers_last: &'a BTreeSet<Offset>,
    /// Most bytes that the records of a batch may decompress to.
    pub decompressed_bytes_max: usize,
}

/// The records of a batch cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// The codec bits name none.
    Codec,
    /// The compressed section.
    Decompress(DecompressError),
    /// A record's structure.
    Record(RecordFault),
    /// Bytes after the last record.
    AfterLast,
    /// What is left outgrows the format.
    TooLarge,
}

impl fmt::Display for FilterError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec => formatter.write_str("unknown compression type"),
            Self::Decompress(error) => error.fmt(formatter),
            Self::Record(fault) => fault.fmt(formatter),
            Self::AfterLast => formatter.write_str("bytes after the last record"),
            Self::TooLarge => formatter.write_str("batch outgrows the format's 32-bit fields"),
        }
    }
}

impl std::error::Error for FilterError {}

/// What was kept and what not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterStats {
    /// Records looked at.
    pub records: u64,
    /// Records that stay.
    pub records_kept: u64,
    /// Records removed because they have no key, which a compacted log cannot keep.
    pub records_without_key: u64,
    /// Deletion markers removed because their time was over.
    pub markers_removed: u64,
    /// True if what was written differs from what was read.
    pub is_changed: bool,
}

/// A run of offsets whose records are gone.
#[derive(Clone, Copy, Debug)]
struct Gap {
    base: Offset,
    last: Offset,
    leader_epoch: LeaderEpoch,
    /// It was one empty batch already, and is nothing else yet.
    is_as_found: bool,
}

/// Rewrites the batches of one segment after the other, in their order.
#[derive(Debug, Default)]
pub struct Filter {
    scratch: Scratch,
    /// The batch's records.
    facts: Vec<Facts>,
    /// Parts of them that stay.
    runs: Vec<Range<usize>>,
    records: Vec<u8>,
    gap: Option<Gap>,
    stats: FilterStats,
}

impl Filter {
    /// What was done so far.
    #[must_use]
    pub const fn stats(&self) -> FilterStats {
        self.stats
    }

    /// Takes in what the map is to know of a batch, whose checksum is right: the keys of its
    /// records from `from` on. False if the map has no room for all of them; it then knows some of
    /// them, which costs nothing, as they come later than everything that is to be cleaned.
    ///
    /// # Errors
    /// [`FilterError`]: the batch's records cannot be read.
    pub fn map(
        &mut self,
        map: &mut OffsetMap,
        from: Offset,
        decompressed_bytes_max: usize,
        header: &BatchHeader,
        batch: &[u8],
    ) -> Result<bool, FilterError> {
        if header.attributes.is_control() || header.record_count <= 0 {
            return Ok(true);
        }
        let plain = self.open(header, batch, decompressed_bytes_max)?;
        look(map, header, plain.bytes(), &mut self.facts)?;
        for some in self.facts.chunks(LOOKED_UP_AT_ONCE) {
            map.fetch(some.iter().filter_map(|facts| facts.key));
            let new = some.iter().filter(|facts| facts.offset >= from);
            let mut keyed = new.filter_map(|facts| Some((facts.key?, facts.offset)));
            if !keyed.all(|(key, offset)| map.put_hash(key, offset)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes what stays of a batch, whose checksum is right, behind what stays of those before.
    ///
    /// # Errors
    /// [`FilterError`]: the batch's records cannot be read, and nothing of it was written.
    pub fn batch(
        &mut self,
        rules: &Rules<'_>,
        header: &BatchHeader,
        batch: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        // Markers of transactions go once their transactions do; none are written yet.
        if header.attributes.is_control() || header.base_offset >= rules.mapped_end {
            self.stats.records += u64::from(header.record_count.unsigned_abs());
            self.stats.records_kept += u64::from(header.record_count.unsigned_abs());
            self.keep(batch, out);
            return Ok(());
        }
        if header.record_count <= 0 {
            self.remove(rules, header, batch, out);
            return Ok(());
        }
        let plain = self.open(header, batch, rules.decompressed_bytes_max)?;
        look(rules.map, header, plain.bytes(), &mut self.facts)?;
        let mut runs = std::mem::take(&mut self.runs);
        let chosen = choose(rules, header, &self.facts, &mut runs);
        let done = if chosen.kept == 0 {
            self.remove(rules, header, batch, out);
            Ok(())
        } else if chosen.kept == header.record_count && chosen.horizon.is_none() {
            self.keep(batch, out);
            Ok(())
        } else {
            self.rebuild(header, batch, &plain, &runs, &chosen, out)
        };
        self.runs = runs;
        self.stats.records += u64::from(header.record_count.unsigned_abs());
        self.stats.records_kept += u64::from(chosen.kept.unsigned_abs());
        self.stats.records_without_key += chosen.without_key;
        self.stats.markers_removed += chosen.markers_removed;
        done
    }

    /// Nothing follows in this file.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let Some(gap) = self.gap.take() else { return };
        self.stats.is_changed |= !gap.is_as_found;
        let head = batch::without_records(gap.base, gap.last, gap.leader_epoch);
        out.extend_from_slice(&head);
    }

    fn keep(&mut self, batch: &[u8], out: &mut Vec<u8>) {
        self.finish(out);
        out.extend_from_slice(batch);
    }

    /// No record of the batch stays.
    fn remove(&mut self, rules: &Rules<'_>, header: &BatchHeader, batch: &[u8], out: &mut Vec<u8>) {
        let last = header.last_offset();
        if header.producer.is_some() && rules.producers_last.contains(&last) {
            if header.record_count <= 0 {
                return self.keep(batch, out);
            }
            self.finish(out);
            self.stats.is_changed = true;
            let mut head = [0; BATCH_HEADER_BYTES];
            head.copy_from_slice(&batch[..BATCH_HEADER_BYTES]);
            let attributes = header.attributes.0 & EMPTY_BITS;
            put(&mut head, layout::ATTRIBUTES, &attributes.to_be_bytes());
            seal_empty(&mut head);
            out.extend_from_slice(&head);
            return;
        }
        let is_as_found = header.record_count <= 0 && header.producer.is_none();
        match &mut self.gap {
            Some(gap)
                if gap.leader_epoch == header.leader_epoch
                    && last.0 - gap.base.0 <= i64::from(i32::MAX) =>
            {
                gap.last = last;
                gap.is_as_found = false;
            }
            _ => {
                self.finish(out);
                self.gap = Some(Gap {
                    base: header.base_offset,
                    last,
                    leader_epoch: header.leader_epoch,
                    is_as_found,
                });
            }
        }
    }

    /// Writes a batch with some of its records.
    fn rebuild(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        plain: &Plain<'_>,
        runs: &[Range<usize>],
        chosen: &Chosen,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        let codec = header.attributes.compression().ok_or(FilterError::Codec)?;
        self.finish(out);
        let start = out.len();
        out.extend_from_slice(&batch[..BATCH_HEADER_BYTES]);
        let written = match codec {
            // Straight to where they stay.
            Compression::None => write_runs(header, plain.bytes(), runs, chosen, out),
            _ => {
                let mut records = std::mem::take(&mut self.records);
                records.clear();
                let written = write_runs(header, plain.bytes(), runs, chosen, &mut records);
                out.extend_from_slice(&Compressor::from(codec).compress(&records));
                self.records = records;
                written
            }
        };
        if let Err(error) = written {
            out.truncate(start);
            return Err(error);
        }
        let new = &mut out[start..];
        let Ok(length) = i32::try_from(new.len() - layout::LENGTH_COUNTS_FROM) else {
            out.truncate(start);
            return Err(FilterError::TooLarge);
        };
        put(new, layout::LENGTH, &length.to_be_bytes());
        put(new, layout::RECORD_COUNT, &chosen.kept.to_be_bytes());
        if header.attributes.timestamp_type() == TimestampType::CreateTime {
            put(new, layout::MAX_TIMESTAMP, &chosen.latest.to_be_bytes());
        }
        if let Some(horizon) = chosen.horizon {
            let attributes = header.attributes.0 | DELETE_HORIZON_BIT;
            put(new, layout::ATTRIBUTES, &attributes.to_be_bytes());
            put(new, layout::BASE_TIMESTAMP, &horizon.0.to_be_bytes());
        }
        let checksum = crc32c(&new[layout::CHECKSUM_COVERS_FROM..]);
        put(new, layout::CHECKSUM, &checksum.to_be_bytes());
        self.stats.is_changed = true;
        Ok(())
    }

    /// The batch's records, decompressed.
    fn open<'b>(
        &mut self,
        header: &BatchHeader,
        batch: &'b [u8],
        limit: usize,
    ) -> Result<Plain<'b>, FilterError> {
        let section = &batch[BATCH_HEADER_BYTES..];
        match header.attributes.compression() {
            None => Err(FilterError::Codec),
            Some(Compression::None) => Ok(Plain::InPlace(section)),
            Some(codec) => decompress(codec, section, limit, &mut self.scratch)
                .map(Plain::Decompressed)
                .map_err(FilterError::Decompress),
        }
    }
}

/// Records without compression.
enum Plain<'a> {
    InPlace(&'a [u8]),
    Decompressed(Vec<u8>),
}

impl Plain<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::InPlace(bytes) => bytes,
            Self::Decompressed(bytes) => bytes,
        }
    }
}

/// What stays of a batch.
#[derive(Debug)]
struct Chosen {
    kept: i32,
    /// Largest timestamp of what stays.
    latest: i64,
    /// The horizon that the batch gets: deletion markers stay in it, and it has none yet.
    horizon: Option<Timestamp>,
    without_key: u64,
    markers_removed: u64,
}

/// What is to be known of a record before it is decided about.
#[derive(Clone, Copy, Debug)]
struct Facts {
    /// Where it ends among the batch's records.
    end: usize,
    offset: Offset,
    time: i64,
    key: Option<KeyHash>,
    has_value: bool,
}

/// Reads all records of a batch and hashes their keys, before any is looked up: so the places of many
/// can be fetched at a time.
fn look(
    map: &OffsetMap,
    header: &BatchHeader,
    records: &[u8],
    all: &mut Vec<Facts>,
) -> Result<(), FilterError> {
    all.clear();
    let (base, base_time) = (header.base_offset.0, header.base_timestamp.0);
    let mut at = 0;
    for _ in 0..header.record_count {
        if let Some(usual) = usual_at(records, at)
            && let Some(key) = records.get(usual.key.0..usual.key.1)
        {
            at = usual.end;
            all.push(Facts {
                end: at,
                offset: Offset(base.wrapping_add(usual.facts.offset_delta.into())),
                time: base_time.wrapping_add(usual.facts.timestamp_delta),
                key: usual.facts.has_key.then(|| map.hash(key)),
                has_value: usual.has_value,
            });
            continue;
        }
        let mut rest = records.get(at..).unwrap_or_default();
        let record = take_record(&mut rest).map_err(FilterError::Record)?;
        at = records.len() - rest.len();
        all.push(Facts {
            end: at,
            offset: record.offset(header),
            time: base_time.wrapping_add(record.timestamp_delta),
            key: record.key.map(|key| map.hash(key)),
            has_value: record.has_value,
        });
    }
    match at == records.len() {
        true => Ok(()),
        false => Err(FilterError::AfterLast),
    }
}

/// Decides of every record whether it stays; `runs` are the parts of the records that do.
fn choose(
    rules: &Rules<'_>,
    header: &BatchHeader,
    records: &[Facts],
    runs: &mut Vec<Range<usize>>,
) -> Chosen {
    runs.clear();
    let mut chosen = Chosen {
        kept: 0,
        latest: Timestamp::NONE.0,
        horizon: None,
        without_key: 0,
        markers_removed: 0,
    };
    let horizon = header
        .attributes
        .has_delete_horizon()
        .then_some(header.base_timestamp);
    let is_over = horizon.is_some_and(|horizon| rules.now >= horizon);
    let mut keeps_marker = false;
    let mut start = 0;
    for (number, record) in records.iter().enumerate() {
        if number.is_multiple_of(LOOKED_UP_AT_ONCE) {
            let some = records[number..].iter().take(LOOKED_UP_AT_ONCE);
            rules.map.fetch(some.filter_map(|record| record.key));
        }
        let begins = std::mem::replace(&mut start, record.end);
        let offset = record.offset;
        let stays = if offset >= rules.mapped_end {
            true
        } else if let Some(key) = record.key {
            let is_latest = rules.map.get_hash(key).is_none_or(|last| offset >= last);
            let is_gone = is_latest && !record.has_value && is_over;
            chosen.markers_removed += u64::from(is_gone);
            is_latest && !is_gone
        } else {
            chosen.without_key += 1;
            false
        };
        if !stays {
            continue;
        }
        keeps_marker |= !record.has_value && record.key.is_some();
        chosen.kept += 1;
        chosen.latest = chosen.latest.max(record.time);
        match runs.last_mut() {
            Some(run) if run.end == begins => run.end = record.end,
            _ => runs.push(begins..record.end),
        }
    }
    let is_mapped =
        header.base_offset >= rules.first_dirty && header.end_offset() <= rules.mapped_end;
    if keeps_marker && is_mapped && horizon.is_none() {
        let until = rules.now.0.saturating_add(rules.delete_retention_ms);
        chosen.horizon = Some(Timestamp(until));
    }
    chosen
}

/// Writes the records that stay.
fn write_runs(
    header: &BatchHeader,
    records: &[u8],
    runs: &[Range<usize>],
    chosen: &Chosen,
    out: &mut Vec<u8>,
) -> Result<(), FilterError> {
    for run in runs {
        let run = &records[run.clone()];
        match chosen.horizon {
            None => out.extend_from_slice(run),
            Some(horizon) => move_times(run, header.base_timestamp, horizon, out)?,
        }
    }
    Ok(())
}

/// Writes records with their times told from another base.
fn move_times(
    mut records: &[u8],
    from: Timestamp,
    to: Timestamp,
    out: &mut Vec<u8>,
) -> Result<(), FilterError> {
    let mut body = Vec::new();
    while !records.is_empty() {
        let record = take_record(&mut records).map_err(FilterError::Record)?;
        let time = from.0.wrapping_add(record.timestamp_delta);
        body.clear();
        body.push(record.attributes);
        put_i64(&mut body, time.wrapping_sub(to.0));
        put_i32(&mut body, record.offset_delta);
        let length = i32::try_from(body.len() + record.from_key.len());
        put_i32(out, length.map_err(|_| FilterError::TooLarge)?);
        out.extend_from_slice(&body);
        out.extend_from_slice(record.from_key);
    }
    Ok(())
}

/// Makes a head one of a batch without records, of the offsets and the producer that it names.
fn seal_empty(head: &mut [u8; BATCH_HEADER_BYTES]) {
    let length = (BATCH_HEADER_BYTES - layout::LENGTH_COUNTS_FROM) as i32;
    put(head, layout::LENGTH, &length.to_be_bytes());
    put(head, layout::MAGIC, &layout::MAGIC_V2.to_be_bytes());
    // It tells no time: nobody is led to it who looks for a record.
    for field in [layout::BASE_TIMESTAMP, layout::MAX_TIMESTAMP] {
        put(head, field, &Timestamp::NONE.0.to_be_bytes());
    }
    put(head, layout::RECORD_COUNT, &0_i32.to_be_bytes());
    let checksum = crc32c(&head[layout::CHECKSUM_COVERS_FROM..]);
    put(head, layout::CHECKSUM, &checksum.to_be_bytes());
}

/// One record, as far as compaction looks at it.
struct RecordView<'a> {
    attributes: u8,
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&'a [u8]>,
    has_value: bool,
    /// Everything from the key's length on.
    from_key: &'a [u8],
}

impl RecordView<'_> {
    fn offset(&self, header: &BatchHeader) -> Offset {
        Offset(header.base_offset.0.wrapping_add(self.offset_delta.into()))
    }
}

/// Takes the record at the front of `records`.
#[inline]
fn take_record<'a>(records: &mut &'a [u8]) -> Result<RecordView<'a>, RecordFault> {
    let size = take_length(records)?.ok_or(RecordFault::Length)?;
    let mut body = take(records, size)?;
    let (&attributes, rest) = body.split_first().ok_or(RecordFault::Short)?;
    body = rest;
    let timestamp_delta = signed_i64(take_unsigned::<70>(&mut body)?);
    let offset_delta = signed_i32(take_unsigned::<35>(&mut body)? as u32);
    let from_key = body;
    let key = match take_length(&mut body)? {
        Some(size) => Some(take(&mut body, size)?),
        None => None,
    };
    let has_value = take_length(&mut body)?.is_some();
    Ok(RecordView {
        attributes,
        timestamp_delta,
        offset_delta,
        key,
        has_value,
        from_key,
    })
}

#[inline(always)]
fn take<'a>(bytes: &mut &'a [u8], size: usize) -> Result<&'a [u8], RecordFault> {
    let (taken, rest) = bytes.split_at_checked(size).ok_or(RecordFault::Short)?;
    *bytes = rest;
    Ok(taken)
}

/// A length; none for null.
#[inline(always)]
fn take_length(bytes: &mut &[u8]) -> Result<Option<usize>, RecordFault> {
    let length = signed_i32(take_unsigned::<35>(bytes)? as u32);
    Ok(usize::try_from(length).ok())
}

/// A varint that ends before so many bits.
#[inline(always)]
fn take_unsigned<const BITS: u32>(bytes: &mut &[u8]) -> Result<u64, RecordFault> {
    let mut value = 0;
    let mut shift = 0;
    while shift < BITS {
        let (&byte, rest) = bytes.split_first().ok_or(RecordFault::Short)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
        shift += 7;
    }
    Err(RecordFault::Varint)
}

const _: () = {
    // The bit that is set here is the one that the vocabulary reads.
    assert!(Attributes(DELETE_HORIZON_BIT).has_delete_horizon());
};

#[cfg(test)]
mod tests;
