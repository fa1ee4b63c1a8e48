//! `klamm topic alter`: more partitions, and other configuration, for topics that exist.

use clap::Args;
use klamm_client::admin::{Apply, ConfigChange, ConfigResource, MorePartitions};
use klamm_client::blocking::Client;
use klamm_model::TopicName;
use serde_json::json;

use super::connect::{ConnectArguments, Failure};
use super::output::Format;
use super::topic::{Done, key_and_value, settle, topic_name};
use crate::words::counted;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm topic alter orders --partitions 12\n  \
    klamm topic alter orders --config retention.ms=86400000 --unset compression.type")]
pub(super) struct AlterArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    /// Names of the topics.
    #[arg(required = true, value_parser = topic_name)]
    names: Vec<TopicName>,
    /// How many partitions they shall have in all; more than now. Records with a key may go to
    /// another partition from then on.
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(1..), required_unless_present_any = ["config", "unset"])]
    partitions: Option<i32>,
    /// A configuration value to set. May be repeated.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_and_value)]
    config: Vec<(String, String)>,
    /// A configuration value to take away, so that the broker's holds. May be repeated.
    #[arg(long, short, value_name = "KEY")]
    unset: Vec<String>,
    /// Only check whether it could be done.
    #[arg(long)]
    validate_only: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn alter(arguments: &AlterArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let apply = match arguments.validate_only {
        true => Apply::ValidateOnly,
        false => Apply::Really,
    };
    let mut outcomes = Vec::new();
    if let Some(count) = arguments.partitions {
        let topics = arguments.names.iter().cloned();
        let topics: Vec<_> = topics
            .map(|topic| MorePartitions::new(topic, count))
            .collect();
        let word = if apply == Apply::Really {
            "has"
        } else {
            "could have"
        };
        let count = u64::from(count.unsigned_abs());
        let done = |name: String| Done {
            line: format!("{name} {word} {}", counted(count, "partition")),
            document: json!({ "name": name, "partitions": count, "altered": apply == Apply::Really }),
        };
        let made = client.create_partitions(&topics, apply)?.into_iter();
        outcomes.extend(made.map(|outcome| outcome.map(done)));
    }
    let changes = changes(arguments);
    if !changes.is_empty() {
        for name in &arguments.names {
            outcomes.push(configure(&mut client, name, &changes, apply)?);
        }
    }
    settle(arguments.format, outcomes, None)
}

fn changes(arguments: &AlterArguments) -> Vec<ConfigChange> {
    let set = arguments.config.iter();
    let set = set.map(|(key, value)| ConfigChange::set(key, value));
    let unset = arguments.unset.iter().map(ConfigChange::delete);
    set.chain(unset).collect()
}

fn configure(
    client: &mut Client,
    name: &TopicName,
    changes: &[ConfigChange],
    apply: Apply,
) -> Result<Result<Done, klamm_client::BrokerError>, Failure> {
    let altered = client.alter_configs(ConfigResource::Topic, name.as_str(), changes, apply);
    match altered {
        Ok(()) => {
            let word = if apply == Apply::Really {
                "set"
            } else {
                "could set"
            };
            Ok(Ok(Done {
                line: format!(
                    "{word} {} of {name}",
                    counted(changes.len() as u64, "value")
                ),
                document: json!({
                    "name": name.as_str(),
                    "values": changes.len(),
                    "altered": apply == Apply::Really,
                }),
            }))
        }
        Err(klamm_client::blocking::ClientError::Broker(error)) => Ok(Err(error)),
        Err(error) => Err(error.into()),
    }
}
