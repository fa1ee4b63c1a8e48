//! Configuration of topics, brokers and what else has any: describe it, change single keys of it
//! (KIP-339), and list what has some (KIP-1142).

use klamm_wire::{describe_configs, incremental_alter_configs, list_config_resources};

use super::Apply;
use crate::error::BrokerError;

/// What a configuration belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic, by name.
    Topic,
    /// A broker, by id; an empty name stands for the default of all.
    Broker,
    /// The log levels of a broker, by id.
    BrokerLogger,
    /// A subscription of client metrics, by name.
    ClientMetrics,
    /// A group, by id.
    Group,
}

impl ConfigResource {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Topic,
        Self::Broker,
        Self::BrokerLogger,
        Self::ClientMetrics,
        Self::Group,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::BrokerLogger => 8,
            Self::ClientMetrics => 16,
            Self::Group => 32,
        }
    }

    /// What a number on the wire stands for, if this client knows it.
    #[must_use]
    pub fn from_number(number: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.number() == number)
    }

    /// Names a resource in words.
    #[must_use]
    pub fn describe(self, name: &str) -> String {
        match self {
            Self::Topic => format!("topic {name}"),
            Self::Broker if name.is_empty() => "default of all brokers".to_owned(),
            Self::Broker => format!("broker {name}"),
            Self::BrokerLogger => format!("log levels of broker {name}"),
            Self::ClientMetrics => format!("client metrics {name}"),
            Self::Group => format!("group {name}"),
        }
    }
}

/// One configuration key as a broker described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: String,
    /// Its value; `None` for a sensitive one.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// It cannot be changed while the broker runs.
    pub read_only: bool,
    /// Its value is a secret.
    pub sensitive: bool,
    /// What its value is made of, where the version tells (from 3 on).
    pub kind: Option<ConfigType>,
    /// The layers that could give the value, the one that does first; where the version tells (from
    /// 1 on).
    pub synonyms: Vec<ConfigSynonym>,
    /// What the broker says that the key does; older brokers say nothing.
    pub documentation: Option<String>,
}

/// A layer that gives a key a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// What the key is called there.
    pub name: String,
    /// Its value there; `None` for a sensitive one.
    pub value: Option<String>,
    /// The layer.
    pub source: ConfigSource,
}

/// Where a configuration value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on this topic.
    Topic,
    /// Set on this broker while it ran.
    DynamicBroker,
    /// Set for all brokers while they ran.
    DynamicDefault,
    /// The broker's file.
    StaticBroker,
    /// Built in.
    Default,
    /// Set on a logger of this broker.
    BrokerLogger,
    /// Set on a subscription of client metrics.
    ClientMetrics,
    /// Set on a group.
    Group,
    /// A number that this client does not know.
    Other(i8),
}

impl ConfigSource {
    const fn from_number(number: i8) -> Self {
        match number {
            1 => Self::Topic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicDefault,
            4 => Self::StaticBroker,
            5 => Self::Default,
            6 => Self::BrokerLogger,
            7 => Self::ClientMetrics,
            8 => Self::Group,
            other => Self::Other(other),
        }
    }
}

/// What a configuration value is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// Text.
    Text,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 16 bits.
    Short,
    /// A whole number of 64 bits.
    Long,
    /// A number.
    Double,
    /// Words separated by commas.
    List,
    /// The name of a class.
    Class,
    /// A secret.
    Password,
    /// A number that this client does not know.
    Other(i8),
}

impl ConfigType {
    const fn from_number(number: i8) -> Option<Self> {
        Some(match number {
            0 => return None,
            1 => Self::Boolean,
            2 => Self::Text,
            3 => Self::Int,
            4 => Self::Short,
            5 => Self::Long,
            6 => Self::Double,
            7 => Self::List,
            8 => Self::Class,
            9 => Self::Password,
            other => Self::Other(other),
        })
    }
}

/// A DescribeConfigs request for one resource in the shape of `version`: synonyms can be asked for
/// from 1 on, documentation from 3 on. `keys` are those wanted, or all.
#[must_use]
pub fn describe_configs(
    resource: ConfigResource,
    name: &str,
    keys: Option<&[String]>,
    version: i16,
) -> describe_configs::Request<'static> {
    let row = describe_configs::DescribeConfigsResource {
        resource_type: resource.number(),
        resource_name: name.to_owned().into(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| key.clone().into()).collect()),
    };
    describe_configs::Request {
        resources: vec![row],
        include_synonyms: version >= 1,
        include_documentation: version >= 3,
    }
}

