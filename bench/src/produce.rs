//! The producing load: frames of the pool in turn; every answer must be free of errors and its
//! offsets must grow. Counts what is acknowledged, for the proof.

use std::time::Instant;

use klamm_wire::{ApiKey, MessageView, produce};

use crate::{
    clock::Clock,
    control::refused,
    drive::{Answer, Load},
    frame::Frame,
    pool::{BatchPlace, Mark, Pool, Producer},
    problem::Problem,
    progress::Counted,
    stamp::Stamp,
    topics::Topics,
};

/// What a connection has done to a partition.
#[derive(Clone, Copy, Debug)]
struct Stream {
    /// Batches sent.
    sent: u64,
    /// Sequence of the next record.
    sequence: i32,
    /// Last base offset acknowledged.
    last_offset: i64,
}

/// Who sends, and how batches are marked.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Names the run in stamps.
    pub run: u32,
    /// Gives stamps their time.
    pub clock: Clock,
    /// Batches carry stamps.
    pub stamped: bool,
    /// Producer id and epoch of each connection, if idempotent.
    pub producers: Option<Vec<(i64, i16)>>,
    /// Requests at most.
    pub requests_max: u64,
}

/// Producers on some connections.
#[derive(Debug)]
pub struct Producers<'t> {
    topics: &'t Topics,
    pool: Pool,
    version: i16,
    sender: Sender,
    /// Requests sent, by connection.
    turns: Vec<usize>,
    requests: u64,
    /// By connection and place.
    streams: Vec<Stream>,
    /// Records acknowledged, by place.
    acknowledged: Vec<u64>,
    /// Ends of the logs as far as answers tell, by place.
    ends: Vec<i64>,
    /// Requests acknowledged, by template.
    templates_acknowledged: Vec<u64>,
}

impl<'t> Producers<'t> {
    /// Producers on `connections` connections.
    #[must_use]
    pub fn new(
        pool: Pool,
        version: i16,
        topics: &'t Topics,
        connections: usize,
        sender: Sender,
    ) -> Self {
        let stream = Stream {
            sent: 0,
            sequence: 0,
            last_offset: -1,
        };
        Self {
            version,
            sender,
            turns: vec![0; connections],
            requests: 0,
            streams: vec![stream; connections * topics.places()],
            acknowledged: vec![0; topics.places()],
            ends: vec![0; topics.places()],
            templates_acknowledged: vec![0; pool.all().len()],
            pool,
            topics,
        }
    }

    /// Records acknowledged, by place.
    #[must_use]
    pub fn acknowledged(&self) -> &[u64] {
        &self.acknowledged
    }

    /// Batches sent, by connection and place, the place running fastest.
    pub fn sent(&self) -> impl Iterator<Item = u64> {
        self.streams.iter().map(|stream| stream.sent)
    }

    /// Records and bytes of a request, on average.
    #[must_use]
    pub fn mean_request(&self) -> (f64, f64) {
        self.pool.mean_request()
    }

    /// The frames, and how often each was acknowledged.
    pub fn templates(&self) -> impl Iterator<Item = (&[BatchPlace], u64)> {
        let templates = self.pool.all().iter().map(|template| &template.batches[..]);
        templates.zip(self.templates_acknowledged.iter().copied())
    }

    /// Who sends.
    #[must_use]
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    fn partition_answered(
        &mut self,
        link: usize,
        batch: (usize, u64),
        base_offset: i64,
    ) -> Result<(), Problem> {
        let (place, records) = batch;
        let places = self.topics.places();
        let last = &mut self.streams[link * places + place].last_offset;
        if base_offset <= *last {
            let words = self.topics.words(place);
            let text = format!("{words}: offset {base_offset} comes after {last}");
            return Err(Problem::Verification(text));
        }
        *last = base_offset;
        self.acknowledged[place] += records;
        let end = base_offset + i64::try_from(records).unwrap_or(i64::MAX);
        self.ends[place] = self.ends[place].max(end);
        Ok(())
    }
}

impl Load for Producers<'_> {
    fn api(&self) -> (ApiKey, i16) {
        (ApiKey::Produce, self.version)
    }

    fn next(&mut self, link: usize, intended: Instant) -> Option<(Frame, usize)> {
        if self.requests >= self.sender.requests_max {
            return None;
        }
        self.requests += 1;
        let index = self.pool.choose(link, self.turns[link]);
        self.turns[link] += 1;
        let template = self.pool.get(index);
        let places = self.topics.places();
        let streams = &mut self.streams[link * places..(link + 1) * places];
        let sender = &self.sender;
        let producer = sender.producers.as_ref().map(|producers| producers[link]);
        if !sender.stamped && producer.is_none() {
            for batch in &template.batches {
                streams[batch.place].sent += 1;
            }
            return Some((template.unmarked(), index));
        }
        let intended_ns = sender.clock.unix_ns(intended);
        let frame = template.marked(|batch| {
            let stream = &mut streams[batch.place];
            let mark = Mark {
                stamp: Stamp {
                    run: sender.run,
                    stream: u32::try_from(link).expect("connections fit 32 bits"),
                    number: stream.sent,
                    intended_ns,
                },
                producer: producer.map(|(id, epoch)| Producer {
                    id,
                    epoch,
                    sequence: stream.sequence,
                }),
            };
            stream.sent += 1;
            stream.sequence = sequence_after(stream.sequence, batch.records);
            mark
        });
        Some((frame, index))
    }

    fn answered(&mut self, answer: &Answer<'_>) -> Result<Counted, Problem> {
        let response = produce::ResponseView::parse_prefix(answer.body, self.version)?.0;
        let mut answered = 0;
        let mut counted = Counted::default();
        for topic in response.responses() {
            let index = self.topics.find(topic.topic_id(), topic.name());
            for partition in topic.partition_responses() {
                let number = partition.index();
                let words = || {
                    let message = partition.error_message().unwrap_or("");
                    format!("partition {number}: {message}")
                };
                refused("Produce", partition.error_code(), words)?;
                let place = index.and_then(|index| self.topics.place(index, number));
                let template = self.pool.get(answer.tag);
                let mut batches = template.batches.iter();
                let batch = batches
                    .find(|batch| Some(batch.place) == place)
                    .ok_or_else(|| Problem::Protocol(format!("partition {number} was not sent")))?;
                let batch = (batch.place, batch.records);
                self.partition_answered(answer.link, batch, partition.base_offset())?;
                answered += 1;
                counted.records += batch.1;
            }
        }
        let template = self.pool.get(answer.tag);
        if answered != template.batches.len() {
            let asked = template.batches.len();
            let text = format!("{answered} of {asked} partitions answered");
            return Err(Problem::Protocol(text));
        }
        self.templates_acknowledged[answer.tag] += 1;
        counted.batches = answered as u64;
        counted.bytes = template.bytes;
        Ok(counted)
    }

    fn ends(&self) -> Option<Vec<i64>> {
        Some(self.ends.clone())
    }
}

/// Sequences run from 0 to the largest int32 and begin again at 0.
pub(crate) fn sequence_after(sequence: i32, records: u64) -> i32 {
    let next = (i64::from(sequence) + i64::try_from(records).unwrap_or(0)) % (1 << 31);
    i32::try_from(next).expect("below 2^31")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(sequence_after(5, 3), 8);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
    }
}
