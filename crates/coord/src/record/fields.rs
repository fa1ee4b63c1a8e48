//! Reading and writing the fields of Kafka's records: big-endian numbers, texts and bytes with
//! their length before them, tagged fields. No claimed length reserves memory.

use bytes::{BufMut, Bytes, BytesMut};

use super::RecordError;

/// What is left of a key or value.
pub(crate) struct Reader<'a> {
    left: &'a [u8],
    /// Lengths are variable numbers plus one, and tagged fields follow (KIP-482).
    flexible: bool,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            left: bytes,
            flexible: false,
        }
    }

    /// From here on in the flexible form.
    pub(crate) const fn flexible(&mut self) {
        self.flexible = true;
    }

    /// How many bytes are left.
    pub(crate) const fn left(&self) -> usize {
        self.left.len()
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let (taken, left) = self
            .left
            .split_at_checked(length)
            .ok_or(RecordError::TooShort)?;
        self.left = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (taken, left) = self.left.split_first_chunk().ok_or(RecordError::TooShort)?;
        self.left = left;
        Ok(*taken)
    }

    pub(crate) fn int8(&mut self) -> Result<i8, RecordError> {
        self.array().map(i8::from_be_bytes)
    }

    /// Whether what follows is the null of the flexible form.
    pub(crate) fn is_null(&self) -> bool {
        self.left.first() == Some(&0)
    }

    pub(crate) fn int16(&mut self) -> Result<i16, RecordError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn int32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn int64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self) -> Result<[u8; 16], RecordError> {
        self.array()
    }

    pub(crate) fn varint(&mut self) -> Result<u32, RecordError> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::BadLength)
    }

    /// A length; `None` is null. `short` ones take two bytes where the form is not flexible.
    fn length(&mut self, short: bool) -> Result<Option<usize>, RecordError> {
        let length = if self.flexible {
            i64::from(self.varint()?) - 1
        } else if short {
            i64::from(self.int16()?)
        } else {
            i64::from(self.int32()?)
        };
        match length {
            -1 => Ok(None),
            _ => usize::try_from(length)
                .map(Some)
                .map_err(|_| RecordError::BadLength),
        }
    }

    pub(crate) fn nullable_text(&mut self) -> Result<Option<&'a str>, RecordError> {
        let Some(length) = self.length(true)? else {
            return Ok(None);
        };
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| RecordError::BadText)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, RecordError> {
        self.nullable_text()?.ok_or(RecordError::UnexpectedNull)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], RecordError> {
        let length = self.length(false)?.ok_or(RecordError::UnexpectedNull)?;
        self.take(length)
    }

    /// The number of elements of an array, each of at least one byte.
    pub(crate) fn count(&mut self) -> Result<usize, RecordError> {
        let count = self.length(false)?.ok_or(RecordError::UnexpectedNull)?;
        if count > self.left.len() {
            return Err(RecordError::TooShort);
        }
        Ok(count)
    }

    /// Goes over the tagged fields at the end of a structure, if the form has them.
    pub(crate) fn tagged(
        &mut self,
        mut each: impl FnMut(u32, &'a [u8]) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let length = self.varint()? as usize;
            each(tag, self.take(length)?)?;
        }
        Ok(())
    }
}

/// A key or value as it grows, in the form that is not flexible.
pub(crate) struct Writer(BytesMut);

impl Writer {
    /// Begins with the version, as every key and value does.
    pub(crate) fn new(version: i16, capacity: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(capacity + 2);
        bytes.put_i16(version);
        Self(bytes)
    }

    /// Part of a value: begins with nothing.
    pub(crate) fn bare(capacity: usize) -> Self {
        Self(BytesMut::with_capacity(capacity))
    }

    pub(crate) fn int8(&mut self, value: i8) {
        self.0.put_i8(value);
    }

    pub(crate) fn int32(&mut self, value: i32) {
        self.0.put_i32(value);
    }

    pub(crate) fn int64(&mut self, value: i64) {
        self.0.put_i64(value);
    }

    /// At most 32,767 bytes are written, as the format has no room for more.
    pub(crate) fn text(&mut self, text: &str) {
        let mut end = text.len().min(i16::MAX as usize);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.0.put_i16(end as i16);
        self.0.put_slice(&text.as_bytes()[..end]);
    }

    pub(crate) fn nullable_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.0.put_i16(-1),
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.int32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        self.0.put_slice(bytes);
    }

    pub(crate) fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.0.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.put_u8(value as u8);
    }

    /// A text in the flexible form.
    pub(crate) fn compact_text(&mut self, text: &str) {
        self.varint(u32::try_from(text.len() + 1).unwrap_or(u32::MAX));
        self.0.put_slice(text.as_bytes());
    }

    /// A text in the flexible form, or none.
    pub(crate) fn compact_nullable_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.compact_text(text),
            None => self.varint(0),
        }
    }

    /// The number of elements, or of bytes, in the flexible form.
    pub(crate) fn compact_count(&mut self, count: usize) {
        self.varint(u32::try_from(count + 1).unwrap_or(u32::MAX));
    }

    /// The end of a structure with one tagged number, that is left out where it is zero.
    pub(crate) fn tagged_int64(&mut self, value: i64) {
        if value == 0 {
            self.varint(0);
        } else {
            self.varint(1);
            self.varint(0);
            self.varint(8);
            self.int64(value);
        }
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}
