//! Every broker key, one row each: name, type and range, default, whether it may change while the
//! broker runs, whether klamm obeys it, and what it does. The parser, DescribeConfigs and the
//! reference documentation read these rows; nothing else knows a key's default.

mod groups;
mod klamm;
mod log;
mod network;
mod quorum;
mod quota_tiering;
mod security;
mod transactions;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use klamm_model::Served;
use klamm_model::{
    ConfigKind, ConfigValueError, TOPIC_CONFIG_KEYS, TopicConfigKey, check_config_value,
};

/// One row per key, each a tuple: name, kind, default, scope, whether it is obeyed, meaning.
macro_rules! keys {
    ($table:ident: $(($name:literal, $kind:expr, $default:expr, $scope:expr, $served:expr, $doc:literal),)*) => {
        pub(super) const $table: &[BrokerKey] = &[$(BrokerKey {
            name: $name,
            kind: $kind,
            default: $default,
            scope: $scope,
            served: $served,
            documentation: $doc,
        },)*];
    };
}
use keys;

/// A 32-bit number of any size.
const ANY_INT: ConfigKind = ConfigKind::Int { min: i32::MIN };
/// A 64-bit number of any size.
const ANY_LONG: ConfigKind = ConfigKind::Long { min: i64::MIN };

/// Whether Apache Kafka lets a key change while the broker runs (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynamicScope {
    /// Only at start.
    ReadOnly,
    /// For one broker at a time.
    PerBroker,
    /// For one broker or for all.
    ClusterWide,
}

impl DynamicScope {
    /// Kafka's word, as in its documentation.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::PerBroker => "per-broker",
            Self::ClusterWide => "cluster-wide",
        }
    }
}

/// One row of the table of broker keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BrokerKey {
    /// The key, as in server.properties.
    pub name: &'static str,
    /// Type and range.
    pub kind: ConfigKind,
    /// The value if none is given; `None` where there is none or it is derived from the machine.
    pub default: Option<&'static str>,
    /// Whether it may change while the broker runs.
    pub scope: DynamicScope,
    /// What klamm does with it.
    pub served: Served,
    /// What it does, in one sentence.
    pub documentation: &'static str,
}

impl BrokerKey {
    /// The topic key whose default this key sets, if there is one.
    #[must_use]
    pub fn topic_synonym(&self) -> Option<&'static TopicConfigKey> {
        TOPIC_CONFIG_KEYS
            .iter()
            .find(|row| row.broker_synonym == Some(self.name))
    }

    /// Whether the value must never be shown.
    #[must_use]
    pub const fn is_sensitive(&self) -> bool {
        matches!(self.kind, ConfigKind::Password)
    }

    /// Whether klamm takes a new value of the key while it runs. What Apache Kafka changes for one
    /// broker at a time are its listeners, with their certificates and mechanisms, and folders;
    /// klamm opens those at start.
    #[must_use]
    pub const fn changes_while_running(&self) -> bool {
        matches!(self.scope, DynamicScope::ClusterWide)
    }

    /// Checks a value against type and range.
    ///
    /// # Errors
    /// Key, value and the rule that it breaks, in the words that Kafka uses.
    pub fn check(&self, value: &str) -> Result<(), ConfigValueError> {
        check_config_value(self.name, self.kind, value)
    }
}

/// The rows by theme, in the order of the reference documentation.
pub const BROKER_KEY_THEMES: &[(&str, &[BrokerKey])] = &[
    ("klamm's own", klamm::KLAMM),
    ("Identity, listeners, sockets, limits", network::NETWORK),
    ("Folders, topics, logs, replication", log::LOG),
    ("Groups", groups::GROUPS),
    (
        "Transactions and producer state",
        transactions::TRANSACTIONS,
    ),
    ("Controller and metadata quorum", quorum::QUORUM),
    ("Quotas and tiered storage", quota_tiering::QUOTA_TIERING),
    ("Authorisation, SASL, TLS", security::SECURITY),
];

