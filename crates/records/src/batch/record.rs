//! The structure of one record, walked without building it. The same walk runs over a slice and
//! over a stream of decompressed chunks, so both refuse the same records.
//!
//! ```text
//! length | attributes i8 | timestamp delta | offset delta | key length, key | value length, value
//!        | header count | (key length, key | value length, value)*
//! ```
//! All numbers but the attributes are zigzag varints; a negative key or value length means null.

use std::fmt;

use crate::compress::DecompressError;
use crate::varint::{signed_i32, signed_i64};

/// What is wrong with a record's structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// The bytes end inside a record, or inside a field of it.
    Short,
    /// A varint goes on beyond its last byte.
    Varint,
    /// The record's own length is negative.
    Length,
    /// The header count is negative or larger than the bytes left.
    HeaderCount,
    /// A header's key length is negative.
    HeaderKey,
    /// The fields end before the record's length does.
    Leftover,
}

impl fmt::Display for RecordFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Short => "record ends inside a field",
            Self::Varint => "varint is longer than its type",
            Self::Length => "record length is negative",
            Self::HeaderCount => "header count is negative or larger than the record",
            Self::HeaderKey => "header key length is negative",
            Self::Leftover => "record is longer than its fields",
        })
    }
}

/// Why a walk stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WalkError {
    /// The record is not well formed.
    Record(RecordFault),
    /// The compressed stream beneath is not.
    Stream(DecompressError),
}

impl From<RecordFault> for WalkError {
    fn from(fault: RecordFault) -> Self {
        Self::Record(fault)
    }
}

/// What validation needs to know of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordFacts {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) has_key: bool,
}

/// Bytes of one record's body, read from front to back.
pub(crate) trait Body {
    /// The next byte.
    fn byte(&mut self) -> Result<u8, WalkError>;
    /// Steps over `count` bytes.
    fn skip(&mut self, count: usize) -> Result<(), WalkError>;
    /// Bytes left of the body.
    fn left(&self) -> usize;
}

/// Reads an unsigned varint of 32 bits.
#[inline(always)]
pub(crate) fn unsigned_u32(
    mut byte: impl FnMut() -> Result<u8, WalkError>,
) -> Result<u32, WalkError> {
    let first = byte()?;
    if first < 0x80 {
        return Ok(u32::from(first));
    }
    let mut value = u32::from(first & 0x7f);
    for shift in [7, 14, 21, 28] {
        let next = byte()?;
        value |= u32::from(next & 0x7f) << shift;
        if next < 0x80 {
            return Ok(value);
        }
    }
    Err(RecordFault::Varint.into())
}

#[inline(always)]
pub(crate) fn unsigned_u64(body: &mut impl Body) -> Result<u64, WalkError> {
    let first = body.byte()?;
    if first < 0x80 {
        return Ok(u64::from(first));
    }
    let mut value = u64::from(first & 0x7f);
    for shift in [7, 14, 21, 28, 35, 42, 49, 56, 63] {
        let next = body.byte()?;
        value |= u64::from(next & 0x7f) << shift;
        if next < 0x80 {
            return Ok(value);
        }
    }
    Err(RecordFault::Varint.into())
}

#[inline(always)]
fn length(body: &mut impl Body) -> Result<i32, WalkError> {
    unsigned_u32(|| body.byte()).map(signed_i32)
}

/// Steps over a nullable field; true if it is there.
#[inline(always)]
fn skip_nullable(body: &mut impl Body) -> Result<bool, WalkError> {
    let Ok(count) = usize::try_from(length(body)?) else {
        return Ok(false);
    };
    body.skip(count)?;
    Ok(true)
}

/// Walks one record's body to its exact end.
#[inline(always)]
pub(crate) fn walk(body: &mut impl Body) -> Result<RecordFacts, WalkError> {
    body.skip(1)?;
    let timestamp_delta = signed_i64(unsigned_u64(body)?);
    let offset_delta = length(body)?;
    let has_key = skip_nullable(body)?;
    skip_nullable(body)?;
    let headers = length(body)?;
    if headers != 0 {
        walk_headers(body, headers)?;
    }
    if body.left() != 0 {
        return Err(RecordFault::Leftover.into());
    }
    Ok(RecordFacts {
        timestamp_delta,
        offset_delta,
        has_key,
    })
}

