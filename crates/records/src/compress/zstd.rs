//! Zstandard as a stream, with a context that is kept from batch to batch.

use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::{CHUNK_BYTES, DecompressError, room_in};

/// Largest window that a frame may ask for, as a power of two: 8 MiB. Java's client streams, so its
/// frames ask for their level's whole window: 19 to 21 at levels 1 to 8, 22 at 9 to 16, 23 at 17 to
/// 19; librdkafka has levels up to 12. Only the "ultra" levels 20 to 22 ask for more (25 to 27), and
/// are refused as corrupt.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Level that Kafka takes when none is configured.
const LEVEL_DEFAULT: i32 = 3;

/// A context that is made at first use.
#[derive(Default)]
pub(super) struct Context(Option<DCtx<'static>>);

pub(super) struct ZstdStream<'s, 'i> {
    /// `None` if the library has no memory for a context.
    context: Option<&'s mut DCtx<'static>>,
    input: InBuffer<'i>,
    /// Between frames: the input may end here.
    at_frame_end: bool,
}

impl<'s, 'i> ZstdStream<'s, 'i> {
    pub(super) fn new(context: &'s mut Context, input: &'i [u8]) -> Self {
        if context.0.is_none() {
            context.0 = DCtx::try_create();
            if let Some(made) = &mut context.0 {
                made.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
                    .expect("the window limit is a legal parameter");
            }
        }
        if let Some(kept) = &mut context.0 {
            kept.reset(ResetDirective::SessionOnly)
                .expect("a session can always be reset");
        }
        Self {
            context: context.0.as_mut(),
            input: InBuffer::around(input),
            at_frame_end: false,
        }
    }

    /// Bytes written to the front of `chunk`; 0 at the end.
    pub(super) fn fill(&mut self, chunk: &mut Vec<u8>) -> Result<usize, DecompressError> {
        let Some(context) = &mut self.context else {
            return Err(DecompressError::Corrupt("no memory for a zstd context"));
        };
        let mut output = OutBuffer::around(room_in(chunk, CHUNK_BYTES));
        loop {
            let left = self.input.src.len() - self.input.pos();
            if left == 0 && self.at_frame_end {
                return Ok(0);
            }
            let hint = context
                .decompress_stream(&mut output, &mut self.input)
                .map_err(|_| DecompressError::Corrupt("bad zstd frame"))?;
            self.at_frame_end = hint == 0;
            if output.pos() > 0 {
                return Ok(output.pos());
            }
            if left == self.input.src.len() - self.input.pos() && !self.at_frame_end {
                return Err(DecompressError::Corrupt("zstd frame is truncated"));
            }
        }
    }
}

/// Compresses into one frame.
pub(super) fn compress(input: &[u8], level: Option<i32>) -> Vec<u8> {
    let mut context = CCtx::create();
    context
        .set_parameter(CParameter::CompressionLevel(level.unwrap_or(LEVEL_DEFAULT)))
        .expect("the library clamps levels");
    // What is compressed here is read here again; see the window above.
    if level.is_some_and(|level| level > 19) && input.len() >> ZSTD_WINDOW_LOG_MAX > 0 {
        context
            .set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG_MAX))
            .expect("a legal window");
    }
    let mut output = Vec::with_capacity(zstd::zstd_safe::compress_bound(input.len()));
    context
        .compress2(&mut output, input)
        .expect("the output has room for the worst case");
    output
}
