//! `klamm group`: consumer groups over the Kafka protocol: list, describe, members, reset, delete.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use klamm_client::BrokerError;
use klamm_client::admin::{DescribedGroup, GroupMember};
use klamm_client::blocking::Client;
use klamm_client::group::CommittedOffset;
use klamm_client::metadata::PartitionName;
use klamm_client::offsets::OffsetSpec;
use klamm_model::{ErrorCode, IsolationLevel, Offset, PartitionIndex, TopicName};
use serde_json::{Value, json};

use super::connect::{ConnectArguments, Failure};
use super::fail;
use super::group_lag::{HistoryArguments, LagArguments, history, lag};
use super::group_reset::{ResetArguments, reset};
use super::output::{Format, Side, Table, print, print_json};
use super::topic::{Done, settle};
use crate::words::counted;

#[derive(Debug, Args)]
pub(super) struct GroupArguments {
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    /// List groups.
    List(ListArguments),
    /// Show of each partition where the group is, how far behind, and who reads it.
    Describe(DescribeArguments),
    /// Show who is in a group, from where, and what each member reads.
    Members(MembersArguments),
    /// Show how far groups are behind in records, bytes and time, and how they do.
    Lag(LagArguments),
    /// Show what happened to a group lately: who came and went, and why, and what moved.
    History(HistoryArguments),
    /// Move where a group without members goes on; shows the plan unless told to execute it.
    Reset(ResetArguments),
    /// Delete groups without members, or offsets that nobody reads.
    Delete(DeleteArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm group list\n  \
    klamm group list --state stable --state empty\n  \
    klamm group list --type consumer --format json")]
struct ListArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    /// Only groups in this state, such as stable or empty. May be repeated.
    #[arg(long, value_name = "STATE")]
    state: Vec<String>,
    /// Only groups of this protocol: classic or consumer. May be repeated.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm group describe orders\n  \
    klamm group describe orders billing --format json\n\n\
    COMMITTED is the next record to be read, END the one that will be written next, LAG the records between.")]
struct DescribeArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    /// Names of the groups.
    #[arg(required = true)]
    names: Vec<String>,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm group members orders")]
struct MembersArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    /// Names of the groups.
    #[arg(required = true)]
    names: Vec<String>,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm group delete orders\n  \
    klamm group delete orders --topic flights\n\n\
    With --topic the group stays and forgets its offsets of that topic.")]
struct DeleteArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    /// Names of the groups.
    #[arg(required = true)]
    names: Vec<String>,
    /// Only the offsets of this topic, or of some of its partitions. May be repeated.
    #[arg(long, value_name = "TOPIC[:PARTITIONS]", value_parser = topic_choice)]
    topic: Vec<TopicChoice>,
    /// A group that does not exist is no failure.
    #[arg(long)]
    if_exists: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A topic, and which of its partitions; all where none is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicChoice {
    pub(super) topic: TopicName,
    pub(super) partitions: Option<Vec<PartitionIndex>>,
}

/// Reads `flights` or `flights:0,2`.
pub(super) fn topic_choice(text: &str) -> Result<TopicChoice, String> {
    let (name, list) = match text.split_once(':') {
        None => (text, None),
        Some((name, list)) => (name, Some(list)),
    };
    let number = |text: &str| {
        let number = text.trim().parse().ok().filter(|&number: &i32| number >= 0);
        number.map(PartitionIndex).ok_or_else(|| {
            format!("expected TOPIC or TOPIC:PARTITIONS such as flights:0,2, found {text:?}")
        })
    };
    let partitions = list.map(|list| list.split(',').map(number).collect::<Result<Vec<_>, _>>());
    Ok(TopicChoice {
        topic: TopicName::new(name).map_err(|error| error.to_string())?,
        partitions: partitions.transpose()?,
    })
}

pub(super) fn run(arguments: &GroupArguments) -> ExitCode {
    let outcome = match &arguments.command {
        GroupCommand::List(arguments) => list(arguments),
        GroupCommand::Describe(arguments) => describe(arguments),
        GroupCommand::Members(arguments) => members(arguments),
        GroupCommand::Lag(arguments) => lag(arguments),
        GroupCommand::History(arguments) => history(arguments),
        GroupCommand::Reset(arguments) => reset(arguments),
        GroupCommand::Delete(arguments) => delete(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason)) => fail(&reason),
    }
}

fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}

fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let groups = client.list_groups(&arguments.state, &arguments.types)?;
    if arguments.format == Format::Json {
        let rows = groups.iter().map(|group| {
            json!({
                "group": group.group,
                "type": group.group_type,
                "state": group.state,
                "protocol_type": group.protocol_type,
            })
        });
        return Ok(print_json(&Value::Array(rows.collect()))?);
    }
    if groups.is_empty() {
        let all = arguments.state.is_empty() && arguments.types.is_empty();
        eprintln!(
            "{}",
            match all {
                true => "no groups; a consumer makes one when it joins or commits",
                false => "no such groups; `klamm group list` shows all",
            }
        );
        return Ok(());
    }
    let mut table = Table::new(&[
        ("GROUP", Side::Left),
        ("TYPE", Side::Left),
        ("STATE", Side::Left),
        ("MEMBERS ARE", Side::Left),
    ]);
    for group in groups {
        let kind = Some(group.protocol_type).filter(|kind| !kind.is_empty());
        table.row(vec![
            group.group,
            or_dash(group.group_type.map(|it| it.to_lowercase())),
            or_dash(group.state),
            or_dash(kind),
        ]);
    }
    Ok(print(&table.render())?)
}

/// Describes groups; one that does not exist fails the command, and the others are shown before.
fn described(
    client: &mut Client,
    names: &[String],
) -> Result<(Vec<DescribedGroup>, Vec<BrokerError>), Failure> {
    let mut seen = BTreeSet::new();
    let names = names.iter().filter(|name| seen.insert(name.as_str()));
    let names: Vec<&str> = names.map(String::as_str).collect();
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for outcome in client.describe_groups(&names)? {
        match outcome {
            Ok(group) => found.push(group),
            Err(error) => missing.push(error),
        }
    }
    Ok((found, missing))
}

/// Prints what there is, and fails for what is missing.
fn show(
    format: Format,
    documents: Vec<Value>,
    texts: &[String],
    missing: Vec<BrokerError>,
) -> Result<(), Failure> {
    match format {
        Format::Json => print_json(&Value::Array(documents))?,
        Format::Table => print(&texts.join("\n"))?,
    }
    if missing.is_empty() {
        return Ok(());
    }
    let reasons = missing.into_iter().map(|error| Failure::from(error).0);
    Err(Failure(reasons.collect::<Vec<_>>().join("\n")))
}

/// One partition of a group.
struct Reading {
    partition: PartitionName,
    committed: Option<CommittedOffset>,
    end: Option<Offset>,
    reader: Option<GroupMember>,
}

impl Reading {
    fn lag(&self) -> Option<i64> {
        let committed = self.committed.as_ref()?.offset.0;
        Some(self.end?.0.saturating_sub(committed).max(0))
    }
}

fn readings(client: &mut Client, group: &DescribedGroup) -> Result<Vec<Reading>, Failure> {
    let mut kept = client.list_group_offsets(&group.group, None)?;
    let mut readers: BTreeMap<PartitionName, &GroupMember> = BTreeMap::new();
    for member in &group.members {
        let read = member.assignment.iter().cloned();
        readers.extend(read.map(|partition| (partition, member)));
    }
    let all: BTreeSet<PartitionName> = kept.keys().chain(readers.keys()).cloned().collect();
    let ends = ends(client, all.iter())?;
    let rows = all.into_iter().map(|partition| Reading {
        committed: kept.remove(&partition),
        end: ends.get(&partition).copied(),
        reader: readers.get(&partition).map(|member| (*member).clone()),
        partition,
    });
    Ok(rows.collect())
}

/// Ends of those partitions that exist and have a leader.
fn ends<'p>(
    client: &mut Client,
    partitions: impl Iterator<Item = &'p PartitionName> + Clone,
) -> Result<BTreeMap<PartitionName, Offset>, Failure> {
    let topics: BTreeSet<TopicName> = partitions.clone().map(|it| it.topic.clone()).collect();
    let topics: Vec<TopicName> = topics.into_iter().collect();
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    client.refresh(Some(&topics))?;
    let led = partitions.filter(|it| client.cluster().leader(it).is_some());
    let wanted: Vec<_> = led.map(|it| (it.clone(), OffsetSpec::Latest)).collect();
    let listed = client.list_offsets(&wanted, IsolationLevel::ReadUncommitted)?;
    let ends = listed.into_iter();
    Ok(ends
        .filter_map(|(partition, found)| Some((partition, found.offset?)))
        .collect())
}

/// `orders  Stable  classic, cooperative-sticky  2 members  coordinator 1`.
fn heading(group: &DescribedGroup) -> String {
    let divided = Some(group.assignor.as_str()).filter(|text| !text.is_empty());
    let divided = divided.map_or_else(String::new, |text| format!(", {text}"));
    let epoch = group.epoch.map(|epoch| format!("  epoch {epoch}"));
    format!(
        "group {}  {}  {}{divided}{}  {}  coordinator {}\n",
        group.group,
        group.state,
        group.protocol.as_str(),
        epoch.unwrap_or_default(),
        counted(group.members.len() as u64, "member"),
        group.coordinator
    )
}

