//! Record batches of format 2, written and read without the broker's code (compression apart), and
//! with every field open to be wrong.
//!
//! ```text
//! 0 base offset | 8 length | 12 leader epoch | 16 magic | 17 crc | 21 attributes
//! 23 last offset delta | 27 base time | 35 max time | 43 producer id | 51 epoch | 53 sequence
//! 57 count | 61 records
//! ```

use klamm_model::Compression;
use klamm_records::compress::{Compressor, Scratch, decompress};

/// The five codecs, as a batch's attributes number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    pub(crate) const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    fn of(attributes: i16) -> Self {
        Self::ALL[usize::from(attributes as u8 & 7)]
    }

    fn compression(self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Gzip => Compression::Gzip,
            Self::Snappy => Compression::Snappy,
            Self::Lz4 => Compression::Lz4,
            Self::Zstd => Compression::Zstd,
        }
    }

    pub(crate) fn compress(self, bytes: &[u8]) -> Vec<u8> {
        Compressor::from(self.compression()).compress(bytes)
    }

    fn decompress(self, bytes: &[u8]) -> Vec<u8> {
        decompress(self.compression(), bytes, 256 << 20, &mut Scratch::new()).expect("readable")
    }
}

/// A record without its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    pub(crate) fn new(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        Self {
            timestamp: 1_700_000_000_000,
            key: Some(key.as_ref().to_vec()),
            value: Some(value.as_ref().to_vec()),
            headers: Vec::new(),
        }
    }

    /// Encodes it as the record at `delta` of a batch that begins at `base_time`.
    pub(crate) fn encode(&self, delta: i32, base_time: i64) -> Vec<u8> {
        let mut body = vec![0];
        varint(&mut body, self.timestamp - base_time);
        varint(&mut body, i64::from(delta));
        bytes_field(&mut body, self.key.as_deref());
        bytes_field(&mut body, self.value.as_deref());
        varint(&mut body, self.headers.len() as i64);
        for (key, value) in &self.headers {
            bytes_field(&mut body, Some(key.as_bytes()));
            bytes_field(&mut body, value.as_deref());
        }
        let mut record = Vec::new();
        varint(&mut record, body.len() as i64);
        record.extend(body);
        record
    }
}

fn bytes_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => varint(out, -1),
        Some(bytes) => {
            varint(out, bytes.len() as i64);
            out.extend(bytes);
        }
    }
}

/// Appends a zigzag varint.
pub(crate) fn varint(out: &mut Vec<u8>, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// A batch as fields.
#[derive(Clone, Debug)]
pub(crate) struct RawBatch {
    pub(crate) base_offset: i64,
    /// `None`: the right one.
    pub(crate) length: Option<i32>,
    pub(crate) leader_epoch: i32,
    pub(crate) magic: u8,
    /// `None`: the right one.
    pub(crate) crc: Option<u32>,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_time: i64,
    pub(crate) max_time: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
    /// The records section as it will be sent.
    pub(crate) section: Vec<u8>,
}

impl RawBatch {
    pub(crate) fn of(records: &[Record]) -> Self {
        Self::compressed(records, Codec::None)
    }

    pub(crate) fn compressed(records: &[Record], codec: Codec) -> Self {
        let base_time = records.first().map_or(0, |record| record.timestamp);
        let max_time = records
            .iter()
            .map(|record| record.timestamp)
            .max()
            .unwrap_or(0);
        let encoded = records.iter().zip(0..).flat_map(|(record, delta)| {
            // A batch of these tests holds far fewer than 2^31 records.
            record.encode(delta, base_time)
        });
        let section: Vec<u8> = encoded.collect();
        let count = records.len() as i32;
        Self {
            base_offset: 0,
            length: None,
            leader_epoch: -1,
            magic: 2,
            crc: None,
            attributes: codec as i16,
            last_offset_delta: count - 1,
            base_time,
            max_time,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count,
            section: if codec == Codec::None {
                section
            } else {
                codec.compress(&section)
            },
        }
    }

    /// A batch of one record with this value.
    pub(crate) fn one(value: &str) -> Self {
        Self::of(&[Record::new("key", value)])
    }

    #[must_use]
    pub(crate) fn of_producer(mut self, id: i64, epoch: i16, sequence: i32) -> Self {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, sequence);
        self
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut tail = Vec::new();
        tail.extend(self.attributes.to_be_bytes());
        tail.extend(self.last_offset_delta.to_be_bytes());
        tail.extend(self.base_time.to_be_bytes());
        tail.extend(self.max_time.to_be_bytes());
        tail.extend(self.producer_id.to_be_bytes());
        tail.extend(self.producer_epoch.to_be_bytes());
        tail.extend(self.base_sequence.to_be_bytes());
        tail.extend(self.count.to_be_bytes());
        tail.extend(&self.section);
        let length = self.length.unwrap_or((tail.len() + 9) as i32);
        let mut batch = Vec::new();
        batch.extend(self.base_offset.to_be_bytes());
        batch.extend(length.to_be_bytes());
        batch.extend(self.leader_epoch.to_be_bytes());
        batch.push(self.magic);
        batch.extend(self.crc.unwrap_or_else(|| crc32c(&tail)).to_be_bytes());
        batch.extend(tail);
        batch
    }
}

