//! What a batch says about itself, in the first bytes of its first record's value: which run and
//! stream sent it, which number it has there, and when it should have been sent. The number finds
//! what was lost, doubled or put out of order; the time gives end-to-end latency.
//!
//! ```text
//! "KLMB" | run 4 | stream 4 | number 8 | intended send time, Unix nanoseconds 8     = 28 bytes
//! ```

use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{BatchHeader, Compression};

const MARK: [u8; 4] = *b"KLMB";

/// Bytes of a stamp.
pub const STAMP_BYTES: usize = 28;

/// Where an identity begins: length, attributes, timestamp and offset delta, key, length of value.
const SEARCH_BYTES: usize = 64;

/// A stamp.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    /// The run that sent it.
    pub run: u32,
    /// The connection, counted from zero.
    pub stream: u32,
    /// Counts the batches that the stream has sent to this partition.
    pub number: u64,
    /// When it should have been sent, in nanoseconds of Unix time.
    pub intended_ns: u64,
}

impl Stamp {
    /// Writes the stamp.
    pub fn write(&self, place: &mut [u8; STAMP_BYTES]) {
        place[..4].copy_from_slice(&MARK);
        place[4..8].copy_from_slice(&self.run.to_be_bytes());
        place[8..12].copy_from_slice(&self.stream.to_be_bytes());
        place[12..20].copy_from_slice(&self.number.to_be_bytes());
        place[20..].copy_from_slice(&self.intended_ns.to_be_bytes());
    }

    /// The stamp of a whole batch, if it has one.
    #[must_use]
    pub fn of(header: &BatchHeader, batch: &[u8]) -> Option<Self> {
        if header.attributes.compression() != Some(Compression::None) {
            return None;
        }
        let bytes = &batch[stamp_at(batch)?..];
        let u32_at = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let u64_at = |at: usize| Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        Some(Self {
            run: u32_at(4)?,
            stream: u32_at(8)?,
            number: u64_at(12)?,
            intended_ns: u64_at(20)?,
        })
    }
}

/// Where the stamp of an uncompressed batch begins. Found by its mark: a key that holds the mark
/// would mislead, and the generator's keys are digits.
#[must_use]
pub fn stamp_at(batch: &[u8]) -> Option<usize> {
    let from = BATCH_HEADER_BYTES;
    let searched = batch.get(from..batch.len().min(from + SEARCH_BYTES))?;
    let found = searched.windows(MARK.len()).position(|four| four == MARK)?;
    (from + found + STAMP_BYTES <= batch.len()).then_some(from + found)
}

/// An empty place for a stamp at the start of a value.
pub fn mark(value: &mut [u8]) {
    if let Some(place) = value.first_chunk_mut() {
        *place = MARK;
    }
}
