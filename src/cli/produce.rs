//! `klamm produce`: lines of standard input or a file into a topic, as plain text, key and value, or
//! JSON.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use klamm_client::blocking::BlockingProducer;
use klamm_client::partitioner::Partitioning;
use klamm_client::producer::{DeliveryError, ProducerOptions, ProducerRecord};
use klamm_client::{Compressor, RecordHeader};
use klamm_model::{Acks, Compression, ErrorCode, PartitionIndex, Timestamp, TopicName};
use serde_json::json;

use super::connect::{ConnectArguments, Failure};
use super::fail;
use super::line_reader::{LineReader, Next};
use super::output::{Format, print_json};
use super::produce_line::{LineForm, Parsed};
use super::progress::Progress;
use super::topic::topic_name;
use crate::words::counted;

/// How long to wait for lines while nothing is on its way.
const IDLE: Duration = Duration::from_secs(1);

/// Failures that are shown one by one; more are counted.
const FAILURES_SHOWN: usize = 5;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    echo hello | klamm produce greetings\n  \
    klamm produce flights --file flights.txt --key-separator : --compression zstd\n  \
    klamm consume old --format json | klamm produce new --json")]
pub(super) struct ProduceArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    /// Name of the topic.
    #[arg(value_parser = topic_name)]
    topic: TopicName,
    /// File to read instead of standard input.
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What stands between key and value in a line; without it a line is a value.
    #[arg(long, short, value_name = "TEXT", conflicts_with = "json")]
    key_separator: Option<String>,
    /// Keys and values that read so are null.
    #[arg(long, value_name = "TEXT", conflicts_with = "json")]
    null_as: Option<String>,
    /// Each line is a JSON object with value, and if wanted key, headers, partition, timestamp;
    /// bytes that are no text as value_hex and key_hex.
    #[arg(long)]
    json: bool,
    /// A header of every record. May be repeated.
    #[arg(long, short = 'H', value_name = "KEY=VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// Partition of every record that names none [default: by key].
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// How partitions are chosen.
    #[arg(long, value_enum, default_value_t)]
    partitioner: PartitionerChoice,
    /// When the leader answers: all, 1 or 0.
    #[arg(long, default_value = "all", value_parser = acks)]
    acks: Acks,
    /// Codec: none, gzip, snappy, lz4 or zstd.
    #[arg(long, short, value_name = "CODEC", default_value = "none", value_parser = codec)]
    compression: Compression,
    /// Level of gzip or zstd [default: the codec's].
    #[arg(long, value_name = "LEVEL", allow_negative_numbers = true)]
    compression_level: Option<i32>,
    /// Bytes of a batch.
    #[arg(long, value_name = "BYTES", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// How long a batch waits for more.
    #[arg(long, value_name = "MS", default_value_t = 5)]
    linger_ms: u32,
    /// Largest request, and with it largest record.
    #[arg(long, value_name = "BYTES", default_value_t = 1_048_576, value_parser = clap::value_parser!(u32).range(1024..=1_073_741_824))]
    max_request_size: u32,
    /// Give records up after this time.
    #[arg(long, value_name = "MS", default_value_t = 120_000)]
    delivery_timeout_ms: u32,
    /// Retries append nothing twice; needs --acks all [default: true with --acks all].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", conflicts_with = "no_idempotence")]
    idempotence: Option<bool>,
    /// The same as --idempotence false.
    #[arg(long)]
    no_idempotence: bool,
    /// Requests in flight for each broker.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=60))]
    max_in_flight: u16,
    /// No progress and no summary on standard error.
    #[arg(long, short)]
    quiet: bool,
    /// Form of the summary; as JSON it goes to standard output.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum PartitionerChoice {
    /// By murmur2 of the key as in Java; without a key one partition for each batch.
    #[default]
    KeyHash,
    /// One partition for each batch, whatever the key.
    Sticky,
    /// Each partition in turn, whatever the key.
    RoundRobin,
}

fn acks(text: &str) -> Result<Acks, String> {
    match text {
        "all" | "-1" => Ok(Acks::All),
        "1" => Ok(Acks::Leader),
        "0" => Ok(Acks::None),
        _ => Err("expected all, 1 or 0".to_owned()),
    }
}

fn codec(text: &str) -> Result<Compression, String> {
    Compression::from_word(text)
        .ok_or_else(|| "expected none, gzip, snappy, lz4 or zstd".to_owned())
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("expected KEY=VALUE".to_owned()),
    }
}

impl ProduceArguments {
    fn options(&self) -> ProducerOptions {
        let request_timeout = Duration::from_millis(self.connect.timeout_ms);
        let linger = Duration::from_millis(self.linger_ms.into());
        let delivery = Duration::from_millis(self.delivery_timeout_ms.into());
        ProducerOptions {
            acks: self.acks,
            idempotent: self
                .idempotence
                .unwrap_or(self.acks == Acks::All && !self.no_idempotence),
            in_flight_max: self.max_in_flight.into(),
            compressor: Compressor {
                codec: self.compression,
                level: self.compression_level,
            },
            batch_bytes: self.batch_size as usize,
            linger,
            request_bytes_max: self.max_request_size as usize,
            request_timeout,
            delivery_timeout: delivery.max(request_timeout + linger),
            partitioning: match self.partitioner {
                PartitionerChoice::KeyHash => Partitioning::KeyHash,
                PartitionerChoice::Sticky => Partitioning::Sticky,
                PartitionerChoice::RoundRobin => Partitioning::RoundRobin,
            },
            ..ProducerOptions::default()
        }
    }

    fn form(&self) -> LineForm {
        if self.json {
            LineForm::Json
        } else {
            LineForm::Text {
                separator: self.key_separator.clone(),
                null: self.null_as.clone(),
            }
        }
    }
}

