//! Group configuration (the GROUP resource): one row per key, the bounds that the brokers' files set,
//! and the rules over several keys. Names, order and texts are Apache Kafka 4.3's.

use std::collections::BTreeMap;

use crate::{ConfigKind, Served, check_config_value};

/// One row of the table of group keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupConfigKey {
    /// The key.
    pub name: &'static str,
    /// Type and range, whatever brokers' files say.
    pub kind: ConfigKind,
    /// The value if neither the group nor a broker's file sets one.
    pub default: &'static str,
    /// The broker key that sets the default, if there is one.
    pub broker_synonym: Option<&'static str>,
    /// What klamm does with it.
    pub served: Served,
    /// What it does, in one sentence.
    pub documentation: &'static str,
}

const fn row(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    broker_synonym: Option<&'static str>,
    documentation: &'static str,
) -> GroupConfigKey {
    GroupConfigKey {
        name,
        kind,
        default,
        broker_synonym,
        served: Served::NotYet,
        documentation,
    }
}

/// A key of groups that are served.
const fn obeyed(row: GroupConfigKey) -> GroupConfigKey {
    GroupConfigKey {
        served: Served::Obeyed,
        ..row
    }
}

/// `share.auto.offset.reset`: its texts are more than words.
const AUTO_OFFSET_RESET: &str = "share.auto.offset.reset";

/// Every group key of Apache Kafka 4.3, in its order.
pub const GROUP_CONFIG_KEYS: &[GroupConfigKey] = &[
    obeyed(row(
        "consumer.session.timeout.ms",
        ConfigKind::Int { min: 1 },
        "45000",
        Some("group.consumer.session.timeout.ms"),
        "How long a member of the consumer group may be silent, in milliseconds.",
    )),
    obeyed(row(
        "consumer.heartbeat.interval.ms",
        ConfigKind::Int { min: 1 },
        "5000",
        Some("group.consumer.heartbeat.interval.ms"),
        "How often members of the consumer group are told to say that they live, in milliseconds.",
    )),
    obeyed(row(
        "consumer.assignment.interval.ms",
        ConfigKind::Int { min: 0 },
        "1000",
        Some("group.consumer.assignment.interval.ms"),
        "Shortest time between two assignments of the consumer group, in milliseconds.",
    )),
    row(
        "share.session.timeout.ms",
        ConfigKind::Int { min: 1 },
        "45000",
        Some("group.share.session.timeout.ms"),
        "How long a member of the share group may be silent, in milliseconds.",
    ),
    row(
        "share.heartbeat.interval.ms",
        ConfigKind::Int { min: 1 },
        "5000",
        Some("group.share.heartbeat.interval.ms"),
        "How often members of the share group are told to say that they live, in milliseconds.",
    ),
    row(
        "share.record.lock.duration.ms",
        ConfigKind::Int { min: 1000 },
        "30000",
        Some("group.share.record.lock.duration.ms"),
        "How long a record stays with the consumer that acquired it, in milliseconds.",
    ),
    row(
        "share.delivery.count.limit",
        ConfigKind::Int { min: 2 },
        "5",
        Some("group.share.delivery.count.limit"),
        "How often a record of the share group is delivered at most.",
    ),
    row(
        "share.partition.max.record.locks",
        ConfigKind::Int { min: 100 },
        "2000",
        Some("group.share.partition.max.record.locks"),
        "Records of a partition that the share group may have acquired at once.",
    ),
    row(
        AUTO_OFFSET_RESET,
        ConfigKind::Text,
        "latest",
        None,
        "Where a share group begins: `latest`, `earliest`, or `by_duration:` with an ISO 8601 duration.",
    ),
    row(
        "share.isolation.level",
        ConfigKind::Word(&["read_committed", "read_uncommitted"]),
        "read_uncommitted",
        None,
        "Whether the share group reads records of open and aborted transactions.",
    ),
    row(
        "share.renew.acknowledge.enable",
        ConfigKind::Bool,
        "true",
        None,
        "Whether members of the share group may renew the lock of a record.",
    ),
    row(
        "share.assignment.interval.ms",
        ConfigKind::Int { min: 0 },
        "1000",
        Some("group.share.assignment.interval.ms"),
        "Shortest time between two assignments of the share group, in milliseconds.",
    ),
    row(
        "streams.session.timeout.ms",
        ConfigKind::Int { min: 1 },
        "45000",
        Some("group.streams.session.timeout.ms"),
        "How long a member of the streams group may be silent, in milliseconds.",
    ),
    row(
        "streams.heartbeat.interval.ms",
        ConfigKind::Int { min: 1 },
        "5000",
        Some("group.streams.heartbeat.interval.ms"),
        "How often members of the streams group are told to say that they live, in milliseconds.",
    ),
    row(
        "streams.num.standby.replicas",
        ConfigKind::Int { min: 0 },
        "0",
        Some("group.streams.num.standby.replicas"),
        "Standby copies of each task of the streams group.",
    ),
    row(
        "streams.initial.rebalance.delay.ms",
        ConfigKind::Int { min: 0 },
        "3000",
        Some("group.streams.initial.rebalance.delay.ms"),
        "How long the streams group waits for more members when it is new, in milliseconds.",
    ),
    row(
        "streams.assignment.interval.ms",
        ConfigKind::Int { min: 0 },
        "1000",
        Some("group.streams.assignment.interval.ms"),
        "Shortest time between two assignments of the streams group, in milliseconds.",
    ),
];

