//! `klamm group reset`: moves where a group goes on, after a plan that is shown before anything
//! is done; as `kafka-consumer-groups --reset-offsets` does it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use klamm_client::admin::DescribedGroup;
use klamm_client::blocking::Client;
use klamm_client::group::CommittedOffset;
use klamm_client::metadata::PartitionName;
use klamm_client::offsets::{ListedOffset, OffsetSpec};
use klamm_model::{ErrorCode, IsolationLevel, Offset, Timestamp};
use serde_json::{Value, json};

use super::connect::{ConnectArguments, Failure};
use super::group::{TopicChoice, host, topic_choice};
use super::instant::{duration_of, time_of};
use super::output::{Format, Side, Table, print, print_json};
use crate::words::counted;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm group reset orders --topic flights --to-earliest\n  \
    klamm group reset orders --topic flights:0,2 --to-offset 1000 --execute\n  \
    klamm group reset orders --all-topics --by-duration 2h --execute\n  \
    klamm group reset orders --all-topics --to-time 2026-03-01T06:00:00Z\n  \
    klamm group reset orders --topic flights --shift-by -100\n\n\
    Without --execute nothing changes: the plan is shown. Offsets outside of what a partition holds \
    become its start or its end. A group with members is refused: they would commit over it.")]
pub(super) struct ResetArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    /// Name of the group.
    name: String,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    goal: GoalArguments,
    /// Do it.
    #[arg(long)]
    execute: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Scope {
    /// A topic, or some of its partitions. May be repeated.
    #[arg(long, value_name = "TOPIC[:PARTITIONS]", value_parser = topic_choice, conflicts_with = "all_topics")]
    topic: Vec<TopicChoice>,
    /// Every partition of which the group keeps an offset.
    #[arg(long)]
    all_topics: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct GoalArguments {
    /// To the first record that there is.
    #[arg(long)]
    to_earliest: bool,
    /// Behind the last record.
    #[arg(long)]
    to_latest: bool,
    /// To where the group is now; where it never was, behind the last record.
    #[arg(long)]
    to_current: bool,
    /// To this offset.
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// By so many records on, or back with a minus.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// To the first record of this time or later: @MS since 1970, or like 2026-03-01T06:00:00Z or
    /// 2026-03-01T06:00:00.000+01:00.
    #[arg(long, value_name = "TIME", value_parser = time_of)]
    to_time: Option<i64>,
    /// To the first record that is no older than this: like 90s, 10m, 2h, 7d, or PT2H30M.
    #[arg(long, value_name = "DURATION", value_parser = duration_of)]
    by_duration: Option<Duration>,
}

/// Where a group shall go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Earliest,
    Latest,
    Current,
    Offset(i64),
    Shift(i64),
    Time(i64),
}

impl GoalArguments {
    fn goal(&self) -> Goal {
        match self {
            Self {
                to_earliest: true, ..
            } => Goal::Earliest,
            Self {
                to_current: true, ..
            } => Goal::Current,
            Self {
                to_offset: Some(offset),
                ..
            } => Goal::Offset(*offset),
            Self {
                shift_by: Some(by), ..
            } => Goal::Shift(*by),
            Self {
                to_time: Some(time),
                ..
            } => Goal::Time(*time),
            Self {
                by_duration: Some(ago),
                ..
            } => Goal::Time(before_now(*ago)),
            // Exactly one is given.
            _ => Goal::Latest,
        }
    }
}

fn before_now(ago: Duration) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let then = now.unwrap_or_default().saturating_sub(ago);
    i64::try_from(then.as_millis()).unwrap_or(i64::MAX)
}

/// What happens to one partition.
struct Move {
    partition: PartitionName,
    current: Option<Offset>,
    to: Offset,
    /// Why it is not what was asked for.
    note: Option<&'static str>,
}

/// What is known of a partition before it is moved.
#[derive(Clone, Copy, Debug)]
struct Facts {
    current: Option<Offset>,
    first: Offset,
    end: Offset,
    /// First record of the time asked for, if there is one.
    at_time: Option<Offset>,
}

