//! `klamm consume`: records of topics to standard output, by partition and offset, or as a member of
//! a group.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use klamm_client::Record;
use klamm_client::blocking::{BlockingConsumer, Client};
use klamm_client::fetch::FetchOptions;
use klamm_client::fetcher::{ConsumerOptions, Event, FetchError, OffsetReset};
use klamm_client::metadata::PartitionName;
use klamm_client::offsets::{ListedOffset, OffsetSpec};
use klamm_model::{IsolationLevel, Offset, PartitionIndex, Timestamp, TopicName};

use super::connect::{ConnectArguments, Failure};
use super::consume_group;
use super::fail;
use super::output::RecordFormat;
use super::progress::Progress;
use super::topic::topic_name;
use crate::words::counted;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm consume flights\n  \
    klamm consume flights --from end --follow\n  \
    klamm consume flights --from -5 --partition 0 --format key-value\n  \
    klamm consume flights --from @-2h --to @-1h --format json\n  \
    klamm consume flights --from @-10m -n 100 --format '%T %p/%o %k=%s\\n'\n  \
    klamm consume flights gates --group boards --follow\n\n\
    With --group this is a member of a group: it reads the partitions that it is given, begins where \
    the group was, commits what it printed every 5 s and at the end, and leaves at Control-C. --from \
    holds where the group keeps no offset.\n\n\
    Templates: %t topic, %p partition, %o offset, %T timestamp, %k key, %K its length, %X it in\n\
    hexadecimal, %s value, %S its length, %x it in hexadecimal, %h headers, %% a percent sign; \\n \\r \\t \\0 \\\\ \\xNN. Null has length -1.")]
pub(super) struct ConsumeArguments {
    #[command(flatten)]
    pub(super) connect: ConnectArguments,
    /// Names of the topics.
    #[arg(required = true, value_name = "TOPIC", value_parser = topic_name)]
    pub(super) topics: Vec<TopicName>,
    /// Only this partition. May be repeated.
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(0..), conflicts_with = "group")]
    partition: Vec<i32>,
    /// Read as a member of this group.
    #[arg(long, short, value_name = "NAME")]
    group: Option<String>,
    /// How the members of the group share its partitions: among themselves (classic), or as the
    /// broker says (consumer, KIP-848).
    #[arg(long, value_enum, default_value_t, requires = "group")]
    pub(super) group_protocol: ProtocolChoice,
    /// Where to begin: beginning, end, an offset, -N for the last N of each partition, @MS since
    /// 1970, or @-10m (s, m, h, d) before now.
    #[arg(
        long,
        short = 'o',
        value_name = "WHERE",
        default_value = "beginning",
        allow_hyphen_values = true
    )]
    pub(super) from: Place,
    /// Stop before this place, written as in --from; end is the end that there was at the start.
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "end",
        allow_hyphen_values = true,
        conflicts_with_all = ["follow", "group"]
    )]
    to: Place,
    /// Stop after this many records.
    #[arg(long, short = 'n', value_name = "N")]
    pub(super) count: Option<u64>,
    /// Wait for more at the end instead of stopping there.
    #[arg(long)]
    pub(super) follow: bool,
    /// How to print a record: value, key-value, json, raw (values with nothing between them), hex
    /// (key and value), or a template with %.
    #[arg(long, short, value_name = "FORM", default_value = "value")]
    format: RecordFormat,
    /// How null keys and values are printed.
    #[arg(long, value_name = "TEXT", default_value = "")]
    null_as: String,
    /// Which records of transactions are read.
    #[arg(long, value_enum, default_value_t)]
    isolation: IsolationChoice,
    /// No progress and no summary on standard error.
    #[arg(long, short)]
    pub(super) quiet: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ProtocolChoice {
    /// JoinGroup, SyncGroup and Heartbeat.
    #[default]
    Classic,
    /// ConsumerGroupHeartbeat.
    Consumer,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum IsolationChoice {
    /// All of them.
    #[default]
    ReadUncommitted,
    /// Only those of committed transactions.
    ReadCommitted,
}

/// Where to begin or to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Beginning,
    End,
    Offset(i64),
    Last(i64),
    Time(i64),
    Ago(Duration),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "expected beginning, end, an offset, -N, @MS or @-10m (s, m, h, d)".to_owned();
        match text {
            "beginning" => return Ok(Self::Beginning),
            "end" => return Ok(Self::End),
            _ => {}
        }
        if let Some(ago) = text.strip_prefix("@-") {
            let unit = ago.chars().last().ok_or_else(wrong)?;
            let seconds = match unit {
                's' => 1,
                'm' => 60,
                'h' => 3600,
                'd' => 86_400,
                _ => return Err(wrong()),
            };
            let count: u32 = ago[..ago.len() - 1].parse().map_err(|_| wrong())?;
            return Ok(Self::Ago(Duration::from_secs(u64::from(count) * seconds)));
        }
        if let Some(time) = text.strip_prefix('@') {
            return time.parse().map(Self::Time).map_err(|_| wrong());
        }
        let number: i64 = text.parse().map_err(|_| wrong())?;
        Ok(if number < 0 {
            Self::Last(number.saturating_neg())
        } else {
            Self::Offset(number)
        })
    }
}

