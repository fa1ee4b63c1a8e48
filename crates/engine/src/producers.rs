//! Producer state between two rooms: `replica` keeps it, `records` writes it into checkpoints.

use klamm_model::{Offset, Timestamp, WallTime};
use klamm_records::segment::{ProducerBatch, ProducerCheckpoint};
use klamm_replica::{ProducerSnapshot, ProducersSnapshot, RememberedBatch};

/// As the checkpoint holds it.
pub(crate) fn to_checkpoint(snapshot: &ProducersSnapshot) -> Vec<ProducerCheckpoint> {
    let batch = |batch: &RememberedBatch| ProducerBatch {
        base_sequence: batch.base_sequence(),
        last_sequence: batch.last_sequence,
        base_offset: batch.base_offset(),
        offset_delta: batch.last_offset_delta,
        timestamp: batch.timestamp,
    };
    snapshot
        .producers
        .iter()
        .map(|producer| ProducerCheckpoint {
            id: producer.id,
            epoch: producer.epoch,
            last_timestamp: Timestamp(producer.last_used.0),
            batches: producer.batches.iter().map(batch).collect(),
        })
        .collect()
}

/// From the checkpoint, which covers the log up to `end`.
pub(crate) fn from_checkpoint(producers: &[ProducerCheckpoint], end: Offset) -> ProducersSnapshot {
    let batch = |batch: &ProducerBatch| RememberedBatch {
        last_offset: batch.base_offset.plus(batch.offset_delta),
        timestamp: batch.timestamp,
        last_sequence: batch.last_sequence,
        last_offset_delta: batch.offset_delta,
    };
    let producers = producers
        .iter()
        .map(|producer| ProducerSnapshot {
            id: producer.id,
            epoch: producer.epoch,
            last_used: WallTime(producer.last_timestamp.0),
            batches: producer.batches.iter().map(batch).collect(),
        })
        .collect();
    ProducersSnapshot { end, producers }
}