fn walk_headers(body: &mut impl Body, count: i32) -> Result<(), WalkError> {
    // Every header has at least two bytes, so a count beyond the bytes left is a lie; the loop
    // below would end at the first missing byte in any case.
    if usize::try_from(count).map_or(true, |count| count > body.left()) {
        return Err(RecordFault::HeaderCount.into());
    }
    for _ in 0..count {
        let key = length(body)?;
        let key = usize::try_from(key).map_err(|_| RecordFault::HeaderKey)?;
        body.skip(key)?;
        skip_nullable(body)?;
    }
    Ok(())
}

/// A body that lies whole in a slice.
pub(crate) struct SliceBody<'a>(pub(crate) &'a [u8]);

impl Body for SliceBody<'_> {
    #[inline(always)]
    fn byte(&mut self) -> Result<u8, WalkError> {
        let (&first, rest) = self.0.split_first().ok_or(RecordFault::Short)?;
        self.0 = rest;
        Ok(first)
    }

    #[inline(always)]
    fn skip(&mut self, count: usize) -> Result<(), WalkError> {
        self.0 = self.0.get(count..).ok_or(RecordFault::Short)?;
        Ok(())
    }

    #[inline(always)]
    fn left(&self) -> usize {
        self.0.len()
    }
}

/// Takes the body of the record at the front of `records`, and steps over it.
#[inline(always)]
pub(crate) fn take_body<'a>(records: &mut &'a [u8]) -> Result<&'a [u8], WalkError> {
    let mut front = SliceBody(records);
    let size = length(&mut front)?;
    let size = usize::try_from(size).map_err(|_| RecordFault::Length)?;
    let (body, rest) = front.0.split_at_checked(size).ok_or(RecordFault::Short)?;
    *records = rest;
    Ok(body)
}

/// A record of the usual shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usual {
    pub(crate) facts: RecordFacts,
    /// Where its key begins and ends, if it has one.
    pub(crate) key: (usize, usize),
    pub(crate) has_value: bool,
    /// Where the next one begins.
    pub(crate) end: usize,
}

/// Walks the record at this place, if it is of the usual shape: no headers, and every number in one
/// or two bytes. Whatever is not, wrong or only unusual, is for [`walk`]: it finds the same facts, a
/// byte at a time.
#[inline(always)]
pub(crate) fn usual_at(records: &[u8], at: usize) -> Option<Usual> {
    let mut front = Front { records, at };
    let mut word = front.word()?;
    let size = front.short(&mut word)?;
    let end = front.at + (size >> 1) as usize;
    // The attributes, of which none has a meaning.
    word >>= 8;
    front.at += 1;
    let timestamp_delta = front.short(&mut word)?;
    let offset_delta = front.short(&mut word)?;
    let mut word = front.word()?;
    let key = front.short(&mut word)?;
    let has_key = is_there(key);
    let key_at = front.at;
    if has_key {
        front.at += (key >> 1) as usize;
        word = front.word()?;
    }
    let key = (key_at, front.at);
    let value = front.short(&mut word)?;
    let has_value = is_there(value);
    if has_value {
        front.at += (value >> 1) as usize;
    }
    let no_headers = *records.get(front.at)? == 0;
    if !(is_there(size) && no_headers && front.at + 1 == end) {
        return None;
    }
    let facts = RecordFacts {
        timestamp_delta: signed_i32(timestamp_delta).into(),
        offset_delta: signed_i32(offset_delta),
        has_key,
    };
    Some(Usual {
        facts,
        key,
        has_value,
        end,
    })
}

/// Whether a length in zigzag form is one: below zero is null.
#[inline(always)]
const fn is_there(length: u32) -> bool {
    length & 1 == 0
}