/// Each group key that brokers' files bound, with the broker keys that say from where and up to where;
/// in the order in which Apache Kafka looks at them.
pub const GROUP_CONFIG_BOUNDS: &[(&str, Option<&str>, &str)] = &[
    (
        "consumer.heartbeat.interval.ms",
        Some("group.consumer.min.heartbeat.interval.ms"),
        "group.consumer.max.heartbeat.interval.ms",
    ),
    (
        "consumer.session.timeout.ms",
        Some("group.consumer.min.session.timeout.ms"),
        "group.consumer.max.session.timeout.ms",
    ),
    (
        "consumer.assignment.interval.ms",
        Some("group.consumer.min.assignment.interval.ms"),
        "group.consumer.max.assignment.interval.ms",
    ),
    (
        "share.heartbeat.interval.ms",
        Some("group.share.min.heartbeat.interval.ms"),
        "group.share.max.heartbeat.interval.ms",
    ),
    (
        "share.session.timeout.ms",
        Some("group.share.min.session.timeout.ms"),
        "group.share.max.session.timeout.ms",
    ),
    (
        "share.record.lock.duration.ms",
        Some("group.share.min.record.lock.duration.ms"),
        "group.share.max.record.lock.duration.ms",
    ),
    (
        "share.delivery.count.limit",
        Some("group.share.min.delivery.count.limit"),
        "group.share.max.delivery.count.limit",
    ),
    (
        "share.partition.max.record.locks",
        Some("group.share.min.partition.max.record.locks"),
        "group.share.max.partition.max.record.locks",
    ),
    (
        "share.assignment.interval.ms",
        Some("group.share.min.assignment.interval.ms"),
        "group.share.max.assignment.interval.ms",
    ),
    (
        "streams.heartbeat.interval.ms",
        Some("group.streams.min.heartbeat.interval.ms"),
        "group.streams.max.heartbeat.interval.ms",
    ),
    (
        "streams.session.timeout.ms",
        Some("group.streams.min.session.timeout.ms"),
        "group.streams.max.session.timeout.ms",
    ),
    (
        "streams.num.standby.replicas",
        None,
        "group.streams.max.standby.replicas",
    ),
    (
        "streams.assignment.interval.ms",
        Some("group.streams.min.assignment.interval.ms"),
        "group.streams.max.assignment.interval.ms",
    ),
];

/// A session must be longer than the time between two heartbeats.
const SESSIONS: &[(&str, &str)] = &[
    (
        "consumer.session.timeout.ms",
        "consumer.heartbeat.interval.ms",
    ),
    ("share.session.timeout.ms", "share.heartbeat.interval.ms"),
    (
        "streams.session.timeout.ms",
        "streams.heartbeat.interval.ms",
    ),
];