/// Reads a DescribeConfigs answer about one resource.
///
/// # Errors
/// What the broker said about the resource.
pub fn described_configs(
    view: &describe_configs::ResponseView<'_>,
) -> Result<Vec<ConfigEntry>, BrokerError> {
    let mut entries = Vec::new();
    for row in view.results() {
        BrokerError::check(row.error_code(), row.error_message(), || {
            format!("configuration of {}", row.resource_name())
        })?;
        entries.extend(row.configs().iter().map(|config| ConfigEntry {
            name: config.name().to_owned(),
            value: config.value().map(str::to_owned),
            source: ConfigSource::from_number(config.config_source()),
            read_only: config.read_only(),
            sensitive: config.is_sensitive(),
            kind: ConfigType::from_number(config.config_type()),
            synonyms: config.synonyms().iter().map(synonym).collect(),
            documentation: config.documentation().map(str::to_owned),
        }));
    }
    Ok(entries)
}

fn synonym(row: describe_configs::DescribeConfigsSynonymView<'_>) -> ConfigSynonym {
    ConfigSynonym {
        name: row.name().to_owned(),
        value: row.value().map(str::to_owned),
        source: ConfigSource::from_number(row.source()),
    }
}

/// What happens to the value of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOperation {
    /// It becomes this.
    Set(String),
    /// It falls back to the layer below.
    Delete,
    /// A list gains these words.
    Append(String),
    /// A list loses these words.
    Subtract(String),
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// The key.
    pub name: String,
    /// What happens to it.
    pub operation: ConfigOperation,
}

impl ConfigChange {
    /// Gives a key a value.
    pub fn set(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            operation: ConfigOperation::Set(value.into()),
        }
    }

    /// Takes a key's value away.
    pub fn delete(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            operation: ConfigOperation::Delete,
        }
    }
}

/// An IncrementalAlterConfigs request for one resource: keys that it does not name stay.
#[must_use]
pub fn alter_configs(
    resource: ConfigResource,
    name: &str,
    changes: &[ConfigChange],
    apply: Apply,
) -> incremental_alter_configs::Request<'static> {
    let change = |change: &ConfigChange| {
        let (number, value) = match &change.operation {
            ConfigOperation::Set(value) => (0, Some(value)),
            ConfigOperation::Delete => (1, None),
            ConfigOperation::Append(words) => (2, Some(words)),
            ConfigOperation::Subtract(words) => (3, Some(words)),
        };
        incremental_alter_configs::AlterableConfig {
            name: change.name.clone().into(),
            config_operation: number,
            value: value.map(|value| value.clone().into()),
        }
    };
    let row = incremental_alter_configs::AlterConfigsResource {
        resource_type: resource.number(),
        resource_name: name.to_owned().into(),
        configs: changes.iter().map(change).collect(),
    };
    incremental_alter_configs::Request {
        resources: vec![row],
        validate_only: apply == Apply::ValidateOnly,
    }
}

/// Reads an IncrementalAlterConfigs answer about one resource.
///
/// # Errors
/// What the broker said about the resource.
pub fn altered_configs(
    view: &incremental_alter_configs::ResponseView<'_>,
) -> Result<(), BrokerError> {
    view.responses().iter().try_for_each(|row| {
        BrokerError::check(row.error_code(), row.error_message(), || {
            format!("configuration of {}", row.resource_name())
        })
    })
}

/// A ListConfigResources request for these kinds; for all where there are none.
#[must_use]
pub fn list_config_resources(resources: &[ConfigResource]) -> list_config_resources::Request {
    list_config_resources::Request {
        resource_types: resources.iter().map(|it| it.number()).collect(),
    }
}

/// Reads a ListConfigResources answer; kinds that this client does not know are left out.
///
/// # Errors
/// What the broker said.
pub fn listed_config_resources(
    view: &list_config_resources::ResponseView<'_>,
) -> Result<Vec<(ConfigResource, String)>, BrokerError> {
    BrokerError::check(view.error_code(), None, || {
        "list of configurations".to_owned()
    })?;
    let rows = view.config_resources().iter();
    Ok(rows
        .filter_map(|row| {
            let resource = ConfigResource::from_number(row.resource_type())?;
            Some((resource, row.resource_name().to_owned()))
        })
        .collect())
}
