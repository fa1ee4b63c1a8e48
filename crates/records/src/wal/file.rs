//! The head of a write-ahead log file: 4096 bytes, of which 40 are used.
//!
//! ```text
//!  0 magic "klammWAL"   8 version u32   12 checksum u32 (over all other used bytes)
//! 16 incarnation u64   24 file number u64   32 start position u64   40 reserved to 4096, zero
//! ```

use std::fmt;

use super::{ENTRY_ALIGN_BYTES, Incarnation, WalPosition};
use crate::checksum::{crc32c, crc32c_extend};
use crate::fields::{put, u32_at, u64_at};

/// Bytes of a file's head; the first entry stands right behind it.
pub const FILE_HEAD_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"klammWAL";
const VERSION: u32 = 1;
const VERSION_AT: usize = 8;
const CHECKSUM: usize = 12;
const INCARNATION: usize = 16;
const NUMBER: usize = 24;
const START: usize = 32;
const USED_BYTES: usize = 40;

/// What a file's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHead {
    /// The life of the log that writes this file.
    pub incarnation: Incarnation,
    /// Its number: each new or recycled file gets the next, over all lives.
    pub number: u64,
    /// Where its first entry stands.
    pub start: WalPosition,
}

/// The bytes are not the head of a write-ahead log file of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileHeadError {
    /// Fewer bytes than a head has.
    Short,
    /// Another file, or one that was never given a head (all zeros after preallocation).
    NotAHead,
    /// A version that this klamm does not know.
    Version(u32),
    /// The checksum differs, or the start is not aligned.
    Checksum,
}

impl fmt::Display for FileHeadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(formatter, "write-ahead log file is shorter than its head"),
            Self::NotAHead => formatter.write_str("not a write-ahead log file"),
            Self::Version(version) => write!(
                formatter,
                "write-ahead log file has version {version}, expected {VERSION}"
            ),
            Self::Checksum => formatter.write_str("write-ahead log file head is damaged"),
        }
    }
}

impl std::error::Error for FileHeadError {}

impl FileHead {
    /// The head as bytes, ready to be written at the start of the file.
    #[must_use]
    pub fn encode(&self) -> Box<[u8; FILE_HEAD_BYTES]> {
        let mut head = Box::new([0; FILE_HEAD_BYTES]);
        let bytes = head.as_mut_slice();
        put(bytes, 0, MAGIC);
        put(bytes, VERSION_AT, &VERSION.to_be_bytes());
        put(bytes, INCARNATION, &self.incarnation.0.to_be_bytes());
        put(bytes, NUMBER, &self.number.to_be_bytes());
        put(bytes, START, &self.start.0.to_be_bytes());
        let checksum = checksum_of(bytes);
        put(bytes, CHECKSUM, &checksum.to_be_bytes());
        head
    }

    /// Reads a head from the start of a file.
    ///
    /// # Errors
    /// [`FileHeadError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FileHeadError> {
        let head = bytes.get(..FILE_HEAD_BYTES).ok_or(FileHeadError::Short)?;
        if !head.starts_with(MAGIC) {
            return Err(FileHeadError::NotAHead);
        }
        let version = u32_at(head, VERSION_AT);
        if version != VERSION {
            return Err(FileHeadError::Version(version));
        }
        let start = u64_at(head, START);
        if checksum_of(head) != u32_at(head, CHECKSUM)
            || !start.is_multiple_of(ENTRY_ALIGN_BYTES as u64)
        {
            return Err(FileHeadError::Checksum);
        }
        Ok(Self {
            incarnation: Incarnation(u64_at(head, INCARNATION)),
            number: u64_at(head, NUMBER),
            start: WalPosition(start),
        })
    }
}

fn checksum_of(head: &[u8]) -> u32 {
    crc32c_extend(crc32c(&head[..CHECKSUM]), &head[INCARNATION..USED_BYTES])
}
