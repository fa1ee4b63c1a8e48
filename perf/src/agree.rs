//! Whether our load generator tells the truth: the same work on klamm by it, by librdkafka's
//! `rdkafka_performance` and by Apache Kafka's `ProducerPerformance`, by turns, and what each of
//! them and the broker say of it.
//! Only like is held against like: a rate and a round trip where both wait for a flush, a cost where
//! both are as busy, wakes and calls with one request in flight. The rest is told and not judged.

mod clients;

use std::{
    fmt::Write as _,
    io::{Read, Write as _},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    Problem,
    arguments::{Agree, Class, Compare},
    brokers::{Broker, Kind},
    statistics::{Estimate, median},
    tuning::Choice,
};

use clients::Client;

/// How far two figures may lie apart.
const AGREE_WITHIN: f64 = 0.10;

/// The broker is at rest when it takes less than this share of its core.
const REST_SHARE: f64 = 0.03;

/// How long it is looked at for that, and how long it may take.
const REST_LOOK: Duration = Duration::from_millis(250);
const REST_WAIT: Duration = Duration::from_secs(60);

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1024.0 * MIB;

/// What is done, on one partition over one connection, acks 1.
#[derive(Clone, Copy, Debug)]
struct Work {
    words: &'static str,
    /// When the broker acknowledges.
    class: Class,
    /// Bytes of a record's value.
    record_bytes: usize,
    /// Records of a batch, which is a request.
    batch_records: usize,
    /// Requests in flight.
    depth: usize,
    /// Records a second; without it, as fast as they go.
    rate: Option<u32>,
    /// Bytes of an unpaced run, as a share of those asked for.
    share: f64,
    /// What has to agree.
    judged: &'static [Figure],
}

const WORKS: [Work; 4] = [
    Work {
        words: "batches of 16 KiB, one in flight",
        class: Class::Written,
        record_bytes: 1024,
        batch_records: 15,
        depth: 1,
        rate: None,
        share: 0.5,
        judged: &[
            Figure::Cost,
            Figure::RequestRecords,
            Figure::RecordBytes,
            Figure::Wakes,
            Figure::Calls,
        ],
    },
    Work {
        words: "records of 256 KiB, one a request, five in flight",
        class: Class::Written,
        record_bytes: 256 * 1024,
        batch_records: 1,
        depth: 5,
        rate: None,
        share: 2.0,
        judged: &[Figure::Cost, Figure::RequestRecords, Figure::RecordBytes],
    },
    Work {
        words: "one record of 1 KiB a request, 500 a second, one in flight",
        class: Class::Written,
        record_bytes: 1024,
        batch_records: 1,
        depth: 1,
        rate: Some(500),
        share: 1.0,
        judged: &[
            Figure::RequestRecords,
            Figure::RecordBytes,
            Figure::Wakes,
            Figure::Calls,
        ],
    },
    Work {
        words: "batches of 16 KiB, one in flight, acknowledged when flushed",
        class: Class::Flushed,
        record_bytes: 1024,
        batch_records: 15,
        depth: 1,
        rate: None,
        share: 0.0625,
        judged: &[
            Figure::Rate,
            Figure::Cost,
            Figure::RoundTrip,
            Figure::RequestRecords,
            Figure::RecordBytes,
            Figure::Wakes,
            Figure::Calls,
        ],
    },
];

impl Work {
    /// Records of a run: whole batches.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bytes of a run fit a double"
    )]
    fn records(&self, agree: &Agree) -> u64 {
        let batch = self.batch_records as u64;
        let wanted = match self.rate {
            Some(rate) => u64::from(rate) * agree.seconds,
            None => (agree.gib * self.share * GIB) as u64 / self.record_bytes as u64,
        };
        wanted.next_multiple_of(batch).max(batch)
    }
}

/// A figure of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Figure {
    Rate,
    Cost,
    RequestRecords,
    RecordBytes,
    RoundTrip,
    Wakes,
    Calls,
}

