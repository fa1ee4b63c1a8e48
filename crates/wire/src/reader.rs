//! Bounded cursor over one body, used by the generated views. Sticky: the first fault is kept,
//! everything after it reads as zero and empty, so generated code needs no branch per field.

use crate::{
    array::{Array, Element},
    error::DecodeError,
};

/// Cursor over borrowed bytes. Never reads past its end, never allocates.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    // Invariant: at <= end <= bytes.len(); inside a tagged field `end` is that field's end.
    end: usize,
    version: i16,
    flexible: bool,
    failure: Option<DecodeError>,
}

/// Progress through the tagged fields of one struct.
#[derive(Debug)]
pub struct Tags {
    left: u32,
    current: Option<u32>,
    outer_end: usize,
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `bytes` for a version; `flexible` chooses compact lengths and
    /// tagged fields.
    pub fn new(bytes: &'a [u8], version: i16, flexible: bool) -> Self {
        Self {
            bytes,
            at: 0,
            end: bytes.len(),
            version,
            flexible,
            failure: None,
        }
    }

    /// Version of the message being read.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// The first fault, if any.
    pub fn failure(&self) -> Option<DecodeError> {
        self.failure
    }

    /// Bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..self.end]
    }

    fn remaining(&self) -> usize {
        self.end - self.at
    }

    #[cold]
    fn fail(&mut self, failure: DecodeError) {
        if self.failure.is_none() {
            self.failure = Some(failure);
        }
        self.end = self.at;
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        if length > self.remaining() {
            self.fail(DecodeError::Truncated {
                at: self.at,
                wanted: length,
            });
            return &[];
        }
        let start = self.at;
        self.at += length;
        &self.bytes[start..self.at]
    }

    fn fixed<const N: usize>(&mut self) -> [u8; N] {
        match self.bytes[self.at..self.end].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                *chunk
            }
            None => {
                self.fail(DecodeError::Truncated {
                    at: self.at,
                    wanted: N,
                });
                [0; N]
            }
        }
    }

    /// One byte; any value but zero is true, as in Kafka.
    pub fn bool(&mut self) -> bool {
        self.fixed::<1>()[0] != 0
    }

    /// A signed byte.
    pub fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.fixed())
    }

    /// Two bytes, big-endian.
    pub fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.fixed())
    }

    /// Two bytes, big-endian, unsigned.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.fixed())
    }

    /// Four bytes, big-endian.
    pub fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.fixed())
    }

    /// Eight bytes, big-endian.
    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.fixed())
    }

    /// Eight bytes, IEEE 754.
    pub fn f64(&mut self) -> f64 {
        f64::from_be_bytes(self.fixed())
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self) -> [u8; 16] {
        self.fixed()
    }

    /// Unsigned varint of at most five bytes and 32 bits.
    pub fn uvarint(&mut self) -> u32 {
        let start = self.at;
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.fixed::<1>()[0];
            if shift == 28 && byte > 0x0f {
                self.fail(DecodeError::Varint { at: start });
                return 0;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }

    /// A length whose classic form is `classic` or, in flexible versions, a varint of length + 1.
    /// `None` is null.
    fn length(&mut self, classic: fn(&mut Self) -> i32) -> Option<usize> {
        let claimed = if self.flexible {
            i64::from(self.uvarint()) - 1
        } else {
            i64::from(classic(self))
        };
        if self.failure.is_some() {
            return Some(0);
        }
        match usize::try_from(claimed) {
            Ok(length) if length <= self.remaining() => Some(length),
            Err(_) if claimed == -1 => None,
            _ => {
                let (at, remaining) = (self.at, self.remaining());
                self.fail(DecodeError::Length {
                    at,
                    claimed,
                    remaining,
                });
                Some(0)
            }
        }
    }

    fn null(&mut self, nullable: bool) {
        if !nullable && self.failure.is_none() {
            self.fail(DecodeError::Null { at: self.at });
        }
    }

    /// A string or null; a null that `nullable` does not admit is a fault.
    pub fn opt_string(&mut self, nullable: bool) -> Option<&'a str> {
        let Some(length) = self.length(|reader| i32::from(reader.i16())) else {
            self.null(nullable);
            return None;
        };
        let at = self.at;
        // The compact form could say more; Kafka refuses it like the classic one.
        if length > i16::MAX as usize {
            let (claimed, remaining) = (length as i64, self.remaining());
            self.fail(DecodeError::Length {
                at,
                claimed,
                remaining,
            });
        }
        match std::str::from_utf8(self.take(length)) {
            Ok(text) => Some(text),
            Err(_) => {
                self.fail(DecodeError::Utf8 { at });
                Some("")
            }
        }
    }

    /// A string.
    pub fn string(&mut self) -> &'a str {
        self.opt_string(false).unwrap_or("")
    }

    /// Bytes (or records) or null; a null that `nullable` does not admit is a fault.
    pub fn opt_bytes(&mut self, nullable: bool) -> Option<&'a [u8]> {
        match self.length(Self::i32) {
            Some(length) => Some(self.take(length)),
            None => {
                self.null(nullable);
                None
            }
        }
    }

    /// Bytes (or records).
    pub fn bytes(&mut self) -> &'a [u8] {
        self.opt_bytes(false).unwrap_or(&[])
    }

    /// A struct behind a presence byte.
    pub fn opt_struct<T: Element<'a>>(&mut self) -> Option<T> {
        if self.i8() < 0 {
            None
        } else {
            Some(T::read(self))
        }
    }

    /// An array or null; walks every element, so that the array can be iterated without faults.
    pub fn opt_array<T: Element<'a>>(&mut self, nullable: bool) -> Option<Array<'a, T>> {
        // Every element takes at least one byte, so `length` bounds the count by the rest.
        let Some(count) = self.length(Self::i32) else {
            self.null(nullable);
            return None;
        };
        let start = self.at;
        if let Some(size) = T::FIXED_SIZE {
            self.take(size.saturating_mul(count));
        } else {
            for _ in 0..count {
                T::read(self);
                if self.failure.is_some() {
                    break;
                }
            }
        }
        if self.failure.is_some() {
            return Some(Array::EMPTY);
        }
        Some(Array::new(
            &self.bytes[start..self.at],
            count,
            self.version,
            self.flexible,
        ))
    }

    /// An array.
    pub fn array<T: Element<'a>>(&mut self) -> Array<'a, T> {
        self.opt_array(false).unwrap_or(Array::EMPTY)
    }

    /// Opens the tagged fields of a struct; none in versions that are not flexible.
    pub fn tags(&mut self) -> Tags {
        let left = if self.flexible { self.uvarint() } else { 0 };
        // Each takes a tag and a size, one byte each at the least.
        if left as usize > self.remaining() / 2 {
            let (at, remaining) = (self.at, self.remaining());
            self.fail(DecodeError::Length {
                at,
                claimed: i64::from(left),
                remaining,
            });
        }
        Tags {
            left,
            current: None,
            outer_end: self.end,
        }
    }

    /// The next tagged field; until the next call the reader is confined to its bytes.
    pub fn next_tag(&mut self, tags: &mut Tags) -> Option<u32> {
        if let Some(tag) = tags.current.take() {
            if self.at != self.end {
                self.fail(DecodeError::Tag { at: self.at, tag });
            }
            if self.failure.is_none() {
                self.end = tags.outer_end;
            }
        }
        if tags.left == 0 || self.failure.is_some() {
            return None;
        }
        tags.left -= 1;
        let tag = self.uvarint();
        let claimed = self.uvarint();
        if claimed as usize > self.remaining() {
            let (at, remaining) = (self.at, self.remaining());
            self.fail(DecodeError::Length {
                at,
                claimed: i64::from(claimed),
                remaining,
            });
        }
        if self.failure.is_some() {
            return None;
        }
        tags.outer_end = self.end;
        tags.current = Some(tag);
        self.end = self.at + claimed as usize;
        Some(tag)
    }

    /// Steps over the bytes of an unknown tagged field.
    pub fn skip_tag(&mut self) {
        self.at = self.end;
    }

    /// A tag that the tables know, but not in this version: Kafka refuses it.
    pub fn foreign_tag(&mut self, tag: u32) {
        self.fail(DecodeError::Tag { at: self.at, tag });
    }

    /// Steps over all tagged fields of a struct that defines none.
    pub fn skip_tags(&mut self) {
        if !self.flexible {
            return;
        }
        let mut tags = self.tags();
        while self.next_tag(&mut tags).is_some() {
            self.skip_tag();
        }
    }
}
