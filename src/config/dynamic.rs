//! Broker keys that are set while brokers run (KIP-226): what may be set so, and the values that this
//! broker reads anew. They live in the metadata; the layers come from its image. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use klamm_model::{ConfigKind, check_config_value};

use super::checked::{SocketLimits, parse_override};
use super::describe::ConfigSource;
use super::keys::{BrokerKey, DynamicScope, broker_key};

/// Begins the names of keys that hold for one listener only.
const LISTENER_PREFIX: &str = "listener.name.";

/// What is set while brokers run: for this one, and for all. The former wins.
#[derive(Clone, Copy, Debug)]
pub struct Dynamic<'i> {
    /// For this broker.
    pub own: &'i BTreeMap<String, String>,
    /// For all brokers.
    pub for_all: &'i BTreeMap<String, String>,
}

static NOTHING: BTreeMap<String, String> = BTreeMap::new();

impl<'i> Dynamic<'i> {
    /// Nothing is set.
    pub const NONE: Self = Self {
        own: &NOTHING,
        for_all: &NOTHING,
    };

    /// The layers as the metadata has them; a broker of which nothing is set has none of its own.
    #[must_use]
    pub const fn new(
        own: Option<&'i BTreeMap<String, String>>,
        for_all: &'i BTreeMap<String, String>,
    ) -> Self {
        let own = match own {
            Some(own) => own,
            None => &NOTHING,
        };
        Self { own, for_all }
    }

    /// The values of a key, the one in force first.
    pub(super) fn values_of(
        self,
        key: &str,
    ) -> impl Iterator<Item = (&'i str, ConfigSource)> + use<'i> {
        let own = self.own.get(key).map(String::as_str);
        let for_all = self.for_all.get(key).map(String::as_str);
        let own = own.map(|value| (value, ConfigSource::DynamicBroker));
        let for_all = for_all.map(|value| (value, ConfigSource::DynamicDefaultBroker));
        own.into_iter().chain(for_all)
    }

    /// Every key that is set, with the layer that counts.
    pub(super) fn keys(self) -> impl Iterator<Item = (&'i str, ConfigSource)> {
        let own = self.own.keys();
        let own = own.map(|name| (name.as_str(), ConfigSource::DynamicBroker));
        let others = self.for_all.keys();
        let others = others.filter(move |name| !self.own.contains_key(*name));
        own.chain(others.map(|name| (name.as_str(), ConfigSource::DynamicDefaultBroker)))
    }

    /// The number in force under a key, if one is set and is a number of that type.
    fn number<N: std::str::FromStr>(self, key: &str) -> Option<N> {
        let mut values = self.values_of(key);
        values.find_map(|(text, _)| text.trim().parse().ok())
    }
}

/// Why broker keys cannot be set while brokers run. The texts are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DynamicRefused {
    /// Keys that only a start reads.
    AtStartOnly(Vec<String>),
    /// Certificates, which Kafka takes for one listener at a time; klamm reads those at start too.
    PerListener(Vec<String>),
    /// Keys that differ from broker to broker, set for all of them.
    PerBroker(Vec<String>),
    /// A value that is not of its key's type or range.
    Value(String),
    /// Words can be added to or taken from lists only.
    NotAList {
        /// The key.
        key: String,
        /// `append` or `subtract`.
        verb: &'static str,
    },
    /// No key has this name.
    UnknownKey(String),
}

impl fmt::Display for DynamicRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtStartOnly(keys) => write!(
                formatter,
                "Cannot update these configs dynamically: [{}]",
                keys.join(", ")
            ),
            Self::PerListener(keys) => write!(
                formatter,
                "These security configs can be dynamically updated only per-listener using the \
                 listener prefix: [{}]",
                keys.join(", ")
            ),
            Self::PerBroker(keys) => write!(
                formatter,
                "Cannot update these configs at default cluster level, broker id must be \
                 specified: [{}]",
                keys.join(", ")
            ),
            Self::Value(text) => formatter.write_str(text),
            Self::NotAList { key, verb } => write!(
                formatter,
                "Config value {verb} is not allowed for config key: {key}"
            ),
            Self::UnknownKey(key) => write!(formatter, "Unknown config name: {key}"),
        }
    }
}

