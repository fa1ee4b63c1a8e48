//! What survives the end of the process, kind or not, and a change of the number of shards.

use std::collections::BTreeMap;

use crate::harness::{
    Broker, Client, Codec, End, Options, Random, RawBatch, ReadRecord, Record, Topic, production,
};

/// Topics with records in all codecs and sizes, and what was written to each partition.
struct Written {
    topics: Vec<Topic>,
    records: BTreeMap<(usize, i32), Vec<Record>>,
    random: Random,
}

const PARTITIONS: i32 = 5;

impl Written {
    fn new(client: &mut Client, topics: usize) -> Self {
        let topics = (0..topics)
            .map(|_| client.create_topic("written", PARTITIONS))
            .collect();
        Self {
            topics,
            records: BTreeMap::new(),
            random: Random::new(11),
        }
    }

    fn write(&mut self, client: &mut Client, batches: usize) {
        for _ in 0..batches {
            let topic = self.random.below(self.topics.len() as u64) as usize;
            let part = self.random.below(PARTITIONS as u64) as i32;
            let codec = Codec::ALL[self.random.below(5) as usize];
            let count = 1 + self.random.below(20);
            let records: Vec<_> = (0..count)
                .map(|_| {
                    let length = self.random.below(3000) as usize;
                    Record::new(self.random.next().to_string(), self.random.bytes(length))
                })
                .collect();
            let batch = RawBatch::compressed(&records, codec).encode();
            let acks = if self.random.below(2) == 0 { 1 } else { -1 };
            let request = production(&self.topics[topic], acks, &[(part, &batch)]);
            let reply = client.call(&request, 9);
            let produced = &crate::harness::produced(&reply.view())[0];
            let written = self.records.entry((topic, part)).or_default();
            assert_eq!(
                (produced.error_code, produced.base_offset),
                (0, written.len() as i64)
            );
            written.extend(records);
        }
    }

    fn check(&self, client: &mut Client) {
        for (number, topic) in self.topics.iter().enumerate() {
            for part in 0..PARTITIONS {
                let expected = self
                    .records
                    .get(&(number, part))
                    .map_or(&[][..], Vec::as_slice);
                let found = client.read_all(topic, part);
                check_same(&found, expected, &format!("{}-{part}", topic.name));
            }
        }
    }
}

fn check_same(found: &[ReadRecord], expected: &[Record], place: &str) {
    assert_eq!(found.len(), expected.len(), "records of {place}");
    for (position, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.offset, position as i64, "{place}");
        assert_eq!(&found.record, expected, "{place} at {position}");
    }
}

fn durabilities() -> [Options; 2] {
    ["flushed", "written"].map(|class| Options::new().set("klamm.durability", class))
}

/// Writes, ends the process, starts it again and looks, three times in each class.
fn check_lives(test: &str, end: End) {
    for options in durabilities() {
        let Some(mut broker) = Broker::own(test, options) else {
            return;
        };
        let mut written = Written::new(&mut broker.client(), 3);
        for _ in 0..3 {
            written.write(&mut broker.client(), 150);
            broker.end(end);
            broker.start_again();
            written.check(&mut broker.client());
        }
    }
}

#[test]
fn everything_acknowledged_survives_a_stop_and_a_start() {
    let test = "everything_acknowledged_survives_a_stop_and_a_start";
    check_lives(test, End::Stop);
}

#[test]
fn everything_acknowledged_survives_the_death_of_the_process() {
    let test = "everything_acknowledged_survives_the_death_of_the_process";
    check_lives(test, End::Kill);
}

#[test]
fn other_number_of_shards_moves_partitions_and_loses_nothing() {
    let test = "other_number_of_shards_moves_partitions_and_loses_nothing";
    let shards = |count: usize| Options::new().set("klamm.shards", count);
    let Some(mut broker) = Broker::own(test, shards(1)) else {
        return;
    };
    let mut written = Written::new(&mut broker.client(), 4);
    for (count, end) in [2, 4, 1, 3, 2]
        .into_iter()
        .zip(End::BOTH.into_iter().cycle())
    {
        written.write(&mut broker.client(), 80);
        // The write-ahead logs of shards that will not be there any more are full in one case.
        broker.end(end);
        broker.start_again_with(shards(count));
        written.check(&mut broker.client());
    }
    written.write(&mut broker.client(), 80);
    written.check(&mut broker.client());
}

#[test]
fn write_ahead_log_turns_around_without_loss() {
    let test = "write_ahead_log_turns_around_without_loss";
    let options = Options::new()
        .set("klamm.wal.bytes", 2 << 20)
        .set("klamm.wal.file.bytes", 1 << 20)
        .set("klamm.tail.bytes", 1 << 20);
    let Some(mut broker) = Broker::own(test, options) else {
        return;
    };
    let mut written = Written::new(&mut broker.client(), 2);
    // Some 20 MB through a log of 2.
    written.write(&mut broker.client(), 1300);
    written.check(&mut broker.client());
    broker.kill();
    broker.start_again();
    written.check(&mut broker.client());
}

#[test]
fn deleted_topic_stays_deleted() {
    let test = "deleted_topic_stays_deleted";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("deleted", 3);
    client.produce(&topic, 0, &RawBatch::one("x").encode());
    assert_eq!(client.delete_topic(&topic), 0);
    broker.kill();
    broker.start_again();
    let produced = broker
        .client()
        .produce(&topic, 0, &RawBatch::one("x").encode());
    assert_eq!(produced.error_code, 3);
}
