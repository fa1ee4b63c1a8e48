//! Bounded cursor over one body, used by the generated views. Sticky: the first fault is kept,
//! everything after it reads as zero and empty, so generated code needs no branch per field.

use crate::{
    array::{Array, Element},
    error::DecodeError,
};

/// Cursor over borrowed bytes. Never reads past its end, never allocates.
#[derive(Debug)]
pub struct Reader<'a> {
    /// Everything, for the places of faults.
    bytes: &'a [u8],
    // Invariant: lies in `bytes`; inside a tagged field it ends where that ends.
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    failure: Option<DecodeError>,
}

/// Progress through the tagged fields of one struct.
#[derive(Debug)]
pub struct Tags<'a> {
    left: u32,
    current: Option<u32>,
    /// What follows the present field.
    behind: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `bytes` for a version; `flexible` chooses compact lengths and
    /// tagged fields.
    #[inline]
    pub fn new(bytes: &'a [u8], version: i16, flexible: bool) -> Self {
        Self {
            bytes,
            rest: bytes,
            version,
            flexible,
            failure: None,
        }
    }

    /// Version of the message being read.
    #[inline]
    pub fn version(&self) -> i16 {
        self.version
    }

    /// The first fault, if any.
    #[inline]
    pub fn failure(&self) -> Option<DecodeError> {
        self.failure
    }

    /// Bytes not read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Where the next byte stands.
    #[inline]
    fn at(&self) -> usize {
        self.rest.as_ptr() as usize - self.bytes.as_ptr() as usize
    }

    #[cold]
    fn fail(&mut self, failure: DecodeError) {
        if self.failure.is_none() {
            self.failure = Some(failure);
        }
        self.rest = &self.rest[..0];
    }

    #[cold]
    fn fail_short(&mut self, wanted: usize) {
        let at = self.at();
        self.fail(DecodeError::Truncated { at, wanted });
    }

    #[cold]
    fn fail_length(&mut self, claimed: i64) {
        let (at, remaining) = (self.at(), self.rest.len());
        self.fail(DecodeError::Length {
            at,
            claimed,
            remaining,
        });
    }

    #[inline]
    fn take(&mut self, length: usize) -> &'a [u8] {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                taken
            }
            None => {
                self.fail_short(length);
                &[]
            }
        }
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> [u8; N] {
        match self.rest.split_first_chunk::<N>() {
            Some((chunk, rest)) => {
                self.rest = rest;
                *chunk
            }
            None => {
                self.fail_short(N);
                [0; N]
            }
        }
    }

    /// One byte; any value but zero is true, as in Kafka.
    #[inline]
    pub fn bool(&mut self) -> bool {
        self.fixed::<1>()[0] != 0
    }

    /// A signed byte.
    #[inline]
    pub fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.fixed())
    }

    /// Two bytes, big-endian.
    #[inline]
    pub fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.fixed())
    }

    /// Two bytes, big-endian, unsigned.
    #[inline]
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.fixed())
    }

    /// Four bytes, big-endian.
    #[inline]
    pub fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.fixed())
    }

    /// Eight bytes, big-endian.
    #[inline]
    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.fixed())
    }

    /// Eight bytes, IEEE 754.
    #[inline]
    pub fn f64(&mut self) -> f64 {
        f64::from_be_bytes(self.fixed())
    }

    /// Sixteen bytes.
    #[inline]
    pub fn uuid(&mut self) -> [u8; 16] {
        self.fixed()
    }

    /// Unsigned varint of at most five bytes and 32 bits.
    #[inline]
    pub fn uvarint(&mut self) -> u32 {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                byte.into()
            }
            _ => self.long_uvarint(),
        }
    }

    fn long_uvarint(&mut self) -> u32 {
        let start = self.at();
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
    #[inline]
    fn length(&mut self, classic: impl FnOnce(&mut Self) -> i32) -> Option<usize> {
        let claimed = if self.flexible {
            i64::from(self.uvarint()) - 1
        } else {
            i64::from(classic(self))
        };
        if self.failure.is_some() {
            return Some(0);
        }
        match usize::try_from(claimed) {
            Ok(length) if length <= self.rest.len() => Some(length),
            Err(_) if claimed == -1 => None,
            _ => {
                self.fail_length(claimed);
                Some(0)
            }
        }
    }

    #[inline]
    fn null(&mut self, nullable: bool) {
        if !nullable && self.failure.is_none() {
            let at = self.at();
            self.fail(DecodeError::Null { at });
        }
    }

    /// A string or null; a null that `nullable` does not admit is a fault.
    pub fn opt_string(&mut self, nullable: bool) -> Option<&'a str> {
        let Some(length) = self.length(|reader| i32::from(reader.i16())) else {
            self.null(nullable);
            return None;
        };
        let at = self.at();
        // The compact form could say more; Kafka refuses it like the classic one.
        if length > i16::MAX as usize {
            self.fail_length(length as i64);
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
        let start = self.rest;
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
            &start[..start.len() - self.rest.len()],
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
    #[inline]
    pub fn tags(&mut self) -> Tags<'a> {
        let left = if self.flexible { self.uvarint() } else { 0 };
        // Each takes a tag and a size, one byte each at the least.
        if left as usize > self.rest.len() / 2 {
            self.fail_length(left.into());
        }
        Tags {
            left,
            current: None,
            behind: &[],
        }
    }

    /// The next tagged field; until the next call the reader is confined to its bytes.
    #[inline]
    pub fn next_tag(&mut self, tags: &mut Tags<'a>) -> Option<u32> {
        if tags.left == 0 && tags.current.is_none() {
            return None;
        }
        self.step_tag(tags)
    }

    fn step_tag(&mut self, tags: &mut Tags<'a>) -> Option<u32> {
        if let Some(tag) = tags.current.take() {
            if !self.rest.is_empty() {
                self.foreign_tag(tag);
            }
            if self.failure.is_none() {
                self.rest = tags.behind;
            }
        }
        if tags.left == 0 || self.failure.is_some() {
            return None;
        }
        tags.left -= 1;
        let tag = self.uvarint();
        let claimed = self.uvarint();
        let Some((field, behind)) = self.rest.split_at_checked(claimed as usize) else {
            self.fail_length(claimed.into());
            return None;
        };
        if self.failure.is_some() {
            return None;
        }
        tags.behind = behind;
        tags.current = Some(tag);
        self.rest = field;
        Some(tag)
    }

    /// Steps over the bytes of an unknown tagged field.
    pub fn skip_tag(&mut self) {
        self.rest = &self.rest[self.rest.len()..];
    }

    /// A tag that the tables know, but not in this version: Kafka refuses it.
    pub fn foreign_tag(&mut self, tag: u32) {
        let at = self.at();
        self.fail(DecodeError::Tag { at, tag });
    }

    /// Steps over all tagged fields of a struct that defines none.
    #[inline]
    pub fn skip_tags(&mut self) {
        match self.rest.split_first() {
            _ if !self.flexible => {}
            // The usual number of them.
            Some((0, rest)) => self.rest = rest,
            _ => self.skip_some_tags(),
        }
    }

    fn skip_some_tags(&mut self) {
        let mut tags = self.tags();
        while self.next_tag(&mut tags).is_some() {
            self.skip_tag();
        }
    }
}
