//! What bytes mean: record batches and their compression, the write-ahead log, segments with
//! their indexes, the checkpoint, and how each of them is recovered from bytes that may be torn,
//! rotten or hostile.
//!
//! Everything here is a pure function over bytes that the caller holds. No file is opened, no
//! clock is read, nothing is trusted: bytes from the network or from disk lead to error values,
//! never to a panic, and no length that they claim reserves memory.
#![forbid(unsafe_code)]

pub mod batch;
pub mod checksum;
pub mod compact;
pub mod compress;
mod fields;
pub mod read;
pub mod segment;
mod varint;
pub mod wal;

#[cfg(test)]
mod testdata;
