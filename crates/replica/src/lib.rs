//! One partition's leadership life: positions on the log, leader epochs, producer state.
//!
//! A *log machine*: the host feeds it appends and completions, and it answers with offsets and with
//! how far the high watermark moved. It never sees record bytes, files, clocks or other partitions.
//!
//! # The host's duties
//!
//! 1. Recover: start from checkpoints, cut them at the position from which the log is read again,
//!    [`Recovered::replay`] every batch from there on, flush what was found, then [`Leader::new`].
//!    A snapshot of producers that reaches beyond the end of the log that was found is cut by
//!    [`Producers::truncate_to`] or passed over, and in any case deleted before the first append:
//!    later it would speak of bytes that others have replaced.
//! 2. Give every opening of the log, and every log that was cut, a new [`LogGeneration`], and hand
//!    back with each completion the generation under which the bytes were given out.
//! 3. Carry an [`Admission::Append`] out in the order in which it was given, at that offset, or
//!    call [`Leader::on_write_failed`] and unload the partition.
//! 4. Answer a duplicate no sooner than [`Leader::is_committed`] says so for its end: the first
//!    copy may still be on its way to the device.
//! 5. Call [`Leader::expire_producers`] now and then, with a wall time that does not jump.
//!
//! # Example
//!
//! ```
//! use klamm_model::{
//!     Acks, Attributes, BatchHeader, Durability, LeaderEpoch, Offset, OffsetDelta, Timestamp,
//!     WallTime,
//! };
//! use klamm_replica::{
//!     Admission, AppendOrigin, Leader, LogGeneration, ProducerLimits, Recovered,
//!     TransactionVersion,
//! };
//!
//! let recovered = Recovered::empty(
//!     LogGeneration(1),
//!     LeaderEpoch(0),
//!     Durability::Flushed,
//!     ProducerLimits::default(),
//! );
//! let mut leader = Leader::new(recovered).expect("an empty log is consistent");
//! let batch = BatchHeader {
//!     base_offset: Offset::ZERO,
//!     size: 100,
//!     leader_epoch: LeaderEpoch(0),
//!     checksum: 0,
//!     attributes: Attributes(0),
//!     last_offset_delta: OffsetDelta(2),
//!     base_timestamp: Timestamp(5),
//!     max_timestamp: Timestamp(5),
//!     producer: None,
//!     record_count: 3,
//! };
//! let origin = AppendOrigin::Client(TransactionVersion::Two);
//! let Ok(Admission::Append(placed)) = leader.append(WallTime(5), &batch, origin) else {
//!     panic!("nothing speaks against it");
//! };
//! assert_eq!(placed.end, Offset(3));
//! assert!(!leader.is_committed(placed.end, Acks::Leader));
//! leader.on_flushed(placed.generation, placed.end);
//! assert!(leader.is_committed(placed.end, Acks::Leader));
//! assert_eq!(leader.cursors().high_watermark, Offset(3));
//! ```
#![forbid(unsafe_code)]

mod epochs;
mod leader;
mod producers;
mod recovered;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod scripts;

pub use epochs::{AssignRefused, EpochEnd, EpochStart, LeaderEpochCache, MalformedEpochs};
pub use leader::{
    Admission, Advance, AppendOrigin, AppendRefused, Leader, LeaderEpochRefused, LeaderStats,
    LogGeneration, Placed, TransactionVersion, TrimRefused,
};
pub use producers::{
    ActiveProducer, PRODUCER_BYTES, ProducerLimits, ProducerRefused, ProducerSnapshot,
    ProducerStats, Producers, ProducersSnapshot, RebuildNeeded, RememberedBatch, ReplayedProducer,
    SnapshotRefused,
};
pub use recovered::{InconsistentLog, Recovered, ReplayRefused};