pub(super) fn run(arguments: &ConsumeArguments) -> ExitCode {
    match consume(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason)) => fail(&reason),
    }
}

/// Where reading begins and where it may end, by partition.
struct Range {
    start: Offset,
    end: Offset,
}

fn consume(arguments: &ConsumeArguments) -> Result<(), Failure> {
    if arguments.count == Some(0) {
        return Ok(());
    }
    let isolation = match arguments.isolation {
        IsolationChoice::ReadUncommitted => IsolationLevel::ReadUncommitted,
        IsolationChoice::ReadCommitted => IsolationLevel::ReadCommitted,
    };
    if let Some(group) = &arguments.group {
        return consume_group::consume(arguments, group, isolation);
    }
    let mut client = arguments.connect.connect()?;
    let partitions = chosen(&mut client, arguments)?;
    let ranges = ranges(&mut client, &partitions, arguments, isolation)?;
    let options = ConsumerOptions {
        fetch: FetchOptions {
            isolation,
            ..FetchOptions::default()
        },
        // A person is told that records are gone.
        offset_reset: OffsetReset::Fail,
        ..ConsumerOptions::default()
    };
    let mut consumer = BlockingConsumer::new(client, options);
    // Partitions still to be read, with the end at which they are done.
    let mut open: BTreeMap<PartitionName, Offset> = BTreeMap::new();
    for (partition, range) in ranges {
        if arguments.follow || range.start < range.end {
            consumer.seek(partition.clone(), range.start);
            open.insert(partition, range.end);
        }
    }
    let mut printer = Printer::new(arguments);
    let read = read_all(arguments, &mut consumer, &mut open, &mut printer);
    let flushed = printer.flush();
    match read.and_then(|()| Ok(flushed?)) {
        // A reader that went away (`| head`) has seen enough.
        Err(Stop::Closed) | Ok(()) => {}
        Err(Stop::Failed(failure)) => return Err(failure),
    }
    if !arguments.quiet {
        eprintln!("{}", counted(printer.printed, "record"));
    }
    Ok(())
}

/// Why reading stops before its end.
pub(super) enum Stop {
    /// Nobody reads standard output any more.
    Closed,
    Failed(Failure),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::Closed
        } else {
            Self::Failed(Failure(format!("cannot write: {error}")))
        }
    }
}

fn read_all(
    arguments: &ConsumeArguments,
    consumer: &mut BlockingConsumer,
    open: &mut BTreeMap<PartitionName, Offset>,
    printer: &mut Printer<'_>,
) -> Result<(), Stop> {
    while !open.is_empty() {
        let event = consumer
            .next_event(Duration::from_millis(500))
            .map_err(|error| Stop::Failed(error.into()))?;
        match event {
            // What was printed is seen while waiting for more.
            None => printer.flush()?,
            Some(Event::Record(partition, record)) => {
                let end = open.get(&partition).copied();
                if !arguments.follow && end.is_some_and(|end| record.offset >= end) {
                    close_at_end(arguments, consumer, open, &partition, record.offset);
                    continue;
                }
                printer.print(&partition, &record)?;
                if arguments.count == Some(printer.printed) {
                    return Ok(());
                }
                close_at_end(arguments, consumer, open, &partition, record.offset.next());
            }
            Some(Event::End(partition, position)) => {
                close_at_end(arguments, consumer, open, &partition, position);
                printer.flush()?;
            }
            // Positions are not reset here.
            Some(Event::Reset { .. }) => {}
            Some(Event::Failed(partition, error)) => on_failed(consumer, partition, error)?,
        }
    }
    Ok(())
}

/// Done with a partition once it was read to the end that it had at the start.
fn close_at_end(
    arguments: &ConsumeArguments,
    consumer: &mut BlockingConsumer,
    open: &mut BTreeMap<PartitionName, Offset>,
    partition: &PartitionName,
    position: Offset,
) {
    let done = open.get(partition).is_some_and(|end| position >= *end);
    if done && !arguments.follow {
        open.remove(partition);
        consumer.remove(partition);
    }
}

/// Records may expire while they are read: go on where the log starts now.
fn on_failed(
    consumer: &mut BlockingConsumer,
    partition: PartitionName,
    error: FetchError,
) -> Result<(), Stop> {
    match error {
        FetchError::OutOfRange {
            position,
            log_start: Some(start),
        } if start > position => {
            eprintln!(
                "{partition}: records from {position} to {start} are gone, going on at {start}"
            );
            consumer.seek(partition, start);
            Ok(())
        }
        error => {
            let cure = if matches!(error, FetchError::OutOfRange { .. }) {
                "\n  begin where records are: --from beginning, --from end, or an offset that \
                 `klamm topic describe` shows"
            } else {
                ""
            };
            Err(Stop::Failed(Failure(format!("{partition}: {error}{cure}"))))
        }
    }
}

