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

/// The paths. Each has a row of what is counted of it, and no other row begins with `broker: `.
const UNBATCHED: &str = "broker: one record a request, one connection, one in flight";
const UNBATCHED_64: &str = "broker: one record a request, 64 connections, one in flight each";
const PIPELINED: &str = "broker: four 16 KiB batches a request, pipelined";
const MEBIBYTES: &str = "broker: one 1 MiB batch a request, one connection, one in flight";
const FETCH_16_KIB: &str = "broker: fetch of 16 KiB";
const FETCH_MEBIBYTE: &str = "broker: fetch of 1 MiB";
const PRODUCES: [&str; 4] = [UNBATCHED, UNBATCHED_64, PIPELINED, MEBIBYTES];
const FETCHES: [&str; 2] = [FETCH_16_KIB, FETCH_MEBIBYTE];

/// What is counted: its word in the budgets, and the broker's counter.
const COUNTED: [(&str, &str); 5] = [
    ("syscalls", "klamm_shard_system_calls_total{"),
    ("ring-entries", "klamm_shard_ring_entries_total{"),
    ("wakes", "klamm_shard_wakes_total{"),
    ("allocations", "klamm_shard_allocations_total{"),
    ("copied-bytes", "klamm_shard_copied_bytes_total{"),
];

/// How many of them, from the first, are held of a fetch: copies are counted where records come in
/// and go to disk, so a budget for those that go out could not fail. The instructions of a fetch
/// have one, in perf/counted.
const COUNTED_OF_FETCHES: usize = 4;

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

/// The rows of perf/budgets.toml: path, what is counted, ceiling.
fn rows() -> Vec<(String, String, f64)> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/perf/budgets.toml");
    let text = std::fs::read_to_string(file).expect("the budgets");
    let field = |row: &str, name: &str| {
        let mut fields = row.lines().filter_map(|line| line.split_once(" = "));
        let found = fields.find(|(key, _)| *key == name);
        found
            .map(|(_, value)| value.trim_matches('"').to_owned())
            .expect("every row has it")
    };
    let row = |row: &str| {
        let most = field(row, "most").parse().expect("a number");
        (field(row, "path"), field(row, "counts"), most)
    };
    text.split("[[budget]]").skip(1).map(row).collect()
}

/// What is held of a path.
fn counted_of(path: &str) -> &'static [(&'static str, &'static str)] {
    match FETCHES.contains(&path) {
        true => &COUNTED[..COUNTED_OF_FETCHES],
        false => &COUNTED,
    }
}

fn hold(path: &str, found: Counts) {
    let rows = rows();
    let pairs = counted_of(path).iter().zip(found.0);
    for ((counted, _), found) in pairs.clone() {
        println!("{path}: {found:.2} {counted}");
    }
    for ((counted, _), found) in pairs {
        let is_wanted = |row: &&(String, String, f64)| row.0 == path && row.1 == *counted;
        let row = rows.iter().find(is_wanted);
        let (_, _, most) = row.unwrap_or_else(|| panic!("no budget of {counted} for {path}"));
        assert!(
            found <= *most,
            "{path}: {found:.2} {counted}, the budget is {most}"
        );
    }
}

#[test]
fn every_row_of_the_broker_is_held() {
    let is_held = |path: &str, counted: &str| {
        let is_known = PRODUCES.contains(&path) || FETCHES.contains(&path);
        is_known && counted_of(path).iter().any(|(word, _)| *word == counted)
    };
    let rows = rows().into_iter();
    let rows: Vec<_> = rows.filter(|row| row.0.starts_with("broker: ")).collect();
    assert!(rows.len() > PRODUCES.len() + FETCHES.len());
    for (path, counted, _) in rows {
        assert!(
            is_held(&path, &counted),
            "nothing holds {counted} of {path}"
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
    hold_produce(UNBATCHED, (1, 1), (1, 1, 100), COUNTED_REQUESTS);
}

#[test]
fn unbatched_produces_of_many_connections_stay_in_their_budget() {
    hold_produce(UNBATCHED_64, (64, 1), (1, 1, 100), 4 * COUNTED_REQUESTS);
}

#[test]
fn pipelined_produces_of_four_batches_stay_in_their_budget() {
    hold_produce(PIPELINED, (4, 5), (4, 150, 100), COUNTED_REQUESTS);
}

#[test]
fn produces_of_a_mebibyte_stay_in_their_budget() {
    hold_produce(MEBIBYTES, (1, 1), (1, 1, 1_000_000), COUNTED_REQUESTS / 8);
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
    hold_fetch(FETCH_16_KIB, 20_000, COUNTED_REQUESTS);
}

#[test]
fn fetches_of_a_mebibyte_stay_in_their_budget() {
    hold_fetch(FETCH_MEBIBYTE, 1 << 20, COUNTED_REQUESTS / 4);
}
