//! Sink of the generated encoders, in three modes: count, write to one buffer, gather. Sticky like
//! the reader: the first fault is kept and asked for at the end.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::{error::EncodeError, records::Records};

/// Encoded bytes as pieces: record bytes by reference, everything else in a buffer split around
/// them. What a vectored write needs. Several messages may follow each other; their bytes share
/// pieces, and the memory serves again once the pieces are taken.
#[derive(Debug, Default)]
pub struct Gather {
    pieces: VecDeque<Bytes>,
    /// Copied bytes behind the pieces, in one buffer until the pieces are asked for.
    tail: BytesMut,
    /// Shared slices behind the pieces: each stands before the byte of the tail at its place.
    shared: Vec<(usize, Bytes)>,
}

/// Slices that a [`Gather`] keeps room for when it has let go of them.
const LISTED_MAX: usize = 1024;

/// How much a [`Gather`] holds behind its pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    copied: usize,
    slices: usize,
}

impl Gather {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes collected so far.
    pub fn len(&self) -> usize {
        let pieces = self.pieces.iter().map(Bytes::len);
        pieces.sum::<usize>() + self.len_since(Mark::default())
    }

    /// True where nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty() && self.shared.is_empty()
    }

    /// Appends bytes that are copied.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Appends a shared slice by reference.
    pub fn push(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.shared.push((self.tail.len(), slice));
        }
    }

    /// Bytes that can be copied before more memory is needed.
    pub fn room(&self) -> usize {
        self.tail.capacity() - self.tail.len()
    }

    /// Where the next message begins.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            copied: self.tail.len(),
            slices: self.shared.len(),
        }
    }

    /// Takes back everything since the mark.
    pub(crate) fn truncate(&mut self, mark: Mark) {
        self.tail.truncate(mark.copied);
        self.shared.truncate(mark.slices);
    }

    /// Bytes since the mark.
    pub(crate) fn len_since(&self, mark: Mark) -> usize {
        let shared = self.shared[mark.slices..].iter();
        self.tail.len() - mark.copied + shared.map(|(_, slice)| slice.len()).sum::<usize>()
    }

    /// The first copied bytes since the mark.
    pub(crate) fn head_since(&mut self, mark: Mark) -> &mut [u8] {
        &mut self.tail[mark.copied..]
    }

    /// Puts everything behind what was collected elsewhere, by reference.
    pub fn append(&mut self, mut other: Self) {
        for piece in other.pieces().drain(..) {
            self.push(piece);
        }
    }

    /// All pieces in order, none of them empty; the caller takes what it has sent.
    pub fn pieces(&mut self) -> &mut VecDeque<Bytes> {
        if !self.shared.is_empty() {
            self.split_around_shared();
        }
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
        &mut self.pieces
    }

    fn split_around_shared(&mut self) {
        let mut split = 0;
        for (place, slice) in self.shared.drain(..) {
            if place > split {
                let copied = self.tail.split_to(place - split);
                self.pieces.push_back(copied.freeze());
                split = place;
            }
            self.pieces.push_back(slice);
        }
    }

    /// Changes the big-endian number that begins at this byte. What stands before it is copied;
    /// where there is no such number nothing happens.
    pub fn change_i32(&mut self, at: usize, change: impl FnOnce(i32) -> i32) {
        let end = at + size_of::<i32>();
        if self.len() < end {
            return;
        }
        let pieces = self.pieces();
        let mut head = BytesMut::with_capacity(end);
        while head.len() < end
            && let Some(mut piece) = pieces.pop_front()
        {
            let taken = piece.split_to(piece.len().min(end - head.len()));
            head.extend_from_slice(&taken);
            if !piece.is_empty() {
                pieces.push_front(piece);
            }
        }
        if let Some(number) = head.last_chunk_mut::<4>() {
            *number = change(i32::from_be_bytes(*number)).to_be_bytes();
        }
        pieces.push_front(head.freeze());
    }

    /// Takes an empty buffer to write into; room that it lacks is allocated.
    ///
    /// # Panics
    /// If the buffer holds bytes.
    pub fn lend(&mut self, buffer: BytesMut) {
        assert!(buffer.is_empty(), "a buffer changes hands empty");
        self.pieces();
        self.tail = buffer;
    }

    /// Drops what it holds, and the room of its lists where that is more than a few answers need:
    /// an answer of very many small slices must not be paid for as long as its connection lives.
    pub fn let_go(&mut self) {
        self.pieces.clear();
        self.shared.clear();
        self.tail.clear();
        if self.pieces.capacity() > LISTED_MAX {
            self.pieces = VecDeque::new();
        }
        if self.shared.capacity() > LISTED_MAX {
            self.shared = Vec::new();
        }
    }

    /// Gives the buffer away; what was written stays.
    pub fn take_buffer(&mut self) -> BytesMut {
        self.pieces();
        std::mem::take(&mut self.tail)
    }
}

