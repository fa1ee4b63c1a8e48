//! `kill -9` at random moments while five clients produce, idempotent and plain ones, pipelined,
//! in all codecs; then everything is read and compared with what was acknowledged. The same with
//! SIGTERM, which must leave nothing to replay.
//!
//! `KLAMM_CRASH_ROUNDS` sets the number of deaths (10 in each class), `KLAMM_CRASH_SEED` repeats a
//! run as far as threads and a kernel let themselves be repeated.
#![forbid(unsafe_code)]

#[path = "harness/mod.rs"]
mod harness;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::{
    Broker, Client, Codec, DEADLINE, End, Options, Random, RawBatch, Record, Topic, produced,
    production,
};
use klamm_wire::{ApiKey, produce};

const CLIENTS: u64 = 5;
/// The first of them are idempotent.
const IDEMPOTENT: u64 = 3;
/// A partition for each client, and one that all of them share.
const SHARED: i32 = CLIENTS as i32;
const IN_FLIGHT: usize = 5;
const PRODUCE: i16 = 9;

/// What the clients and the executioner know of each other.
struct Stage {
    topic: Topic,
    /// Number of the broker's life, and where it is reached in it.
    life: Mutex<(u64, SocketAddr)>,
    reborn: Condvar,
    acknowledged: AtomicU64,
    over: AtomicBool,
}

impl Stage {
    /// The address of a life after `life`, or of the same if none comes soon.
    fn address_after(&self, life: u64) -> (u64, SocketAddr) {
        let guard = self
            .life
            .lock()
            .expect("no client panics while it holds this");
        let waited = self
            .reborn
            .wait_timeout_while(guard, DEADLINE, |(now, _)| *now == life);
        *waited.expect("no client panics while it holds this").0
    }

    /// Tells everybody that the broker lives again, and where.
    fn announce(&self, broker: &Broker) {
        let mut life = self
            .life
            .lock()
            .expect("no client panics while it holds this");
        *life = (life.0 + 1, broker.address());
        self.reborn.notify_all();
    }
}

/// A batch that was sent.
#[derive(Clone, Debug)]
struct Sent {
    partition: i32,
    first: u64,
    values: Vec<Vec<u8>>,
    acks: i16,
    bytes: Vec<u8>,
}

/// A batch that was acknowledged, and where.
struct Acknowledged {
    offset: i64,
    sent: Sent,
}

struct Producer<'s> {
    stage: &'s Stage,
    number: u64,
    random: Random,
    /// Producer id and epoch of an idempotent client.
    identity: Option<(i64, i16)>,
    /// Next number of a value, for each partition; also the next sequence.
    next: BTreeMap<i32, u64>,
    pending: VecDeque<Sent>,
    acknowledged: Vec<Acknowledged>,
}