pub(super) fn run(arguments: &ProduceArguments) -> ExitCode {
    match produce(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason)) => fail(&reason),
    }
}

/// What was delivered and what was not.
#[derive(Debug, Default)]
struct Tally {
    delivered: u64,
    failed: u64,
    reasons: Vec<String>,
}

impl Tally {
    fn collect(&mut self, producer: &mut BlockingProducer) {
        while let Some(delivery) = producer.next_delivery() {
            let count = delivery.tickets.len() as u64;
            match delivery.outcome {
                Ok(_) => self.delivered += count,
                Err(error) => {
                    self.failed += count;
                    if self.reasons.len() < FAILURES_SHOWN {
                        let partition = delivery.partition;
                        let records = counted(count, "record");
                        let cure = cure(&error);
                        self.reasons
                            .push(format!("{records} for {partition}: {error}{cure}"));
                    }
                }
            }
        }
    }
}

/// What mends a delivery that failed, if anything here does.
fn cure(error: &DeliveryError) -> &'static str {
    match error {
        DeliveryError::Refused(refused) => match refused.code {
            ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
                "\n    raise the topic's max.message.bytes, or send smaller records"
            }
            ErrorCode::InvalidRecord => {
                "\n    a compacted topic takes no record without a key: --key-separator"
            }
            ErrorCode::InvalidTimestamp => {
                "\n    the topic's message.timestamp settings admit no such time"
            }
            _ => "",
        },
        DeliveryError::TimedOut { .. } => {
            "\n    see whether the broker answers, or raise --delivery-timeout-ms"
        }
        DeliveryError::Lost { .. } => "\n    see whether the broker runs",
    }
}

fn open(file: Option<&Path>) -> Result<Box<dyn Read + Send>, Failure> {
    match file {
        None => Ok(Box::new(io::stdin())),
        Some(path) => {
            let file = File::open(path)
                .map_err(|error| Failure(format!("cannot read {}: {error}", path.display())))?;
            Ok(Box::new(file))
        }
    }
}

fn produce(arguments: &ProduceArguments) -> Result<(), Failure> {
    let started = Instant::now();
    let input = open(arguments.file.as_deref())?;
    let mut client = arguments.connect.connect()?;
    client.topic(&arguments.topic)?;
    let mut producer = BlockingProducer::new(client, arguments.options())
        .map_err(|error| Failure(error.to_string()))?;
    // A line in JSON may be longer than its record, six times at most (\uXXXX for each byte).
    let longest = u64::from(arguments.max_request_size) * if arguments.json { 6 } else { 1 };
    let lines = LineReader::new(input, longest)?;
    let mut progress = Progress::new("produced", arguments.quiet);
    let mut tally = Tally::default();
    // What was read before a bad line is delivered all the same.
    let read = send_lines(arguments, &lines, &mut producer, &mut tally, &mut progress);
    let flushed = producer.flush();
    tally.collect(&mut producer);
    summarise(arguments, &tally, &producer, started)?;
    read?;
    flushed?;
    if tally.failed > 0 {
        let shown = tally.reasons.join("\n  ");
        return Err(Failure(format!(
            "{} not delivered:\n  {shown}",
            counted(tally.failed, "record")
        )));
    }
    Ok(())
}

fn send_lines(
    arguments: &ProduceArguments,
    lines: &LineReader,
    producer: &mut BlockingProducer,
    tally: &mut Tally,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let form = arguments.form();
    let linger = Duration::from_millis(arguments.linger_ms.into());
    let mut number = 0_u64;
    loop {
        let wait = if producer.is_empty() {
            IDLE
        } else {
            linger.clamp(Duration::from_millis(1), Duration::from_millis(100))
        };
        let lines = match lines.next(wait)? {
            Next::End => return Ok(()),
            Next::Nothing => {
                producer.pump(Duration::ZERO)?;
                tally.collect(producer);
                continue;
            }
            Next::Lines(lines) => lines,
        };
        for line in lines {
            number += 1;
            let bad = |reason: String| Failure(format!("line {number}: {reason}"));
            let parsed = form.parse(&line).map_err(bad)?;
            let record = record(arguments, parsed);
            producer
                .send(&record)
                .map_err(|error| bad(error.to_string()))?;
            tally.collect(producer);
            progress.count(1, line.len() as u64);
        }
    }
}

fn record(arguments: &ProduceArguments, parsed: Parsed) -> ProducerRecord {
    let now = || {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        since_epoch.map_or(0, |time| {
            i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
        })
    };
    let mut headers = parsed.headers;
    headers.extend(arguments.header.iter().map(|(key, value)| RecordHeader {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }));
    ProducerRecord {
        topic: arguments.topic.clone(),
        partition: parsed.partition.or(arguments.partition).map(PartitionIndex),
        timestamp: Timestamp(parsed.timestamp.unwrap_or_else(now)),
        key: parsed.key,
        value: parsed.value,
        headers,
    }
}

fn summarise(
    arguments: &ProduceArguments,
    tally: &Tally,
    producer: &BlockingProducer,
    started: Instant,
) -> Result<(), Failure> {
    let stats = producer.stats();
    let seconds = started.elapsed().as_secs_f64();
    if arguments.format == Format::Json {
        return Ok(print_json(&json!({
            "delivered": tally.delivered,
            "failed": tally.failed,
            "requests": stats.requests,
            "batches": stats.batches,
            "retries": stats.retries,
            "seconds": seconds,
        }))?);
    }
    if !arguments.quiet {
        eprintln!(
            "{} delivered in {seconds:.2} s, {}, {}, {} sent again",
            counted(tally.delivered, "record"),
            counted(stats.requests, "request"),
            counted(stats.batches, "batch"),
            stats.retries
        );
    }
    Ok(())
}
