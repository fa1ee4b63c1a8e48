//! A producer of one partition: several batches in flight, sent again when their fate is unknown.

use std::collections::VecDeque;

use bytes::Bytes;
use klamm_engine::api::{AppendCall, AppendPartition, Call};
use klamm_engine::api::{AppendError, AppendOutcome};
use klamm_engine::batch::{BatchBuilder, BatchOptions, RecordHeader};
use klamm_engine::metadata::Command;
use klamm_engine::replica::{ProducerRefused, TransactionVersion};
use klamm_model::{
    Acks, OffsetDelta, ProducerEpoch, ProducerId, ProducerStamp, Sequence, Timestamp,
    TopicPartition,
};

use super::Named;
use crate::check::compacted::HEADER;
use crate::check::ledger::{Ledger, Sent};
use crate::random::Random;

/// Batches that an idempotent producer may have under way, as in Kafka.
const IN_FLIGHT_MAX: usize = 5;

#[derive(Clone, Debug)]
struct Outgoing {
    number: u64,
    bytes: Bytes,
    /// The call that it travels in, if any.
    call: Option<u64>,
}

/// One producer.
#[derive(Clone, Debug)]
pub struct Producer {
    /// Where it sends to.
    pub named: Named,
    /// Its core in this life.
    pub shard: u16,
    idempotent: bool,
    /// Its records have keys, and some of them delete.
    keyed: bool,
    target: Option<TopicPartition>,
    id: Option<i64>,
    id_call: Option<u64>,
    sequence: Sequence,
    outgoing: VecDeque<Outgoing>,
}

/// What a producer wants to do next.
#[derive(Clone, Debug)]
pub enum Wish {
    /// Send a call to the home of a partition.
    Append(TopicPartition, u64, Call),
    /// Ask the controller for ids.
    Id(Command),
}

impl Producer {
    /// A producer that has sent nothing.
    #[must_use]
    pub const fn new(named: Named, idempotent: bool) -> Self {
        Self {
            named,
            shard: 0,
            idempotent,
            keyed: false,
            target: None,
            id: None,
            id_call: None,
            sequence: Sequence::FIRST,
            outgoing: VecDeque::new(),
        }
    }

    /// A producer for compacted topics.
    #[must_use]
    pub const fn keyed(mut self) -> Self {
        self.keyed = true;
        self
    }