/// Where to go; `None` for a shift from nowhere.
fn destination(goal: Goal, facts: Facts) -> Option<(Offset, Option<&'static str>)> {
    let within = |offset: i64| {
        if offset < facts.first.0 {
            (facts.first, Some("before the start"))
        } else if offset > facts.end.0 {
            (facts.end, Some("behind the end"))
        } else {
            (Offset(offset), None)
        }
    };
    Some(match goal {
        Goal::Earliest => (facts.first, None),
        Goal::Latest => (facts.end, None),
        Goal::Current => match facts.current {
            Some(current) => (current, None),
            None => (facts.end, Some("no offset yet")),
        },
        Goal::Offset(offset) => within(offset),
        Goal::Shift(by) => within(facts.current?.0.saturating_add(by)),
        Goal::Time(_) => match facts.at_time {
            Some(offset) => (offset, None),
            None => (facts.end, Some("no record is as late")),
        },
    })
}

pub(super) fn reset(arguments: &ResetArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let name = arguments.name.as_str();
    refuse_members(&mut client, name)?;
    let kept = client.list_group_offsets(name, None)?;
    let partitions = chosen(&mut client, arguments, &kept)?;
    let moves = plan(&mut client, name, arguments.goal.goal(), &partitions, &kept)?;
    let done = arguments.execute && execute(&mut client, name, &moves)?;
    if arguments.format == Format::Json {
        let rows = moves.iter().map(|one| {
            json!({
                "topic": one.partition.topic.as_str(),
                "partition": one.partition.index.0,
                "current": one.current.map(|offset| offset.0),
                "new": one.to.0,
                "note": one.note,
            })
        });
        let document = json!({
            "group": name,
            "executed": done,
            "partitions": Value::Array(rows.collect()),
        });
        return Ok(print_json(&document)?);
    }
    print(&table(&moves))?;
    let partitions = counted(moves.len() as u64, "partition");
    eprintln!(
        "{}",
        match done {
            true => format!("moved {partitions} of group {name}"),
            false => format!("nothing is changed: a plan for {partitions}; --execute does it"),
        }
    );
    Ok(())
}

fn table(moves: &[Move]) -> String {
    let mut table = Table::new(&[
        ("TOPIC", Side::Left),
        ("PARTITION", Side::Right),
        ("CURRENT", Side::Right),
        ("NEW", Side::Right),
        ("CHANGE", Side::Right),
        ("NOTE", Side::Left),
    ]);
    for one in moves {
        let current = one.current;
        let change = current.map(|current| one.to.0.saturating_sub(current.0));
        let dash = || "-".to_owned();
        table.row(vec![
            one.partition.topic.to_string(),
            one.partition.index.to_string(),
            current.map_or_else(dash, |offset| offset.to_string()),
            one.to.to_string(),
            change.map_or_else(dash, |by| format!("{by:+}")),
            one.note.unwrap_or_default().to_owned(),
        ]);
    }
    table.render()
}

/// Members would commit over what is set here. A group that does not exist has none.
fn refuse_members(client: &mut Client, name: &str) -> Result<(), Failure> {
    match client.describe_groups(&[name])?.into_iter().next() {
        Some(Err(error)) if error.code != ErrorCode::GroupIdNotFound => Err(error.into()),
        Some(Ok(group)) if !group.members.is_empty() => Err(Failure(members_words(&group))),
        _ => Ok(()),
    }
}

/// Members that are named at most.
const NAMED_MAX: usize = 10;

fn members_words(group: &DescribedGroup) -> String {
    let count = group.members.len();
    let mut text = format!(
        "group {} has {}, who would commit over it:\n",
        group.group,
        counted(count as u64, "member")
    );
    for member in group.members.iter().take(NAMED_MAX) {
        let (client, at) = (&member.client_id, host(member));
        text.push_str(&format!("  {client} at {at} ({})\n", member.member));
    }
    if count > NAMED_MAX {
        text.push_str(&format!("  and {} more\n", count - NAMED_MAX));
    }
    text.push_str("  stop them and try again");
    text
}

