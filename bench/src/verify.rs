//! After producing: what the broker acknowledged must be there, once, in order, undamaged. A
//! benchmark without this is void.

use std::collections::HashMap;

use bytes::BytesMut;
use klamm_model::{BatchHeader, ProducerStamp};
use klamm_wire::{ApiKey, encode_request};
use serde::Serialize;

use crate::{
    batches::step,
    control::{CLIENT_ID, Control, LogEnd, refused},
    fetch::{each_partition, request},
    order::{Begins, Order},
    problem::Problem,
    produce::{Producers, sequence_after},
    progress::Counted,
    stamp::Stamp,
    topics::Topics,
    workload::{Mode, Proof, Workload},
    written::WrittenWorkload,
};

/// What was proved.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Verified {
    /// Records that were acknowledged, and by which the logs have grown.
    pub records: u64,
    /// Records read back with good checksums.
    pub read_back: u64,
    /// Batches read back whose stamps or sequences show that each is there once and in its order.
    pub in_order: u64,
    /// Batches read back unstamped, whose bytes are those that were sent, as often as they were.
    pub counted: u64,
    /// Records that retention had deleted, or that the limit on reading back left out.
    pub not_read: u64,
}

/// Proves what `producers` were told, over logs that ended at `before`.
///
/// # Errors
/// [`Problem::Verification`] where it is not true.
pub fn prove(
    control: &mut Control,
    topics: &Topics,
    workload: &Workload,
    before: &[i64],
    producers: &Producers<'_>,
) -> Result<Verified, Problem> {
    let after = control.offsets(topics, LogEnd::HighWatermark)?;
    for (place, acknowledged) in producers.acknowledged().iter().enumerate() {
        let grown = u64::try_from(after[place] - before[place]).unwrap_or(0);
        if grown != *acknowledged {
            let words = topics.words(place);
            let text = format!("{words} grew by {grown}, acknowledged: {acknowledged}");
            return Err(Problem::Verification(text));
        }
    }
    let mut verified = Verified {
        records: producers.acknowledged().iter().sum(),
        ..Verified::default()
    };
    if workload.proof == Proof::Full {
        let start = control.offsets(topics, LogEnd::Start)?;
        let share = limited(workload.proof_bytes, producers, before, &after);
        let from: Vec<i64> = (0..topics.places())
            .map(|place| before[place].max(start[place]).max(share[place]))
            .collect();
        let reader = ReadBack::new(producers, before, from);
        verified = reader.run(control, topics, &after, producers, verified)?;
    }
    Ok(verified)
}

/// First offsets whose records together are about `bytes_max` bytes.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a share of a log need not be exact"
)]
fn limited(bytes_max: u64, producers: &Producers<'_>, before: &[i64], after: &[i64]) -> Vec<i64> {
    let (records, bytes) = producers.mean_request();
    let all = producers.acknowledged().iter().sum::<u64>() as f64 * bytes / records.max(1.0);
    let share = (bytes_max as f64 / all.max(1.0)).min(1.0);
    let pairs = before.iter().zip(after);
    pairs
        .map(|(&before, &after)| after - ((after - before) as f64 * share).ceil() as i64)
        .collect()
}

struct ReadBack {
    offsets: Vec<i64>,
    /// True where all of the run's records are read.
    whole: bool,
    order: Order,
    /// The next sequence, by producer id and place: tells the order of batches without stamps.
    sequences: HashMap<(i64, usize), i32>,
    /// How often each unstamped batch was sent, less how often it was found.
    unstamped: HashMap<u32, i64>,
    verified: Verified,
}

impl ReadBack {
    fn new(producers: &Producers<'_>, before: &[i64], from: Vec<i64>) -> Self {
        let whole = from == before;
        let begins = if whole {
            Begins::AtFirst
        } else {
            Begins::Anywhere
        };
        let mut unstamped = HashMap::new();
        // With a producer id the bytes of a batch differ from send to send.
        if !producers.sender().stamped && producers.sender().producers.is_none() {
            for (batches, acknowledged) in producers.templates() {
                for batch in batches {
                    *unstamped.entry(batch.checksum).or_insert(0) +=
                        i64::try_from(acknowledged).unwrap_or(i64::MAX);
                }
            }
        }
        Self {
            offsets: from,
            whole,
            order: Order::new(producers.sender().run, begins),
            sequences: HashMap::new(),
            unstamped,
            verified: Verified::default(),
        }
    }

