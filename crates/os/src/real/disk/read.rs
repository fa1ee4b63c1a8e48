//! Cold reads: past the page cache where the file system can, so that old data read once does
//! not push out the write-ahead log's pages.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use io_uring::{opcode, types};

use super::{
    block::Caching,
    buffer::{BLOCK, Buffer},
};
use crate::real::exec;

/// A file opened for reading only.
#[derive(Clone)]
pub struct ReadFile {
    file: Arc<File>,
    caching: Caching,
}

impl ReadFile {
    /// Opens an existing file. Blocks.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let (file, caching) = open_direct(
            OpenOptions::new().read(true),
            path.as_ref(),
            Caching::Direct,
        )?;
        Ok(Self {
            file: Arc::new(file),
            caching,
        })
    }

    /// Up to `length` bytes from `position`; fewer at the end of the file, none behind it. No
    /// more memory is taken than the file has bytes there.
    pub async fn read_at(&self, position: u64, length: usize) -> io::Result<Bytes> {
        let end = self.file.metadata()?.len();
        read_until(&self.file, self.caching, position, length, end).await
    }

    /// Length of the file in bytes.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// Opens past the page cache if `caching` asks for that and the file system can.
pub(super) fn open_direct(
    options: &mut OpenOptions,
    path: &Path,
    caching: Caching,
) -> io::Result<(File, Caching)> {
    if caching == Caching::Direct {
        match options.clone().custom_flags(libc::O_DIRECT).open(path) {
            Ok(file) => return Ok((file, Caching::Direct)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((options.open(path)?, Caching::Buffered))
}

/// Reads `[position, position + length)` as far as it lies before `end`.
pub(super) async fn read_until(
    file: &Arc<File>,
    caching: Caching,
    position: u64,
    length: usize,
    end: u64,
) -> io::Result<Bytes> {
    let length = end.saturating_sub(position).min(length as u64) as usize;
    if length == 0 {
        return Ok(Bytes::new());
    }
    let block = BLOCK as u64;
    let start = match caching {
        Caching::Direct => position / block * block,
        Caching::Buffered => position,
    };
    let skip = (position - start) as usize;
    let wanted = skip + length;
    let mut buffer = Buffer::with_room(wanted);
    let mut filled = 0;
    while filled < wanted {
        let room = match caching {
            Caching::Direct => (wanted - filled).next_multiple_of(BLOCK),
            Caching::Buffered => wanted - filled,
        };
        debug_assert!(filled + room <= buffer.capacity());
        let room = u32::try_from(room).unwrap_or(1 << 30);
        // SAFETY: `filled` is inside the capacity.
        let place = unsafe { buffer.as_mut_ptr().add(filled) };
        let read = opcode::Read::new(types::Fd(file.as_raw_fd()), place, room)
            .offset(start + filled as u64)
            .build();
        let (result, kept) = exec::ring()
            .operate(read, (file.clone(), buffer), None)
            .finish()
            .await;
        buffer = kept.1;
        let read = match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        filled += read;
        if read == 0 || (caching == Caching::Direct && !filled.is_multiple_of(BLOCK)) {
            break;
        }
    }
    let filled = filled.min(wanted);
    // SAFETY: the kernel wrote the first `filled` bytes.
    unsafe { buffer.set_length(filled) };
    Ok(Bytes::from_owner(buffer).slice(skip.min(filled)..))
}
