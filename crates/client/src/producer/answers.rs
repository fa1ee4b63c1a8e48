//! What comes of a producer's requests: deliveries, retries, and the end of an identity.

use klamm_model::{
    ErrorCode, Instant, OffsetDelta, ProducerEpoch, ProducerId, ProducerStamp, Retriability,
};
use klamm_records::batch::{BatchBuilder, BatchOptions, Record, records};
use klamm_records::compress::Scratch;

use super::batch::{ClosedBatch, Stage};
use super::{Delivery, DeliveryError, Identity, Producer, RequestId, doubts_leader};
use crate::append::{Appended, Refused};
use crate::limits::BATCH_DECOMPRESSED_MAX;
use crate::metadata::{Cluster, PartitionName};

/// What to do with a batch that a leader refused.
enum Verdict {
    /// It lies in the log already.
    Duplicate,
    /// Send it again.
    Again,
    /// Send it again under a new identity: it is known not to lie in the log.
    Unstamp,
    /// Send it as two.
    Split,
    /// Give it up.
    GiveUp,
}

impl Producer {
    /// The answer to [`Action::Identify`](super::Action::Identify); `None` after a failure, so that
    /// it is asked again.
    pub fn on_identity(&mut self, identity: Option<(ProducerId, ProducerEpoch)>) {
        assert_eq!(self.identity, Identity::Asked, "an identity was asked for");
        self.identity = match identity {
            Some((id, epoch)) => Identity::Known(id, epoch),
            None => Identity::Unknown,
        };
    }

    /// Gives up all that waits, when no identity is to be had: a refusal that does not pass.
    pub fn on_identity_refused(&mut self, error: &crate::BrokerError) {
        assert_eq!(self.identity, Identity::Asked, "an identity was asked for");
        self.identity = Identity::Unknown;
        let lanes = self.lanes.iter_mut();
        let given_up: Vec<(PartitionName, ClosedBatch)> = lanes
            .flat_map(|(name, lane)| {
                let batches = lane.closed.drain(..);
                batches
                    .map(|batch| (name.clone(), batch))
                    .collect::<Vec<_>>()
            })
            .collect();
        for (partition, batch) in given_up {
            let refused = DeliveryError::Refused(error.clone());
            self.deliver(partition, batch, Err(refused));
        }
    }

    /// A leader's answer, partition by partition. Leaders that it names or denies are noted in
    /// `cluster`.
    pub fn on_answer(
        &mut self,
        now: Instant,
        request: RequestId,
        outcomes: Vec<(PartitionName, Result<Appended, Refused>)>,
        cluster: &mut Cluster,
    ) {
        for (partition, outcome) in outcomes {
            let lane = self.lanes.get(&partition);
            let Some(at) = lane.and_then(|lane| lane.place_of(request)) else {
                continue;
            };
            match outcome {
                Ok(appended) => self.finish(&partition, at, Ok(appended)),
                Err(refused) => {
                    if doubts_leader(refused.error.code) {
                        cluster.forget_leader(&partition);
                        self.doubtful.insert(partition.topic.clone());
                    }
                    if let Some((leader, epoch)) = refused.leader {
                        cluster.hint_leader(&partition, leader, epoch);
                    }
                    self.on_refused(now, &partition, at, refused);
                }
            }
        }
        // What the answer does not name was not answered.
        self.on_lost(now, request);
    }

    /// With `acks=0` nothing is answered: writing is delivering.
    pub fn on_written(&mut self, request: RequestId) {
        let Some(sent) = self.sent.remove(&request) else {
            return;
        };
        for partition in sent.partitions {
            let lane = self.lanes.get(&partition);
            if let Some(at) = lane.and_then(|lane| lane.place_of(request)) {
                let appended = Appended {
                    base_offset: None,
                    log_append_time: None,
                    log_start: None,
                };
                self.finish(&partition, at, Ok(appended));
            }
        }
    }

    /// The request will not be answered: its batches may or may not lie in the log.
    pub fn on_lost(&mut self, now: Instant, request: RequestId) {
        let Some(sent) = self.sent.remove(&request) else {
            return;
        };
        for partition in sent.partitions {
            let lane = self.lanes.get(&partition);
            let Some(at) = lane.and_then(|lane| lane.place_of(request)) else {
                continue;
            };
            self.doubtful.insert(partition.topic.clone());
            if !self.retry(now, &partition, at) {
                let attempts = self.attempts_of(&partition, at);
                self.finish(&partition, at, Err(DeliveryError::Lost { attempts }));
            }
        }
    }

    fn attempts_of(&self, partition: &PartitionName, at: usize) -> u32 {
        self.lanes[partition].closed[at].attempts
    }

    fn on_refused(&mut self, now: Instant, partition: &PartitionName, at: usize, refused: Refused) {
        match self.judge(partition, at, refused.error.code) {
            Verdict::Duplicate => {
                let appended = Appended {
                    base_offset: None,
                    log_append_time: None,
                    log_start: refused.log_start,
                };
                self.finish(partition, at, Ok(appended));
            }
            Verdict::Again if self.retry(now, partition, at) => {}
            Verdict::Split if self.split(now, partition, at) => {}
            Verdict::Unstamp => {
                self.stale = true;
                let lane = self.lanes.get_mut(partition).expect("a lane just seen");
                let batch = &mut lane.closed[at];
                batch.stamp = None;
                batch.stage = Stage::Waiting(now);
            }
            Verdict::Again | Verdict::Split | Verdict::GiveUp => {
                self.finish(partition, at, Err(DeliveryError::Refused(refused.error)));
            }
        }
    }

