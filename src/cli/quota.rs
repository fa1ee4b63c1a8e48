//! `klamm quota`: what clients may use of the cluster, by user, client id and address, over the Kafka
//! protocol.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use klamm_client::admin::{Apply, ClientQuota, QuotaEntity, QuotaKind, QuotaMatch};
use serde_json::{Map, Value, json};

use super::cluster::size_words;
use super::connect::{ConnectArguments, Failure};
use super::fail;
use super::output::{Format, Side, Table, print, print_json};
use crate::words::counted;

#[derive(Debug, Args)]
pub(super) struct QuotaArguments {
    #[command(subcommand)]
    command: QuotaCommand,
}

#[derive(Debug, Subcommand)]
enum QuotaCommand {
    /// Show all quotas, or those that concern a user, a client id or an address.
    List(ListArguments),
    /// Show the quotas that are set for exactly one entity.
    Describe(DescribeArguments),
    /// Set limits; they hold at once and are kept.
    Set(SetArguments),
    /// Take limits away.
    Delete(DeleteArguments),
}

/// What may be limited, and what for.
struct Key {
    name: &'static str,
    unit: Unit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Percent,
    Count(&'static str),
}

const KEYS: [Key; 5] = [
    Key {
        name: "producer_byte_rate",
        unit: Unit::Bytes,
    },
    Key {
        name: "consumer_byte_rate",
        unit: Unit::Bytes,
    },
    Key {
        name: "request_percentage",
        unit: Unit::Percent,
    },
    Key {
        name: "controller_mutation_rate",
        unit: Unit::Count("partitions/s"),
    },
    Key {
        name: CONNECTIONS,
        unit: Unit::Count("connections/s"),
    },
];

/// The one limit of addresses.
const CONNECTIONS: &str = "connection_creation_rate";

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Entity {
    /// Of this user; with a client id, of that client of the user's.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["default_user", "ip", "default_ip"])]
    user: Option<String>,
    /// Of every user who has no quota of their own.
    #[arg(long, conflicts_with_all = ["ip", "default_ip"])]
    default_user: bool,
    /// Of clients that name themselves so.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["default_client_id", "ip", "default_ip"])]
    client_id: Option<String>,
    /// Of every client id that has no quota of its own.
    #[arg(long, conflicts_with_all = ["ip", "default_ip"])]
    default_client_id: bool,
    /// Of connections from this address.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "default_ip")]
    ip: Option<String>,
    /// Of every address that has no quota of its own.
    #[arg(long)]
    default_ip: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm quota list\n  \
    klamm quota list --user alice --format json")]
struct ListArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    /// Only those with this user, alone or with a client id.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only those with this client id, alone or with a user.
    #[arg(long, value_name = "NAME")]
    client_id: Option<String>,
    /// Only those of this address.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["user", "client_id"])]
    ip: Option<String>,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm quota describe --user alice --client-id orders\n  \
    klamm quota describe --default-user")]
struct DescribeArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    #[command(flatten)]
    entity: Entity,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm quota set --user alice producer_byte_rate=10MiB consumer_byte_rate=20MiB\n  \
    klamm quota set --default-client-id request_percentage=50%\n  \
    klamm quota set --ip 10.0.0.7 connection_creation_rate=5\n\n\
    Keys: producer_byte_rate and consumer_byte_rate in bytes a second, with or without a unit (kB, KiB, \
    MB, MiB, GB, GiB); request_percentage of one core's time; controller_mutation_rate in partitions \
    created and deleted a second; for addresses connection_creation_rate, in connections a second.")]
struct SetArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    #[command(flatten)]
    entity: Entity,
    /// Limits to set.
    #[arg(required = true, value_name = "KEY=LIMIT", value_parser = key_and_limit)]
    limits: Vec<(String, f64)>,
    /// Only check whether it could be done.
    #[arg(long)]
    validate_only: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm quota delete --user alice producer_byte_rate\n  \
    klamm quota delete --user alice --client-id orders --all")]
struct DeleteArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    #[command(flatten)]
    entity: Entity,
    /// Keys of the limits to take away.
    #[arg(value_name = "KEY", value_parser = known_key, required_unless_present = "all")]
    keys: Vec<String>,
    /// Take away every limit of the entity.
    #[arg(long, conflicts_with = "keys")]
    all: bool,
    /// Only check whether it could be done.
    #[arg(long)]
    validate_only: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(arguments: &QuotaArguments) -> ExitCode {
    let outcome = match &arguments.command {
        QuotaCommand::List(arguments) => list(arguments),
        QuotaCommand::Describe(arguments) => describe(arguments),
        QuotaCommand::Set(arguments) => set(arguments),
        QuotaCommand::Delete(arguments) => delete(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason)) => fail(&reason),
    }
}

fn known_key(text: &str) -> Result<String, String> {
    if KEYS.iter().any(|key| key.name == text) {
        return Ok(text.to_owned());
    }
    let names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
    Err(format!("expected one of {}", names.join(", ")))
}

fn key_and_limit(text: &str) -> Result<(String, f64), String> {
    let (name, limit) = text
        .split_once('=')
        .ok_or_else(|| "expected KEY=LIMIT, for example producer_byte_rate=10MiB".to_owned())?;
    let name = known_key(name)?;
    let unit = KEYS.iter().find(|key| key.name == name);
    let unit = unit.map_or(Unit::Bytes, |key| key.unit);
    Ok((name, limit_of(limit, unit)?))
}

/// Reads a limit: a number above zero, with a unit that suits what is limited.
fn limit_of(text: &str, unit: Unit) -> Result<f64, String> {
    let text = text.trim();
    let is_number = |one: char| one.is_ascii_digit() || one == '.';
    let end = text.find(|one| !is_number(one)).unwrap_or(text.len());
    let (number, word) = text.split_at(end);
    let word = word.trim();
    let factor = match unit {
        Unit::Bytes => factor_of(word.strip_suffix("/s").unwrap_or(word)),
        Unit::Percent => ["", "%"].contains(&word).then_some(1.0),
        Unit::Count(_) => ["", "/s"].contains(&word).then_some(1.0),
    };
    let form = match unit {
        Unit::Bytes => "bytes a second, for example 1048576, 10MiB or 1.5MB",
        Unit::Percent => "percent of one core, for example 50 or 50%",
        Unit::Count(_) => "a number a second, for example 5 or 0.5",
    };
    let limit = number.parse::<f64>().ok().zip(factor);
    let limit = limit.map(|(number, factor)| number * factor);
    limit
        .filter(|limit| limit.is_finite() && *limit > 0.0)
        .ok_or_else(|| format!("expected {form}, above 0; found {text:?}"))
}

fn factor_of(word: &str) -> Option<f64> {
    Some(match word {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" | "K" | "k" => 1024.0,
        "MiB" | "M" => 1_048_576.0,
        "GiB" | "G" => 1_073_741_824.0,
        _ => return None,
    })
}

impl Entity {
    fn parts(&self) -> Vec<(QuotaKind, Option<String>)> {
        let all = [
            (QuotaKind::User, &self.user, self.default_user),
            (QuotaKind::ClientId, &self.client_id, self.default_client_id),
            (QuotaKind::Ip, &self.ip, self.default_ip),
        ];
        let given = all.into_iter();
        given
            .filter(|(_, name, is_default)| name.is_some() || *is_default)
            .map(|(kind, name, _)| (kind, name.clone()))
            .collect()
    }

