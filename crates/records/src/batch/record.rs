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
