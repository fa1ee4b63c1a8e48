//! `klamm topic`: create, list, describe, alter and delete topics over the Kafka protocol, on klamm
//! or any other broker.

use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};
use klamm_client::BrokerError;
use klamm_client::admin::{
    Apply, ConfigChange, ConfigEntry, ConfigResource, ConfigSource, NewTopic,
};
use klamm_client::blocking::Client;
use klamm_client::metadata::{PartitionName, TopicInfo};
use klamm_client::offsets::OffsetSpec;
use klamm_model::{ErrorCode, IsolationLevel, NodeId, TopicName};
use serde_json::{Value, json};

use super::connect::{ConnectArguments, Failure};
use super::fail;
use super::output::{Format, Table, print, print_json};

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
    /// Show partitions, leaders, replicas, offsets and configuration.
    Describe(DescribeArguments),
    /// Add partitions or change configuration, on a broker that serves it: this version's does not.
    #[command(hide = true)]
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
#[command(group(ArgGroup::new("change").required(true).multiple(true).args(["partitions", "set", "unset"])))]
struct AlterArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    /// Name of the topic.
    #[arg(value_parser = topic_name)]
    name: TopicName,
    /// Raise the number of partitions to this total.
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Set a configuration value. May be repeated.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// Put a configuration value back to its default. May be repeated.
    #[arg(long, short, value_name = "KEY")]
    unset: Vec<String>,
    /// Only check whether it could be done.
    #[arg(long)]
    validate_only: bool,
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
}

/// Reads a topic name given as an argument.
pub(super) fn topic_name(text: &str) -> Result<TopicName, String> {
    TopicName::new(text).map_err(|error| error.to_string())
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
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

/// Prints what was done, and fails if something was refused.
fn settle(
    outcomes: Vec<Result<String, BrokerError>>,
    accepted: Option<ErrorCode>,
) -> Result<(), Failure> {
    let mut refused: Vec<String> = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(done) => print(&format!("{done}\n"))?,
            Err(error) if Some(error.code) == accepted => {
                eprintln!("{}: nothing to do", error.subject);
            }
            Err(error) => {
                let Failure(reason) = error.into();
                refused.push(reason);
            }
        }
    }
    if refused.is_empty() {
        Ok(())
    } else {
        Err(Failure(refused.join("\n")))
    }
}

fn apply(validate_only: bool) -> Apply {
    if validate_only {
        Apply::ValidateOnly
    } else {
        Apply::Really
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
    let topics: Vec<NewTopic> = arguments.names.iter().map(topic).collect();
    let created = client.create_topics(&topics, apply(arguments.validate_only))?;
    let outcomes = created.into_iter().map(|outcome| {
        outcome.map(|topic| {
            let word = if arguments.validate_only {
                "could create"
            } else {
                "created"
            };
            match topic.partitions {
                Some(1) => format!("{word} {} with 1 partition", topic.name),
                Some(count) => format!("{word} {} with {count} partitions", topic.name),
                None => format!("{word} {}", topic.name),
            }
        })
    });
    let accepted = arguments
        .if_not_exists
        .then_some(ErrorCode::TopicAlreadyExists);
    settle(outcomes.collect(), accepted)
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
    let mut table = Table::new(&["TOPIC", "PARTITIONS", "REPLICAS", "ID"]);
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
    Ok(Described {
        topic,
        ranges,
        configs,
    })
}

fn described_text(described: &Described) -> String {
    let Described {
        topic,
        ranges,
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
        text.push_str(&format!("config {} = {value}\n", entry.name));
    }
    let headings = [
        "PARTITION",
        "LEADER",
        "EPOCH",
        "REPLICAS",
        "IN SYNC",
        "START",
        "END",
        "STATE",
    ];
    let mut table = Table::new(&headings);
    for (partition, range) in topic.partitions.iter().zip(ranges) {
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
        configs,
    } = described;
    let nodes = |list: &[NodeId]| list.iter().map(|node| node.0).collect::<Vec<_>>();
    let partitions = topic
        .partitions
        .iter()
        .zip(ranges)
        .map(|(partition, range)| {
            json!({
                "index": partition.index.0,
                "leader": partition.leader.map(|leader| leader.0),
                "leader_epoch": partition.leader_epoch.0,
                "replicas": nodes(&partition.replicas),
                "isr": nodes(&partition.isr),
                "offline": nodes(&partition.offline),
                "log_start": range.map(|(start, _)| start),
                "log_end": range.map(|(_, end)| end),
                "error": partition.error.map(ErrorCode::name),
            })
        });
    let configs = configs.iter().map(|entry| {
        json!({
            "name": entry.name,
            "value": entry.value,
            "default": entry.source != ConfigSource::Topic,
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

fn alter(arguments: &AlterArguments) -> Result<(), Failure> {
    let name = &arguments.name;
    let set = arguments.set.iter().cloned();
    let unset = arguments.unset.iter().cloned();
    let changes: Vec<(String, ConfigChange)> = set
        .map(|(key, value)| (key, ConfigChange::Set(value)))
        .chain(unset.map(|key| (key, ConfigChange::Delete)))
        .collect();
    let mut client = arguments.connect.connect()?;
    let apply = apply(arguments.validate_only);
    if !changes.is_empty() {
        client.alter_configs(ConfigResource::Topic, name.as_str(), &changes, apply)?;
        eprintln!("configuration of {name}: {} changed", changes.len());
    }
    if let Some(total) = arguments.partitions {
        let outcomes = client.create_partitions(&[(name.clone(), total)], apply)?;
        let told = |outcome: Result<String, BrokerError>| {
            outcome.map(|name| format!("{name} has {total} partitions"))
        };
        settle(outcomes.into_iter().map(told).collect(), None)?;
        eprintln!(
            "note: keys now map to other partitions; records written before stay where they are"
        );
    }
    Ok(())
}

fn delete(arguments: &DeleteArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let deleted = client.delete_topics(&arguments.names)?;
    let told = |outcome: Result<String, BrokerError>| outcome.map(|name| format!("deleted {name}"));
    let accepted = arguments
        .if_exists
        .then_some(ErrorCode::UnknownTopicOrPartition);
    settle(deleted.into_iter().map(told).collect(), accepted)
}