impl Producer<'_> {
    fn run(mut self) -> Vec<Acknowledged> {
        let mut life = 0;
        loop {
            let (now, address) = self.stage.address_after(life);
            life = now;
            if let Ok(mut client) = Client::try_connect(address)
                && self.produce(&mut client)
            {
                return self.acknowledged;
            }
            if self.identity.is_none() {
                // What a plain client has sent may be there or not; it does not ask twice.
                self.pending.clear();
            }
        }
    }

    /// Produces until the broker dies (false), or the play is over and all is answered (true).
    fn produce(&mut self, client: &mut Client) -> bool {
        for sent in &self.pending {
            self.send(client, sent);
        }
        loop {
            let over = self.stage.over.load(Ordering::Acquire);
            while self.pending.len() < IN_FLIGHT && !over {
                let sent = self.next_batch();
                self.send(client, &sent);
                self.pending.push_back(sent);
            }
            let Some(sent) = self.pending.front() else {
                return over;
            };
            let Ok(reply) = client.try_finish::<produce::Request<'_>>(ApiKey::Produce, PRODUCE)
            else {
                return false;
            };
            let answer = &produced(&reply.view())[0];
            match answer.error_code {
                0 => {}
                // The partition is not led yet, or this took too long: ask again.
                3 | 5 | 6 | 7 => return false,
                code => panic!(
                    "client {} is refused with {code} ({:?}) at partition {} from value {}",
                    self.number, answer.message, sent.partition, sent.first
                ),
            }
            let sent = self.pending.pop_front().expect("just seen");
            self.acknowledged.push(Acknowledged {
                offset: answer.base_offset,
                sent,
            });
            self.stage.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn send(&self, client: &mut Client, sent: &Sent) {
        let parts = [(sent.partition, sent.bytes.as_slice())];
        client.begin(&production(&self.stage.topic, sent.acks, &parts), PRODUCE);
    }

    fn next_batch(&mut self) -> Sent {
        let own = self.number as i32;
        let partition = if self.random.below(3) == 0 {
            SHARED
        } else {
            own
        };
        let count = 1 + self.random.below(6);
        let next = self.next.entry(partition).or_default();
        let first = *next;
        *next += count;
        let length = [0, 10, 300, 9000][self.random.below(4) as usize];
        let values: Vec<_> = (first..first + count)
            .map(|value| {
                let mut text = format!("{}:{partition}:{value}:", self.number).into_bytes();
                text.extend(self.random.bytes(length));
                text
            })
            .collect();
        let records: Vec<_> = values
            .iter()
            .map(|value| Record::new("key", value))
            .collect();
        let codec = Codec::ALL[self.random.below(5) as usize];
        let mut batch = RawBatch::compressed(&records, codec);
        if let Some((id, epoch)) = self.identity {
            batch = batch.of_producer(id, epoch, first as i32);
        }
        let acks = if self.random.below(2) == 0 { -1 } else { 1 };
        Sent {
            partition,
            first,
            values,
            acks,
            bytes: batch.encode(),
        }
    }
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}

fn acknowledged_survives(test: &str, end: End, options: Options) {
    let rounds = number_from("KLAMM_CRASH_ROUNDS").unwrap_or(10);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let seed = number_from("KLAMM_CRASH_SEED").unwrap_or(now.as_nanos() as u64);
    eprintln!(
        "repeat with KLAMM_CRASH_SEED={seed} KLAMM_CRASH_ROUNDS={rounds} cargo test --test crash {test}"
    );
    let Some(mut broker) = Broker::own(test, options) else {
        return;
    };
    let mut client = broker.client();
    let stage = Stage {
        topic: client.create_topic("crash", SHARED + 1),
        life: Mutex::new((1, broker.address())),
        reborn: Condvar::new(),
        acknowledged: AtomicU64::new(0),
        over: AtomicBool::new(false),
    };
    let producers: Vec<_> = (0..CLIENTS)
        .map(|number| Producer {
            stage: &stage,
            number,
            random: Random::new(seed ^ number),
            identity: (number < IDEMPOTENT).then(|| client.init_producer_id()),
            next: BTreeMap::new(),
            pending: VecDeque::new(),
            acknowledged: Vec::new(),
        })
        .collect();
    let acknowledged: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = producers
            .into_iter()
            .map(|producer| scope.spawn(|| producer.run()))
            .collect();
        let mut random = Random::new(seed);
        for _ in 0..rounds {
            let alive = || running.iter().all(|thread| !thread.is_finished());
            wait_for_acknowledgements(&stage, random.below(400), alive);
            match end {
                End::Kill => die_and_rise(&mut broker, &stage, &mut random),
                End::Stop => stop_and_rise(&mut broker, &stage),
            }
        }
        wait_for_acknowledgements(&stage, 100, || true);
        stage.over.store(true, Ordering::Release);
        running
            .into_iter()
            .map(|thread| thread.join().expect("a client saw a fault"))
            .collect()
    });
    check(&mut broker.client(), &stage.topic, &acknowledged);
    broker.kill();
    broker.start_again();
    check(&mut broker.client(), &stage.topic, &acknowledged);
}

/// Waits until `count` more batches are acknowledged.
fn wait_for_acknowledgements(stage: &Stage, count: u64, alive: impl Fn() -> bool) {
    let goal = stage.acknowledged.load(Ordering::Relaxed) + count;
    let deadline = Instant::now() + DEADLINE;
    while stage.acknowledged.load(Ordering::Relaxed) < goal && alive() {
        assert!(Instant::now() < deadline, "the clients get on no more");
        std::thread::park_timeout(Duration::from_micros(200));
    }
}

fn die_and_rise(broker: &mut Broker, stage: &Stage, random: &mut Random) {
    broker.kill();
    while random.below(4) == 0 {
        // Death in the middle of a recovery.
        broker.start_again_and_kill(Duration::from_micros(random.below(30_000)));
    }
    broker.start_again();
    stage.announce(broker);
}