/// CRC-32C, bit by bit over a table: slow and plain.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut sum = index as u32;
            let mut bit = 0;
            while bit < 8 {
                sum = (sum >> 1) ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
                bit += 1;
            }
            table[index] = sum;
            index += 1;
        }
        table
    };
    let step = |sum: u32, &byte: &u8| (sum >> 8) ^ TABLE[usize::from(sum as u8 ^ byte)];
    !bytes.iter().fold(!0, step)
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadRecord {
    pub(crate) offset: i64,
    pub(crate) record: Record,
    pub(crate) producer_id: i64,
}

/// The records of all whole batches in `bytes`; a batch that is cut at the end is left out, as
/// clients do. Panics where a whole batch is not sound.
pub(crate) fn records_of(bytes: &[u8]) -> Vec<ReadRecord> {
    let mut records = Vec::new();
    let mut rest = bytes;
    while rest.len() >= 12 {
        let length = 12 + number::<4>(rest, 8) as usize;
        if rest.len() < length {
            break;
        }
        let (batch, behind) = rest.split_at(length);
        read_batch(batch, &mut records);
        rest = behind;
    }
    records
}

fn read_batch(batch: &[u8], records: &mut Vec<ReadRecord>) {
    assert_eq!(batch[16], 2, "format of the batch");
    assert_eq!(
        number::<4>(batch, 17) as u32,
        crc32c(&batch[21..]),
        "checksum of the batch"
    );
    let base_offset = number::<8>(batch, 0);
    let attributes = number::<2>(batch, 21) as i16;
    let (base_time, max_time) = (number::<8>(batch, 27), number::<8>(batch, 35));
    let (producer_id, count) = (number::<8>(batch, 43), number::<4>(batch, 57));
    let section = Codec::of(attributes).decompress(&batch[61..]);
    let mut reader = Reader(&section);
    for _ in 0..count {
        let body = reader.varint() as usize;
        let mut record = Reader(reader.take(body));
        record.take(1);
        let time = base_time + record.varint();
        let offset = base_offset + record.varint();
        let (key, value) = (record.field(), record.field());
        let headers = (0..record.varint()).map(|_| {
            let key = record.field().expect("a header has a key");
            (String::from_utf8(key).expect("a text"), record.field())
        });
        let headers = headers.collect();
        assert!(record.0.is_empty(), "the record is longer than its fields");
        // Bit 3: the time of all records is when the broker appended them.
        let timestamp = if attributes & 8 == 0 { time } else { max_time };
        let record = Record {
            timestamp,
            key,
            value,
            headers,
        };
        records.push(ReadRecord {
            offset,
            record,
            producer_id,
        });
    }
    assert!(reader.0.is_empty(), "the batch is longer than its records");
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> i64 {
    let bytes = &bytes[at..at + N];
    let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
    bytes
        .iter()
        .fold(sign, |sum, &byte| (sum << 8) | i64::from(byte))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn varint(&mut self) -> i64 {
        let (mut found, mut shift) = (0_u64, 0);
        loop {
            let byte = self.take(1)[0];
            found |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return (found >> 1) as i64 ^ -((found & 1) as i64);
            }
        }
    }

    fn field(&mut self) -> Option<Vec<u8>> {
        let length = self.varint();
        (length >= 0).then(|| self.take(length as usize).to_vec())
    }
}
