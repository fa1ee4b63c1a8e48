//! Snappy, bare or in the framing of Java's `SnappyOutputStream`. A block is decompressed whole:
//! its copies may reach back to its first byte. No block yields more than 32 times its compressed
//! bytes (a copy of two bytes yields at most 11, one of three at most 64), so a size claimed
//! beyond that is refused before memory is taken.

use super::{DecompressError, room_in};

/// Start of the framing: 0x82 `SNAPPY` 0, version and lowest compatible version as big-endian i32.
const FRAMING_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const FRAMING_VERSION: i32 = 1;
const FRAMING_HEAD_BYTES: usize = 16;

/// Block in which Java writes, in bytes before compression.
const BLOCK_BYTES: usize = 32 * 1024;

/// Upper bound of output over input bytes in one block.
const EXPANSION_MAX: usize = 32;

pub(super) struct SnappyStream<'i> {
    input: &'i [u8],
    framing: Framing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Nothing read yet.
    Unknown,
    /// Blocks with their sizes in front.
    Java,
    /// One bare block, already read.
    Done,
}

impl<'i> SnappyStream<'i> {
    pub(super) const fn new(input: &'i [u8]) -> Self {
        Self {
            input,
            framing: Framing::Unknown,
        }
    }

    /// Bytes written to the front of `chunk`; 0 at the end. At most `room` bytes and one are asked
    /// for, so that the caller sees the excess.
    pub(super) fn fill(
        &mut self,
        chunk: &mut Vec<u8>,
        room: usize,
    ) -> Result<usize, DecompressError> {
        if self.framing == Framing::Unknown {
            if !self.input.starts_with(&FRAMING_MAGIC) {
                self.framing = Framing::Done;
                return decompress_block(self.input, chunk, room);
            }
            let rest = self.input.get(FRAMING_HEAD_BYTES..);
            self.input = rest.ok_or(DecompressError::Corrupt("snappy framing is truncated"))?;
            self.framing = Framing::Java;
        }
        if self.framing == Framing::Done {
            return Ok(0);
        }
        while let Some((size, rest)) = self.input.split_first_chunk::<4>() {
            let size = u32::from_be_bytes(*size) as usize;
            let (block, rest) = rest
                .split_at_checked(size)
                .ok_or(DecompressError::Corrupt("snappy block is truncated"))?;
            self.input = rest;
            let filled = decompress_block(block, chunk, room)?;
            if filled > 0 {
                return Ok(filled);
            }
        }
        if self.input.is_empty() {
            Ok(0)
        } else {
            Err(DecompressError::Corrupt("snappy block size is truncated"))
        }
    }
}

fn decompress_block(
    block: &[u8],
    chunk: &mut Vec<u8>,
    room: usize,
) -> Result<usize, DecompressError> {
    let claimed = snap::raw::decompress_len(block)
        .map_err(|_| DecompressError::Corrupt("bad snappy block size"))?;
    if claimed / EXPANSION_MAX > block.len() {
        return Err(DecompressError::Corrupt("snappy block claims too much"));
    }
    if claimed > room {
        // The caller compares with its budget: no need to decompress.
        return Ok(claimed);
    }
    snap::raw::Decoder::new()
        .decompress(block, room_in(chunk, claimed))
        .map_err(|_| DecompressError::Corrupt("bad snappy block"))
}

/// Compresses in Java's framing, with Java's block size.
pub(super) fn compress(input: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(FRAMING_HEAD_BYTES + input.len() / 2);
    output.extend_from_slice(&FRAMING_MAGIC);
    output.extend_from_slice(&FRAMING_VERSION.to_be_bytes());
    output.extend_from_slice(&FRAMING_VERSION.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(BLOCK_BYTES) {
        let at = output.len();
        output.resize(at + 4 + snap::raw::max_compress_len(block.len()), 0);
        let size = encoder
            .compress(block, &mut output[at + 4..])
            .expect("the output has room for the worst case");
        output[at..at + 4].copy_from_slice(&(size as u32).to_be_bytes());
        output.truncate(at + 4 + size);
    }
    output
}