const FIGURES: [(Figure, &str); 7] = [
    (Figure::Rate, "MB/s"),
    (Figure::Cost, "broker CPU s/GiB"),
    (Figure::RoundTrip, "round trip, median us"),
    (Figure::RequestRecords, "records/request"),
    (Figure::RecordBytes, "bytes/record"),
    (Figure::Wakes, "broker wakes/request"),
    (Figure::Calls, "broker system calls/request"),
];

/// What a run said and what the broker said of it.
#[derive(Clone, Copy, Debug)]
struct Run {
    megabytes_per_second: f64,
    cpu_seconds_per_gib: f64,
    round_trip_us: f64,
    records_per_request: f64,
    bytes_per_record: f64,
    wakes_per_request: f64,
    calls_per_request: f64,
}

impl Run {
    fn figure(&self, figure: Figure) -> f64 {
        match figure {
            Figure::Rate => self.megabytes_per_second,
            Figure::Cost => self.cpu_seconds_per_gib,
            Figure::RoundTrip => self.round_trip_us,
            Figure::RequestRecords => self.records_per_request,
            Figure::RecordBytes => self.bytes_per_record,
            Figure::Wakes => self.wakes_per_request,
            Figure::Calls => self.calls_per_request,
        }
    }
}

/// Judged figures that agree, of how many.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Verdict {
    agree: usize,
    judged: usize,
}

/// Compares the clients and prints a table for each work as soon as it is done.
///
/// # Errors
/// See [`Problem`].
pub fn run(agree: &Agree) -> Result<(), Problem> {
    let others: Vec<Client> = [
        agree.rdkafka.as_ref().map(|_| Client::Librdkafka),
        agree.kafka_libs.as_ref().map(|_| Client::Java),
    ]
    .into_iter()
    .flatten()
    .collect();
    if others.is_empty() {
        let text = "give --rdkafka, --kafka-libs, or both";
        return Err(Problem(text.to_owned()));
    }
    let mut verdict = Verdict::default();
    let before = load_average();
    for class in [Class::Written, Class::Flushed] {
        let compare = agree.compare(class)?;
        let choice = Choice::default_with(&compare.kafka_jvm);
        let broker = Broker::start(Kind::Klamm, &compare, &choice)?;
        let stage = Stage {
            agree,
            compare: &compare,
            broker: &broker,
        };
        for work in WORKS.iter().filter(|work| work.class == class) {
            for &other in &others {
                let (ours, theirs) = stage.pairs(work, other)?;
                print!("{}", table(work, other, &ours, &theirs, &mut verdict));
            }
        }
        drop(broker);
        // Left over data cost disk, not truth.
        let _ = std::fs::remove_dir_all(&compare.data);
    }
    println!("\nload average before: {before}, after: {}", load_average());
    let Verdict { agree, judged } = verdict;
    println!("{agree} of {judged} judged figures lie within 10 %");
    Ok(())
}

/// What the kernel says of the last minutes; nothing where it does not.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Where runs take place.
#[derive(Clone, Copy)]
struct Stage<'a> {
    agree: &'a Agree,
    compare: &'a Compare,
    broker: &'a Broker,
}