/// What may happen to a broker key while brokers run, as far as its own rules go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerKeyChange<'r> {
    /// It gets this value.
    Set(&'r str),
    /// Words are added to it (`append`) or taken out (`subtract`).
    Words(&'static str),
}

/// Checks changes of broker keys, of one broker or of all; taking a key out is always allowed.
///
/// # Errors
/// The first rule that is broken, in Kafka's order.
pub fn check_dynamic<'r>(
    changes: impl Iterator<Item = (&'r str, BrokerKeyChange<'r>)> + Clone,
    for_all: bool,
) -> Result<(), DynamicRefused> {
    for (name, change) in changes.clone() {
        if let BrokerKeyChange::Words(verb) = change {
            let key =
                broker_key(name).ok_or_else(|| DynamicRefused::UnknownKey(name.to_owned()))?;
            if !matches!(key.kind, ConfigKind::Words(_) | ConfigKind::List) {
                let key = name.to_owned();
                return Err(DynamicRefused::NotAList { key, verb });
            }
        }
    }
    let named = |is_meant: &dyn Fn(&str) -> bool| -> Vec<String> {
        let named = changes.clone().filter(|(name, _)| is_meant(name));
        named.map(|(name, _)| name.to_owned()).collect()
    };
    let has_scope = |name: &str, scope| broker_key(name).is_some_and(|key| key.scope == scope);
    let at_start = named(&|name| has_scope(name, DynamicScope::ReadOnly));
    if !at_start.is_empty() {
        return Err(DynamicRefused::AtStartOnly(at_start));
    }
    let certificates = named(&is_certificate);
    if !certificates.is_empty() {
        return Err(DynamicRefused::PerListener(certificates));
    }
    for (name, change) in changes.clone() {
        if let (Some(key), BrokerKeyChange::Set(value)) = (broker_key(name), change) {
            check_value(key, value).map_err(DynamicRefused::Value)?;
        }
    }
    // Here klamm parts from Kafka: it takes these for one broker.
    let of_one =
        |name: &str| has_scope(name, DynamicScope::PerBroker) || name.starts_with(LISTENER_PREFIX);
    match named(&of_one) {
        keys if keys.is_empty() => Ok(()),
        keys if for_all => Err(DynamicRefused::PerBroker(keys)),
        keys => Err(DynamicRefused::AtStartOnly(keys)),
    }
}

/// Keys that Kafka changes under the name of a listener only.
fn is_certificate(name: &str) -> bool {
    let of_store = ["ssl.keystore.", "ssl.truststore."];
    name == "ssl.key.password" || of_store.iter().any(|prefix| name.starts_with(prefix))
}

const MAX_CONNECTIONS: &str = "max.connections";
const PER_IP: &str = "max.connections.per.ip";
/// Kafka takes any text as exceptions and fails later; here they must be readable.
const PER_IP_OVERRIDES: &str = "max.connections.per.ip.overrides";

fn check_value(key: &BrokerKey, value: &str) -> Result<(), String> {
    key.check(value).map_err(|error| error.to_string())?;
    if let Some(topic) = key.topic_synonym() {
        // The broker key's range may be wider than that of the topic key that it is a default of.
        check_config_value(key.name, topic.kind, value).map_err(|error| error.to_string())?;
    }
    if key.name == PER_IP_OVERRIDES {
        parse_overrides(value)?;
    }
    if key.name == MAX_CONNECTIONS && value.trim().parse() == Ok(0) {
        // Nobody could take it back. The words are Kafka's, to the letter.
        return Err(format!(
            "Invalid value org.apache.kafka.common.config.ConfigException: Invalid \
             {MAX_CONNECTIONS} 0 for configuration Invalid dynamic configuration"
        ));
    }
    Ok(())
}

/// What is wrong with changes after which nobody could connect: no connections from any address,
/// and no address that is excepted, neither `excepted` before nor by the changes.
#[must_use]
pub fn locks_everybody_out<'r>(
    changes: impl Iterator<Item = (&'r str, BrokerKeyChange<'r>)> + Clone,
    excepted: bool,
) -> Option<String> {
    let last = |key: &str| {
        let sets = changes.clone().filter(|(name, _)| *name == key);
        let values = sets.filter_map(|(_, change)| match change {
            BrokerKeyChange::Set(value) => Some(value.trim()),
            BrokerKeyChange::Words(_) => None,
        });
        values.last()
    };
    let excepts = last(PER_IP_OVERRIDES).map_or(excepted, |value| !value.is_empty());
    (last(PER_IP) == Some("0") && !excepts).then(|| {
        format!(
            "requirement failed: {PER_IP} can be set to zero only if {PER_IP_OVERRIDES} property \
             is set."
        )
    })
}

fn parse_overrides(text: &str) -> Result<BTreeMap<IpAddr, u32>, String> {
    let entries = text.split(',').map(str::trim);
    let entries = entries.filter(|entry| !entry.is_empty());
    let parsed = entries.map(|entry| {
        parse_override(entry).ok_or_else(|| {
            format!("Invalid value {text} for configuration {PER_IP_OVERRIDES}: {entry} is not of the form address:count")
        })
    });
    parsed.collect()
}

/// Limits of connections, as they are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits<'c> {
    /// `max.connections`, and no more than files may be open.
    pub total: u32,
    /// `max.connections.per.ip`.
    pub per_ip: u32,
    /// `max.connections.per.ip.overrides`.
    pub per_ip_overrides: Cow<'c, BTreeMap<IpAddr, u32>>,
}

impl SocketLimits {
    /// The limits of connections under what is set while the broker runs.
    #[must_use]
    pub fn connections(&self, dynamic: Dynamic<'_>) -> ConnectionLimits<'_> {
        let total = dynamic.number(MAX_CONNECTIONS);
        let overrides = dynamic.values_of(PER_IP_OVERRIDES);
        let overrides = overrides.filter_map(|(text, _)| parse_overrides(text).ok());
        ConnectionLimits {
            total: total.map_or(self.connections_max, |total: u32| {
                total.min(self.connections_ceiling)
            }),
            per_ip: dynamic
                .number(PER_IP)
                .unwrap_or(self.connections_per_ip_max),
            per_ip_overrides: overrides
                .map(Cow::Owned)
                .next()
                .unwrap_or(Cow::Borrowed(&self.connections_per_ip_overrides)),
        }
    }
}
