//! gzip (RFC 1952) as a stream. The members' heads and trailers are parsed here, so that the
//! deflate context can be kept from batch to batch.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::{CHUNK_BYTES, DecompressError, room_in};

const HEAD_BYTES: usize = 10;
const TRAILER_BYTES: usize = 8;
const FLAG_HEAD_CHECKSUM: u8 = 0x02;
const FLAG_EXTRA: u8 = 0x04;
const FLAG_NAME: u8 = 0x08;
const FLAG_COMMENT: u8 = 0x10;

pub(super) struct GzipStream<'s, 'i> {
    inflate: &'s mut Decompress,
    input: &'i [u8],
    /// Checksum of the member at hand; `None` between members.
    member: Option<Crc>,
    started: bool,
}

impl<'s, 'i> GzipStream<'s, 'i> {
    pub(super) fn new(context: &'s mut Option<Decompress>, input: &'i [u8]) -> Self {
        Self {
            inflate: context.get_or_insert_with(|| Decompress::new(false)),
            input,
            member: None,
            started: false,
        }
    }

    /// Bytes written to the front of `chunk`; 0 at the end.
    pub(super) fn fill(&mut self, chunk: &mut Vec<u8>) -> Result<usize, DecompressError> {
        let output = room_in(chunk, CHUNK_BYTES);
        loop {
            let Some(checksum) = &mut self.member else {
                // One member at least; more may follow, as Java reads them.
                if self.input.is_empty() && self.started {
                    return Ok(0);
                }
                self.input = skip_head(self.input)?;
                self.inflate.reset(false);
                self.member = Some(Crc::new());
                self.started = true;
                continue;
            };
            let (read_before, written_before) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(self.input, output, FlushDecompress::None)
                .map_err(|_| DecompressError::Corrupt("bad deflate block"))?;
            let read = (self.inflate.total_in() - read_before) as usize;
            let written = (self.inflate.total_out() - written_before) as usize;
            self.input = self
                .input
                .get(read..)
                .ok_or(DecompressError::Corrupt("deflate read beyond its input"))?;
            checksum.update(&output[..written]);
            match status {
                Status::StreamEnd => {
                    check_trailer(checksum, &mut self.input)?;
                    self.member = None;
                }
                Status::Ok | Status::BufError if read == 0 && written == 0 => {
                    return Err(DecompressError::Corrupt("gzip stream is truncated"));
                }
                Status::Ok | Status::BufError => {}
            }
            if written > 0 {
                return Ok(written);
            }
        }
    }
}

fn check_trailer(checksum: &Crc, input: &mut &[u8]) -> Result<(), DecompressError> {
    let (trailer, rest) = input
        .split_first_chunk::<TRAILER_BYTES>()
        .ok_or(DecompressError::Corrupt("gzip trailer is missing"))?;
    let [c0, c1, c2, c3, s0, s1, s2, s3] = *trailer;
    if u32::from_le_bytes([c0, c1, c2, c3]) != checksum.sum() {
        return Err(DecompressError::Corrupt("gzip checksum differs"));
    }
    if u32::from_le_bytes([s0, s1, s2, s3]) != checksum.amount() {
        return Err(DecompressError::Corrupt("gzip size differs"));
    }
    *input = rest;
    Ok(())
}

/// Steps over one member's head.
fn skip_head(input: &[u8]) -> Result<&[u8], DecompressError> {
    const SHORT: DecompressError = DecompressError::Corrupt("gzip head is truncated");
    let (head, mut rest) = input.split_first_chunk::<HEAD_BYTES>().ok_or(SHORT)?;
    let [0x1f, 0x8b, 8, flags, ..] = *head else {
        return Err(DecompressError::Corrupt("not a gzip head"));
    };
    if flags & FLAG_EXTRA != 0 {
        let (size, after) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
        rest = after
            .get(usize::from(u16::from_le_bytes(*size))..)
            .ok_or(SHORT)?;
    }
    for text in [FLAG_NAME, FLAG_COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|&byte| byte == 0).ok_or(SHORT)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & FLAG_HEAD_CHECKSUM != 0 {
        let covered = &input[..input.len() - rest.len()];
        let (stored, after) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
        let mut checksum = Crc::new();
        checksum.update(covered);
        if checksum.sum() as u16 != u16::from_le_bytes(*stored) {
            return Err(DecompressError::Corrupt("gzip head checksum differs"));
        }
        rest = after;
    }
    Ok(rest)
}
