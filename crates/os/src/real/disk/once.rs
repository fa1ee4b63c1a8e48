//! What is read or written once, in large pieces, past the page cache: on a virtual machine every
//! fresh page is dear, and what nobody reads soon would push out what somebody does. The memory is
//! this thread's own, used again and again.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::Path,
};

use bytes::Bytes;

use super::{
    block::Caching,
    buffer::{BLOCK, Buffer, PIECE},
    folder::read_fully,
    read::open_direct,
};
use crate::real::sys;

/// Up to `length` bytes of a file from `at` on; fewer only at its end. Blocks.
///
/// Pieces of no more than two MiB less a block find memory that an earlier one gave back on the same
/// thread.
///
/// # Errors
/// The file is not there, or its device cannot read it.
pub fn read_once(path: impl AsRef<Path>, at: u64, length: usize) -> io::Result<Bytes> {
    let options = &mut OpenOptions::new();
    let (file, caching) = open_direct(options.read(true), path.as_ref(), Caching::Direct)?;
    let left = file.metadata()?.len().saturating_sub(at);
    let length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
    if caching == Caching::Buffered || length == 0 {
        let mut bytes = vec![0; length];
        let read = read_fully(&file, at, &mut bytes)?;
        bytes.truncate(read);
        return Ok(bytes.into());
    }
    let start = at / BLOCK as u64 * BLOCK as u64;
    let skip = (at - start) as usize;
    let wanted = skip + length;
    let mut buffer = Buffer::with_room(wanted);
    let mut filled = 0;
    while filled < wanted {
        let room = (wanted - filled).next_multiple_of(BLOCK);
        assert!(
            filled + room <= buffer.capacity(),
            "a buffer has whole blocks"
        );
        // SAFETY: so much room is behind `filled`, as was just checked, and nobody else looks there.
        let read = unsafe {
            let place = buffer.as_mut_ptr().add(filled);
            sys::read_to(file.as_raw_fd(), place, room, start + filled as u64)?
        };
        filled += read;
        if read == 0 || !filled.is_multiple_of(BLOCK) {
            break;
        }
    }
    // SAFETY: so many bytes were read, which is no more than there is room for.
    unsafe { buffer.set_length(filled.min(wanted)) };
    Ok(Bytes::from_owner(buffer).slice(skip.min(filled)..))
}

/// A file that is written once.
#[derive(Debug)]
pub struct OnceFile {
    file: File,
    caching: Caching,
}

impl OnceFile {
    /// Opens the file, and creates it if need be (mode 0600). Does not wait for the device.
    ///
    /// # Errors
    /// Its folder is not there, or the file cannot be made.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let options = &mut OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let (file, caching) = open_direct(options, path.as_ref(), Caching::Direct)?;
        Ok(Self { file, caching })
    }

    /// Writes at a position that is a multiple of 4096; the file ends behind what is written.
    /// Blocks.
    ///
    /// # Errors
    /// The bytes were not all written; what the file has from `at` on is not known.
    pub fn write_end(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if !at.is_multiple_of(BLOCK as u64) {
            let reason = format!("expected a position that is a multiple of {BLOCK}, found {at}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let end = at + bytes.len() as u64;
        match self.caching {
            Caching::Buffered => self.file.write_all_at(bytes, at)?,
            Caching::Direct => write_blocks(&self.file, at, bytes)?,
        }
        if self.file.metadata()?.len() != end {
            self.file.set_len(end)?;
        }
        Ok(())
    }
}

/// Writes whole blocks, the last of them filled up with zeros.
fn write_blocks(file: &File, mut at: u64, bytes: &[u8]) -> io::Result<()> {
    for piece in bytes.chunks(PIECE) {
        let mut buffer = Buffer::with_room(piece.len());
        buffer.fill(piece);
        let padding = piece.len().next_multiple_of(BLOCK) - piece.len();
        buffer.fill(&[0; BLOCK][..padding]);
        file.write_all_at(buffer.as_ref(), at)?;
        at += piece.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(length: usize) -> Vec<u8> {
        (0..length as u32)
            .map(|number| number as u8 ^ (number >> 8) as u8 ^ (number >> 16) as u8)
            .collect()
    }

    #[test]
    fn what_is_read_once_is_what_the_file_holds_from_any_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let content = content(5_000_000);
        std::fs::write(&path, &content).expect("written");
        for at in [
            0_usize, 1, 4095, 4096, 5000, 2_097_151, 4_999_999, 5_000_000, 9_000_000,
        ] {
            for length in [0, 1, 4096, 600_000, (2 << 20) - 4096, 2 << 20, usize::MAX] {
                let start = at.min(content.len());
                let end = at.saturating_add(length).min(content.len());
                let found = read_once(&path, at as u64, length).expect("readable");
                assert!(found == content[start..end], "{length} from {at}");
            }
        }
        let missing = read_once(folder.path().join("none"), 0, 1);
        assert_eq!(
            missing.expect_err("no file").kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn what_is_written_once_ends_the_file_and_reads_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let content = content(5_000_000);
        let mut written = 0;
        for count in [4096_usize, 0, 8192, 2 << 20, (2 << 20) + 4096, 12_345] {
            let piece = &content[written..written + count];
            let file = OnceFile::open(&path).expect("opened");
            file.write_end(written as u64, piece).expect("written");
            written += count;
            let found = std::fs::read(&path).expect("readable");
            assert!(found == content[..written], "{count} more");
        }
        // What a failed attempt left behind is gone.
        let file = OnceFile::open(&path).expect("opened");
        file.write_end(4096, b"end").expect("written");
        let found = std::fs::read(&path).expect("readable");
        assert_eq!(found.len(), 4099);
        assert!(found[..4096] == content[..4096] && found.ends_with(b"end"));
    }

    #[test]
    fn nothing_is_written_once_between_blocks() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let file = OnceFile::open(&path).expect("opened");
        let refused = file.write_end(100, b"x").expect_err("not a multiple");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(std::fs::read(&path).expect("readable"), b"");
    }
}