/// A place in records that are read eight bytes at a time.
struct Front<'a> {
    records: &'a [u8],
    at: usize,
}

impl Front<'_> {
    /// The next eight bytes, the first one lowest. None near the end.
    #[inline(always)]
    fn word(&self) -> Option<u64> {
        let word = self.records.get(self.at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*word))
    }

    /// Takes a varint of one or two bytes off the low end of the word.
    #[inline(always)]
    fn short(&mut self, word: &mut u64) -> Option<u32> {
        let (value, bytes) = match *word {
            one if one & 0x80 == 0 => (one & 0x7f, 1),
            two if two & 0x8000 == 0 => (two & 0x7f | two >> 1 & 0x3f80, 2),
            _ => return None,
        };
        *word >>= 8 * bytes;
        self.at += bytes;
        Some(value as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::varint::{put_i32, put_i64};

    /// One record and some bytes behind it.
    fn record(
        timestamp_delta: i64,
        offset_delta: i32,
        key: Option<usize>,
        value: Option<usize>,
    ) -> Vec<u8> {
        let mut body = vec![0];
        put_i64(&mut body, timestamp_delta);
        put_i32(&mut body, offset_delta);
        for length in [key, value] {
            put_i32(&mut body, length.map_or(-1, |length| length as i32));
            body.extend(vec![0x5a; length.unwrap_or(0)]);
        }
        put_i32(&mut body, 0);
        let mut out = Vec::new();
        put_i32(&mut out, body.len() as i32);
        out.extend(body);
        out
    }

    fn the_long_way(records: &mut &[u8]) -> Result<RecordFacts, WalkError> {
        take_body(records).and_then(|body| walk(&mut SliceBody(body)))
    }

    #[test]
    fn the_short_way_finds_what_the_long_way_finds_whatever_the_bytes() {
        let mut taken = 0;
        let sizes = [
            None,
            Some(0),
            Some(1),
            Some(62),
            Some(63),
            Some(64),
            Some(300),
            Some(9000),
        ];
        for (place, &key) in sizes.iter().enumerate() {
            for &value in &sizes {
                let times = [0, -1, 63, 64, -8192, 8191, 8192, i64::MIN];
                let sound = record(times[place], 70 * place as i32, key, value);
                // Every byte of the fields at the front and behind the key, and the last, turned
                // into others; and every end.
                let places = (0..12).chain(key.unwrap_or(0)..key.unwrap_or(0) + 14);
                let places = places
                    .chain([sound.len() - 1])
                    .filter(|&at| at < sound.len());
                for (at, flip) in places.flat_map(|at| (0..=255_u8).map(move |flip| (at, flip))) {
                    let mut bytes = sound.clone();
                    bytes[at] ^= flip;
                    bytes.extend([flip; 9]);
                    bytes.truncate(bytes.len() - usize::from(flip) % 12);
                    let mut long = &bytes[..];
                    if let Some(usual) = usual_at(&bytes, 0) {
                        assert_eq!(the_long_way(&mut long), Ok(usual.facts));
                        assert_eq!(usual.end, bytes.len() - long.len());
                        taken += 1;
                    }
                }
            }
        }
        assert!(taken > 10_000, "{taken}");
    }

    #[test]
    fn a_usual_record_takes_the_short_way() {
        for key in [None, Some(0), Some(16)] {
            let before = record(3, 148, key, Some(99));
            let mut bytes = [&before[..], &record(3, 149, key, Some(100))].concat();
            let end = bytes.len();
            bytes.extend([0; 8]);
            let facts = RecordFacts {
                timestamp_delta: 3,
                offset_delta: 149,
                has_key: key.is_some(),
            };
            // Behind its length, its attributes, both deltas and the key's own length.
            let key_at = before.len() + 7;
            let found = usual_at(&bytes, before.len());
            let expected = Usual {
                facts,
                key: (key_at, key_at + key.unwrap_or(0)),
                has_value: true,
                end,
            };
            assert_eq!(found, Some(expected));
        }
    }
}
