//! What a request may cost the broker in system calls, operations of its ring, wakes, allocations
//! and copied bytes, counted by itself and held against the rows of perf/budgets.toml. Counts do not
//! depend on the machine's speed; where batching by chance plays a part, the rows leave room for it.
#![forbid(unsafe_code)]

#[path = "../harness/mod.rs"]
mod harness;

use harness::{Broker, Client, Options, RawBatch, Record, Topic, fetching, production};
use klamm_wire::Request;

/// Requests before the first count, so that every pool has its size.
const WARM_UP_REQUESTS: usize = 1024;
/// Requests that are counted.
const COUNTED_REQUESTS: usize = 2048;
/// Versions that librdkafka and Java's client of the day speak.
const PRODUCE_VERSION: i16 = 12;
const FETCH_VERSION: i16 = 12;

/// What is counted: its word in the budgets, and the broker's counter.
const COUNTED: [(&str, &str); 5] = [
    ("syscalls", "klamm_shard_system_calls_total{"),
    ("ring-entries", "klamm_shard_ring_entries_total{"),
    ("wakes", "klamm_shard_wakes_total{"),
    ("allocations", "klamm_shard_allocations_total{"),
    ("copied-bytes", "klamm_shard_copied_bytes_total{"),
];

/// What the only shard of a broker has done so far, in the order of [`COUNTED`].
#[derive(Clone, Copy, Debug)]
struct Counts([f64; COUNTED.len()]);

impl Counts {
    fn read(broker: &Broker) -> Self {
        let (status, text) = broker.http("/metrics");
        assert_eq!(status, 200);
        Self(COUNTED.map(|(_, name)| {
            let line = text.lines().find(|line| line.starts_with(name));
            let shown = line.and_then(|line| line.split(' ').nth(1));
            shown
                .and_then(|shown| shown.parse().ok())
                .expect("a number of the only shard")
        }))
    }

    fn since(self, before: Self) -> Self {
        Self(std::array::from_fn(|place| self.0[place] - before.0[place]))
    }
}

/// Connections that each send the same frame again and again, `depth` of them before they wait.
struct Load {
    clients: Vec<Client>,
    frames: Vec<Vec<u8>>,
    depth: usize,
}

impl Load {
    /// `frame` makes the request of one connection, by its number.
    fn of<Q: Request>(
        broker: &Broker,
        connections: usize,
        depth: usize,
        version: i16,
        request: impl Fn(usize) -> Q,
    ) -> Self {
        let frame = |number| {
            let (request, mut body) = (request(number), bytes::BytesMut::new());
            let key = request.schema().key.number();
            request
                .encode(version, &mut body)
                .expect("the version can say it");
            let frame = harness::request_bytes(key, version, 1, &body);
            frame.repeat(depth)
        };
        Self {
            clients: (0..connections).map(|_| broker.client()).collect(),
            frames: (0..connections).map(frame).collect(),
            depth,
        }
    }

    /// Sends at least this many requests; how many it were, and the bytes of all answers.
    fn run(&mut self, requests: usize) -> (usize, usize) {
        let (mut sent, mut bytes) = (0, 0);
        while sent < requests {
            for (client, frame) in self.clients.iter_mut().zip(&self.frames) {
                client.send(frame);
            }
            for client in &mut self.clients {
                for _ in 0..self.depth {
                    let answer = client.read_frame().expect("an answer");
                    bytes += answer.expect("an open connection").len();
                }
            }
            sent += self.clients.len() * self.depth;
        }
        (sent, bytes)
    }

    /// What one request costs once everything is warm. Reading the counters is taken off.
    fn cost(&mut self, broker: &Broker, requests: usize) -> Counts {
        self.run(requests / 2);
        let idle = Counts::read(broker);
        let before = Counts::read(broker);
        let (sent, _) = self.run(requests);
        let after = Counts::read(broker);
        let (busy, reading) = (after.since(before), before.since(idle));
        let each = |busy: f64, reading: f64| ((busy - reading) / sent as f64).max(0.0);
        Counts(std::array::from_fn(|place| {
            each(busy.0[place], reading.0[place])
        }))
    }
}

/// One core whose topics are written, not flushed, so that chance has little part in the counts.
fn broker(test: &str) -> Option<Broker> {
    let options = Options::new()
        .set("klamm.shards", 1)
        .set("klamm.durability", "written")
        .set("klamm.tail.bytes", 64 << 20)
        .set("klamm.wal.bytes", 128 << 20)
        .set("klamm.wal.file.bytes", 32 << 20);
    Broker::own(test, options)
}

fn batch(records: usize, value_bytes: usize) -> Vec<u8> {
    let record = Record::new("", vec![b'v'; value_bytes]);
    RawBatch::of(&vec![record; records]).encode()
}