impl Stage<'_> {
    /// Runs A B B A, after one of each that does not count.
    fn pairs(&self, work: &Work, other: Client) -> Result<(Vec<Run>, Vec<Run>), Problem> {
        for client in [Client::Ours, other] {
            self.once(work, client)?;
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for pair in 0..self.agree.pairs {
            let mut order = [Client::Ours, other];
            if pair % 2 == 1 {
                order.reverse();
            }
            for client in order {
                let run = self.once(work, client)?;
                eprintln!("{}, {}: {run:?}", work.words, client.words());
                match client {
                    Client::Ours => ours.push(run),
                    _ => theirs.push(run),
                }
            }
        }
        Ok((ours, theirs))
    }

    /// One run into a topic of its own. What the broker does for it afterwards counts too.
    #[expect(
        clippy::cast_precision_loss,
        reason = "times and counts of a run fit a double"
    )]
    fn once(&self, work: &Work, client: Client) -> Result<Run, Problem> {
        self.topic("create")?;
        self.rest()?;
        let (served, cpu_ns) = (Served::ask(self.broker)?, self.broker.cpu_ns()?);
        let said = client.run(self, work)?;
        self.rest()?;
        let cpu_seconds = (self.broker.cpu_ns()? - cpu_ns) as f64 / 1e9;
        let after = Served::ask(self.broker)?;
        self.topic("delete")?;
        let requests = after.requests - served.requests;
        let bytes = said.records * work.record_bytes as f64;
        Ok(Run {
            megabytes_per_second: said.records_per_second * work.record_bytes as f64 / 1e6,
            cpu_seconds_per_gib: cpu_seconds / (bytes / GIB),
            round_trip_us: said.round_trip_us,
            records_per_request: said.records / requests,
            bytes_per_record: (after.bytes - served.bytes) / said.records,
            wakes_per_request: (after.wakes - served.wakes) / requests,
            calls_per_request: (after.system_calls - served.system_calls) / requests,
        })
    }

    fn topic(&self, what: &str) -> Result<(), Problem> {
        let mut command = Command::new(&self.compare.klamm);
        command.args(["topic", what, TOPIC, "--bootstrap"]);
        command.arg(self.broker.address.to_string());
        if what == "create" {
            command.args(["--partitions", "1"]);
        }
        let output = command.output();
        let output = output.map_err(|error| Problem::at(self.compare.klamm.display(), error))?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Problem::at(format!("klamm topic {what}"), words))
    }

    /// Waits until the broker has nothing left to do.
    #[expect(clippy::cast_precision_loss, reason = "a quarter of a second")]
    fn rest(&self) -> Result<(), Problem> {
        let deadline = Instant::now() + REST_WAIT;
        while Instant::now() < deadline {
            let before = self.broker.cpu_ns()?;
            std::thread::sleep(REST_LOOK);
            let took = (self.broker.cpu_ns()? - before) as f64;
            if took < REST_SHARE * REST_LOOK.as_nanos() as f64 {
                return Ok(());
            }
        }
        Err(Problem::at("klamm", "does not come to rest"))
    }
}

/// The topic of each run.
const TOPIC: &str = "agree";

fn table(
    work: &Work,
    other: Client,
    ours: &[Run],
    theirs: &[Run],
    verdict: &mut Verdict,
) -> String {
    let mut text = format!(
        "\n{}:\n\n| | klamm-bench | {} | theirs / ours | within 10 % |\n|---|---|---|---|---|\n",
        work.words,
        other.words()
    );
    for (figure, name) in FIGURES {
        let of = |runs: &[Run]| runs.iter().map(|run| run.figure(figure)).collect();
        let (ours, theirs): (Vec<f64>, Vec<f64>) = (of(ours), of(theirs));
        let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| b / a).collect();
        if ratios.iter().any(|ratio| !ratio.is_finite()) {
            continue;
        }
        let ratio = Estimate::of(&ratios);
        let within = (ratio.median - 1.0).abs() <= AGREE_WITHIN;
        let is_judged = work.judged.contains(&figure);
        if is_judged {
            verdict.judged += 1;
            verdict.agree += usize::from(within);
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {name} | {:.3} | {:.3} | {:.3} ({:.3} to {:.3}) | {} |",
            median(&ours),
            median(&theirs),
            ratio.median,
            ratio.low,
            ratio.high,
            match (is_judged, within) {
                (false, _) => "not judged",
                (true, true) => "yes",
                (true, false) => "**no**",
            }
        );
    }
    text
}

/// Counters that klamm tells.
#[derive(Clone, Copy, Debug)]
struct Served {
    requests: f64,
    bytes: f64,
    wakes: f64,
    system_calls: f64,
}

impl Served {
    fn ask(broker: &Broker) -> Result<Self, Problem> {
        let mut address = broker.address;
        address.set_port(address.port() + 2);
        let problem = |error: std::io::Error| Problem::at(address, error);
        let mut socket = TcpStream::connect(address).map_err(problem)?;
        let request = "GET /metrics HTTP/1.1\r\nHost: klamm\r\nConnection: close\r\n\r\n";
        socket.write_all(request.as_bytes()).map_err(problem)?;
        let mut text = String::new();
        socket.read_to_string(&mut text).map_err(problem)?;
        Self::of(&text)
    }

