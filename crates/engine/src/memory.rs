//! Where write-ahead entries are placed: memory that belongs to a write-ahead file. In a real node
//! it *is* the file, as the kernel's page cache shows it; [`Heap`] is for hosts that write.

use std::fmt;

use bytes::{Bytes, BytesMut};

/// What is wanting for a new file. That passes: nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanting {
    /// A descriptor.
    Descriptor,
    /// Room on the disk.
    Room,
}

/// Memory for the write-ahead files of one core. Not being able to give it is a failed write, and
/// ends the process, unless only a descriptor or room is wanting.
pub trait WalMemory: fmt::Debug {
    /// True if nobody holds a slice of this file's memory any more.
    fn is_idle(&mut self, file: u64) -> bool;

    /// Memory for the entries of a file, from its `at` on. It becomes the file `file` when the
    /// effect [`WalBegin`](crate::effects::WalBegin) is carried out.
    ///
    /// # Errors
    /// [`Wanting`]: nothing has changed then, and it may be asked for again.
    fn begin(
        &mut self,
        file: u64,
        recycle: Option<u64>,
        at: u64,
        length: u64,
    ) -> Result<Box<dyn WalSpace>, Wanting>;
}

/// Memory of one file's entries, filled from the front.
pub trait WalSpace: fmt::Debug {
    /// Places `length` bytes of any content behind the others; there is room for them.
    fn add(&mut self, length: usize);

    /// Bytes placed since the last seal.
    fn unsealed(&self) -> usize;

    /// What was placed since the last seal.
    fn unsealed_mut(&mut self) -> &mut [u8];

    /// Shares what was placed since the last seal. It does not change any more.
    fn seal(&mut self) -> Bytes;
}

/// Memory of the process, which the host writes to the files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heap;

#[derive(Debug)]
struct HeapSpace(BytesMut);

impl WalMemory for Heap {
    fn is_idle(&mut self, _file: u64) -> bool {
        true
    }

    fn begin(
        &mut self,
        _file: u64,
        _recycle: Option<u64>,
        at: u64,
        length: u64,
    ) -> Result<Box<dyn WalSpace>, Wanting> {
        let bytes = usize::try_from(length.saturating_sub(at)).unwrap_or(0);
        Ok(Box::new(HeapSpace(BytesMut::with_capacity(bytes))))
    }
}

impl WalSpace for HeapSpace {
    fn add(&mut self, length: usize) {
        self.0.resize(self.0.len() + length, 0xa5);
    }

    fn unsealed(&self) -> usize {
        self.0.len()
    }

    fn unsealed_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn seal(&mut self) -> Bytes {
        self.0.split().freeze()
    }
}
