//! Record batches of format 2 (KIP-98): view of the head, validation of what a client produced,
//! stamping by the leader, walking the records, and building new batches.

mod builder;
mod fuzz;
mod header;
mod record;
mod records;
mod stamp;
mod validate;

pub use builder::{
    BatchBuilder, BatchOptions, BuildError, RecompressError, RecordHeader, recompress,
    without_records,
};
pub use fuzz::fuzz_batch;
pub(crate) use fuzz::mend_batch;
pub use header::{
    BatchError, Batches, batches, checksum_of, may_be_transactional, read, read_head, size_of,
    verify,
};
pub use record::RecordFault;
pub(crate) use record::usual_at;
pub use records::{Record, Records, RecordsError, records};
pub use stamp::{stamp, stamp_log_append_time, stamp_max_timestamp, stamp_validated};
pub use validate::{
    DECOMPRESSED_BYTES_FLOOR, DECOMPRESSED_RATIO_MAX, InvalidBatch, InvalidReason,
    RECORD_ERRORS_KEPT_MAX, RecordError, RecordErrorKind, ValidateOptions, Validated, validate,
};

/// Where the fields of a batch lie, in bytes from its start.
pub(crate) mod layout {
    pub(crate) const BASE_OFFSET: usize = 0;
    pub(crate) const LENGTH: usize = 8;
    pub(crate) const LEADER_EPOCH: usize = 12;
    pub(crate) const MAGIC: usize = 16;
    pub(crate) const CHECKSUM: usize = 17;
    pub(crate) const ATTRIBUTES: usize = 21;
    pub(crate) const LAST_OFFSET_DELTA: usize = 23;
    pub(crate) const BASE_TIMESTAMP: usize = 27;
    pub(crate) const MAX_TIMESTAMP: usize = 35;
    pub(crate) const PRODUCER_ID: usize = 43;
    pub(crate) const PRODUCER_EPOCH: usize = 51;
    pub(crate) const BASE_SEQUENCE: usize = 53;
    pub(crate) const RECORD_COUNT: usize = 57;
    /// Bytes of base offset and length field, which the length does not count.
    pub(crate) const LENGTH_COUNTS_FROM: usize = 12;
    /// First byte that the checksum covers.
    pub(crate) const CHECKSUM_COVERS_FROM: usize = ATTRIBUTES;
    /// The only format that klamm reads and writes.
    pub(crate) const MAGIC_V2: i8 = 2;
}

#[cfg(test)]
mod abuse;
#[cfg(test)]
mod tests;