/// An address as people write it: Kafka puts a slash before it.
pub(super) fn host(member: &GroupMember) -> &str {
    member
        .client_host
        .strip_prefix('/')
        .unwrap_or(&member.client_host)
}

fn describe(arguments: &DescribeArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let (groups, missing) = described(&mut client, &arguments.names)?;
    let (mut texts, mut documents) = (Vec::new(), Vec::new());
    for group in &groups {
        let readings = readings(&mut client, group)?;
        texts.push(described_text(group, &readings));
        documents.push(described_json(group, &readings));
    }
    show(arguments.format, documents, &texts, missing)
}

fn described_text(group: &DescribedGroup, readings: &[Reading]) -> String {
    let mut text = heading(group);
    if readings.is_empty() {
        text.push_str("no offsets are committed, and nothing is read\n");
        return text;
    }
    let mut table = Table::new(&[
        ("TOPIC", Side::Left),
        ("PARTITION", Side::Right),
        ("COMMITTED", Side::Right),
        ("END", Side::Right),
        ("LAG", Side::Right),
        ("MEMBER", Side::Left),
        ("CLIENT", Side::Left),
        ("HOST", Side::Left),
    ]);
    for reading in readings {
        let reader = reading.reader.as_ref();
        table.row(vec![
            reading.partition.topic.to_string(),
            reading.partition.index.to_string(),
            or_dash(reading.committed.as_ref().map(|kept| kept.offset)),
            or_dash(reading.end),
            or_dash(reading.lag()),
            or_dash(reader.map(|it| &it.member)),
            or_dash(reader.map(|it| &it.client_id)),
            or_dash(reader.map(host)),
        ]);
    }
    text.push_str(&table.render());
    text
}

fn group_json(group: &DescribedGroup) -> serde_json::Map<String, Value> {
    let document = json!({
        "group": group.group,
        "type": group.protocol.as_str(),
        "state": group.state,
        "protocol_type": group.protocol_type,
        "assignor": group.assignor,
        "epoch": group.epoch,
        "coordinator": group.coordinator.0,
    });
    match document {
        Value::Object(object) => object,
        _ => serde_json::Map::new(),
    }
}

fn described_json(group: &DescribedGroup, readings: &[Reading]) -> Value {
    let rows = readings.iter().map(|reading| {
        let kept = reading.committed.as_ref();
        let reader = reading.reader.as_ref();
        json!({
            "topic": reading.partition.topic.as_str(),
            "partition": reading.partition.index.0,
            "committed": kept.map(|kept| kept.offset.0),
            "leader_epoch": kept.and_then(|kept| kept.leader_epoch).map(|epoch| epoch.0),
            "metadata": kept.map(|kept| kept.metadata.as_str()),
            "end": reading.end.map(|end| end.0),
            "lag": reading.lag(),
            "member": reader.map(|it| it.member.as_str()),
            "instance": reader.and_then(|it| it.instance.as_deref()),
            "client_id": reader.map(|it| it.client_id.as_str()),
            "host": reader.map(host),
        })
    });
    let mut document = group_json(group);
    document.insert("members".to_owned(), group.members.len().into());
    document.insert("partitions".to_owned(), rows.collect::<Vec<_>>().into());
    Value::Object(document)
}

fn members(arguments: &MembersArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let (groups, missing) = described(&mut client, &arguments.names)?;
    let texts: Vec<String> = groups.iter().map(members_text).collect();
    let documents = groups.iter().map(members_json).collect();
    show(arguments.format, documents, &texts, missing)
}

/// `flights:0-3,7 orders:1`.
pub(super) fn assignment_words(partitions: &[PartitionName]) -> String {
    let mut by_topic: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        let indexes = by_topic.entry(&partition.topic).or_default();
        indexes.push(partition.index.0);
    }
    let words = by_topic.into_iter().map(|(topic, mut indexes)| {
        indexes.sort_unstable();
        let mut runs: Vec<(i32, i32)> = Vec::new();
        for index in indexes {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == index => *last = index,
                _ => runs.push((index, index)),
            }
        }
        let runs = runs.into_iter().map(|(first, last)| match last - first {
            0 => first.to_string(),
            _ => format!("{first}-{last}"),
        });
        format!("{topic}:{}", runs.collect::<Vec<_>>().join(","))
    });
    let words = words.collect::<Vec<_>>().join(" ");
    if words.is_empty() {
        "-".to_owned()
    } else {
        words
    }
}