/// The row of a key.
#[must_use]
pub fn group_config_key(name: &str) -> Option<&'static GroupConfigKey> {
    GROUP_CONFIG_KEYS.iter().find(|row| row.name == name)
}

/// Checks the whole configuration of a group. `layer` is what brokers say: the broker synonyms of
/// group keys and their bounds, with their values; a bound that is not in it is none.
///
/// # Errors
/// The first rule that is broken, in Kafka's order and words.
pub fn check_group_config(
    overrides: &BTreeMap<String, String>,
    layer: &BTreeMap<String, String>,
) -> Result<(), String> {
    for key in overrides.keys() {
        if group_config_key(key).is_none() {
            return Err(format!("Unknown group config name: {key}"));
        }
    }
    for row in GROUP_CONFIG_KEYS {
        if let Some(value) = overrides.get(row.name) {
            check_value(row, value)?;
        }
    }
    for (key, min, max) in GROUP_CONFIG_BOUNDS {
        let bound = |name: &str| number_in(layer, name);
        let Some(value) = number_of(key, overrides, layer) else {
            continue;
        };
        if let Some(min) = min
            && bound(min).is_some_and(|bound| value < bound)
        {
            return Err(format!("{key} must be greater than or equal to {min}"));
        }
        if bound(max).is_some_and(|bound| value > bound) {
            return Err(format!("{key} must be less than or equal to {max}"));
        }
    }
    for (session, heartbeat) in SESSIONS {
        let number = |key: &str| number_of(key, overrides, layer);
        if number(session) <= number(heartbeat) {
            return Err(format!("{session} must be greater than {heartbeat}"));
        }
    }
    Ok(())
}

fn number_in(map: &BTreeMap<String, String>, name: &str) -> Option<i32> {
    map.get(name)?.trim().parse().ok()
}

fn number_of(
    key: &str,
    overrides: &BTreeMap<String, String>,
    layer: &BTreeMap<String, String>,
) -> Option<i32> {
    let row = group_config_key(key)?;
    let of_broker = || number_in(layer, row.broker_synonym?);
    let own = number_in(overrides, key).or_else(of_broker);
    own.or_else(|| row.default.parse().ok())
}

fn check_value(row: &GroupConfigKey, value: &str) -> Result<(), String> {
    if row.name != AUTO_OFFSET_RESET {
        let checked = check_config_value(row.name, row.kind, value);
        return checked.map_err(|error| error.to_string());
    }
    let by_duration = value.strip_prefix("by_duration:");
    if matches!(value, "earliest" | "latest") || by_duration.is_some_and(is_duration) {
        return Ok(());
    }
    Err(format!(
        "Invalid value {value} for configuration {AUTO_OFFSET_RESET}: Invalid value `{value}` for \
         configuration {AUTO_OFFSET_RESET}. The value must be either 'earliest', 'latest' or of \
         the format 'by_duration:<PnDTnHnMn.nS>'."
    ))
}

/// True of a duration of ISO 8601 in days and smaller parts, as Java reads one, that is not negative.
fn is_duration(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    let Some(parts) = text.strip_prefix('P') else {
        return false;
    };
    let (days, times) = match parts.split_once('T') {
        Some((_, "")) => return false,
        Some((days, times)) => (days, times),
        None => (parts, ""),
    };
    !parts.is_empty() && are_parts(days, &['D']) && are_parts(times, &['H', 'M', 'S'])
}