    fn see(&mut self, place: usize, header: &BatchHeader, batch: &[u8]) -> Result<(), String> {
        if let Some(stamp) = Stamp::of(header, batch) {
            self.verified.in_order += 1;
            return self.order.see(place, &stamp);
        }
        if let Some(producer) = header.producer {
            self.verified.in_order += 1;
            return self.see_sequence(place, producer, header);
        }
        if let Some(left) = self.unstamped.get_mut(&header.checksum) {
            *left -= 1;
            self.verified.counted += 1;
            if *left < 0 {
                let at = header.base_offset.0;
                return Err(format!(
                    "batch at {at} is there more often than it was sent"
                ));
            }
        } else if !self.unstamped.is_empty() {
            let at = header.base_offset.0;
            return Err(format!("batch at {at} was never sent"));
        }
        Ok(())
    }

    fn see_sequence(
        &mut self,
        place: usize,
        producer: ProducerStamp,
        header: &BatchHeader,
    ) -> Result<(), String> {
        let found = producer.base_sequence.0;
        let records = u64::try_from(header.record_count).unwrap_or(0);
        let key = (producer.id.0, place);
        let next = self.sequences.insert(key, sequence_after(found, records));
        // Where reading begins later, the first sequence of a producer is taken as it is.
        let expected = next.unwrap_or(if self.whole { 0 } else { found });
        if found == expected {
            return Ok(());
        }
        let id = producer.id.0;
        Err(format!(
            "producer {id}: sequence {found} comes where {expected} is"
        ))
    }

    fn run(
        mut self,
        control: &mut Control,
        topics: &Topics,
        ends: &[i64],
        producers: &Producers<'_>,
        known: Verified,
    ) -> Result<Verified, Problem> {
        let version = control.version(ApiKey::Fetch)?;
        let workload = WrittenWorkload::default().check(Mode::Fetch)?;
        loop {
            let left: Vec<usize> = (0..topics.places())
                .filter(|&place| self.offsets[place] < ends[place])
                .take(PLACES_PER_FETCH)
                .collect();
            if left.is_empty() {
                break;
            }
            let offsets = self.offsets.clone();
            let request = request(&workload, topics, &left, &|place| offsets[place]);
            let mut frame = BytesMut::new();
            encode_request(&request, version, 0, Some(CLIENT_ID), &mut frame)?;
            let body = control.exchange_frame(&frame, ApiKey::Fetch, version)?;
            let mut counted = Counted::default();
            let (_, error) = each_partition(&body, version, topics, &mut |place, partition| {
                let run = partition.records().unwrap_or(&[]);
                let mut offset = self.offsets[place];
                let see =
                    &mut |header: &BatchHeader, batch: &[u8], _| self.see(place, header, batch);
                step(run, &mut offset, true, &mut counted, see)?;
                self.offsets[place] = offset;
                Ok(())
            })?;
            refused("Fetch", error, || "reading back".to_owned())?;
            if counted.batches == 0 {
                let words = topics.words(left[0]);
                let text = format!("{words}: nothing is read at {}", offsets[left[0]]);
                return Err(Problem::Verification(text));
            }
            self.verified.read_back += counted.records;
        }
        self.ends(topics, producers)?;
        let records = known.records;
        Ok(Verified {
            records,
            not_read: records.saturating_sub(self.verified.read_back),
            ..self.verified
        })
    }

    fn ends(&self, topics: &Topics, producers: &Producers<'_>) -> Result<(), Problem> {
        if producers.sender().stamped {
            for (index, sent) in producers.sent().enumerate() {
                let (link, place) = (index / topics.places(), index % topics.places());
                let stream = u32::try_from(link).expect("connections fit 32 bits");
                let checked = self.order.ends(stream, place, sent);
                checked.map_err(|text| {
                    Problem::Verification(format!("{}: {text}", topics.words(place)))
                })?;
            }
        }
        let missing: i64 = self.unstamped.values().sum();
        if self.whole && missing > 0 {
            let text = format!("{missing} batches were acknowledged and are not there");
            return Err(Problem::Verification(text));
        }
        Ok(())
    }
}

/// Partitions of one request when reading back.
const PLACES_PER_FETCH: usize = 1000;