fn members_text(group: &DescribedGroup) -> String {
    let mut text = heading(group);
    if group.members.is_empty() {
        return text;
    }
    let mut table = Table::new(&[
        ("MEMBER", Side::Left),
        ("INSTANCE", Side::Left),
        ("CLIENT", Side::Left),
        ("HOST", Side::Left),
        ("PARTITIONS", Side::Right),
        ("ASSIGNMENT", Side::Left),
    ]);
    for member in &group.members {
        table.row(vec![
            member.member.clone(),
            or_dash(member.instance.as_ref()),
            member.client_id.clone(),
            host(member).to_owned(),
            member.assignment.len().to_string(),
            assignment_words(&member.assignment),
        ]);
    }
    text.push_str(&table.render());
    text
}

fn partitions_json(partitions: &[PartitionName]) -> Value {
    let rows = partitions.iter();
    let rows = rows.map(|it| json!({ "topic": it.topic.as_str(), "partition": it.index.0 }));
    Value::Array(rows.collect())
}

fn members_json(group: &DescribedGroup) -> Value {
    let rows = group.members.iter().map(|member| {
        let topics = member.topics.iter().map(TopicName::as_str);
        json!({
            "member": member.member,
            "instance": member.instance,
            "client_id": member.client_id,
            "host": host(member),
            "epoch": member.epoch,
            "topics": topics.collect::<Vec<_>>(),
            "assignment": partitions_json(&member.assignment),
            "target": member.target.as_deref().map(partitions_json),
        })
    });
    let mut document = group_json(group);
    document.insert("members".to_owned(), rows.collect::<Vec<_>>().into());
    Value::Object(document)
}

fn delete(arguments: &DeleteArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let mut names: Vec<&str> = arguments.names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let accepted = arguments.if_exists.then_some(ErrorCode::GroupIdNotFound);
    if !arguments.topic.is_empty() {
        let mut outcomes = Vec::new();
        for name in names {
            outcomes.extend(forget(&mut client, name, &arguments.topic)?);
        }
        return settle(arguments.format, outcomes, accepted);
    }
    let deleted = client.delete_groups(&names)?.into_iter();
    let outcomes = deleted.map(|(name, outcome)| {
        outcome.map(|()| Done {
            line: format!("deleted {name}"),
            document: json!({ "group": name, "deleted": true }),
        })
    });
    settle(arguments.format, outcomes.collect(), accepted)
}

/// Makes a group forget its offsets of some partitions.
fn forget(
    client: &mut Client,
    group: &str,
    choices: &[TopicChoice],
) -> Result<Vec<Result<Done, BrokerError>>, Failure> {
    let kept = client.list_group_offsets(group, None)?;
    let chosen = kept.into_keys().filter(|partition| {
        choices.iter().any(|choice| {
            let indexes = choice.partitions.as_ref();
            choice.topic == partition.topic
                && indexes.is_none_or(|indexes| indexes.contains(&partition.index))
        })
    });
    let chosen: Vec<PartitionName> = chosen.collect();
    if chosen.is_empty() {
        return Err(Failure(format!(
            "group {group} keeps no offset of that\n  `klamm group describe {group}` shows what it \
             keeps"
        )));
    }
    let outcomes = match client.delete_group_offsets(group, &chosen) {
        Ok(outcomes) => outcomes,
        Err(klamm_client::blocking::ClientError::Broker(error)) => return Ok(vec![Err(error)]),
        Err(error) => return Err(error.into()),
    };
    let outcomes = outcomes.into_iter().map(|(partition, outcome)| {
        outcome.map(|()| Done {
            line: format!("{group} forgot {partition}"),
            document: json!({
                "group": group,
                "topic": partition.topic.as_str(),
                "partition": partition.index.0,
                "forgotten": true,
            }),
        })
    });
    Ok(outcomes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_chosen_whole_or_by_partitions() {
        let choice =
            |text: &str| topic_choice(text).map(|it| (it.topic.to_string(), it.partitions));
        assert_eq!(choice("flights"), Ok(("flights".to_owned(), None)));
        let some = vec![PartitionIndex(0), PartitionIndex(2)];
        assert_eq!(
            choice("flights:0, 2"),
            Ok(("flights".to_owned(), Some(some)))
        );
        for wrong in ["", ":0", "a:", "a:x", "a:-1", "a:0,"] {
            assert!(choice(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn assignments_are_told_by_runs_of_partitions() {
        let of = |topic: &str, index| {
            PartitionName::new(TopicName::new(topic).expect("legal"), PartitionIndex(index))
        };
        assert_eq!(assignment_words(&[]), "-");
        let all = [of("b", 3), of("a", 0), of("a", 2), of("a", 1), of("a", 7)];
        assert_eq!(assignment_words(&all), "a:0-2,7 b:3");
    }
}
