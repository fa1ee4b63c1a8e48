//! One write past the page cache, put together from slices of any length: what lies in memory as
//! the disk wants it goes out from where it lies, the rest through an aligned buffer.
//!
//! ```text
//! file     | sector | sector | sector | sector | sector | sector |
//! slices   [ a ..........][ b ............................]
//! written  [ buffer       . ][ b itself          ][ buffer, zeros ]
//! ```

use std::collections::VecDeque;

use bytes::Bytes;

use super::buffer::{BLOCK, Buffer, PIECE};

/// Alignment of memory and of lengths at which a device takes memory as it is.
pub(super) const SECTOR: usize = 512;

/// A shorter run is cheaper to copy than to name.
const DIRECT_MIN: usize = 8 * SECTOR;

/// Most runs of one write: the kernel takes 1,024.
const RUNS_MAX: usize = 512;

/// Most bytes of one write.
const WRITE_MAX: usize = 4 << 20;

/// Room for what lies before and behind runs that go out as they lie.
const EDGES: usize = 16 << 10;

/// What one operation writes; owns or keeps alive all of it.
#[derive(Default)]
pub(super) struct Gather {
    runs: Vec<Run>,
    buffers: Vec<Buffer>,
    length: usize,
}

enum Run {
    /// Bytes of `buffers[buffer]`.
    Copied {
        buffer: usize,
        from: usize,
        length: usize,
    },
    /// Bytes as they lie.
    Kept(Bytes),
}

/// The slices of one append that still wait to be written.
pub(super) struct Source {
    slices: VecDeque<Bytes>,
    /// Whether memory may go out as it lies.
    direct: bool,
}

impl Source {
    /// `direct` if the device takes memory that is aligned to [`SECTOR`].
    pub(super) fn new(slices: impl IntoIterator<Item = Bytes>, direct: bool) -> Self {
        let slices = slices.into_iter().filter(|slice| !slice.is_empty());
        Self {
            slices: slices.collect(),
            direct,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// Takes as much as one operation writes, beginning at the file's `position`, a multiple of
    /// [`BLOCK`]. Ends at one too: by zeros, if the slices end before.
    pub(super) fn next(&mut self, position: u64) -> Gather {
        debug_assert!(position.is_multiple_of(BLOCK as u64));
        let mut out = Gather::default();
        let all = self.bytes_left();
        while let Some(slice) = self.slices.front_mut() {
            if out.length >= WRITE_MAX || out.runs.len() + 3 > RUNS_MAX {
                break;
            }
            let lead = out.length.next_multiple_of(SECTOR) - out.length;
            let direct = self.direct
                && slice.len() >= lead + DIRECT_MIN
                && (slice.as_ptr() as usize + lead).is_multiple_of(SECTOR);
            if direct {
                out.copy(&slice.split_to(lead), EDGES);
                let whole = slice.len() / SECTOR * SECTOR;
                let whole = whole.min((WRITE_MAX - out.length).next_multiple_of(BLOCK));
                out.length += whole;
                out.runs.push(Run::Kept(slice.split_to(whole)));
            } else {
                let part = slice.split_to(slice.len().min(WRITE_MAX - out.length));
                out.copy(&part, (all - out.length).min(PIECE));
            }
            if slice.is_empty() {
                self.slices.pop_front();
            }
        }
        self.give_back(&mut out);
        out.pad();
        out
    }

    fn bytes_left(&self) -> usize {
        self.slices.iter().map(Bytes::len).sum()
    }

    /// An operation that is not the last ends at a block border: what is over goes into the next.
    fn give_back(&mut self, out: &mut Gather) {
        let over = out.length % BLOCK;
        if self.slices.is_empty() || over == 0 {
            return;
        }
        let tail = out.take_last(over);
        for slice in tail.into_iter().rev() {
            self.slices.push_front(slice);
        }
    }
}

impl Gather {
    /// Bytes that it writes.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Bytes that were copied to be written.
    pub(super) fn copied(&self) -> usize {
        self.runs
            .iter()
            .map(|run| match run {
                Run::Copied { length, .. } => *length,
                Run::Kept(_) => 0,
            })
            .sum()
    }

    /// Appends a copy of the bytes; a buffer that must be fetched for it has room for `room` bytes.
    fn copy(&mut self, mut bytes: &[u8], room: usize) {
        while !bytes.is_empty() {
            let from = self.buffers.last().map_or(0, |last| last.as_ref().len());
            let count = self.buffers.last_mut().map_or(0, |last| last.fill(bytes));
            if count == 0 {
                self.buffers.push(Buffer::with_room(room));
                continue;
            }
            let last = self.buffers.len() - 1;
            match self.runs.last_mut() {
                Some(Run::Copied { buffer, length, .. }) if *buffer == last => *length += count,
                _ => self.runs.push(Run::Copied {
                    buffer: last,
                    from,
                    length: count,
                }),
            }
            self.length += count;
            bytes = &bytes[count..];
        }
    }

    /// Zeros up to the next block border.
    fn pad(&mut self) {
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        let zeros = self.length.next_multiple_of(BLOCK) - self.length;
        self.copy(&ZEROS[..zeros], EDGES);
    }

    /// Takes the last `count` bytes out again.
    fn take_last(&mut self, count: usize) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut left = count;
        while left > 0 {
            let Some(run) = self.runs.last_mut() else {
                break;
            };
            match run {
                Run::Copied {
                    buffer,
                    from,
                    length,
                } => {
                    let part = left.min(*length);
                    let end = *from + *length;
                    let bytes = &self.buffers[*buffer].as_ref()[end - part..end];
                    taken.push(Bytes::copy_from_slice(bytes));
                    *length -= part;
                    left -= part;
                    if *length == 0 {
                        self.runs.pop();
                    }
                }
                Run::Kept(bytes) => {
                    let part = left.min(bytes.len());
                    taken.push(bytes.split_off(bytes.len() - part));
                    left -= part;
                    if bytes.is_empty() {
                        self.runs.pop();
                    }
                }
            }
        }
        self.length -= count;
        taken.reverse();
        taken
    }

    /// The memory from byte `from` on, in order, for a gathered write. Valid as long as this lives,
    /// wherever it is moved.
    pub(super) fn vectors(&self, mut from: usize) -> Vec<libc::iovec> {
        let mut out = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            let bytes = match run {
                Run::Copied {
                    buffer,
                    from,
                    length,
                } => &self.buffers[*buffer].as_ref()[*from..*from + *length],
                Run::Kept(bytes) => &bytes[..],
            };
            let skip = from.min(bytes.len());
            from -= skip;
            if skip < bytes.len() {
                out.push(libc::iovec {
                    iov_base: bytes[skip..].as_ptr().cast_mut().cast(),
                    iov_len: bytes.len() - skip,
                });
            }
        }
        out
    }
}