    fn entity(&self) -> QuotaEntity {
        QuotaEntity::of(self.parts())
    }

    fn filter(&self) -> Vec<(QuotaKind, QuotaMatch)> {
        let parts = self.parts().into_iter();
        parts
            .map(|(kind, name)| (kind, name.map_or(QuotaMatch::Default, QuotaMatch::Named)))
            .collect()
    }

    /// Limits of connections are for addresses, and all others are not.
    fn check<'k>(&self, keys: impl Iterator<Item = &'k String>) -> Result<(), Failure> {
        let is_address = self.ip.is_some() || self.default_ip;
        for key in keys {
            match (is_address, key == CONNECTIONS) {
                (true, false) => {
                    return Err(Failure(format!(
                        "{key} cannot be limited for an address\n  name --user or --client-id \
                         instead; for addresses there is {CONNECTIONS}"
                    )));
                }
                (false, true) => {
                    return Err(Failure(format!(
                        "{key} is a limit of addresses\n  name one with --ip ADDRESS, or all others \
                         with --default-ip"
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let named = [
        (QuotaKind::User, &arguments.user),
        (QuotaKind::ClientId, &arguments.client_id),
        (QuotaKind::Ip, &arguments.ip),
    ];
    let named = named.into_iter();
    let filter: Vec<_> = named
        .filter_map(|(kind, name)| Some((kind, QuotaMatch::Named(name.clone()?))))
        .collect();
    let quotas = client.describe_client_quotas(&filter, false)?;
    show(&quotas, arguments.format, "no quota is set")
}

fn describe(arguments: &DescribeArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let quotas = client.describe_client_quotas(&arguments.entity.filter(), true)?;
    let nothing = format!(
        "no quota is set for {}; `klamm quota list` shows all",
        arguments.entity.entity().describe()
    );
    show(&quotas, arguments.format, &nothing)
}

fn show(quotas: &[ClientQuota], format: Format, nothing: &str) -> Result<(), Failure> {
    if format == Format::Json {
        let rows = quotas.iter().map(quota_json).collect();
        return Ok(print_json(&Value::Array(rows))?);
    }
    if quotas.is_empty() {
        eprintln!("{nothing}");
        return Ok(());
    }
    let mut table = Table::new(&[
        ("ENTITY", Side::Left),
        ("KEY", Side::Left),
        ("LIMIT", Side::Right),
    ]);
    for quota in quotas {
        for (key, limit) in &quota.limits {
            table.row(vec![
                quota.entity.describe(),
                key.clone(),
                limit_words(key, *limit),
            ]);
        }
    }
    Ok(print(&table.render())?)
}

fn quota_json(quota: &ClientQuota) -> Value {
    let entity = quota.entity.0.iter();
    let entity: Map<String, Value> = entity
        .map(|(kind, name)| (kind.clone(), json!(name)))
        .collect();
    let limits = quota.limits.iter();
    let limits: Map<String, Value> = limits
        .map(|(key, limit)| (key.clone(), json!(limit)))
        .collect();
    json!({ "entity": entity, "limits": limits })
}

/// A limit with its unit.
fn limit_words(key: &str, limit: f64) -> String {
    let unit = KEYS.iter().find(|known| known.name == key);
    match unit.map(|key| key.unit) {
        Some(Unit::Bytes) if limit >= 1024.0 => format!("{}/s", size_words(limit as u64)),
        Some(Unit::Bytes) => format!("{limit} B/s"),
        Some(Unit::Percent) => format!("{limit} %"),
        Some(Unit::Count(what)) => format!("{limit} {what}"),
        None => limit.to_string(),
    }
}

fn set(arguments: &SetArguments) -> Result<(), Failure> {
    let limits = arguments.limits.iter();
    arguments.entity.check(limits.clone().map(|(key, _)| key))?;
    let changes: Vec<_> = limits
        .map(|(key, limit)| (key.clone(), Some(*limit)))
        .collect();
    change(
        &arguments.connect,
        &arguments.entity,
        &changes,
        arguments.validate_only,
        arguments.format,
    )
}

fn delete(arguments: &DeleteArguments) -> Result<(), Failure> {
    let keys = match arguments.all {
        false => arguments.keys.clone(),
        true => {
            let mut client = arguments.connect.connect()?;
            let quotas = client.describe_client_quotas(&arguments.entity.filter(), true)?;
            let limits = quotas.into_iter().flat_map(|quota| quota.limits);
            limits.map(|(key, _)| key).collect()
        }
    };
    arguments.entity.check(keys.iter())?;
    if keys.is_empty() {
        return Err(Failure(format!(
            "no quota is set for {}\n  `klamm quota list` shows all",
            arguments.entity.entity().describe()
        )));
    }
    let changes: Vec<_> = keys.into_iter().map(|key| (key, None)).collect();
    change(
        &arguments.connect,
        &arguments.entity,
        &changes,
        arguments.validate_only,
        arguments.format,
    )
}

fn change(
    connect: &ConnectArguments,
    entity: &Entity,
    changes: &[(String, Option<f64>)],
    validate_only: bool,
    format: Format,
) -> Result<(), Failure> {
    let (entity, mut client) = (entity.entity(), connect.connect()?);
    let apply = match validate_only {
        true => Apply::ValidateOnly,
        false => Apply::Really,
    };
    client.alter_client_quotas(&entity, changes, apply)?;
    let subject = entity.describe();
    if format == Format::Json {
        return Ok(print_json(&json!({
            "subject": subject,
            "keys": changes.iter().map(|(key, _)| key).collect::<Vec<_>>(),
            "altered": apply == Apply::Really,
        }))?);
    }
    let limits = counted(changes.len() as u64, "limit");
    let line = match apply {
        Apply::Really => format!("changed {limits} of {subject}\n"),
        Apply::ValidateOnly => format!("could change {limits} of {subject}\n"),
    };
    Ok(print(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_with_the_units_that_people_write() {
        for (text, limit) in [
            ("producer_byte_rate=1048576", 1_048_576.0),
            ("producer_byte_rate=10MiB", 10_485_760.0),
            ("consumer_byte_rate=1.5MB/s", 1_500_000.0),
            ("consumer_byte_rate=2 GiB", 2_147_483_648.0),
            ("request_percentage=50%", 50.0),
            ("request_percentage=12.5", 12.5),
            ("controller_mutation_rate=0.5", 0.5),
            ("connection_creation_rate=5/s", 5.0),
        ] {
            let read = key_and_limit(text);
            assert_eq!(read.map(|(_, limit)| limit), Ok(limit), "{text}");
        }
        for (text, part) in [
            ("producer_byte_rate", "KEY=LIMIT"),
            ("producer_byte_rate=", "10MiB"),
            ("producer_byte_rate=0", "above 0"),
            ("producer_byte_rate=-1", "above 0"),
            ("producer_byte_rate=50%", "bytes a second"),
            ("request_percentage=10MiB", "percent"),
            ("controller_mutation_rate=x", "a number a second"),
            ("no_such_rate=1", "producer_byte_rate, consumer_byte_rate"),
        ] {
            let error = key_and_limit(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn limits_are_shown_with_their_units() {
        for (key, limit, shown) in [
            ("producer_byte_rate", 10_485_760.0, "10.0 MiB/s"),
            ("consumer_byte_rate", 0.5, "0.5 B/s"),
            ("request_percentage", 12.5, "12.5 %"),
            ("controller_mutation_rate", 3.0, "3 partitions/s"),
            ("connection_creation_rate", 5.0, "5 connections/s"),
            ("of_a_later_kafka", 7.0, "7"),
        ] {
            assert_eq!(limit_words(key, limit), shown, "{key}");
        }
    }
}
