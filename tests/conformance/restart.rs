//! How soon a broker is there again with much in its log, however it ended: recovery is bounded by
//! the write-ahead log, not by the data.
//!
//! `KLAMM_RESTART_BYTES` is how much lies in the log (256 MiB).

use std::time::Duration;

use crate::harness::{
    Broker, Client, End, Options, Random, RawBatch, Record, Topic, produced, production, records_of,
};
use klamm_wire::{ApiKey, produce};

const PARTITIONS: i32 = 8;
const BATCH_BYTES: usize = 1_000_000;
const IN_FLIGHT: usize = 8;
const PRODUCE: i16 = 9;

/// What is appended between two starts: more than a write-ahead log holds, so that it turns around
/// and a death finds as much in it as there may be.
const BETWEEN_BYTES: u64 = 160 << 20;

/// A topic that is filled with one batch, over and over, in turns.
struct Filled {
    topic: Topic,
    value: Vec<u8>,
    batch: Vec<u8>,
    ends: Vec<i64>,
}

impl Filled {
    fn new(client: &mut Client) -> Self {
        let value = Random::new(5).bytes(BATCH_BYTES);
        let batch = RawBatch::of(&[Record::new("key", &value)]).encode();
        Self {
            topic: client.create_topic("filled", PARTITIONS),
            value,
            batch,
            ends: vec![0; PARTITIONS as usize],
        }
    }

    /// Appends this many bytes; the last of them are acknowledged at the very end.
    fn append(&mut self, client: &mut Client, bytes: u64) {
        let batches = bytes.div_ceil(self.batch.len() as u64) as usize;
        let mut answered = 0;
        for number in 0..batches + IN_FLIGHT {
            if number < batches {
                let part = number as i32 % PARTITIONS;
                let parts = [(part, self.batch.as_slice())];
                client.begin(&production(&self.topic, -1, &parts), PRODUCE);
            }
            if number >= IN_FLIGHT && answered < batches {
                let reply = client.finish::<produce::Request<'_>>(ApiKey::Produce, PRODUCE);
                self.take(answered % PARTITIONS as usize, &produced(&reply.view())[0]);
                answered += 1;
            }
        }
        assert_eq!(answered, batches, "every batch is answered");
    }

    fn take(&mut self, part: usize, answer: &crate::harness::Produced) {
        assert_eq!(
            (answer.error_code, answer.base_offset),
            (0, self.ends[part])
        );
        self.ends[part] += 1;
    }

    /// Appends one batch, and gives the time since the process began until it was acknowledged.
    fn first_acknowledgement(&mut self, broker: &Broker) -> Duration {
        let answer = broker.client().produce(&self.topic, 0, &self.batch);
        let took = broker.process().expect("our own").age();
        self.take(0, &answer);
        took
    }

    /// Every partition ends where it was acknowledged to end, and begins and ends with what was sent.
    fn check(&self, client: &mut Client) {
        for (part, &end) in (0..).zip(&self.ends) {
            let found = client.list_offset(&self.topic, part, -1);
            assert_eq!((found.error_code, found.offset), (0, end), "end of {part}");
            for offset in [0, end - 1] {
                let read = client.fetch(&self.topic, part, offset);
                let records = records_of(&read.records);
                assert_eq!(read.error_code, 0, "{part} at {offset}");
                assert_eq!(records[0].offset, offset, "{part}");
                let same = records[0].record.value.as_ref() == Some(&self.value);
                assert!(same, "{part} at {offset} has changed");
            }
        }
    }
}

fn options(durability: &str, shards: usize) -> Options {
    Options::new()
        .set("klamm.durability", durability)
        .set("klamm.shards", shards)
        .set("klamm.wal.bytes", 128 << 20)
        .set("klamm.wal.file.bytes", 32 << 20)
}

fn bytes_to_fill() -> u64 {
    let given = std::env::var("KLAMM_RESTART_BYTES");
    given.map_or(256 << 20, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("KLAMM_RESTART_BYTES={text} is no number"))
    })
}

/// Five times: more is appended, the broker ends, and starts again with this many shards.
fn check_starts(test: &str, durability: &str, end: End, shards: [usize; 5]) {
    let Some(mut broker) = Broker::own(test, options(durability, 2)) else {
        return;
    };
    let mut filled = Filled::new(&mut broker.client());
    filled.append(&mut broker.client(), bytes_to_fill());
    let mut times = Vec::new();
    for shards in shards {
        filled.append(&mut broker.client(), BETWEEN_BYTES);
        let ended = broker.end(end);
        broker.start_again_with(options(durability, shards));
        let serving = broker.started_in;
        let acknowledged = filled.first_acknowledgement(&broker);
        eprintln!(
            "{test}: ended in {ended:?}, serves after {serving:?}, acknowledges after {acknowledged:?}"
        );
        let replayed = broker.process().expect("our own").log.text();
        let replayed = replayed.contains("brought the write-ahead log");
        assert!(end == End::Kill || !replayed, "nothing is left to replay");
        times.push(acknowledged);
    }
    filled.check(&mut broker.client());
    times.sort_unstable();
    // Whatever else the machine does only adds to a time: the one in the middle is what may be
    // expected.
    let limit = if crate::harness::is_release() { 1 } else { 10 };
    assert!(times[2] <= Duration::from_secs(limit), "{times:?}");
}

#[test]
fn killed_broker_acknowledges_within_a_second_however_long_its_log_is() {
    let test = "killed_broker_acknowledges_within_a_second_however_long_its_log_is";
    for durability in ["flushed", "written"] {
        check_starts(test, durability, End::Kill, [2; 5]);
    }
}

#[test]
fn stopped_broker_acknowledges_within_a_second_and_replays_nothing() {
    let test = "stopped_broker_acknowledges_within_a_second_and_replays_nothing";
    check_starts(test, "flushed", End::Stop, [2; 5]);
}

#[test]
fn killed_broker_acknowledges_within_a_second_with_fewer_or_more_shards() {
    let test = "killed_broker_acknowledges_within_a_second_with_fewer_or_more_shards";
    check_starts(test, "flushed", End::Kill, [1, 2, 1, 2, 1]);
}
