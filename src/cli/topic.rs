//! `klamm topic`: create, list, describe and delete topics over the Kafka protocol, on klamm or any
//! other broker.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use klamm_client::BrokerError;
use klamm_client::admin::{
    Apply, ConfigEntry, ConfigResource, ConfigSource, CreatedTopic, NewTopic,
};
use klamm_client::blocking::Client;
use klamm_client::metadata::{PartitionName, TopicInfo};
use klamm_client::offsets::OffsetSpec;
use klamm_model::{ErrorCode, IsolationLevel, NodeId, Served, TopicName};
use serde_json::{Value, json};

use super::cluster::size_words;
use super::config::source_words;
use super::connect::{ConnectArguments, Failure};
use super::fail;
use super::output::{Format, Side, Table, print, print_json};
use super::topic_alter::{AlterArguments, alter};
use crate::words::counted;

#[derive(Debug, Args)]
pub(super) struct TopicArguments {
    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Debug, Subcommand)]
enum TopicCommand {
    /// Create topics.
    Create(CreateArguments),
    /// List topics.
    List(ListArguments),
    /// Show partitions, leaders, replicas, offsets, sizes and configuration.
    Describe(DescribeArguments),
    /// Give topics more partitions, or other configuration.
    Alter(AlterArguments),
    /// Delete topics and their records.
    Delete(DeleteArguments),
}

#[derive(Debug, Args)]
struct CreateArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    /// Names of the topics.
    #[arg(required = true, value_parser = topic_name)]
    names: Vec<TopicName>,
    /// Number of partitions [default: the broker's].
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Number of replicas [default: the broker's].
    #[arg(long, short, value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A configuration value. May be repeated.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_and_value)]
    config: Vec<(String, String)>,
    /// A topic that exists is no failure.
    #[arg(long)]
    if_not_exists: bool,
    /// Only check whether it could be done.
    #[arg(long)]
    validate_only: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    /// Include the topics that the cluster keeps for itself.
    #[arg(long)]
    internal: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct DescribeArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    /// Names of the topics.
    #[arg(required = true, value_parser = topic_name)]
    names: Vec<TopicName>,
    /// Show configuration at its default, too.
    #[arg(long)]
    all_configs: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct DeleteArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    /// Names of the topics.
    #[arg(required = true, value_parser = topic_name)]
    names: Vec<TopicName>,
    /// A topic that does not exist is no failure.
    #[arg(long)]
    if_exists: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Reads a topic name given as an argument.
pub(super) fn topic_name(text: &str) -> Result<TopicName, String> {
    TopicName::new(text).map_err(|error| error.to_string())
}

pub(super) fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

pub(super) fn run(arguments: &TopicArguments) -> ExitCode {
    let outcome = match &arguments.command {
        TopicCommand::Create(arguments) => create(arguments),
        TopicCommand::List(arguments) => list(arguments),
        TopicCommand::Describe(arguments) => describe(arguments),
        TopicCommand::Alter(arguments) => alter(arguments),
        TopicCommand::Delete(arguments) => delete(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason)) => fail(&reason),
    }
}

/// What became of one topic, as a line and as JSON.
pub(super) struct Done {
    pub(super) line: String,
    pub(super) document: Value,
}

/// Prints what was done, and fails if something was refused.
pub(super) fn settle(
    format: Format,
    outcomes: Vec<Result<Done, BrokerError>>,
    accepted: Option<ErrorCode>,
) -> Result<(), Failure> {
    let mut documents = Vec::new();
    let mut refused: Vec<String> = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(done) if format == Format::Json => documents.push(done.document),
            Ok(done) => print(&format!("{}\n", done.line))?,
            Err(error) if Some(error.code) == accepted => {
                eprintln!("{}: nothing to do", error.subject);
            }
            Err(error) => {
                let Failure(reason) = error.into();
                refused.push(reason);
            }
        }
    }
    if format == Format::Json {
        print_json(&Value::Array(documents))?;
    }
    if refused.is_empty() {
        Ok(())
    } else {
        Err(Failure(refused.join("\n")))
    }
}

fn create(arguments: &CreateArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let topic = |name: &TopicName| NewTopic {
        name: name.clone(),
        partitions: arguments.partitions,
        replication_factor: arguments.replication_factor,
        configs: arguments.config.clone(),
    };
    let apply = if arguments.validate_only {
        Apply::ValidateOnly
    } else {
        Apply::Really
    };
    let topics: Vec<NewTopic> = arguments.names.iter().map(topic).collect();
    let created = client.create_topics(&topics, apply)?;
    let made = created.iter().flatten().next();
    let made = made.filter(|_| apply == Apply::Really && !arguments.config.is_empty());
    let notes = made.map(|topic| without_effect(&mut client, &topic.name, &arguments.config));
    let accepted = arguments
        .if_not_exists
        .then_some(ErrorCode::TopicAlreadyExists);
    let outcomes = created.into_iter();
    let outcomes = outcomes.map(|outcome| outcome.map(|topic| creation(&topic, apply)));
    settle(arguments.format, outcomes.collect(), accepted)?;
    for note in notes.into_iter().flatten() {
        eprintln!("{note}");
    }
    Ok(())
}

