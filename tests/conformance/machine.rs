//! What the machine may do to a broker: a wall clock that jumps by years.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::{
    Broker, Client, DEADLINE, End, Options, Random, RawBatch, Record, Topic, fetching, now_ms,
    skipped,
};
use klamm_wire::ApiKey;

const YEAR_S: i64 = 365 * 86_400;

/// Kafka's code for a record whose time is too far from the broker's.
const INVALID_TIMESTAMP: i16 = 32;

/// Values that were acknowledged in a partition, in order.
pub(crate) struct Kept {
    pub(crate) topic: Topic,
    pub(crate) values: Vec<Vec<u8>>,
}

impl Kept {
    pub(crate) fn new(topic: Topic) -> Self {
        Self {
            topic,
            values: Vec::new(),
        }
    }

    /// Appends a value; gives the code and the time that the broker gave it.
    pub(crate) fn append(&mut self, client: &mut Client, value: Vec<u8>) -> (i16, i64) {
        let batch = RawBatch::of(&[Record::new("key", &value)]).encode();
        let answer = client.produce(&self.topic, 0, &batch);
        if answer.error_code == 0 {
            assert_eq!(answer.base_offset, self.values.len() as i64);
            self.values.push(value);
        }
        (answer.error_code, answer.log_append_time)
    }

    /// All of them are there, where they were acknowledged; behind them may be more.
    pub(crate) fn check(&self, client: &mut Client) {
        let read = client.read_all(&self.topic, 0);
        assert!(read.len() >= self.values.len(), "acknowledged is missing");
        for (offset, (read, value)) in (0..).zip(read.iter().zip(&self.values)) {
            assert_eq!(read.offset, offset);
            assert!(read.record.value.as_ref() == Some(value), "{offset}");
        }
    }
}

/// A wall clock that jumps when told, by libfaketime; the monotonic clock stays as it is.
struct Clock {
    library: &'static str,
    folder: tempfile::TempDir,
}

impl Clock {
    fn new() -> Option<Self> {
        const PLACES: [&str; 4] = [
            "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
            "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
            "/usr/lib64/faketime/libfaketimeMT.so.1",
            "/usr/lib/faketime/libfaketimeMT.so.1",
        ];
        let library = PLACES.into_iter().find(|path| Path::new(path).exists())?;
        let clock = Self {
            library,
            folder: tempfile::tempdir().expect("a folder"),
        };
        clock.jump(0);
        Some(clock)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// Sets the clock to this many seconds from the true time.
    fn jump(&self, seconds: i64) {
        let written = self.folder.path().join("next");
        fs::write(&written, format!("{seconds:+}")).expect("writes");
        fs::rename(written, self.path()).expect("renames");
    }

    fn options(&self) -> Options {
        Options::new()
            .variable("LD_PRELOAD", self.library)
            .variable("FAKETIME_TIMESTAMP_FILE", self.path().display())
            .variable("FAKETIME_NO_CACHE", 1)
            .variable("FAKETIME_DONT_FAKE_MONOTONIC", 1)
    }
}

/// A reader that waits for records which do not come is answered in time.
fn check_that_waiting_ends(client: &mut Client, topic: &Topic, end: usize) {
    let mut request = fetching(topic, 0, end as i64);
    (request.min_bytes, request.max_wait_ms) = (1, 100);
    let begun = Instant::now();
    client.begin(&request, 12);
    client.finish::<klamm_wire::fetch::Request<'_>>(ApiKey::Fetch, 12);
    assert!(begun.elapsed() >= Duration::from_millis(100), "too early");
    assert!(begun.elapsed() < DEADLINE / 3, "{:?}", begun.elapsed());
}

#[test]
fn wall_clock_that_jumps_by_years_stalls_nothing_and_loses_nothing() {
    let test = "wall_clock_that_jumps_by_years_stalls_nothing_and_loses_nothing";
    let Some(clock) = Clock::new() else {
        return skipped(test, "libfaketime is not installed");
    };
    let options = clock.options().set("log.segment.bytes", 1 << 20);
    let Some(mut broker) = Broker::own(test, options) else {
        return;
    };
    let mut client = broker.client();
    let mut by_client = Kept::new(client.create_topic("created", 1));
    let config = [("message.timestamp.type", "LogAppendTime")];
    let mut by_broker = Kept::new(client.create_topic_with("appended", 1, &config));
    let mut random = Random::new(3);
    // To the year 2220, to before 1970, and back.
    for years in [0, 10, -1, 200, -90, 0] {
        clock.jump(years * YEAR_S);
        let mut client = broker.client();
        let mut times = Vec::new();
        for _ in 0..10 {
            let (code, _) = by_client.append(&mut client, random.bytes(60_000));
            // KIP-937: what is too far ahead of a clock that went back is refused.
            assert!(
                code == 0 || years < 0 && code == INVALID_TIMESTAMP,
                "{code}"
            );
            let (code, time) = by_broker.append(&mut client, random.bytes(60_000));
            assert_eq!(code, 0, "{years} years away");
            times.push(time);
        }
        let began = now_ms() + years * YEAR_S * 1000;
        let near = |time: &i64| (time - began).abs() < 120_000;
        assert!(times.iter().all(near), "{times:?} and not about {began}");
        check_that_waiting_ends(&mut client, &by_broker.topic, by_broker.values.len());
        client.create_topic("new", 1);
        by_client.check(&mut client);
        by_broker.check(&mut client);
    }
    for (years, end) in [(200, End::Kill), (-50, End::Stop)] {
        clock.jump(years * YEAR_S);
        by_broker.append(&mut broker.client(), random.bytes(60_000));
        broker.end(end);
        broker.start_again();
        by_client.check(&mut broker.client());
        by_broker.check(&mut broker.client());
    }
    clock.jump(0);
    broker.is_healthy();
}