/// A row of perf/budgets.toml.
fn most(path: &str, counted: &str) -> f64 {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/perf/budgets.toml");
    let text = std::fs::read_to_string(file).expect("the budgets");
    let rows = text.split("[[budget]]");
    let field = |row: &str, name: &str| {
        let mut fields = row.lines().filter_map(|line| line.split_once(" = "));
        let (_, value) = fields.find(|(key, _)| *key == name)?;
        Some(value.trim_matches('"').to_owned())
    };
    let is_wanted = |row: &&str| {
        field(row, "path").as_deref() == Some(path)
            && field(row, "counts").as_deref() == Some(counted)
    };
    let row = rows.into_iter().find(is_wanted);
    let row = row.unwrap_or_else(|| panic!("no budget of {counted} for {path}"));
    let most = field(row, "most").expect("a ceiling");
    most.parse().expect("a number")
}

fn hold(path: &str, found: Counts) {
    let pairs = COUNTED.iter().zip(found.0);
    for ((counted, _), found) in pairs.clone() {
        println!("{path}: {found:.2} {counted}");
    }
    for ((counted, _), found) in pairs {
        let most = most(path, counted);
        assert!(
            found <= most,
            "{path}: {found:.2} {counted}, the budget is {most}"
        );
    }
}

fn producing(
    topic: &Topic,
    partitions: &[i32],
    batch: &[u8],
) -> klamm_wire::produce::Request<'static> {
    let batches: Vec<(i32, &[u8])> = partitions.iter().map(|&index| (index, batch)).collect();
    production(topic, -1, &batches)
}

/// Budgets of producers: path, connections, depth, batches a request, records, bytes of each.
fn hold_produce(
    path: &str,
    (connections, depth): (usize, usize),
    (batches, records, bytes): (i32, usize, usize),
    requests: usize,
) {
    let Some(broker) = broker(path) else { return };
    let partitions = batches.max(4);
    let topic = broker.client().create_topic("budget", partitions);
    let batch = batch(records, bytes);
    let indexes = |number: usize| -> Vec<i32> {
        (0..batches)
            .map(|index| (index + number as i32) % partitions)
            .collect()
    };
    let mut load = Load::of(&broker, connections, depth, PRODUCE_VERSION, |number| {
        producing(&topic, &indexes(number), &batch)
    });
    load.run(requests / 2);
    hold(path, load.cost(&broker, requests));
    let last = broker.client().produce(&topic, 0, &batch);
    assert_eq!(last.error_code, 0);
    assert!(last.base_offset > 0, "the load was appended");
}

#[test]
fn an_unbatched_produce_stays_in_its_budget() {
    let path = "broker: one record a request, one connection, one in flight";
    hold_produce(path, (1, 1), (1, 1, 100), COUNTED_REQUESTS);
}

#[test]
fn unbatched_produces_of_many_connections_stay_in_their_budget() {
    let path = "broker: one record a request, 64 connections, one in flight each";
    hold_produce(path, (64, 1), (1, 1, 100), 4 * COUNTED_REQUESTS);
}

#[test]
fn pipelined_produces_of_four_batches_stay_in_their_budget() {
    let path = "broker: four 16 KiB batches a request, pipelined";
    hold_produce(path, (4, 5), (4, 150, 100), COUNTED_REQUESTS);
}

#[test]
fn produces_of_a_mebibyte_stay_in_their_budget() {
    let path = "broker: one 1 MiB batch a request, one connection, one in flight";
    hold_produce(path, (1, 1), (1, 1, 1_000_000), COUNTED_REQUESTS / 8);
}

/// Fetches of pieces of this many bytes out of a log of batches of 16 KiB.
fn hold_fetch(path: &str, piece_bytes: i32, requests: usize) {
    let Some(broker) = broker(path) else { return };
    let mut client = broker.client();
    let topic = client.create_topic("budget", 1);
    let batch = batch(145, 100);
    for _ in 0..128 {
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    }
    let mut load = Load::of(&broker, 1, 1, FETCH_VERSION, |_| {
        let mut request = fetching(&topic, 0, 0);
        request.max_bytes = piece_bytes;
        request.topics[0].partitions[0].partition_max_bytes = piece_bytes;
        request
    });
    let (sent, bytes) = load.run(WARM_UP_REQUESTS.min(requests));
    assert!(
        bytes > sent * piece_bytes as usize * 3 / 4,
        "pieces are full"
    );
    hold(path, load.cost(&broker, requests));
}

#[test]
fn fetches_of_16_kib_stay_in_their_budget() {
    hold_fetch("broker: fetch of 16 KiB", 20_000, COUNTED_REQUESTS);
}

#[test]
fn fetches_of_a_mebibyte_stay_in_their_budget() {
    hold_fetch("broker: fetch of 1 MiB", 1 << 20, COUNTED_REQUESTS / 4);
}
