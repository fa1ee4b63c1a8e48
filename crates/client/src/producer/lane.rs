//! The batches of one partition, in order: one open at the end, closed ones before it. Decides
//! which may be sent next so that neither order nor sequences break.

use std::collections::VecDeque;

use klamm_model::limits::PRODUCER_BATCHES_REMEMBERED;
use klamm_model::{Instant, Sequence};
use klamm_records::batch::{BatchBuilder, BatchOptions};
use klamm_records::compress::Compressor;

use super::batch::{ClosedBatch, Stage};
use super::{ProducerRecord, RequestId, Ticket};

/// A batch that still takes records.
#[derive(Debug)]
pub(super) struct OpenBatch {
    builder: BatchBuilder,
    tickets: Vec<Ticket>,
    pub(super) created: Instant,
    charge: usize,
}

/// ```text
/// front: oldest                                   back: newest     after it
/// [ in flight | in flight | waiting | waiting ]                    open
/// ```
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) open: Option<OpenBatch>,
    pub(super) closed: VecDeque<ClosedBatch>,
    pub(super) next_sequence: Sequence,
    /// A stamped batch was acknowledged under the present identity. Until then one is in flight at
    /// a time: a leader without memory of a producer takes any first sequence, so that a later
    /// batch must not arrive before the first.
    pub(super) acknowledged: bool,
}

impl Lane {
    /// Adds a record to the open batch; true if a batch was closed by it.
    pub(super) fn append(
        &mut self,
        now: Instant,
        record: &ProducerRecord,
        (ticket, charge): (Ticket, usize),
        (compressor, batch_bytes): (Compressor, usize),
    ) -> bool {
        let overfull = self
            .open
            .as_ref()
            .is_some_and(|open| open.builder.size_uncompressed() + charge > batch_bytes);
        if overfull {
            self.close(now);
        }
        let open = self.open.get_or_insert_with(|| OpenBatch {
            builder: BatchBuilder::new(BatchOptions {
                compressor,
                ..BatchOptions::default()
            }),
            tickets: Vec::new(),
            created: now,
            charge: 0,
        });
        open.builder.append(
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            &record.headers,
        );
        open.tickets.push(ticket);
        open.charge += charge;
        let full = open.builder.size_uncompressed() >= batch_bytes;
        if full {
            self.close(now);
        }
        overfull || full
    }

    /// Closes the open batch, if there is one.
    pub(super) fn close(&mut self, now: Instant) {
        let Some(open) = self.open.take() else {
            return;
        };
        // Records were measured at the door, so the format's 32-bit fields hold them.
        let bytes = open
            .builder
            .build()
            .expect("a batch of bounded records is built");
        self.closed.push_back(ClosedBatch {
            bytes: bytes.into(),
            tickets: open.tickets,
            created: open.created,
            attempts: 0,
            stamp: None,
            stage: Stage::Waiting(now),
            charge: open.charge,
        });
    }

    /// The batch that may be sent next, by place and time: the first that waits, if all before it
    /// are in flight. After a failure the batches go one by one, so that none overtakes another.
    pub(super) fn next_to_send(&self) -> Option<(usize, Instant)> {
        let at = self.closed.iter().position(|batch| !batch.is_in_flight())?;
        let Stage::Waiting(not_before) = self.closed[at].stage else {
            return None;
        };
        let before = || self.closed.iter().take(at);
        let recovering = self.closed[at].attempts > 0 || before().any(|batch| batch.attempts > 1);
        let first = self.closed[0].stamp.is_some() && !self.acknowledged;
        if at >= PRODUCER_BATCHES_REMEMBERED || ((recovering || first) && at > 0) {
            return None;
        }
        Some((at, not_before))
    }

    /// A batch that lost its stamp is known not to lie in the log; then none behind it can, for the
    /// leader refuses what follows a gap. Those that wait would otherwise wait for it for ever.
    pub(super) fn unstamp_behind_gap(&mut self) {
        let unstamped = self.closed.iter().position(|batch| batch.stamp.is_none());
        let behind = unstamped.map_or(self.closed.len(), |at| at + 1);
        for batch in self.closed.iter_mut().skip(behind) {
            if !batch.is_in_flight() {
                batch.stamp = None;
            }
        }
    }

    /// Place of the batch that went out with a request.
    pub(super) fn place_of(&self, request: RequestId) -> Option<usize> {
        self.closed
            .iter()
            .position(|batch| batch.stage == Stage::InFlight(request))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none() && self.closed.is_empty()
    }
}