/// The partitions asked for, or all.
fn chosen(
    client: &mut Client,
    arguments: &ConsumeArguments,
) -> Result<Vec<PartitionName>, Failure> {
    let mut chosen = Vec::new();
    for name in &arguments.topics {
        let topic = client.topic(name)?;
        let count = topic.partitions.len();
        let name = |index| PartitionName::new(topic.name.clone(), index);
        if arguments.partition.is_empty() {
            chosen.extend(topic.partitions.iter().map(|it| name(it.index)));
        }
        for &index in &arguments.partition {
            let index = PartitionIndex(index);
            if topic.partition(index).is_none() {
                let last = count.saturating_sub(1);
                return Err(Failure(format!(
                    "topic {}: expected a partition from 0 to {last}, found {index}",
                    topic.name
                )));
            }
            chosen.push(name(index));
        }
    }
    Ok(chosen)
}

fn ranges(
    client: &mut Client,
    partitions: &[PartitionName],
    arguments: &ConsumeArguments,
    isolation: IsolationLevel,
) -> Result<BTreeMap<PartitionName, Range>, Failure> {
    let mut list = |spec| -> Result<BTreeMap<PartitionName, ListedOffset>, Failure> {
        let wanted: Vec<_> = partitions.iter().map(|it| (it.clone(), spec)).collect();
        Ok(client.list_offsets(&wanted, isolation)?)
    };
    let starts = list(OffsetSpec::Earliest)?;
    let ends = list(OffsetSpec::Latest)?;
    let mut by_time = |place| match place {
        Place::Time(time) => list(OffsetSpec::AtTime(Timestamp(time))),
        Place::Ago(ago) => list(OffsetSpec::AtTime(Timestamp(before_now(ago)))),
        Place::Beginning | Place::End | Place::Offset(_) | Place::Last(_) => Ok(BTreeMap::new()),
    };
    let from_times = by_time(arguments.from)?;
    let to_times = by_time(arguments.to)?;
    let known = |listed: &BTreeMap<PartitionName, ListedOffset>, partition| {
        listed.get(partition).and_then(|found| found.offset)
    };
    let mut ranges = BTreeMap::new();
    for partition in partitions {
        let first = known(&starts, partition).unwrap_or(Offset::ZERO);
        let end = known(&ends, partition).unwrap_or(first);
        let offset_of = |place, times| match place {
            Place::Beginning => first,
            Place::End => end,
            Place::Offset(offset) => Offset(offset),
            Place::Last(count) => Offset(end.0.saturating_sub(count)).max(first),
            // No record is as late: the end.
            Place::Time(_) | Place::Ago(_) => known(times, partition).unwrap_or(end),
        };
        let range = Range {
            start: offset_of(arguments.from, &from_times),
            end: offset_of(arguments.to, &to_times).min(end),
        };
        ranges.insert(partition.clone(), range);
    }
    Ok(ranges)
}

fn before_now(ago: Duration) -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let then = since_epoch.saturating_sub(ago);
    i64::try_from(then.as_millis()).unwrap_or(i64::MAX)
}

/// Prints records, many at a time.
pub(super) struct Printer<'a> {
    arguments: &'a ConsumeArguments,
    out: BufWriter<io::StdoutLock<'static>>,
    line: Vec<u8>,
    pub(super) printed: u64,
    progress: Progress,
}

impl<'a> Printer<'a> {
    pub(super) fn new(arguments: &'a ConsumeArguments) -> Self {
        Self {
            arguments,
            out: BufWriter::with_capacity(1 << 16, io::stdout().lock()),
            line: Vec::new(),
            printed: 0,
            // Records on the screen are progress enough.
            progress: Progress::new(
                "consumed",
                arguments.quiet || io::IsTerminal::is_terminal(&io::stdout()),
            ),
        }
    }

    pub(super) fn print(&mut self, partition: &PartitionName, record: &Record) -> io::Result<()> {
        self.line.clear();
        let null = &self.arguments.null_as;
        self.arguments
            .format
            .write(partition, record, null, &mut self.line);
        self.out.write_all(&self.line)?;
        self.printed += 1;
        self.progress.count(1, self.line.len() as u64);
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_read_from_words_numbers_and_times() {
        let from = |text: &str| text.parse::<Place>();
        assert_eq!(from("beginning"), Ok(Place::Beginning));
        assert_eq!(from("end"), Ok(Place::End));
        assert_eq!(from("17"), Ok(Place::Offset(17)));
        assert_eq!(from("-5"), Ok(Place::Last(5)));
        assert_eq!(from("@1700000000000"), Ok(Place::Time(1_700_000_000_000)));
        assert_eq!(from("@-10m"), Ok(Place::Ago(Duration::from_secs(600))));
        for wrong in [
            "", "start", "@", "@-", "@-10", "@-m", "@-10x", "1.5", "@-1é",
        ] {
            assert!(from(wrong).is_err(), "{wrong}");
        }
    }
}
