//! `klamm config`: what is configured on topics and brokers, where each value comes from, and how to
//! change it, over the Kafka protocol.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use klamm_client::admin::{
    Apply, ConfigChange, ConfigEntry, ConfigResource, ConfigSource, ConfigType,
};
use klamm_client::blocking::Client;
use klamm_model::TopicName;
use serde_json::{Value, json};

use super::connect::{ConnectArguments, Failure};
use super::fail;
use super::output::{Format, Side, Table, print, print_json};
use super::topic::{key_and_value, topic_name};
use crate::words::counted;

#[derive(Debug, Args)]
pub(super) struct ConfigArguments {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show the values that were set; with --all every key.
    List(ListArguments),
    /// Show one key or several: value, where it comes from, default, and what it means.
    Get(GetArguments),
    /// Set values; they hold at once and are kept.
    Set(SetArguments),
    /// Take values away, so that the next layer's hold: all brokers', the file's, the default.
    Unset(UnsetArguments),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Subject {
    /// Of this topic.
    #[arg(long, short, value_name = "NAME", value_parser = topic_name)]
    topic: Option<TopicName>,
    /// Of the broker with this id.
    #[arg(long, value_name = "ID")]
    broker: Option<u32>,
    /// Of all brokers together: what holds where a broker has nothing of its own.
    #[arg(long)]
    all_brokers: bool,
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    #[command(flatten)]
    subject: Subject,
    /// Show keys at their default, too.
    #[arg(long)]
    all: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct GetArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    #[command(flatten)]
    subject: Subject,
    /// The keys.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct SetArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    #[command(flatten)]
    subject: Subject,
    /// Values to set.
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    values: Vec<(String, String)>,
    /// Only check whether it could be done.
    #[arg(long)]
    validate_only: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct UnsetArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    #[command(flatten)]
    subject: Subject,
    /// The keys.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    /// Only check whether it could be done.
    #[arg(long)]
    validate_only: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(arguments: &ConfigArguments) -> ExitCode {
    let outcome = match &arguments.command {
        ConfigCommand::List(arguments) => list(arguments),
        ConfigCommand::Get(arguments) => get(arguments),
        ConfigCommand::Set(arguments) => {
            let values = arguments.values.iter();
            let changes = values.map(|(key, value)| ConfigChange::set(key, value));
            let (connect, subject) = (&arguments.connect, &arguments.subject);
            let apply = apply(arguments.validate_only);
            change(
                connect,
                subject,
                &changes.collect::<Vec<_>>(),
                apply,
                arguments.format,
            )
        }
        ConfigCommand::Unset(arguments) => {
            let changes = arguments.keys.iter().map(ConfigChange::delete);
            let (connect, subject) = (&arguments.connect, &arguments.subject);
            let apply = apply(arguments.validate_only);
            change(
                connect,
                subject,
                &changes.collect::<Vec<_>>(),
                apply,
                arguments.format,
            )
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason)) => fail(&reason),
    }
}

const fn apply(validate_only: bool) -> Apply {
    match validate_only {
        true => Apply::ValidateOnly,
        false => Apply::Really,
    }
}

impl Subject {
    /// Kind and name on the wire.
    fn resource(&self) -> (ConfigResource, String) {
        match (&self.topic, self.broker) {
            (Some(topic), _) => (ConfigResource::Topic, topic.to_string()),
            (None, Some(broker)) => (ConfigResource::Broker, broker.to_string()),
            (None, None) => (ConfigResource::Broker, String::new()),
        }
    }

    fn read(&self, client: &mut Client) -> Result<Vec<ConfigEntry>, Failure> {
        let (kind, name) = self.resource();
        let mut entries = client.describe_configs(kind, &name)?;
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(entries)
    }
}

/// Where a value comes from, in words.
pub(super) fn source_words(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::Topic => "topic",
        ConfigSource::DynamicBroker => "broker",
        ConfigSource::DynamicDefault => "all brokers",
        ConfigSource::StaticBroker => "file",
        ConfigSource::Default => "default",
        ConfigSource::BrokerLogger => "logger",
        ConfigSource::ClientMetrics => "client metrics",
        ConfigSource::Group => "group",
        ConfigSource::Other(_) => "unknown",
    }
}

const fn kind_words(kind: ConfigType) -> &'static str {
    match kind {
        ConfigType::Boolean => "true or false",
        ConfigType::Text => "text",
        ConfigType::Int => "whole number of 32 bits",
        ConfigType::Short => "whole number of 16 bits",
        ConfigType::Long => "whole number of 64 bits",
        ConfigType::Double => "number",
        ConfigType::List => "list",
        ConfigType::Class => "class",
        ConfigType::Password => "secret",
        ConfigType::Other(_) => "unknown",
    }
}

