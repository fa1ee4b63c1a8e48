//! One closed batch on its way, and the stamp of an idempotent producer in its head.

use bytes::{Bytes, BytesMut};
use klamm_model::{Instant, ProducerStamp};
use klamm_records::batch::checksum_of;

use super::{RequestId, Ticket};

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// To be sent at this time or later.
    Waiting(Instant),
    /// Sent; the answer is to come.
    InFlight(RequestId),
}

/// A closed batch.
#[derive(Debug)]
pub(super) struct ClosedBatch {
    pub(super) bytes: Bytes,
    pub(super) tickets: Vec<Ticket>,
    /// When its first record was appended.
    pub(super) created: Instant,
    pub(super) attempts: u32,
    pub(super) stamp: Option<ProducerStamp>,
    pub(super) stage: Stage,
    /// Bytes of the buffer that it holds until it is delivered.
    pub(super) charge: usize,
}

impl ClosedBatch {
    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.stage, Stage::InFlight(_))
    }

    /// Gives the batch its place in the producer's order.
    pub(super) fn stamp(&mut self, stamp: ProducerStamp) {
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = stamped(bytes, stamp);
        self.stamp = Some(stamp);
    }
}

/// Writes the idempotence triple into a batch's head, and the checksum that covers it.
fn stamped(batch: Bytes, stamp: ProducerStamp) -> Bytes {
    const CHECKSUM: usize = 17;
    const PRODUCER_ID: usize = 43;
    const PRODUCER_EPOCH: usize = 51;
    const BASE_SEQUENCE: usize = 53;
    // Shared only while an earlier attempt waits to be written.
    let mut bytes = batch
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(PRODUCER_ID, &stamp.id.0.to_be_bytes());
    put(PRODUCER_EPOCH, &stamp.epoch.0.to_be_bytes());
    put(BASE_SEQUENCE, &stamp.base_sequence.0.to_be_bytes());
    let checksum = checksum_of(&bytes);
    bytes[CHECKSUM..CHECKSUM + 4].copy_from_slice(&checksum.to_be_bytes());
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_model::{ProducerEpoch, ProducerId, Sequence, Timestamp};
    use klamm_records::batch::{BatchBuilder, BatchOptions, verify};

    #[test]
    fn a_stamp_is_what_the_builder_would_have_written() {
        let stamp = ProducerStamp {
            id: ProducerId(4711),
            epoch: ProducerEpoch(3),
            base_sequence: Sequence(99),
        };
        let build = |producer| {
            let mut batch = BatchBuilder::new(BatchOptions {
                producer,
                ..BatchOptions::default()
            });
            batch.append(Timestamp(5), Some(b"key"), None, &[]);
            Bytes::from(batch.build().expect("one record"))
        };
        let later = stamped(build(None), stamp);
        assert_eq!(later, build(Some(stamp)));
        assert_eq!(verify(&later).expect("whole").producer, Some(stamp));
    }
}