/// Sink of one message in one version.
#[derive(Debug)]
pub struct Writer<'o> {
    // None counts only.
    tail: Option<&'o mut BytesMut>,
    // None copies record bytes into the tail.
    shared: Option<&'o mut Vec<(usize, Bytes)>>,
    length: usize,
    version: i16,
    flexible: bool,
    failure: Option<EncodeError>,
}

/// Start of a tagged field whose size is not known yet.
#[derive(Debug)]
pub struct TagMark {
    start: usize,
}

impl<'o> Writer<'o> {
    fn new(
        tail: Option<&'o mut BytesMut>,
        shared: Option<&'o mut Vec<(usize, Bytes)>>,
        version: i16,
        flexible: bool,
    ) -> Self {
        Self {
            tail,
            shared,
            length: 0,
            version,
            flexible,
            failure: None,
        }
    }

    /// Counts bytes and looks for faults, writes nothing.
    pub fn counting(version: i16, flexible: bool) -> Writer<'static> {
        Writer::new(None, None, version, flexible)
    }

    /// Writes to one buffer.
    pub fn to_buffer(out: &'o mut BytesMut, version: i16, flexible: bool) -> Self {
        Self::new(Some(out), None, version, flexible)
    }

    /// Writes to a list of pieces, record bytes by reference.
    pub fn to_gather(out: &'o mut Gather, version: i16, flexible: bool) -> Self {
        let (tail, shared) = (&mut out.tail, &mut out.shared);
        Self::new(Some(tail), Some(shared), version, flexible)
    }

    /// Version being written.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// True where lengths are compact and structs end in tagged fields.
    pub fn flexible(&self) -> bool {
        self.flexible
    }

    /// Bytes written or counted, or the first fault.
    pub fn finish(self) -> Result<usize, EncodeError> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.length),
        }
    }

    #[cold]
    fn fail(&mut self, failure: EncodeError) {
        self.failure.get_or_insert(failure);
    }

    /// A field that this version lacks would lose its value.
    pub fn unsupported(&mut self, field: &'static str) {
        self.fail(EncodeError::Unsupported {
            field,
            version: self.version,
        });
    }

    /// A null that this version does not admit.
    pub fn null(&mut self, field: &'static str) {
        self.fail(EncodeError::Null {
            field,
            version: self.version,
        });
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        if let Some(tail) = &mut self.tail {
            tail.extend_from_slice(bytes);
        }
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.put(&[u8::from(value)]);
    }

    /// A signed byte.
    pub fn i8(&mut self, value: i8) {
        self.put(&value.to_be_bytes());
    }

    /// Two bytes, big-endian.
    pub fn i16(&mut self, value: i16) {
        self.put(&value.to_be_bytes());
    }

    /// Two bytes, big-endian, unsigned.
    pub fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    /// Four bytes, big-endian.
    pub fn i32(&mut self, value: i32) {
        self.put(&value.to_be_bytes());
    }

    /// Eight bytes, big-endian.
    pub fn i64(&mut self, value: i64) {
        self.put(&value.to_be_bytes());
    }

    /// Eight bytes, IEEE 754.
    pub fn f64(&mut self, value: f64) {
        self.put(&value.to_be_bytes());
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: &[u8; 16]) {
        self.put(value);
    }

    /// Unsigned varint.
    pub fn uvarint(&mut self, value: u32) {
        if value < 0x80 {
            return self.put(&[value as u8]);
        }
        let (bytes, length) = varint_bytes(value);
        self.put(&bytes[..length]);
    }

    fn compact_length(&mut self, length: usize) {
        match i32::try_from(length) {
            // At most 2^31-1, so one more fits into the unsigned varint.
            Ok(length) => self.uvarint(length.unsigned_abs() + 1),
            Err(_) => self.fail(EncodeError::TooLong { length }),
        }
    }

    fn long_length(&mut self, length: usize) {
        if self.flexible {
            return self.compact_length(length);
        }
        match i32::try_from(length) {
            Ok(length) => self.i32(length),
            Err(_) => self.fail(EncodeError::TooLong { length }),
        }
    }

    /// A string.
    pub fn string(&mut self, value: &str) {
        match i16::try_from(value.len()) {
            Ok(_) if self.flexible => self.compact_length(value.len()),
            Ok(length) => self.i16(length),
            Err(_) => self.fail(EncodeError::TooLong {
                length: value.len(),
            }),
        }
        self.put(value.as_bytes());
    }

    /// A string or null.
    pub fn opt_string(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.string(value),
            None if self.flexible => self.uvarint(0),
            None => self.i16(-1),
        }
    }

    /// Bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.long_length(value.len());
        self.put(value);
    }

    /// Bytes or null.
    pub fn opt_bytes(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bytes(value),
            None => self.null_array(),
        }
    }

    /// Record bytes; by reference where this writer gathers.
    pub fn records(&mut self, value: &Records) {
        let length = value.len();
        self.long_length(length);
        self.length += length;
        let Some(tail) = &mut self.tail else { return };
        let slices = value.slices().iter().filter(|slice| !slice.is_empty());
        match &mut self.shared {
            None => slices.for_each(|slice| tail.extend_from_slice(slice)),
            Some(shared) => shared.extend(slices.map(|slice| (tail.len(), slice.clone()))),
        }
    }

    /// Record bytes or null.
    pub fn opt_records(&mut self, value: Option<&Records>) {
        match value {
            Some(value) => self.records(value),
            None => self.null_array(),
        }
    }

    /// Presence byte of a struct that may be null.
    pub fn present(&mut self, present: bool) {
        self.i8(if present { 1 } else { -1 });
    }

    /// Number of elements that follow.
    pub fn array_len(&mut self, length: usize) {
        self.long_length(length);
    }

    /// Null in place of an array, bytes or records.
    pub fn null_array(&mut self) {
        if self.flexible {
            self.uvarint(0);
        } else {
            self.i32(-1);
        }
    }

    /// Ends a struct that has no tagged fields.
    pub fn no_tags(&mut self) {
        if self.flexible {
            self.uvarint(0);
        }
    }

    /// Number of tagged fields that follow.
    pub fn tag_count(&mut self, count: u32) {
        self.uvarint(count);
    }

    /// Opens a tagged field.
    pub fn begin_tag(&mut self, tag: u32) -> TagMark {
        self.uvarint(tag);
        TagMark { start: self.length }
    }

    /// Closes a tagged field: puts its size before what was written since. Tagged fields are short
    /// and rare, so shifting them costs less than a second walk for their size. No record bytes
    /// occur in tagged fields, so the shifted bytes lie in one buffer.
    pub fn end_tag(&mut self, mark: TagMark) {
        let size = self.length - mark.start;
        match u32::try_from(size) {
            Ok(size) => self.uvarint(size),
            Err(_) => self.fail(EncodeError::TooLong { length: size }),
        }
        let prefix = self.length - mark.start - size;
        let Some(tail) = &mut self.tail else { return };
        let start = tail.len() - size - prefix;
        tail[start..].rotate_right(prefix);
    }
}

fn varint_bytes(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut length = 0;
    loop {
        bytes[length] = (value & 0x7f) as u8;
        value >>= 7;
        length += 1;
        if value == 0 {
            return (bytes, length);
        }
        bytes[length - 1] |= 0x80;
    }
}