fn stop_and_rise(broker: &mut Broker, stage: &Stage) {
    let took = broker.stop();
    assert!(took < Duration::from_secs(10), "{took:?} to end");
    broker.start_again();
    let said = broker.process().expect("our own").log.text();
    assert!(!said.contains("brought the write-ahead log"), "{said}");
    stage.announce(broker);
}

/// No acknowledged record is missing, changed or moved; each client's order is kept; idempotent
/// clients have each value once and all of them.
fn check(client: &mut Client, topic: &Topic, acknowledged: &[Vec<Acknowledged>]) {
    let read: Vec<_> = (0..=SHARED)
        .map(|part| client.read_all(topic, part))
        .collect();
    for (part, records) in read.iter().enumerate() {
        for (position, record) in records.iter().enumerate() {
            assert_eq!(
                record.offset, position as i64,
                "offsets of partition {part} have a hole"
            );
        }
    }
    for (number, batches) in acknowledged.iter().enumerate() {
        for batch in batches {
            let part = batch.sent.partition;
            for (offset, value) in (batch.offset..).zip(&batch.sent.values) {
                let place = format!("client {number}, partition {part}, offset {offset}");
                let found = read[part as usize].get(offset as usize);
                let found = found.unwrap_or_else(|| panic!("acknowledged is missing: {place}"));
                let same = found.record.value.as_deref() == Some(value);
                assert!(same, "acknowledged has changed: {place}");
            }
        }
    }
    for part in 0..=SHARED {
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for record in &read[part as usize] {
            let (number, value) = origin(record.record.value.as_deref().unwrap_or(&[]), part);
            let expected = last.get(&number).map_or(0, |last| last + 1);
            if number < IDEMPOTENT {
                assert_eq!(value, expected, "client {number} in partition {part}");
            } else {
                assert!(
                    value >= expected,
                    "client {number} in partition {part}: {value} again"
                );
            }
            last.insert(number, value);
        }
    }
}

/// Who wrote a value, and which of his it is.
fn origin(value: &[u8], part: i32) -> (u64, u64) {
    let mut fields = value.splitn(4, |&byte| byte == b':').map(|field| {
        let text = std::str::from_utf8(field).expect("a number");
        text.parse::<u64>().expect("a number")
    });
    let mut next = || fields.next().expect("three numbers");
    let (number, partition, value) = (next(), next(), next());
    assert_eq!(partition, part as u64, "a value of another partition");
    (number, value)
}

#[test]
fn what_is_acknowledged_as_flushed_survives_kill_9() {
    let options = Options::new().set("klamm.durability", "flushed");
    acknowledged_survives(
        "what_is_acknowledged_as_flushed_survives_kill_9",
        End::Kill,
        options,
    );
}

#[test]
fn what_is_acknowledged_as_written_survives_kill_9() {
    let options = Options::new().set("klamm.durability", "written");
    acknowledged_survives(
        "what_is_acknowledged_as_written_survives_kill_9",
        End::Kill,
        options,
    );
}

/// The log turns around many times, and partitions spill while the process dies.
#[test]
fn what_is_acknowledged_survives_kill_9_with_a_small_log() {
    let options = Options::new()
        .set("klamm.wal.bytes", 2 << 20)
        .set("klamm.wal.file.bytes", 1 << 20)
        .set("klamm.tail.bytes", 1 << 20)
        .set("log.segment.bytes", 1 << 20);
    acknowledged_survives(
        "what_is_acknowledged_survives_kill_9_with_a_small_log",
        End::Kill,
        options,
    );
}

/// Partitions lie on two disks, their log on the first.
#[test]
fn what_is_acknowledged_survives_kill_9_in_two_data_folders() {
    let options = Options::new()
        .set("log.dirs", "{folder}/a,{folder}/b")
        .set("klamm.wal.bytes", 4 << 20)
        .set("klamm.wal.file.bytes", 1 << 20)
        .set("log.segment.bytes", 1 << 20);
    acknowledged_survives(
        "what_is_acknowledged_survives_kill_9_in_two_data_folders",
        End::Kill,
        options,
    );
}

#[test]
fn sigterm_under_load_loses_nothing_and_leaves_nothing_to_replay() {
    for durability in ["flushed", "written"] {
        let options = Options::new().set("klamm.durability", durability);
        acknowledged_survives(
            "sigterm_under_load_loses_nothing_and_leaves_nothing_to_replay",
            End::Stop,
            options,
        );
    }
}
