//! The four codecs. Decompression is a stream of chunks under a budget of output bytes, with
//! contexts that a shard keeps in its [`Scratch`]; compression writes what Java's client writes.
//!
//! What may be held at a time, whatever a head claims: gzip and zstd one chunk of 64 KiB (zstd
//! besides its window, see [`ZSTD_WINDOW_LOG_MAX`]), lz4 one block of at most 4 MiB, snappy one
//! block of at most 32 times its compressed bytes, because that format cannot be cut finer.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::fmt;
use std::io::Write;

use klamm_model::Compression;

pub use zstd::ZSTD_WINDOW_LOG_MAX;

/// Chunk in which gzip and zstd are decompressed, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// A chunk buffer larger than this is given back after the batch that needed it.
const CHUNK_BYTES_KEPT: usize = 1024 * 1024;

/// The compressed bytes cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecompressError {
    /// Truncated, or not of the codec's format; the text says which rule is broken.
    Corrupt(&'static str),
    /// More output than the budget allows.
    TooLarge {
        /// The budget in bytes.
        limit: usize,
    },
}

impl fmt::Display for DecompressError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt(rule) => write!(formatter, "compressed records are corrupt: {rule}"),
            Self::TooLarge { limit } => {
                write!(formatter, "records decompress to more than {limit} bytes")
            }
        }
    }
}

impl std::error::Error for DecompressError {}

/// Decompression contexts and one chunk buffer, kept by a shard and lent to each batch in turn.
/// Created empty; what a codec needs is made when the first batch needs it.
#[derive(Default)]
pub struct Scratch {
    chunk: Vec<u8>,
    gzip: Option<flate2::Decompress>,
    zstd: zstd::Context,
}

impl Scratch {
    /// Nothing held yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of the chunk buffer; contexts not counted.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.chunk.capacity()
    }

    /// Opens `input` as a stream of chunks that yields at most `limit` bytes. `None` if the codec
    /// is [`Compression::None`].
    pub(crate) fn open<'s, 'i>(
        &'s mut self,
        codec: Compression,
        input: &'i [u8],
        limit: usize,
    ) -> Option<Chunks<'s, 'i>> {
        let stream = match codec {
            Compression::None => return None,
            Compression::Gzip => Stream::Gzip(gzip::GzipStream::new(&mut self.gzip, input)),
            Compression::Snappy => Stream::Snappy(snappy::SnappyStream::new(input)),
            Compression::Lz4 => Stream::Lz4(lz4::Lz4Stream::new(input)),
            Compression::Zstd => Stream::Zstd(zstd::ZstdStream::new(&mut self.zstd, input)),
        };
        Some(Chunks {
            stream,
            chunk: &mut self.chunk,
            filled: 0,
            produced: 0,
            limit,
        })
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Scratch")
            .field("chunk_bytes", &self.chunk.len())
            .finish_non_exhaustive()
    }
}

enum Stream<'s, 'i> {
    Gzip(gzip::GzipStream<'s, 'i>),
    Snappy(snappy::SnappyStream<'i>),
    Lz4(lz4::Lz4Stream<'i>),
    Zstd(zstd::ZstdStream<'s, 'i>),
}

/// A compressed section as a stream of decompressed chunks; one chunk is held at a time.
pub(crate) struct Chunks<'s, 'i> {
    stream: Stream<'s, 'i>,
    chunk: &'s mut Vec<u8>,
    filled: usize,
    produced: usize,
    limit: usize,
}

impl Chunks<'_, '_> {
    /// The chunk at hand; empty before the first and after the last.
    #[inline(always)]
    pub(crate) fn chunk(&self) -> &[u8] {
        &self.chunk[..self.filled]
    }

    /// Bytes decompressed so far.
    pub(crate) const fn produced(&self) -> usize {
        self.produced
    }

    /// Steps to the next chunk; false at the end of the stream.
    pub(crate) fn advance(&mut self) -> Result<bool, DecompressError> {
        self.filled = 0;
        let room = self.limit - self.produced;
        let filled = match &mut self.stream {
            Stream::Gzip(stream) => stream.fill(self.chunk),
            Stream::Snappy(stream) => stream.fill(self.chunk, room),
            Stream::Lz4(stream) => stream.fill(self.chunk),
            Stream::Zstd(stream) => stream.fill(self.chunk),
        }?;
        if filled > room {
            return Err(DecompressError::TooLarge { limit: self.limit });
        }
        self.filled = filled;
        self.produced += filled;
        Ok(filled > 0)
    }
}

impl Drop for Chunks<'_, '_> {
    fn drop(&mut self) {
        if self.chunk.len() > CHUNK_BYTES_KEPT {
            *self.chunk = Vec::new();
        }
    }
}

/// Makes `chunk` at least `bytes` long and lends that much of it.
fn room_in(chunk: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    if chunk.len() < bytes {
        chunk.resize(bytes, 0);
    }
    &mut chunk[..bytes]
}

/// Decompresses `input` whole, for clients and tools that need the records themselves.
///
/// # Errors
/// [`DecompressError`]; never more than `limit` bytes are produced.
pub fn decompress(
    codec: Compression,
    input: &[u8],
    limit: usize,
    scratch: &mut Scratch,
) -> Result<Vec<u8>, DecompressError> {
    let mut output = Vec::new();
    match scratch.open(codec, input, limit) {
        None if input.len() > limit => return Err(DecompressError::TooLarge { limit }),
        None => output.extend_from_slice(input),
        Some(mut chunks) => {
            while chunks.advance()? {
                output.extend_from_slice(chunks.chunk());
            }
        }
    }
    Ok(output)
}

/// A codec with the level at which to compress; `None` means the codec's own default, as Kafka's
/// `compression.*.level` keys have it (gzip 6, lz4 fast, zstd 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Compressor {
    /// The codec.
    pub codec: Compression,
    /// Level for gzip (1 to 9) and zstd (up to 22); the others have none.
    pub level: Option<i32>,
}

impl From<Compression> for Compressor {
    fn from(codec: Compression) -> Self {
        Self { codec, level: None }
    }
}

impl Compressor {
    /// Compresses `input` in the framing that Kafka's batches of format 2 carry.
    #[must_use]
    pub fn compress(self, input: &[u8]) -> Vec<u8> {
        match self.codec {
            Compression::None => input.to_vec(),
            Compression::Gzip => {
                let level = self.level.and_then(|level| u32::try_from(level).ok());
                let level = flate2::Compression::new(level.unwrap_or(6).min(9));
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder
                    .write_all(input)
                    .and_then(|()| encoder.finish())
                    .expect("writing to memory does not fail")
            }
            Compression::Snappy => snappy::compress(input),
            Compression::Lz4 => lz4::compress(input),
            Compression::Zstd => zstd::compress(input, self.level),
        }
    }
}

#[cfg(test)]
mod tests;
