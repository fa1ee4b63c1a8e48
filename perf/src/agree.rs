//! Whether our load generator tells the truth: the same work on klamm by it, by librdkafka's
//! `rdkafka_performance` and by Apache Kafka's `ProducerPerformance`, by turns, and what each of
//! them and the broker say of it.
//!
//! Where a client is the slower side, rates differ by what the client costs; then the paced work
//! tells: the same records in the same batches must be the same requests and the same cost for the
//! broker, and the same latency.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{Read, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{
    Problem,
    arguments::{Agree, Compare},
    brokers::{Broker, Kind, kafka_libs},
    quantiles::Quantiles,
    statistics::{Estimate, median},
    tuning::Choice,
};

/// Bytes of a record's value.
const RECORD_BYTES: usize = 1024;

/// Records of this size in a batch of 16 KiB.
const BATCH_RECORDS: usize = 15;

/// How far two figures may lie apart.
const AGREE_WITHIN: f64 = 0.10;

/// A client.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Client {
    Ours,
    Librdkafka,
    Java,
}

impl Client {
    const fn words(self) -> &'static str {
        match self {
            Self::Ours => "klamm-bench",
            Self::Librdkafka => "rdkafka_performance",
            Self::Java => "ProducerPerformance",
        }
    }
}

/// What is done, on one partition over one connection, acks 1.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// Batches of 16 KiB as fast as they go, five in flight.
    Flat,
    /// The same batches at so many records a second.
    Paced(u32),
    /// One record a request at so many a second.
    Single(u32),
}

impl Work {
    fn words(self) -> String {
        match self {
            Self::Flat => "16 KiB batches, as fast as they go".to_owned(),
            Self::Paced(rate) => format!("16 KiB batches, {rate} records/s"),
            Self::Single(rate) => format!("one record a request, {rate}/s"),
        }
    }

    fn rate(self) -> Option<u32> {
        match self {
            Self::Flat => None,
            Self::Paced(rate) | Self::Single(rate) => Some(rate),
        }
    }

    const fn batch_records(self) -> usize {
        match self {
            Self::Flat | Self::Paced(_) => BATCH_RECORDS,
            Self::Single(_) => 1,
        }
    }
}

/// What a run said and what the broker said of it.
#[derive(Clone, Copy, Debug)]
struct Run {
    records_per_second: f64,
    broker_us_per_record: f64,
    records_per_request: f64,
    bytes_per_record: f64,
    median_us: f64,
    hundredth_us: f64,
}

/// A column: its name, the figure, and whether a difference must be small.
type Column = (&'static str, fn(&Run) -> f64);

const COLUMNS: [Column; 6] = [
    ("records/s", |run| run.records_per_second),
    ("broker CPU us/record", |run| run.broker_us_per_record),
    ("records/request", |run| run.records_per_request),
    ("bytes/record", |run| run.bytes_per_record),
    ("p50 us", |run| run.median_us),
    ("p99 us", |run| run.hundredth_us),
];

/// Compares the clients and prints a table.
///
/// # Errors
/// See [`Problem`].
pub fn run(agree: &Agree) -> Result<(), Problem> {
    let compare = agree.compare()?;
    let choice = Choice::default_with(&compare.kafka_jvm);
    let broker = Broker::start(Kind::Klamm, &compare, &choice)?;
    let mut others = Vec::new();
    others.extend(agree.rdkafka.as_ref().map(|_| Client::Librdkafka));
    others.extend(agree.kafka_libs.as_ref().map(|_| Client::Java));
    if others.is_empty() {
        let text = "give --rdkafka, --kafka-libs, or both";
        return Err(Problem(text.to_owned()));
    }
    let mut text = String::new();
    for work in [Work::Flat, Work::Paced(20_000), Work::Single(2000)] {
        for &other in &others {
            let mut runs: BTreeMap<Client, Vec<Run>> = BTreeMap::new();
            for pair in 0..agree.pairs {
                let mut order = [Client::Ours, other];
                if pair % 2 == 1 {
                    order.reverse();
                }
                for client in order {
                    let run = once(agree, &compare, &broker, client, work)?;
                    eprintln!("{}, {}: {run:?}", work.words(), client.words());
                    runs.entry(client).or_default().push(run);
                }
            }
            text.push_str(&table(work, other, &runs[&Client::Ours], &runs[&other]));
        }
    }
    drop(broker);
    // Left over data cost disk, not truth.
    let _ = std::fs::remove_dir_all(&compare.data);
    println!("{text}");
    Ok(())
}

fn table(work: Work, other: Client, ours: &[Run], theirs: &[Run]) -> String {
    let mut text = format!(
        "\n{}:\n\n| | klamm-bench | {} | theirs / ours | within 10 % |\n|---|---|---|---|---|\n",
        work.words(),
        other.words()
    );
    for (name, figure) in COLUMNS {
        let of = |runs: &[Run]| -> Vec<f64> { runs.iter().map(figure).collect() };
        let (ours, theirs) = (of(ours), of(theirs));
        let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| b / a).collect();
        if ratios.iter().any(|ratio| !ratio.is_finite()) {
            continue;
        }
        let ratio = Estimate::of(&ratios);
        let within = (ratio.median - 1.0).abs() <= AGREE_WITHIN;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {name} | {:.2} | {:.2} | {:.3} ({:.3} to {:.3}) | {} |",
            median(&ours),
            median(&theirs),
            ratio.median,
            ratio.low,
            ratio.high,
            if within { "yes" } else { "**no**" }
        );
    }
    text
}