/// True of numbers with these letters behind them, each at most once and in this order; the last
/// letter, if it is that of seconds, may stand behind a fraction.
fn are_parts(mut text: &str, letters: &[char]) -> bool {
    /// Longer numbers than this are too large for Java.
    const DIGITS_MAX: usize = 18;
    let mut letters = letters.iter();
    while !text.is_empty() {
        let Some(end) = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.') else {
            return false;
        };
        let (number, rest) = text.split_at(end);
        let letter = rest.chars().next();
        if !letters.any(|known| Some(*known) == letter) {
            return false;
        }
        let is_legal = match number.split_once('.') {
            None => !number.is_empty() && number.len() <= DIGITS_MAX,
            Some((whole, fraction)) => {
                letter == Some('S')
                    && !whole.is_empty()
                    && whole.len() <= DIGITS_MAX
                    && fraction.len() <= 9
                    && !fraction.contains('.')
            }
        };
        if !is_legal {
            return false;
        }
        text = &rest[1..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn refused(pairs: &[(&str, &str)], layer: &[(&str, &str)]) -> String {
        check_group_config(&map(pairs), &map(layer)).expect_err("refused")
    }

    #[test]
    fn every_default_is_legal_and_every_bound_is_of_a_key() {
        for row in GROUP_CONFIG_KEYS {
            assert_eq!(check_value(row, row.default), Ok(()), "{}", row.name);
            assert!(row.documentation.ends_with('.'), "{}", row.name);
        }
        for (key, ..) in GROUP_CONFIG_BOUNDS {
            assert!(group_config_key(key).is_some(), "{key}");
        }
        assert_eq!(check_group_config(&map(&[]), &map(&[])), Ok(()));
    }

    #[test]
    fn names_are_looked_at_first_then_types_then_bounds_then_sessions() {
        let layer = [
            ("group.consumer.min.session.timeout.ms", "45000"),
            ("group.consumer.max.heartbeat.interval.ms", "50000"),
        ];
        let low = ("consumer.session.timeout.ms", "44999");
        let text = "Unknown group config name: nope";
        assert_eq!(refused(&[low, ("nope", "1")], &layer), text);
        let text = "Invalid value x for configuration share.delivery.count.limit: Not a number of type INT";
        let bad = ("share.delivery.count.limit", "x");
        assert_eq!(refused(&[low, bad], &layer), text);
        let text = "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms";
        assert_eq!(refused(&[low], &layer), text);
        let high = ("consumer.heartbeat.interval.ms", "50001");
        let text = "consumer.heartbeat.interval.ms must be less than or equal to group.consumer.max.heartbeat.interval.ms";
        assert_eq!(refused(&[high], &layer), text);
        let equal = ("consumer.heartbeat.interval.ms", "45000");
        let text =
            "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms";
        assert_eq!(refused(&[equal], &layer), text);
    }

    #[test]
    fn what_the_file_says_is_a_groups_default() {
        let layer = [
            ("group.consumer.session.timeout.ms", "50000"),
            ("group.consumer.max.heartbeat.interval.ms", "60000"),
        ];
        let pairs = [("consumer.heartbeat.interval.ms", " 49999 ")];
        assert_eq!(check_group_config(&map(&pairs), &map(&layer)), Ok(()));
        let text =
            "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms";
        let pairs = [("consumer.heartbeat.interval.ms", "50000")];
        assert_eq!(refused(&pairs, &layer), text);
    }

    #[test]
    fn a_share_group_begins_at_an_end_or_a_duration_ago() {
        let row = group_config_key(AUTO_OFFSET_RESET).expect("a row");
        for legal in [
            "earliest",
            "latest",
            "by_duration:PT1H",
            "by_duration:P1D",
            "by_duration:p2dt3h4m5.5s",
            "by_duration:PT0S",
        ] {
            assert_eq!(check_value(row, legal), Ok(()), "{legal}");
        }
        for illegal in [
            "",
            "EARLIEST",
            "by_duration:",
            "by_duration:P",
            "by_duration:PT",
            "by_duration:P1DT",
            "by_duration:PT1M1H",
            "by_duration:PT1",
            "by_duration:PT.5S",
            "by_duration:PT1.5M",
            "by_duration:PT1H1H",
            "by_duration:-PT1H",
            "by_duration:1D",
            "by_duration:PT1\u{b5}",
            "by_duration:PT9999999999999999999S",
        ] {
            assert!(check_value(row, illegal).is_err(), "{illegal}");
        }
    }
}