fn creation(topic: &CreatedTopic, apply: Apply) -> Done {
    let word = match apply {
        Apply::Really => "created",
        Apply::ValidateOnly => "could create",
    };
    let name = topic.name.as_str();
    let count = topic.partitions;
    let with = count.map(|count| counted(count.unsigned_abs().into(), "partition"));
    let with = with.map_or_else(String::new, |count| format!(" with {count}"));
    Done {
        line: format!("{word} {name}{with}"),
        document: json!({
            "name": name,
            // Older brokers do not tell.
            "id": (topic.id.0 != [0; 16]).then(|| topic.id.to_string()),
            "partitions": count,
            "replication_factor": topic.replication_factor,
            "created": apply == Apply::Really,
        }),
    }
}

/// What the broker's documentation says of values that were just set and do nothing. A broker that
/// cannot be asked leaves nothing to say: the topic is made.
fn without_effect(client: &mut Client, name: &str, set: &[(String, String)]) -> Vec<String> {
    let described = client.describe_configs(ConfigResource::Topic, name);
    let rows = described.unwrap_or_default().into_iter();
    let note = |row: ConfigEntry| {
        let documentation = row.documentation?;
        let (_, value) = set.iter().find(|(key, _)| *key == row.name)?;
        let first = documentation.split_inclusive('.').next()?;
        first
            .starts_with(Served::WITHOUT_EFFECT)
            .then(|| format!("note: {}={value}: {first}", row.name))
    };
    rows.filter_map(note).collect()
}

fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let mut topics = client.refresh(None)?;
    topics.retain(|topic| arguments.internal || !topic.internal);
    topics.sort_by(|left, right| left.name.cmp(&right.name));
    let replicas = |topic: &TopicInfo| topic.partitions.first().map_or(0, |it| it.replicas.len());
    if arguments.format == Format::Json {
        let rows = topics.iter().map(|topic| {
            json!({
                "name": topic.name.as_str(),
                "id": topic.id.to_string(),
                "internal": topic.internal,
                "partitions": topic.partitions.len(),
                "replication_factor": replicas(topic),
            })
        });
        return Ok(print_json(&Value::Array(rows.collect()))?);
    }
    if topics.is_empty() {
        eprintln!("no topics; make one with `klamm topic create NAME`");
        return Ok(());
    }
    let mut table = Table::new(&[
        ("TOPIC", Side::Left),
        ("PARTITIONS", Side::Right),
        ("REPLICAS", Side::Right),
        ("ID", Side::Left),
    ]);
    for topic in &topics {
        table.row(vec![
            topic.name.to_string(),
            topic.partitions.len().to_string(),
            replicas(topic).to_string(),
            topic.id.to_string(),
        ]);
    }
    Ok(print(&table.render())?)
}

/// All that is shown of one topic.
struct Described {
    topic: TopicInfo,
    /// First offset and end of each partition, where its leader answers.
    ranges: Vec<Option<(i64, i64)>>,
    /// Bytes of each partition at its leader, where that tells.
    sizes: Vec<Option<u64>>,
    configs: Vec<ConfigEntry>,
}

fn describe(arguments: &DescribeArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let mut described = Vec::new();
    for name in &arguments.names {
        described.push(look_at(&mut client, name, arguments.all_configs)?);
    }
    if arguments.format == Format::Json {
        let documents = described.iter().map(described_json);
        return Ok(print_json(&Value::Array(documents.collect()))?);
    }
    let texts: Vec<String> = described.iter().map(described_text).collect();
    Ok(print(&texts.join("\n"))?)
}

fn look_at(client: &mut Client, name: &TopicName, all_configs: bool) -> Result<Described, Failure> {
    let topic = client.describe_topic(name)?;
    let mut configs = client.describe_configs(ConfigResource::Topic, name.as_str())?;
    configs.retain(|entry| all_configs || entry.source == ConfigSource::Topic);
    configs.sort_by(|left, right| left.name.cmp(&right.name));
    let mut ranges = Vec::new();
    for partition in &topic.partitions {
        let named = PartitionName::new(name.clone(), partition.index);
        let mut offset = |spec| {
            partition.leader?;
            let wanted = [(named.clone(), spec)];
            let listed = client.list_offsets(&wanted, IsolationLevel::ReadUncommitted);
            listed.ok()?.get(&named)?.offset
        };
        let range = offset(OffsetSpec::Earliest).zip(offset(OffsetSpec::Latest));
        ranges.push(range.map(|(start, end)| (start.0, end.0)));
    }
    let sizes = sizes(client, &topic);
    Ok(Described {
        topic,
        ranges,
        sizes,
        configs,
    })
}