static BY_NAME: LazyLock<BTreeMap<&'static str, &'static BrokerKey>> = LazyLock::new(|| {
    BROKER_KEY_THEMES
        .iter()
        .flat_map(|(_, rows)| rows.iter())
        .map(|row| (row.name, row))
        .collect()
});

/// The row of a key.
#[must_use]
pub fn broker_key(name: &str) -> Option<&'static BrokerKey> {
    BY_NAME.get(name).copied()
}

/// All rows by name.
pub fn broker_keys() -> impl Iterator<Item = &'static BrokerKey> {
    BY_NAME.values().copied()
}

/// Kafka's number of a value's type in DescribeConfigs (`ConfigEntry.ConfigType`).
#[must_use]
pub const fn type_number(kind: ConfigKind) -> i8 {
    match kind {
        ConfigKind::Bool => 1,
        ConfigKind::Word(_) | ConfigKind::Text => 2,
        ConfigKind::Int { .. }
        | ConfigKind::IntBetween { .. }
        | ConfigKind::IntBetweenOr { .. } => 3,
        ConfigKind::Short { .. } => 4,
        ConfigKind::Long { .. } => 5,
        ConfigKind::Ratio | ConfigKind::Double => 6,
        ConfigKind::Words(_) | ConfigKind::List => 7,
        ConfigKind::Class => 8,
        ConfigKind::Password => 9,
    }
}

/// A value's type and range for people.
#[must_use]
pub fn kind_words(kind: ConfigKind) -> String {
    match kind {
        ConfigKind::Bool => "true or false".to_owned(),
        ConfigKind::Short { min } => format!("short, at least {min}"),
        ConfigKind::Int { min: i32::MIN } => "int".to_owned(),
        ConfigKind::Int { min } => format!("int, at least {min}"),
        ConfigKind::IntBetween { min, max } => format!("int, {min} to {max}"),
        ConfigKind::IntBetweenOr { min, max, or } => format!("int, {min} to {max}, or {or}"),
        ConfigKind::Long { min: i64::MIN } => "long".to_owned(),
        ConfigKind::Long { min } => format!("long, at least {min}"),
        ConfigKind::Ratio => "number, 0 to 1".to_owned(),
        ConfigKind::Double => "number".to_owned(),
        ConfigKind::Word(words) => format!("one of {}", words.join(", ")),
        ConfigKind::Words(words) => format!("list of {}", words.join(", ")),
        ConfigKind::Text => "text".to_owned(),
        ConfigKind::List => "list".to_owned(),
        ConfigKind::Class => "class".to_owned(),
        ConfigKind::Password => "password".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_rows_and_every_default_is_legal() {
        let rows: usize = BROKER_KEY_THEMES.iter().map(|(_, rows)| rows.len()).sum();
        assert_eq!(rows, BY_NAME.len(), "a name occurs twice");
        for row in broker_keys() {
            if let Some(default) = row.default {
                assert_eq!(row.check(default), Ok(()), "{}", row.name);
            }
            assert!(
                row.documentation.ends_with('.'),
                "{} has no sentence",
                row.name
            );
        }
    }

    #[test]
    fn every_broker_synonym_of_a_topic_key_has_a_row_with_an_equal_default_and_effect() {
        for topic in TOPIC_CONFIG_KEYS {
            let Some(name) = topic.broker_synonym else {
                continue;
            };
            let row = broker_key(name).unwrap_or_else(|| panic!("{name} has no row"));
            assert_eq!(row.topic_synonym().map(|key| key.name), Some(topic.name));
            // Kafka leaves the default of these to coarser keys (hours, scheduler).
            if let Some(default) = row.default {
                assert_eq!(default, topic.default_text(), "{name}");
            }
            assert_eq!(row.served, topic.served, "{name} and {}", topic.name);
        }
    }
}