/// The partitions asked for, in order.
fn chosen(
    client: &mut Client,
    arguments: &ResetArguments,
    kept: &BTreeMap<PartitionName, CommittedOffset>,
) -> Result<Vec<PartitionName>, Failure> {
    let name = &arguments.name;
    if arguments.scope.all_topics {
        if kept.is_empty() {
            return Err(Failure(format!(
                "group {name} keeps no offsets\n  name topics with --topic, or see `klamm group list`"
            )));
        }
        return Ok(kept.keys().cloned().collect());
    }
    let mut chosen = Vec::new();
    for choice in &arguments.scope.topic {
        let topic = client.topic(&choice.topic)?;
        match &choice.partitions {
            None => {
                let all = topic.partitions.iter().map(|it| it.index);
                chosen.extend(all.map(|index| PartitionName::new(topic.name.clone(), index)));
            }
            Some(indexes) => {
                for &index in indexes {
                    if topic.partition(index).is_none() {
                        let last = topic.partitions.len().saturating_sub(1);
                        return Err(Failure(format!(
                            "topic {}: expected a partition from 0 to {last}, found {index}",
                            topic.name
                        )));
                    }
                    chosen.push(PartitionName::new(topic.name.clone(), index));
                }
            }
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

fn plan(
    client: &mut Client,
    name: &str,
    goal: Goal,
    partitions: &[PartitionName],
    kept: &BTreeMap<PartitionName, CommittedOffset>,
) -> Result<Vec<Move>, Failure> {
    let mut list = |spec| -> Result<BTreeMap<PartitionName, ListedOffset>, Failure> {
        let wanted: Vec<_> = partitions.iter().map(|it| (it.clone(), spec)).collect();
        Ok(client.list_offsets(&wanted, IsolationLevel::ReadUncommitted)?)
    };
    let (starts, ends) = (list(OffsetSpec::Earliest)?, list(OffsetSpec::Latest)?);
    let times = match goal {
        Goal::Time(time) => list(OffsetSpec::AtTime(Timestamp(time)))?,
        _ => BTreeMap::new(),
    };
    let mut moves = Vec::new();
    for partition in partitions {
        let known = |listed: &BTreeMap<_, ListedOffset>| listed.get(partition)?.offset;
        let first = known(&starts).unwrap_or(Offset::ZERO);
        let facts = Facts {
            current: kept.get(partition).map(|kept| kept.offset),
            first,
            end: known(&ends).unwrap_or(first),
            at_time: known(&times),
        };
        let Some((to, note)) = destination(goal, facts) else {
            return Err(Failure(format!(
                "group {name} keeps no offset of {partition} to shift from\n  give it one with \
                 --to-earliest, --to-latest or --to-offset, or leave the partition out"
            )));
        };
        moves.push(Move {
            partition: partition.clone(),
            current: facts.current,
            to,
            note,
        });
    }
    Ok(moves)
}

/// Sets the offsets; true when all are set.
fn execute(client: &mut Client, name: &str, moves: &[Move]) -> Result<bool, Failure> {
    let wanted = moves.iter();
    let wanted = wanted.map(|one| (one.partition.clone(), CommittedOffset::at(one.to)));
    let outcomes = client.alter_group_offsets(name, &wanted.collect())?;
    let mut refused: Vec<String> = Vec::new();
    for (_, outcome) in outcomes {
        if let Err(error) = outcome {
            refused.push(match error.code {
                // Somebody joined meanwhile.
                ErrorCode::UnknownMemberId => format!(
                    "{error}\n  a member has joined: `klamm group members {name}` shows who; stop it \
                     and try again"
                ),
                _ => Failure::from(error).0,
            });
        }
    }
    refused.dedup();
    if refused.is_empty() {
        return Ok(true);
    }
    Err(Failure(refused.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(current: Option<i64>) -> Facts {
        Facts {
            current: current.map(Offset),
            first: Offset(10),
            end: Offset(100),
            at_time: None,
        }
    }

    #[test]
    fn a_destination_lies_within_the_log() {
        let to = |goal, current| destination(goal, facts(current)).map(|(to, _)| to.0);
        assert_eq!(to(Goal::Earliest, None), Some(10));
        assert_eq!(to(Goal::Latest, None), Some(100));
        assert_eq!(to(Goal::Offset(50), None), Some(50));
        assert_eq!(to(Goal::Offset(5), None), Some(10));
        assert_eq!(to(Goal::Offset(500), None), Some(100));
        assert_eq!(to(Goal::Shift(-20), Some(50)), Some(30));
        assert_eq!(to(Goal::Shift(-60), Some(50)), Some(10));
        assert_eq!(to(Goal::Shift(i64::MAX), Some(50)), Some(100));
        assert_eq!(to(Goal::Shift(1), None), None, "from nowhere");
        assert_eq!(to(Goal::Current, Some(50)), Some(50));
        assert_eq!(to(Goal::Current, None), Some(100));
        assert_eq!(to(Goal::Time(1), None), Some(100));
        let at = Facts {
            at_time: Some(Offset(42)),
            ..facts(None)
        };
        assert_eq!(destination(Goal::Time(1), at), Some((Offset(42), None)));
    }
}