/// Asks each leader for the bytes of its partitions; what cannot be asked stays open.
fn sizes(client: &mut Client, topic: &TopicInfo) -> Vec<Option<u64>> {
    let mut leaders: Vec<NodeId> = topic.partitions.iter().filter_map(|it| it.leader).collect();
    leaders.sort_unstable();
    leaders.dedup();
    let mut stored = Vec::new();
    for leader in leaders {
        let led = topic
            .partitions
            .iter()
            .filter(|it| it.leader == Some(leader));
        let led: Vec<_> = led
            .map(|it| PartitionName::new(topic.name.clone(), it.index))
            .collect();
        let folders = client
            .describe_log_dirs(leader, Some(&led))
            .unwrap_or_default();
        stored.extend(
            folders
                .into_iter()
                .flatten()
                .flat_map(|folder| folder.replicas),
        );
    }
    let size = |index| {
        let mut of_it = stored.iter().filter(|it| it.partition.index == index);
        of_it.find(|it| !it.is_future).map(|it| it.bytes)
    };
    topic.partitions.iter().map(|it| size(it.index)).collect()
}

fn described_text(described: &Described) -> String {
    let Described {
        topic,
        ranges,
        sizes,
        configs,
    } = described;
    let nodes = |list: &[NodeId]| {
        let ids: Vec<String> = list.iter().map(ToString::to_string).collect();
        ids.join(",")
    };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut text = format!("topic {}  id {}\n", topic.name, topic.id);
    for entry in configs {
        let value = entry.value.as_deref().unwrap_or("(hidden)");
        let source = source_words(entry.source);
        text.push_str(&format!("config {} = {value} ({source})\n", entry.name));
    }
    let headings = [
        ("PARTITION", Side::Right),
        ("LEADER", Side::Right),
        ("EPOCH", Side::Right),
        ("REPLICAS", Side::Left),
        ("IN SYNC", Side::Left),
        ("START", Side::Right),
        ("END", Side::Right),
        ("SIZE", Side::Right),
        ("STATE", Side::Left),
    ];
    let mut table = Table::new(&headings);
    for ((partition, range), size) in topic.partitions.iter().zip(ranges).zip(sizes) {
        let state = match (partition.error, partition.leader) {
            (Some(code), _) => code.name().to_owned(),
            (None, None) => "offline".to_owned(),
            (None, Some(_)) if partition.isr.len() < partition.replicas.len() => {
                "under-replicated".to_owned()
            }
            (None, Some(_)) => "ok".to_owned(),
        };
        table.row(vec![
            partition.index.to_string(),
            or_dash(partition.leader.map(|leader| leader.to_string())),
            partition.leader_epoch.to_string(),
            nodes(&partition.replicas),
            nodes(&partition.isr),
            or_dash(range.map(|(start, _)| start.to_string())),
            or_dash(range.map(|(_, end)| end.to_string())),
            or_dash(size.map(size_words)),
            state,
        ]);
    }
    text.push_str(&table.render());
    text
}

fn described_json(described: &Described) -> Value {
    let Described {
        topic,
        ranges,
        sizes,
        configs,
    } = described;
    let nodes = |list: &[NodeId]| list.iter().map(|node| node.0).collect::<Vec<_>>();
    let partitions =
        topic
            .partitions
            .iter()
            .zip(ranges)
            .zip(sizes)
            .map(|((partition, range), size)| {
                json!({
                    "index": partition.index.0,
                    "leader": partition.leader.map(|leader| leader.0),
                    "leader_epoch": partition.leader_epoch.0,
                    "replicas": nodes(&partition.replicas),
                    "isr": nodes(&partition.isr),
                    "offline": nodes(&partition.offline),
                    "log_start": range.map(|(start, _)| start),
                    "log_end": range.map(|(_, end)| end),
                    "bytes": size,
                    "error": partition.error.map(ErrorCode::name),
                })
            });
    let configs = configs.iter().map(|entry| {
        json!({
            "name": entry.name,
            "value": entry.value,
            "default": entry.source != ConfigSource::Topic,
            "source": source_words(entry.source),
        })
    });
    json!({
        "name": topic.name.as_str(),
        "id": topic.id.to_string(),
        "internal": topic.internal,
        "partitions": partitions.collect::<Vec<_>>(),
        "configs": configs.collect::<Vec<_>>(),
    })
}

fn delete(arguments: &DeleteArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let deleted = client.delete_topics(&arguments.names)?;
    let done = |name: String| Done {
        line: format!("deleted {name}"),
        document: json!({ "name": name, "deleted": true }),
    };
    let outcomes = deleted.into_iter().map(|outcome| outcome.map(done));
    let accepted = arguments
        .if_exists
        .then_some(ErrorCode::UnknownTopicOrPartition);
    settle(arguments.format, outcomes.collect(), accepted)
}