    fn judge(&self, partition: &PartitionName, at: usize, code: ErrorCode) -> Verdict {
        let batch = &self.lanes[partition].closed[at];
        match code {
            ErrorCode::DuplicateSequenceNumber => Verdict::Duplicate,
            ErrorCode::OutOfOrderSequenceNumber if batch.stamp.is_some() => {
                let mut before = self.lanes[partition].closed.iter().take(at);
                if before.any(|batch| batch.stamp.is_some()) {
                    // One before it failed and will be sent again first.
                    Verdict::Again
                } else {
                    // One before it was given up, or the leader lost what it had acknowledged. This
                    // one lies behind the gap, and so in no log.
                    Verdict::Unstamp
                }
            }
            // The broker forgot the producer; a batch sent once cannot lie there unseen.
            ErrorCode::UnknownProducerId if batch.stamp.is_some() && batch.attempts == 1 => {
                Verdict::Unstamp
            }
            ErrorCode::MessageTooLarge if batch.tickets.len() > 1 => Verdict::Split,
            _ if code.retriability() == Retriability::Retriable => Verdict::Again,
            _ => Verdict::GiveUp,
        }
    }

    /// Puts a batch back to wait; false if it has no attempt or no time left.
    fn retry(&mut self, now: Instant, partition: &PartitionName, at: usize) -> bool {
        let options = &self.options;
        let lane = self.lanes.get_mut(partition).expect("a lane just seen");
        let batch = &mut lane.closed[at];
        if batch.attempts >= options.attempts_max
            || now.since(batch.created) >= options.delivery_timeout
        {
            return false;
        }
        let doublings = batch.attempts.saturating_sub(1).min(16);
        let pause = options.retry_backoff.saturating_mul(1 << doublings);
        let pause = pause.min(options.retry_backoff_max.max(options.retry_backoff));
        // A fifth more or less, so that many producers do not come back at once (KIP-580).
        let percent = 80 + u32::try_from(self.random.below(41)).unwrap_or(20);
        batch.stage = Stage::Waiting(now.plus(pause * percent / 100));
        true
    }

    /// Takes a batch out of its lane and reports it.
    fn finish(
        &mut self,
        partition: &PartitionName,
        at: usize,
        outcome: Result<Appended, DeliveryError>,
    ) {
        let lane = self.lanes.get_mut(partition).expect("a lane just seen");
        lane.acknowledged |= outcome.is_ok();
        let batch = lane.closed.remove(at).expect("a batch just seen");
        self.deliver(partition.clone(), batch, outcome);
    }

    /// Reports a batch that has left its lane. A stamped one that failed leaves a gap.
    pub(super) fn deliver(
        &mut self,
        partition: PartitionName,
        batch: ClosedBatch,
        outcome: Result<Appended, DeliveryError>,
    ) {
        if outcome.is_err() && batch.stamp.is_some() {
            self.stale = true;
        }
        assert!(
            self.buffered >= batch.charge,
            "the buffer counts every batch"
        );
        self.buffered -= batch.charge;
        self.deliveries.push_back(Delivery {
            partition,
            tickets: batch.tickets,
            outcome,
        });
    }

    /// Replaces a batch by two halves, in the same place and with the same sequences; false if it
    /// cannot be read back.
    fn split(&mut self, now: Instant, partition: &PartitionName, at: usize) -> bool {
        let compressor = self.options.compressor;
        let lane = self.lanes.get_mut(partition).expect("a lane just seen");
        let batch = &lane.closed[at];
        let mut scratch = Scratch::new();
        let read = records(&batch.bytes, BATCH_DECOMPRESSED_MAX, &mut scratch);
        let Some(all) = read
            .ok()
            .and_then(|read| read.collect::<Result<Vec<_>, _>>().ok())
        else {
            return false;
        };
        assert_eq!(all.len(), batch.tickets.len(), "one ticket for each record");
        let middle = all.len() / 2;
        let batch = lane.closed.remove(at).expect("a batch just seen");
        let second_charge = batch.charge / 2;
        let half = |part: &[Record], tickets: &[_], charge, stamp: Option<ProducerStamp>| {
            let mut builder = BatchBuilder::new(BatchOptions {
                compressor,
                producer: stamp,
                ..BatchOptions::default()
            });
            for it in part {
                let (key, value) = (it.key.as_deref(), it.value.as_deref());
                builder.append(it.timestamp, key, value, &it.headers);
            }
            let bytes = builder
                .build()
                .expect("half a batch is smaller than it was");
            ClosedBatch {
                bytes: bytes.into(),
                tickets: tickets.to_vec(),
                created: batch.created,
                attempts: batch.attempts,
                stamp,
                stage: Stage::Waiting(now),
                charge,
            }
        };
        let later = batch.stamp.map(|stamp| ProducerStamp {
            base_sequence: stamp.base_sequence.plus(OffsetDelta(middle as i32)),
            ..stamp
        });
        let (first, second) = all.split_at(middle);
        let (first_tickets, second_tickets) = batch.tickets.split_at(middle);
        let first_charge = batch.charge - second_charge;
        let second = half(second, second_tickets, second_charge, later);
        let first = half(first, first_tickets, first_charge, batch.stamp);
        lane.closed.insert(at, second);
        lane.closed.insert(at, first);
        true
    }
}