    /// True if nothing of it is under way or waits to be sent again.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.outgoing.is_empty() && self.id_call.is_none()
    }

    /// The node died: the fate of what was under way is unknown.
    pub fn on_crash(&mut self) {
        self.id_call = None;
        if self.idempotent {
            for outgoing in &mut self.outgoing {
                outgoing.call = None;
            }
        } else {
            // Sent again as new batches, because nothing tells the copies apart.
            self.outgoing.clear();
        }
    }

    /// What it does next, if anything. `fresh` allows new batches.
    pub fn wish(
        &mut self,
        random: &mut Random,
        ledger: &mut Ledger,
        found: Option<TopicPartition>,
        wall: i64,
        fresh: bool,
    ) -> Option<Wish> {
        // A topic that is not there may only not be known yet.
        let found = found?;
        if self.target != Some(found) {
            if self.outgoing.iter().any(|outgoing| outgoing.call.is_some()) {
                return None;
            }
            self.outgoing.clear();
            self.target = Some(found);
            self.sequence = Sequence::FIRST;
        }
        let target = found;
        if self.idempotent && self.id.is_none() {
            let ask = self.id_call.is_none() && fresh;
            return ask.then_some(Wish::Id(Command::AllocateProducerIds { count: 1 }));
        }
        let again = self
            .outgoing
            .iter()
            .position(|outgoing| outgoing.call.is_none());
        if let Some(place) = again {
            let outgoing = &self.outgoing[place];
            return Some(append(random, target, outgoing.number, &outgoing.bytes));
        }
        if !fresh || self.outgoing.len() >= IN_FLIGHT_MAX {
            return None;
        }
        let number = ledger.sent.len() as u64 + 1;
        let (bytes, timestamps) = self.build(random, number, wall);
        ledger.sent.insert(
            number,
            Sent {
                partition: target,
                bytes: bytes.clone(),
                timestamps,
            },
        );
        let wish = append(random, target, number, &bytes);
        self.outgoing.push_back(Outgoing {
            number,
            bytes,
            call: None,
        });
        Some(wish)
    }

    fn build(&mut self, random: &mut Random, number: u64, wall: i64) -> (Bytes, Vec<i64>) {
        let producer = self.id.map(|id| ProducerStamp {
            id: ProducerId(id),
            epoch: ProducerEpoch(0),
            base_sequence: self.sequence,
        });
        let mut builder = BatchBuilder::new(BatchOptions {
            producer,
            ..BatchOptions::default()
        });
        let records = random.between(1, 4);
        let mut timestamps = Vec::new();
        for index in 0..records {
            // Mostly rising, now and then far back or ahead.
            let time =
                wall + random.below(2_000) as i64 - if random.chance(10) { 9_000 } else { 0 };
            let mut value = vec![number as u8; random.between(0, 600)];
            value.extend_from_slice(&number.to_be_bytes());
            if self.keyed {
                append_keyed(&mut builder, random, time, &value, (number, index as u8));
            } else {
                builder.append(Timestamp(time), None, Some(&value), &[]);
            }
            timestamps.push(time);
        }
        if self.id.is_some() {
            self.sequence = self.sequence.plus(OffsetDelta(records as i32));
        }
        let bytes = builder.build().expect("small batches are legal");
        (bytes.into(), timestamps)
    }

    /// The batch travels in this call now.
    pub fn sent(&mut self, number: u64, call: u64) {
        for outgoing in &mut self.outgoing {
            if outgoing.number == number {
                outgoing.call = Some(call);
            }
        }
    }

    /// The question for an id travels in this call now.
    pub const fn asked_for_id(&mut self, call: u64) {
        self.id_call = Some(call);
    }

    /// The controller answered.
    pub const fn on_id(&mut self, id: Option<i64>) {
        self.id_call = None;
        if id.is_some() {
            self.id = id;
            self.sequence = Sequence::FIRST;
        }
    }

    /// The answer to one batch.
    ///
    /// # Errors
    /// An answer that no client can explain.
    pub fn on_outcome(&mut self, number: u64, outcome: &AppendOutcome) -> Result<(), String> {
        let place = self
            .outgoing
            .iter()
            .position(|outgoing| outgoing.number == number);
        let Some(place) = place else { return Ok(()) };
        match outcome {
            Ok(_) => {
                self.outgoing.remove(place);
            }
            Err(AppendError::UnknownPartition) => self.forget_or_retry(place),
            // Nothing of it was appended.
            Err(AppendError::OutOfSpace) => self.outgoing[place].call = None,
            Err(AppendError::Producer(ProducerRefused::OutOfOrderSequence { .. })) => {
                if place == 0 {
                    // What stood before was lost with the power: begin anew under another id. What
                    // is under way is answered to nobody.
                    self.outgoing.clear();
                    self.id = None;
                } else {
                    self.outgoing[place].call = None;
                }
            }
            Err(other) => return Err(format!("batch {number} was refused: {other:?}")),
        }
        Ok(())
    }

    fn forget_or_retry(&mut self, place: usize) {
        if self.idempotent {
            self.outgoing[place].call = None;
        } else {
            self.outgoing.remove(place);
        }
    }
}

/// A record of one of a few keys, or now and then of a rare one; one in four deletes its key.
fn append_keyed(
    builder: &mut BatchBuilder,
    random: &mut Random,
    time: i64,
    value: &[u8],
    (number, index): (u64, u8),
) {
    let key = match random.chance(20) {
        true => format!("rare {}", random.below(200)),
        false => format!("key {}", random.below(8)),
    };
    let header = RecordHeader {
        key: Bytes::from_static(HEADER),
        value: Some([&number.to_be_bytes()[..], &[index]].concat().into()),
    };
    let value = (!random.chance(25)).then_some(value);
    builder.append(Timestamp(time), Some(key.as_bytes()), value, &[header]);
}

fn append(random: &mut Random, partition: TopicPartition, number: u64, bytes: &Bytes) -> Wish {
    let acks = [Acks::All, Acks::Leader][random.below(2)];
    let part = AppendPartition {
        partition,
        records: bytes.clone(),
        zstd_known: true,
        transactions: TransactionVersion::Two,
    };
    let call = Call::Append(AppendCall::new(acks, vec![part]));
    Wish::Append(partition, number, call)
}