/// Counters that klamm tells.
#[derive(Clone, Copy, Debug)]
struct Served {
    requests: f64,
    bytes: f64,
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
        let counter = |name: &str| {
            let name = format!("kafka_server_brokertopicmetrics_{name}_total ");
            let found = text.lines().find_map(|line| line.strip_prefix(&name));
            let value = found.and_then(|value| value.trim().parse().ok());
            value.ok_or_else(|| Problem::at("/metrics has no", &name))
        };
        Ok(Self {
            requests: counter("totalproducerequests")?,
            bytes: counter("bytesin")?,
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "times and counts of a run fit a double"
)]
fn once(
    agree: &Agree,
    compare: &Compare,
    broker: &Broker,
    client: Client,
    work: Work,
) -> Result<Run, Problem> {
    let (served, cpu_ns) = (Served::ask(broker)?, broker.cpu_ns()?);
    let address = broker.address.to_string();
    let said = match client {
        Client::Ours => ours(agree, compare, &address, work)?,
        Client::Librdkafka => librdkafka(agree, compare, &address, work)?,
        Client::Java => java(agree, compare, &address, work)?,
    };
    let cpu_us = (broker.cpu_ns()? - cpu_ns) as f64 / 1e3;
    let after = Served::ask(broker)?;
    Ok(Run {
        records_per_second: said.records_per_second,
        broker_us_per_record: cpu_us / said.records,
        records_per_request: said.records / (after.requests - served.requests),
        bytes_per_record: (after.bytes - served.bytes) / said.records,
        median_us: said.median_us,
        hundredth_us: said.hundredth_us,
    })
}

/// What a client said.
#[derive(Clone, Copy, Debug)]
struct Said {
    records: f64,
    records_per_second: f64,
    median_us: f64,
    hundredth_us: f64,
}

fn pinned(compare: &Compare, words: &[String]) -> Result<Output, Problem> {
    let core = compare.client_core.to_string();
    let mut command = Command::new("taskset");
    let output = command.args(["-c", &core]).args(words).output();
    let output = output.map_err(|error| Problem::at("taskset", error))?;
    if output.status.success() {
        return Ok(output);
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Problem::at(output.status, words))
}

fn records(agree: &Agree, work: Work) -> u64 {
    work.rate()
        .map_or(agree.records, |rate| u64::from(rate) * agree.seconds)
}

fn ours(agree: &Agree, compare: &Compare, address: &str, work: Work) -> Result<Said, Problem> {
    let requests = records(agree, work) / work.batch_records() as u64;
    let mut line = format!(
        "produce --json --proof count --bootstrap {address} --topic agree --connections 1 \
         --depth 5 --record-bytes {RECORD_BYTES} --batch-records {} --batch-bytes 16384 \
         --warm-up-seconds 0 --seconds 600 --payload random --requests-max {requests}",
        work.batch_records()
    );
    if let Some(rate) = work.rate() {
        let _ = write!(line, " --record-rate {rate}");
    }
    let mut words = vec![compare.bench.display().to_string()];
    words.extend(line.split_whitespace().map(str::to_owned));
    let output = pinned(compare, &words)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default();
    let result: serde_json::Value =
        serde_json::from_str(last).map_err(|error| Problem::at("klamm-bench", error))?;
    let number = |path: &str| result.pointer(path).and_then(serde_json::Value::as_f64);
    let said = || {
        let sent = number("/verified/records")?;
        let seconds = number("/measured/elapsed_ns")? / 1e9;
        let latency = |path| work.rate().map_or(Some(f64::NAN), |_| number(path));
        Some(Said {
            records: sent,
            records_per_second: number("/measured/records")? / seconds,
            median_us: latency("/latency_us/p50")?,
            hundredth_us: latency("/latency_us/p99")?,
        })
    };
    said().ok_or_else(|| Problem::at("klamm-bench", last))
}

fn librdkafka(
    agree: &Agree,
    compare: &Compare,
    address: &str,
    work: Work,
) -> Result<Said, Problem> {
    let program = agree.rdkafka.clone().unwrap_or_default();
    let latencies = compare.data.join("latencies");
    let mut line = format!(
        "-P -t agree -p 0 -b {address} -s {RECORD_BYTES} -c {} -a 1 -X max.in.flight=5 \
         -X batch.num.messages={} -X linger.ms={}",
        records(agree, work),
        work.batch_records(),
        if work.batch_records() == 1 { 0 } else { 5 },
    );
    if let Some(rate) = work.rate() {
        let _ = write!(line, " -r {rate} -l -A {}", latencies.display());
    }
    let mut words = vec![program.display().to_string()];
    words.extend(line.split_whitespace().map(str::to_owned));
    let output = pinned(compare, &words)?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let (records, records_per_second) =
        rdkafka_summary(&text).ok_or_else(|| Problem::at("rdkafka_performance", &text))?;
    let mut found = Quantiles::default();
    if work.rate().is_some() {
        found = latencies_of(&latencies)?;
    }
    Ok(Said {
        records,
        records_per_second,
        median_us: found.microseconds(0.5),
        hundredth_us: found.microseconds(0.99),
    })
}

/// Delivered records and their rate from the last summary, such as `% 9 messages produced (9 bytes),
/// 9 delivered (offset 1, 0 failed) in 2ms: 3 msgs/s`.
fn rdkafka_summary(text: &str) -> Option<(f64, f64)> {
    let line = text.lines().rfind(|line| line.contains(" delivered ("))?;
    let before = |word: &str| -> Option<f64> {
        let (head, _) = line.split_once(word)?;
        head.rsplit([' ', '(']).next()?.parse().ok()
    };
    Some((before(" delivered (")?, before(" msgs/s")?))
}

/// Latencies from a file of microseconds, one a line.
fn latencies_of(path: &Path) -> Result<Quantiles, Problem> {
    let text = std::fs::read_to_string(path).map_err(|error| Problem::at(path.display(), error))?;
    let values = text
        .lines()
        .filter_map(|line| line.trim().parse::<u64>().ok());
    Ok(Quantiles::of(values.map(|us| (us * 1000, 1))))
}

fn java(agree: &Agree, compare: &Compare, address: &str, work: Work) -> Result<Said, Problem> {
    let single = work.batch_records() == 1;
    let line = format!(
        "-cp {}/* org.apache.kafka.tools.ProducerPerformance --topic agree --num-records {} \
         --record-size {RECORD_BYTES} --throughput {} --command-property \
         bootstrap.servers={address} acks=1 enable.idempotence=false \
         max.in.flight.requests.per.connection=5 batch.size={} linger.ms={}",
        kafka_libs(compare)?.display(),
        records(agree, work),
        work.rate().map_or(-1, i64::from),
        if single { 1 } else { 16_384 },
        if single { 0 } else { 5 },
    );
    let mut words = vec!["java".to_owned()];
    words.extend(line.split_whitespace().map(str::to_owned));
    let output = pinned(compare, &words)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    java_summary(&text, work.rate().is_some())
        .ok_or_else(|| Problem::at("ProducerPerformance", text))
}

/// The last line, such as `9 records sent, 3.0 records/sec (1 MB/sec), 1 ms avg latency, 2 ms max
/// latency, 1 ms 50th, 2 ms 95th, 3 ms 99th, 4 ms 99.9th.`
fn java_summary(text: &str, paced: bool) -> Option<Said> {
    let line = text.lines().rfind(|line| line.contains("ms 99th"))?;
    let before = |word: &str| -> Option<f64> {
        let (head, _) = line.split_once(word)?;
        head.rsplit(' ').next()?.parse().ok()
    };
    let latency = |word| {
        if paced {
            Some(before(word)? * 1000.0)
        } else {
            Some(f64::NAN)
        }
    };
    Some(Said {
        records: before(" records sent")?,
        records_per_second: before(" records/sec")?,
        median_us: latency(" ms 50th")?,
        hundredth_us: latency(" ms 99th")?,
    })
}

impl Agree {
    fn compare(&self) -> Result<Compare, Problem> {
        let path = |path: &PathBuf| path.display().to_string();
        let mut line = vec![
            "klamm-perf".to_owned(),
            "compare".to_owned(),
            "agree".to_owned(),
        ];
        line.extend(["--klamm".to_owned(), path(&self.klamm)]);
        line.extend(["--bench".to_owned(), path(&self.bench)]);
        line.extend(["--data".to_owned(), path(&self.data)]);
        line.extend(["--broker-core".to_owned(), self.broker_core.to_string()]);
        line.extend(["--client-core".to_owned(), self.client_core.to_string()]);
        if let Some(libs) = &self.kafka_libs {
            line.extend(["--kafka-libs".to_owned(), path(libs)]);
        }
        Compare::of_line(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_other_clients_are_understood() {
        let text = "% Sending 2 messages\n\
                    % 1619 messages produced (1657856 bytes), 1617 delivered (offset 146991, 0 \
                    failed) in 1000ms: 1616 msgs/s and 1.66 MB/s\n\
                    % 4000 messages produced (4096000 bytes), 4000 delivered (offset 149374, 0 \
                    failed) in 2269ms: 1762 msgs/s and 1.80 MB/s, 0 produce failures\n";
        assert_eq!(rdkafka_summary(text), Some((4000.0, 1762.0)));
        assert_eq!(rdkafka_summary("% nothing"), None);
        let text = "4000 records sent, 1263.8 records/sec (1.23 MB/sec), 1008.93 ms avg latency, \
                    1218.00 ms max latency, 1136 ms 50th, 1198 ms 95th, 1208 ms 99th, 1216 ms \
                    99.9th.\n";
        let said = java_summary(text, true).expect("a summary");
        assert_eq!((said.records, said.records_per_second), (4000.0, 1263.8));
        assert_eq!((said.median_us, said.hundredth_us), (1.136e6, 1.208e6));
        assert!(java_summary(text, false).expect("one").median_us.is_nan());
    }

    #[test]
    fn table_says_what_agrees() {
        let run = |rate| Run {
            records_per_second: rate,
            broker_us_per_record: 1.0,
            records_per_request: 15.0,
            bytes_per_record: 1030.0,
            median_us: f64::NAN,
            hundredth_us: f64::NAN,
        };
        let text = table(
            Work::Flat,
            Client::Java,
            &[run(100.0), run(110.0), run(100.0)],
            &[run(80.0), run(80.0), run(80.0)],
        );
        assert!(
            text.contains("| records/s | 100.00 | 80.00 | 0.800 (0.727 to 0.800) | **no** |"),
            "{text}"
        );
        assert!(
            text.contains("| records/request | 15.00 | 15.00 | 1.000 (1.000 to 1.000) | yes |")
        );
        assert!(!text.contains("p50"), "a rate has no latency");
    }
}