    /// Sums over shards.
    fn of(text: &str) -> Result<Self, Problem> {
        let counter = |name: &str| {
            let name = format!("{name}_total");
            let lines = text.lines().filter(|line| {
                let rest = line.strip_prefix(&name);
                rest.is_some_and(|rest| rest.starts_with([' ', '{']))
            });
            let values: Option<Vec<f64>> = lines
                .map(|line| line.rsplit(' ').next()?.parse().ok())
                .collect();
            let values = values.filter(|values| !values.is_empty());
            let sum = values.map(|values| values.iter().sum());
            sum.ok_or_else(|| Problem::at("/metrics has no", &name))
        };
        Ok(Self {
            requests: counter("kafka_server_brokertopicmetrics_totalproducerequests")?,
            bytes: counter("kafka_server_brokertopicmetrics_bytesin")?,
            wakes: counter("klamm_shard_wakes")?,
            system_calls: counter("klamm_shard_system_calls")?,
        })
    }
}

impl Agree {
    fn compare(&self, class: Class) -> Result<Compare, Problem> {
        let path = |path: &std::path::Path| path.display().to_string();
        let mut line = vec!["klamm-perf".to_owned(), "compare".to_owned()];
        line.push("agree".to_owned());
        line.extend(["--klamm".to_owned(), path(&self.klamm)]);
        line.extend(["--bench".to_owned(), path(&self.bench)]);
        line.extend(["--data".to_owned(), path(&self.data)]);
        line.extend(["--broker-core".to_owned(), self.broker_core.to_string()]);
        line.extend(["--client-core".to_owned(), self.client_core.to_string()]);
        if let Some(libs) = &self.kafka_libs {
            line.extend(["--kafka-libs".to_owned(), path(libs)]);
        }
        let mut compare = Compare::of_line(line)?;
        compare.class = class;
        Ok(compare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rate: f64) -> Run {
        Run {
            megabytes_per_second: rate,
            cpu_seconds_per_gib: 1.0,
            round_trip_us: f64::NAN,
            records_per_request: 15.0,
            bytes_per_record: 1030.0,
            wakes_per_request: 1.0,
            calls_per_request: 3.0,
        }
    }

    #[test]
    fn table_says_what_agrees_and_what_is_not_judged() {
        let (ours, theirs) = ([100.0, 110.0, 100.0].map(run), [80.0; 3].map(run));
        let mut verdict = Verdict::default();
        let text = table(&WORKS[3], Client::Java, &ours, &theirs, &mut verdict);
        assert!(
            text.contains("| MB/s | 100.000 | 80.000 | 0.800 (0.727 to 0.800) | **no** |"),
            "{text}"
        );
        assert!(
            text.contains("| records/request | 15.000 | 15.000 | 1.000 (1.000 to 1.000) | yes |")
        );
        assert!(!text.contains("round trip"), "nobody told one");
        let (agree, judged) = (5, 6);
        assert_eq!(verdict, Verdict { agree, judged });
        let text = table(&WORKS[0], Client::Java, &ours, &theirs, &mut verdict);
        assert!(
            text.contains("(0.727 to 0.800) | not judged |"),
            "a client's own rate: {text}"
        );
    }

    #[test]
    fn counters_of_all_shards_are_added() {
        let text = "kafka_server_brokertopicmetrics_totalproducerequests_total 5\n\
                    kafka_server_brokertopicmetrics_bytesin_total 600\n\
                    klamm_shard_wakes_total{shard=\"0\"} 7\n\
                    klamm_shard_wakes_total{shard=\"1\"} 8\n\
                    klamm_shard_system_calls_total{shard=\"0\"} 9\n";
        let served = Served::of(text).expect("all of them");
        assert_eq!((served.requests, served.wakes), (5.0, 15.0));
        assert!(Served::of("klamm_shard_wakes_total 1\n").is_err());
    }
}