fn value_of(entry: &ConfigEntry) -> &str {
    match (&entry.value, entry.sensitive) {
        (Some(value), _) => value,
        (None, true) => "(hidden)",
        (None, false) => "(none)",
    }
}

/// The built-in value, where the broker tells it.
fn default_of(entry: &ConfigEntry) -> Option<&str> {
    if entry.source == ConfigSource::Default {
        return entry.value.as_deref();
    }
    let mut layers = entry.synonyms.iter();
    layers
        .find(|layer| layer.source == ConfigSource::Default)
        .and_then(|layer| layer.value.as_deref())
}

fn entry_json(entry: &ConfigEntry) -> Value {
    let layers = entry.synonyms.iter().map(|layer| {
        json!({
            "name": layer.name,
            "value": layer.value,
            "source": source_words(layer.source),
        })
    });
    json!({
        "name": entry.name,
        "value": entry.value,
        "source": source_words(entry.source),
        "default": default_of(entry),
        "type": entry.kind.map(kind_words),
        "read_only": entry.read_only,
        "sensitive": entry.sensitive,
        "layers": layers.collect::<Vec<_>>(),
        "documentation": entry.documentation,
    })
}

fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let mut entries = arguments.subject.read(&mut client)?;
    let own = |entry: &ConfigEntry| match arguments.subject.topic {
        Some(_) => entry.source == ConfigSource::Topic,
        None => entry.source != ConfigSource::Default,
    };
    entries.retain(|entry| arguments.all || own(entry));
    if arguments.format == Format::Json {
        let rows = entries.iter().map(entry_json).collect();
        return Ok(print_json(&Value::Array(rows))?);
    }
    if entries.is_empty() {
        eprintln!("nothing is set; --all shows every key");
        return Ok(());
    }
    let mut table = Table::new(&[
        ("KEY", Side::Left),
        ("VALUE", Side::Left),
        ("FROM", Side::Left),
        ("DEFAULT", Side::Left),
    ]);
    for entry in &entries {
        table.row(vec![
            entry.name.clone(),
            value_of(entry).to_owned(),
            source_words(entry.source).to_owned(),
            default_of(entry).unwrap_or("-").to_owned(),
        ]);
    }
    Ok(print(&table.render())?)
}

fn get(arguments: &GetArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let entries = arguments.subject.read(&mut client)?;
    let mut found = Vec::new();
    for key in &arguments.keys {
        let Some(entry) = entries.iter().find(|entry| entry.name == *key) else {
            let (kind, name) = arguments.subject.resource();
            return Err(Failure(format!(
                "{} has no key {key}\n  `klamm config list --all` shows its keys",
                kind.describe(&name)
            )));
        };
        found.push(entry);
    }
    if arguments.format == Format::Json {
        let rows = found.into_iter().map(entry_json).collect();
        return Ok(print_json(&Value::Array(rows))?);
    }
    let texts: Vec<String> = found.into_iter().map(entry_text).collect();
    Ok(print(&texts.join("\n"))?)
}

fn entry_text(entry: &ConfigEntry) -> String {
    let mut text = format!("{} = {}\n", entry.name, value_of(entry));
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<9}{value}\n"));
    line("from", source_words(entry.source));
    line("default", default_of(entry).unwrap_or("-"));
    if let Some(kind) = entry.kind {
        line("type", kind_words(kind));
    }
    line(
        "changes",
        if entry.read_only {
            "at start only"
        } else {
            "while the broker runs"
        },
    );
    for layer in &entry.synonyms {
        let value = layer.value.as_deref().unwrap_or("(hidden)");
        let source = source_words(layer.source);
        line("layer", &format!("{} = {value} ({source})", layer.name));
    }
    if let Some(documentation) = &entry.documentation {
        line("meaning", documentation);
    }
    text
}

fn change(
    connect: &ConnectArguments,
    subject: &Subject,
    changes: &[ConfigChange],
    apply: Apply,
    format: Format,
) -> Result<(), Failure> {
    let mut client = connect.connect()?;
    let (kind, name) = subject.resource();
    client.alter_configs(kind, &name, changes, apply)?;
    let subject = kind.describe(&name);
    if format == Format::Json {
        return Ok(print_json(&json!({
            "subject": subject,
            "keys": changes.iter().map(|change| &change.name).collect::<Vec<_>>(),
            "altered": apply == Apply::Really,
        }))?);
    }
    let values = counted(changes.len() as u64, "value");
    let line = match apply {
        Apply::Really => format!("changed {values} of {subject}\n"),
        Apply::ValidateOnly => format!("could change {values} of {subject}\n"),
    };
    Ok(print(&line)?)
}
