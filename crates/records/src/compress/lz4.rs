//! The LZ4 frame format with independent blocks, the only kind that Kafka's own reader takes: a
//! frame of linked blocks that the broker accepted could never be read by a Java consumer.
//! Checksums of head, blocks and content are verified where the frame has them.

use std::hash::Hasher;
use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use twox_hash::XxHash32;

use super::{DecompressError, room_in};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const FLAG_VERSION: u8 = 0xc0;
const VERSION: u8 = 0x40;
const FLAG_INDEPENDENT: u8 = 0x20;
const FLAG_BLOCK_CHECKSUM: u8 = 0x10;
const FLAG_CONTENT_SIZE: u8 = 0x08;
const FLAG_CONTENT_CHECKSUM: u8 = 0x04;
const FLAGS_RESERVED: u8 = 0x03;
const BLOCK_STORED: u32 = 0x8000_0000;

/// Upper bound of output over input bytes in one block: a length byte of 255 yields 255 bytes.
const EXPANSION_MAX: usize = 255;

pub(super) struct Lz4Stream<'i> {
    input: &'i [u8],
    frame: Option<Frame>,
    ended: bool,
}

struct Frame {
    block_bytes_max: usize,
    block_checksum: bool,
    content: Option<XxHash32>,
}

impl<'i> Lz4Stream<'i> {
    pub(super) const fn new(input: &'i [u8]) -> Self {
        Self {
            input,
            frame: None,
            ended: false,
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecompressError> {
        let (field, rest) = self
            .input
            .split_first_chunk::<N>()
            .ok_or(DecompressError::Corrupt("lz4 frame is truncated"))?;
        self.input = rest;
        Ok(*field)
    }

    /// Bytes written to the front of `chunk`; 0 at the end.
    pub(super) fn fill(&mut self, chunk: &mut Vec<u8>) -> Result<usize, DecompressError> {
        if self.ended {
            return Ok(0);
        }
        let mut frame = match self.frame.take() {
            Some(frame) => frame,
            None => self.read_head()?,
        };
        loop {
            let size = u32::from_le_bytes(self.take()?);
            if size == 0 {
                return self.read_end(frame);
            }
            let filled = self.read_block(&frame, size, chunk)?;
            if let Some(content) = &mut frame.content {
                content.write(&chunk[..filled]);
            }
            if filled > 0 {
                self.frame = Some(frame);
                return Ok(filled);
            }
        }
    }

    fn read_head(&mut self) -> Result<Frame, DecompressError> {
        if self.take()? != MAGIC {
            return Err(DecompressError::Corrupt("not an lz4 frame"));
        }
        let described = self.input;
        let [flags, block] = self.take()?;
        if flags & FLAG_VERSION != VERSION || flags & FLAGS_RESERVED != 0 {
            return Err(DecompressError::Corrupt("unknown lz4 frame flags"));
        }
        if flags & FLAG_INDEPENDENT == 0 {
            return Err(DecompressError::Corrupt("lz4 blocks are linked"));
        }
        let block_bytes_max = match block {
            0x40 => 64 << 10,
            0x50 => 256 << 10,
            0x60 => 1 << 20,
            0x70 => 4 << 20,
            _ => return Err(DecompressError::Corrupt("unknown lz4 block size")),
        };
        if flags & FLAG_CONTENT_SIZE != 0 {
            self.take::<8>()?;
        }
        let described = &described[..described.len() - self.input.len()];
        let [checksum] = self.take()?;
        if (XxHash32::oneshot(0, described) >> 8) as u8 != checksum {
            return Err(DecompressError::Corrupt("lz4 frame head checksum differs"));
        }
        Ok(Frame {
            block_bytes_max,
            block_checksum: flags & FLAG_BLOCK_CHECKSUM != 0,
            content: (flags & FLAG_CONTENT_CHECKSUM != 0).then(|| XxHash32::with_seed(0)),
        })
    }

    fn read_block(
        &mut self,
        frame: &Frame,
        size: u32,
        chunk: &mut Vec<u8>,
    ) -> Result<usize, DecompressError> {
        let stored = size & BLOCK_STORED != 0;
        let (block, rest) = self
            .input
            .split_at_checked((size & !BLOCK_STORED) as usize)
            .ok_or(DecompressError::Corrupt("lz4 block is truncated"))?;
        self.input = rest;
        if frame.block_checksum {
            let checksum = u32::from_le_bytes(self.take()?);
            if XxHash32::oneshot(0, block) != checksum {
                return Err(DecompressError::Corrupt("lz4 block checksum differs"));
            }
        }
        if block.len() > frame.block_bytes_max {
            return Err(DecompressError::Corrupt(
                "lz4 block is larger than its frame allows",
            ));
        }
        if stored {
            room_in(chunk, block.len()).copy_from_slice(block);
            return Ok(block.len());
        }
        let room = frame.block_bytes_max.min(block.len() * EXPANSION_MAX);
        lz4_flex::block::decompress_into(block, room_in(chunk, room))
            .map_err(|_| DecompressError::Corrupt("bad lz4 block"))
    }

    fn read_end(&mut self, frame: Frame) -> Result<usize, DecompressError> {
        if let Some(content) = frame.content {
            let checksum = u32::from_le_bytes(self.take()?);
            if content.finish_32() != checksum {
                return Err(DecompressError::Corrupt("lz4 content checksum differs"));
            }
        }
        if !self.input.is_empty() {
            return Err(DecompressError::Corrupt("bytes after the lz4 frame"));
        }
        self.ended = true;
        Ok(0)
    }
}

/// Compresses as Java's client does: independent blocks of 64 KiB, no content checksum.
pub(super) fn compress(input: &[u8]) -> Vec<u8> {
    let frame = FrameInfo::new()
        .block_size(BlockSize::Max64KB)
        .block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(frame, Vec::new());
    encoder
        .write_all(input)
        .expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}
