//! The clients whose words are compared: how each is told to do the same work, and what it says.

use std::{
    fmt::Write as _,
    path::Path,
    process::{Command, Output},
};

use super::{Stage, TOPIC, Work};
use crate::{Problem, arguments::Compare, brokers::kafka_libs, quantiles::Quantiles};

/// A client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Client {
    /// `klamm-bench`.
    Ours,
    /// librdkafka's own.
    Librdkafka,
    /// Apache Kafka's own.
    Java,
}

/// What a client said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// Records acknowledged.
    pub(super) records: f64,
    /// How many of them a second.
    pub(super) records_per_second: f64,
    /// Median time from a request's send to its answer; not a number where it is not told.
    pub(super) round_trip_us: f64,
}

impl Client {
    /// Its name.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Ours => "klamm-bench",
            Self::Librdkafka => "rdkafka_performance",
            Self::Java => "ProducerPerformance",
        }
    }

    /// Does the work once.
    pub(super) fn run(self, stage: &Stage<'_>, work: &Work) -> Result<Said, Problem> {
        match self {
            Self::Ours => ours(stage, work),
            Self::Librdkafka => librdkafka(stage, work),
            Self::Java => java(stage, work),
        }
    }
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

fn ours(stage: &Stage<'_>, work: &Work) -> Result<Said, Problem> {
    let requests = work.records(stage.agree) / work.batch_records as u64;
    let address = stage.broker.address;
    let mut line = format!(
        "produce --json --proof count --bootstrap {address} --topic {TOPIC} --connections 1 \
         --depth {} --record-bytes {} --batch-records {} --batch-bytes {} \
         --warm-up-seconds 0 --seconds 600 --payload random --requests-max {requests}",
        work.depth,
        work.record_bytes,
        work.batch_records,
        work.record_bytes * (work.batch_records + 1),
    );
    if let Some(rate) = work.rate {
        // Writing to a String cannot fail.
        let _ = write!(line, " --record-rate {rate}");
    }
    let mut words = vec![stage.compare.bench.display().to_string()];
    words.extend(line.split_whitespace().map(str::to_owned));
    let output = pinned(stage.compare, &words)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default();
    let result: serde_json::Value =
        serde_json::from_str(last).map_err(|error| Problem::at("klamm-bench", error))?;
    let number = |path: &str| result.pointer(path).and_then(serde_json::Value::as_f64);
    let said = || {
        let seconds = number("/measured/elapsed_ns")? / 1e9;
        Some(Said {
            records: number("/verified/records")?,
            records_per_second: number("/measured/records")? / seconds,
            round_trip_us: number("/latency_us/p50")?,
        })
    };
    said().ok_or_else(|| Problem::at("klamm-bench", last))
}

fn librdkafka(stage: &Stage<'_>, work: &Work) -> Result<Said, Problem> {
    let program = stage.agree.rdkafka.clone().unwrap_or_default();
    let statistics = stage.compare.data.join("statistics");
    let mut line = format!(
        "-P -t {TOPIC} -p 0 -b {} -s {} -c {} -a 1 -T 1000 -X max.in.flight={} \
         -X batch.num.messages={} -X linger.ms={}",
        stage.broker.address,
        work.record_bytes,
        work.records(stage.agree),
        work.depth,
        work.batch_records,
        if work.batch_records == 1 { 0 } else { 5 },
    );
    if let Some(rate) = work.rate {
        // Writing to a String cannot fail.
        let _ = write!(line, " -r {rate}");
    }
    let mut words = vec![program.display().to_string()];
    words.extend(line.split_whitespace().map(str::to_owned));
    words.extend(["-Y".to_owned(), format!("cat >'{}'", statistics.display())]);
    let output = pinned(stage.compare, &words)?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let (records, records_per_second) =
        rdkafka_summary(&text).ok_or_else(|| Problem::at("rdkafka_performance", &text))?;
    Ok(Said {
        records,
        records_per_second,
        round_trip_us: round_trips(&statistics)?.microseconds(0.5),
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

/// The round trips of librdkafka's statistics: each second's median, as often as there were
/// requests. It counts from the moment at which the kernel has taken the request.
fn round_trips(path: &Path) -> Result<Quantiles, Problem> {
    let text = std::fs::read_to_string(path).map_err(|error| Problem::at(path.display(), error))?;
    let mut pairs = Vec::new();
    for line in text.lines() {
        let Ok(statistics) = serde_json::from_str::<serde_json::Value>(line) else {
            // The last line may be torn.
            continue;
        };
        let brokers = statistics["brokers"].as_object().into_iter().flatten();
        let told = brokers.filter_map(|(_, broker)| {
            let rtt = &broker["rtt"];
            Some((rtt["p50"].as_u64()? * 1000, rtt["cnt"].as_u64()?))
        });
        pairs.extend(told.filter(|(_, count)| *count > 0));
    }
    Ok(Quantiles::of(pairs))
}

fn java(stage: &Stage<'_>, work: &Work) -> Result<Said, Problem> {
    let is_single = work.batch_records == 1;
    let line = format!(
        "-cp {}/* org.apache.kafka.tools.ProducerPerformance --topic {TOPIC} --num-records {} \
         --record-size {} --throughput {} --command-property \
         bootstrap.servers={} acks=1 enable.idempotence=false \
         max.in.flight.requests.per.connection={} batch.size={} linger.ms={}",
        kafka_libs(stage.compare)?.display(),
        work.records(stage.agree),
        work.record_bytes,
        work.rate.map_or(-1, i64::from),
        stage.broker.address,
        work.depth,
        if is_single { 1 } else { 16_384 },
        if is_single { 0 } else { 5 },
    );
    let mut words = vec!["java".to_owned()];
    words.extend(line.split_whitespace().map(str::to_owned));
    let output = pinned(stage.compare, &words)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    java_summary(&text).ok_or_else(|| Problem::at("ProducerPerformance", text))
}

/// The last line, such as `9 records sent, 3.0 records/sec (1 MB/sec), 1 ms avg latency, 2 ms max
/// latency, 1 ms 50th, 2 ms 95th, 3 ms 99th, 4 ms 99.9th.` Its latencies count from the call of
/// `send`, in whole milliseconds: no round trips.
fn java_summary(text: &str) -> Option<Said> {
    let line = text.lines().rfind(|line| line.contains("ms 99th"))?;
    let before = |word: &str| -> Option<f64> {
        let (head, _) = line.split_once(word)?;
        head.rsplit(' ').next()?.parse().ok()
    };
    Some(Said {
        records: before(" records sent")?,
        records_per_second: before(" records/sec")?,
        round_trip_us: f64::NAN,
    })
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
        let said = java_summary(text).expect("a summary");
        assert_eq!((said.records, said.records_per_second), (4000.0, 1263.8));
        assert!(said.round_trip_us.is_nan());
    }

    #[test]
    fn round_trips_of_brokers_without_requests_do_not_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("statistics");
        let text = r#"{"brokers":{"a":{"rtt":{"p50":900,"cnt":0}},"b":{"rtt":{"p50":120,"cnt":9}}}}
{"brokers":{"b":{"rtt":{"p50":140,"cnt":4}}}}
{"brokers":{"b":{"rtt":{"p50":"#;
        std::fs::write(&path, text).expect("a file");
        let found = round_trips(&path).expect("statistics").microseconds(0.5);
        assert!((found - 120.0).abs() < 1.0, "{found}");
    }
}
